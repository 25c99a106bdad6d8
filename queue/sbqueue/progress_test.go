package sbqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"pgregory.net/rapid"

	"ferry/internal/servicebus"
	"ferry/queue"
)

// TestSettledIsNeverTooHigh plays a queue with one publisher at a time, workers that
// complete in any order, and somebody who asks, in every order that is drawn: what
// counts as settled was completed, or its publication had failed.
func TestSettledIsNeverTooHigh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ch := newChain(time.UnixMicro(1000))
		var inQueue []uint64 // by position: as Service Bus keeps them
		var sending []uint64 // given out, under way
		open := map[uint64]bool{}
		asking, before := false, uint64(0)
		var seen head
		if ahead := rapid.SampledFrom([]uint64{0, 0, 900, 1_000_000}).Draw(t, "left over from before"); ahead != 0 {
			inQueue = append(inQueue, ahead)
		}
		ask := func() {
			last, settled := ch.see(before, seen)
			asking = false
			for p := range open {
				if p <= settled {
					t.Fatalf("settled is %d, and %d is open", settled, p)
				}
			}
			if last < before {
				t.Fatalf("last went back from %d to %d", before, last)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"publish": func(t *rapid.T) {
				if len(sending) > 0 {
					t.Skip()
				}
				n := rapid.IntRange(1, 3).Draw(t, "n")
				first, err := ch.take(context.Background(), n)
				if err != nil {
					t.Fatal(err)
				}
				for i := range n {
					sending = append(sending, first+uint64(i))
					open[first+uint64(i)] = true
				}
			},
			"arrive": func(t *rapid.T) {
				if len(sending) == 0 {
					t.Skip()
				}
				inQueue = append(inQueue, sending...)
				sending = nil
				ch.done()
			},
			"fail": func(t *rapid.T) { // nothing of it arrived: its caller publishes again
				if len(sending) == 0 {
					t.Skip()
				}
				for _, p := range sending {
					delete(open, p)
				}
				sending = nil
				ch.done()
			},
			"complete": func(t *rapid.T) {
				if len(inQueue) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(inQueue)-1).Draw(t, "which")
				delete(open, inQueue[i])
				inQueue = slices.Delete(inQueue, i, i+1)
			},
			"begin to ask": func(t *rapid.T) {
				if asking {
					t.Skip()
				}
				ch.mu.Lock()
				before = ch.ended
				ch.mu.Unlock()
				asking = true
				seen = head{}
				if len(inQueue) > 0 {
					seen.position = inQueue[0]
				}
			},
			"hear the answer": func(t *rapid.T) {
				if !asking {
					t.Skip()
				}
				ask()
			},
			"quiet": func(t *rapid.T) {
				ch.mu.Lock()
				quiet := ch.quiet != 0 && ch.quiet == ch.given
				ch.mu.Unlock()
				if quiet && len(open) > 0 {
					t.Fatalf("it answers from memory that nothing is there, and %v is", open)
				}
			},
		})
	})
}

// TestStrangersDoNotConfuseProgress: what others put into a queue of ours, and how,
// says nothing of what was published.
func TestStrangersDoNotConfuseProgress(t *testing.T) {
	w := newWorld(t)
	ctx, at := t.Context(), queue.MessagesOf("a")
	name := w.b.names.of(at)
	var strange []*azservicebus.Message
	for range 150 { // more than one look brings
		strange = append(strange, &azservicebus.Message{Body: []byte("hello")})
	}
	later := time.Now().Add(time.Hour)
	strange = append(strange, &azservicebus.Message{
		Body: []byte("later"), ScheduledEnqueueTime: &later,
		ApplicationProperties: map[string]any{positionProperty: int64(1)},
	})
	if err := w.client.Sender(name).Send(ctx, strange); err != nil {
		t.Fatal(err)
	}
	if p := w.progress(t, at); p.Settled != p.Last {
		t.Errorf("with strangers only: %+v, want all settled", p)
	}
	positions := w.publish(t, "a", 2)
	if p := w.progress(t, at); p.Settled >= positions[0] || p.Last < positions[1] {
		t.Errorf("behind strangers: %+v, want less than %d settled", p, positions[0])
	}
	// Somebody defers one of ours: it comes to no worker any more, and must not hold up
	// what is published again when it stays silent.
	w.deferOurs(t, name, positions[0])
	if p := w.progress(t, at); p.Settled != positions[0] {
		t.Errorf("one deferred: settled is %d, want %d", p.Settled, positions[0])
	}
}

// deferOurs defers the message of a position, as anybody with the right Listen may.
func (w *world) deferOurs(t *testing.T, queueName string, position uint64) {
	t.Helper()
	client, err := azservicebus.NewClientFromConnectionString(w.double.ConnectionString(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	r, err := client.NewReceiverForQueue(queueName, nil)
	if err != nil {
		t.Fatal(err)
	}
	for {
		list, err := r.ReceiveMessages(t.Context(), 200, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			if p, ours := positionIn(m); ours && p == position {
				if err := r.DeferMessage(t.Context(), m, nil); err != nil {
					t.Fatal(err)
				}
				return
			}
		}
	}
}

// TestAnEmptyQueueIsAskedOnce: asking costs throttle credits, and a broker asks every
// few seconds for each route. Proof: the queue is deleted, and nobody notices before
// there is something to publish.
func TestAnEmptyQueueIsAskedOnce(t *testing.T) {
	w := newWorld(t)
	at := queue.MessagesOf("a")
	w.publish(t, "b", 1)
	before := w.progress(t, at)
	w.progress(t, queue.MessagesOf("b"))
	w.lose()
	if p := w.progress(t, at); p != before {
		t.Errorf("progress was %+v, and is %+v", before, p)
	}
	if _, err := w.b.Progress(t.Context(), queue.MessagesOf("b")); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("progress where something is published: %v, want ErrNotFound", err)
	}
	if _, err := w.b.Publish(t.Context(), at, []queue.Packet{{ID: "x"}}); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("publish: %v, want ErrNotFound", err)
	}
	if _, err := w.b.Progress(t.Context(), at); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("progress after the publication was refused: %v, want ErrNotFound", err)
	}
	if made, err := w.b.Ensure(t.Context(), at); err != nil || !made {
		t.Fatalf("ensure: %v, %v", made, err)
	}
	if p := w.progress(t, at); p.Incarnation == before.Incarnation || p.Incarnation == "" {
		t.Errorf("the incarnation was %q, and is %q", before.Incarnation, p.Incarnation)
	}
}

// TestPositionsAreTheOrderOfTheQueue: publications of many goroutines lie in the
// queue in the order of their positions, or Progress would lie.
func TestPositionsAreTheOrderOfTheQueue(t *testing.T) {
	w := newWorld(t)
	var group sync.WaitGroup
	var mu sync.Mutex
	given := map[uint64]bool{}
	for range 16 {
		group.Go(func() {
			for range 10 {
				for _, p := range w.publish(t, "a", 3) {
					mu.Lock()
					if given[p] {
						t.Errorf("position %d was given twice", p)
					}
					given[p] = true
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	r := w.client.Receiver(w.b.names.messages("a"), servicebus.ReceiverOptions{})
	from, last, count := int64(0), uint64(0), 0
	for {
		list, err := r.Peek(t.Context(), from, 200)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			break
		}
		for _, m := range list {
			p, ours := positionIn(m)
			if !ours || p <= last || !given[p] {
				t.Fatalf("position %d (given: %v) lies behind %d", p, given[p], last)
			}
			last, from = p, *m.SequenceNumber+1
			count++
		}
	}
	if count != 480 {
		t.Errorf("%d messages lie there, want 480", count)
	}
}

// TestWithoutManageThereIsNoIncarnation: what is lost then is noticed by its silence,
// and the broker concludes nothing from an empty one.
func TestWithoutManageThereIsNoIncarnation(t *testing.T) {
	w := newWorld(t)
	w.b.manages.Store(false)
	p := w.progress(t, queue.MessagesOf("a"))
	if p.Incarnation != "" || p.Last == 0 || p.Settled != p.Last {
		t.Errorf("progress is %+v", p)
	}
	receipts := w.progress(t, queue.AllReceipts())
	if receipts.Incarnation != "" || receipts.Settled != receipts.Last {
		t.Errorf("progress of the receipts is %+v", receipts)
	}
}

// TestReceiptsFromBeforeAreCounted: a broker that starts knows which receipt is the
// last that waits for it, and hears when all are in.
func TestReceiptsFromBeforeAreCounted(t *testing.T) {
	for _, n := range []int{0, 1, 2, 3, 100, 257} {
		w := newWorld(t)
		one := w.worker("worker-one", "a")
		defer w.close(t, one)
		packets := make([]queue.Packet, n)
		for i := range packets {
			packets[i] = queue.Packet{ID: fmt.Sprint(i), Data: []byte("receipt")}
		}
		if n > 0 {
			if _, err := one.Publish(t.Context(), queue.AllReceipts(), packets); err != nil {
				t.Fatal(err)
			}
		}
		p := w.progress(t, queue.AllReceipts())
		if p.Last != uint64(n) || p.Settled != 0 {
			t.Fatalf("%d receipts wait: %+v", n, p)
		}
		for left := n; left > 0; {
			items, err := w.b.Receive(t.Context(), queue.AllReceipts(), left)
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range items {
				if err := w.b.Settle(t.Context(), queue.AllReceipts(), item, queue.Complete); err != nil {
					t.Fatal(err)
				}
			}
			left -= len(items)
		}
		if p := w.progress(t, queue.AllReceipts()); p.Last != uint64(n) || p.Settled != p.Last {
			t.Errorf("all %d are in: %+v", n, p)
		}
	}
}

// slowAdmin is an administration that a firewall keeps from the broker.
type slowAdmin struct{ asked atomic.Int64 }

func (a *slowAdmin) Queue(ctx context.Context, _ string) (servicebus.QueueInfo, error) {
	a.asked.Add(1)
	return servicebus.QueueInfo{}, servicebus.ErrUnavailable
}

func (a *slowAdmin) Create(context.Context, servicebus.QueueSpec) (bool, error) {
	return false, servicebus.ErrUnavailable
}

// TestTheAdministrationMayBeOutOfReach: AMQP works all the same, and nothing waits
// for the administration again and again; the incarnation that was known stays.
func TestTheAdministrationMayBeOutOfReach(t *testing.T) {
	w := newWorld(t)
	at := queue.MessagesOf("a")
	before := w.progress(t, at)
	a := &slowAdmin{}
	w.b.admin = a
	w.b.births.mu.Lock()
	for name, birth := range w.b.births.of {
		birth.asked = time.Time{} // long ago
		w.b.births.of[name] = birth
	}
	w.b.births.mu.Unlock()
	for range 10 {
		w.publish(t, "a", 1)
		if p := w.progress(t, at); p.Incarnation != before.Incarnation || p.Last <= before.Last {
			t.Fatalf("progress was %+v, and is %+v", before, p)
		}
	}
	if made, err := w.b.Ensure(t.Context(), at); err != nil || made {
		t.Errorf("ensure: %v, %v", made, err)
	}
	if n := a.asked.Load(); n != 1 {
		t.Errorf("the administration was asked %d times, want once", n)
	}
}

// TestLooksAreBounded: a broker with hundreds of routes does not keep hundreds of
// links only to look.
func TestLooksAreBounded(t *testing.T) {
	w := newWorld(t)
	for i := range maxPeekers + 20 {
		at := queue.MessagesOf(fmt.Sprint("r", i))
		if _, err := w.b.Ensure(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		if p := w.progress(t, at); p.Settled != p.Last {
			t.Errorf("route %d: %+v", i, p)
		}
	}
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if n := len(w.b.peekers); n != maxPeekers {
		t.Errorf("%d are kept, want %d", n, maxPeekers)
	}
}
