package natsqueue

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"ferry/queue"
	"ferry/queue/queuetest"
)

const testLock = 300 * time.Millisecond

func TestConformanceInProcess(t *testing.T) { conformance(t, "") }

func TestConformanceTCP(t *testing.T) { conformance(t, "127.0.0.1:0") }

// Over /queue of an HTTP server with TLS, as a worker that has port 443 only.
func TestConformanceWebSocket(t *testing.T) { conformance(t, overWeb) }

// overWeb is the way over a WebSocket.
const overWeb = "/queue"

// lockOf leaves TLS the time that it takes on a machine under load.
func lockOf(listen string) time.Duration {
	if listen == overWeb {
		return 3 * testLock
	}
	return testLock
}

func conformance(t *testing.T, listen string) {
	queuetest.Run(t, queuetest.Harness{
		Lock:    lockOf(listen),
		Durable: true,
		Open:    func(tb testing.TB, dir string) *queuetest.Env { return openEnv(tb, dir, listen).Env },
	})
}

// env is a server and the workers that it knows.
type env struct {
	*queuetest.Env
	tb     testing.TB
	server *Server
	web    *webServer // nil: the way is another

	mu      sync.Mutex
	workers []WorkerAuth
}

func openEnv(tb testing.TB, dir, listen string) *env {
	tb.Helper()
	over, lock := listen, lockOf(listen)
	if listen == overWeb {
		listen = ""
	}
	s, err := StartServer(ServerOptions{StoreDir: dir, Listen: listen, Limits: Limits{Lock: lock}, Log: testLog(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	e := &env{tb: tb, server: s}
	if over == overWeb {
		e.web = serveWeb(tb, s)
	}
	e.Env = &queuetest.Env{
		Broker: func() queue.Driver {
			d, err := s.Driver()
			if err != nil {
				tb.Fatal(err)
			}
			return d
		},
		Worker: e.worker,
		Revoke: e.revoke,
		Lose:   e.lose,
		Stop: func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil {
				tb.Error(err)
			}
		},
	}
	return e
}

func testLog(tb testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(tb.Output(), nil))
	}
	return slog.New(slog.DiscardHandler)
}

// worker registers the worker with a new key and connects as it.
func (e *env) worker(name string, routes ...string) queue.Driver {
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
	e.mu.Lock()
	e.workers = append(e.workers, WorkerAuth{Name: name, PublicKey: public, Routes: routes})
	err = e.server.SetWorkers(slices.Clone(e.workers))
	e.mu.Unlock()
	if err != nil {
		e.tb.Fatal(err)
	}
	opts := ConnectOptions{Log: testLog(e.tb), Worker: name, Seed: slices.Clone(seed), URL: e.server.URL()}
	switch {
	case e.web != nil:
		opts.URL, opts.CA = e.web.url, e.web.ca
	case opts.URL == "":
		opts.InProcess = e.server
	}
	d, err := Connect(e.tb.Context(), opts)
	if err != nil {
		e.tb.Fatal(err)
	}
	return d
}

func (e *env) revoke(name string) {
	e.tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.workers = slices.DeleteFunc(e.workers, func(w WorkerAuth) bool { return w.Name == name })
	if err := e.server.SetWorkers(slices.Clone(e.workers)); err != nil {
		e.tb.Fatal(err)
	}
}

// lose deletes the streams behind the driver's back.
func (e *env) lose() {
	e.tb.Helper()
	d, err := e.server.Driver()
	if err != nil {
		e.tb.Fatal(err)
	}
	defer d.Close(e.tb.Context())
	js := d.(*driver).keep.manager.js
	for _, name := range []string{messageStream, receiptStream} {
		if err := js.DeleteStream(e.tb.Context(), name); err != nil {
			e.tb.Fatal(err)
		}
	}
}

func BenchmarkInProcess(b *testing.B) { benchmark(b, "") }

func BenchmarkTCP(b *testing.B) { benchmark(b, "127.0.0.1:0") }

func BenchmarkWebSocket(b *testing.B) { benchmark(b, overWeb) }

func benchmark(b *testing.B, listen string) {
	queuetest.Benchmark(b, queuetest.Harness{Open: func(tb testing.TB, dir string) *queuetest.Env {
		return openEnv(tb, dir, listen).Env
	}})
}
