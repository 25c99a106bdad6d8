package worker

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/retry"
)

// OnUnknown says what happens when nobody knows whether a call was written.
type OnUnknown string

// The ways with an unknown outcome.
const (
	OnUnknownLookup OnUnknown = "lookup" // wait the destination's writing out, then ask it
	OnUnknownRepost OnUnknown = "repost" // it honours the key: send again
	OnUnknownHold   OnUnknown = "hold"   // set aside for a person: OutcomeUnknown
)

// Route is one route of a worker.
type Route struct {
	Name        string
	Adapter     adapters.Adapter
	Destination *Dest
	Retry       retry.Policy
	OnUnknown   OnUnknown     // default: lookup where the adapter can, else hold
	Timeout     time.Duration // of one call; default 30 s
	SettleTime  time.Duration // how long the destination may still write after a call ended; default twice Timeout

	// Confirm: the destination takes messages and says later what became of them,
	// within ConfirmWithin (default 24 h). PollInterval is the first pause between
	// polls; default 5 s.
	Confirm       Confirm
	ConfirmWithin time.Duration
	PollInterval  time.Duration
}

func (r *Route) complete() error {
	if err := ferry.ValidName("route", r.Name); err != nil {
		return err
	}
	if r.Adapter == nil || r.Destination == nil {
		return fmt.Errorf("route %s has no adapter or no destination", r.Name)
	}
	if err := r.Retry.Validate(); err != nil {
		return fmt.Errorf("route %s: %w", r.Name, err)
	}
	r.Retry = r.Retry.WithDefaults()
	if r.OnUnknown == "" {
		r.OnUnknown = OnUnknownHold
		if r.Adapter.CanLookup() {
			r.OnUnknown = OnUnknownLookup
		}
	}
	switch r.OnUnknown {
	case OnUnknownLookup:
		if !r.Adapter.CanLookup() {
			return fmt.Errorf("route %s: onUnknown is lookup, and its adapter cannot look anything up", r.Name)
		}
	case OnUnknownRepost, OnUnknownHold:
	default:
		return fmt.Errorf("route %s: onUnknown %q is not known", r.Name, r.OnUnknown)
	}
	if r.Timeout <= 0 {
		r.Timeout = 30 * time.Second
	}
	if r.SettleTime <= 0 {
		r.SettleTime = 2 * r.Timeout
	}
	return r.completeConfirm()
}

// startGrace is how long a call may start after "begun" was written: it covers
// the commit, and a short sleep of the process.
const startGrace = 5 * time.Second

// route is a Route at work.
type route struct {
	Route
	hands chan struct{} // a token per delivery in hand
	waits chan struct{} // a token per delivery that waits for the broker
	wake  chan struct{} // something changed
	meter *routeMeter
	place int // among the routes of its destination

	inHand  atomic.Int32 // deliveries that are worked on
	calling atomic.Int32 // of them, those in the slots of the destination
	gate    gate

	mu        sync.Mutex
	word      word // the broker's last about this route
	heldUntil time.Time
	stop      context.CancelFunc // ends the receive under way, nil when there is none
}

// prefetch is how many deliveries beyond the destination's slots are in hand, so
// that a slot never waits for the queue or the inbox.
func prefetch(concurrency int) int { return min(max(concurrency, 2), 64) }

func newRoute(r Route, m *routeMeter) *route {
	slots := r.Destination.opts.Concurrency
	hands := slots + prefetch(slots)
	return &route{
		Route: r, meter: m, hands: make(chan struct{}, hands), waits: make(chan struct{}, hands/2), wake: make(chan struct{}, 1),
	}
}

// ready says how many messages may be in hand now. When none, it says how long
// to wait before the next look; 0: until woken.
func (r *route) ready(now time.Time) (most int, wait time.Duration) {
	r.mu.Lock()
	word, held := r.word, r.heldUntil
	r.mu.Unlock()
	if !word.holds(atMoment(now)) {
		return 0, 0 // until the broker's next word
	}
	if held, changes := word.held(atMoment(now)); held {
		return 0, changes
	}
	if now.Before(held) {
		return 0, held.Sub(now)
	}
	most, all, wait := r.Destination.room(r.place, int(r.calling.Load()))
	if all {
		most = cap(r.hands)
	}
	return most, wait
}

// poke makes the loop look again, and ends a receive that may no longer be.
func (r *route) poke() {
	r.gate.set(r.isHeld(time.Now()))
	select {
	case r.wake <- struct{}{}:
	default:
	}
	if most, _ := r.ready(time.Now()); most > 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil {
		r.stop()
	}
}

// hold keeps the route from receiving for a while: what was just released would
// come straight back.
func (r *route) hold(pause time.Duration) {
	r.mu.Lock()
	r.heldUntil = later(r.heldUntil, time.Now().Add(pause))
	r.mu.Unlock()
	r.poke()
}

// receiving registers how to end the receive under way; nil: it is over.
func (r *route) receiving(stop context.CancelFunc) {
	r.mu.Lock()
	r.stop = stop
	r.mu.Unlock()
}
