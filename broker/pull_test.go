package broker

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// pulling has receivers pull the messages of the first route.
func pulling(o *Options) {
	o.Routes[0].Pull, o.Routes[0].Lock, o.Routes[0].MaxDeliveries = true, time.Minute, 3
}

// receive asks for a message, and waits for it.
func (w *world) receive(wait time.Duration) *ferry.Received {
	w.t.Helper()
	got, err := w.b.Receive(w.t.Context(), orders, "erp", wait, false)
	if err != nil {
		w.t.Fatalf("Receive: %v", err)
	}
	return got
}

func (w *world) settleLock(got *ferry.Received, do ferry.LockAct, want ferry.Code) time.Time {
	w.t.Helper()
	until, err := w.b.SettleLock(w.t.Context(), ferry.LockSettle{Route: orders, Message: got.ID.String(), Lock: got.Lock, Do: do, By: "erp", Reference: "DOC-1"})
	if ferry.CodeOf(err) != want {
		w.t.Fatalf("%s: %v, want %q", do, err, want)
	}
	return until
}

// bodyOf reads what was received.
func bodyOf(t *testing.T, got *ferry.Received) string {
	t.Helper()
	body, err := io.ReadAll(got.Body)
	if err != nil || got.Body.Close() != nil || int64(len(body)) != got.Body.Size {
		t.Fatalf("the body: %v, %d bytes of %d", err, len(body), got.Body.Size)
	}
	return string(body)
}

func TestReceiveWaits(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if got := w.receive(0); got != nil {
			t.Fatalf("%+v", got)
		}
		began := time.Now()
		if got := w.receive(55 * time.Second); got != nil || time.Since(began) != 55*time.Second {
			t.Fatalf("%+v after %s", got, time.Since(began))
		}
		done := make(chan *ferry.Received, 3)
		wait := func() {
			go func() { done <- w.receive(time.Hour) }()
			synctest.Wait()
		}
		// One message wakes one that waits.
		wait()
		wait()
		first := w.send(`1`)
		if got := <-done; got.ID != first || bodyOf(t, got) != `1` {
			t.Fatalf("%+v", got)
		}
		synctest.Wait()
		// What is due later is received then, also when who knew of it has left.
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan struct{})
		go func() {
			defer close(left)
			if got, err := w.b.Receive(ctx, orders, "erp", time.Hour, false); got != nil || err != nil {
				t.Errorf("%+v, %v", got, err)
			}
		}()
		synctest.Wait()
		at := time.Now().Add(50 * time.Second) // before the lock of the first ends
		later := w.send(`2`, func(m *ferry.Message) { m.DeliverAt = at })
		synctest.Wait()
		cancel()
		<-left
		if got := <-done; got.ID != later || !time.Now().Equal(at) {
			t.Fatalf("%+v at %s, want %s", got, time.Now(), at)
		}
		// So does a lock that ends.
		wait()
		if got := <-done; got.ID != first || got.Deliveries != 2 || !got.Doubt {
			t.Fatalf("%+v", got)
		}
	}, pulling)
}

func TestPausedRoutesGiveNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		if _, err := w.b.Pause(t.Context(), orders, "month-end", time.Time{}, "ann"); err != nil {
			t.Fatal(err)
		}
		id := w.send(`1`)
		if got := w.receive(time.Minute); got != nil {
			t.Fatalf("%+v", got)
		}
		if e := w.message(id); e.WaitingFor.Reason != "paused" {
			t.Errorf("waiting for %+v", e.WaitingFor)
		}
		done := make(chan *ferry.Received)
		go func() { done <- w.receive(time.Hour) }()
		synctest.Wait()
		began := time.Now()
		if _, err := w.b.Resume(t.Context(), orders, "", "ann"); err != nil {
			t.Fatal(err)
		}
		if got := <-done; got == nil || got.ID != id || time.Since(began) > time.Second {
			t.Fatalf("%+v after %s", got, time.Since(began))
		}
	}, pulling)
}

// A stop does not wait for receivers, and what they hold stays theirs.
func TestReceiversAndAStop(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`1`)
		got := w.receive(0)
		done := make(chan error, 1)
		go func() {
			got, err := w.b.Receive(t.Context(), orders, "erp", time.Hour, false)
			if got != nil {
				t.Errorf("%+v", got)
			}
			done <- err
		}()
		synctest.Wait()
		began := time.Now()
		w.restart(pulling)
		if err := <-done; err != nil || time.Since(began) > time.Second {
			t.Fatalf("%v after %s", err, time.Since(began))
		}
		if again := w.receive(0); again != nil {
			t.Fatalf("what is locked was given again: %+v", again)
		}
		w.settleLock(got, ferry.LockComplete, "")
		e := w.state(id, ferry.StateCompleted)
		if e.Reference != "DOC-1" || len(e.Attempts) != 1 || e.Attempts[0].Worker != "erp" {
			t.Errorf("%+v", e)
		}
		w.balanced()
	}, pulling)
}

func TestReceiveAndDelete(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`1`)
		got, err := w.b.Receive(t.Context(), orders, "erp", 0, true)
		if err != nil || got.ID != id || bodyOf(t, got) != `1` || !got.Lock.IsZero() || !got.LockedUntil.IsZero() {
			t.Fatalf("%+v, %v", got, err)
		}
		w.state(id, ferry.StateCompleted)
		w.balanced()
	}, pulling)
}

// Who goes away before its answer was given nothing.
func TestAReceiverThatWentAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`1`)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for _, remove := range []bool{false, true} {
			if got, err := w.b.Receive(ctx, orders, "erp", time.Minute, remove); got != nil {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		if got := w.receive(0); got == nil || got.ID != id || got.Doubt {
			t.Fatalf("%+v", got)
		}
	}, pulling)
}

func TestABodyThatIsMissingIsNotReceived(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		large := make([]byte, ferry.InlineBody+1)
		lost := w.send(string(large))
		good := w.send(`1`)
		files, err := filepath.Glob(filepath.Join(w.dir, "bodies", "*", lost.String()+".*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		if err := os.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		got, err := w.b.Receive(t.Context(), orders, "erp", 0, true)
		if err != nil || got == nil || got.ID != good {
			t.Fatalf("%+v, %v", got, err)
		}
		if e := w.state(lost, ferry.StateDeadLettered); e.DeadLetter.Reason != ferry.ReasonBodyMissing {
			t.Errorf("%+v", e.DeadLetter)
		}
		w.balanced()
	}, pulling)
}

func TestPullRoutesTakeNoWorkers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("w1", orders, notes)
		if word := h.hello(orders, notes); word.Routes[orders].Granted || word.Routes[orders].Why == "" || !word.Routes[notes].Granted {
			t.Fatalf("%+v", word.Routes)
		}
		w.send(`1`)
		if got := h.take(orders, 10); len(got) != 0 {
			t.Fatalf("%d messages in the queue", len(got))
		}
		if _, err := w.b.BindRoute(t.Context(), orders, "w1", false, "", "ann"); ferry.CodeOf(err) != ferry.CodeConflict {
			t.Errorf("bound: %v", err)
		}
	}, pulling)
	bubble(t, func(t *testing.T, w *world) {
		if got, err := w.b.Receive(t.Context(), orders, "erp", time.Minute, false); ferry.CodeOf(err) != ferry.CodeConflict {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// From a worker to receivers: what the worker may have written is waited out, and
// its late word counts for what it is.
func TestFromAWorkerToReceivers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("w1", orders)
		h.hello(orders)
		id := w.send(`1`)
		d := h.takeOne(orders)
		w.restart(pulling)
		if got := w.receive(time.Minute); got != nil {
			t.Fatalf("while the worker may still write: %+v", got)
		}
		got := w.receive(time.Hour)
		if got == nil || got.ID != id || !got.Doubt || got.Turn == d.HandOut.Turn {
			t.Fatalf("%+v", got)
		}
		h.tell(h.receipt(d, ferry.Delivered, done()))
		w.state(id, ferry.StateCompleted)
		w.settleLock(got, ferry.LockComplete, ferry.CodeLockLost)
		w.balanced()
	})
}

func TestStateOfAPullRoute(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		info := func() ferry.RouteInfo {
			t.Helper()
			list, err := w.b.RouteInfos(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return list[0]
		}
		id := w.send(`1`)
		if i := info(); i.State != ferry.RouteNoWorker || !i.Pull || i.Worker != "" || i.Hint == "" || len(i.Conditions) != 1 {
			t.Errorf("before anybody asked: %+v", i)
		}
		if e := w.message(id); e.WaitingFor.Reason != "noWorker" {
			t.Errorf("waiting for %+v", e.WaitingFor)
		}
		got := w.receive(0)
		if i := info(); i.State != ferry.RouteRunning || i.Worker != "erp" || i.InQueue != 1 {
			t.Errorf("while it is held: %+v", i)
		}
		w.settleLock(got, ferry.LockUnlock, "")
		time.Sleep(time.Millisecond)
		if e := w.message(id); e.WaitingFor.Reason != "turn" || e.WaitingFor.Text != "erp gave it back" {
			t.Errorf("waiting for %+v", e.WaitingFor)
		}
		time.Sleep(59 * time.Minute)
		w.restart(pulling) // the ledger knows who received last
		if i := info(); i.State != ferry.RouteRunning || i.InQueue != 0 {
			t.Errorf("after a restart: %+v", i)
		}
		for range 3 { // who asks and gets nothing is not in the ledger
			if _, err := w.b.Pause(t.Context(), orders, "month end", time.Now().Add(30*time.Minute), "ada"); err != nil {
				t.Fatal(err)
			}
			if got, err := w.b.Receive(t.Context(), orders, "erp", time.Second, false); got != nil || err != nil {
				t.Fatalf("%+v, %v", got, err)
			}
			time.Sleep(50 * time.Minute)
			w.restart(pulling)
			if i := info(); i.State != ferry.RouteRunning {
				t.Errorf("asked within the hour, and the broker restarted: %+v", i)
			}
		}
		time.Sleep(time.Hour + time.Minute)
		i := info()
		if i.State != ferry.RouteNoWorker || i.Worker != "erp" || !slices.ContainsFunc(i.Conditions, func(c ferry.Condition) bool { return c.Reason != "" && time.Since(c.Since) > time.Hour }) {
			t.Errorf("after an hour: %+v", i)
		}
		s, err := w.b.Status(t.Context())
		if err != nil || len(s.Problems) == 0 {
			t.Errorf("%+v, %v", s.Problems, err)
		}
	}, pulling)
}

func TestTooManyReceivesWait(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, maxWaiting)
		for range maxWaiting {
			go func() {
				_, err := w.b.Receive(ctx, orders, "erp", time.Minute, false)
				ended <- err
			}()
		}
		synctest.Wait()
		if _, err := w.b.Receive(t.Context(), orders, "erp", time.Minute, false); ferry.CodeOf(err) != ferry.CodeTooManyRequests {
			t.Errorf("one more: %v", err)
		}
		cancel()
		for range maxWaiting {
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}
		if got := w.receive(0); got != nil {
			t.Errorf("%+v", got)
		}
	}, pulling)
}

// Locks that end go on as the rule says, under the broker's own clockwork.
func TestLapsedLocksEndInADeadLetter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`1`)
		for i := range 3 {
			got := w.receive(time.Hour)
			if got == nil || got.Deliveries != i+1 {
				t.Fatalf("%d: %+v", i, got)
			}
			if until := w.settleLock(got, ferry.LockRenew, ""); !until.Equal(time.Now().Add(time.Minute)) {
				t.Errorf("renewed until %s", until)
			}
		}
		time.Sleep(2 * time.Minute)
		e := w.state(id, ferry.StateDeadLettered)
		if e.DeadLetter.Reason != ferry.ReasonUndeliverable || !e.DeadLetter.Open {
			t.Errorf("%+v", e.DeadLetter)
		}
		plan, err := w.b.Bulk(t.Context(), "replay", ferry.BulkRequest{All: true, DryRun: true}, "ann")
		if err != nil || plan.MayExist != 1 {
			t.Errorf("%+v, %v", plan, err)
		}
		w.balanced()
	}, pulling)
}
