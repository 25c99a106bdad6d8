package config

import (
	"fmt"
	"strings"
	"time"

	"ferry"
)

// The queue drivers.
const (
	DriverNATS       = "nats"
	DriverServiceBus = "servicebus"
)

// Broker is broker.yaml.
type Broker struct {
	// File is what it was read from; empty: it is the default.
	File string

	// Listen is the address of the HTTP API; default 127.0.0.1:8080.
	Listen string `yaml:"listen" reload:"start"`
	// PublicURL is what Location headers are made of; required unless Listen is a
	// loopback address, then made of it.
	PublicURL string `yaml:"publicUrl" reload:"start"`
	// DataDir holds ledger, queue and admin key; default ./data.
	DataDir string `yaml:"dataDir" reload:"start"`
	// Environment is a word that people see, such as prod; default none.
	Environment string `yaml:"environment" reload:"start"`

	Queue  BrokerQueue   `yaml:"queue" reload:"start"`
	Routes []BrokerRoute `yaml:"routes" reload:"live"` // at most ferry.MaxRoutes
	SAS    []BrokerSAS   `yaml:"sas" reload:"live"`    // whose tokens the Service Bus calls take, at most 100

	// Retention is how long what has ended is kept.
	Retention BrokerRetention `yaml:"retention" reload:"live"`
	// IdempotencyWindow is how long a repeat is recognised by its key; default 7
	// days, from 1 minute to 90 days.
	IdempotencyWindow time.Duration `yaml:"idempotencyWindow" reload:"start"`

	// WorkAway is how long a route's one worker works on while the broker is away,
	// on a queue that runs on meanwhile; default 24 h, from 20 s to 3 days.
	WorkAway time.Duration `yaml:"workAway" reload:"live"`

	// BodyRef lets senders name a blob in place of a body; default none is taken.
	BodyRef *BodyRef `yaml:"bodyRef" reload:"live"`

	// AdminListen is the address of a listener for operators: pages, metrics, keys,
	// dead letters and all that is theirs moves there, and Listen answers 404 for it.
	// Default none: Listen answers all.
	AdminListen string `yaml:"adminListen" reload:"start"`

	// TLS is the certificate of Listen; default none.
	TLS *BrokerTLS `yaml:"tls" reload:"start"`

	// CORS is which pages of other origins may call; default none.
	CORS CORS `yaml:"cors" reload:"live"`

	// Limits are the rates of callers, and the bounds of connections.
	Limits Limits `yaml:"limits" reload:"live"`

	// Issuers are whose tokens stand for keys, at most 20.
	Issuers []Issuer `yaml:"issuers" reload:"live"`

	// ClientCertificates are the certificates that stand for keys, at most 1,000.
	ClientCertificates []ClientCertificate `yaml:"clientCertificates" reload:"live"`

	// Callbacks says whom the broker may call back.
	Callbacks Callbacks `yaml:"callbacks" reload:"live"`

	// Secrets is how secrets of Azure Key Vault are read.
	Secrets Secrets `yaml:"secrets" reload:"live"`

	// AccessLog is where a line for each request goes; default nowhere.
	AccessLog *AccessLog `yaml:"accessLog" reload:"live"`

	// Traces is where spans go; default nowhere.
	Traces *Traces `yaml:"traces" reload:"start"`

	// Operators is who runs the broker, told of what needs them; default nobody.
	Operators *Operators `yaml:"operators" reload:"live"`

	// Drain is how the broker stops.
	Drain Drain `yaml:"drain" reload:"live"`
}

// BrokerQueue is the queue of a broker.
type BrokerQueue struct {
	Driver string     `yaml:"driver"` // nats, the default, or servicebus
	NATS   BrokerNATS `yaml:"nats"`
	// ServiceBus may stand there beside the driver nats: intakes use it.
	ServiceBus BrokerServiceBus `yaml:"servicebus"`
}

// BrokerNATS is the NATS server inside the broker, or one elsewhere.
type BrokerNATS struct {
	// Listen is the address for workers; default 127.0.0.1:4222. "off" keeps the
	// server inside the process.
	Listen string `yaml:"listen"`
	// Lock is how long a delivery is locked at a time; default 30 s, from 5 s to 15 min.
	Lock time.Duration `yaml:"lock"`
	// MaxStore bounds what the queue takes on disk; default 4 GiB, from 64 MiB to 1 TiB.
	MaxStore Size `yaml:"maxStore"`

	// URL is a NATS server elsewhere, several with commas between; instead of Listen.
	URL string `yaml:"url"`
	// NKey is where the broker's seed for URL lies: a path, file:PATH or env:NAME.
	NKey string `yaml:"nkey"`
	// CA is a PEM file: authorities that may have signed the certificate of a tls URL,
	// beside those that the machine knows.
	CA string `yaml:"ca"`
	// Replicas of the streams at URL: 1 (the default), 3 or 5.
	Replicas int `yaml:"replicas"`
}

// ListenOff is the word for no listener.
const ListenOff = "off"

// BrokerRoute is a route of broker.yaml.
type BrokerRoute struct {
	Name string `yaml:"name"`
	// Title is what people call the route, also in Power Automate; default the name in
	// words. At most 50 characters, no two routes the same.
	Title string `yaml:"title"`
	// Description says in a sentence or two what is sent here; at most 500 characters.
	Description string `yaml:"description"`
	// TimeToLive is how long a message waits for its delivery at most; default 30
	// days, from 1 second to 1 year.
	TimeToLive time.Duration `yaml:"timeToLive"`
	// MaxBytes is the largest body; default 1 MiB, at most 100 MiB.
	MaxBytes Size `yaml:"maxBytes"`
	// Window is how many messages may be in the queue at a time; default 2,000, on
	// Service Bus 10,000; at most ferry.MaxWindow.
	Window     int    `yaml:"window"`
	AllowEmpty bool   `yaml:"allowEmpty"` // take messages without a body; default false
	OrderBy    string `yaml:"orderBy"`    // jq over the payload; default the sender's ordering key
	// OnDeadLetter says what the messages behind a dead letter of their ordering
	// key do: park (the default) or continue.
	OnDeadLetter string       `yaml:"onDeadLetter"`
	SearchKeys   []string     `yaml:"searchKeys"` // jq over the payload, at most 10
	Owner        *ferry.Owner `yaml:"owner"`
	// Mask names members of JSON, at any depth or as JSON pointers, whose values
	// commands do not show, and which are taken out of what is said of messages.
	Mask []string `yaml:"mask"`
	// Workers is one, the default: the route is bound to one worker's inbox;
	// several: each of its workers claims a message before the call; or pull: no
	// worker delivers it, receivers ask for its messages over HTTP.
	Workers string `yaml:"workers"`
	// Lock is how long a receiver holds a message before it must have completed or
	// renewed it; default 1 minute, from 5 seconds to 5 minutes.
	Lock time.Duration `yaml:"lock"`
	// MaxDeliveries is how often a message may be received without that the receiver
	// says what became of it; default 10, at most 1,000.
	MaxDeliveries int           `yaml:"maxDeliveries"`
	WorkAway      time.Duration `yaml:"workAway"` // with workers: one; default the broker's
	// Intake takes messages in from elsewhere; default none.
	Intake *Intake `yaml:"intake"`

	// Windows are when the route is not delivered, at most 20; default none.
	Windows []ferry.Window `yaml:"windows"`

	RouteForm `yaml:",inline"`
	XML       XMLForm `yaml:"xml"`
	// CloudEvents takes CloudEvents 1.0 apart: id and source become the idempotency
	// key, the attributes properties, the data the body; default false.
	CloudEvents bool `yaml:"cloudEvents"`

	// Versions of the route, at most 20; default none.
	Versions  []RouteVersion `yaml:"versions"`
	VersionBy VersionBy      `yaml:"versionBy"`

	// Duplicates is by what a repeat without a key is known: tracking (the default),
	// run, or off.
	Duplicates ferry.Duplicates `yaml:"duplicates"`

	// Retention is how long what has ended is kept; default the broker's.
	Retention Retention `yaml:"retention"`

	RouteLimit `yaml:",inline"` // of all the route's senders together
}

const (
	maxSearchKeys = 10
	defaultLock   = 30 * time.Second
	minLock       = 5 * time.Second
	maxLock       = 15 * time.Minute
	defaultStore  = 4 << 30
	minStore      = 64 << 20
	maxStore      = 1 << 40
)

// Default is the configuration of a broker without a file: everything on
// loopback, no routes.
func Default() *Broker {
	b := defaults()
	b.complete()
	return b
}

func defaults() *Broker {
	return &Broker{
		Listen:            "127.0.0.1:8080",
		DataDir:           "./data",
		WorkAway:          ferry.DefaultWorkAway,
		IdempotencyWindow: ferry.IdempotencyWindow,
		Drain:             Drain{Within: DefaultDrain},
		Queue: BrokerQueue{
			Driver: DriverNATS,
			NATS:   BrokerNATS{Listen: "127.0.0.1:4222", Lock: defaultLock, MaxStore: defaultStore, Replicas: 1},
		},
	}
}

// FerryRoutes are the routes in the words of the broker.
func (b *Broker) FerryRoutes() []ferry.Route {
	routes := make([]ferry.Route, len(b.Routes))
	for i, r := range b.Routes {
		routes[i] = ferry.Route{
			Name: r.Name, Title: r.Title, Description: r.Description, TimeToLive: r.TimeToLive, MaxBytes: int64(r.MaxBytes), Window: r.Window,
			AllowEmpty: r.AllowEmpty, OrderBy: r.OrderBy, OnDeadLetter: r.OnDeadLetter,
			SearchKeys: r.SearchKeys, Mask: r.Mask, Owner: r.Owner, Several: r.Workers == workersSeveral,
			Pull: r.Workers == workersPull, Lock: r.Lock, MaxDeliveries: r.MaxDeliveries, WorkAway: r.WorkAway,
			Duplicates: r.Duplicates, Windows: r.Windows, Retention: r.Retention.ferry(),
		}
		r.setForm(&routes[i])
	}
	return routes
}

// complete fills in the defaults that depend on other keys.
func (b *Broker) complete() {
	if b.PublicURL == "" && isLoopback(b.Listen) {
		b.PublicURL = b.scheme() + b.Listen
	}
	b.Limits.complete()
	b.Queue.ServiceBus.complete()
	b.Callbacks.complete()
	b.Secrets.complete()
	b.AccessLog.complete()
	b.Operators.complete()
	window := ferry.DefaultWindow
	if b.Queue.Driver == DriverServiceBus {
		window = defaultBusWindow
	}
	for i := range b.Routes {
		r := &b.Routes[i]
		r.Description = strings.Join(strings.Fields(r.Description), " ") // may stand in several lines
		setDefault(&r.TimeToLive, ferry.DefaultTimeToLive)
		setDefault(&r.MaxBytes, ferry.DefaultMaxBody)
		setDefault(&r.Window, window)
		setDefault(&r.OnDeadLetter, "park")
		setDefault(&r.Workers, workersOne)
		setDefault(&r.Duplicates, ferry.DuplicatesTracking)
		r.completePull()
		setDefault(&r.WorkAway, b.WorkAway)
		r.Intake.complete(r, b.Queue.ServiceBus.ServiceBus)
	}
}

// scheme is what the addresses of the listener begin with.
func (b *Broker) scheme() string {
	if b.TLS != nil {
		return "https://"
	}
	return "http://"
}

func setDefault[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

func (b *Broker) check(d *decoder) {
	if b.Listen == "" {
		d.at("listen", "write HOST:PORT, such as 127.0.0.1:8080", "listen is empty")
	}
	d.checkListen("listen", b.Listen)
	switch {
	case b.PublicURL != "":
		d.checkURL("publicUrl", b.PublicURL, "https://broker.example", "https", "http")
	case !isLoopback(b.Listen):
		d.at("listen", "add publicUrl: the address under which senders reach this broker",
			"publicUrl is required when listen is not a loopback address")
	}
	if b.DataDir == "" {
		d.at("dataDir", "", "dataDir is empty")
	}
	if len(b.Environment) > 50 {
		d.at("environment", "", "environment has more than 50 characters")
	}
	b.Retention.check(d, "retention", b.IdempotencyWindow)
	d.checkSpan("idempotencyWindow", int64(b.IdempotencyWindow), int64(time.Minute), int64(90*day), showDuration)
	d.checkSpan("workAway", int64(b.WorkAway), int64(ferry.MinWorkAway), int64(ferry.MaxWorkAway), showDuration)
	b.checkAdminListen(d)
	b.Drain.check(d)
	b.TLS.check(d)
	b.CORS.check(d)
	b.Limits.check(d)
	b.Queue.check(d)
	b.BodyRef.check(d)
	b.Callbacks.check(d)
	b.Secrets.check(d)
	b.AccessLog.check(d)
	b.Traces.check(d)
	b.Operators.check(d, b.Routes)
	if len(b.Routes) > ferry.MaxRoutes {
		d.at("routes", "", "there are %d routes, %d at most", len(b.Routes), ferry.MaxRoutes)
	}
	first := map[string]int{}
	b.checkSAS(d)
	for i := range b.Routes {
		r := &b.Routes[i]
		path := fmt.Sprintf("routes[%d]", i)
		r.check(d, path)
		r.Retention.check(d, path+".retention", b.IdempotencyWindow, b.Retention.Ferry())
		r.Intake.check(d, path+".intake", b.Queue.ServiceBus.Prefix)
		if line, twice := first[r.Name]; twice && r.Name != "" {
			d.at(path+".name", "", "the route %s stands here twice, first on line %d", clip(r.Name), line)
		} else {
			first[r.Name] = d.line(path + ".name")
		}
	}
	b.checkIntakes(d)
	b.checkTitles(d)
	b.checkIssuers(d)
	b.checkClientCertificates(d)
}

func (q *BrokerQueue) check(d *decoder) {
	d.checkOneOf("queue.driver", q.Driver, DriverNATS, DriverServiceBus)
	q.NATS.check(d)
	if q.Driver == DriverServiceBus || d.has("queue.servicebus") {
		q.ServiceBus.check(d, "queue.servicebus")
	}
}

func (r *BrokerRoute) check(d *decoder, path string) {
	if r.Name == "" {
		d.at(path, "add name:", "%s has no name", path)
	} else {
		d.checkName(path+".name", "route", r.Name)
	}
	d.checkText(path+".title", r.Title, maxTitle)
	d.checkText(path+".description", r.Description, maxDescription)
	d.checkSpan(path+".timeToLive", int64(r.TimeToLive), int64(time.Second), int64(365*day), showDuration)
	d.checkSpan(path+".maxBytes", int64(r.MaxBytes), 1, ferry.MaxBody, showBytes)
	d.checkSpan(path+".window", int64(r.Window), 1, ferry.MaxWindow, func(n int64) string { return fmt.Sprint(n) })
	d.checkOneOf(path+".onDeadLetter", r.OnDeadLetter, "park", "continue")
	d.checkOneOf(path+".duplicates", string(r.Duplicates), string(ferry.DuplicatesTracking), string(ferry.DuplicatesRun), string(ferry.DuplicatesOff))
	r.checkPull(d, path)
	r.RouteLimit.check(d, path)
	r.checkForm(d, path)
	r.checkWindows(d, path)
	d.checkSpan(path+".workAway", int64(r.WorkAway), int64(ferry.MinWorkAway), int64(ferry.MaxWorkAway), showDuration)
	if r.Workers == workersSeveral && d.has(path+".workAway") {
		d.at(path+".workAway", "take it out", "%s.workAway: where several workers deliver a route, they claim each message at the broker and wait while it is away", path)
	}
	if len(r.SearchKeys) > maxSearchKeys {
		d.at(path+".searchKeys", "", "%s.searchKeys has %d entries, %d at most", path, len(r.SearchKeys), maxSearchKeys)
	}
	d.checkMask(path+".mask", r.Mask)
	d.checkJQ(path+".orderBy", r.OrderBy)
	for i, key := range r.SearchKeys {
		d.checkJQ(fmt.Sprintf("%s.searchKeys[%d]", path, i), key)
	}
}

const day = 24 * time.Hour

func showCount(n int64) string { return fmt.Sprint(n) }

func showBytes(n int64) string { return fmt.Sprintf("%d bytes", n) }

func showDuration(n int64) string {
	d := time.Duration(n)
	if d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}
