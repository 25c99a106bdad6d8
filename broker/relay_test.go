package broker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/queue"
)

func TestNothingIsHandedOutBeforeARouteIsBound(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`{}`)
		h := w.worker("one", orders)
		if got := h.take(orders, 10); len(got) != 0 {
			t.Fatalf("%d messages were handed out for nobody", len(got))
		}
		if e := w.message(id); e.State != ferry.StateAccepted || e.WaitingFor == nil || e.WaitingFor.Reason != "noWorker" {
			t.Fatalf("state %s, waiting for %+v", e.State, e.WaitingFor)
		}
		if welcome := h.hello(orders); !welcome.Routes[orders].Granted {
			t.Fatalf("the first inbox was refused: %+v", welcome)
		}
		d := h.takeOne(orders)
		if d.HandOut.ID != id || d.HandOut.Inbox != h.inbox || d.HandOut.Turn != 1 {
			t.Fatalf("handed out %+v", d.HandOut)
		}
		w.state(id, ferry.StateQueued)
		h.report(d, ferry.Delivered, done())
		if e := w.state(id, ferry.StateCompleted); e.Reference != "DOC-1" || len(e.Attempts) != 1 {
			t.Fatalf("completed as %+v", e)
		}
		w.balanced()
	})
}

func TestTheWindowBoundsWhatIsHandedOut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		var ids []ferry.ID
		for i := range 10 {
			ids = append(ids, w.send(fmt.Sprintf(`{"n":%d}`, i)))
		}
		first := h.take(orders, 10)
		if len(first) != 3 {
			t.Fatalf("%d handed out, the window is 3", len(first))
		}
		w.state(ids[3], ferry.StateAccepted)
		// What lies behind the window no worker can hold: an act reaches it.
		if _, err := w.b.Discard(t.Context(), ids[3], "not wanted", "op"); err != nil {
			t.Fatalf("Discard behind the window: %v", err)
		}
		if _, err := w.b.Discard(t.Context(), ids[0], "not wanted", "op"); ferry.CodeOf(err) != ferry.CodeInDelivery {
			t.Fatalf("Discard of what is handed out: %v", err)
		}
		h.report(first[0], ferry.Delivered, done())
		next := h.takeOne(orders)
		if next.HandOut.ID != ids[4] {
			t.Fatalf("the next is %s, want the fifth: order of acceptance, the discarded left out", next.HandOut.ID)
		}
		w.balanced()
	})
}

func TestARetryIsADueTime(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		h.report(h.takeOne(orders), ferry.Failed, retryAfter(3*time.Hour))
		e := w.state(id, ferry.StateRetrying)
		if e.WaitingFor == nil || e.WaitingFor.Until == nil || time.Until(*e.WaitingFor.Until) > 3*time.Hour {
			t.Fatalf("waiting for %+v", e.WaitingFor)
		}
		time.Sleep(3*time.Hour - time.Second)
		if got := h.take(orders, 1); len(got) != 0 {
			t.Fatal("handed out before it was due")
		}
		time.Sleep(2 * time.Second)
		d := h.takeOne(orders)
		if d.HandOut.Turn != 2 || d.HandOut.Spent != 1 || d.HandOut.Attempt != 2 {
			t.Fatalf("second turn: %+v", d.HandOut)
		}
	})
}

func TestAPausedRouteHandsNothingOut(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		if _, err := w.b.Pause(t.Context(), orders, "", time.Time{}, "op"); ferry.CodeOf(err) != ferry.CodeNoteRequired {
			t.Fatalf("a pause without a note: %v", err)
		}
		until := time.Now().Add(time.Hour)
		info, err := w.b.Pause(t.Context(), orders, "month end", until, "op")
		if err != nil || info.State != ferry.RoutePaused {
			t.Fatalf("Pause: %v %+v", err, info)
		}
		if welcome := h.hello(orders); !welcome.Routes[orders].Paused {
			t.Fatalf("the worker is not told: %+v", welcome)
		}
		id := w.send(`{}`)
		if got := h.take(orders, 1); len(got) != 0 {
			t.Fatal("a paused route handed out")
		}
		if e := w.message(id); e.WaitingFor == nil || e.WaitingFor.Reason != "paused" {
			t.Fatalf("waiting for %+v", e.WaitingFor)
		}
		time.Sleep(time.Hour + time.Minute)
		h.takeOne(orders)
		if info, _ := w.b.routeInfo(orders); len(info.Conditions) > 0 && info.Conditions[0].Type == ferry.RoutePaused {
			t.Fatalf("the pause did not end: %+v", info)
		}
	})
}

func TestALostQueueIsFilledAgainFromTheLedger(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		first := h.takeOne(orders)
		time.Sleep(10 * time.Second) // the sweep has seen the channel
		w.mem.Forget()
		if _, err := w.b.queue.Ensure(t.Context(), w.b.names()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		again := h.takeOne(orders)
		if again.HandOut.ID != id || again.HandOut.Turn != first.HandOut.Turn {
			t.Fatalf("again %+v", again.HandOut)
		}
		h.report(again, ferry.Delivered, done())
		w.state(id, ferry.StateCompleted)
	})
}

// The queue is lost before the first sweep has seen it.
func TestAQueueLostAtOnceIsNoticed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		h.takeOne(orders)
		w.mem.Forget()
		if _, err := w.b.queue.Ensure(t.Context(), w.b.names()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if again := h.takeOne(orders); again.HandOut.ID != id {
			t.Fatalf("again %+v", again.HandOut)
		}
	})
}

// Its numbers begin again, and what the relay knows of it is from before.
func TestATurnBehindTheLastPositionIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		for range 3 {
			h.report(func() *queue.Delivery { w.send(`{}`); return h.takeOne(orders) }(), ferry.Delivered, done())
		}
		id := w.send(`{}`)
		h.takeOne(orders)
		w.mem.Forget()
		if _, err := w.b.queue.Ensure(t.Context(), w.b.names()); err != nil {
			t.Fatal(err)
		}
		r := w.b.table.Load().routes[orders].relay
		if err := r.begin(t.Context()); err != nil { // as if the loss had been overlooked
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if again := h.takeOne(orders); again.HandOut.ID != id {
			t.Fatalf("again %+v", again.HandOut)
		}
	})
}

func TestATurnThatStaysSilentIsPublishedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		d := h.takeOne(orders)
		if err := d.Complete(t.Context()); err != nil { // and no receipt
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if got := h.take(orders, 1); len(got) != 0 {
			t.Fatal("published again before it was silent long enough")
		}
		time.Sleep(30 * time.Second)
		again := h.takeOne(orders)
		if again.HandOut.ID != id || again.HandOut.Turn != 1 {
			t.Fatalf("again %+v", again.HandOut)
		}
	})
}

func TestAFailedPublicationIsTriedAgain(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(fmt.Sprintf("takenBefore=%v", after), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				h := w.worker("one", orders)
				h.hello(orders)
				w.mem.FailPublish(queue.MessagesOf(orders), queue.ErrUnavailable, after)
				id := w.send(`{}`)
				time.Sleep(time.Second)
				got := h.take(orders, 10)
				want := 1
				if after {
					want = 2 // both copies are there: harmless, the inbox knows the turn
				}
				if len(got) != want {
					t.Fatalf("%d copies, want %d", len(got), want)
				}
				for _, d := range got {
					if d.HandOut.ID != id || d.HandOut.Turn != 1 {
						t.Fatalf("copy %+v", d.HandOut)
					}
				}
			})
		})
	}
}

func TestARestartPublishesAgainUnderAnotherQueueID(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		var ids []ferry.ID
		for range 5 {
			ids = append(ids, w.send(`{}`))
		}
		for _, d := range h.take(orders, 10) {
			if err := d.Complete(t.Context()); err != nil { // the worker dies here: no receipt
				t.Fatal(err)
			}
		}
		h.close()
		w.restart()
		// Before anything is handed out again: what may be held is known from disk.
		if _, err := w.b.Discard(t.Context(), ids[0], "x", "op"); ferry.CodeOf(err) != ferry.CodeInDelivery {
			t.Fatalf("Discard after a restart: %v", err)
		}
		if _, err := w.b.Discard(t.Context(), ids[4], "x", "op"); err != nil {
			t.Fatalf("Discard of what was never handed out: %v", err)
		}
		h = w.worker("one", orders)
		h.hello(orders)
		got := h.take(orders, 10)
		if len(got) != 3 || got[0].HandOut.ID != ids[0] || got[0].HandOut.Turn != 1 {
			t.Fatalf("after the restart %d messages", len(got))
		}
		for _, d := range got {
			h.report(d, ferry.Delivered, done())
		}
		h.report(h.takeOne(orders), ferry.Delivered, done())
		w.balanced()
	})
}

func TestAReplayInsideTheDuplicateWindowIsNotDropped(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{"n":1}`)
		for turn := uint64(1); turn <= 4; turn++ {
			d := h.takeOne(orders)
			if d.HandOut.Turn != turn {
				t.Fatalf("turn %d, want %d", d.HandOut.Turn, turn)
			}
			h.report(d, ferry.Rejected, rejected(), func(rc *ferry.Receipt) { rc.Text = "no number" })
			w.state(id, ferry.StateDeadLettered)
			var body []byte
			if turn == 2 {
				body = []byte(`{"n":2}`)
			}
			e, err := w.b.Replay(t.Context(), id, body, "", "again", "op")
			if err != nil {
				t.Fatalf("Replay: %v", err)
			}
			if e.Generation != int(turn)+1 {
				t.Fatalf("generation %d", e.Generation)
			}
		}
		d := h.takeOne(orders)
		if string(d.HandOut.Body) != `{"n":2}` || d.HandOut.Revision != 2 {
			t.Fatalf("the edit was lost: revision %d, %s", d.HandOut.Revision, d.HandOut.Body)
		}
		w.balanced()
	})
}

func TestALargeBodyIsServedToWorkersOfItsRouteOnly(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		big := make([]byte, ferry.InlineBody+1)
		w.send(string(big))
		files, err := filepath.Glob(filepath.Join(w.dir, "bodies", "??", "*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("body files: %v %v", files, err)
		}
		h := w.worker("one", orders)
		h.hello(orders)
		d := h.takeOne(orders)
		if d.HandOut.Body != nil || d.HandOut.Size != int64(len(big)) {
			t.Fatalf("a large body travelled inline: %d bytes", len(d.HandOut.Body))
		}
		got, err := h.fetch(d.HandOut)
		if err != nil || len(got) != len(big) {
			t.Fatalf("FetchBody: %v, %d bytes", err, len(got))
		}
		other := w.worker("two", notes)
		other.hello(notes)
		if _, err := other.fetch(d.HandOut); err == nil {
			t.Fatal("a worker of another route read the body")
		}
		if err := os.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := h.fetch(d.HandOut); err == nil {
			t.Fatal("a missing body was served")
		}
	})
}

func TestAMissingBodyBecomesADeadLetter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id, other := w.send(`{"n":1}`), w.send(`{"n":2}`)
		w.stop()
		db, err := bbolt.Open(filepath.Join(w.dir, "ledger.db"), 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("bodies")).Delete(append(id[:], 0, 1)) // id and revision
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		w.start()
		h := w.worker("one", orders)
		h.hello(orders)
		if d := h.takeOne(orders); d.HandOut.ID != other {
			t.Fatalf("handed out %s, not the message behind it", d.HandOut.ID)
		}
		if e := w.state(id, ferry.StateDeadLettered); e.DeadLetter.Reason != ferry.ReasonBodyMissing {
			t.Fatalf("reason %s", e.DeadLetter.Reason)
		}
		w.balanced()
	})
}

func TestExpiredMessagesBecomeDeadLettersWithoutAnyWorker(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`{}`, func(m *ferry.Message) { m.TimeToLive = time.Hour })
		time.Sleep(59 * time.Minute)
		w.state(id, ferry.StateAccepted)
		time.Sleep(2 * time.Minute)
		e := w.state(id, ferry.StateDeadLettered)
		if e.DeadLetter.Reason != ferry.ReasonExpired {
			t.Fatalf("reason %s", e.DeadLetter.Reason)
		}
		w.balanced()
	})
}

func TestABacklogStaysInTheLedger(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		for range 50 {
			w.send(`{}`)
		}
		synctest.Wait()
		if n := w.mem.Len(queue.MessagesOf(orders)); n != 3 {
			t.Fatalf("%d messages in the queue, the window is 3", n)
		}
		for delivered := 0; delivered < 50; delivered++ {
			d := h.take(orders, 1)
			if len(d) != 1 {
				t.Fatalf("the queue ran dry after %d", delivered)
			}
			h.report(d[0], ferry.Delivered, done())
		}
		w.balanced()
	})
}
