package sbqueue

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/internal/sbemu/entity"
	"ferry/queue"
)

func TestLocksByTheClockOfThisMachine(t *testing.T) {
	now := time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		theirs time.Duration // from now, by Service Bus's clock
		want   time.Duration
		warns  string
	}{
		"as expected":             {time.Minute, time.Minute - time.Second/2, ""},
		"a little is over":        {59 * time.Second, 59*time.Second - time.Second/2, ""},
		"a longer lock":           {5 * time.Minute, time.Minute - time.Second/2, ""},
		"a shorter lock":          {30 * time.Second, 30*time.Second - time.Second/2, "queue.lock"},
		"very short":              {2 * time.Second, 1900 * time.Millisecond, "queue.lock"},
		"this clock far ahead":    {-time.Hour, time.Minute - time.Second/2, "queue.clock"},
		"this clock a bit behind": {3 * time.Minute, time.Minute - time.Second/2, ""},
		"this clock far behind":   {time.Hour, time.Minute - time.Second/2, "queue.clock"},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			c := &conn{lock: time.Minute, log: slog.New(slog.NewTextHandler(&log, nil))}
			theirs := now.Add(test.theirs)
			if got := c.lockEnd("q", &theirs, 1, now).Sub(now); got != test.want {
				t.Errorf("locked for %s, want %s", got, test.want)
			}
			if strings.Contains(log.String(), "queue.") != (test.warns != "") || !strings.Contains(log.String(), test.warns) {
				t.Errorf("the log, want %q:\n%s", test.warns, &log)
			}
			before := log.Len()
			c.lockEnd("q", &theirs, 1, now)
			if log.Len() != before {
				t.Error("it is said again at once")
			}
		})
	}
}

// idle is how many receivers of the route wait for the next receive.
func (w *Worker) idle(route string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if rs := w.readers[source{queue: w.names.messages(route)}]; rs != nil {
		return len(rs.idle)
	}
	return 0
}

// TestAReceiverIsClosedWhenNobodyReceives: while a breaker is open nothing may be on
// its way to the worker. What is held keeps it open: it is settled over its link.
func TestAReceiverIsClosedWhenNobodyReceives(t *testing.T) {
	w := newWorld(t)
	one := w.worker("worker-one", "a")
	defer w.close(t, one)
	w.publish(t, "a", 1)
	items, err := one.Receive(t.Context(), queue.MessagesOf("a"), 1)
	if err != nil {
		t.Fatal(err)
	}
	r := items[0].Token.(*held).reader
	if now := time.Now(); !r.busy(now) || r.busy(now.Add(2*testLock)) {
		t.Error("a receiver with a delivery is busy, until its lock ends")
	}
	one.mu.Lock()
	r.since = time.Now().Add(-2 * linger)
	one.mu.Unlock()
	one.closeIdle(r.source)
	if one.idle("a") != 1 {
		t.Error("it was closed while something was held")
	}
	if err := one.Settle(t.Context(), queue.MessagesOf("a"), items[0], queue.Complete); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the receiver is closed", func() bool { return one.idle("a") == 0 })
	w.publish(t, "a", 1)
	if items, err = one.Receive(t.Context(), queue.MessagesOf("a"), 1); err != nil || len(items) != 1 {
		t.Fatalf("receive again: %d, %v", len(items), err)
	}
}

// TestEachReceivesForItself: two receives of one address at the same time do not wait
// for each other.
func TestEachReceivesForItself(t *testing.T) {
	w := newWorld(t)
	one := w.worker("worker-one", "a")
	defer w.close(t, one)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			items, err := one.Receive(ctx, queue.MessagesOf("a"), 1)
			if err != nil || len(items) != 1 {
				t.Errorf("receive: %d, %v", len(items), err)
			}
		})
	}
	w.publish(t, "a", 3)
	group.Wait()
}

// TestClearLeavesWhatIsHeld: it comes again when its lock ends, and everything else
// is gone.
func TestClearLeavesWhatIsHeld(t *testing.T) {
	w := newWorld(t)
	one := w.worker("worker-one", "a")
	defer w.close(t, one)
	w.publish(t, "a", 600) // more than one receive brings
	held, err := one.Receive(t.Context(), queue.MessagesOf("a"), 1)
	if err != nil || len(held) != 1 {
		t.Fatalf("receive: %d, %v", len(held), err)
	}
	if err := w.b.Clear(t.Context(), queue.MessagesOf("a")); err != nil {
		t.Fatal(err)
	}
	if got := w.messages(t, w.b.names.messages("a")); len(got) != 1 || got[0] != held[0].ID {
		t.Fatalf("%d messages are there still, want the one that is held", len(got))
	}
	w.publish(t, "a", 2)
	fresh := 0
	for again := false; !again; {
		items, err := one.Receive(t.Context(), queue.MessagesOf("a"), 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			if again = again || item.ID == held[0].ID; item.ID != held[0].ID {
				fresh++
			}
			if err := one.Settle(t.Context(), queue.MessagesOf("a"), item, queue.Complete); err != nil {
				t.Fatal(err)
			}
		}
	}
	if fresh != 2 {
		t.Errorf("%d fresh messages came, want 2", fresh)
	}
	if err := w.b.Clear(t.Context(), queue.MessagesOf("nowhere")); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("clear what is not there: %v, want ErrNotFound", err)
	}
}

// TestWhatServiceBusSetsAside: by its own counts and clocks, with its own words.
func TestWhatServiceBusSetsAside(t *testing.T) {
	w := newWorld(t)
	at := queue.MessagesOf("a")
	w.change(t, w.b.names.of(at), func(c *entity.Config) { c.MaxDelivery = 2 })
	one := w.worker("worker-one", "a")
	defer w.close(t, one)
	w.publish(t, "a", 1)
	for range 2 {
		items, err := one.Receive(t.Context(), at, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := one.Settle(t.Context(), at, items[0], queue.Release); err != nil {
			t.Fatal(err)
		}
	}
	dead, err := w.b.ReceiveDead(t.Context(), at, 10)
	if err != nil || len(dead) != 1 || dead[0].Reason != "MaxDeliveryCountExceeded" || dead[0].Description == "" || dead[0].Expired {
		t.Fatalf("delivered too often: %+v, %v", dead, err)
	}
	if err := w.b.SettleDead(t.Context(), at, dead[0], queue.Complete); err != nil {
		t.Fatal(err)
	}

	w.change(t, w.b.names.of(at), func(c *entity.Config) { c.DefaultTTL, c.DeadLetterOnExpiry = 10*time.Millisecond, true })
	w.publish(t, "a", 1)
	dead, err = w.b.ReceiveDead(t.Context(), at, 10)
	if err != nil || len(dead) != 1 || !dead[0].Expired {
		t.Fatalf("waited too long: %+v, %v", dead, err)
	}
	if err := w.b.SettleDead(t.Context(), at, dead[0], queue.Complete); err != nil {
		t.Fatal(err)
	}
}
