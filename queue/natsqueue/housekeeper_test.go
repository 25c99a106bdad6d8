package natsqueue

import (
	"context"
	"errors"
	"testing"
	"time"

	"ferry/queue"
)

// smallStore is a driver of a broker whose messages may take 3 MiB and whose
// receipts 1 MiB. Its streams are tidied by the test alone.
func smallStore(t *testing.T, addresses ...queue.Address) *driver {
	t.Helper()
	s := start(t, ServerOptions{StoreDir: t.TempDir(), Limits: Limits{MaxStoreBytes: 4 << 20}})
	d := brokerOf(t, s).(*driver)
	d.keep.close()
	for _, a := range addresses {
		if _, err := d.Ensure(patient(t), a); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// publishUntilFull publishes packets of 256 KiB until one is refused.
func publishUntilFull(ctx context.Context, t *testing.T, d *driver, to queue.Address) (taken int) {
	t.Helper()
	for ; taken < 50; taken++ {
		if err := publishLarge(ctx, d, to); errors.Is(err, queue.ErrUnavailable) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if taken < 2 || taken == 50 {
		t.Fatalf("%d packets were taken", taken)
	}
	return taken
}

func publishLarge(ctx context.Context, d *driver, to queue.Address) error {
	_, err := d.Publish(ctx, to, []queue.Packet{{Data: make([]byte, 256<<10)}})
	return err
}

// completeAll receives n packets and waits until the server knows them completed.
func completeAll(ctx context.Context, t *testing.T, d *driver, from queue.Address, n int) {
	t.Helper()
	for n > 0 {
		items, err := d.Receive(ctx, from, n)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			if err := d.Settle(ctx, from, item, queue.Complete); err != nil {
				t.Fatal(err)
			}
		}
		n -= len(items)
	}
	eventually(t, "the acknowledgements arrived", func() bool {
		_, consumer, err := d.keep.manager.info(ctx, from)
		if err != nil {
			t.Fatal(err)
		}
		return consumer.NumAckPending == 0 && consumer.NumPending == 0
	})
}

// A few large packets fill a small stream long before a thousand are there.
func TestFullOfCompletedIsEmptied(t *testing.T) {
	for _, address := range []queue.Address{queue.MessagesOf("invoices"), queue.AllReceipts()} {
		t.Run(string(address.Kind), func(t *testing.T) {
			ctx := patient(t)
			d := smallStore(t, address)
			stream := namesOf(address, brokerName).stream
			completeAll(ctx, t, d, address, publishUntilFull(ctx, t, d, address))
			if err := d.keep.tidyStream(ctx, stream); err != nil {
				t.Fatal(err)
			}
			if err := publishLarge(ctx, d, address); err != nil {
				t.Errorf("publish after all was completed: %v", err)
			}
		})
	}
}

func TestOneStandingRouteLeavesRoomForOthers(t *testing.T) {
	ctx := patient(t)
	still, live, idle := queue.MessagesOf("still"), queue.MessagesOf("live"), queue.MessagesOf("idle")
	d := smallStore(t, still, live, idle)
	if _, err := d.Publish(ctx, still, []queue.Packet{{Data: []byte("waits")}}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		completeAll(ctx, t, d, live, publishUntilFull(ctx, t, d, live))
		for range 2 {
			if err := d.keep.tidyStream(ctx, messageStream); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := publishLarge(ctx, d, live); err != nil {
		t.Errorf("publish to the live route: %v", err)
	}
	for address, want := range map[queue.Address]int{still: len("waits"), live: 256 << 10} {
		if items, err := d.Receive(ctx, address, 5); err != nil || len(items) != 1 || len(items[0].Data) != want {
			t.Errorf("%s: %d items, %v, want the one that waits", address.Name, len(items), err)
		}
	}
}

// What is open in a full stream stays, of each route.
func TestFullOfOpenStays(t *testing.T) {
	ctx := patient(t)
	still, live := queue.MessagesOf("still"), queue.MessagesOf("live")
	d := smallStore(t, still, live)
	if err := publishLarge(ctx, d, still); err != nil {
		t.Fatal(err)
	}
	taken := publishUntilFull(ctx, t, d, live)
	if items, err := d.Receive(ctx, live, 1); err != nil || len(items) != 1 { // and is not completed
		t.Fatalf("receive: %d items, %v", len(items), err)
	}
	for range 2 {
		if err := d.keep.tidyStream(ctx, messageStream); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := d.keep.manager.js.Stream(ctx, messageStream)
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n != uint64(taken)+1 {
		t.Errorf("%d packets are left of %d that are open", n, taken+1)
	}
}

// A stream that fills up is looked at more often than a quiet one.
func TestFullStreamIsTidiedSooner(t *testing.T) {
	ctx := patient(t)
	address := queue.MessagesOf("invoices")
	d := smallStore(t, address)
	worth := func(since time.Duration) bool {
		t.Helper()
		d.keep.lastTime[messageStream] = time.Now().Add(-since)
		worth, err := d.keep.worthwhile(ctx, messageStream)
		if err != nil {
			t.Fatal(err)
		}
		return worth
	}
	if worth(tidyCrowded) {
		t.Error("an empty stream is looked at again at once")
	}
	publishUntilFull(ctx, t, d, address)
	if !worth(tidyCrowded) || worth(0) {
		t.Errorf("a full stream is not looked at after %s, or sooner", tidyCrowded)
	}
}
