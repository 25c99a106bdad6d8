package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"ferry"
	"ferry/store"
)

const (
	// maxWaiting is how many receives wait for a message at a time, over all routes.
	maxWaiting = 1000
	// receiverSilent is how long nobody may have asked before a route says that it
	// has no receiver: one that comes every quarter of an hour is no fault.
	receiverSilent = time.Hour
	// lockAgain is the least time between two looks of one receive.
	lockAgain = 20 * time.Millisecond
)

// receivers are those who wait for a message of one route, and who asked last.
// The ledger knows what they hold.
type receivers struct {
	mu      sync.Mutex
	waiting []*waiter // the longest first
	by      string    // who asked last, in this run
	at      time.Time
}

// waiter is one receive that found nothing yet.
type waiter struct{ wake chan struct{} }

func (r *receivers) join() *waiter {
	w := &waiter{wake: make(chan struct{}, 1)}
	r.mu.Lock()
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	return w
}

// leave takes the waiter out, and has the next one look: a message for which this
// one was woken, or whose time it knew, must not be left lying.
func (r *receivers) leave(w *waiter) {
	r.mu.Lock()
	r.waiting = slices.DeleteFunc(r.waiting, func(one *waiter) bool { return one == w })
	r.mu.Unlock()
	r.nudge()
}

// nudge has one that waits look again: the longest-waiting that was not told yet.
// It does not block.
func (r *receivers) nudge() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.waiting {
		select {
		case w.wake <- struct{}{}:
			return
		default:
		}
	}
}

// nudgeAll has everybody look again.
func (r *receivers) nudgeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.waiting {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (r *receivers) asked(by string) {
	r.mu.Lock()
	r.by, r.at = by, time.Now()
	r.mu.Unlock()
}

func (r *receivers) last() (by string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by, r.at
}

// Receive gives by the first message of the route that is due, and locks it; on
// disk before it returns. It waits up to wait for one, and returns nil when none
// came, or the broker stops. With remove the message is completed before it is
// returned: who loses the answer has lost the message.
func (b *Broker) Receive(ctx context.Context, name, by string, wait time.Duration, remove bool) (*ferry.Received, error) {
	r, ok := b.route(name)
	if !ok {
		return nil, ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", name).WithHint("broker routes list shows them")
	}
	if b.waiting.Add(1) > maxWaiting {
		b.waiting.Add(-1)
		return nil, ferry.Errorf(ferry.CodeTooManyRequests, "%d receives wait already", maxWaiting).
			WithHint("ask again after the time in Retry-After, or with fewer receivers")
	}
	defer b.waiting.Add(-1)
	r.receivers.asked(by)
	until := time.Now().Add(wait)
	w := r.receivers.join()
	defer r.receivers.leave(w)
	for {
		got, next, err := b.receiveNow(ctx, r, by, remove)
		if err != nil || got != nil {
			return got, err
		}
		left := time.Until(until)
		if left <= 0 || !b.waitForMessage(ctx, w, left, next) {
			return nil, nil
		}
	}
}

// waitForMessage waits until there may be a message, and says whether to look.
func (b *Broker) waitForMessage(ctx context.Context, w *waiter, left time.Duration, next time.Time) bool {
	if !next.IsZero() {
		left = min(left, max(time.Until(next), lockAgain))
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-w.wake:
	case <-timer.C:
	case <-ctx.Done():
		return false
	case <-b.stopping:
		return false
	}
	return true
}

// receiveNow takes the first message that is due, nil when there is none.
func (b *Broker) receiveNow(ctx context.Context, r *route, by string, remove bool) (*ferry.Received, time.Time, error) {
	for {
		token := ferry.NewID(time.Now())
		locked, err := b.ledger.Lock(ctx, store.LockRequest{
			Route: r.Name, Token: token, Span: b.opts.Tracer.SpanOf(token), By: by, For: r.Lock, Most: r.MaxDeliveries, Window: min(r.Window, ferry.MaxWindow),
		}, b.continueAfterDead)
		if err != nil {
			return nil, time.Time{}, err
		}
		b.traceExpired(locked.Expired)
		if locked.Got == nil && len(locked.Expired) > 0 {
			continue // there may be one behind what had expired
		}
		if locked.Got == nil {
			return nil, locked.Next, nil
		}
		got := locked.Got
		b.metrics.lock(r.Name, "received")
		got.Body, err = b.ledger.OpenBody(got.ID, got.Revision)
		opened := err == nil
		switch {
		case errors.Is(err, store.ErrBodyMissing):
			if err := b.bodyOfLockMissing(got, by); err != nil {
				return nil, time.Time{}, err
			}
			continue
		case err == nil:
			err = ctx.Err() // nothing was answered yet: it is given back unharmed
		}
		if err == nil && remove {
			_, err = b.SettleLock(ctx, ferry.LockSettle{Route: r.Name, Message: got.ID.String(), Lock: got.Lock, Do: ferry.LockComplete, By: by})
		}
		if err != nil {
			if opened {
				_ = got.Body.Close()
			}
			return nil, time.Time{}, b.giveBack(got, by, err)
		}
		if remove {
			got.LockedUntil, got.Lock = time.Time{}, ferry.ID{}
		}
		b.log.Debug("message.received", "route", r.Name, "message", got.ID, "by", by, "deliveries", got.Deliveries)
		return got, time.Time{}, nil
	}
}

// giveBack unlocks a message that could not be handed over because of err.
func (b *Broker) giveBack(got *ferry.Received, by string, err error) error {
	_, unlockErr := b.SettleLock(context.Background(), ferry.LockSettle{
		Route: got.Route, Message: got.ID.String(), Lock: got.Lock, Do: ferry.LockUnlock, By: by,
	})
	if unlockErr != nil {
		b.log.Warn("a message could not be given back: it comes again when its lock ends", "route", got.Route, "message", got.ID, "error", unlockErr)
	}
	return err
}

func (b *Broker) bodyOfLockMissing(got *ferry.Received, by string) error {
	b.log.Error("the body of a message is missing", "route", got.Route, "message", got.ID)
	return b.commitReceipts(context.Background(), []ferry.Receipt{{
		ID: got.ID, Route: got.Route, Turn: got.Turn, Revision: got.Revision, Generation: got.Generation, Worker: by, Inbox: got.Lock.String(),
		Verdict: ferry.NotTried, Effect: ferry.EffectNone, Code: "bodyMissing", Text: "the body is missing in the ledger's folder, or was altered",
		Next: ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonBodyMissing, Doubt: got.Doubt},
	}})
}

// SettleLock commits what a receiver says of a message that it received. until is
// when the lock ends, of one that was renewed.
func (b *Broker) SettleLock(ctx context.Context, s ferry.LockSettle) (until time.Time, err error) {
	s.Text, s.Code = cut(s.Text, ferry.MaxAttemptText), cut(s.Code, ferry.MaxReferenceLength)
	switch {
	case len(s.Reference) > ferry.MaxReferenceLength:
		return time.Time{}, ferry.Errorf(ferry.CodeReferenceTooLong, "the reference has %d bytes", len(s.Reference)).
			WithHint("at most %d", ferry.MaxReferenceLength)
	case len(s.Result) > ferry.MaxResult:
		return time.Time{}, ferry.Errorf(ferry.CodeTooLarge, "the result has %d bytes", len(s.Result)).WithHint("at most %d", ferry.MaxResult)
	}
	b.hideSettled(&s)
	if s.Do == ferry.LockComplete {
		s.Result, s.ResultNote = b.told(ctx, s.Route, func() (ferry.ID, bool) {
			id, err := ferry.ParseID(s.Message)
			return id, err == nil
		}, s.Reference, s.Result)
	}
	hold := time.Duration(ferry.DefaultReceiveLock)
	if r, ok := b.route(s.Route); ok {
		r.receivers.asked(s.By) // who works on a message is there
		hold = r.Lock
	}
	began := time.Now()
	out, err := b.ledger.Settle(ctx, s, hold, b.continueAfterDead)
	if out.Receipt != nil {
		b.metrics.receipt(out.Receipt, &out.Outcome)
		b.logOutcome(out.Receipt, &out.Outcome)
		b.traceReceived(s.Lock, &out.Delivery, out.Receipt, &out.Outcome, began)
	}
	if err != nil {
		return time.Time{}, err
	}
	b.metrics.lock(s.Route, outcomeOf(s.Do))
	return out.Until, nil
}

func outcomeOf(act ferry.LockAct) string {
	switch act {
	case ferry.LockComplete:
		return "completed"
	case ferry.LockReject:
		return "rejected"
	case ferry.LockRenew:
		return "renewed"
	default:
		return "unlocked"
	}
}

// lapsed notes the end of a lock of which nothing was heard.
func (b *Broker) lapsed(c *store.TakenOver) {
	b.metrics.lock(c.Route, "lapsed")
	b.metrics.receipt(&c.Lapsed.Receipt, &c.Lapsed.Outcome)
	b.log.Warn("lock.lapsed", "route", c.Route, "message", c.ID, "turn", c.Turn, "receiver", c.Worker, "times", c.Times,
		"error", "the receiver never said what became of the message: it comes again, and may have been done")
	b.logOutcome(&c.Lapsed.Receipt, &c.Lapsed.Outcome)
	if token, err := ferry.ParseID(c.Lapsed.Receipt.Inbox); err == nil {
		b.traceReceived(token, &c.Lapsed.Delivery, &c.Lapsed.Receipt, &c.Lapsed.Outcome, time.Now())
	}
}

// lastReceiver says who asked for a message of the route last, and when; zero when
// nobody ever did, as far as it is known.
func (b *Broker) lastReceiver(in *store.RouteLedger) (by string, at time.Time) {
	if r, ok := b.route(in.Name); ok {
		by, at = r.receivers.last()
	}
	if in.Received != nil && in.Received.At.After(at) {
		by, at = in.Received.By, in.Received.At
	}
	return by, at
}

// receiverSilence is since when nobody is known to have asked for a message; zero when
// nobody ever did. Who asked and got nothing is not in the ledger, so that a broker
// which has just started cannot know of longer than that.
func (b *Broker) receiverSilence(in *store.RouteLedger) (by string, since time.Time) {
	by, since = b.lastReceiver(in)
	if !since.IsZero() && since.Before(b.startedAt) {
		since = b.startedAt
	}
	return by, since
}

func (b *Broker) hasReceiver(in *store.RouteLedger) bool {
	_, since := b.receiverSilence(in)
	return time.Since(since) <= receiverSilent
}

// pullConditions says whether anybody asks for the route's messages.
func (b *Broker) pullConditions(in *store.RouteLedger) []ferry.Condition {
	by, since := b.receiverSilence(in)
	switch {
	case since.IsZero():
		return []ferry.Condition{{Type: ferry.RouteNoWorker, Since: b.startedAt, Reason: "no receiver has asked for this route yet"}}
	case time.Since(since) > receiverSilent:
		return []ferry.Condition{{Type: ferry.RouteNoWorker, Since: since.UTC(), Worker: by, Reason: "no receiver has asked since " + since.UTC().Format(time.RFC3339)}}
	default:
		return nil
	}
}
