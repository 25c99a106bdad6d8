package broker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

func TestAReceiptCountsOnceAndOnlyForItsTurn(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		d := h.takeOne(orders)
		rc := h.receipt(d, ferry.Failed, retryAfter(time.Minute))
		for range 3 {
			h.tell(rc)
		}
		e := w.state(id, ferry.StateRetrying)
		if len(e.Attempts) != 1 {
			t.Fatalf("%d attempts for one call", len(e.Attempts))
		}
		time.Sleep(2 * time.Minute)
		second := h.takeOne(orders)
		if second.HandOut.Turn != 2 || second.HandOut.Spent != 1 {
			t.Fatalf("second turn %+v", second.HandOut)
		}
		// A late "no" of the first turn changes nothing; a late "yes" is a fact.
		h.tell(h.receipt(d, ferry.Rejected, rejected()))
		w.state(id, ferry.StateQueued)
		h.tell(h.receipt(d, ferry.Delivered, done()))
		w.state(id, ferry.StateCompleted)
		h.tell(h.receipt(second, ferry.Rejected, rejected()))
		w.state(id, ferry.StateCompleted)
		w.balanced()
	})
}

func TestAReceiptOfAnotherWorkerIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		d := h.takeOne(orders)
		thief := w.worker("two", notes)
		thief.hello(notes)
		forged := thief.receipt(d, ferry.Delivered, done())
		thief.tell(forged)
		w.state(id, ferry.StateQueued)
		forged.Worker = "one"
		thief.tell(forged)
		w.state(id, ferry.StateQueued)
		forged.Worker, forged.Route = "two", notes // which it may speak for, but the message is another's
		thief.tell(forged)
		if e := w.state(id, ferry.StateQueued); len(e.Attempts) != 0 {
			t.Errorf("attempts of another route's worker were kept: %+v", e.Attempts)
		}
		h.report(d, ferry.Delivered, done())
		w.state(id, ferry.StateCompleted)
	})
}

func TestReceiptsAreConfirmedAfterTheirCommit(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		var confirmed []queue.Confirmed
		stop, err := h.q.Listen(t.Context(), func(s queue.Signal) { confirmed = append(confirmed, s.Confirmed...) })
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		id := w.send(`{}`)
		h.report(h.takeOne(orders), ferry.Delivered, done())
		if len(confirmed) != 1 || confirmed[0].ID != id || confirmed[0].Turn != 1 {
			t.Fatalf("confirmed %+v", confirmed)
		}
	})
}

func TestAnotherInboxIsRefusedUntilItIsBound(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		old := h.takeOne(orders)
		other := w.worker("two", orders)
		welcome := other.hello(orders)
		if r := welcome.Routes[orders]; r.Granted || !strings.Contains(r.Why, "broker workers bind two orders") {
			t.Fatalf("another inbox: %+v", r)
		}
		if _, err := w.b.BindRoute(t.Context(), orders, "two", false, "one is lost", "op"); err != nil {
			t.Fatalf("BindRoute: %v", err)
		}
		if r := other.hello(orders).Routes[orders]; !r.Granted {
			t.Fatalf("after the binding: %+v", r)
		}
		if r := h.hello(orders).Routes[orders]; r.Granted {
			t.Fatal("the old inbox is granted still")
		}
		// What the old inbox may have begun comes as the next turn, in doubt, and not
		// before its calls can no longer take effect.
		time.Sleep(80 * time.Second)
		if got := other.take(orders, 1); len(got) != 0 {
			t.Fatalf("handed over too early: %+v", got[0].HandOut)
		}
		time.Sleep(20 * time.Second)
		d := other.takeOne(orders)
		if d.HandOut.ID != id || d.HandOut.Turn != 2 || !d.HandOut.Elsewhere || !d.HandOut.Doubt || d.HandOut.Inbox != other.inbox {
			t.Fatalf("taken over as %+v", d.HandOut)
		}
		// The old worker's "no" counts no more, its "yes" would.
		h.tell(h.receipt(old, ferry.Rejected, rejected()))
		w.state(id, ferry.StateQueued)
		other.report(d, ferry.Delivered, done())
		w.state(id, ferry.StateCompleted)
		w.balanced()
	})
}

// The bound worker is heard, but lost its inbox: nothing is delivered until the
// route is bound again, and the route says so.
func TestARouteWhoseWorkerLostItsInboxSaysSo(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		state := func() ferry.RouteInfo {
			t.Helper()
			infos, err := w.b.RouteInfos(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return infos[0]
		}
		h := w.worker("one", orders)
		h.hello(orders)
		if r := state(); r.State != ferry.RouteRunning {
			t.Fatalf("bound: %+v", r)
		}
		h.inbox = "a-new-one"
		h.hello(orders)
		if r := state(); r.State != ferry.RouteNoWorker || !strings.Contains(r.Conditions[0].Reason, "another inbox") {
			t.Fatalf("its inbox is lost: %+v", r)
		}
		if _, err := w.b.BindRoute(t.Context(), orders, "one", false, "the disk is lost", "op"); err != nil {
			t.Fatal(err)
		}
		if r := state(); r.State != ferry.RouteRunning {
			t.Fatalf("bound again: %+v", r)
		}
		h.inbox = "a-new-one"
		h.hello(notes)
		if r := state(); r.State != ferry.RouteNoWorker || !strings.Contains(r.Conditions[0].Reason, "any more") {
			t.Fatalf("configured for another route: %+v", r)
		}
	})
}

func TestHelloIsRefusedWithASentence(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.name = "somebody-else"
		if welcome := h.hello(orders); !strings.Contains(welcome.Error, "belongs to worker one") {
			t.Fatalf("another name: %+v", welcome)
		}
		h.name = "one"
		welcome := h.hello(orders, notes, "unknown")
		if welcome.Routes[notes].Granted || welcome.Routes["unknown"].Granted || !welcome.Routes[orders].Granted {
			t.Fatalf("rights: %+v", welcome.Routes)
		}
		if _, err := w.b.RevokeWorker(t.Context(), "one", "", "op"); err != nil {
			t.Fatal(err)
		}
		if _, err := h.q.Hello(t.Context(), queue.Hello{Worker: "one", Inbox: h.inbox}); err == nil {
			t.Fatal("a revoked worker was answered")
		}
	})
}

func TestASilentWorkerIsACondition(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		if info, err := w.b.routeInfo(orders); err != nil || info.State != ferry.RouteRunning || info.Worker != "one" {
			t.Fatalf("%v %+v", err, info)
		}
		w.send(`{}`)
		time.Sleep(31 * time.Second)
		info, err := w.b.routeInfo(orders)
		if err != nil || info.State != ferry.RouteNoWorker {
			t.Fatalf("%v %+v", err, info)
		}
		s, err := w.b.Status(t.Context())
		if err != nil || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "noWorker") || s.Waiting != 1 {
			t.Fatalf("%v %+v", err, s)
		}
	})
}

func TestBulkReplayGoesOnAfterARestart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		var ids []ferry.ID
		for range 7 {
			ids = append(ids, w.send(`{}`))
		}
		for n := 0; n < len(ids); {
			for _, d := range h.take(orders, 3) {
				next := rejected()
				if d.HandOut.ID == ids[6] {
					next.Reason = ferry.ReasonOutcomeUnknown
				}
				h.report(d, ferry.Rejected, next, func(rc *ferry.Receipt) { rc.Text = "field 12 is missing" })
				n++
			}
		}
		dry, err := w.b.Bulk(t.Context(), "replay", ferry.BulkRequest{Filter: ferry.DeadLetterFilter{Route: orders}, DryRun: true}, "op")
		if err != nil || dry.Count != 6 || dry.LeftOut != 1 || dry.OperationID != "" {
			t.Fatalf("dry run: %v %+v", err, dry)
		}
		if _, err := w.b.Bulk(t.Context(), "replay", ferry.BulkRequest{}, "op"); ferry.CodeOf(err) != ferry.CodeBadFilter {
			t.Fatalf("no filter: %v", err)
		}
		five := 5
		if _, err := w.b.Bulk(t.Context(), "replay", ferry.BulkRequest{All: true, Expect: &five}, "op"); ferry.CodeOf(err) != ferry.CodeCountChanged {
			t.Fatalf("another count: %v", err)
		}
		// An operation whose first steps an earlier run did.
		op := ferry.Operation{ID: ferry.NewID(time.Now()).String(), Act: "replay", By: "op", CreatedAt: time.Now()}
		selection, err := w.b.ledger.SelectIDs(ids[:6], func(ferry.State, *ferry.DeadLetter) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.b.Replay(t.Context(), ids[0], nil, "", "", "op"); err != nil {
			t.Fatal(err)
		}
		if err := w.b.ledger.StartOperation(t.Context(), op, selection); err != nil {
			t.Fatal(err)
		}
		h.close()
		w.restart()
		synctest.Wait()
		got, err := w.b.Operation(t.Context(), op.ID)
		if err != nil || got.State != "done" || got.Done != 5 || got.Skipped != 1 {
			t.Fatalf("after the restart: %v %+v", err, got)
		}
		groups, err := w.b.Groups(t.Context(), ferry.DeadLetterFilter{})
		if err != nil || len(groups) != 1 || groups[0].Count != 1 || groups[0].Reason != ferry.ReasonOutcomeUnknown {
			t.Fatalf("groups: %v %+v", err, groups)
		}
		w.balanced()
	})
}

func TestActsSayWhatTheyNeed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		for name, err := range map[string]error{
			"replay":  second(w.b.Replay(t.Context(), id, nil, "", "", "op")),
			"accept":  second(w.b.AcceptDeadLetter(t.Context(), id, "R", "there", "op")),
			"restore": second(w.b.Restore(t.Context(), id, "", "op")),
		} {
			if code := ferry.CodeOf(err); code != ferry.CodeNotDeadLettered && code != ferry.CodeNotDiscarded {
				t.Errorf("%s of a pending message: %v", name, err)
			}
		}
		h.report(h.takeOne(orders), ferry.Rejected, rejected())
		for name, err := range map[string]error{
			"accept":  second(w.b.AcceptDeadLetter(t.Context(), id, "R", "", "op")),
			"discard": second(w.b.Discard(t.Context(), id, "", "op")),
		} {
			if ferry.CodeOf(err) != ferry.CodeNoteRequired {
				t.Errorf("%s without a note: %v", name, err)
			}
		}
		if err := second(w.b.Replay(t.Context(), id, make([]byte, 2<<20), "", "", "op")); ferry.CodeOf(err) != ferry.CodeTooLarge {
			t.Errorf("an edit beyond the route's limit: %v", err)
		}
		e, err := w.b.AcceptDeadLetter(t.Context(), id, "INV-7", "found it by hand", "op")
		if err != nil || e.State != ferry.StateCompleted || e.Reference != "INV-7" {
			t.Fatalf("accept: %v %+v", err, e)
		}
		audit, err := w.b.Audit(t.Context(), 0, time.Time{}, 100)
		if err != nil || len(audit) == 0 || audit[len(audit)-1].Act != "accept" || audit[len(audit)-1].Note == "" {
			t.Fatalf("audit: %v %+v", err, audit)
		}
		w.balanced()
	})
}

func TestAReceiptIsHeldToTheLimits(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{}`)
		h.report(h.takeOne(orders), ferry.Rejected, rejected(), func(rc *ferry.Receipt) {
			rc.Text = strings.Repeat("ä", ferry.MaxAttemptText)
			rc.Attempts[0].Text = rc.Text
			rc.Attempts[0].Fields = make([]ferry.FieldError, 3*ferry.MaxAttemptFields)
			rc.Attempts = append(rc.Attempts, rc.Attempts[0])
		})
		e := w.state(id, ferry.StateDeadLettered)
		if n := len(e.DeadLetter.Description); n == 0 || n > ferry.MaxAttemptText {
			t.Errorf("a description of %d bytes is kept", n)
		}
		if len(e.Attempts) != 1 || len(e.Attempts[0].Text) > ferry.MaxAttemptText || len(e.Attempts[0].Fields) != ferry.MaxAttemptFields {
			t.Errorf("%d attempts are kept, with %d fields", len(e.Attempts), len(e.Attempts[0].Fields))
		}
	})
}

func TestACallbackThatNobodyWouldMakeIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		_, err := w.b.Accept(t.Context(), ferry.Message{Route: orders, Body: []byte(`{}`), CallbackURL: "https://flow.example/x"})
		if ferry.CodeOf(err) != ferry.CodeBadCallbackURL {
			t.Fatalf("Accept: %v", err)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestOrderByTakesTheKeyFromTheBody(t *testing.T) {
	byInvoice := func(o *Options) {
		o.Routes = []ferry.Route{{Name: orders, OrderBy: ".invoice", SearchKeys: []string{".number"}}, {Name: notes}}
	}
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		a := w.send(`{"invoice":"A","number":"N-1"}`)
		behind := w.send(`{"invoice":"A","number":"N-2"}`)
		w.send(`{"invoice":"B"}`)
		got := h.take(orders, 10)
		if len(got) != 2 {
			t.Fatalf("%d handed out, want the heads of two keys", len(got))
		}
		if e := w.message(behind); e.WaitingFor == nil || e.WaitingFor.Reason != "orderingKey" || e.WaitingFor.Behind == nil || *e.WaitingFor.Behind != a {
			t.Fatalf("the follower waits for %+v", e.WaitingFor)
		}
		h.report(got[0], ferry.Delivered, done())
		if d := h.takeOne(orders); d.HandOut.ID != behind {
			t.Fatalf("released %s", d.HandOut.ID)
		}
		if _, err := w.b.Accept(t.Context(), ferry.Message{Route: orders, Body: []byte("<xml/>")}); ferry.CodeOf(err) != ferry.CodeBadOrderingKey {
			t.Fatalf("a body without the key: %v", err)
		}
		page, err := w.b.Messages(t.Context(), ferry.MessageFilter{Q: "N-2"})
		if err != nil || len(page.Items) != 1 || page.Items[0].ID != behind {
			t.Fatalf("search: %v %+v", err, page.Items)
		}
	}, byInvoice)
}
