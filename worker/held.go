package worker

import (
	"context"
	"sync"
	"time"

	"ferry"
	"ferry/queue"
)

// A route is held while an operator has paused it, or a window of its calendar
// holds. The broker's word says so, and when that will change by itself, so that
// the worker stops and goes on in time also where it does not hear the broker.

// held says whether the word holds the route at a moment, and when that changes
// by itself; 0: when another word says so.
func (w *word) held(now moment) (held bool, changes time.Duration) {
	h := w.Hold
	if h == nil {
		return w.Paused, 0
	}
	// Of the two clocks the one that holds longer counts: it begins by the one that is
	// ahead, and ends by the one that is behind.
	if begins := h.In - now.since(w.asked); begins > 0 {
		return w.Paused, begins
	}
	if h.For <= 0 {
		return true, 0
	}
	ends := h.In + h.For - now.atLeastSince(w.heard)
	return ends > 0, max(ends, 0)
}

// atLeastSince is how long ago m was at another moment, by the clock that says less.
func (m moment) atLeastSince(earlier moment) time.Duration {
	return min(m.steady.Sub(earlier.steady), m.wall.Sub(earlier.wall))
}

// heldFor is how long the route has been held in all, as far as the word knows;
// 0: it does not.
func (w *word) heldFor(now moment) time.Duration {
	if w.RouteWelcome.Held == 0 || w.Hold == nil {
		return w.RouteWelcome.Held
	}
	is := now.atLeastSince(w.heard) - w.Hold.In
	if w.Hold.For > 0 {
		is = min(is, w.Hold.For)
	}
	return w.RouteWelcome.Held + max(is, 0)
}

// isHeld says whether nothing of the route may be begun now.
func (r *route) isHeld(now time.Time) bool {
	w := r.last()
	held, _ := w.held(atMoment(now))
	return held
}

// expiresAt is when the message's time to live ends, as far as is known now: its
// route may have been held since it was handed out. Zero: never.
func (r *route) expiresAt(h *ferry.HandOut, now time.Time) time.Time {
	if h.ExpiresAt.IsZero() || h.Held == 0 {
		return h.ExpiresAt
	}
	w := r.last()
	return h.ExpiresAt.Add(max(w.heldFor(atMoment(now))-h.Held, 0))
}

// gate is open while a route is not held.
type gate struct {
	mu     sync.Mutex
	going  context.Context // ends when the route is held
	halt   context.CancelFunc
	timers []*time.Timer // have the route look when its word holds it, and when no more
}

// set opens or closes the gate.
func (g *gate) set(held bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case held && g.halt != nil && g.going.Err() == nil:
		g.halt()
	case !held && (g.going == nil || g.going.Err() != nil):
		g.going, g.halt = context.WithCancel(context.Background())
	}
}

// pass is ctx until the route is held.
func (g *gate) pass(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	g.mu.Lock()
	going := g.going
	g.mu.Unlock()
	if going == nil {
		return ctx, cancel
	}
	stop := context.AfterFunc(going, cancel)
	return ctx, func() { stop(); cancel() }
}

// watch has look called when the hold of a word begins, and when it ends.
func (g *gate) watch(h *queue.Hold, look func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range g.timers {
		t.Stop()
	}
	g.timers = g.timers[:0]
	if h == nil {
		return
	}
	if h.In > 0 {
		g.timers = append(g.timers, time.AfterFunc(h.In, look))
	}
	if h.For > 0 {
		g.timers = append(g.timers, time.AfterFunc(h.In+h.For, look))
	}
}
