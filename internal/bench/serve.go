package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/api"
	"ferry/broker"
	"ferry/queue/drivers"
	"ferry/secret"
	"ferry/worker"
)

// The contenders.
const (
	kindLedger = "ledger" // Ferry, accepting only: no worker is bound
	kindNone   = "none"   // the same HTTP surface, nothing is kept
	kindFile   = "file"   // the same HTTP surface, an append-only file, one fsync per group
	kindPath   = "path"   // Ferry, whole path: with a worker that calls the ERP
	kindQueue  = "queue"  // the same HTTP surface, queue and adapter, and no ledger: neither the broker's nor the worker's inbox
	kindBus    = "bus"    // Ferry, whole path over Service Bus, to a destination that answers at once
	kindBare   = "bare"   // the same HTTP surface and adapter, a channel between them: no queue either
)

const (
	benchRoute  = "bench"
	benchWorker = "bench-worker"
	calls       = 64 // calls of the ERP at a time, Ferry and bare alike
)

// contender is a server under test, as its process tells it on standard output:
// "ready URL KEY". It ends when its standard input does.
type contender struct {
	broker    *broker.Broker
	transport *drivers.NATS
	bus       *drivers.ServiceBus // kindBus, in the place of transport
	instant   *instant            // kindBus: the destination
	service   api.Service
	completed func() int64
	stops     []func() error
}

// contenderOptions say what a server is.
type contenderOptions struct {
	kind, dir, erpURL string
	profile           string
	several           bool
	bus, busKey       string // kindBus: the double's address, and the file that its connection string lies in
}

func serve(o contenderOptions) error {
	c, key, err := newContender(o)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", api.New(c.service, api.Options{Log: slog.New(slog.DiscardHandler), Version: "bench", PublicURL: "http://" + l.Addr().String(), Metrics: c.broker.Metrics(), Limits: o.guards()}))
	mux.HandleFunc("GET /completed", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.completed()) })
	c.handleCompact(mux)
	if c.bus != nil {
		c.handleBus(mux)
	}
	mux.HandleFunc("GET /debug/heap", func(w http.ResponseWriter, _ *http.Request) { _ = pprof.Lookup("heap").WriteTo(w, 0) })
	mux.HandleFunc("GET /debug/goroutines", func(w http.ResponseWriter, _ *http.Request) { _ = pprof.Lookup("goroutine").WriteTo(w, 1) })
	server := api.Server(l.Addr().String(), mux)
	go func() { _ = server.Serve(l) }()
	if o.profile != "" {
		f, err := os.Create(o.profile)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer func() { pprof.StopCPUProfile(); _ = f.Close() }()
	}
	fmt.Printf("ready http://%s %s\n", l.Addr(), key)
	_, _ = io.Copy(io.Discard, os.Stdin)
	_ = server.Close()
	for _, stop := range c.stops {
		err = errors.Join(err, stop())
	}
	return err
}

func newContender(o contenderOptions) (*contender, string, error) {
	ctx := context.Background()
	dir, erpURL := o.dir, o.erpURL
	c := &contender{}
	b, err := broker.New(ctx, broker.Options{
		DataDir: filepath.Join(dir, "broker"), Version: "bench", Routes: []ferry.Route{o.route()},
		OpenTransport: func(ctx context.Context, workers []ferry.WorkerInfo) (broker.Transport, error) {
			if o.kind == kindBus {
				return c.openBus(ctx, o, workers)
			}
			t, err := drivers.StartNATS(drivers.NATSOptions{Dir: filepath.Join(dir, "queue"), Workers: workers})
			c.transport = t
			return t, err
		},
	})
	if err != nil {
		return nil, "", err
	}
	c.broker, c.service = b, b
	c.stops = append(c.stops, func() error { return b.Stop(ctx) })
	c.completed = func() int64 {
		infos, err := b.RouteInfos(ctx)
		if err != nil {
			return -1
		}
		return infos[0].Completed
	}
	key, err := b.CreateKey(ctx, ferry.KeySpec{Name: "bench-sender", Role: ferry.RoleSender}, "bench")
	if err != nil {
		return nil, "", err
	}
	if err := b.Start(); err != nil {
		return nil, "", err
	}
	switch o.kind {
	case kindLedger, kindGuarded:
	case kindOpen:
		c.service = openDoor{b}
	case kindNone:
		c.service = &noLedger{Service: b}
	case kindFile:
		f, err := newGroupFile(filepath.Join(dir, "accepts.log"))
		if err != nil {
			return nil, "", err
		}
		c.service = &noLedger{Service: b, keep: f.append}
		c.stops = append([]func() error{f.close}, c.stops...)
	case kindPath:
		err = c.startWorker(ctx, dir, erpURL)
	case kindBus:
		err = c.startBusWorker(ctx, dir)
	case kindQueue:
		err = c.startQueue(ctx, erpURL)
	case kindBare:
		err = c.startBare(erpURL)
	default:
		err = fmt.Errorf("no contender %q", o.kind)
	}
	return c, key.Secret, err
}

// noLedger is the broker, but Accept keeps nothing, or what keep does.
type noLedger struct {
	api.Service
	keep func(ferry.Message) error
}

// Accept answers as the broker would.
func (n *noLedger) Accept(_ context.Context, m ferry.Message) (ferry.Accepted, error) {
	m.CreatedAt = time.Now()
	m.ID = ferry.NewID(m.CreatedAt)
	if n.keep != nil {
		if err := n.keep(m); err != nil {
			return ferry.Accepted{}, err
		}
	}
	return ferry.Accepted{ID: m.ID, Route: m.Route, State: ferry.StateAccepted}, nil
}

// groupFile appends records to a file and syncs once for all that wait: the
// least that "accepted means on disk" can cost.
type groupFile struct {
	f     *os.File
	mu    sync.Mutex
	buf   []byte
	wait  chan struct{} // closed when the group that gathers is on disk
	kick  chan struct{}
	ended chan struct{}
	err   error
}

func newGroupFile(path string) (*groupFile, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	g := &groupFile{f: f, wait: make(chan struct{}), kick: make(chan struct{}, 1), ended: make(chan struct{})}
	go g.loop()
	return g, nil
}

func (g *groupFile) append(m ferry.Message) error {
	g.mu.Lock()
	g.buf = append(append(append(g.buf, m.ID[:]...), m.IdempotencyKey...), m.Body...)
	wait := g.wait
	g.mu.Unlock()
	select {
	case g.kick <- struct{}{}:
	default:
	}
	<-wait
	return g.err
}

func (g *groupFile) loop() {
	defer close(g.ended)
	var spare []byte
	for range g.kick {
		g.mu.Lock()
		group, wait := g.buf, g.wait
		g.buf, g.wait = spare[:0], make(chan struct{})
		g.mu.Unlock()
		_, err := g.f.Write(group)
		if g.err = errors.Join(err, g.f.Sync()); g.err != nil {
			fmt.Fprintln(os.Stderr, "bench: error:", g.err)
		}
		close(wait)
		spare = group
	}
}

func (g *groupFile) close() error {
	close(g.kick)
	<-g.ended
	return g.f.Close()
}

func openAdapter(erpURL string) (adapters.Destination, adapters.Adapter, error) {
	destination, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{
		Name: "bench-erp", Adapter: "erp", Dialect: "rest", URL: erpURL, Timeout: 10 * time.Second,
	})
	if err != nil {
		return nil, nil, err
	}
	adapter, err := destination.Route(adapters.RouteConfig{
		Route: benchRoute, URL: "/invoices", Reference: ".id",
		Lookup: &adapters.LookupConfig{URL: "/invoices?externalId={externalKey}", Reference: ".id"},
	})
	return destination, adapter, err
}

func (c *contender) startWorker(ctx context.Context, dir, erpURL string) error {
	login, err := c.broker.AddWorker(ctx, benchWorker, []string{benchRoute}, "", "bench")
	if err != nil {
		return err
	}
	destination, adapter, err := openAdapter(erpURL)
	if err != nil {
		return err
	}
	q, err := c.transport.Connect(ctx, benchWorker, login.Seed, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	w, err := worker.New(worker.Options{
		Name: benchWorker, Version: "bench", Queue: q, InboxDir: filepath.Join(dir, "worker"),
		Routes: []worker.Route{{
			Name: benchRoute, Adapter: adapter, Timeout: 10 * time.Second,
			Destination: worker.NewDest(worker.DestOptions{Name: "bench-erp", Destination: destination, Concurrency: calls}),
		}},
	})
	if err != nil {
		return err
	}
	c.stops = append([]func() error{func() error { return errors.Join(w.Stop(ctx), q.Close(ctx), destination.Close()) }}, c.stops...)
	return w.Start(ctx)
}

// startQueue carries messages over the same queue as Ferry, from the HTTP
// surface to the same adapter, and keeps nothing of them.
func (c *contender) startQueue(ctx context.Context, erpURL string) error {
	login, err := c.broker.AddWorker(ctx, benchWorker, []string{benchRoute}, "", "bench")
	if err != nil {
		return err
	}
	destination, adapter, err := openAdapter(erpURL)
	if err != nil {
		return err
	}
	q, err := c.transport.Connect(ctx, benchWorker, login.Seed, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	receiving, stop := context.WithCancel(ctx)
	var done atomic.Int64
	slots := make(chan struct{}, 2*calls) // as many in hand as Ferry's worker has
	var running sync.WaitGroup
	running.Go(func() {
		for receiving.Err() == nil {
			slots <- struct{}{}
			most := 1 + cap(slots) - len(slots)
			deliveries, err := q.ReceiveMessages(receiving, benchRoute, most)
			<-slots
			if err != nil {
				continue
			}
			for _, d := range deliveries {
				slots <- struct{}{}
				running.Go(func() {
					defer func() { <-slots }()
					call, cancel := context.WithTimeout(ctx, 10*time.Second)
					defer cancel()
					if adapter.Deliver(call, adapters.Call{Number: 1, HandOut: d.HandOut}).Kind.HasIt() {
						_ = d.Complete(ctx)
						done.Add(1)
					}
				})
			}
		}
	})
	c.service = &noLedger{Service: c.broker, keep: func(m ferry.Message) error {
		_, err := c.transport.Queue().Publish(ctx, benchRoute, []ferry.HandOut{handOutOf(m)}, "bench")
		return err
	}}
	c.completed = done.Load
	c.stops = append([]func() error{func() error {
		stop()
		running.Wait()
		return errors.Join(q.Close(ctx), destination.Close())
	}}, c.stops...)
	return nil
}

func handOutOf(m ferry.Message) ferry.HandOut {
	return ferry.HandOut{
		ID: m.ID, Route: m.Route, Turn: 1, Revision: 1, ExternalKey: ferry.ExternalKey(m.ID, m.IdempotencyKey),
		ContentType: m.ContentType, Body: m.Body, Size: int64(len(m.Body)), CreatedAt: m.CreatedAt,
	}
}

// startBare puts a channel between the HTTP surface and the adapter: the same
// work for sender and ERP, and no promise at all.
func (c *contender) startBare(erpURL string) error {
	destination, adapter, err := openAdapter(erpURL)
	if err != nil {
		return err
	}
	waiting := make(chan ferry.Message, 100_000)
	var done atomic.Int64
	for range calls {
		go func() {
			for m := range waiting {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
				v := adapter.Deliver(ctx, adapters.Call{Number: 1, HandOut: handOutOf(m)})
				cancel()
				if v.Kind.HasIt() {
					done.Add(1)
				}
			}
		}()
	}
	c.service = &noLedger{Service: c.broker, keep: func(m ferry.Message) error { waiting <- m; return nil }}
	c.completed = done.Load
	c.stops = append([]func() error{destination.Close}, c.stops...)
	return nil
}

// serveERP is the destination: it answers 201 with a number, and counts what it
// wrote per external key.
func serveERP() error {
	var mu sync.Mutex
	seen := map[string]int{}
	twice := 0
	mux := http.NewServeMux()
	mux.HandleFunc("POST /invoices", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		key := strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
		mu.Lock()
		seen[key]++
		if seen[key] > 1 {
			twice++
		}
		n := len(seen)
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"id":"D-%d"}`, n)
	})
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(w, "%d %d", len(seen), twice)
	})
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen, twice = map[string]int{}, 0
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(l) }()
	fmt.Printf("ready http://%s -\n", l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return server.Close()
}
