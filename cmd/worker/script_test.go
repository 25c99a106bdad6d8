package main

import (
	"bytes"
	"context"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"github.com/rogpeppe/go-internal/testscript"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
	"ferry/queue"
	"ferry/queue/natsqueue"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"worker": func() {
			os.Exit(run(context.Background(), os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// broker is the other end of a worker: an embedded queue that knows one worker,
// and an ERP.
type broker struct {
	server *natsqueue.Server
	queue  *queue.Queue
	erp    *practice.ERP
	erpURL string
	seed   string

	mu    sync.Mutex
	hello *queue.Hello
}

func (b *broker) Hello(_ context.Context, _ string, h queue.Hello) queue.Welcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hello = &h
	return queue.Welcome{Start: "1", Now: time.Now(), Routes: map[string]queue.RouteWelcome{"invoices": {Granted: true}}}
}

func (b *broker) Body(context.Context, string, queue.BodyRequest) ([]byte, error) {
	return nil, queue.ErrBodyMissing
}

func (*broker) Claim(context.Context, string, queue.ClaimRequest) (queue.ClaimAnswer, error) {
	return queue.ClaimAnswer{State: queue.ClaimRefused}, nil
}

func (b *broker) greeting() *queue.Hello {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.hello
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{erp: practice.New("opensesame", practice.Settings{}), seed: string(seed)}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	b.server, err = natsqueue.StartServer(natsqueue.ServerOptions{
		StoreDir: t.TempDir(), Listen: "127.0.0.1:0",
		Workers: []natsqueue.WorkerAuth{{Name: "erp-worker-1", PublicKey: public, Routes: []string{"invoices"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.server.Shutdown(ctx) })
	driver, err := b.server.Driver()
	if err != nil {
		t.Fatal(err)
	}
	b.queue = queue.New(driver, queue.Options{})
	t.Cleanup(func() { _ = b.queue.Close(ctx) })
	if _, err := b.queue.Ensure(ctx, []string{"invoices"}); err != nil {
		t.Fatal(err)
	}
	stop, err := b.queue.Serve(ctx, b)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	web := httptest.NewServer(b.erp)
	t.Cleanup(func() { web.Close(); b.erp.Close() })
	b.erpURL = web.URL
	return b
}

// startDouble is a Service Bus double with the queues of a route and its worker.
func startDouble(t *testing.T) *sbemu.Server {
	t.Helper()
	key := []string{"a2V5LW9mLXRoZS1kb3VibGU="}
	o := sbemu.Options{Policies: map[string]sbemu.Policy{
		"worker": {Keys: key, Rights: sbemu.Listen | sbemu.Send}, "sender": {Keys: key, Rights: sbemu.Send},
	}}
	for _, name := range []string{"ferry.receipts", "ferry.questions", "ferry.messages.invoices", "ferry.worker.erp-worker-1"} {
		o.Queues = append(o.Queues, entity.Config{Name: name})
	}
	s, err := sbemu.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// TestScripts runs the scripts of testdata against a queue and an ERP.
func TestScripts(t *testing.T) {
	b := startBroker(t)
	double := startDouble(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("QUEUE_URL", b.server.URL())
			env.Setenv("ERP_URL", b.erpURL)
			env.Setenv("ERP_KEY", "opensesame")
			env.Setenv("SEED", b.seed)
			for name, text := range map[string]string{
				"large.txt": strings.Repeat("x", 99_994) + "\nthe end", "binary.pdf": "%PDF\x00\xff\n", "escape.txt": "\x1b[2Jhello\n",
			} {
				if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(text), 0o600); err != nil {
					return err
				}
			}
			env.Setenv("BUS", double.ConnectionStringOf("worker"))
			env.Setenv("BUS_DEAF", double.ConnectionStringOf("sender"))
			return nil
		},
	})
}

const workerYAML = `
name: erp-worker-1
dataDir: DIR/inbox
listen: LISTEN
queue: {nats: {url: "${env:QUEUE_URL}", nkey: env:SEED}}
destinations:
  erp: {adapter: erp, dialect: rest, url: "${env:ERP_URL}", auth: {type: apiKey, header: x-api-key, key: env:ERP_KEY}}
routes:
  - name: invoices
    destination: erp
    url: /invoices
    reference: .id
    lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}
`

// TestRun delivers a message as `worker run`, and ends well when it is stopped.
func TestRun(t *testing.T) {
	b := startBroker(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "worker.yaml")
	text := strings.NewReplacer("DIR", filepath.ToSlash(dir), "LISTEN", "127.0.0.1:0").Replace(workerYAML)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"QUEUE_URL": b.server.URL(), "ERP_URL": b.erpURL, "ERP_KEY": "opensesame", "SEED": b.seed}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out, log bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"run", "--config", config, "--log-format", "json"}, lookup, strings.NewReader(""), &out, &log)
	}()
	deadline := time.Now().Add(30 * time.Second)
	for b.greeting() == nil {
		select {
		case code := <-ended:
			t.Fatalf("it ended by itself with %d:\n%s", code, log.String())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("no hello")
		}
	}
	hello := b.greeting()
	if hello.Worker != "erp-worker-1" || len(hello.Routes) != 1 || !hello.Routes[0].CanLookup {
		t.Fatalf("hello %+v", hello)
	}
	now := time.Now()
	id := ferry.NewID(now)
	body := []byte(`{"number": "4711"}`)
	if _, err := b.queue.Publish(ctx, "invoices", []ferry.HandOut{{
		ID: id, Route: "invoices", Turn: 1, Revision: 1, Generation: 1, Attempt: 1, Inbox: hello.Inbox,
		ExternalKey: id.String(), ContentType: "application/json", CreatedAt: now, PublishedAt: now,
		ExpiresAt: now.Add(time.Hour), Body: body, Size: int64(len(body)),
	}}, "a"); err != nil {
		t.Fatal(err)
	}
	bounded, stop := context.WithDeadline(ctx, deadline)
	defer stop()
	receipts, err := b.queue.ReceiveReceipts(bounded, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := receipts[0].Receipt
	if r.ID != id || r.Verdict != ferry.Delivered || receipts[0].From != "erp-worker-1" {
		t.Fatalf("receipt %+v", r)
	}
	if docs := b.erp.Documents(id.String()); len(docs) != 1 || docs[0].ID != r.Reference {
		t.Fatalf("the ERP has %+v, the receipt says %s", docs, r.Reference)
	}
	cancel()
	if code := <-ended; code != exitDone {
		t.Fatalf("exit %d:\n%s", code, log.String())
	}
	for _, want := range []string{`"msg":"delivery.attempted"`, `"verdict":"delivered"`, `"msg":"worker.stopped"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s:\n%s", want, log.String())
		}
	}
	for _, secret := range []string{"opensesame", b.seed} {
		if strings.Contains(log.String()+out.String(), secret) {
			t.Error("a secret is in the log")
		}
	}
}

// TestRunRefused: a port that is taken is told, and a worker that waits for its
// broker can be stopped.
func TestRunRefused(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	nobody := closedPort(t)
	env := map[string]string{"QUEUE_URL": "nats://" + nobody, "ERP_URL": "http://" + nobody, "ERP_KEY": "x", "SEED": string(seed)}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	start := func(listen string, wait time.Duration) (int, string) {
		dir := t.TempDir()
		config := filepath.Join(dir, "worker.yaml")
		text := strings.NewReplacer("DIR", filepath.ToSlash(dir), "LISTEN", listen).Replace(workerYAML)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), wait)
		defer cancel()
		var log bytes.Buffer
		code := run(ctx, []string{"run", "--config", config}, lookup, strings.NewReader(""), &bytes.Buffer{}, &log)
		return code, log.String()
	}
	if code, log := start(taken.Addr().String(), 10*time.Second); code != exitFailed ||
		!strings.Contains(log, "worker: error: the metrics cannot be served on") || !strings.Contains(log, "worker: hint: ") {
		t.Errorf("exit %d:\n%s", code, log)
	}
	if code, log := start("off", time.Second); code != exitDone || strings.Count(log, "broker.unavailable") != 1 {
		t.Errorf("exit %d:\n%s", code, log)
	}
}

// closedPort is an address where nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}
