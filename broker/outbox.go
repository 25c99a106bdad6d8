package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"ferry"
)

// Teller tells the ends of messages to targets of one kind.
type Teller interface {
	// Tell tells ends to one target, in their order, and has one error for each: nil
	// when the target has it, ferry.ErrUntellable when it never will,
	// ferry.ErrTargetGone when the target says that there is nothing, any other when it
	// is tried again, ferry.ErrNotTried among them; one with a method RetryAfter, not before that. A target may be
	// told the same end twice.
	Tell(ctx context.Context, to ferry.NoticeTarget, ends []ferry.Ending) []error
}

// Pager is a Teller that says how many ends it is given at a time, and how long it
// may take for them.
type Pager interface {
	Page() (ends int, within time.Duration)
}

// Bounds of telling.
const (
	tellPage    = 100 // ends at a time
	tellTimeout = 30 * time.Second
	tellFirst   = time.Second // the pause after a failure; it doubles
	tellLongest = 5 * time.Minute
	giveUpEvery = 10 * time.Minute
)

// outbox empties the ledger's: it tells what is in it, each target by itself, so
// that one which takes nothing holds up no other.
type outbox struct {
	b    *Broker
	wake chan struct{}

	mu      sync.Mutex
	targets map[ferry.NoticeTarget]*telling
	turns   turns
	lostAt  time.Time // when the log last said that notices were lost
}

func newOutbox(b *Broker) *outbox {
	return &outbox{b: b, wake: make(chan struct{}, 1), targets: map[ferry.NoticeTarget]*telling{}, turns: newTurns()}
}

func (o *outbox) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// noted is called by the ledger when a commit put notices into the outbox.
func (o *outbox) noted(fresh []ferry.NoticeTarget, lost int) {
	if len(fresh) > 0 {
		o.add(fresh)
		o.nudge()
	}
	if lost == 0 {
		return
	}
	o.b.metrics.notices("lost", lost)
	o.mu.Lock()
	quiet := time.Since(o.lostAt) < time.Minute
	if !quiet {
		o.lostAt = time.Now()
	}
	o.mu.Unlock()
	if !quiet {
		o.b.log.Error("too many ends of messages wait to be told: more of them are told to nobody until there is room", "lost", lost)
	}
}

// add gives targets that something waits for a turn. The ledger's commits wait for
// it, and whoever holds o.mu: neither here nor under the lock the address of an
// operators' target is asked for, which may be a secret that lies elsewhere.
func (o *outbox) add(list []ferry.NoticeTarget) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, to := range list {
		t := o.targets[to]
		if t == nil {
			t = &telling{to: to, lane: o.turns.lane(o.b.laneOf(to))}
			o.targets[to] = t
		}
		switch t.state {
		case tellingIdle:
			o.turns.ready(t)
		case tellingBusy:
			t.more = true
		}
	}
}

// run tells until ctx ends.
func (o *outbox) run(ctx context.Context) {
	var waiting []ferry.NoticeTarget
	for to := range o.b.ledger.NoticeTargets() {
		waiting = append(waiting, to)
	}
	o.add(waiting)
	var running sync.WaitGroup
	defer running.Wait()
	var givenUp time.Time
	for ctx.Err() == nil {
		if time.Since(givenUp) >= giveUpEvery {
			givenUp = time.Now()
			o.giveUp(ctx)
		}
		wait := giveUpEvery
		for {
			t, again, in := o.next()
			if t == nil {
				if in > 0 {
					wait = min(wait, in)
				}
				break
			}
			running.Go(func() { o.tell(ctx, t, again) })
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-o.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (o *outbox) next() (t *telling, again bool, in time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t, in = o.turns.next(time.Now())
	return t, t != nil && t.fails > 0, in
}

// tell tells a target all that waits for it, until something fails.
func (o *outbox) tell(ctx context.Context, t *telling, again bool) {
	most, within := tellPage, tellTimeout
	if p, ok := o.b.table.Load().Tellers[t.to.Kind].(Pager); ok {
		most, within = p.Page()
	}
	next := most
	if again {
		next = 1 // to see whether it is back
	}
	var err error
	for err == nil && ctx.Err() == nil {
		var list []ferry.Notice
		if list, err = o.b.ledger.Notices(t.to, t.after, next); err != nil {
			break
		}
		if len(list) == 0 {
			if t.after == 0 {
				break
			}
			t.after = 0 // what failed before
			continue
		}
		t.after = list[len(list)-1].Seq
		err = o.page(ctx, t, within, list)
		next = most
	}
	o.told(ctx, t, again, err)
}

// told gives the turn back, has the next one be looked for, and logs now and then that
// something failed.
func (o *outbox) told(ctx context.Context, t *telling, again bool, err error) {
	since, say := o.giveBack(ctx, t, again, err)
	o.nudge()
	if say {
		o.b.log.Warn("ends of messages cannot be told: they wait", "kind", t.to.Kind, "route", t.to.Route, "to", o.b.shownTarget(t.to), "since", since, "error", err)
	}
}

// giveBack ends the turn, and says when the next one is; since when the target fails,
// and whether the log should say so.
func (o *outbox) giveBack(ctx context.Context, t *telling, again bool, err error) (since time.Time, say bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	well := err == nil || ctx.Err() != nil
	o.turns.done(t, again, well || errors.Is(err, ferry.ErrTargetGone))
	if well {
		t.fails, t.gone, t.next, t.why = 0, 0, time.Time{}, ""
		if t.more {
			t.more = false
			o.turns.ready(t)
			return time.Time{}, false
		}
		delete(o.targets, t.to)
		o.turns.forget(t)
		return time.Time{}, false
	}
	t.more = false
	if t.fails == 0 {
		t.since = time.Now()
	}
	pause := min(tellFirst<<min(t.fails, 20), tellLongest)
	var patient interface{ RetryAfter() time.Duration }
	if errors.As(err, &patient) {
		pause = max(pause, min(patient.RetryAfter(), ferry.MaxRetryAfter))
	}
	t.next = time.Now().Add(pause)
	t.fails++
	t.why = err.Error()
	o.turns.wait(t)
	return t.since, t.fails == 1 || t.fails%10 == 0
}

// page tells some ends, and takes out of the ledger what needs no other try. The
// error is the first of those that do.
func (o *outbox) page(ctx context.Context, t *telling, within time.Duration, list []ferry.Notice) error {
	var ends []ferry.Ending
	var done, hopeless []ferry.Notice
	for _, n := range list {
		if t.told[n.Seq] {
			done = append(done, n)
			continue
		}
		end, ok, err := o.b.ledger.Ending(n)
		if err != nil {
			return err
		}
		if !ok {
			o.b.log.Warn("the end of a message cannot be told: the ledger does not keep it any more", "route", t.to.Route, "message", n.ID, "to", o.b.shownTarget(t.to))
			hopeless = append(hopeless, n)
			continue
		}
		wanted, err := o.b.address(&end)
		switch {
		case err != nil:
			return err
		case !wanted: // who subscribed has left, or may not see it any more
			done = append(done, n)
			continue
		}
		if end.Operator == nil {
			o.b.decorate(&end.Envelope)
		}
		ends = append(ends, end)
	}
	errs := o.ask(ctx, t.to, within, ends)
	var failed error
	gone := false
	for i := range ends {
		switch err := errs[i]; {
		case err == nil:
			o.count(t.to, "told", 1)
			t.told = with(t.told, ends[i].Seq)
			done = append(done, ends[i].Notice)
		case errors.Is(err, ferry.ErrUntellable):
			o.b.log.Error("the end of a message is given up: it cannot be told", "route", ends[i].Envelope.Route, "message", ends[i].ID, "to", o.b.shownTarget(t.to), "error", err)
			hopeless = append(hopeless, ends[i].Notice)
		default:
			if !errors.Is(err, ferry.ErrNotTried) {
				o.count(t.to, "failed", 1)
			}
			failed = cmp.Or(failed, err)
			gone = gone || errors.Is(err, ferry.ErrTargetGone)
		}
	}
	// Who runs the broker wrote the address of operators down: it is not dropped.
	if len(ends) > 0 && o.isGone(t, gone) && t.to.Kind != ferry.ReplyOperator {
		return o.leave(ctx, t, done, hopeless, failed)
	}
	return cmp.Or(o.remove(ctx, t, done, hopeless), failed)
}

// isGone counts how often in a row a target said that there is nothing. It says
// whether that was too often.
func (o *outbox) isGone(t *telling, gone bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.gone++; !gone {
		t.gone = 0
	}
	return t.gone >= ferry.GoneTries
}

func with(set map[uint64]bool, seq uint64) map[uint64]bool {
	if set == nil {
		set = map[uint64]bool{}
	}
	set[seq] = true
	return set
}

// ask has a teller tell the ends.
func (o *outbox) ask(ctx context.Context, to ferry.NoticeTarget, within time.Duration, ends []ferry.Ending) []error {
	errs := make([]error, len(ends))
	if len(ends) == 0 {
		return errs
	}
	teller := o.b.table.Load().Tellers[to.Kind]
	if teller == nil {
		for i := range errs {
			errs[i] = fmt.Errorf("this broker is not set up for replies of the kind %s", to.Kind)
		}
		return errs
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	copy(errs, teller.Tell(ctx, to, ends))
	return errs
}

func (o *outbox) remove(ctx context.Context, t *telling, done, hopeless []ferry.Notice) error {
	if err := o.b.ledger.DropNotices(ctx, done, nil); err != nil {
		return err
	}
	for _, n := range done {
		delete(t.told, n.Seq)
	}
	return o.abandon(ctx, t.to, hopeless, "cannot be told")
}

// abandon gives notices up, with a trace.
func (o *outbox) abandon(ctx context.Context, to ferry.NoticeTarget, list []ferry.Notice, why string) error {
	if len(list) == 0 {
		return nil
	}
	target := "replies to " + to.Target + " on route " + to.Route
	if to.Kind != ferry.ReplyServiceBus {
		target = "callbacks to " + o.b.shownTarget(to)
	}
	err := o.b.ledger.DropNotices(ctx, list, &ferry.AuditEntry{
		At: time.Now().UTC(), By: "broker", Act: "give up notices", Target: target,
		Note: fmt.Sprintf("%d ends of messages %s: the first is that of %s", len(list), why, list[0].ID),
	})
	if err == nil {
		o.count(to, "givenUp", len(list))
	}
	return err
}

// leave ends a target that said too often that there is nothing: a subscription is
// dropped, and with it what waits for it.
func (o *outbox) leave(ctx context.Context, t *telling, done, hopeless []ferry.Notice, why error) error {
	if err := o.remove(ctx, t, done, hopeless); err != nil {
		return err
	}
	if t.to.Kind == ferry.ReplySubscription {
		if err := o.b.dropSubscription(ctx, t.to, why); err != nil {
			return err
		}
	} else {
		o.b.log.Error("callbacks are given up: nothing is at their address", "route", t.to.Route, "to", o.b.shownTarget(t.to), "error", why)
	}
	for {
		list, err := o.b.ledger.Notices(t.to, 0, tellPage)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := o.abandon(ctx, t.to, list, "cannot be told, nothing is at the address"); err != nil {
			return err
		}
	}
}

// giveUp ends what could not be told for NoticeLife.
func (o *outbox) giveUp(ctx context.Context) {
	given, err := o.b.ledger.GiveUpNotices(ctx, time.Now().Add(-ferry.NoticeLife))
	for to, n := range given {
		o.count(to, "givenUp", n)
		o.b.log.Error("ends of messages are given up: they could not be told in time", "kind", to.Kind, "route", to.Route, "to", o.b.shownTarget(to), "ends", n, "after", ferry.NoticeLife)
	}
	if err != nil && ctx.Err() == nil {
		o.b.log.Warn("ends of messages could not be given up", "error", err)
	}
}

// count counts what became of ends; callbacks have a metric of their own as well.
func (o *outbox) count(to ferry.NoticeTarget, outcome string, n int) {
	o.b.metrics.notices(outcome, n)
	if to.Kind != ferry.ReplyServiceBus {
		o.b.metrics.callbacks(outcome, n)
	}
}

// late lists the targets that wait for their next try and that is names, which may take
// a while: it is asked under no lock.
func (o *outbox) late(is func(ferry.NoticeTarget) bool) (list []*telling) {
	o.mu.Lock()
	for _, t := range o.targets {
		if t.state == tellingLater {
			list = append(list, t)
		}
	}
	o.mu.Unlock()
	return slices.DeleteFunc(list, func(t *telling) bool { return !is(t.to) })
}

// retry gives those of late that still wait for their next try a turn now. It says how
// many.
func (o *outbox) retry(list []*telling) (n int) {
	o.mu.Lock()
	for _, t := range list {
		if t.state == tellingLater {
			t.next = time.Time{}
			o.turns.ready(t)
			n++
		}
	}
	o.mu.Unlock()
	o.nudge()
	return n
}
