package broker

import (
	"context"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/store"
)

// A route is held while an operator has paused it, or a window of its calendar
// holds: nothing is handed out, workers and receivers begin nothing, and the time
// to live of its messages stands still.

// holdEvery is between two looks at holds, at the most: windows that were
// configured anew are found so, and a clock that was set.
const holdEvery = 10 * time.Second

// holdOf is the pause or, where there is none, the window that holds a route at
// now; nil when it is delivered.
func (b *Broker) holdOf(in *store.RouteLedger, now time.Time) *ferry.Condition {
	if p := pauseOf(in, now); p != nil {
		return p
	}
	return b.windowOf(in.Name, now)
}

func pauseOf(in *store.RouteLedger, now time.Time) *ferry.Condition {
	if p := in.Paused; p != nil && (p.Until == nil || now.Before(*p.Until)) {
		return p
	}
	return nil
}

func (b *Broker) windowOf(name string, now time.Time) *ferry.Condition {
	r, ok := b.route(name)
	if !ok {
		return nil
	}
	span, holds := r.calendar.Holds(now)
	if !holds {
		return nil
	}
	return &ferry.Condition{Type: ferry.RouteWindow, Since: span.From, Reason: span.Name, Until: &span.To}
}

// heldUntil says whether a route is held at now, and when to look again: the end
// of what holds it, zero where nobody knows.
func (b *Broker) heldUntil(in *store.RouteLedger, now time.Time) (until time.Time, held bool) {
	c := b.holdOf(in, now)
	switch {
	case c == nil:
		return time.Time{}, false
	case c.Until == nil:
		return time.Time{}, true
	}
	return *c.Until, true
}

// nextWindow is the window that holds a route, else the next one; nil: it has none.
func (b *Broker) nextWindow(name string) *ferry.WindowTime {
	r, ok := b.route(name)
	if !ok {
		return nil
	}
	span, ok := r.calendar.Next(time.Now())
	if !ok {
		return nil
	}
	return &span
}

// windowsOf tells the ledger when a route is not delivered.
func (b *Broker) windowsOf(name string, after time.Time) (from, to time.Time, ok bool) {
	r, known := b.route(name)
	if !known {
		return from, to, false
	}
	span, ok := r.calendar.Next(after)
	return span.From, span.To, ok
}

// tellHold puts into a worker's word whether it may begin anything, and when that
// changes by itself: it need not hear of it in time.
func (b *Broker) tellHold(word *queue.RouteWelcome, in *store.RouteLedger) {
	now := time.Now()
	if c := b.holdOf(in, now); c != nil {
		word.Paused, word.PausedAt = true, c.Since
	}
	if from, to, ok := in.NextHold(now); ok {
		word.Hold = &queue.Hold{In: max(from.Sub(now), 0)}
		if !to.IsZero() {
			word.Hold.For = to.Sub(now) - word.Hold.In
		}
	}
	word.Held = max(in.HeldBy(now), 1)
}

// handOutAgain has a message that a worker may not claim now handed out again when
// its route goes on: the worker completes it in the queue, without a receipt.
func (b *Broker) handOutAgain(name string, id ferry.ID) {
	in, err := b.ledger.Route(name)
	if err != nil || b.holdOf(&in, time.Now()) == nil {
		return
	}
	if r, ok := b.route(name); ok {
		r.relay.forget(id)
	}
}

// holds is what wakes the one that keeps them.
type holds struct{ wake chan struct{} }

// lookAtHolds has the windows looked at again: the configuration changed.
func (b *Broker) lookAtHolds() {
	select {
	case b.holds.wake <- struct{}{}:
	default:
	}
}

// settleHolds makes up for the time in which the broker was not there.
func (b *Broker) settleHolds(ctx context.Context) error {
	for _, name := range b.names() {
		if _, err := b.ledger.Hold(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// keepHolds ends pauses that were to end, and lets workers and receivers know when
// a window begins and ends.
func (b *Broker) keepHolds(ctx context.Context) {
	was := map[string]time.Time{} // since when a route is held, as it was told last
	for _, name := range b.names() {
		if in, err := b.ledger.Route(name); err == nil {
			if c := b.holdOf(&in, time.Now()); c != nil {
				was[name] = c.Since
			}
		}
	}
	for ctx.Err() == nil {
		next := time.Now().Add(holdEvery)
		for _, name := range b.names() {
			if change := b.keepHold(ctx, name, was); !change.IsZero() && change.Before(next) {
				next = change
			}
		}
		timer := time.NewTimer(max(time.Until(next), 0))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-b.holds.wake:
		}
		timer.Stop()
	}
}

// keepHold looks at one route, and says when to look again; zero: nothing changes
// by itself.
func (b *Broker) keepHold(ctx context.Context, name string, was map[string]time.Time) (next time.Time) {
	now := time.Now()
	in, err := b.ledger.Route(name)
	if err == nil && in.Paused != nil && pauseOf(&in, now) == nil {
		if err = b.ledger.EndPause(ctx, name); err == nil {
			in, err = b.ledger.Route(name)
		}
	}
	if err == nil {
		_, err = b.ledger.Hold(ctx, name)
	}
	if err != nil {
		if ctx.Err() == nil {
			b.log.Warn("how long a route was held could not be noted", "route", name, "error", err)
		}
		return now.Add(time.Second)
	}
	c := b.holdOf(&in, now)
	since, held := was[name]
	switch {
	case c != nil && (!held || !since.Equal(c.Since)):
		was[name] = c.Since
		if c.Type == ferry.RouteWindow {
			b.log.Info("route.window", "route", name, "window", c.Reason, "until", c.Until.Format(time.RFC3339))
		}
		b.helloAgain(ctx, name)
	case c == nil && held:
		delete(was, name)
		b.log.Info("route.goesOn", "route", name, "held", now.Sub(since).Round(time.Second).String())
		b.nudge(name)
		b.helloAgain(ctx, name)
	}
	if c != nil && c.Until != nil {
		return *c.Until
	}
	if from, _, ok := b.windowsOf(name, now); ok && c == nil {
		return from
	}
	return time.Time{}
}
