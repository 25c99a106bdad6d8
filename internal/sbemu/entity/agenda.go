package entity

import (
	"container/heap"
	"sync"
	"time"
)

// deadline is one moment at which something happens by itself. Its owner holds it
// by value; it is on at most one agenda.
type deadline struct {
	at    time.Time
	turn  uint64 // of two of one moment, the one that was set first comes first
	place int    // in the heap, from 1; 0: not set
	owner elapser
}

type elapser interface{ elapse(now time.Time) }

// agenda keeps the deadlines of one queue and wakes it for the next of them.
type agenda struct {
	heap  deadlines
	turns uint64
	wake  func(timer int) // called on a goroutine of its own, without a lock
	timer *time.Timer
	which int            // counts timers
	armed time.Time      // when the timer calls
	alive sync.WaitGroup // timers that may still call
}

// set moves the deadline of an owner to a moment; the zero time takes it away.
func (a *agenda) set(d *deadline, owner elapser, at time.Time) {
	a.turns++
	d.turn = a.turns
	switch {
	case at.IsZero():
		if d.place > 0 {
			heap.Remove(&a.heap, d.place-1)
		}
	case d.place > 0:
		d.at = at
		heap.Fix(&a.heap, d.place-1)
	default:
		d.at, d.owner = at, owner
		heap.Push(&a.heap, d)
	}
}

// run lets everything happen that is due.
func (a *agenda) run(now time.Time) {
	for len(a.heap) > 0 && !a.heap[0].at.After(now) {
		d := heap.Pop(&a.heap).(*deadline)
		d.owner.elapse(now)
	}
}

// arm sees that wake is called in time for the next deadline. A timer that is set
// too early is left alone: what is settled in time is the rule, and its deadline is
// taken away without a word to the timer.
func (a *agenda) arm(now time.Time) {
	if len(a.heap) == 0 {
		return
	}
	next := a.heap[0].at
	if a.timer != nil && !next.Before(a.armed) {
		return
	}
	a.disarm()
	a.armed = next
	a.which++
	which := a.which
	a.alive.Add(1)
	a.timer = time.AfterFunc(max(next.Sub(now), time.Millisecond), func() {
		defer a.alive.Done()
		a.wake(which)
	})
}

// called notes that a timer has called: the next arm sets another.
func (a *agenda) called(which int) {
	if which == a.which {
		a.timer = nil
	}
}

func (a *agenda) disarm() {
	if a.timer != nil && a.timer.Stop() {
		a.alive.Done()
	}
	a.timer = nil
}

type deadlines []*deadline

func (h deadlines) Len() int { return len(h) }

func (h deadlines) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].turn < h[j].turn
	}
	return h[i].at.Before(h[j].at)
}

func (h deadlines) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

func (h *deadlines) Push(x any) {
	d := x.(*deadline)
	*h = append(*h, d)
	d.place = len(*h)
}

func (h *deadlines) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	d.place = 0
	return d
}
