package broker

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"ferry"
	"ferry/internal/rules"
	"ferry/queue"
	"ferry/store"
)

// relay hands one route's ready messages to the queue: never more than a
// window, in the order of the due index, only while the route is bound to an
// inbox and not held. What it handed out it knows in memory only; a restart
// begins with an empty window and publishes again.
type relay struct {
	b    *Broker
	name string
	wake chan struct{}
	stop context.CancelFunc // of its run; nil before

	mu     sync.Mutex
	out    map[ferry.ID]*handed
	cursor []byte // the last key of the due index that was looked at
	rounds int    // how often it began anew: what was looked at before counts for nothing
	seen   seen   // of the route's channel
}

// handed is a turn in the queue or in a worker's hands.
type handed struct {
	position uint64
	at       time.Time // of the publication; zero until the queue has it
}

const (
	relayBatch      = 256     // messages of one hand-out
	relayBatchBytes = 4 << 20 // bodies of one hand-out
)

func newRelay(b *Broker, name string) *relay {
	return &relay{b: b, name: name, wake: make(chan struct{}, 1), out: map[ferry.ID]*handed{}}
}

// note takes a change of the ledger. It must not block: the committer waits.
func (r *relay) note(c *store.Change) {
	r.mu.Lock()
	if c.Left {
		delete(r.out, c.ID)
	}
	if c.Ready && r.cursor != nil && bytes.Compare(c.Key, r.cursor) <= 0 {
		r.cursor = before(c.Key)
	}
	r.mu.Unlock()
	r.nudge()
}

// before is a key that sorts right before k, as a cursor to go on from.
func before(k []byte) []byte {
	b := bytes.Clone(k)
	for i := len(b) - 1; i >= 4; i-- { // the first four bytes are the route
		b[i]--
		if b[i] != 0xff {
			return b
		}
	}
	return nil
}

func (r *relay) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// again forgets what was handed out and begins anew: the queue lost it, or
// another inbox took over.
func (r *relay) again() {
	r.mu.Lock()
	r.out, r.cursor = map[ferry.ID]*handed{}, nil
	r.rounds++
	r.mu.Unlock()
	r.nudge()
}

// forget has one message handed out again.
func (r *relay) forget(id ferry.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.out[id]; ok {
		delete(r.out, id)
		r.cursor = nil
		r.rounds++ // a batch that is being published must not move it past this one
	}
}

func (r *relay) inQueue() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.out)
}

// window is how many may be in the queue at a time, as it is configured now.
func (r *relay) window() int {
	at, ok := r.b.route(r.name)
	if !ok {
		return 0
	}
	return min(at.Window, ferry.MaxWindow)
}

// full says whether as much is handed out as may be.
func (r *relay) full() bool { return r.inQueue() >= r.window() }

// run hands out until ctx ends. After a fault it waits a little, longer each
// time: an error of the queue or the disk is no reason to hammer it.
func (r *relay) run(ctx context.Context) {
	const (
		longest = 10 * time.Second
		away    = 2 * time.Second // of a queue that is away: it is waited for in each try
		repeat  = time.Minute     // of the same words in the log
	)
	wait, told, toldAt := time.Duration(0), "", time.Time{}
	for ctx.Err() == nil {
		next, err := r.step(ctx)
		if err == nil || ctx.Err() != nil {
			wait, told = 0, ""
			r.await(ctx, next)
			continue
		}
		wait = min(max(2*wait, 100*time.Millisecond), longest)
		if errors.Is(err, queue.ErrUnavailable) {
			wait = min(wait, away)
		}
		if text := err.Error(); text != told || time.Since(toldAt) >= repeat {
			told, toldAt = text, time.Now()
			r.b.log.Warn("messages could not be handed to the queue", "route", r.name, "error", err, "again", wait)
		}
		if errors.Is(err, queue.ErrNotFound) {
			_ = r.sweep(ctx) // makes the channel anew; that it could not, the next publication tells
		}
		sleep(ctx, wait)
	}
}

// await waits for a nudge, or for the moment when the next message is due.
func (r *relay) await(ctx context.Context, next time.Time) {
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(max(time.Until(next), 0))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-due:
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// step hands out everything that is due and has room, and says when to look
// again (zero: when nudged).
func (r *relay) step(ctx context.Context) (time.Time, error) {
	for ctx.Err() == nil {
		info, err := r.b.ledger.Route(r.name)
		if err != nil {
			return time.Time{}, err
		}
		if info.Pull {
			return time.Time{}, nil // receivers ask for what they want
		}
		if info.Binding != nil && !r.b.workerMay(info.Binding.Worker, r.name) {
			return time.Time{}, nil // its worker was revoked: who is added or bound nudges
		}
		if until, held := r.b.heldUntil(&info, time.Now()); held {
			return until, nil
		}
		if info.Binding == nil && !(info.Several && len(r.b.fleet.granted(r.name)) > 0) {
			return time.Time{}, nil // a hello nudges
		}
		next, more, err := r.handOut(ctx)
		if err != nil || !more {
			return next, err
		}
	}
	return time.Time{}, nil
}

// handOut publishes one batch. The order of its steps is the protocol's: look,
// move the horizon on disk, and only then read what is published, so that an
// operator's act either came before and is seen, or is refused.
func (r *relay) handOut(ctx context.Context) (next time.Time, more bool, err error) {
	window := r.window()
	r.mu.Lock()
	cursor, room, round := r.cursor, window-len(r.out), r.rounds
	r.mu.Unlock()
	if room <= 0 {
		return time.Time{}, false, nil
	}
	upTo, next, err := r.b.ledger.Look(r.name, cursor, time.Now(), min(room, relayBatch), r.isOut)
	if err != nil || upTo == nil {
		return next, false, err
	}
	if err := r.b.ledger.Advance(ctx, r.name, upTo); err != nil {
		return time.Time{}, false, err
	}
	ready, reached, err := r.b.ledger.Due(r.name, cursor, upTo, relayBatchBytes, r.b.queue.InlineMax(), r.isOut)
	if err != nil {
		return time.Time{}, false, err
	}
	handOuts := make([]ferry.HandOut, 0, len(ready))
	for i := range ready {
		if ready[i].Missing && !ready[i].Awaiting { // to ask what became of it needs no body
			if err := r.bodyMissing(ctx, &ready[i]); err != nil {
				return time.Time{}, false, err
			}
			continue
		}
		handOuts = append(handOuts, ready[i].HandOut)
	}
	r.b.addressConfirm(r.name, handOuts)
	r.b.bodies.carry(ctx, handOuts)
	if err := r.publish(ctx, handOuts); err != nil {
		return time.Time{}, false, err
	}
	r.mu.Lock()
	// A message that became ready meanwhile may have moved the cursor back, and a
	// queue that lost this batch has begun anew.
	if r.rounds == round && bytes.Equal(r.cursor, cursor) && reached != nil {
		r.cursor = reached
	}
	r.mu.Unlock()
	return time.Time{}, true, nil
}

func (r *relay) isOut(id ferry.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.out[id]
	return ok
}

// publish takes the turns into the window first: a receipt may come before
// Publish returns.
func (r *relay) publish(ctx context.Context, handOuts []ferry.HandOut) error {
	if len(handOuts) == 0 {
		return nil
	}
	entries := make([]*handed, len(handOuts))
	r.mu.Lock()
	for i := range handOuts {
		entries[i] = &handed{}
		r.out[handOuts[i].ID] = entries[i]
	}
	r.mu.Unlock()
	positions, err := r.b.queue.Publish(ctx, r.name, handOuts, r.b.suffix())
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		// Some may be in the queue: published again under another suffix, a second
		// copy of a turn is harmless.
		for i := range handOuts {
			if r.out[handOuts[i].ID] == entries[i] {
				delete(r.out, handOuts[i].ID)
			}
		}
		r.cursor = nil
		return err
	}
	now := time.Now()
	for i, e := range entries {
		e.position, e.at = positions[i], now
	}
	return nil
}

// suffix is fresh for every publication of every run.
func (b *Broker) suffix() string {
	if !rules.On(rules.Suffix) {
		return "0"
	}
	return b.ledger.StartID() + "-" + strconv.FormatUint(b.published.Add(1), 36)
}

// bodyMissing sets a message aside whose body cannot be found any more.
func (r *relay) bodyMissing(ctx context.Context, m *store.Ready) error {
	r.b.log.Error("the body of a message is missing", "route", r.name, "message", m.ID)
	return r.b.commitReceipts(ctx, []ferry.Receipt{{
		ID: m.ID, Route: r.name, Turn: m.Turn, Revision: m.Revision, Generation: m.Generation, Worker: "broker",
		Verdict: ferry.NotTried, Effect: ferry.EffectNone, Code: "bodyMissing", Text: "the body is missing in the ledger's folder, or was altered",
		Next: ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonBodyMissing, Doubt: m.Doubt},
	}})
}

// sweep looks after turns that stay silent: the queue was lost, or completed a
// delivery of which no receipt came. They are published again.
func (b *Broker) sweep(ctx context.Context) {
	every := max(b.opts.SilentAfter/6, 50*time.Millisecond)
	for ctx.Err() == nil {
		sleep(ctx, every)
		err := b.sweepReceipts(ctx)
		for _, name := range b.names() {
			if errors.Is(err, queue.ErrUnavailable) || ctx.Err() != nil {
				break
			}
			if r, ok := b.route(name); ok {
				err = errors.Join(err, r.relay.sweep(ctx))
			}
		}
		if ctx.Err() != nil {
			return
		}
		b.away.note(err, time.Now())
		if err != nil {
			b.log.Warn("the queue could not be asked how far it is", "error", err)
		}
	}
}

// begin notes how the route's channel is before anything is handed out: a
// channel that is made anew before the first sweep must be noticed too.
//
// What an earlier run left in it goes: it is handed out again from the ledger,
// and a worker that is away would find one more copy of its window per restart.
func (r *relay) begin(ctx context.Context) error {
	if err := r.b.queue.Clear(ctx, r.name); err != nil {
		r.b.log.Warn("what an earlier run left in the queue stays there: it does no harm", "route", r.name, "error", err)
	}
	p, err := r.b.queue.Progress(ctx, r.name)
	if err == nil {
		r.sees(p)
	}
	return err
}

// sees takes what the queue says of the channel, and whether it lost something
// since it was asked before.
func (r *relay) sees(p queue.Progress) (lost bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen.look(p)
}

func (r *relay) sweep(ctx context.Context) error {
	if !rules.On(rules.Sweep) {
		return nil
	}
	asked := time.Now()
	p, err := r.b.queue.Progress(ctx, r.name)
	if errors.Is(err, queue.ErrNotFound) {
		r.b.log.Warn("the queue's channel is gone: making it anew", "route", r.name)
		if _, err := r.b.queue.Ensure(ctx, []string{r.name}); err != nil {
			return err
		}
		p, err = r.b.queue.Progress(ctx, r.name)
	}
	if err != nil {
		return err
	}
	if r.sees(p) {
		r.b.log.Warn("the queue lost what it carried: handing out again from the ledger", "route", r.name, "messages", r.inQueue())
		r.again()
		return nil
	}
	r.mu.Lock()
	silent := 0
	for id, e := range r.out {
		// Behind the last: in a channel that was made anew since, whose numbers begin
		// again.
		gone := e.position > p.Last && e.at.Before(asked)
		if !e.at.IsZero() && (gone || e.position <= p.Settled && time.Since(e.at) > r.b.opts.SilentAfter) {
			delete(r.out, id)
			silent++
		}
	}
	if silent > 0 {
		r.cursor = nil
		r.rounds++ // a batch that is being published must not move it past them
	}
	r.mu.Unlock()
	if silent > 0 {
		r.b.log.Info("turns stayed silent and are handed out again", "route", r.name, "messages", silent)
		r.nudge()
	}
	return nil
}
