package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/httpauth"
	"ferry/retry"
)

func env(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

const goodBroker = `
listen: 127.0.0.1:9090
environment: ${env:STAGE}
dataDir: /var/lib/ferry
queue:
  driver: nats
  nats: {listen: 127.0.0.1:4333, lock: PT45S}
retention: 10d
workAway: 2h
routes:
  - name: supplier-invoices
    orderBy: .invoice.number
    searchKeys: [.invoice.number]
    timeToLive: 7d
    maxBytes: 2MiB
    window: 500
    workers: one
    workAway: 1h
    onDeadLetter: continue
    duplicates: run
    owner: {name: Accounts payable, email: ap@example.com}
  - name: orders
`

func TestBroker(t *testing.T) {
	b, err := Loader{LookupEnv: env("STAGE", "test")}.parseBroker([]byte(goodBroker), "broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if b.Listen != "127.0.0.1:9090" || b.PublicURL != "http://127.0.0.1:9090" || b.Environment != "test" ||
		b.Queue.NATS.Lock != 45*time.Second || b.Retention.Completed != 10*day || b.Retention.Discarded != 10*day || b.IdempotencyWindow != 7*day {
		t.Fatalf("%+v", b)
	}
	want := []ferry.Route{
		{
			Name: "supplier-invoices", OrderBy: ".invoice.number", SearchKeys: []string{".invoice.number"},
			TimeToLive: 7 * day, MaxBytes: 2 << 20, Window: 500, OnDeadLetter: "continue", WorkAway: time.Hour,
			Owner: &ferry.Owner{Name: "Accounts payable", Email: "ap@example.com"}, Duplicates: ferry.DuplicatesRun,
		},
		{Name: "orders", Duplicates: ferry.DuplicatesTracking, TimeToLive: 30 * day, MaxBytes: 1 << 20, Window: 2000, OnDeadLetter: "park", WorkAway: 2 * time.Hour},
	}
	if diff := cmp.Diff(want, b.FerryRoutes()); diff != "" {
		t.Fatal(diff)
	}
}

func TestDefaultIsWhatAnEmptyFileSays(t *testing.T) {
	b, err := Loader{}.parseBroker([]byte("# nothing\n"), "broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), b, exceptSums()); diff != "" {
		t.Fatal(diff)
	}
	if b.Listen != "127.0.0.1:8080" || b.PublicURL != "http://127.0.0.1:8080" || b.DataDir != "./data" {
		t.Fatalf("%+v", b)
	}
}

// wrong is a fault at a place, with words that its sentence and hint must hold.
type wrong struct{ yaml, want, hint string }

func check(t *testing.T, err error, c wrong) {
	t.Helper()
	var edge *ferry.Error
	var problems Problems
	if !errors.As(err, &edge) || edge.Code != ferry.CodeBadConfig || !errors.As(err, &problems) {
		t.Fatalf("error %v of type %T", err, err)
	}
	if !strings.Contains(err.Error(), c.want) {
		t.Fatalf("error %q does not say %q", err, c.want)
	}
	for _, p := range problems {
		if strings.Contains(p.String(), c.want) && !strings.Contains(p.Hint, c.hint) {
			t.Fatalf("hint %q does not say %q", p.Hint, c.hint)
		}
	}
}

func TestBrokerRefuses(t *testing.T) {
	for name, c := range map[string]wrong{
		"unknown key":         {"listen: 127.0.0.1:1\nlistn: x\n", `f.yaml:2: unknown key "listn"`, "did you mean listen?"},
		"unknown nested key":  {"routes:\n  - name: a1\n    orderby: .x\n", `f.yaml:3: unknown key "orderby" in routes[0]`, "orderBy"},
		"duplicate key":       {"listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", "f.yaml:2: listen stands here twice, first on line 1", ""},
		"wrong type":          {"routes: 5\n", "f.yaml:1: routes must be a list", "dash"},
		"list for a word":     {"listen: [a]\n", "f.yaml:1: listen must be a single value", ""},
		"not a number":        {"routes:\n  - name: a1\n    window: many\n", `f.yaml:3: routes[0].window: "many" is not a whole number`, ""},
		"not yaml":            {"listen: [\n", "this is not YAML", ""},
		"two documents":       {"listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2\n", "more than one document", ""},
		"bad duration":        {"retention: soon\n", `f.yaml:1: retention: "soon" is not a duration`, "30d"},
		"too short":           {"retention: 1s\n", "f.yaml:1: retention must lie between 1h0m0s and 3650d", ""},
		"bad size":            {"routes:\n  - name: a1\n    maxBytes: big\n", `f.yaml:3: routes[0].maxBytes: "big" is not a size`, "1MiB"},
		"too large":           {"routes:\n  - name: a1\n    maxBytes: 1GiB\n", "f.yaml:3: routes[0].maxBytes must lie between", ""},
		"bad name":            {"routes:\n  - name: Invoices\n", `f.yaml:2: routes[0].name: "Invoices" cannot be the name of a route`, "letter first"},
		"reserved name":       {"routes:\n  - name: metrics\n", "reserved", ""},
		"same name twice":     {"routes:\n  - name: a1\n  - name: a1\n", "f.yaml:3: the route a1 stands here twice, first on line 2", ""},
		"no name":             {"routes:\n  - window: 5\n", "f.yaml:2: routes[0] has no name", "name:"},
		"variable not set":    {"environment: ${env:NOWHERE}\n", "f.yaml:1: environment: the environment variable NOWHERE is not set", "NOWHERE"},
		"unclosed variable":   {"environment: ${env:NO\n", "has no name and closing brace", "${env:NAME}"},
		"bad jq":              {"routes:\n  - name: a1\n    orderBy: '.a['\n", "f.yaml:3: routes[0].orderBy", ""},
		"public url needed":   {"listen: 0.0.0.0:8080\n", "f.yaml:1: publicUrl is required", "publicUrl"},
		"public url is none":  {"publicUrl: broker\n", "f.yaml:1: publicUrl is not a URL", "https://"},
		"bad listen":          {"listen: here\n", `f.yaml:1: listen: "here" is not an address`, "HOST:PORT"},
		"unknown driver":      {"queue: {driver: natz}\n", `queue.driver: "natz" is not known`, "did you mean nats?"},
		"callbacks, no host":  {"callbacks: {allow: ['http://h']}\n", "f.yaml:1: callbacks.allow[0]", "10.20.0.0/16"},
		"callbacks, a number": {"callbacks:\n  allow:\n    - 10.20.30\n", "f.yaml:3: callbacks.allow[0]: \"10.20.30\" names nothing", ""},
		"callbacks, bad port": {"callbacks: {allow: ['h.example:0']}\n", "callbacks.allow[0]", ""},
		"callbacks, no file":  {"callbacks: {ca: none.pem}\n", "callbacks.ca: there is no file none.pem", ""},
		"callbacks, too long": {"callbacks: {timeout: 2m}\n", "callbacks.timeout must lie between 1s and 1m0s", ""},
		"tls half":            {"listen: 127.0.0.1:1\ntls: {cert: a}\n", "f.yaml:2: tls: cert and key are both needed", "key: FILE"},
		"tls no file":         {"tls:\n  cert: a.pem\n  key: b.pem\n", "f.yaml:3: tls.key: there is no file b.pem", ""},
		"tls version":         {"tls: {cert: a, key: a, minVersion: 1.1}\n", "tls.minVersion: \"1.1\" is not known", "1.2"},
		"cors any":            {"cors: {origins: ['*']}\n", "cors.origins[0]: * is not taken", "list each origin"},
		"cors path":           {"cors: {origins: ['https://a.example/']}\n", "is not an origin", "https://portal.example"},
		"rate":                {"limits: {perKey: {rate: 600}}\n", "\"600\" is not a rate", "600/m"},
		"burst alone":         {"limits:\n  perKey:\n    burst: 5\n", "f.yaml:3: limits.perKey: a burst without a rate", "600/m"},
		"short quota":         {"routes:\n  - name: a1\n    quota: 5/m\n", "routes[0]: the quota 5/m is for a time", "10000/d"},
		"no connections":      {"limits: {connections: -1}\n", "limits.connections must lie between 1 and", ""},
		"schema not there":    {"routes:\n  - name: a1\n    schema: s.json\n", "f.yaml:3: routes[0].schema: s.json: s.json cannot be read", "working directory"},
		"window, no name":     {"routes:\n  - name: a1\n    windows: [{cron: '0 18 L * *', for: 14h}]\n", "routes[0].windows[0] has no name", "month-end"},
		"window, twice":       {"routes:\n  - name: a1\n    windows: [{name: w1, cron: '0 18 L * *', for: 14h}, {name: w1, dates: [2026-12-24]}]\n", "the window w1 stands here twice", ""},
		"window, never":       {"routes:\n  - name: a1\n    windows: [{name: w1, cron: '0 0 31 2 *', for: 14h}]\n", "never comes", "such a day"},
		"window, no zone":     {"routes:\n  - name: a1\n    windows:\n      - {name: w1, cron: '0 18 L * *', for: 14h, zone: Berlin}\n", "f.yaml:4: routes[0].windows[0]: window w1: \"Berlin\" is not a time zone", "Europe/Berlin"},
		"window, no for":      {"routes:\n  - name: a1\n    windows: [{name: w1, cron: '0 18 L * *'}]\n", "for is 0s", "14h"},
		"window, no cron":     {"routes:\n  - name: a1\n    windows: [{name: w1, cron: 'monthly', for: 1h}]\n", "has not five fields", "0 18 L * *"},
		"window, two days":    {"routes:\n  - name: a1\n    windows: [{name: w1, cron: '0 18 1-7 * MON', for: 1h}]\n", "names days of the month and days of the week", "FRI#1"},
		"window, no date":     {"routes:\n  - name: a1\n    windows: [{name: w1, dates: [24.12.2026]}]\n", "is not a date", "2026-12-24"},
		"window, backwards":   {"routes:\n  - name: a1\n    windows: [{name: w1, dates: [2026-12-26..2026-12-24]}]\n", "ends before it begins", ""},
		"many workers":        {"routes:\n  - name: a1\n    workers: severel\n", `f.yaml:3: routes[0].workers: "severel" is not known`, "did you mean several?"},
		"word too short":      {"workAway: 10s\n", "f.yaml:1: workAway must lie between 20s and 3d", ""},
		"word too long":       {"routes:\n  - name: a1\n    workAway: 4d\n", "f.yaml:3: routes[0].workAway must lie between 20s and 3d", ""},
		"word of several":     {"routes:\n  - name: a1\n    workers: several\n    workAway: 1h\n", "f.yaml:4: routes[0].workAway: where several workers deliver a route", "take it out"},
		"url and listen":      {"queue: {nats: {url: nats://x:4222, nkey: env:K, listen: 127.0.0.1:4222}}\n", "queue.nats.listen and queue.nats.url exclude each other", "take one"},
		"url without nkey":    {"queue: {nats: {url: nats://x:4222}}\n", "queue.nats.nkey is missing", "broker nats key"},
		"ca without url":      {"queue: {nats: {ca: f.pem}}\n", "queue.nats.ca is for a NATS server elsewhere", "url"},
		"ca without tls":      {"queue: {nats: {url: 'nats://x:4222', nkey: env:K, ca: config.go}}\n", "queue.nats.ca is for a way with TLS", "tls://"},
		"nkey without url":    {"queue: {nats: {nkey: env:K}}\n", "queue.nats.nkey is for a NATS server elsewhere", "url"},
		"replicas alone":      {"queue: {nats: {replicas: 3}}\n", "queue.nats.replicas is for a NATS server elsewhere", "url"},
		"two replicas":        {"queue: {nats: {url: nats://x:4222, nkey: env:K, replicas: 2}}\n", "queue.nats.replicas must be 1, 3 or 5", "cluster"},
		"nats: no url":        {"queue: {nats: {url: 'nats://x:4222,y', nkey: env:K}}\n", "queue.nats.url is not a URL", "nats://"},
		"nats: password":      {"queue: {nats: {url: 'nats://u:p@x:4222', nkey: env:K}}\n", "queue.nats.url holds credentials", ""},
		"nats: literal seed":  {"queue: {nats: {url: nats://x:4222, nkey: SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA}}\n", "a secret stands in queue.nats.nkey literally", "env:"},
		"nats: no such seed":  {"queue: {nats: {url: nats://x:4222, nkey: ./none.nk}}\n", "there is no file ./none.nk", "broker nats key"},
		"nats: small store":   {"queue: {nats: {maxStore: 1MiB}}\n", "queue.nats.maxStore must lie between", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Loader{LookupEnv: env()}.parseBroker([]byte(c.yaml), "f.yaml")
			check(t, err, c)
		})
	}
}

func TestAllFaultsAreTold(t *testing.T) {
	_, err := Loader{}.parseBroker([]byte("listn: x\nretention: soon\nroutes:\n  - name: a1\n    window: many\n"), "f.yaml")
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Fatalf("problems %v", err)
	}
	for i, line := range []int{1, 2, 5} {
		if problems[i].Line != line {
			t.Fatalf("problem %d is on line %d: %s", i, problems[i].Line, problems[i])
		}
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 3 || !strings.Contains(lines[0], "(did you mean listen?)") {
		t.Fatalf("error %q", err)
	}
}

func TestMissingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.yaml")
	_, err := LoadBroker(path)
	check(t, err, wrong{"", path + ": the configuration cannot be read: no such file", ""})
	_, err = LoadWorker(t.TempDir())
	check(t, err, wrong{"", "cannot be read", ""})
}

const goodWorker = `
name: erp-worker-1
dataDir: ./worker-data
listen: off
queue: {driver: nats, nats: {url: "nats://broker.example:4222", nkey: SEED, lock: 20s}}
destinations:
  erp:
    adapter: erp
    dialect: rest
    url: https://erp.example/api
    auth: {type: apiKey, header: x-api-key, key: "env:ERP_KEY"}
    timeout: 10s
    concurrency: 8
    rate: 600/m
    health: {url: /ping}
    headers: {X-Client: "${env:CLIENT}"}
routes:
  - name: supplier-invoices
    destination: erp
    retry: {attempts: 5, initialDelay: 1s, maxDelay: 5m}
    url: /invoices
    map: '{number: .invoice.number}'
    reference: .id
    lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}
  - name: orders
    destination: erp
    url: /orders
    onUnknown: repost
    settleTime: 5s
    confirm: poll
    poll: {state: .status}
  - name: own-nested
    destination: {adapter: erp, url: https://other.example, timeout: 5s}
  - name: own-inline
    adapter: erp
    url: https://third.example/things
    auth: {type: basic, username: u, password: env:PW}
    concurrency: 2
`

func writeSeed(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w.nk")
	if err := os.WriteFile(path, []byte("SUAB"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestClientCredentials(t *testing.T) {
	const text = `
name: w1
queue: {nats: {url: "nats://x:4222", nkey: env:SEED}}
destinations:
  erp:
    adapter: erp
    url: https://erp.example
    auth:
      type: oauth2
      tokenUrl: https://login.example/token
      clientId: ferry
      clientSecret: env:SECRET
      clientAuth: body
      scopes: [one, two]
      audience: erp
routes:
  - {name: a1, destination: erp}
`
	w, err := Loader{LookupEnv: env("SEED", "SUAB")}.parseWorker([]byte(text), "worker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := httpauth.Config{
		Type: "oauth2", TokenURL: "https://login.example/token", ClientID: "ferry", ClientSecret: "env:SECRET", ClientAuth: "body",
		Scopes: []string{"one", "two"}, Audience: "erp",
	}
	if diff := cmp.Diff(want, w.Destinations["erp"].Auth); diff != "" {
		t.Fatal(diff)
	}
}

func TestWorker(t *testing.T) {
	seed := writeSeed(t)
	text := strings.Replace(goodWorker, "SEED", seed, 1)
	w, err := Loader{LookupEnv: env("CLIENT", "ferry")}.parseWorker([]byte(text), "worker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	erp := w.Destinations["erp"]
	if erp.Name != "erp" || erp.Timeout != 10*time.Second || erp.Concurrency != 8 || erp.Rate.PerSecond() != 10 ||
		erp.Health.URL != "/ping" || erp.Headers["X-Client"] != "ferry" || erp.Auth.Key != "env:ERP_KEY" {
		t.Fatalf("%+v", erp)
	}
	if string(w.Queue.NATS.Seed()) != "file:"+seed || w.Queue.NATS.Lock != 20*time.Second {
		t.Fatalf("%+v", w.Queue)
	}
	r := w.Routes[0]
	if r.OnUnknown != OnUnknownLookup || r.SettleTime != 20*time.Second || r.Route != "supplier-invoices" || r.URL != "/invoices" ||
		r.Retry != (retry.Policy{Attempts: 5, InitialDelay: time.Second, MaxDelay: 5 * time.Minute}) {
		t.Fatalf("%+v", r)
	}
	if r := w.Routes[1]; !r.HonoursKey || r.SettleTime != 5*time.Second {
		t.Fatalf("%+v", r)
	}
	if r := w.Routes[1]; r.Confirm != "poll" || r.ConfirmWithin != 24*time.Hour || r.PollInterval() != 5*time.Second || r.Poll.State != ".status" ||
		w.Routes[0].ConfirmWithin != 0 || w.Routes[0].PollInterval() != 0 {
		t.Fatalf("%+v", r)
	}
	if r := w.Routes[2]; r.Destination.Name != "own-nested" || r.OnUnknown != OnUnknownHold || w.Destinations["own-nested"].Timeout != 5*time.Second {
		t.Fatalf("%+v", r)
	}
	own := w.Destinations["own-inline"]
	if own == nil || own.URL != "https://third.example/things" || own.Concurrency != 2 || own.Auth.Username != "u" ||
		own.Timeout != DefaultTimeout || w.Routes[3].URL != "" || w.Routes[3].Destination.Name != "own-inline" {
		t.Fatalf("%+v", own)
	}
}

func TestWorkerRefuses(t *testing.T) {
	const top = "name: w1\nqueue: {nats: {url: 'nats://x:4222', nkey: env:SEED}}\n"
	const dest = top + "destinations:\n  erp: {adapter: erp, url: 'https://erp.example'}\n"
	for name, c := range map[string]wrong{
		"no routes":           {dest, "the worker has no routes", "routes:"},
		"no name":             {"queue: {nats: {url: 'nats://x:4222', nkey: env:SEED}}\n", "the worker has no name", ""},
		"unknown destination": {dest + "routes:\n  - {name: a1, destination: erb}\n", `f.yaml:6: routes[0]: there is no destination "erb"`, "did you mean erp?"},
		"no destination":      {dest + "routes:\n  - {name: a1}\n", "f.yaml:6: routes[0] has no destination", ""},
		"both":                {dest + "routes:\n  - {name: a1, destination: erp, timeout: 5s}\n", "routes[0].timeout belongs to a destination", ""},
		"lookup without":      {dest + "routes:\n  - {name: a1, destination: erp, onUnknown: lookup}\n", "no lookup is configured", "lookup:"},
		"bad onUnknown":       {dest + "routes:\n  - {name: a1, destination: erp, onUnknown: repos}\n", `"repos" is not known`, "repost"},
		"bad confirm":         {dest + "routes:\n  - {name: a1, destination: erp, confirm: pol}\n", `"pol" is not known`, "poll"},
		"poll, no confirm":    {dest + "routes:\n  - {name: a1, destination: erp, poll: {interval: 1s}}\n", "f.yaml:6: routes[0].poll is for destinations that answer later", "confirm: poll"},
		"within too short":    {dest + "routes:\n  - {name: a1, destination: erp, confirm: poll, confirmWithin: 5s}\n", "routes[0].confirmWithin", ""},
		"within too long":     {dest + "routes:\n  - {name: a1, destination: erp, confirm: poll, confirmWithin: 31d}\n", "routes[0].confirmWithin", ""},
		"poll, bad state":     {dest + "routes:\n  - {name: a1, destination: erp, confirm: poll, poll: {state: '{'}}\n", "routes[0].poll.state", ""},
		"poll, too often":     {dest + "routes:\n  - {name: a1, destination: erp, confirm: poll, poll: {interval: 1ms}}\n", "routes[0].poll.interval", ""},
		"poll of a callback":  {dest + "routes:\n  - {name: a1, destination: erp, confirm: callback, poll: {interval: 1s}}\n", "routes[0].poll is for confirm: poll", ""},
		"header of a poll":    {dest + "routes:\n  - {name: a1, destination: erp, confirm: poll, confirmHeader: X-Call}\n", "routes[0].confirmHeader is for confirm: callback", ""},
		"bad map":             {dest + "routes:\n  - {name: a1, destination: erp, map: '{'}\n", "f.yaml:6: routes[0].map", ""},
		"bad retry":           {dest + "routes:\n  - {name: a1, destination: erp, retry: {attempts: -1}}\n", "f.yaml:6: routes[0]: retry: attempts is -1", ""},
		"bad rate":            {top + "destinations:\n  erp: {adapter: erp, url: 'https://e', rate: fast}\n", `"fast" is not a rate`, "600/m"},
		"no url":              {top + "destinations:\n  erp: {adapter: erp}\nroutes:\n  - {name: a1, destination: erp}\n", "f.yaml:4: destinations.erp has no url", ""},
		"credentials in url":  {top + "destinations:\n  erp: {adapter: erp, url: 'https://u:hunter2@e'}\nroutes:\n  - {name: a1, destination: erp}\n", "destinations.erp.url holds credentials", ""},
		"literal secret":      {top + "destinations:\n  erp: {adapter: erp, url: 'https://e', auth: {type: apiKey, header: x, key: hunter2}}\n", "f.yaml:4: destinations.erp.auth.key: a secret stands here literally", "env:NAME"},
		"variable in secret":  {top + "destinations:\n  erp: {adapter: erp, url: 'https://e', auth: {type: apiKey, header: x, key: '${env:K}'}}\n", "a secret stands here literally", ""},
		"literal client":      {top + "destinations:\n  erp: {adapter: erp, url: 'https://e', auth: {type: oauth2, tokenUrl: 'https://l', clientId: c, clientSecret: hunter2}}\n", "f.yaml:4: destinations.erp.auth.clientSecret: a secret stands here literally", "env:NAME"},
		"token without TLS":   {top + "destinations:\n  erp: {adapter: erp, url: 'https://e', auth: {type: oauth2, tokenUrl: 'http://l', clientId: c, clientSecret: env:K}}\n", "f.yaml:4: destinations.erp.auth: auth: tokenUrl: the client's secret may not travel without TLS", "https"},
		"mixed auth":          {top + "destinations:\n  erp: {adapter: erp, url: 'https://e', auth: {type: oauth2, password: env:K, tokenUrl: 'https://l', clientId: c, clientSecret: env:K}}\n", "password is not used with type oauth2", "tokenUrl"},
		"scopes as a text":    {top + "destinations:\n  erp: {adapter: erp, url: 'https://e', auth: {type: oauth2, tokenUrl: 'https://l', clientId: c, clientSecret: env:K, scopes: a}}\n", "f.yaml:4: destinations.erp.auth.scopes", ""},
		"literal seed":        {"name: w1\nqueue: {nats: {url: 'nats://x:4222', nkey: SUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA}}\n", "f.yaml:2: a secret stands in queue.nats.nkey literally", "path"},
		"no seed file":        {"name: w1\nqueue: {nats: {url: 'nats://x:4222', nkey: ./nowhere.nk}}\n", "f.yaml:2: queue.nats.nkey: there is no file ./nowhere.nk", "workers add"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Loader{LookupEnv: env("K", "hunter2")}.parseWorker([]byte(c.yaml), "f.yaml")
			check(t, err, c)
			if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "SUAAAA") {
				t.Fatalf("the secret is repeated: %v", err)
			}
		})
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(goodBroker))
	f.Add([]byte(goodWorker))
	f.Add([]byte("a: &a [*a]\nroutes: *a\n"))
	f.Add([]byte("routes:\n  - &r {name: a1}\n  - *r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := Loader{LookupEnv: env("STAGE", "x", "CLIENT", "y")}
		if _, err := l.parseBroker(data, "f"); err != nil && ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Fatalf("broker: %v", err)
		}
		if _, err := l.parseWorker(data, "f"); err != nil && ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Fatalf("worker: %v", err)
		}
	})
}

func TestBrokerOnNATSElsewhere(t *testing.T) {
	b, err := Loader{}.parseBroker([]byte("queue: {nats: {url: 'nats://a:4222, tls://b:4222', nkey: env:FERRY_NK, replicas: 3, maxStore: 1GiB}}\n"), "broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	n := b.Queue.NATS
	if !n.External() || n.Replicas != 3 || n.MaxStore != 1<<30 || n.Seed() != "env:FERRY_NK" {
		t.Fatalf("%+v", n)
	}
	if n := Default().Queue.NATS; n.External() {
		t.Fatalf("the default: %+v", n)
	}
}
