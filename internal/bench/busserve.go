package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/broker"
	"ferry/config"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
	"ferry/queue/drivers"
	"ferry/queue/sbqueue"
	"ferry/secret"
	"ferry/worker"
)

const (
	// oneWay is half a round trip to the double.
	oneWay = 10 * time.Millisecond
	// busCalls is the concurrency of the destination: its calls take no time, so
	// this is what the worker may have in hand.
	busCalls = 256
	// sdkQueue is the queue of who uses the SDK without Ferry.
	sdkQueue = "by-hand"
)

// serveDouble is Service Bus, a round trip of 20 ms away. It ends when its standard
// input does.
func serveDouble() error {
	s, err := sbemu.Start(sbemu.Options{Delay: oneWay, Queues: []entity.Config{{Name: sdkQueue}}})
	if err != nil {
		return err
	}
	fmt.Printf("ready %s %s\n", s.Addr(), s.ConnectionString())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return s.Close()
}

// route is the contender's. Over Service Bus the window is what brokers have there by
// default.
func (o contenderOptions) route() ferry.Route {
	r := ferry.Route{Name: benchRoute, Several: o.several, Schema: o.schema()}
	if o.kind == kindBus {
		r.Window = ferry.MaxWindow
	}
	return r
}

// openBus connects the broker to the double; its queues are made.
func (c *contender) openBus(ctx context.Context, o contenderOptions, workers []ferry.WorkerInfo) (broker.Transport, error) {
	t, err := drivers.ConnectServiceBus(ctx, drivers.ServiceBusOptions{
		Config: config.BrokerServiceBus{
			ServiceBus: config.ServiceBus{ConnectionString: secret.Ref("file:" + o.busKey), AdminURL: "http://" + o.bus},
			Prefix:     sbqueue.DefaultPrefix, Lock: sbqueue.DefaultLock, Provision: true,
		},
		Routes: []string{benchRoute}, Workers: workers, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	c.bus = t
	return t, nil
}

// handleBus serves what the benchmark asks of a contender over Service Bus.
func (c *contender) handleBus(mux *http.ServeMux) {
	act := func(do func(context.Context) (ferry.RouteInfo, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if _, err := do(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		}
	}
	mux.HandleFunc("POST /pause", act(func(ctx context.Context) (ferry.RouteInfo, error) {
		return c.broker.Pause(ctx, benchRoute, "a backlog is made", time.Time{}, "bench")
	}))
	mux.HandleFunc("POST /resume", act(func(ctx context.Context) (ferry.RouteInfo, error) {
		return c.broker.Resume(ctx, benchRoute, "the backlog is made", "bench")
	}))
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.instant.counts()) })
}

func (c *contender) startBusWorker(ctx context.Context, dir string) error {
	login, err := c.broker.AddWorker(ctx, benchWorker, []string{benchRoute}, "", "bench")
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	q, err := c.bus.Connect(ctx, benchWorker, login.Seed, []string{benchRoute}, log)
	if err != nil {
		return err
	}
	c.instant = &instant{seen: map[ferry.ID]int{}}
	w, err := worker.New(worker.Options{
		Name: benchWorker, Version: "bench", Queue: q, InboxDir: filepath.Join(dir, "worker"), Log: log,
		Routes: []worker.Route{{
			Name: benchRoute, Adapter: c.instant, Timeout: 10 * time.Second,
			Destination: worker.NewDest(worker.DestOptions{Name: "instant", Destination: c.instant, Concurrency: busCalls}),
		}},
	})
	if err != nil {
		return errors.Join(err, q.Close(ctx))
	}
	c.stops = append([]func() error{func() error { return errors.Join(w.Stop(ctx), q.Close(ctx)) }}, c.stops...)
	return w.Start(ctx)
}

// instant is a destination, and the adapter to it, that takes everything at once
// and counts.
type instant struct {
	mu    sync.Mutex
	seen  map[ferry.ID]int
	twice int
}

func (i *instant) counts() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return fmt.Sprintf("%d %d", len(i.seen), i.twice)
}

// Deliver takes the message.
func (i *instant) Deliver(_ context.Context, call adapters.Call) ferry.Verdict {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen[call.ID]++; i.seen[call.ID] > 1 {
		i.twice++
	}
	return ferry.Verdict{Kind: ferry.Delivered, Effect: ferry.EffectDone, Reference: "D-" + call.ID.Short()}
}

// Lookup says what was taken.
func (i *instant) Lookup(_ context.Context, call adapters.Call) adapters.LookupResult {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen[call.ID] > 0 {
		return adapters.LookupResult{State: adapters.Found, Reference: "D-" + call.ID.Short()}
	}
	return adapters.LookupResult{State: adapters.Absent}
}

// CanLookup is true.
func (i *instant) CanLookup() bool { return true }

// Preview shows nothing.
func (i *instant) Preview(context.Context, adapters.Call) (adapters.Preview, error) {
	return adapters.Preview{}, nil
}

// Route is the destination's only adapter.
func (i *instant) Route(adapters.RouteConfig) (adapters.Adapter, error) { return i, nil }

// Probe finds it up.
func (i *instant) Probe(context.Context) error { return nil }

// Check finds it up.
func (i *instant) Check(context.Context) error { return nil }

// Close has nothing to close.
func (i *instant) Close() error { return nil }
