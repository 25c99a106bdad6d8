package memqueue_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ferry/queue"
	"ferry/queue/memqueue"
)

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		b := memqueue.New(memqueue.Options{})
		d := b.Broker()
		defer d.Close(context.Background())
		at := queue.MessagesOf("invoices")
		if _, err := d.Ensure(ctx, at); err != nil {
			t.Fatal(err)
		}
		publish := func(ids ...string) error {
			var packets []queue.Packet
			for _, id := range ids {
				packets = append(packets, queue.Packet{ID: id})
			}
			_, err := d.Publish(ctx, at, packets)
			return err
		}
		take := func(want ...string) []queue.Item {
			t.Helper()
			bounded, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			items, err := d.Receive(bounded, at, 100)
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			var got []string
			for _, item := range items {
				got = append(got, item.ID)
			}
			if len(got) != len(want) {
				t.Fatalf("came: %v, want %v", got, want)
			}
			for i := range want {
				if got[i] != want[i] {
					t.Fatalf("came: %v, want %v", got, want)
				}
			}
			return items
		}

		fault := errors.New("the wire is cut")
		b.FailPublish(at, fault, false)
		if err := publish("a"); !errors.Is(err, fault) || b.Len(at) != 0 {
			t.Fatalf("failed before: %v, %d packets", err, b.Len(at))
		}
		b.FailPublish(at, fault, true)
		if err := publish("b"); !errors.Is(err, fault) || b.Len(at) != 1 {
			t.Fatalf("failed after: %v, %d packets", err, b.Len(at))
		}
		if err := publish("c", "d"); err != nil {
			t.Fatal(err)
		}
		if n := b.Drop(at, 1); n != 1 {
			t.Fatalf("dropped %d", n)
		}
		b.Duplicate(at)
		items := take("c", "d", "c", "d")
		b.ExpireLocks()
		take("c", "d", "c", "d")
		if err := d.Settle(ctx, at, items[0], queue.Complete); !errors.Is(err, queue.ErrLockLost) {
			t.Errorf("settle by the first holder: %v, want ErrLockLost", err)
		}
		b.Purge(at)
		b.ExpireLocks()
		take()
		p, err := d.Progress(ctx, at)
		if err != nil || p.Settled != p.Last {
			t.Errorf("progress after the purge: %+v, %v", p, err)
		}
	})
}
