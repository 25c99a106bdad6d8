package broker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// setAsideMany makes n dead letters of the route orders.
func (w *world) setAsideMany(h *hand, n int, text string) (ids []ferry.ID) {
	w.t.Helper()
	for range n {
		ids = append(ids, w.send(`{}`))
	}
	w.failAll(h, n, text)
	return ids
}

// failAll has the next n deliveries fail with an error.
func (w *world) failAll(h *hand, n int, text string) {
	w.t.Helper()
	for n > 0 {
		list := h.take(orders, min(n, 3))
		if len(list) == 0 {
			w.t.Fatalf("%d more deliveries are missing", n)
		}
		for _, d := range list {
			h.report(d, ferry.Rejected, rejected(), func(rc *ferry.Receipt) { rc.Text = text })
		}
		n -= len(list)
	}
}

func (w *world) operation(id string) ferry.Operation {
	w.t.Helper()
	synctest.Wait()
	op, err := w.b.Operation(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return op
}

func (w *world) bulk(act string, req ferry.BulkRequest) ferry.BulkAnswer {
	w.t.Helper()
	answer, err := w.b.Bulk(w.t.Context(), act, req, "ann")
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// A canary waits with its messages, and says so; it stops the rest when they fail as
// before, over a restart too, and a person has it go on.
func TestACanaryStopsAndGoesOn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		w.setAsideMany(h, 12, "field 7 is missing")
		if _, err := w.b.Pause(t.Context(), orders, "month end", time.Time{}, "ann"); err != nil {
			t.Fatal(err)
		}
		id := w.bulk("replay", ferry.BulkRequest{All: true, Canary: 3, Note: "try"}).OperationID
		synctest.Wait()
		time.Sleep(time.Second)
		op := w.operation(id)
		if op.Done != 3 || !strings.Contains(op.Waiting, "3 of 3 canary messages have not ended") || !strings.Contains(op.Waiting, "waits for: paused") {
			t.Fatalf("while the route is paused: %+v", op)
		}
		time.Sleep(time.Hour)
		if op = w.operation(id); op.Done != 3 || op.State != ferry.OperationRunning {
			t.Fatalf("an hour later: %+v", op)
		}
		if _, err := w.b.Resume(t.Context(), orders, "", "ann"); err != nil {
			t.Fatal(err)
		}
		h.hello(orders)
		w.failAll(h, 3, "field 9 is missing")
		if op = w.operation(id); op.State != ferry.OperationStopped || op.Done != 3 || op.FailedAgain != 3 {
			t.Fatalf("after it failed as before: %+v", op)
		}
		s, err := w.b.Status(t.Context())
		if err != nil || len(s.Operations) != 1 || !strings.Contains(strings.Join(s.Problems, "\n"), "is stopped: group") || !strings.Contains(strings.Join(s.Problems, "\n"), "broker operations show "+id) {
			t.Errorf("status: %q %+v, %v", s.Problems, s.Operations, err)
		}
		h.close()
		w.restart()
		if op = w.operation(id); op.State != ferry.OperationStopped {
			t.Fatalf("after a restart: %+v", op)
		}
		if _, err := w.b.ContinueOperation(t.Context(), id, "field added", "bob"); err != nil {
			t.Fatal(err)
		}
		if op = w.operation(id); op.State != ferry.OperationDone || op.Done != 12 {
			t.Errorf("after it went on: %+v", op)
		}
		acts := map[string]string{}
		entries, err := w.b.Audit(t.Context(), 0, time.Time{}, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			acts[e.Act] = e.By
		}
		if acts["replay in bulk"] != "ann" || acts["operations stop"] != "broker" || acts["operations continue"] != "bob" {
			t.Errorf("audit: %v", acts)
		}
		w.balanced()
	})
}

// An operation at a slow rate does not hold up another.
func TestOperationsRunBesideEachOther(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		ids := w.setAsideMany(h, 9, "field 7 is missing")
		began := time.Now()
		slow := w.bulk("replay", ferry.BulkRequest{IDs: ids[:6], Rate: ferry.Rate{Calls: 6, Per: time.Minute}}).OperationID
		fast := w.bulk("discard", ferry.BulkRequest{IDs: ids[6:], Note: "tests"}).OperationID
		if op := w.operation(fast); op.State != ferry.OperationDone || op.Done != 3 {
			t.Errorf("%+v", op)
		}
		if op := w.operation(slow); op.Done != 1 || op.ExpectedEnd == nil || op.ExpectedEnd.Before(began.Add(45*time.Second)) {
			t.Errorf("%+v", op)
		}
		time.Sleep(55 * time.Second)
		if op := w.operation(slow); op.State != ferry.OperationDone || op.Done != 6 {
			t.Errorf("%+v", op)
		}
		w.balanced()
	})
}

func TestADiscardInBulkIsUndone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		ids := w.setAsideMany(h, 4, "field 7 is missing")
		id := w.bulk("discard", ferry.BulkRequest{Filter: ferry.DeadLetterFilter{Route: orders}, Note: "tests"}).OperationID
		w.operation(id)
		by := w.bulk("restore", ferry.BulkRequest{Filter: ferry.DeadLetterFilter{Route: orders, Reason: ferry.ReasonRejected}, DryRun: true})
		if by.Count != 4 || by.ByRoute[orders][ferry.ReasonRejected] != 4 || by.OperationID != "" {
			t.Errorf("by a filter: %+v", by)
		}
		if by = w.bulk("restore", ferry.BulkRequest{Filter: ferry.DeadLetterFilter{Route: notes}}); by.Count != 0 {
			t.Errorf("by another filter: %+v", by)
		}
		undo := w.bulk("restore", ferry.BulkRequest{Operation: id}).OperationID
		if op := w.operation(undo); op.Done != 4 || op.Undoes != id {
			t.Errorf("%+v", op)
		}
		for _, one := range ids {
			w.state(one, ferry.StateDeadLettered)
		}
		_, err := w.b.Bulk(t.Context(), "restore", ferry.BulkRequest{Operation: id}, "ann")
		if ferry.CodeOf(err) != ferry.CodeNotDiscarded || !strings.Contains(err.Error(), "restored already") {
			t.Errorf("once more: %v", err)
		}
		for name, req := range map[string]ferry.BulkRequest{
			"a canary of a discard": {All: true, Canary: 1, Note: "x"}, "too many": {All: true, Canary: ferry.MaxCanary + 1},
			"an operation to replay": {Operation: id},
		} {
			act := "replay"
			if req.Note != "" {
				act = "discard"
			}
			if _, err := w.b.Bulk(t.Context(), act, req, "ann"); err == nil {
				t.Errorf("%s is taken", name)
			}
		}
		if _, err := w.b.Restore(t.Context(), ferry.NewID(time.Now()), "", "ann"); ferry.CodeOf(err) != ferry.CodeMessageNotFound || !strings.Contains(err.Error(), "retention") {
			t.Errorf("what is gone: %v", err)
		}
		w.balanced()
	})
}

// A discard is taken back as a whole while its messages are kept: by the longest
// retention of a route, and no less than the window in which repeats are known.
func TestADiscardIsUndoneWhileItsMessagesAreKept(t *testing.T) {
	for name, test := range map[string]struct{ all, own, window time.Duration }{
		"a route keeps them longer":  {all: time.Hour, own: 6 * time.Hour, window: time.Hour},
		"the window keeps them":      {all: time.Hour, window: 6 * time.Hour},
		"a route keeps them shorter": {all: 6 * time.Hour, own: time.Hour, window: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				h := w.worker("one", orders, notes)
				h.hello(orders, notes)
				w.setAsideMany(h, 2, "field 7 is missing")
				w.send(`{}`, func(m *ferry.Message) { m.Route = notes })
				h.report(h.takeOne(notes), ferry.Rejected, rejected())
				id := w.bulk("discard", ferry.BulkRequest{All: true, Note: "tests"}).OperationID
				w.operation(id)
				time.Sleep(4 * time.Hour)
				page, err := w.b.Messages(t.Context(), ferry.MessageFilter{State: ferry.StateDiscarded})
				if err != nil {
					t.Fatal(err)
				}
				kept, undo := len(page.Items), ferry.BulkRequest{Operation: id, DryRun: true}
				if got := w.bulk("restore", undo); kept == 0 || got.Count != kept || got.Gone != 3-kept {
					t.Errorf("%d messages are kept: %+v", kept, got)
				}
				time.Sleep(4 * time.Hour)
				if got := w.bulk("restore", undo); got.Count != 0 || got.Gone != 3 {
					t.Errorf("after every retention: %+v", got)
				}
				w.balanced()
			}, func(o *Options) {
				o.IdempotencyWindow, o.SilentAfter = test.window, time.Hour
				o.Retention = ferry.Retention{Discarded: test.all}
				o.Routes = []ferry.Route{{Name: orders, Retention: ferry.Retention{Discarded: test.own}}, {Name: notes}}
			})
		})
	}
}
