package worker

import (
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/breaker"
)

// lesson is what a call taught about the destination. The zero lesson: none was
// made.
type lesson struct {
	verdict *ferry.Verdict // of the call, or of a lookup where there was none
	posted  bool           // it is a delivery's, not a lookup's
	both    bool           // a lookup came before the delivery
	id      ferry.ID       // of the message
	route   string
	began   time.Time // of the delivery
	took    time.Duration
	late    bool // the delivery had no answer in time
}

// learn tells the breaker, the hold on refused credentials, the streaks and the
// pace what a call or a lookup came to.
func (d *Dest) learn(t ticket, l lesson) (changed bool) {
	v := l.verdict
	if v == nil || v.Kind == ferry.NotTried || v.Code == adapters.CodeMappingFailed {
		if t.probe { // nothing was called
			d.breaker.Lost()
		}
		return false
	}
	d.learnPace(l)
	changed = d.learnVerdict(t, l)
	if t.probe && l.both && d.breaker.Snapshot().State != breaker.Closed {
		d.breaker.PutOff() // it was called twice
	}
	return changed
}

func (d *Dest) learnPace(l lesson) {
	switch {
	case !l.posted:
	case l.late:
		d.pace.TimedOut(l.began, l.began.Add(l.took))
	case l.verdict.Kind.HasIt():
		d.pace.Answered(l.route, l.began, l.took)
	}
}

func (d *Dest) learnVerdict(t ticket, l lesson) (changed bool) {
	v := l.verdict
	switch {
	case v.Kind == ferry.Unauthorized:
		return d.refused(t.print)
	case v.Kind == ferry.Throttled, v.Kind == ferry.Unavailable && v.RetryAfter > 0:
		d.answered()
		d.breaker.Throttled(time.Now().Add(throttle(*v)))
		d.mu.Lock()
		d.begins()
		d.mu.Unlock()
		return true
	case v.Kind == ferry.Unavailable:
		return d.down(v.Effect == ferry.EffectNone, v.Effect == ferry.EffectNone, downReason(v))
	case l.posted && serverFault(v):
		return d.fault(t, l)
	case noAnswer(v):
		return d.down(false, false, downReason(v))
	case !l.posted && (v.Kind == ferry.Unknown || v.Kind == ferry.Failed):
		return false // nonsense in the place of an answer tells nothing
	}
	back := d.answered()
	changed = d.accepted(t.print) || back
	if l.posted && v.Kind != ferry.Unknown {
		d.mu.Lock()
		d.streaks.succeeded()
		d.pings.delivered()
		d.mu.Unlock()
	}
	return changed
}

// answered: the destination is there, whatever it said. It says whether it was
// down before.
func (d *Dest) answered() (back bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	back = d.breaker.Snapshot().State != breaker.Closed
	d.breaker.Success()
	d.outage = false
	if back {
		d.pings.answered()
		d.begins()
	}
	return back
}

// begins: calls start again slowly, and what is still out from before does not
// count.
func (d *Dest) begins() {
	d.epoch++
	d.old = d.used
}

// fault learns from a delivery that failed, by the destination's fault or the
// message's: that shows when others fail alike.
func (d *Dest) fault(t ticket, l lesson) (changed bool) {
	d.mu.Lock()
	n := d.streaks.failed(l.id, l.verdict)
	d.mu.Unlock()
	switch {
	case n >= alikeOpens:
		return d.down(true, true, alikeReason(n, l.verdict))
	case noAnswer(l.verdict):
		return d.down(false, n >= alikeFree, downReason(l.verdict))
	case !t.probe:
		return false
	}
	return d.answered() // and the answer may be about this message alone
}

// down tells the breaker that the destination was found down. general: for more
// than one message; then what its failures have cost is given back.
func (d *Dest) down(atOnce, general bool, reason string) (opened bool) {
	opened = d.breaker.Unavailable(atOnce)
	d.mu.Lock()
	defer d.mu.Unlock()
	if opened {
		d.reason = reason
		d.pings.opened()
	}
	if d.breaker.Snapshot().State == breaker.Closed {
		return opened
	}
	if general {
		d.outage = true
	}
	if d.outage {
		d.streaks.forgive()
	}
	return opened
}

// throttle is how long a throttled verdict holds the destination.
func throttle(v ferry.Verdict) time.Duration {
	const otherwise = 5 * time.Second
	if v.RetryAfter <= 0 {
		return otherwise
	}
	return min(v.RetryAfter, ferry.MaxRetryAfter)
}

// account says whether a turn's own failure costs nothing.
func (d *Dest) account(c charge) (free bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.failed != nil && noAnswer(c.failed) && d.outage && d.breaker.Snapshot().State != breaker.Closed {
		c.failed, free = nil, true
	}
	return d.streaks.account(c) || free
}

// pardoned takes what a message gets back of its spent attempts.
func (d *Dest) pardoned(id ferry.ID, generation int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.streaks.pardoned(id, generation)
}

// pardonedOpen says whether the outcome of a message that proved absent costs
// nothing.
func (d *Dest) pardonedOpen(id ferry.ID, generation int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.streaks.pardonedOpen(id, generation)
}
