package broker

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// meddling is the broker's driver with something that happens to publications.
type meddling struct {
	queue.Driver
	publish func(ctx context.Context, packets []queue.Packet, next publisher) ([]uint64, error)
	away    atomic.Bool
}

func (m *meddling) Progress(ctx context.Context, of queue.Address) (queue.Progress, error) {
	if m.away.Load() {
		return queue.Progress{}, queue.ErrUnavailable
	}
	return m.Driver.Progress(ctx, of)
}

type publisher func(packets []queue.Packet) ([]uint64, error)

func (m *meddling) Publish(ctx context.Context, to queue.Address, packets []queue.Packet) ([]uint64, error) {
	next := func(packets []queue.Packet) ([]uint64, error) { return m.Driver.Publish(ctx, to, packets) }
	if m.publish == nil || to != queue.MessagesOf(orders) {
		return next(packets)
	}
	publish := m.publish
	m.publish = nil // once
	return publish(ctx, packets, next)
}

// meddle puts m between the broker and its queue.
func meddle(m *meddling) func(*Options) {
	return func(o *Options) {
		open := o.OpenTransport
		o.OpenTransport = func(ctx context.Context, workers []ferry.WorkerInfo) (Transport, error) {
			t, err := open(ctx, workers)
			if err != nil {
				return nil, err
			}
			plain := t.(memTransport)
			if err := plain.Close(ctx); err != nil {
				return nil, err
			}
			m.Driver = plain.mem.Broker()
			plain.q = queue.New(m, queue.Options{})
			return plain, nil
		}
	}
}

func windowOf(n int) func(*Options) {
	return func(o *Options) { o.Routes = []ferry.Route{{Name: orders, Window: n}, {Name: notes}} }
}

func (w *world) inTheQueue() int { return w.mem.Len(queue.MessagesOf(orders)) }

// deliverAll takes and reports until n messages are completed, and gives their ids
// in the order in which they came. At no time are more than most in the queue.
func (h *hand) deliverAll(n, most int) []ferry.ID {
	h.w.t.Helper()
	var came []ferry.ID
	for len(came) < n {
		synctest.Wait()
		if have := h.w.inTheQueue(); have > most {
			h.w.t.Fatalf("%d in the queue, at most %d may be", have, most)
		}
		got := h.take(orders, most)
		if len(got) == 0 {
			h.w.t.Fatalf("the queue ran dry after %d of %d", len(came), n)
		}
		for _, d := range got {
			came = append(came, d.HandOut.ID)
			h.report(d, ferry.Delivered, done())
		}
	}
	return came
}

func TestAWindowOfOne(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		var ids []ferry.ID
		for range 5 {
			ids = append(ids, w.send(`{}`))
		}
		// One that waits for its next turn leaves the place to the next.
		first := h.takeOne(orders)
		h.report(first, ferry.Failed, retryAfter(time.Minute))
		second := h.takeOne(orders)
		if second.HandOut.ID != ids[1] {
			t.Fatalf("after the first failed comes %s, not the second", second.HandOut.ID)
		}
		// What the queue completes without a receipt keeps its place until it counts as silent.
		if err := second.Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.take(orders, 1); len(got) != 0 {
			t.Fatalf("%s was handed out beside the one that is open", got[0].HandOut.ID)
		}
		time.Sleep(40 * time.Second)
		came := h.deliverAll(4, 1)
		if came[0] != ids[1] {
			t.Errorf("the silent one did not come again first: %v of %v", came, ids)
		}
		time.Sleep(time.Minute)
		h.deliverAll(1, 1)
		for _, id := range ids {
			w.state(id, ferry.StateCompleted)
		}
		w.balanced()
	}, windowOf(1))
}

// More heads are due than the window takes: keys take turns, and each keeps its
// order.
func TestAWindowSmallerThanTheOrderingKeys(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		const keys, each, window = 7, 4, 2
		key := map[ferry.ID]string{}
		sent := map[string][]ferry.ID{}
		for i := range keys * each {
			k := fmt.Sprint("key-", i%keys)
			id := w.send(`{}`, func(m *ferry.Message) { m.OrderingKey = k })
			key[id], sent[k] = k, append(sent[k], id)
		}
		came := map[string][]ferry.ID{}
		for _, id := range h.deliverAll(keys*each, window) {
			came[key[id]] = append(came[key[id]], id)
		}
		for k, ids := range sent {
			if fmt.Sprint(came[k]) != fmt.Sprint(ids) {
				t.Errorf("%s came as %v, sent as %v", k, came[k], ids)
			}
		}
		w.balanced()
	}, windowOf(2))
}

// The queue loses a batch that is just being published, and the sweep finds out
// before the relay goes on: what it looked at before counts for nothing.
func TestALossWhileABatchIsPublished(t *testing.T) {
	m := &meddling{}
	bubble(t, func(t *testing.T, w *world) {
		var ids []ferry.ID
		for range 3 {
			ids = append(ids, w.send(`{}`))
		}
		m.publish = func(ctx context.Context, packets []queue.Packet, next publisher) ([]uint64, error) {
			positions, err := next(packets)
			w.mem.Forget()
			if err := w.b.table.Load().routes[orders].relay.sweep(ctx); err != nil {
				t.Errorf("sweep: %v", err)
			}
			return positions, err
		}
		h := w.worker("one", orders)
		h.hello(orders)
		if came := h.deliverAll(3, 3); came[0] != ids[0] {
			t.Errorf("came %v, sent %v", came, ids)
		}
		w.balanced()
	}, meddle(m))
}

// A turn counts as silent while a batch is being published that began at the front,
// since the one before it was refused: it comes again all the same.
func TestASilentTurnIsFoundWhileABatchIsPublished(t *testing.T) {
	m := &meddling{}
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		silent := w.send(`{}`)
		if err := h.takeOne(orders).Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		m.publish = func(context.Context, []queue.Packet, publisher) ([]uint64, error) {
			m.publish = func(_ context.Context, packets []queue.Packet, next publisher) ([]uint64, error) {
				time.Sleep(time.Minute)
				return next(packets)
			}
			return nil, queue.ErrUnavailable
		}
		other := w.send(`{}`)
		time.Sleep(2 * time.Minute)
		came := h.take(orders, 10)
		if len(came) != 2 || came[0].HandOut.ID != other || came[1].HandOut.ID != silent {
			t.Fatalf("%d came, %s and %s were to", len(came), other, silent)
		}
	}, meddle(m))
}

// The channel is emptied without a trace while a batch is being published.
func TestAPurgeWhileABatchIsPublished(t *testing.T) {
	m := &meddling{}
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		m.publish = func(_ context.Context, packets []queue.Packet, next publisher) ([]uint64, error) {
			positions, err := next(packets)
			w.mem.Purge(queue.MessagesOf(orders))
			return positions, err
		}
		id := w.send(`{}`)
		if got := h.take(orders, 1); len(got) != 0 {
			t.Fatal("it was not purged")
		}
		time.Sleep(time.Minute)
		if d := h.takeOne(orders); d.HandOut.ID != id || d.HandOut.Turn != 1 {
			t.Fatalf("again %+v", d.HandOut)
		}
	}, meddle(m))
}

func TestAPublicationThatFailsHalfWay(t *testing.T) {
	m := &meddling{}
	bubble(t, func(t *testing.T, w *world) {
		var ids []ferry.ID
		for range 5 {
			ids = append(ids, w.send(`{}`))
		}
		m.publish = func(_ context.Context, packets []queue.Packet, next publisher) ([]uint64, error) {
			if len(packets) != 3 {
				t.Errorf("%d in the first batch", len(packets))
			}
			if _, err := next(packets[:2]); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("the connection was lost: %w", queue.ErrUnavailable)
		}
		h := w.worker("one", orders)
		h.hello(orders)
		time.Sleep(time.Second)
		// Two came twice: as the inbox would, every copy is told of, and counts once.
		seen := map[ferry.ID]int{}
		for got := h.take(orders, 10); len(got) > 0; got = h.take(orders, 10) {
			for _, d := range got {
				seen[d.HandOut.ID]++
				h.report(d, ferry.Delivered, done())
			}
		}
		for i, id := range ids {
			want := 1
			if i < 2 {
				want = 2
			}
			if seen[id] != want {
				t.Errorf("message %d came %d times, not %d", i, seen[id], want)
			}
			if e := w.state(id, ferry.StateCompleted); e.AttemptsTotal != 1 {
				t.Errorf("message %d has %d attempts", i, e.AttemptsTotal)
			}
		}
		w.balanced()
	}, meddle(m))
}

func TestARoutePausedWithAFullWindow(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		for range 8 {
			w.send(`{}`)
		}
		first := h.take(orders, 10)
		if _, err := w.b.Pause(t.Context(), orders, "month end", time.Time{}, "op"); err != nil {
			t.Fatal(err)
		}
		for _, d := range first { // what it holds it finishes
			h.report(d, ferry.Delivered, done())
		}
		time.Sleep(time.Hour)
		if got := h.take(orders, 10); len(got) != 0 || w.inTheQueue() != 0 {
			t.Fatalf("%d were handed out while paused, %d are in the queue", len(got), w.inTheQueue())
		}
		if _, err := w.b.Resume(t.Context(), orders, "", "op"); err != nil {
			t.Fatal(err)
		}
		h.deliverAll(5, 3)
		w.balanced()
	})
}

func TestAQueueLostWhilePaused(t *testing.T) {
	for name, lose := range map[string]func(w *world){
		"made anew": func(w *world) { w.mem.Forget() },
		"emptied":   func(w *world) { w.mem.Purge(queue.MessagesOf(orders)) },
		"broker restarted": func(w *world) {
			w.mem.Forget()
			w.restart()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				h := w.worker("one", orders)
				h.hello(orders)
				for range 8 {
					w.send(`{}`)
				}
				synctest.Wait()
				if _, err := w.b.Pause(t.Context(), orders, "month end", time.Time{}, "op"); err != nil {
					t.Fatal(err)
				}
				lose(w)
				h.hello(orders)
				time.Sleep(time.Hour)
				synctest.Wait()
				if n := w.inTheQueue(); n != 0 {
					t.Fatalf("%d were handed out while paused", n)
				}
				if _, err := w.b.Resume(t.Context(), orders, "", "op"); err != nil {
					t.Fatal(err)
				}
				h.deliverAll(8, 3)
				w.balanced()
			})
		})
	}
}

func TestNothingIsHandedOutToARevokedWorker(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		if _, err := w.b.RevokeWorker(t.Context(), "one", "", "op"); err != nil {
			t.Fatal(err)
		}
		w.send(`{}`)
		synctest.Wait()
		if n := w.inTheQueue(); n != 0 {
			t.Fatalf("%d were handed out", n)
		}
		if _, err := w.b.AddWorker(t.Context(), "one", []string{orders}, "", "op"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := w.inTheQueue(); n != 1 {
			t.Fatalf("%d in the queue after it was added again", n)
		}
	})
}

// Receipts that the queue lost are told again at once, not only when the worker's
// patience ends.
func TestLostReceiptsAreAskedForAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		before := h.hello(orders).Start
		asked := make(chan queue.Signal, 10)
		stop, err := h.q.Listen(t.Context(), func(s queue.Signal) { asked <- s })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		w.mem.Forget()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		again := false
		for len(asked) > 0 {
			again = again || (<-asked).HelloAgain
		}
		if !again {
			t.Error("the worker was not asked for a hello")
		}
		after := h.hello(orders).Start
		if after == before || !strings.HasPrefix(after, before) {
			t.Errorf("the broker calls its run %s, and after the loss %s", before, after)
		}
		id := w.send(`{}`)
		h.report(h.takeOne(orders), ferry.Delivered, done())
		w.state(id, ferry.StateCompleted)
	})
}

// elsewhere is a queue whose logins somebody else keeps.
type elsewhere struct{ memTransport }

func (elsewhere) SetWorkers([]ferry.WorkerInfo) error { return nil }

func (elsewhere) LoginConfig(w ferry.WorkerInfo) (string, error) { return "entry of " + w.Name, nil }

// A revoked worker may still reach such a queue; the broker has nothing to do
// with it any more.
func TestARevokedWorkerWhoseLoginIsKeptElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		made, err := w.b.AddWorker(t.Context(), "one", []string{orders}, "", "op")
		if err != nil || !made.LoginElsewhere || made.LoginConfig != "entry of one" {
			t.Fatalf("%+v, %v", made, err)
		}
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		d := h.takeOne(orders)
		if info, err := w.b.RevokeWorker(t.Context(), "one", "", "op"); err != nil || !info.LoginElsewhere {
			t.Fatalf("%+v, %v", info, err)
		}
		if welcome := h.hello(orders); welcome.Error == "" || welcome.Routes[orders].Granted {
			t.Errorf("it is still welcome: %+v", welcome)
		}
		h.report(d, ferry.Delivered, done())
		w.state(id, ferry.StateQueued) // its receipt counts for nothing
		if _, err := h.fetch(ferry.HandOut{ID: id, Route: orders, Size: 2, Revision: 1}); err == nil {
			t.Error("it may still read bodies")
		}
	}, func(o *Options) {
		open := o.OpenTransport
		o.OpenTransport = func(ctx context.Context, workers []ferry.WorkerInfo) (Transport, error) {
			t, err := open(ctx, workers)
			if err != nil {
				return nil, err
			}
			return elsewhere{t.(memTransport)}, nil
		}
	})
}

// A worker that is away finds one copy of its window, however often the broker
// was started meanwhile.
func TestRestartsDoNotPileUpCopies(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		for range 8 {
			w.send(`{}`)
		}
		for range 5 {
			synctest.Wait()
			w.restart()
		}
		synctest.Wait()
		if n := w.inTheQueue(); n != 3 {
			t.Fatalf("%d in the queue, the window is 3", n)
		}
		h.hello(orders)
		h.deliverAll(8, 3)
		w.balanced()
	})
}

// A queue that is away is told of, and keeps nobody from sending.
func TestAQueueThatIsAway(t *testing.T) {
	m := &meddling{}
	bubble(t, func(t *testing.T, w *world) {
		says := func() bool {
			t.Helper()
			s, err := w.b.Status(t.Context())
			if err != nil || !s.Ready {
				t.Fatalf("%+v, %v", s, err)
			}
			return strings.Contains(strings.Join(s.Problems, "; "), "the queue cannot be reached since")
		}
		m.away.Store(true)
		time.Sleep(10 * time.Second)
		if !says() {
			t.Error("status says nothing of it")
		}
		w.send(`{}`)
		m.away.Store(false)
		time.Sleep(10 * time.Second)
		if says() {
			t.Error("status still says so")
		}
	}, meddle(m))
}
