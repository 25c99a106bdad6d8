package sbqueue

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/sbemu"
	"ferry/internal/servicebus"
	"ferry/queue"
	"ferry/queue/queuetest"
)

const testLock = 2 * time.Second

func TestConformance(t *testing.T) {
	queuetest.Run(t, queuetest.Harness{
		Lock:    testLock,
		Durable: true,
		Open:    func(tb testing.TB, dir string) *queuetest.Env { return openEnv(tb, dir).Env },
	})
}

// env is a namespace with the drivers of a broker and its workers. The namespace
// outlives them, and the process: another finds in the folder where it is.
type env struct {
	*queuetest.Env
	tb        testing.TB
	double    *sbemu.Server // nil in another process
	namespace string        // its connection string
	admin     string        // its administration; empty: where the namespace is
	names     names
	lock      time.Duration

	mu      sync.Mutex
	workers []WorkerAuth
	seen    []string // names of workers, also of those that were revoked
	brokers []*Broker
}

// started are the doubles of this process by their folders.
var started sync.Map

func openEnv(tb testing.TB, dir string) *env {
	tb.Helper()
	e := &env{tb: tb, lock: testLock, names: names{DefaultPrefix}}
	place := filepath.Join(dir, "namespace")
	if text, err := os.ReadFile(place); err == nil {
		e.namespace, e.admin, _ = strings.Cut(string(text), " ")
		if double, here := started.Load(dir); here {
			e.double = double.(*sbemu.Server)
		}
	} else {
		e.start(dir, place)
	}
	e.open()
	return e
}

func (e *env) open() {
	e.Env = &queuetest.Env{
		Broker:   func() queue.Driver { return e.broker() },
		Worker:   func(name string, routes ...string) queue.Driver { return e.worker(name, routes...) },
		Revoke:   e.revoke,
		Lose:     e.lose,
		SetAside: e.setAside,
		Stop:     func() {},
	}
}

func (e *env) start(dir, place string) {
	e.tb.Helper()
	double, err := sbemu.Start(sbemu.Options{Log: testLog(e.tb)})
	if err != nil {
		e.tb.Fatal(err)
	}
	e.double, e.namespace, e.admin = double, double.ConnectionString(), "http://"+double.Addr()
	if err := os.WriteFile(place, []byte(e.namespace+" "+e.admin), 0o600); err != nil {
		e.tb.Fatal(err)
	}
	started.Store(dir, double)
	e.tb.Cleanup(func() {
		started.Delete(dir)
		if err := double.Close(); err != nil {
			e.tb.Error(err)
		}
	})
}

func testLog(tb testing.TB) *slog.Logger {
	if os.Getenv("SBQUEUE_LOG") != "" {
		return slog.New(slog.NewTextHandler(tb.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// config is that of who may do everything.
func (e *env) config() servicebus.Config {
	return servicebus.Config{ConnectionString: e.namespace, AdminURL: e.admin}
}

func (e *env) broker() *Broker {
	e.tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	b, err := openBroker(BrokerOptions{
		Client: e.config(), Prefix: e.names.prefix, Lock: e.lock, Provision: true,
		Workers: slices.Clone(e.workers), Log: testLog(e.tb),
	})
	if err != nil {
		e.tb.Fatal(err)
	}
	b.inspect(e.tb.Context(), nil, nil)
	e.brokers = append(e.brokers, b)
	return b
}

// worker registers the worker with a new key, and with rights on its own queues
// only.
func (e *env) worker(name string, routes ...string) *Worker {
	e.tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	public, seed := login(e.tb)
	login := e.namespace
	if e.double != nil {
		rights := map[string]sbemu.Rights{e.names.receipts(): sbemu.Send, e.names.questions(): sbemu.Send, e.names.worker(name): sbemu.Listen}
		for _, route := range routes {
			rights[e.names.messages(route)] = sbemu.Listen
		}
		e.double.SetPolicy(name, sbemu.Policy{Keys: []string{"key-of-" + name}, Entities: rights})
		login = e.double.ConnectionStringOf(name)
	}
	e.workers = append(e.workers, WorkerAuth{Name: name, PublicKey: public, Routes: routes})
	e.seen = append(e.seen, name)
	e.tell()
	w, err := openWorker(WorkerOptions{
		Client: servicebus.Config{ConnectionString: login}, Prefix: e.names.prefix, Worker: name, Seed: seed, Lock: e.lock, Log: testLog(e.tb),
	})
	if err != nil {
		e.tb.Fatal(err)
	}
	return w
}

// tell tells the brokers who may be heard; e.mu is held.
func (e *env) tell() {
	for _, b := range e.brokers {
		if err := b.SetWorkers(e.tb.Context(), slices.Clone(e.workers)); err != nil {
			e.tb.Fatal(err)
		}
	}
}

func (e *env) revoke(name string) {
	e.tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.workers = slices.DeleteFunc(e.workers, func(w WorkerAuth) bool { return w.Name == name })
	e.tell()
	e.double.Revoke(name)
}

// lose deletes every queue behind the driver's back.
func (e *env) lose() {
	e.tb.Helper()
	if e.double == nil {
		e.deleteAll()
		return
	}
	for _, q := range e.double.Namespace().Queues() {
		if err := e.double.Namespace().Delete(q.Config().Name); err != nil {
			e.tb.Fatal(err)
		}
	}
}

// client is somebody else's, with every right.
func (e *env) client() *servicebus.Client {
	e.tb.Helper()
	client, err := servicebus.Dial(e.config())
	if err != nil {
		e.tb.Fatal(err)
	}
	return client
}

// setAside moves what lies there as somebody with the right to listen may.
func (e *env) setAside(address queue.Address, reason, description string) {
	e.tb.Helper()
	ctx, cancel := context.WithTimeout(e.tb.Context(), 20*time.Second)
	defer cancel()
	client := e.client()
	defer client.Close(ctx)
	r := client.Receiver(e.names.of(address), servicebus.ReceiverOptions{})
	for {
		left, err := r.Peek(ctx, 0, 1)
		if err != nil {
			e.tb.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
		list, err := r.Receive(ctx, 100)
		if err != nil {
			e.tb.Fatal(err)
		}
		for _, m := range list {
			if err := r.DeadLetter(ctx, m, reason, description, nil); err != nil {
				e.tb.Fatal(err)
			}
		}
	}
}

func BenchmarkDouble(b *testing.B) {
	queuetest.Benchmark(b, queuetest.Harness{Open: func(tb testing.TB, dir string) *queuetest.Env {
		e := openEnv(tb, dir)
		e.lock = time.Minute
		return e.Env
	}})
}
