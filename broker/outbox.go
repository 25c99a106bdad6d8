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
	// when the target has it, ferry.ErrUntellable when it never will, any other when
	// it is tried again. A target may be told the same end twice.
	Tell(ctx context.Context, to ferry.NoticeTarget, ends []ferry.Ending) []error
}

// Bounds of telling.
const (
	tellPage     = 100 // ends at a time
	tellAtOnce   = 8   // targets at a time
	tellTimeout  = 30 * time.Second
	tellFirst    = time.Second // the pause after a failure; it doubles
	tellLongest  = 5 * time.Minute
	giveUpEvery  = 10 * time.Minute
	tellProblems = 5 // sentences in status
)

// outbox empties the ledger's: it tells what is in it, each target by itself, so
// that one which takes nothing holds up no other.
type outbox struct {
	b    *Broker
	wake chan struct{}

	mu      sync.Mutex
	busy    int
	targets map[ferry.NoticeTarget]*telling
	lostAt  time.Time // when the log last said that notices were lost
}

// telling is how far one target is.
type telling struct {
	busy  bool
	after uint64 // the last notice of the last page
	fails int    // in a row
	next  time.Time
	since time.Time // of the first failure in a row
	why   string
	told  map[uint64]bool // and not out of the ledger yet: it could not write
}

func newOutbox(b *Broker) *outbox {
	return &outbox{b: b, wake: make(chan struct{}, 1), targets: map[ferry.NoticeTarget]*telling{}}
}

func (o *outbox) nudge() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// noted is called by the ledger when a commit put notices into the outbox.
func (o *outbox) noted(_ []ferry.NoticeTarget, lost int) {
	o.nudge()
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
		o.b.log.Error("too many replies wait: ends of messages are told to nobody until there is room", "lost", lost)
	}
}

// run tells until ctx ends.
func (o *outbox) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	var givenUp time.Time
	for ctx.Err() == nil {
		if time.Since(givenUp) >= giveUpEvery {
			givenUp = time.Now()
			o.giveUp(ctx)
		}
		wait := giveUpEvery
		for _, to := range o.due(&wait) {
			running.Go(func() {
				o.tell(ctx, to)
				o.nudge()
			})
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

// due claims the targets that are to be told now, and says how long the next one
// waits, if that is less than wait.
func (o *outbox) due(wait *time.Duration) (list []ferry.NoticeTarget) {
	o.mu.Lock()
	defer o.mu.Unlock()
	waiting, now := o.b.ledger.NoticeTargets(), time.Now()
	for to, t := range o.targets {
		if !t.busy && waiting[to] == 0 {
			delete(o.targets, to)
		}
	}
	for to := range waiting {
		t := o.targets[to]
		if t == nil {
			t = &telling{}
			o.targets[to] = t
		}
		switch {
		case t.busy || o.busy == tellAtOnce: // whoever ends its turn nudges
		case t.next.After(now):
			*wait = min(*wait, t.next.Sub(now))
		default:
			t.busy = true
			o.busy++
			list = append(list, to)
		}
	}
	return list
}

// tell tells a target all that waits for it, until something fails.
func (o *outbox) tell(ctx context.Context, to ferry.NoticeTarget) {
	o.mu.Lock()
	t := o.targets[to]
	o.mu.Unlock()
	var err error
	for err == nil && ctx.Err() == nil {
		var list []ferry.Notice
		if list, err = o.b.ledger.Notices(to, t.after, tellPage); err != nil {
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
		err = o.page(ctx, to, t, list)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t.busy = false
	o.busy--
	if err == nil || ctx.Err() != nil {
		t.fails, t.next, t.why = 0, time.Time{}, ""
		return
	}
	if t.fails == 0 {
		t.since = time.Now()
	}
	t.next = time.Now().Add(min(tellFirst<<min(t.fails, 20), tellLongest))
	t.fails++
	t.why = err.Error()
	if t.fails == 1 || t.fails%10 == 0 {
		o.b.log.Warn("replies cannot be sent: they wait", "route", to.Route, "to", to.Target, "since", t.since, "error", err)
	}
}

// page tells some ends, and takes out of the ledger what needs no other try. The
// error is the first of those that do.
func (o *outbox) page(ctx context.Context, to ferry.NoticeTarget, t *telling, list []ferry.Notice) error {
	var ends []ferry.Ending
	var done, hopeless []ferry.Notice
	for _, n := range list {
		end, ok, err := o.b.ledger.Ending(n)
		switch {
		case t.told[n.Seq]:
			done = append(done, n)
		case err != nil:
			return err
		case !ok:
			o.b.log.Warn("the end of a message cannot be told: the ledger does not keep it any more", "route", to.Route, "message", n.ID, "to", to.Target)
			hopeless = append(hopeless, n)
		default:
			o.b.decorate(&end.Envelope)
			ends = append(ends, end)
		}
	}
	errs := o.ask(ctx, to, ends)
	var failed error
	for i := range ends {
		switch err := errs[i]; {
		case err == nil:
			o.b.metrics.notices("told", 1)
			t.told = with(t.told, ends[i].Seq)
			done = append(done, ends[i].Notice)
		case errors.Is(err, ferry.ErrUntellable):
			o.b.log.Error("the end of a message is given up: it cannot be told", "route", to.Route, "message", ends[i].ID, "to", to.Target, "error", err)
			hopeless = append(hopeless, ends[i].Notice)
		default:
			o.b.metrics.notices("failed", 1)
			failed = cmp.Or(failed, err)
		}
	}
	return cmp.Or(o.remove(ctx, to, t, done, hopeless), failed)
}

func with(set map[uint64]bool, seq uint64) map[uint64]bool {
	if set == nil {
		set = map[uint64]bool{}
	}
	set[seq] = true
	return set
}

// ask has a teller tell the ends.
func (o *outbox) ask(ctx context.Context, to ferry.NoticeTarget, ends []ferry.Ending) []error {
	errs := make([]error, len(ends))
	if len(ends) == 0 {
		return errs
	}
	teller := o.b.opts.Tellers[to.Kind]
	if teller == nil {
		for i := range errs {
			errs[i] = fmt.Errorf("this broker is not set up for replies of the kind %s", to.Kind)
		}
		return errs
	}
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	copy(errs, teller.Tell(ctx, to, ends))
	return errs
}

func (o *outbox) remove(ctx context.Context, to ferry.NoticeTarget, t *telling, done, hopeless []ferry.Notice) error {
	if err := o.b.ledger.DropNotices(ctx, done, nil); err != nil {
		return err
	}
	for _, n := range done {
		delete(t.told, n.Seq)
	}
	if len(hopeless) == 0 {
		return nil
	}
	err := o.b.ledger.DropNotices(ctx, hopeless, &ferry.AuditEntry{
		At: time.Now().UTC(), By: "broker", Act: "give up notices", Target: "replies to " + to.Target + " on route " + to.Route,
		Note: fmt.Sprintf("%d ends of messages cannot be told: the first is that of %s", len(hopeless), hopeless[0].ID),
	})
	if err == nil {
		o.b.metrics.notices("givenUp", len(hopeless))
	}
	return err
}

// giveUp ends what could not be told for NoticeLife.
func (o *outbox) giveUp(ctx context.Context) {
	given, err := o.b.ledger.GiveUpNotices(ctx, time.Now().Add(-ferry.NoticeLife))
	for to, n := range given {
		o.b.metrics.notices("givenUp", n)
		o.b.log.Error("replies are given up: they could not be sent in time", "route", to.Route, "to", to.Target, "replies", n, "after", ferry.NoticeLife)
	}
	if err != nil && ctx.Err() == nil {
		o.b.log.Warn("replies could not be given up", "error", err)
	}
}

// problems are sentences for status: which targets cannot be told, and why.
func (o *outbox) problems() (list []string) {
	waiting := o.b.ledger.NoticeTargets()
	o.mu.Lock()
	defer o.mu.Unlock()
	for to, t := range o.targets {
		if t.fails >= 2 && waiting[to] > 0 { // once may be a passing fault
			list = append(list, fmt.Sprintf("replies to %s on route %s cannot be sent since %s, %d wait: %s",
				to.Target, to.Route, t.since.UTC().Format(time.RFC3339), waiting[to], t.why))
		}
	}
	slices.Sort(list)
	if more := len(list) - tellProblems; more > 0 {
		list = append(list[:tellProblems], fmt.Sprintf("replies to %d more targets cannot be sent", more))
	}
	return list
}

// waiting is how many ends of a route wait to be told.
func (o *outbox) waiting(route string) int { return o.b.ledger.NoticesOf(route) }
