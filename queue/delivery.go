package queue

import (
	"context"
	"time"

	"ferry"
)

// Delivery is a message in a worker's hands, under a lock that is renewed until
// the delivery is settled or the queue closed.
type Delivery struct {
	HandOut ferry.HandOut
	*lock
}

// ReceiptDelivery is a receipt in the broker's hands, under a lock as well: it
// is completed only after its commit is on disk.
type ReceiptDelivery struct {
	Receipt ferry.Receipt
	From    string // the worker as the queue authenticated it; empty when it cannot tell
	*lock
}

// lock is what both deliveries are held by.
type lock struct {
	keeper  *keeper
	address Address
	item    Item
	ctx     context.Context
	cancel  context.CancelCauseFunc
	length  time.Duration // of the lock, as it was received

	// Guarded by keeper.mu.
	state lockState
	until time.Time // end of the lock
	renew time.Time // when to look after it next
	index int       // in keeper.waiting; -1: not there
}

type lockState int

const (
	lockHeld lockState = iota
	lockSettled
	lockLost
)

// Complete says that the delivery is done: it does not come again. It may be
// tried on a lost lock, since that only makes a repeat less likely. Only the
// first call of Complete or Release does something, whatever comes of it; later
// ones return ErrSettled. After an error the delivery may come again.
func (l *lock) Complete(ctx context.Context) error { return l.settle(ctx, Complete) }

// Release gives the delivery back at once: it comes again, here or elsewhere.
// On a lost lock it returns ErrLockLost and does nothing: the delivery is on its
// way to somebody already.
func (l *lock) Release(ctx context.Context) error { return l.settle(ctx, Release) }

func (l *lock) settle(ctx context.Context, verb Verb) error {
	before := l.keeper.settled(l)
	switch {
	case before == lockSettled:
		return ErrSettled
	case before == lockLost && verb == Release:
		return ErrLockLost
	}
	return l.keeper.driver.Settle(ctx, l.address, l.item, verb)
}

// Context ends when the lock is lost, with the cause ErrLockLost, and when the
// queue is closed, with ErrClosed. Settling does not end it.
func (l *lock) Context() context.Context { return l.ctx }

// LockedUntil is when the lock ends unless it is renewed once more.
func (l *lock) LockedUntil() time.Time {
	l.keeper.mu.Lock()
	defer l.keeper.mu.Unlock()
	return l.until
}

// Position is where in its channel the delivery was published.
func (l *lock) Position() uint64 { return l.item.Position }
