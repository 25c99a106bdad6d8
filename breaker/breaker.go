// Package breaker keeps a destination that is down from being called: it opens
// when calls find the destination unavailable, lets one probe through now and
// then, and after recovery lets calls back in by and by.
//
// The breaker always disarms: a probe whose outcome never comes back blocks the
// next one for a minute at the most, and a throttle ends by itself.
package breaker

import (
	"sync"
	"time"
)

// The breaker's pace.
const (
	Threshold     = 3               // unavailables in a row that open it
	ProbeInterval = 5 * time.Second // between two probes, at least
	PermitLife    = time.Minute     // after which a probe without an outcome counts as lost
	MaxHold       = time.Hour       // that Throttled holds at the most
)

// State is where a breaker stands.
type State string

// The states of a breaker.
const (
	Closed   State = "closed"   // calls go through
	Open     State = "open"     // no call goes through until the next probe is due
	HalfOpen State = "halfOpen" // a probe is out or due
)

// Snapshot is a breaker at a moment.
type Snapshot struct {
	State     State
	Since     time.Time // when the state began; zero if it was never left
	NextProbe time.Time // open: when the next probe is due; half open: when a silent one counts as lost
	HeldUntil time.Time // zero, or until when the destination asked for a pause
}

// Breaker guards one destination. The zero value is closed and ready. It may be
// used concurrently.
type Breaker struct {
	mu        sync.Mutex
	open      bool
	since     time.Time
	failures  int // unavailables in a row, while closed
	nextProbe time.Time
	permit    time.Time // when the probe that is out was let through; zero: none is
	heldUntil time.Time
	slots     int // slow start: calls at a time; 0: no limit
}

// Allow says whether a call may be made now. While the breaker is open it lets
// one through as a probe whenever one is due; its outcome must then be told by
// Success, Unavailable, Throttled or Lost.
func (b *Breaker) Allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if now.Before(b.heldUntil) {
		return false
	}
	if !b.open {
		return true
	}
	if !b.permit.IsZero() && now.Sub(b.permit) < PermitLife {
		return false
	}
	if now.Before(b.nextProbe) {
		return false
	}
	b.permit = now
	b.nextProbe = now.Add(ProbeInterval)
	return true
}

// Success tells that the destination answered: whatever it said, it is there.
// An open breaker closes and starts slowly; while it does, each success doubles
// the calls at a time.
func (b *Breaker) Success() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = 0
	b.permit = time.Time{}
	if b.open {
		b.open = false
		b.since = time.Now()
		b.slots = 1
		return
	}
	if b.slots > 0 {
		if b.slots *= 2; b.slots > maxSlots {
			b.slots = 0
		}
	}
}

// maxSlots is where the slow start ends: no destination is called more often at
// a time.
const maxSlots = 1024

// Unavailable tells that a call found the destination down. Threshold of them
// in a row open the breaker, and so does one when atOnce: a refused connection,
// a failed probe, a 503. It says whether this call opened it.
func (b *Breaker) Unavailable(atOnce bool) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.failures++
	b.permit = time.Time{}
	if b.open {
		// Late answers of calls from before it opened do not put the probe off
		// further than an interval from now.
		b.nextProbe = now.Add(ProbeInterval)
		return false
	}
	// During a slow start one failure is enough: it is not back yet.
	if !atOnce && b.failures < Threshold && b.slots == 0 {
		return false
	}
	b.open, b.since, b.slots = true, now, 0
	b.nextProbe = now.Add(ProbeInterval)
	return true
}

// Throttled tells that the destination asked not to be called until a moment,
// at most MaxHold from now. It is there, so an open breaker closes.
func (b *Breaker) Throttled(until time.Time) {
	b.Success()
	b.mu.Lock()
	defer b.mu.Unlock()
	if most := time.Now().Add(MaxHold); until.After(most) {
		until = most
	}
	if until.After(b.heldUntil) {
		b.heldUntil = until
	}
}

// Lost gives back a permit of Allow whose call was not made, or told nothing
// about the destination.
func (b *Breaker) Lost() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.permit.IsZero() {
		b.permit = time.Time{}
		b.nextProbe = time.Now()
	}
}

// Limit is how many calls may be out at a time, of at most `most`: 0 while the
// breaker is open or the destination asked for a pause, 1 when a probe is due
// or out, 1, 2, 4 … after it closed, then `most`.
func (b *Breaker) Limit(most int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	switch state := b.state(now); {
	case now.Before(b.heldUntil), state == Open:
		return 0
	case state == HalfOpen:
		return min(1, most)
	case b.slots > 0:
		return min(b.slots, most)
	default:
		return most
	}
}

// Wait is how long it takes until Allow may say yes, 0 when it may now.
func (b *Breaker) Wait() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	until := b.heldUntil
	if b.open {
		due := b.nextProbe
		if !b.permit.IsZero() {
			due = later(due, b.permit.Add(PermitLife))
		}
		until = later(until, due)
	}
	return max(time.Until(until), 0)
}

// Snapshot tells how the breaker stands.
func (b *Breaker) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	s := Snapshot{State: b.state(now), Since: b.since}
	if b.open {
		s.NextProbe = b.nextProbe
		if !b.permit.IsZero() {
			s.NextProbe = later(s.NextProbe, b.permit.Add(PermitLife))
		}
	}
	if now.Before(b.heldUntil) {
		s.HeldUntil = b.heldUntil
	}
	return s
}

func (b *Breaker) state(now time.Time) State {
	switch {
	case !b.open:
		return Closed
	case !b.permit.IsZero() || !now.Before(b.nextProbe):
		return HalfOpen
	default:
		return Open
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
