package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/store"
)

// fleet is what is known of the workers that were heard in this run: from their
// hellos, in memory only.
type fleet struct {
	silentAfter time.Duration

	mu        sync.Mutex
	sightings map[string]*sighting // by worker
}

type sighting struct {
	at     time.Time
	hello  queue.Hello
	asked  map[string]queue.RouteHello // every route that it spoke of
	routes map[string]queue.RouteHello // those that were granted
	left   bool                        // it said that it stops
}

func newFleet(silentAfter time.Duration) *fleet {
	return &fleet{silentAfter: silentAfter, sightings: map[string]*sighting{}}
}

func (f *fleet) saw(h queue.Hello, granted func(route string) bool) {
	s := &sighting{at: time.Now(), hello: h, asked: map[string]queue.RouteHello{}, routes: map[string]queue.RouteHello{}}
	for _, r := range h.Routes {
		s.asked[r.Name] = r
		if granted(r.Name) {
			s.routes[r.Name] = r
		}
	}
	f.mu.Lock()
	f.sightings[h.Worker] = s
	f.mu.Unlock()
}

func (f *fleet) forget(worker string) {
	f.mu.Lock()
	delete(f.sightings, worker)
	f.mu.Unlock()
}

// heard says whether the worker was heard lately, and did not say goodbye.
func (f *fleet) heard(worker string) bool {
	s := f.get(worker)
	return s != nil && !s.left && time.Since(s.at) <= f.silentAfter
}

// leaves notes that a worker stops, unless another one has taken its name.
func (f *fleet) leaves(h queue.Hello) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.sightings[h.Worker]; s != nil && s.hello.Inbox == h.Inbox {
		gone := *s
		gone.left, gone.at = true, time.Now()
		f.sightings[h.Worker] = &gone
	}
}

func (f *fleet) get(worker string) *sighting {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sightings[worker]
}

// may says whether the worker's last hello spoke for the route: a cheap yes
// before the ledger is asked.
func (f *fleet) may(worker, route string) bool {
	s := f.get(worker)
	if s == nil {
		return false
	}
	_, ok := s.routes[route]
	return ok
}

func (b *Broker) worker(name string) (ferry.WorkerInfo, bool) {
	w, ok := b.ledger.Worker(name)
	return w, ok && w.RevokedAt == nil
}

func (b *Broker) workerMay(name, route string) bool {
	w, ok := b.worker(name)
	return ok && slices.Contains(w.Routes, route)
}

// hello answers a worker: it may deliver the routes that are bound to its
// inbox. A route that is bound to none is bound to the first that asks.
func (b *Broker) hello(ctx context.Context, from string, h queue.Hello) queue.Welcome {
	welcome := queue.Welcome{
		Start: b.tellAgain(), Now: time.Now().UTC(), Outlives: b.queue.Properties().Outlives,
		Routes: map[string]queue.RouteWelcome{},
	}
	if from != "" && from != h.Worker {
		welcome.Error = fmt.Sprintf("this login belongs to worker %s, not %s: set name: %s in worker.yaml", from, h.Worker, from)
		return welcome
	}
	w, ok := b.worker(h.Worker)
	if !ok || h.Inbox == "" {
		welcome.Error = fmt.Sprintf("this broker knows no worker %s: broker workers add %s --routes … --out FILE", h.Worker, h.Worker)
		b.hearStranger(ctx, h, &welcome)
		return welcome
	}
	if h.Leaving {
		b.fleet.leaves(h)
		b.hearGoodbye(ctx, h)
		return welcome
	}
	for _, r := range h.Routes {
		welcome.Routes[r.Name] = b.helloRoute(ctx, w, h, r)
	}
	b.fleet.saw(h, func(route string) bool { return welcome.Routes[route].Granted })
	if _, ok := b.worker(h.Worker); !ok { // revoked meanwhile
		b.fleet.forget(h.Worker)
	}
	b.nudgeClaimed(welcome)
	return welcome
}

func (b *Broker) helloRoute(ctx context.Context, w ferry.WorkerInfo, h queue.Hello, r queue.RouteHello) queue.RouteWelcome {
	refuse := func(format string, args ...any) queue.RouteWelcome {
		return queue.RouteWelcome{Why: fmt.Sprintf(format, args...)}
	}
	configured, ok := b.route(r.Name)
	if !ok {
		return refuse("this broker has no route %s: add it to broker.yaml", r.Name)
	}
	if !slices.Contains(w.Routes, r.Name) {
		return refuse("worker %s was not added for route %s", w.Name, r.Name)
	}
	info, err := b.ledger.Route(r.Name)
	if err != nil {
		return refuse("%s", err)
	}
	b.hearOfBinding(ctx, &info, w.Name, h.Inbox, r.Heard)
	if info.Pull {
		why := "receivers pull the messages of route %s (workers: pull, in the broker's configuration): no worker delivers it"
		return queue.RouteWelcome{Binding: info.Bindings, Why: fmt.Sprintf(why, r.Name)}
	}
	if info.Several {
		if err := b.ledger.NoteBound(ctx, r.Name, r.Bound); err != nil {
			return refuse("%s", err)
		}
		word := queue.RouteWelcome{Granted: true, ResumedAt: info.ResumedAt, Claims: true, Binding: info.Bindings}
		b.tellHold(&word, &info)
		return word
	}
	return b.helloBound(ctx, configured, store.Binding{Worker: w.Name, Inbox: h.Inbox, Bound: r.Bound}, h.Run)
}

// workers answers what workers ask.
type workers struct{ b *Broker }

// Hello is the broker's.
func (w workers) Hello(ctx context.Context, from string, h queue.Hello) queue.Welcome {
	return w.b.hello(ctx, from, h)
}

// Body serves a part of a body that was too large to travel with its message.
func (w workers) Body(_ context.Context, from string, r queue.BodyRequest) ([]byte, error) {
	e, err := w.b.ledger.Message(r.ID)
	if err != nil {
		return nil, err
	}
	if from != "" && !w.b.workerMay(from, e.Route) {
		return nil, fmt.Errorf("worker %s may not read messages of route %s: %w", from, e.Route, queue.ErrUnauthorized)
	}
	part, err := w.b.ledger.BodyPart(r.ID, r.Revision, r.Offset, min(max(r.Length, 0), queue.BodyChunk))
	if errors.Is(err, store.ErrBodyMissing) {
		return nil, fmt.Errorf("%w: %w", queue.ErrBodyMissing, err)
	}
	return part, err
}

// helloAgain asks the workers that deliver a route for a hello at once, so that
// they learn of a pause, a resume, or of another one's binding.
func (b *Broker) helloAgain(ctx context.Context, route string) {
	for _, worker := range b.fleet.speaking(route) {
		b.askForHello(ctx, worker)
	}
}
