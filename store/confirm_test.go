package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"ferry"
)

const where = "https://erp.example/operations/1"

func awaitIn(d time.Duration, statusURL string) ferry.Next {
	return ferry.Next{Do: ferry.DoRetry, After: d, Doubt: true, Awaits: true, StatusURL: statusURL}
}

func inProgress(rc *ferry.Receipt) { rc.Effect = ferry.EffectMaybe }

func noAttempt(rc *ferry.Receipt) { rc.Attempts = nil }

func confirm(t testing.TB, l *Ledger, id ferry.ID, generation int, c ferry.Confirmation) (Confirmed, error) {
	t.Helper()
	return l.Confirm(context.Background(), id, ferry.CallOf{Generation: generation}, c, "the destination", false, park)
}

var (
	yes = ferry.Confirmation{Delivered: true, Reference: "INV-5"}
	no  = ferry.Confirmation{Code: "credit", Text: "the supplier is blocked"}
)

// takenBy accepts a message and has the destination take it.
func takenBy(t testing.TB, l *Ledger, statusURL string) ferry.ID {
	t.Helper()
	id := accept(t, l, "x")
	handOut(t, l, testRoute, 10)
	report(t, l, id, ferry.InProgress, awaitIn(time.Minute, statusURL), inProgress)
	return id
}

func wantAwaiting(t testing.TB, l *Ledger, want int64) {
	t.Helper()
	if info, err := l.Route(testRoute); err != nil || info.Awaiting != want {
		t.Fatalf("%d messages are awaited, want %d (%v)", info.Awaiting, want, err)
	}
	must0(t, l.sound())
}

func TestWhereToAskIsOnDiskBeforeTheNextTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		id := takenBy(t, l, where)
		since := time.Now()
		l = reopen(t, l)
		wantAwaiting(t, l, 1)
		e := show(t, l, id)
		if e.WaitingFor.Reason != "confirmation" || e.WaitingFor.Until == nil || e.Awaiting == nil || e.Awaiting.StatusURL != where || e.Awaiting.AskedAt != nil {
			t.Fatalf("shown as %+v, %+v", e.WaitingFor, e.Awaiting)
		}
		time.Sleep(time.Minute)
		ready := handOut(t, l, testRoute, 10)
		if len(ready) != 1 || !ready[0].Awaiting || ready[0].StatusURL != where || !ready[0].Doubt || !ready[0].AwaitedAt.Equal(since) {
			t.Fatalf("handed out %+v", ready)
		}

		// A poll keeps since when, and its story; another address takes its place.
		report(t, l, id, ferry.InProgress, awaitIn(time.Minute, where+"/2"), noAttempt, func(rc *ferry.Receipt) { rc.Text = "still working" })
		e = show(t, l, id)
		if !e.Awaiting.Since.Equal(since) || e.Awaiting.StatusURL != where+"/2" || e.Awaiting.Said != "still working" || e.Awaiting.AskedAt == nil || len(e.Attempts) != 1 {
			t.Fatalf("shown as %+v, %d attempts", e.Awaiting, len(e.Attempts))
		}

		// Overdue by its time to live, it ends nothing: an outcome is open.
		if ids, _, _, err := l.Overdue(testRoute, nil, time.Now().Add(365*24*time.Hour), 100); err != nil || len(ids) != 0 {
			t.Fatalf("overdue %v, %v", ids, err)
		}
		time.Sleep(time.Minute)
		handOut(t, l, testRoute, 10)
		report(t, l, id, ferry.Delivered, ferry.Next{}, noAttempt)
		wantState(t, l, id, ferry.StateCompleted)
		wantAwaiting(t, l, 0)
		if e := show(t, l, id); e.Awaiting != nil || len(e.Attempts) != 1 {
			t.Errorf("completed, and shown as %+v", e.Awaiting)
		}
	})
}

func TestConfirmDelivered(t *testing.T) {
	l := newLedger(t)
	for name, prepare := range map[string]func() ferry.ID{
		"awaited":     func() ferry.ID { return takenBy(t, l, "") },
		"in delivery": func() ferry.ID { id := accept(t, l, "x"); handOut(t, l, testRoute, 10); return id },
		"dead lettered": func() ferry.ID {
			id := takenBy(t, l, "")
			report(t, l, id, ferry.Unknown, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true})
			return id
		},
	} {
		id := prepare()
		for _, repeat := range []bool{false, true} {
			out, err := confirm(t, l, id, 1, yes)
			if err != nil || out.Applied == repeat || out.State != ferry.StateCompleted {
				t.Fatalf("%s: %+v, %v", name, out, err)
			}
		}
		if e := show(t, l, id); e.Reference != "INV-5" || len(e.Acts) != 1 || e.Acts[0].By != "the destination" {
			t.Errorf("%s: %+v", name, e)
		}
		_, err := confirm(t, l, id, 1, no)
		wantCode(t, err, ferry.CodeConflict)
		// The receipt of the turn comes late, and changes nothing.
		report(t, l, id, ferry.InProgress, awaitIn(time.Minute, ""), inProgress)
		wantState(t, l, id, ferry.StateCompleted)
	}
	wantAwaiting(t, l, 0)

	gone := takenBy(t, l, "")
	must0(t, l.Discard(t.Context(), gone, "not wanted", "ann"))
	wantAwaiting(t, l, 0)
	if out, err := confirm(t, l, gone, 1, yes); err != nil || !out.Conflict || out.State != ferry.StateDiscarded {
		t.Fatalf("discarded: %+v, %v", out, err)
	}
	if e := show(t, l, gone); e.Conflict == "" {
		t.Error("the conflict is not shown")
	}
	must0(t, l.Restore(t.Context(), gone, "", "ann"))
	wantAwaiting(t, l, 1) // it is asked again, not sent
	_, err := confirm(t, l, ferry.NewID(time.Now()), 1, yes)
	wantCode(t, err, ferry.CodeMessageNotFound)
}

func TestConfirmRejected(t *testing.T) {
	l := newLedger(t)
	id := takenBy(t, l, "")
	for _, repeat := range []bool{false, true} {
		out, err := confirm(t, l, id, 1, no)
		if err != nil || out.Applied == repeat || out.Kept || out.State != ferry.StateDeadLettered {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	wantAwaiting(t, l, 0)
	e := show(t, l, id)
	if d := e.DeadLetter; d.Reason != ferry.ReasonRejected || d.Code != "credit" || d.Description != "the supplier is blocked" || rec(t, l, id).Doubt {
		t.Fatalf("set aside as %+v", d)
	}
	_, err := confirm(t, l, id, 1, yes) // it cannot be both
	wantCode(t, err, ferry.CodeConflict)

	// Sent again: the word on the earlier generation rejects nothing.
	must0(t, l.Replay(t.Context(), id, nil, "", "", "ann"))
	handOut(t, l, testRoute, 10)
	report(t, l, id, ferry.InProgress, awaitIn(time.Minute, ""), inProgress)
	_, err = confirm(t, l, id, 1, no)
	wantCode(t, err, ferry.CodeConflict)
	wantState(t, l, id, ferry.StateRetrying)
	if out, err := confirm(t, l, id, 1, yes); err != nil || out.State != ferry.StateCompleted { // a fact, of whichever
		t.Fatalf("%+v, %v", out, err)
	}

	// What nobody sent, nobody can have rejected.
	fresh := accept(t, l, "y")
	_, err = confirm(t, l, fresh, 0, no)
	wantCode(t, err, ferry.CodeConflict)

	// An open outcome that was given up is known after all.
	unknown := takenBy(t, l, "")
	report(t, l, unknown, ferry.Unknown, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}, noAttempt)
	if out, err := confirm(t, l, unknown, 1, no); err != nil || !out.Applied || out.Reason != ferry.ReasonRejected {
		t.Fatalf("%+v, %v", out, err)
	}
	if r := rec(t, l, unknown); r.Doubt || r.Dead.Reason != ferry.ReasonRejected {
		t.Errorf("set aside as %+v", r.Dead)
	}
	failed := accept(t, l, "z")
	report(t, l, failed, ferry.Failed, setAside(ferry.ReasonAttemptsExhausted))
	_, err = confirm(t, l, failed, 1, no)
	wantCode(t, err, ferry.CodeConflict)
	must0(t, l.sound())
}

// A rejection speaks of one call. Of another, which the message was sent again by,
// it says nothing: what that one left open stays open.
func TestARejectionSpeaksOfItsCall(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := openIn(t, dir, Options{})
		defer func() { must0(t, l.Close()) }()
		// Sent again in a later turn of the generation: a word on the first call says
		// nothing of the second, and what is open after it stays so.
		again := takenBy(t, l, "")
		handOut(t, l, testRoute, 10)
		report(t, l, again, ferry.InProgress, awaitIn(time.Minute, ""), inProgress)
		first, second := ferry.CallOf{Generation: 1, Turn: 1}, ferry.CallOf{Generation: 1, Turn: 2}
		_, err := l.Confirm(t.Context(), again, first, no, "the destination", false, park)
		wantCode(t, err, ferry.CodeConflict)
		wantState(t, l, again, ferry.StateRetrying)
		if out, err := l.Confirm(t.Context(), again, second, no, "the destination", false, park); err != nil || out.Reason != ferry.ReasonRejected || rec(t, l, again).Doubt {
			t.Fatalf("%+v, %v", out, err)
		}
		// The same while the second call is out: the document may come from it.
		again = takenBy(t, l, "")
		time.Sleep(time.Minute)
		handOut(t, l, testRoute, 10)
		if out, err := l.Confirm(t.Context(), again, first, no, "the destination", false, park); err != nil || !out.Kept {
			t.Fatalf("%+v, %v", out, err)
		}
		report(t, l, again, ferry.InProgress, awaitIn(time.Minute, ""), inProgress)
		if r := rec(t, l, again); r.State == ferry.StateDeadLettered && !r.Doubt {
			t.Fatalf("the second call is forgotten: %+v", r)
		}
		if out, err := l.Confirm(t.Context(), again, second, yes, "the destination", false, park); err != nil || out.State != ferry.StateCompleted {
			t.Fatalf("a document of the second call: %+v, %v", out, err)
		}
	})
}

// The destination is faster than the receipt: its word is kept, over a restart.
func TestARejectionBeforeTheReceiptIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		verdict ferry.VerdictKind
		next    ferry.Next
		state   ferry.State
		doubt   bool
	}{
		"taken":      {ferry.InProgress, awaitIn(time.Minute, ""), ferry.StateDeadLettered, false},
		"unknown":    {ferry.Unknown, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true}, ferry.StateDeadLettered, false},
		"held":       {ferry.Unknown, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}, ferry.StateDeadLettered, false},
		"has it":     {ferry.Delivered, ferry.Next{}, ferry.StateCompleted, false},
		"gone wrong": {ferry.Failed, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Spends: 1}, ferry.StateDeadLettered, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			id := accept(t, l, "x")
			handOut(t, l, testRoute, 10)
			for range 2 {
				out, err := confirm(t, l, id, 1, no)
				if err != nil || out.Applied || !out.State.Pending() {
					t.Fatalf("%+v, %v", out, err)
				}
			}
			wantAwaiting(t, l, 0)
			_, err := confirm(t, l, id, 1, yes)
			wantCode(t, err, ferry.CodeConflict)
			l = reopen(t, l)
			wantState(t, l, id, ferry.StateQueued)
			report(t, l, id, c.verdict, c.next)
			wantState(t, l, id, c.state)
			if r := rec(t, l, id); r.Doubt != c.doubt || c.state == ferry.StateDeadLettered && (r.Dead.Reason != ferry.ReasonRejected || r.Dead.Code != "credit") {
				t.Errorf("record %+v, %+v", r, r.Dead)
			}
			wantAwaiting(t, l, 0)
		})
	}
}

// confirm is what a destination, or somebody with a key, says in a random history.
func (m *machine) confirm(rt *rapid.T) {
	id, mm := m.pick(rt)
	if mm.gone {
		rt.Skip("removed")
	}
	c := ferry.Confirmation{Delivered: rapid.Bool().Draw(rt, "delivered"), Reference: "OK-9"}
	generation := rapid.IntRange(0, mm.generation).Draw(rt, "generation")
	r := m.record(rt, id)
	said, dead, held := r.rejection() != nil, mm.state == ferry.StateDeadLettered, m.held(mm)
	_, err := m.l.Confirm(context.Background(), id, ferry.CallOf{Generation: generation}, c, "the destination", false, onwards)
	want := ferry.Code("")
	switch {
	case c.Delivered && said && mm.state != ferry.StateDiscarded && !r.Doubt:
		want = ferry.CodeConflict
	case c.Delivered:
		if mm.state == ferry.StateAccepted || dead {
			mm.state, mm.reference, mm.holder = ferry.StateCompleted, c.Reference, nil
		}
	case mm.state == ferry.StateCompleted || mm.state == ferry.StateDiscarded:
		want = ferry.CodeConflict
	case said:
	case generation != 0 && generation != mm.generation:
		want = ferry.CodeConflict
	case dead:
		if r.Dead.Reason != ferry.ReasonRejected && !r.Doubt {
			want = ferry.CodeConflict
		}
	case held:
	case r.awaits() || r.Doubt:
		mm.state = ferry.StateDeadLettered
	default:
		want = ferry.CodeConflict
	}
	if ferry.CodeOf(err) != want {
		rt.Fatalf("confirm %+v of generation %d on %+v: %v, want code %q", c, generation, r, err, want)
	}
}

// rejected says whether a rejection that was kept ends the message with a receipt:
// it speaks of no earlier call.
func (m *machine) rejected(rt *rapid.T, rc *ferry.Receipt) bool {
	r := m.record(rt, rc.ID)
	return r.rejection() != nil && (len(rc.Attempts) == 0 || r.Awaiting.Turn == rc.Turn)
}
