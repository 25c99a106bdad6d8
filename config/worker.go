package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"ferry"
	"ferry/adapters"
	"ferry/httpauth"
	"ferry/retry"
)

// Worker is worker.yaml.
type Worker struct {
	Name    string `yaml:"name"`    // as the broker knows the worker
	DataDir string `yaml:"dataDir"` // holds the inbox; default ./worker-data
	// Listen is the address of the worker's own /metrics; default none, "off" too.
	Listen string      `yaml:"listen"`
	Queue  WorkerQueue `yaml:"queue"`
	// Secrets is how secrets of Azure Key Vault are read.
	Secrets Secrets `yaml:"secrets"`
	// Traces is where spans go; default nowhere.
	Traces *Traces `yaml:"traces"`
	// Destinations by name; routes refer to them or bring their own inline.
	Destinations map[string]*Destination `yaml:"destinations"`
	Routes       []WorkerRoute           `yaml:"routes"` // at least one
	// Drain is how the worker stops.
	Drain WorkerDrain `yaml:"drain"`
}

// WorkerQueue is the worker's way to the broker.
type WorkerQueue struct {
	Driver     string           `yaml:"driver"` // nats, the default, or servicebus
	NATS       WorkerNATS       `yaml:"nats"`
	ServiceBus WorkerServiceBus `yaml:"servicebus"`
}

// WorkerNATS is how a worker reaches the broker's NATS server.
type WorkerNATS struct {
	// URL is the broker's queue: wss://broker.example/queue, on the port of its API;
	// or nats:// or tls://HOST:4222, several with commas between.
	URL string `yaml:"url"`
	// NKey is where the seed lies that `broker workers add` made: a path, file:PATH
	// or env:NAME. A seed itself is refused.
	NKey string `yaml:"nkey"`
	// Lock is how long a delivery is locked at a time: the broker's queue.nats.lock;
	// default 30 s.
	Lock time.Duration `yaml:"lock"`

	// Proxy is the HTTP proxy on the way to a wss URL: env, the default, is what
	// HTTPS_PROXY and NO_PROXY say; off is none; else its URL, http://HOST:PORT.
	Proxy string `yaml:"proxy"`
	// ProxyAuth is the login at the proxy; default none, or what is in HTTPS_PROXY.
	ProxyAuth ProxyAuth `yaml:"proxyAuth"`
	// CA is a PEM file: authorities that may have signed the certificate of a wss or
	// tls URL, or of an https proxy, beside those that the machine knows.
	CA string `yaml:"ca"`
	// Plaintext lets a ws URL lead to another machine; default false.
	Plaintext bool `yaml:"plaintext"`
}

// Destination is one downstream, shared by the routes that lead to it.
type Destination struct {
	adapters.DestinationConfig `yaml:",inline"`
	// Concurrency is how many calls may run at a time; default 4, at most 256.
	Concurrency int `yaml:"concurrency"`
	// Rate bounds how many calls start in a time; default no bound.
	Rate ferry.Rate `yaml:"rate"`
}

// What a route does with an unknown outcome.
const (
	OnUnknownLookup = "lookup" // ask the destination before anything else is sent
	OnUnknownRepost = "repost" // the destination honours the key: send again
	OnUnknownHold   = "hold"   // set it aside for a person
)

// WorkerRoute is a route of worker.yaml.
type WorkerRoute struct {
	Name string `yaml:"name"`
	// Destination names one of Destinations, or holds its keys. The keys may also
	// stand beside it, in the route itself; the route's url is then the whole URL.
	Destination DestinationRef `yaml:"destination"`
	Retry       retry.Policy   `yaml:"retry"`
	// OnUnknown is lookup, repost or hold; default lookup where a lookup is
	// configured, else hold.
	OnUnknown string `yaml:"onUnknown"`
	// SettleTime is how long the destination may still write after a call ended;
	// default twice the destination's timeout, at most 1 day.
	SettleTime time.Duration `yaml:"settleTime"`
	// ConfirmWithin is how long a destination that answers later may take; default
	// 24 h, 1 min to 30 days.
	ConfirmWithin time.Duration `yaml:"confirmWithin"`

	// Versions are what is otherwise for messages of a version, by its name; messages
	// of others are as the route says. At most 20.
	Versions map[string]RouteOverride `yaml:"versions"`

	adapters.RouteConfig `yaml:",inline"`
	inline               `yaml:",inline"`
}

// DestinationRef is the name of a destination, or a destination of the route's own.
type DestinationRef struct {
	Name string
	Own  *Destination
}

func (r *DestinationRef) decodeNode(d *decoder, n *yaml.Node, path string) {
	if n.Kind == yaml.MappingNode {
		r.Own = &Destination{}
		d.value(n, reflect.ValueOf(r.Own).Elem(), path)
		return
	}
	d.value(n, reflect.ValueOf(&r.Name).Elem(), path)
}

// inline holds the keys of a destination that may stand in a route itself. Url
// and headers are the route's.
type inline struct {
	Adapter     string                 `yaml:"adapter"`
	Dialect     string                 `yaml:"dialect"`
	Database    string                 `yaml:"database"`
	Client      string                 `yaml:"client"`
	Version     string                 `yaml:"version"`
	Spec        string                 `yaml:"spec"`
	Auth        httpauth.Config        `yaml:"auth"`
	TLS         httpauth.TLS           `yaml:"tls"`
	Timeout     time.Duration          `yaml:"timeout"`
	Health      *adapters.HealthConfig `yaml:"health"`
	Concurrency int                    `yaml:"concurrency"`
	Rate        ferry.Rate             `yaml:"rate"`
}

// inlineKeys are the keys of inline.
func inlineKeys() []string {
	return []string{"adapter", "dialect", "database", "client", "version", "spec", "auth", "tls", "timeout", "health", "concurrency", "rate"}
}

// Defaults of destinations.
const (
	DefaultTimeout     = 30 * time.Second
	DefaultConcurrency = 4
	MaxConcurrency     = 256
	maxTimeout         = 30 * time.Minute
)

// complete gives every route's own destination a name, and fills in the
// defaults that depend on other keys.
func (w *Worker) complete(d *decoder) {
	setDefault(&w.Queue.NATS.Lock, defaultLock)
	setDefault(&w.Queue.NATS.Proxy, ProxyEnv)
	w.Queue.ServiceBus.complete()
	w.Secrets.complete()
	if w.Destinations == nil {
		w.Destinations = map[string]*Destination{}
	}
	for i := range w.Routes {
		r := &w.Routes[i]
		path := fmt.Sprintf("routes[%d]", i)
		r.RouteConfig.Route = r.Name
		own := r.Destination.Own
		if first := r.firstInline(d, path); first != "" {
			if d.has(path + ".destination") {
				d.at(path+"."+first, "move it to the destination", "%s.%s belongs to a destination, and the route names one already", path, first)
				continue
			}
			own = r.takeInline()
			d.lines["destinations."+r.Name+".url"] = d.line(path + ".url")
			for _, key := range inlineKeys() {
				d.lines["destinations."+r.Name+"."+key] = d.line(path + "." + key)
			}
		}
		if own == nil {
			continue
		}
		if _, taken := w.Destinations[r.Name]; taken {
			d.at(path, "rename one of the two", "%s has a destination of its own, and destinations.%s exists", path, clip(r.Name))
			continue
		}
		w.Destinations[r.Name] = own
		r.Destination = DestinationRef{Name: r.Name}
		if _, ok := d.lines["destinations."+r.Name]; !ok {
			d.lines["destinations."+r.Name] = d.line(path)
		}
	}
	for name, dest := range w.Destinations {
		if dest == nil {
			dest = &Destination{}
			w.Destinations[name] = dest
		}
		dest.Name = name
		setDefault(&dest.Timeout, DefaultTimeout)
	}
	for i := range w.Routes {
		r := &w.Routes[i]
		dest := w.Destinations[r.Destination.Name]
		if dest != nil && r.Activity != "" {
			setDefault(&dest.Concurrency, 1)
		}
		if r.Lookup == nil && (r.KeyField != "" || len(r.Key) > 0) && dest != nil && dest.MakesLookups() {
			r.Lookup = &adapters.LookupConfig{}
		}
		if r.OnUnknown == "" {
			r.OnUnknown = OnUnknownHold
			switch {
			case r.Write == "update", r.Write == "upsert" && (dest == nil || dest.UpsertsByKey()): // written over itself, it is the same document
				r.OnUnknown = OnUnknownRepost
			case dest != nil && dest.HonoursKey(&r.RouteConfig):
				r.OnUnknown = OnUnknownRepost
			case r.Lookup != nil:
				r.OnUnknown = OnUnknownLookup
			}
		}
		r.HonoursKey = r.OnUnknown == OnUnknownRepost
		if r.Confirm == "" && dest != nil {
			if within, ok := dest.AnswersLater(&r.RouteConfig); ok {
				r.Confirm = adapters.ConfirmPoll
				setDefault(&r.ConfirmWithin, within)
			}
		}
		r.completeConfirm()
		r.completeVersions(d, dest)
		if dest != nil {
			setDefault(&r.SettleTime, 2*dest.Timeout)
		}
	}
	for _, dest := range w.Destinations {
		setDefault(&dest.Concurrency, DefaultConcurrency)
	}
}

func (r *WorkerRoute) firstInline(d *decoder, path string) string {
	for _, key := range inlineKeys() {
		if d.has(path + "." + key) {
			return key
		}
	}
	return ""
}

// takeInline makes a destination of the keys in the route, whose url is whole.
func (r *WorkerRoute) takeInline() *Destination {
	dest := &Destination{Concurrency: r.inline.Concurrency, Rate: r.inline.Rate}
	dest.DestinationConfig = adapters.DestinationConfig{
		Adapter: r.inline.Adapter, Dialect: r.inline.Dialect, URL: r.RouteConfig.URL,
		Auth: r.inline.Auth, TLS: r.inline.TLS, Timeout: r.inline.Timeout, Health: r.inline.Health,
		Database: r.inline.Database, Client: r.inline.Client, Version: r.inline.Version, Spec: r.inline.Spec,
	}
	r.inline, r.RouteConfig.URL = inline{}, ""
	return dest
}

func (w *Worker) check(d *decoder) {
	if w.Name == "" {
		d.at("name", "add name: as given to `broker workers add`", "the worker has no name")
	} else {
		d.checkName("name", "worker", w.Name)
	}
	if w.DataDir == "" {
		d.at("dataDir", "", "dataDir is empty")
	}
	if w.Listen != ListenOff {
		d.checkListen("listen", w.Listen)
	}
	w.Queue.check(d)
	w.Secrets.check(d)
	w.Drain.check(d)
	w.Traces.check(d)
	for _, name := range slices.Sorted(maps.Keys(w.Destinations)) {
		w.Destinations[name].check(d, "destinations."+name)
	}
	if len(w.Routes) == 0 {
		d.at("routes", "add at least one entry under routes:", "the worker has no routes")
	}
	if len(w.Routes) > ferry.MaxRoutes {
		d.at("routes", "", "there are %d routes, %d at most", len(w.Routes), ferry.MaxRoutes)
	}
	first := map[string]int{}
	for i := range w.Routes {
		r := &w.Routes[i]
		path := fmt.Sprintf("routes[%d]", i)
		r.check(d, path, w.Destinations)
		if line, twice := first[r.Name]; twice && r.Name != "" {
			d.at(path+".name", "", "the route %s stands here twice, first on line %d", clip(r.Name), line)
		} else {
			first[r.Name] = d.line(path + ".name")
		}
	}
}

func (q *WorkerQueue) check(d *decoder) {
	if !d.checkOneOf("queue.driver", q.Driver, DriverNATS, DriverServiceBus) {
		return
	}
	if q.Driver == DriverServiceBus {
		q.ServiceBus.check(d, "queue.servicebus")
		return
	}
	q.NATS.check(d, "queue.nats")
}

func (dest *Destination) check(d *decoder, path string) {
	d.checkName(path, "destination", dest.Name)
	if dest.Adapter == "" {
		d.at(path, "add adapter:, such as erp", "%s has no adapter", path)
	}
	switch {
	case dest.URL == "":
		d.at(path, "add url:", "%s has no url", path)
	default:
		d.checkURL(path+".url", dest.URL, "https://erp.example/api", "http", "https")
	}
	d.checkSpan(path+".timeout", int64(dest.Timeout), int64(10*time.Millisecond), int64(maxTimeout), showDuration)
	d.checkSpan(path+".concurrency", int64(dest.Concurrency), 1, MaxConcurrency, func(n int64) string { return fmt.Sprint(n) })
	d.checkMask(path+".mask", dest.Mask)
	for i, rule := range dest.Verdicts {
		d.checkJQ(fmt.Sprintf("%s.verdicts[%d].when", path, i), rule.When)
	}
	if !strings.Contains(dest.Spec, "://") { // an address is the dialect's to refuse
		d.checkFile(path+".spec", dest.Spec)
	}
	d.checkCredentials(path+".auth", dest.Auth)
	d.checkCredentials(path+".tls", dest.TLS)
	if !dest.TLS.IsZero() && strings.HasPrefix(dest.URL, "http://") {
		d.at(path+".tls", "", "%s.tls goes with an https url", path)
	}
}

// credentials are settings that hold them.
type credentials interface {
	Validate() error
	Files() map[string]string
}

func (d *decoder) checkCredentials(path string, c credentials) {
	if err := c.Validate(); err != nil {
		message, hint := sentence(err)
		d.at(path, hint, "%s: %s", path, message)
	}
	files := c.Files()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		d.checkFile(path+"."+name, files[name])
	}
}

func (r *WorkerRoute) check(d *decoder, path string, destinations map[string]*Destination) {
	if r.Name == "" {
		d.at(path, "add name:", "%s has no name", path)
	} else {
		d.checkName(path+".name", "route", r.Name)
	}
	if name := r.Destination.Name; name == "" {
		d.at(path, "add destination: with one of the names under destinations:", "%s has no destination", path)
	} else if destinations[name] == nil {
		known := slices.Sorted(maps.Keys(destinations))
		hint := "known destinations: " + strings.Join(known, ", ")
		if near := nearest(name, known); near != "" {
			hint = fmt.Sprintf("did you mean %s?", near)
		}
		d.at(path+".destination", hint, "%s: there is no destination %q", path, clip(name))
	}
	if d.checkOneOf(path+".onUnknown", r.OnUnknown, OnUnknownLookup, OnUnknownRepost, OnUnknownHold) &&
		r.OnUnknown == OnUnknownLookup && r.Lookup == nil {
		d.at(path+".onUnknown", "add lookup: {url: …, reference: …}", "%s.onUnknown is lookup, and no lookup is configured", path)
	}
	if dest := destinations[r.Destination.Name]; dest != nil && r.Activity != "" && dest.Concurrency > 1 {
		d.at(path+".activity", "leave out the destination's concurrency, or set 1; routes of another kind get a destination of their own",
			"%s.activity: imports of one entity that run at a time fail for each other, and the destination takes %d calls at a time", path, dest.Concurrency)
	}
	if r.Lookup != nil {
		dest := destinations[r.Destination.Name]
		if r.Lookup.URL == "" && (dest == nil || !dest.MakesLookups()) {
			d.at(path+".lookup", "add url:, such as /invoices?externalId={externalKey}", "%s.lookup has no url", path)
		}
		d.checkJQ(path+".lookup.reference", r.Lookup.Reference)
		d.checkJQ(path+".lookup.result", r.Lookup.Result)
		d.checkJQ(path+".lookup.same", r.Lookup.Same)
	}
	d.checkMask(path+".mask", r.Mask)
	r.checkRequest(d, path)
	d.checkJQ(path+".map", r.Map, adapters.Variables()...)
	for _, field := range slices.Sorted(maps.Keys(r.Key)) {
		d.checkJQ(path+".key."+field, r.Key[field], adapters.Variables()...)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
		d.checkJQ(path+".parameters."+name, r.Parameters[name], adapters.Variables()...)
	}
	d.checkJQ(path+".reference", r.Reference)
	d.checkJQ(path+".finished", r.Finished)
	d.checkJQ(path+".result", r.Result)
	r.checkConfirm(d, path)
	r.checkVersions(d, path, destinations)
	d.checkSpan(path+".settleTime", int64(r.SettleTime), 0, int64(day), showDuration)
	if err := r.Retry.Validate(); err != nil {
		message, hint := sentence(err)
		d.at(path+".retry", hint, "%s: %s", path, message)
	}
}
