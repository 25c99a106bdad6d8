package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"ferry/queue"
)

// How long a route's loop waits after a fault of the queue.
const (
	receiveRetry      = time.Second
	receiveRetryLater = 10 * time.Second // refused, or closed
)

// loop receives the messages of a route and has them delivered, as many at a
// time as the destination takes now.
func (w *Worker) loop(ctx context.Context, r *route) {
	trouble := ""
	for ctx.Err() == nil {
		most, wait := r.ready(time.Now())
		if most == 0 {
			r.pause(ctx, wait)
			continue
		}
		n := r.takeHands(ctx, most)
		if n == 0 {
			continue
		}
		list, err := w.receive(ctx, r, n)
		for range n - len(list) {
			<-r.hands
		}
		for _, d := range list {
			w.deliveries.Go(func() {
				free := sync.OnceFunc(func() {
					<-r.hands
					r.freed()
					if len(r.hands) == 0 && r.isHeld(time.Now()) {
						w.helloNow() // who paused it waits for this
					}
				})
				defer free()
				w.deliver(r, d, free)
			})
		}
		if err == nil || errors.Is(err, context.Canceled) {
			trouble = ""
			continue
		}
		if text := err.Error(); text != trouble {
			trouble = text
			w.log.Warn("queue.receive", "route", r.Name, "error", text)
		}
		again := receiveRetry
		if errors.Is(err, queue.ErrUnauthorized) || errors.Is(err, queue.ErrClosed) {
			again = receiveRetryLater
		}
		r.pause(ctx, again)
	}
}

// receive waits for up to n messages, or until the route may not receive any more.
func (w *Worker) receive(ctx context.Context, r *route, n int) ([]*queue.Delivery, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.receiving(cancel)
	defer r.receiving(nil)
	if most, _ := r.ready(time.Now()); most == 0 {
		return nil, nil // it changed before it could be told
	}
	return w.queue.ReceiveMessages(ctx, r.Name, n)
}

// pause waits until something changed or the time is over; 0: no time.
func (r *route) pause(ctx context.Context, wait time.Duration) {
	var over <-chan time.Time
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
	case <-r.wake:
	case <-over:
	}
}

// takeHands takes at least one and at most most hands. None: all that may be
// are in use, it waited, and the loop must look again.
func (r *route) takeHands(ctx context.Context, most int) int {
	n := 0
	for len(r.hands) < min(most, cap(r.hands)) {
		r.hands <- struct{}{} // only this loop takes: there is room
		n++
	}
	if n == 0 {
		r.pause(ctx, 0)
	}
	return n
}

// freed tells the loop that a hand is free.
func (r *route) freed() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
