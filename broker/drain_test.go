package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

const tooOften = "MaxDeliveryCountExceeded"

// TestWhatTheQueueSetsAsideBecomesADeadLetter: with the queue's own words, in doubt,
// and only once it is on disk is it gone from there.
func TestWhatTheQueueSetsAsideBecomesADeadLetter(t *testing.T) {
	var aside func() int
	most := 0 // that was there still at a commit
	bubble(t, func(t *testing.T, w *world) {
		aside = func() int { return w.mem.LenDead(queue.MessagesOf(orders)) }
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{"n":1}`)
		synctest.Wait()
		if n := w.mem.SetAside(queue.MessagesOf(orders), tooOften, "it was delivered 10 times"); n != 1 {
			t.Fatalf("%d messages were in the queue, want 1", n)
		}
		e := w.state(id, ferry.StateDeadLettered)
		if e.DeadLetter.Reason != ferry.ReasonUndeliverable || e.DeadLetter.Code != tooOften || e.DeadLetter.Description != "the queue set it aside: it was delivered 10 times" {
			t.Fatalf("dead letter %+v", e.DeadLetter)
		}
		if n := aside(); n != 0 || most != 1 {
			t.Fatalf("%d are still there; at the commit it were %d, want 1", n, most)
		}
		w.balanced()

		// The worker may have begun it: a replay looks first.
		if _, err := w.b.Replay(t.Context(), id, nil, "", "again", "op"); err != nil {
			t.Fatalf("Replay: %v", err)
		}
		if d := h.takeOne(orders); !d.HandOut.Doubt || d.HandOut.Generation != 2 {
			t.Fatalf("handed out again as %+v", d.HandOut)
		}
	}, func(o *Options) {
		o.BeforeCommit = func() {
			if aside != nil {
				most = max(most, aside())
			}
		}
	})
}

// TestASetAsideTurnThatIsOverChangesNothing: the queue's copy is old news.
func TestASetAsideTurnThatIsOverChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		done1, later := w.send(`{"n":1}`), w.send(`{"n":2}`)
		got := h.take(orders, 2)
		h.tell(h.receipt(got[0], ferry.Delivered, done()))
		h.tell(h.receipt(got[1], ferry.Failed, retryAfter(time.Hour)))
		w.state(done1, ferry.StateCompleted)
		w.state(later, ferry.StateRetrying)
		if n := w.mem.SetAside(queue.MessagesOf(orders), tooOften, ""); n != 2 {
			t.Fatalf("%d messages were in the queue, want 2", n)
		}
		w.state(done1, ferry.StateCompleted)
		w.state(later, ferry.StateRetrying)
		if n := w.mem.LenDead(queue.MessagesOf(orders)); n != 0 {
			t.Fatalf("%d are still there", n)
		}
		w.balanced()
	})
}

// TestWhatOnlyWaitedTooLongIsHandedOutAgain: a queue that does not keep messages
// for long is no reason to give one up.
func TestWhatOnlyWaitedTooLongIsHandedOutAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{"n":1}`)
		synctest.Wait()
		if n := w.mem.Expire(queue.MessagesOf(orders), "TTLExpiredException"); n != 1 {
			t.Fatalf("%d messages were in the queue, want 1", n)
		}
		w.state(id, ferry.StateQueued)
		time.Sleep(time.Minute)
		d := h.takeOne(orders)
		if d.HandOut.ID != id || d.HandOut.Turn != 1 || d.HandOut.Doubt {
			t.Fatalf("handed out as %+v, want the same turn without doubt", d.HandOut)
		}
		h.report(d, ferry.Delivered, done())
		w.state(id, ferry.StateCompleted)
		w.balanced()
	})
}

// TestASetAsideTurnThatIsClaimedStaysItsHolders: the ledger looks after claims. One
// that nobody claimed, nobody began: there is no doubt about it.
func TestASetAsideTurnThatIsClaimedStaysItsHolders(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		claimed, free := w.send(`{"n":1}`), w.send(`{"n":2}`)
		got := h.take(orders, 2)
		answer, err := h.q.Claim(t.Context(), queue.ClaimRequest{
			ID: claimed, Route: orders, Turn: got[0].HandOut.Turn, Worker: h.name, Inbox: h.inbox, Nonce: "n", For: time.Minute, Bound: time.Minute,
		})
		if err != nil || answer.State != queue.ClaimGranted {
			t.Fatalf("Claim: %+v, %v", answer, err)
		}
		w.mem.SetAside(queue.MessagesOf(orders), tooOften, "")
		w.state(claimed, ferry.StateQueued)
		e := w.state(free, ferry.StateDeadLettered)
		if e.DeadLetter.Reason != ferry.ReasonUndeliverable {
			t.Fatalf("dead letter %+v", e.DeadLetter)
		}
		h.tell(h.receipt(got[0], ferry.Delivered, done()))
		w.state(claimed, ferry.StateCompleted)
		if _, err := w.b.Replay(t.Context(), free, nil, "", "again", "op"); err != nil {
			t.Fatalf("Replay: %v", err)
		}
		if d := h.takeOne(orders); d.HandOut.Doubt {
			t.Fatalf("nobody began it, and it is handed out in doubt: %+v", d.HandOut)
		}
		w.balanced()
	}, func(o *Options) { o.Routes[0].Several = true })
}

// TestASetAsideReceiptIsAReceipt: a result is not lost where the queue gave up
// handing it over, and one that is not its sender's stays refused.
func TestASetAsideReceiptIsAReceipt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		other := w.worker("two", notes)
		h.hello(orders)
		id, second := w.send(`{"n":1}`), w.send(`{"n":2}`)
		got := h.take(orders, 2)
		forged := h.receipt(got[1], ferry.Delivered, done())
		// The broker's own receiver is faster than this test: so it is put there.
		delivered := h.receipt(got[0], ferry.Delivered, done())
		w.mem.PutAside(queue.AllReceipts(), h.name, queue.EncodeReceipt(&delivered), tooOften)
		w.mem.PutAside(queue.AllReceipts(), other.name, queue.EncodeReceipt(&forged), tooOften)
		w.state(id, ferry.StateCompleted)
		w.state(second, ferry.StateQueued)
		if n := w.mem.LenDead(queue.AllReceipts()); n != 0 {
			t.Fatalf("%d are still there", n)
		}
		w.balanced()
	})
}

// TestEveryRouteIsDrained: also where there are more than are listened to at a time.
func TestEveryRouteIsDrained(t *testing.T) {
	const count = 3*drainAtOnce + 1
	var routes []ferry.Route
	var names []string
	for i := range count {
		names = append(names, fmt.Sprintf("route-%d", i))
		routes = append(routes, ferry.Route{Name: names[i]})
	}
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", names...)
		h.hello(names...)
		var ids []ferry.ID
		for _, name := range names {
			ids = append(ids, w.send(`{}`, func(m *ferry.Message) { m.Route = name }))
		}
		synctest.Wait()
		for _, name := range names {
			if n := w.mem.SetAside(queue.MessagesOf(name), tooOften, ""); n != 1 {
				t.Fatalf("%s: %d messages were in the queue, want 1", name, n)
			}
		}
		time.Sleep(5 * drainTurn)
		for _, id := range ids {
			w.state(id, ferry.StateDeadLettered)
		}
	}, func(o *Options) { o.Routes = routes })
}
