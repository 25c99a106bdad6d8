package worker

import (
	"context"
	"testing"
	"time"

	"ferry"
	"ferry/queue"
)

// far is a queue that is a long way off: sending and settling take their time.
type far struct {
	queue.Driver
	trip time.Duration
}

func (f far) Publish(ctx context.Context, to queue.Address, packets []queue.Packet) ([]uint64, error) {
	time.Sleep(f.trip)
	return f.Driver.Publish(ctx, to, packets)
}

func (f far) Settle(ctx context.Context, from queue.Address, item queue.Item, verb queue.Verb) error {
	time.Sleep(f.trip)
	return f.Driver.Settle(ctx, from, item, verb)
}

// A destination that answers at once does not wait for the queue to take the
// receipts: what only waits for the queue is in nobody's hand. What is so kept has a
// limit.
func TestDestinationDoesNotWaitForAFarQueue(t *testing.T) {
	const trip = 2 * time.Second
	for name, c := range map[string]struct{ messages, least, most int }{
		"a few":    {200, 200, 200},
		"too many": {3000, 200, partingAtOnce + 8},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.driver = func(d queue.Driver) queue.Driver { return far{d, trip} }
				w.run()
				list := make([]ferry.HandOut, c.messages)
				for i := range list {
					list[i] = w.handOut()
				}
				w.publish(list...)
				time.Sleep(trip / 2)
				if posts, _ := w.erp.counts(); posts < c.least || posts > c.most {
					t.Errorf("%d posts within half a round trip, want %d to %d", posts, c.least, c.most)
				}
				if n := len(w.all()); n != 0 {
					t.Errorf("%d receipts within half a round trip", n)
				}
				time.Sleep(5 * time.Minute)
				w.wantCounts(c.messages, 0)
				w.wantSettled()
			})
		})
	}
}
