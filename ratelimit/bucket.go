// Package ratelimit bounds how much may come in a time: token buckets, and tables
// of them by name that stay bounded however many names there are.
//
// It keeps no clock and starts nothing: who asks says what time it is, on a clock
// that only goes forward.
package ratelimit

import (
	"sync/atomic"
	"time"

	"ferry"
)

// Spec is a rate as buckets count it. The zero Spec does not limit.
type Spec struct {
	gap   int64 // between two at the full rate, ns
	depth int64 // burst gaps: how far ahead of the time the bucket may be taken, ns
}

// NewSpec makes the Spec of a limit's rate and burst.
//
// The gap is rounded up: the rate is never exceeded, and at a million a second
// fallen short of by less than a part in a thousand.
func NewSpec(l ferry.Limit) Spec {
	if l.Rate.IsZero() {
		return Spec{}
	}
	calls, per := int64(l.Rate.Calls), int64(l.Rate.Per)
	gap := (per + calls - 1) / calls
	return Spec{gap: gap, depth: gap * int64(l.BurstOr())}
}

// IsZero says whether nothing is limited.
func (s Spec) IsZero() bool { return s.gap == 0 }

// Answer is what a bucket says.
type Answer struct {
	OK bool
	// After is how long until as much can be had, when it was refused. Those who are
	// refused one after the other are told later and later times, as the rate lets
	// them in: told the same one they would come together, and be refused again.
	After time.Duration
	Left  int           // that can still be had at once
	Reset time.Duration // until the bucket is full
}

// maxSpread bounds how much later than it could be had After may be.
const maxSpread = 30 * time.Second

// Bucket is one token bucket: a single word, taken from without a lock. Nobody is
// ever let in beyond rate × time + burst. The zero Bucket is full.
type Bucket struct {
	// full is when the bucket is full again (GCRA's theoretical arrival time). A
	// bucket that was never used was full at 0.
	full atomic.Int64
	// told is the latest time that was told to somebody who was refused.
	told atomic.Int64
}

// Take takes n at the time now, which is since any fixed moment. More than the
// burst can be taken only from a full bucket, which then stays empty until they are
// paid off.
func (b *Bucket) Take(s Spec, now time.Duration, n int) Answer {
	at, cost := int64(now), int64(n)*s.gap
	need := min(cost, s.depth)
	for {
		full := b.full.Load()
		from := max(full, at)
		if wait := from + need - s.depth - at; wait > 0 {
			return Answer{After: b.tell(s, at, wait, need), Left: left(s, from-at), Reset: time.Duration(from - at)}
		}
		if b.full.CompareAndSwap(full, from+cost) {
			ahead := from + cost - at
			return Answer{OK: true, Left: left(s, ahead), Reset: time.Duration(ahead)}
		}
	}
}

// tell finds a time to come back that nobody was told yet.
func (b *Bucket) tell(s Spec, at, wait, need int64) time.Duration {
	for {
		told := b.told.Load()
		slot := at + wait
		if told > at {
			slot = max(slot, told+need)
		}
		if slot > at+wait && slot > at+int64(maxSpread) {
			return time.Duration(max(wait, int64(maxSpread)))
		}
		if b.told.CompareAndSwap(told, slot) {
			return time.Duration(slot - at)
		}
	}
}

func left(s Spec, ahead int64) int { return int(max(s.depth-ahead, 0) / s.gap) }

// Give gives n back that were taken for nothing.
func (b *Bucket) Give(s Spec, n int) { b.full.Add(-int64(n) * s.gap) }

// idle says whether the bucket is full: forgotten, it would be the same.
func (b *Bucket) idle(now time.Duration) bool { return b.full.Load() <= int64(now) }
