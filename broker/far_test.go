package broker

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// far is a queue that is a long way off: settling takes its time.
type far struct {
	queue.Driver
	trip time.Duration
}

func (f far) Settle(ctx context.Context, from queue.Address, item queue.Item, verb queue.Verb) error {
	time.Sleep(f.trip)
	return f.Driver.Settle(ctx, from, item, verb)
}

// Receipts are committed while earlier ones are being completed in the queue, and
// each is confirmed only when it is completed there.
func TestReceiptsDoNotWaitForAFarQueue(t *testing.T) {
	const trip = 10 * time.Second
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		var confirmed atomic.Int64
		stop, err := h.q.Listen(t.Context(), func(s queue.Signal) { confirmed.Add(int64(len(s.Confirmed))) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		for range acknowledgedAtOnce {
			id := w.send(`{}`)
			h.report(h.takeOne(orders), ferry.Delivered, done())
			w.state(id, ferry.StateCompleted)
		}
		if n := confirmed.Load(); n != 0 {
			t.Errorf("%d confirmed before they were completed in the queue", n)
		}
		time.Sleep(trip + time.Second)
		synctest.Wait()
		if n := confirmed.Load(); n != acknowledgedAtOnce {
			t.Errorf("%d of %d confirmed", n, acknowledgedAtOnce)
		}
	}, func(o *Options) {
		open := o.OpenTransport
		o.OpenTransport = func(ctx context.Context, workers []ferry.WorkerInfo) (Transport, error) {
			t, err := open(ctx, workers)
			if err != nil {
				return nil, err
			}
			m := t.(memTransport)
			m.q = queue.New(far{m.mem.Broker(), trip}, queue.Options{})
			return m, nil
		}
	})
}
