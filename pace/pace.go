// Package pace finds how many calls at a time a destination takes well: between
// one and a limit, fewer when it answers slower than it can, more again when it
// is fast.
//
// A destination that is given more than it can do answers later, not more: its
// throughput stays the same while every call, and everybody else who uses it,
// waits. So the calls at a time grow by one while answers come about as fast as
// the best that was seen lately, and shrink by a quarter when they take more than
// twice as long (twice in a row), by half on a time-out. What "the best" is ages, and is measured
// anew with half the calls.
package pace

import (
	"slices"
	"sync"
	"time"
)

// What counts as slow.
const (
	// Floor is added to what is expected of every answer: below it nothing is ever
	// slow, so that a fast destination keeps its full limit whatever its jitter.
	Floor = 20 * time.Millisecond
	// Fresh is how long a best answer time is believed.
	Fresh = 2 * time.Minute

	start     = 8   // calls at a time before anything is known
	fine      = 1.5 // times the best: more calls
	slow      = 2.0 // times the best: fewer calls
	chunk     = 8   // answers that make a candidate for the best, by their median
	maxWindow = 64  // answers that make a judgement, at the most
	maxKinds  = 512 // kinds of calls; beyond it a new one is not judged
)

// Pace judges the answers of one destination. It may be used concurrently.
type Pace struct {
	most int

	mu       sync.Mutex
	limit    int
	ramp     bool      // nothing was slow yet: it doubles
	changed  time.Time // calls that began before tell nothing about the limit
	kinds    map[string]*kind
	window   []float64
	slow     bool      // the last judgement was: slow; it takes two in a row
	measured time.Time // when the best was measured last
	back     int       // while it is measured: the limit to go back to; 0: it is not
}

// kind is one kind of calls, such as a route's: what is slow for one may be
// usual for another.
type kind struct {
	best  time.Duration // 0: not known yet
	at    time.Time
	chunk []time.Duration
}

// New makes a Pace of at most most calls at a time.
func New(most int) *Pace {
	most = max(most, 1)
	return &Pace{most: most, limit: min(start, most), ramp: true, kinds: map[string]*kind{}}
}

// Limit is how many calls may be out at a time, from 1 to the limit of New.
func (p *Pace) Limit() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit
}

// Answered tells of a call of a kind that began at a moment, took so long and
// did what it was asked. (A refusal may be quick where the work is not: it tells
// nothing.)
func (p *Pace) Answered(name string, began time.Time, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if began.Before(p.changed) {
		return
	}
	now := began.Add(took)
	if p.measured.IsZero() {
		p.measured = now
	}
	k := p.kinds[name]
	if k == nil {
		if len(p.kinds) >= maxKinds {
			return
		}
		k = &kind{}
		p.kinds[name] = k
	}
	known := k.best > 0
	k.learn(now, took, p.back > 0)
	if took > Floor && !known {
		return // there is nothing to compare with
	}
	p.window = append(p.window, k.excess(took))
	if len(p.window) >= min(max(p.limit, chunk), maxWindow) {
		p.judge(now)
	}
}

// learn takes the median of a chunk for the best when it is better, or the best
// is old or measured anew.
func (k *kind) learn(now time.Time, took time.Duration, anew bool) {
	k.chunk = append(k.chunk, took)
	if len(k.chunk) < chunk {
		return
	}
	slices.Sort(k.chunk)
	median := max(k.chunk[chunk/2], time.Nanosecond)
	k.chunk = k.chunk[:0]
	if k.best == 0 || median < k.best || anew || now.Sub(k.at) > 2*Fresh {
		k.best, k.at = median, now
	}
}

// excess is how many times the best an answer took; 0: it was fast by any means.
func (k *kind) excess(took time.Duration) float64 {
	if took <= Floor {
		return 0
	}
	return float64(took-Floor) / float64(max(k.best, Floor))
}

func (p *Pace) judge(now time.Time) {
	slices.Sort(p.window)
	median := p.window[len(p.window)/2]
	p.window = p.window[:0]
	switch {
	case p.back > 0:
		p.change(now, p.back)
		p.back, p.measured = 0, now
	case median > slow && !p.slow:
		p.ramp, p.slow = false, true
		return
	case median > slow:
		p.change(now, p.limit*3/4)
	case median > 0 && now.Sub(p.measured) > Fresh:
		p.back = p.limit
		p.change(now, p.limit/2)
		for _, k := range p.kinds {
			k.chunk = k.chunk[:0]
		}
	case median > fine:
		p.ramp = false
	case p.ramp || median == 0:
		p.change(now, p.limit*2)
	default:
		p.change(now, p.limit+1)
	}
	p.slow = false
}

// change sets the limit. What is under way says nothing about the new one.
func (p *Pace) change(now time.Time, limit int) {
	limit = min(max(limit, 1), p.most)
	if limit == p.limit {
		return
	}
	p.limit, p.changed = limit, now
	p.window = p.window[:0]
}

// TimedOut tells of a call that began at a moment and had no answer in time.
func (p *Pace) TimedOut(began, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if began.Before(p.changed) {
		return // one cut per round
	}
	p.ramp, p.back = false, 0
	p.change(now, p.limit/2)
	p.changed = now
}
