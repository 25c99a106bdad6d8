package natsqueue

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"ferry/queue"
	"ferry/queue/queuetest"
)

// The queue on a NATS server that somebody else runs: it has a configuration
// file and an account, and takes the entries that the commands print.
func TestConformanceExternal(t *testing.T) {
	queuetest.Run(t, queuetest.Harness{
		Lock: testLock, Durable: true,
		Open: func(tb testing.TB, dir string) *queuetest.Env {
			return openElsewhere(tb, dir, elsewhereOptions{}).env()
		},
	})
}

// elsewhere is a NATS server with a configuration file.
type elsewhere struct {
	tb      testing.TB
	opts    elsewhereOptions
	file    string
	address string
	server  *server.Server
	seed    []byte // the broker's

	mu      sync.Mutex
	workers map[string]string // configuration by name
}

// elsewhereOptions change the configuration.
type elsewhereOptions struct {
	noJetStream    bool
	accountLimits  string // of jetstream in the account; empty: enabled
	top            string // more lines
	brokerConfig   func(text string) string
	brokerReplicas int
	maxStore       int64
}

const adminPassword = "admin"

func openElsewhere(tb testing.TB, dir string, opts elsewhereOptions) *elsewhere {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	e := &elsewhere{tb: tb, opts: opts, file: filepath.Join(dir, "nats.conf"), address: listener.Addr().String(), workers: map[string]string{}}
	if err := listener.Close(); err != nil {
		tb.Fatal(err)
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		tb.Fatal(err)
	}
	if e.seed, err = key.Seed(); err != nil {
		tb.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		tb.Fatal(err)
	}
	text, err := BrokerConfig(public)
	if err != nil {
		tb.Fatal(err)
	}
	if opts.brokerConfig != nil {
		text = opts.brokerConfig(text)
	}
	e.workers[brokerName] = text
	e.start(dir)
	return e
}

func (e *elsewhere) start(dir string) {
	e.tb.Helper()
	e.write(dir)
	options, err := server.ProcessConfigFile(e.file)
	if err != nil {
		e.tb.Fatal(err)
	}
	options.NoSigs, options.NoLog = true, true
	if e.server, err = server.NewServer(options); err != nil {
		e.tb.Fatal(err)
	}
	go e.server.Start()
	if !e.server.ReadyForConnections(10 * time.Second) {
		e.tb.Fatal("the server takes no connections")
	}
}

func (e *elsewhere) stop() {
	e.server.Shutdown()
	e.server.WaitForShutdown()
}

// write writes the configuration; e.mu is held, or nobody else is there yet.
func (e *elsewhere) write(dir string) {
	e.tb.Helper()
	jetstream, account := fmt.Sprintf("jetstream {store_dir: %q}", filepath.Join(dir, "elsewhere")), "jetstream: enabled"
	if e.opts.noJetStream {
		jetstream, account = "", ""
	}
	if e.opts.accountLimits != "" {
		account = "jetstream: " + e.opts.accountLimits
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "listen: %q\n%s\n%s\naccounts {\n FERRY {\n%s\nusers: [\n{user: admin, password: %s}\n",
		e.address, jetstream, e.opts.top, account, adminPassword)
	for _, user := range e.workers {
		text.WriteString(user)
	}
	text.WriteString("]\n }\n}\n")
	if err := os.WriteFile(e.file, text.Bytes(), 0o600); err != nil {
		e.tb.Fatal(err)
	}
}

func (e *elsewhere) change(name, config string) {
	e.tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.workers[name] = config
	e.write(filepath.Dir(e.file))
	if err := e.server.Reload(); err != nil {
		e.tb.Fatal(err)
	}
}

func (e *elsewhere) url() string { return "nats://" + e.address }

func (e *elsewhere) connect() (queue.Driver, error) {
	return ConnectBroker(e.tb.Context(), ExternalOptions{
		URL: e.url(), Seed: slices.Clone(e.seed), Replicas: e.opts.brokerReplicas,
		Limits: Limits{Lock: testLock, MaxStoreBytes: e.opts.maxStore}, Log: testLog(e.tb),
	})
}

// admin is a login of the account that may do everything.
func (e *elsewhere) admin() (jetstream.JetStream, func()) {
	e.tb.Helper()
	nc, err := nats.Connect(e.url(), nats.UserInfo("admin", adminPassword))
	if err != nil {
		e.tb.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		e.tb.Fatal(err)
	}
	return js, nc.Close
}

func (e *elsewhere) env() *queuetest.Env {
	return &queuetest.Env{
		Broker: func() queue.Driver {
			d, err := e.connect()
			if err != nil {
				e.tb.Fatal(err)
			}
			return d
		},
		Worker: e.worker,
		Revoke: func(name string) { e.change(name, "") },
		Lose: func() {
			js, done := e.admin()
			defer done()
			for _, name := range []string{messageStream, receiptStream} {
				if err := js.DeleteStream(e.tb.Context(), name); err != nil {
					e.tb.Fatal(err)
				}
			}
		},
		Stop: e.stop,
	}
}

func (e *elsewhere) worker(name string, routes ...string) queue.Driver {
	e.tb.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		e.tb.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		e.tb.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		e.tb.Fatal(err)
	}
	text, err := WorkerConfig(WorkerAuth{Name: name, PublicKey: public, Routes: routes})
	if err != nil {
		e.tb.Fatal(err)
	}
	e.change(name, text)
	d, err := Connect(e.tb.Context(), ConnectOptions{Log: testLog(e.tb), Worker: name, Seed: seed, URL: e.url()})
	if err != nil {
		e.tb.Fatal(err)
	}
	return d
}

// What is amiss elsewhere is told at the start, in words for its operator.
func TestConnectBrokerRefused(t *testing.T) {
	var unsuitable *UnsuitableError
	var denied *DeniedError
	without := func(subject string) func(string) string {
		return func(text string) string { return strings.ReplaceAll(text, fmt.Sprintf("%q", subject), `"other"`) }
	}
	for name, c := range map[string]struct {
		opts elsewhereOptions
		as   any // nil: queue.ErrUnauthorized
		want string
	}{
		"no JetStream":                {elsewhereOptions{noJetStream: true}, &unsuitable, "no JetStream"},
		"no JetStream in the account": {elsewhereOptions{accountLimits: "disabled"}, &unsuitable, "not enabled for account"},
		"no nkeys at all":             {elsewhereOptions{brokerConfig: func(string) string { return "" }}, nil, ""},
		"unknown key": {elsewhereOptions{brokerConfig: func(text string) string {
			other, _ := newKey(t)
			return regexp.MustCompile(`nkey: U\w+`).ReplaceAllString(text, "nkey: "+other)
		}}, nil, ""},
		"small payload":              {elsewhereOptions{top: "max_payload: 100KB"}, &unsuitable, "max_payload"},
		"too little room":            {elsewhereOptions{accountLimits: "{max_file: 1MB}"}, &unsuitable, "insufficient storage"},
		"too few streams":            {elsewhereOptions{accountLimits: "{max_streams: 1, max_file: 100GB}"}, &unsuitable, "number of streams"},
		"too few consumers":          {elsewhereOptions{accountLimits: "{max_consumers: 1, max_file: 100GB}"}, &unsuitable, "consumers limit"},
		"replicas on one server":     {elsewhereOptions{brokerReplicas: 3}, &unsuitable, "replicas"},
		"no right to ask":            {elsewhereOptions{brokerConfig: without(accountSubject)}, &denied, accountSubject},
		"no right to make streams":   {elsewhereOptions{brokerConfig: without("$JS.API.STREAM.*.FERRY_RCPT")}, &denied, "$JS.API.STREAM.INFO.FERRY_RCPT"},
		"no right to make consumers": {elsewhereOptions{brokerConfig: without("$JS.API.CONSUMER.*.FERRY_MSG.>")}, &denied, "$JS.API.CONSUMER.INFO.FERRY_MSG." + "invoices"},
		"no inbox":                   {elsewhereOptions{brokerConfig: without("ferry.inbox.-broker.>")}, &denied, "ferry.inbox.-broker."},
	} {
		t.Run(name, func(t *testing.T) {
			e := openElsewhere(t, t.TempDir(), c.opts)
			defer e.stop()
			ctx := patient(t)
			began := time.Now()
			d, err := e.connect()
			if err == nil {
				for _, a := range []queue.Address{queue.AllReceipts(), queue.MessagesOf("invoices"), queue.MessagesOf("orders")} {
					if err == nil {
						_, err = d.Ensure(ctx, a)
					}
				}
				defer d.Close(ctx)
			}
			if c.as == nil {
				if !errors.Is(err, queue.ErrUnauthorized) {
					t.Fatalf("%v, want ErrUnauthorized", err)
				}
			} else if !errors.As(err, c.as) {
				t.Fatalf("%v of %T", err, err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%q does not say %q", err, c.want)
			}
			if errors.As(err, &unsuitable) && unsuitable.Hint == "" {
				t.Error("there is no hint")
			}
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func TestConnectBrokerSeveralURLs(t *testing.T) {
	e := openElsewhere(t, t.TempDir(), elsewhereOptions{})
	defer e.stop()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := "nats://" + nobody.Addr().String()
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := ConnectBroker(t.Context(), ExternalOptions{URL: gone + "," + e.url(), Seed: slices.Clone(e.seed)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close(t.Context())
	if _, err := ConnectBroker(t.Context(), ExternalOptions{URL: gone, Seed: slices.Clone(e.seed)}); !errors.Is(err, queue.ErrUnavailable) {
		t.Fatalf("nobody there: %v", err)
	}
	if _, err := ConnectBroker(t.Context(), ExternalOptions{URL: e.url(), Seed: []byte("SUNOTASEED")}); err == nil || strings.Contains(err.Error(), "NOTASEED") {
		t.Fatalf("a bad seed: %v", err)
	}
}

// Two brokers in one account would take each other's receipts.
func TestAnotherBrokerIsFound(t *testing.T) {
	e := openElsewhere(t, t.TempDir(), elsewhereOptions{})
	defer e.stop()
	ctx := patient(t)
	one, err := e.connect()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := one.Serve(ctx, nil); err != nil {
		t.Fatal(err)
	}
	var unsuitable *UnsuitableError
	if two, err := e.connect(); !errors.As(err, &unsuitable) || !strings.Contains(err.Error(), "another broker") {
		t.Fatalf("%v, %v", two, err)
	}
	if err := one.Close(ctx); err != nil {
		t.Fatal(err)
	}
	two, err := e.connect()
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	if err := two.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// A stream that somebody emptied is as one that was made anew; what we remove
// ourselves is no loss.
func TestPurgeIsALoss(t *testing.T) {
	e := openElsewhere(t, t.TempDir(), elsewhereOptions{})
	defer e.stop()
	ctx := patient(t)
	opened, err := e.connect()
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close(ctx)
	d := opened.(*driver)
	address := queue.MessagesOf("invoices")
	if _, err := d.Ensure(ctx, address); err != nil {
		t.Fatal(err)
	}
	incarnation := func() string {
		t.Helper()
		p, err := d.Progress(ctx, address)
		if err != nil {
			t.Fatal(err)
		}
		return p.Incarnation
	}
	first := incarnation()
	var packets []queue.Packet
	for i := range 10 {
		packets = append(packets, queue.Packet{ID: fmt.Sprint(i), Data: []byte("x")})
	}
	if _, err := d.Publish(ctx, address, packets); err != nil {
		t.Fatal(err)
	}
	stream, err := d.keep.manager.js.Stream(ctx, messageStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.keep.manager.purge(ctx, stream, jetstream.WithPurgeSequence(5)); err != nil {
		t.Fatal(err)
	}
	if now := incarnation(); now != first {
		t.Fatalf("what we removed ourselves counts as a loss: %s, %s", first, now)
	}
	js, done := e.admin()
	defer done()
	other, err := js.Stream(ctx, messageStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Purge(ctx); err != nil {
		t.Fatal(err)
	}
	second := incarnation()
	if second == first || incarnation() != second {
		t.Fatalf("the purge: %s, then %s", first, second)
	}
	if err := js.DeleteConsumer(ctx, messageStream, "invoices"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Progress(ctx, address); !errors.Is(err, queue.ErrNotFound) {
		t.Fatalf("without its consumer: %v", err)
	}
	if made, err := d.Ensure(ctx, address); err != nil || !made {
		t.Fatalf("the consumer made anew: %v, %v", made, err)
	}
	if now := incarnation(); now != second {
		t.Fatalf("a consumer made anew loses nothing: %s, %s", second, now)
	}
}
