package broker

import (
	"context"
	"slices"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/store"
)

// A pause is confirmed: what still runs is told, and who has not heard of it. A
// worker that goes by the word that holds the route begins nothing any more; its
// hello counts what it began before. Of one that has not heard it is known until
// when it may begin calls: its last word is good for that long.

// comesToRest tells how far a held route has come to rest; nil when it is not held.
func (b *Broker) comesToRest(in *store.RouteLedger) *ferry.Stopping {
	c := b.holdOf(in, time.Now())
	if c == nil {
		return nil
	}
	s := &ferry.Stopping{Workers: []ferry.StoppingWorker{}}
	if in.Pull {
		s.Running = int(in.Locked) // receivers that hold a message may be at work
		s.Done = s.Running == 0
		return s
	}
	s.Done = true
	for _, name := range b.mayBegin(in) {
		w := b.stoppingWorker(in, name, c)
		s.Running += w.Running
		s.Done = s.Done && w.Running == 0 && (w.Heard || w.Silent)
		s.Workers = append(s.Workers, w)
	}
	now := b.ledger.DueAt(b.ledger.Now())
	for i := range in.Leaving { // lost the route, and may not know it
		l := &in.Leaving[i]
		if calm := l.CalmAt(); calm.After(now) {
			s.Done = false
			until, at := l.Until.UTC(), calm.UTC()
			s.Workers = append(s.Workers, ferry.StoppingWorker{Worker: l.Worker, Heard: !l.Until.After(now), StartsUntil: &until, CalmAt: &at})
		}
	}
	return s
}

// mayBegin lists the workers that may begin calls for a route.
func (b *Broker) mayBegin(in *store.RouteLedger) []string {
	switch {
	case in.Several:
		names := b.fleet.granted(in.Name)
		for _, w := range b.ledger.Workers() {
			// Not heard in this run: it may have had a word of the last one.
			if w.RevokedAt == nil && slices.Contains(w.Routes, in.Name) && b.fleet.get(w.Name) == nil && time.Since(b.startedAt) < claimsGood {
				names = append(names, w.Name)
			}
		}
		slices.Sort(names)
		return names
	case in.Binding != nil:
		return []string{in.Binding.Worker}
	default:
		return nil
	}
}

// claimsGood is how long a worker that claims may go on with what it claimed
// before a route was held: no claim is granted from then on.
const claimsGood = 30 * time.Second

func (b *Broker) stoppingWorker(in *store.RouteLedger, name string, c *ferry.Condition) ferry.StoppingWorker {
	w := ferry.StoppingWorker{Worker: name}
	begins, writes := b.lastWord(in, name)
	s := b.fleet.get(name)
	if s != nil {
		w.Running = s.asked[in.Name].InFlight
	}
	switch {
	case s != nil && s.left:
		w.Heard, w.Running = true, 0
	case s != nil && s.asked[in.Name].Stopped.Equal(c.Since):
		w.Heard = true
	case s != nil && s.at.After(c.Since.Add(begins.Sub(s.at))):
		// An older worker does not say what it goes by. Any word from before the hold has
		// ended by the time of this hello.
		w.Heard = true
	default:
		now := time.Now()
		calm := begins.Add(writes)
		until := begins.UTC()
		w.StartsUntil, w.CalmAt = &until, &calm
		if w.Silent = now.After(calm); w.Silent {
			w.Running = 0 // whatever it began has ended
		}
	}
	// Of a worker that died, or is cut off, after it had heard: a living one says hello
	// more often than its word is good for.
	if w.Heard && w.Running > 0 && time.Since(s.at) > max(writes, queue.WordGood) {
		w.Running, w.Silent = 0, true
	}
	return w
}

// lastWord is until when a worker may begin calls on the last word that it got,
// and how long these may go on.
func (b *Broker) lastWord(in *store.RouteLedger, name string) (begins time.Time, writes time.Duration) {
	at := b.startedAt
	var bound time.Duration
	if s := b.fleet.get(name); s != nil {
		at, bound = s.at, s.asked[in.Name].Bound
	}
	begins = at.Add(queue.WordGood)
	if in.Several {
		begins = at.Add(claimsGood)
	}
	if is := in.Binding; is != nil && is.Worker == name {
		bound = max(bound, is.Bound)
		if until := b.ledger.DueAt(is.Until); until.After(begins) { // it is held against the system's clock
			begins = until
		}
	}
	return begins, max(bound-queue.WordGood, 0)
}

const (
	// maxAwaitRest bounds a wait for a route to come to rest.
	maxAwaitRest = 5 * time.Minute
	awaitEvery   = 100 * time.Millisecond
)

// AwaitRest waits until nothing of a held route runs any more and nothing can
// begin, or for a time, at most five minutes; and tells how it stands then.
func (b *Broker) AwaitRest(ctx context.Context, name string, within time.Duration) (ferry.RouteInfo, error) {
	end := time.Now().Add(min(within, maxAwaitRest))
	for {
		info, err := b.routeInfo(name)
		if err != nil || info.Stopping == nil || info.Stopping.Done || !time.Now().Before(end) || ctx.Err() != nil {
			return info, err
		}
		select {
		case <-b.stopping:
			return info, nil
		case <-time.After(awaitEvery):
		case <-ctx.Done():
		}
	}
}
