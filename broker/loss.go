package broker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"ferry/queue"
)

// seen is what the queue last said of a channel.
type seen struct {
	incarnation string
	last        uint64
}

// look takes what it says now, and tells whether the channel lost something since.
// A queue that cannot name the channel's incarnation now proves nothing.
func (s *seen) look(p queue.Progress) (lost bool) {
	if p.Incarnation != "" {
		lost = s.incarnation != "" && (p.Incarnation != s.incarnation || p.Last < s.last)
		s.incarnation = p.Incarnation
	}
	s.last = p.Last
	return lost
}

// receiptChannel watches over the receipts' way: what it loses, the workers tell
// again at once, and not only when their patience ends.
type receiptChannel struct {
	mu     sync.Mutex
	seen   seen
	losses atomic.Uint64
}

// tellAgain is what workers compare: when it changes, they tell their
// unconfirmed results again. It names this run, and its losses.
func (b *Broker) tellAgain() string {
	if n := b.receipts.losses.Load(); n > 0 {
		return b.ledger.StartID() + "." + strconv.FormatUint(n, 36)
	}
	return b.ledger.StartID()
}

// sweepReceipts makes the channel anew when it is gone, and has results told
// again when it lost some.
func (b *Broker) sweepReceipts(ctx context.Context) error {
	p, err := b.queue.ReceiptProgress(ctx)
	if errors.Is(err, queue.ErrNotFound) {
		b.log.Warn("the queue's channel of receipts is gone: making it anew")
		if _, err := b.queue.Ensure(ctx, nil); err != nil {
			return err
		}
		p, err = b.queue.ReceiptProgress(ctx)
	}
	if err != nil {
		return err
	}
	b.receipts.mu.Lock()
	lost := b.receipts.seen.look(p)
	b.receipts.mu.Unlock()
	if !lost {
		return nil
	}
	b.receipts.losses.Add(1)
	b.log.Warn("the queue lost receipts: the workers tell their results again")
	for _, w := range b.ledger.Workers() {
		if w.RevokedAt == nil {
			b.askForHello(ctx, w.Name)
		}
	}
	return nil
}

// How long a start waits for the receipts that came while the broker was away.
const (
	catchUpEvery = 200 * time.Millisecond
	catchUpMost  = 20 * time.Second // when they go on coming: the workers have enough to do
	catchUpStill = 30 * time.Second // when none is committed any more
)

// catchUp waits for the receipts that the queue took while the broker was away:
// handed out before them, their messages would all travel and be told once more.
// Not every queue can say which was the last; then it is done when none waits.
func (b *Broker) catchUp(ctx context.Context) {
	if !b.queue.Properties().Outlives {
		return
	}
	begun := time.Now()
	moved, known := begun, queue.Progress{}
	for ctx.Err() == nil {
		p, err := b.queue.ReceiptProgress(ctx)
		if err == nil && (p.Settled >= p.Last || p.Settled >= known.Last && time.Since(begun) > catchUpMost) {
			return
		}
		if err == nil && known.Last == 0 {
			known = p
		}
		if err == nil && p.Settled > known.Settled {
			moved, known.Settled = time.Now(), p.Settled
		}
		if time.Since(moved) > catchUpStill {
			b.log.Warn("receipts from before the start are left in the queue: handing out before they are in", "error", err)
			return
		}
		sleep(ctx, catchUpEvery)
	}
}

// askForHello asks a worker for a hello at once.
func (b *Broker) askForHello(ctx context.Context, worker string) {
	if err := b.queue.Signal(ctx, worker, queue.Signal{HelloAgain: true}); err != nil {
		b.log.Debug("the worker hears of it with its next hello", "worker", worker, "error", err)
	}
}

// absence is since when the queue cannot be reached; zero while it can.
type absence struct {
	mu    sync.Mutex
	since time.Time
}

// note takes how a sweep ended.
func (a *absence) note(err error, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.since = time.Time{}
	case errors.Is(err, queue.ErrUnavailable) && a.since.IsZero():
		a.since = now
	}
}

// problem is a sentence for status, "" while all is well.
func (a *absence) problem() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.since.IsZero() {
		return ""
	}
	return fmt.Sprintf("the queue cannot be reached since %s: messages are accepted and wait", a.since.UTC().Format(time.RFC3339))
}
