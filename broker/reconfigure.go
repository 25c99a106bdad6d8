package broker

import (
	"context"
	"fmt"
	"time"

	"ferry"
	"ferry/store"
)

// retiredFor is how long a retired route stays after it was taken out, empty or
// not: a request that began before may still accept a message.
const retiredFor = 10 * time.Minute

// Reconfigure changes routes and settings while the broker runs, all at once, or
// nothing: on an error the broker goes on as it was. entry says in the audit log
// what changed, and is committed before anything does.
//
// A route that is there no more retires for as long as the ledger keeps messages of
// it: it accepts nothing, and what it has is delivered. A route that is new gets its
// number in the ledger and its channel in the queue.
func (b *Broker) Reconfigure(ctx context.Context, s Settings, entry ferry.AuditEntry) error {
	b.changing.Lock()
	defer b.changing.Unlock()
	select {
	case <-b.stopping:
		return ferry.Errorf(ferry.CodeStopping, "the broker is stopping").WithHint("the next start reads the configuration anyway")
	default:
	}
	before := b.table.Load()
	after, err := b.compileAll(s, before)
	if err != nil {
		return err
	}
	var fresh []*route
	for _, name := range after.names {
		if before.of(name) == nil {
			fresh = append(fresh, after.routes[name])
		}
	}
	if err := b.prepare(ctx, fresh); err != nil {
		return err
	}
	others, free, err := holdModes(ctx, before, after)
	if err != nil {
		return err
	}
	defer free()
	entry.At = time.Now().UTC()
	if err := b.ledger.Reconfigured(ctx, after.configured(), entry); err != nil {
		return err
	}
	// From here on nothing fails.
	ended := b.retire(before, after)
	b.table.Store(after)
	for _, r := range fresh {
		if b.runCtx != nil {
			b.runRelay(r)
		}
	}
	for _, r := range ended {
		if r.relay.stop != nil {
			r.relay.stop()
		}
	}
	for _, r := range others {
		r.relay.again()
		b.helloAgain(ctx, r.Name)
	}
	for _, name := range after.names {
		b.nudge(name) // its window may be larger, or it is another who looks
	}
	b.lookAtHolds()
	return nil
}

// holdModes lists the routes that are delivered by others from now on, workers or
// receivers, and lets nobody answer for their bindings until free is called.
func holdModes(ctx context.Context, before, after *table) (others []*route, free func(), err error) {
	var frees []func()
	free = func() {
		for _, f := range frees {
			f()
		}
	}
	for _, name := range after.names {
		r, was := after.routes[name], before.of(name)
		if was == nil || was.Several == r.Several && was.Pull == r.Pull {
			continue
		}
		one, err := r.hold(ctx)
		if err != nil {
			free()
			return nil, nil, err
		}
		frees, others = append(frees, one), append(others, r)
	}
	return others, free, nil
}

// prepare makes what new routes need before anybody can know of them.
func (b *Broker) prepare(ctx context.Context, fresh []*route) error {
	names := make([]string, len(fresh))
	for i, r := range fresh {
		names[i] = r.Name
		if err := b.ledger.EnsureRoute(ctx, r.Name); err != nil {
			return err
		}
		if err := b.setMode(ctx, r); err != nil {
			return err
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	if _, err := b.queue.Ensure(ctx, names); err != nil {
		return ferry.Errorf(ferry.CodeQueueUnsuitable, "the channels of the new routes cannot be made in the queue: %w", err).
			WithHint("look at the queue and reload again; what ran before goes on")
	}
	for _, r := range fresh {
		if err := r.relay.begin(ctx); err != nil {
			return ferry.Errorf(ferry.CodeQueueUnsuitable, "the queue cannot be asked for the route %s: %w", r.Name, err)
		}
	}
	return nil
}

// retire keeps the routes that the new table lacks, and lists those that are over.
func (b *Broker) retire(before, after *table) (ended []*route) {
	for _, name := range sortedNames(before.routes) {
		was := before.routes[name]
		if after.of(name) != nil {
			continue
		}
		gone := *was
		if !gone.Retired {
			gone.Retired, gone.retiredAt = true, time.Now()
			b.log.Warn("route.retired", "route", name, "error", "the configuration has it no more",
				"next", "nothing is accepted; what it holds is delivered")
		}
		if time.Since(gone.retiredAt) > retiredFor && b.empty(name) {
			ended = append(ended, was)
			continue
		}
		after.add(&gone)
	}
	return ended
}

// empty says whether the ledger keeps no message of a route. One that has ended counts:
// it is shown, known to repeats and removed as its route says, and a discarded one may
// be restored.
func (b *Broker) empty(name string) bool {
	info, err := b.ledger.Route(name)
	if err != nil {
		return ferry.CodeOf(err) == ferry.CodeRouteNotFound
	}
	return waitsOrDead(&info)+info.Completed+info.Discarded-info.Purged == 0
}

// waitsOrDead counts the messages of a route that somebody must look after.
func waitsOrDead(in *store.RouteLedger) int64 {
	n := in.Pending
	for _, dead := range in.Dead {
		n += dead
	}
	return n
}

// keepRetired adds, at a start, the routes that the ledger has messages of and the
// configuration lacks, as they were configured last.
func (b *Broker) keepRetired() error {
	t := b.table.Load()
	kept, err := b.ledger.KeptRoutes()
	if err != nil {
		return err
	}
	for _, name := range b.ledger.RouteNames() {
		if t.of(name) != nil || b.empty(name) {
			continue
		}
		info, err := b.ledger.Route(name)
		if err != nil {
			return err
		}
		was, ok := kept[name]
		if !ok {
			was = ferry.Route{Name: name}
		}
		was.Retired, was.Several, was.Pull = true, info.Several && !info.Pull, info.Pull
		r, err := b.compile(was)
		if err != nil {
			b.log.Warn("route.retired", "route", name, "error", err.Error(), "next", "it goes on without what cannot be read")
			less := ferry.Route{
				Name: name, Retired: true, Several: was.Several, Pull: was.Pull, OnDeadLetter: was.OnDeadLetter, Mask: was.Mask,
				Owner: was.Owner, Retention: was.Retention,
			}
			if r, err = b.compile(less); err != nil {
				return err
			}
		}
		r.retiredAt = b.startedAt.Add(-retiredFor) // no request can know of it
		t.add(r)                                   // nobody else has the table yet
		b.log.Warn("route.retired", "route", name, "error", "the configuration lacks it, and the ledger has messages of it",
			"next", "nothing is accepted; what it holds is delivered")
	}
	return nil
}

// runRelay hands out what a route has, and brings back what the queue sets aside of
// it, until the broker stops or the route ends.
func (b *Broker) runRelay(r *route) {
	ctx, stop := context.WithCancel(b.runCtx)
	r.relay.stop = stop
	b.goRun(func() {
		select {
		case <-b.caughtUp:
		case <-ctx.Done():
			return
		}
		r.relay.run(ctx)
	})
	b.drainOf(ctx, r.Name)
}

// retiredProblems tells of a route that the configuration lacks.
func retiredProblems(r *ferry.RouteInfo) []string {
	if !r.Retired {
		return nil
	}
	return []string{fmt.Sprintf("route %s was taken out of the configuration and holds %d messages that wait and %d dead letters: it accepts nothing, and is told of until they have ended", r.Name, r.Pending, r.DeadLetters)}
}
