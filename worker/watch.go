package worker

import (
	"context"
	"errors"
	"time"

	"ferry/adapters"
	"ferry/breaker"
)

const (
	watchInterval = 5 * time.Second
	watchSoon     = 200 * time.Millisecond // when a probe waits for a slot
	probeTimeout  = breaker.ProbeInterval  // a probe that hangs is over when the next one is due
	// messageEvery is which probe is made with a message where the health request
	// keeps failing: it may be the health address alone that is broken.
	messageEvery = 3
)

// pings is how far the health request is to be believed: some answer well while
// nothing can be delivered, others never.
type pings struct {
	none bool // no health request is configured: a message is the probe
	well bool // it, or a lookup, closed the breaker, and no delivery came through since
	lies bool // it did, and the next delivery found the destination down
	bad  int  // health requests that failed, in a row
}

// byMessage says whether a message is the probe that is due at a moment. Where
// the health request comes by turns, a message that never comes does not keep it
// away.
func (p *pings) byMessage(due time.Time) bool {
	switch {
	case p.none, p.lies:
		return true
	case p.bad%messageEvery == messageEvery-1:
		return time.Since(due) < breaker.ProbeInterval
	}
	return false
}

func (p *pings) delivered() { p.well, p.lies, p.bad = false, false, 0 }
func (p *pings) answered()  { p.well, p.bad = true, 0 }

// opened: the destination was found down by a call.
func (p *pings) opened() { p.lies, p.well, p.bad = p.lies || p.well, false, 0 }

// watch probes a destination that is down and lifts the hold on credentials,
// until ctx ends.
func (d *Dest) watch(ctx context.Context) {
	for {
		timer := time.NewTimer(d.watchAfter())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-d.nudge:
			timer.Stop()
		case <-timer.C:
		}
		d.liftRefusal()
		d.probe(ctx)
		if d.breaker.Starting() {
			d.wake() // calls that hang let one more through
		}
	}
}

// watchAfter is when watch has something to do next.
func (d *Dest) watchAfter() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusal.holds {
		return watchInterval
	}
	s := d.breaker.Snapshot()
	switch {
	case d.breaker.Starting() && d.used > 0:
		return breaker.ProbeInterval
	case s.State == breaker.Closed || d.pings.none || d.pings.lies:
		return time.Hour // woken when there is
	case d.pings.byMessage(s.NextProbe):
		return max(time.Until(s.NextProbe.Add(breaker.ProbeInterval)), time.Millisecond)
	}
	return max(d.breaker.Wait(), watchSoon)
}

// probe asks a destination that is down whether it is back, when that is due.
// It takes a slot, as a call does.
func (d *Dest) probe(ctx context.Context) {
	print := d.fingerprint()
	d.mu.Lock()
	d.print = print
	s := d.breaker.Snapshot()
	skip := d.refusal.holds || s.State == breaker.Closed || d.pings.byMessage(s.NextProbe) || d.careful() && d.used > 0
	if skip = skip || !d.breaker.Allow(); !skip {
		d.used++
	}
	epoch := d.epoch
	d.mu.Unlock()
	if skip {
		return
	}
	err := d.ping(ctx)
	if err != nil && ctx.Err() != nil {
		d.breaker.Lost() // the worker stops: it proves nothing
	} else {
		d.pinged(err, print)
	}
	d.mu.Lock()
	d.used--
	if epoch != d.epoch && d.old > 0 {
		d.old--
	}
	d.mu.Unlock()
	d.tell()
}

// ping makes the health request, and survives an adapter that fails.
func (d *Dest) ping(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = panicError(p)
		}
	}()
	ctx, span := d.tracer.Probe(ctx, d.opts.Name)
	defer func() { span.Probed(err) }()
	return d.opts.Destination.Probe(ctx)
}

// pinged learns from a health request.
func (d *Dest) pinged(err error, print string) {
	switch {
	case err == nil:
		d.answered()
	case errors.Is(err, adapters.ErrNoProbe):
		d.mu.Lock()
		d.pings.none = true
		d.mu.Unlock()
		d.breaker.Lost()
	case errors.Is(err, adapters.ErrRefused):
		d.refused(print)
	default:
		d.breaker.Unavailable(true)
		d.mu.Lock()
		d.pings.bad++
		d.outage = true
		d.streaks.forgive()
		d.mu.Unlock()
	}
}
