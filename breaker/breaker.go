// Package breaker keeps a destination that is down from being called: it opens
// when calls find the destination unavailable, lets one probe through now and
// then, and after recovery lets calls back in by and by.
//
// The breaker always disarms: a probe is due an interval after the one before
// began, whether or not that one ever ends, and a throttle ends by itself.
package breaker

import (
	"sync"
	"time"
)

// The breaker's pace.
const (
	Threshold     = 3               // unavailables in a row that open it
	ProbeInterval = 5 * time.Second // from the start of a probe to the next, at least
	MaxHold       = time.Hour       // that Throttled holds at the most
)

// State is where a breaker stands.
type State string

// The states of a breaker.
const (
	Closed   State = "closed"   // calls go through
	Open     State = "open"     // no call goes through until the next probe is due
	HalfOpen State = "halfOpen" // a probe is due
)

// Snapshot is a breaker at a moment.
type Snapshot struct {
	State     State
	Since     time.Time // when the state began; zero if it was never left
	NextProbe time.Time // not closed: when the next probe is due, or was
	HeldSince time.Time // when the pause began that the destination asked for; zero: it asked for none
	HeldUntil time.Time // and when it ends
}

// Breaker guards one destination. The zero value is closed and ready. It may be
// used concurrently.
type Breaker struct {
	// Most is how many calls the destination gets at a time at the most: there a slow
	// start ends, and with it the rule that one failure opens the breaker again. 0:
	// 1024. It is set before the first use.
	Most int

	mu        sync.Mutex
	open      bool
	since     time.Time
	failures  int // unavailables in a row, while closed
	nextProbe time.Time
	heldSince time.Time
	heldUntil time.Time
	slots     int       // slow start: calls at a time; 0: no limit
	slotsAt   time.Time // when the slow start began
}

// Allow says whether a call may be made now. While the breaker is open it lets
// one through as a probe whenever one is due; when that call is not made after
// all, Lost makes the next one due at once.
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
	if now.Before(b.nextProbe) {
		return false
	}
	b.nextProbe = now.Add(ProbeInterval)
	return true
}

// Success tells that the destination answered: whatever it said, it is there.
// An open breaker closes and starts slowly; while it does, each success doubles
// the calls at a time.
func (b *Breaker) Success() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.success()
}

func (b *Breaker) success() {
	b.failures = 0
	if b.open {
		b.open = false
		b.since = time.Now()
		b.slots, b.slotsAt = 1, b.since
		return
	}
	if b.slots > 0 {
		most := b.Most
		if most <= 0 {
			most = maxSlots
		}
		if b.slots *= 2; b.slots > most {
			b.slots = 0
		}
	}
}

// maxSlots is where the slow start ends when nobody says: no destination is called
// more often at a time.
const maxSlots = 1024

// Unavailable tells that a call found the destination down. Threshold of them
// in a row open the breaker, and so does one when atOnce: a refused connection,
// a failed probe, a 503. It says whether this call opened it. Late answers of
// calls from before it opened change nothing.
func (b *Breaker) Unavailable(atOnce bool) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.failures++
	if b.open {
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
// at most MaxHold from now. It is there, so an open breaker closes; after the
// pause it starts slowly.
func (b *Breaker) Throttled(until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.success()
	now := time.Now()
	if most := now.Add(MaxHold); until.After(most) {
		until = most
	}
	if !until.After(now) {
		return
	}
	b.slots, b.slotsAt = 1, until
	if !now.Before(b.heldUntil) {
		b.heldSince = now
	}
	b.heldUntil = later(b.heldUntil, until)
}

// Lost gives back a probe that Allow let through and that was not made: the next
// one is due at once.
func (b *Breaker) Lost() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open {
		b.nextProbe = time.Now()
	}
}

// PutOff makes the next probe due an interval later, for one that took two calls.
func (b *Breaker) PutOff() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open {
		b.nextProbe = b.nextProbe.Add(ProbeInterval)
	}
}

// Limit is how many calls may be out at a time, of at most `most`: 0 while the
// breaker is open or the destination asked for a pause, 1 when a probe is due,
// 1, 2, 4 … after it closed, then `most`. Since such a call may hang, there is one
// more with every probe interval.
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
		return min(b.slots+int(max(now.Sub(b.slotsAt), 0)/ProbeInterval), most)
	default:
		return most
	}
}

// Starting says whether calls are let back in by and by.
func (b *Breaker) Starting() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.open && b.slots > 0
}

// Wait is how long it takes until Allow may say yes, 0 when it may now.
func (b *Breaker) Wait() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	until := b.heldUntil
	if b.open {
		until = later(until, b.nextProbe)
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
		s.NextProbe = later(b.nextProbe, b.heldUntil)
	}
	if now.Before(b.heldUntil) {
		s.HeldSince, s.HeldUntil = b.heldSince, b.heldUntil
	}
	return s
}

func (b *Breaker) state(now time.Time) State {
	switch {
	case !b.open:
		return Closed
	case !now.Before(b.nextProbe):
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
