package queue

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"
)

// keeper renews the locks of everything that is held: one goroutine per Queue,
// which starts with the first delivery and looks after each at half its lock.
type keeper struct {
	driver Driver

	mu      sync.Mutex
	waiting lockHeap
	running bool
	closed  bool
	wake    chan struct{}   // something earlier than before came in
	ctx     context.Context // ends in close
	cancel  context.CancelFunc
	stopped chan struct{}
}

// renewAtOnce bounds how many locks are renewed at the same time, for drivers
// whose renewal is a round trip.
const renewAtOnce = 32

func (k *keeper) init(driver Driver) {
	k.driver = driver
	k.wake = make(chan struct{}, 1)
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.stopped = make(chan struct{})
}

// hold takes charge of a received item.
func (k *keeper) hold(address Address, item Item) *lock {
	ctx, cancel := context.WithCancelCause(context.Background())
	l := &lock{keeper: k, address: address, item: item, ctx: ctx, cancel: cancel, until: item.LockedUntil, index: -1}
	now := time.Now()
	l.length = item.LockedUntil.Sub(now)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		cancel(ErrClosed)
		return l
	}
	l.renew = now.Add(l.length / 2)
	k.push(l)
	if !k.running {
		k.running = true
		go k.run()
	}
	return l
}

// settled marks l as settled, once, and returns what it was before.
func (k *keeper) settled(l *lock) lockState {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := l.state
	l.state = lockSettled
	if l.index >= 0 {
		heap.Remove(&k.waiting, l.index)
	}
	return before
}

// push queues l for its next renewal; k.mu is held.
func (k *keeper) push(l *lock) {
	heap.Push(&k.waiting, l)
	if l.index == 0 {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// close ends the goroutine and the contexts of what is held.
func (k *keeper) close() {
	k.mu.Lock()
	first := !k.closed
	k.closed = true
	running := k.running
	held := k.waiting
	if first {
		k.waiting = nil
		for _, l := range held {
			l.index = -1
		}
		k.cancel()
	}
	k.mu.Unlock()
	if first {
		for _, l := range held {
			l.cancel(ErrClosed)
		}
	}
	if running {
		<-k.stopped
	}
}

func (k *keeper) run() {
	defer close(k.stopped)
	for {
		due, next := k.due(time.Now())
		if len(due) > 0 {
			k.renewAll(due)
			continue
		}
		if !k.sleep(next) {
			return
		}
	}
}

// sleep waits until next (zero: without end), or to be woken; false means stop.
func (k *keeper) sleep(next time.Time) bool {
	var tick <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(time.Until(next))
		defer timer.Stop()
		tick = timer.C
	}
	select {
	case <-k.ctx.Done():
		return false
	case <-k.wake:
		return true
	case <-tick:
		return true
	}
}

// due takes the locks that are to be looked after now off the heap, and says
// when the next one is.
func (k *keeper) due(now time.Time) (due []*lock, next time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.waiting) > 0 {
		if first := k.waiting[0]; first.renew.After(now) {
			return due, first.renew
		}
		due = append(due, heap.Pop(&k.waiting).(*lock))
	}
	return due, time.Time{}
}

func (k *keeper) renewAll(due []*lock) {
	var group sync.WaitGroup
	slots := make(chan struct{}, renewAtOnce)
	for _, l := range due {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			k.renew(l)
		})
	}
	group.Wait()
}

// renew extends one lock. On a passing fault it is tried again a few times until
// the lock's end.
func (k *keeper) renew(l *lock) {
	until := l.until // only this goroutine writes it while l is off the heap
	var err error
	if time.Now().Before(until) {
		bounded, cancel := context.WithTimeout(k.ctx, max(l.length/8, time.Millisecond))
		var extended time.Time
		extended, err = k.driver.Extend(bounded, l.address, l.item)
		cancel()
		if err == nil {
			until = extended
		}
	}
	lost := errors.Is(err, ErrLockLost) || errors.Is(err, ErrSettled) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnauthorized)

	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	l.until = until
	switch {
	case l.state != lockHeld:
	case k.closed:
		l.cancel(ErrClosed)
	case lost || !now.Before(until):
		l.state = lockLost
		l.cancel(ErrLockLost)
	case err == nil:
		l.renew = now.Add(until.Sub(now) / 2)
		k.push(l)
	default:
		l.renew = now.Add(min(max(until.Sub(now)/4, l.length/32), until.Sub(now)))
		k.push(l)
	}
}

// lockHeap has the lock that is to be renewed first in front.
type lockHeap []*lock

func (h lockHeap) Len() int           { return len(h) }
func (h lockHeap) Less(i, j int) bool { return h[i].renew.Before(h[j].renew) }

func (h lockHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *lockHeap) Push(x any) {
	l := x.(*lock)
	l.index = len(*h)
	*h = append(*h, l)
}

func (h *lockHeap) Pop() any {
	old := *h
	last := len(old) - 1
	l := old[last]
	old[last] = nil
	*h = old[:last]
	l.index = -1
	return l
}
