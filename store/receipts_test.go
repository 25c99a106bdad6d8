package store

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

func TestReceiptsAreFacts(t *testing.T) {
	l := newLedger(t)

	// A repeat counts once, and a stale turn is only recorded.
	id := accept(t, l, "x")
	handOut(t, l, testRoute, 10)
	wantState(t, l, id, ferry.StateQueued)
	if out := report(t, l, id, ferry.Failed, retryIn(time.Hour)); !out.Applied || out.State != ferry.StateRetrying {
		t.Fatalf("a failure: %+v", out)
	}
	stale := func(rc *ferry.Receipt) { rc.Turn, rc.Attempts[0].Turn = 1, 1 }
	if out := report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected), stale); out.Applied {
		t.Errorf("a stale receipt was applied: %+v", out)
	}
	if r := rec(t, l, id); r.Turn != 2 || r.Spent != 1 || r.Attempts != 1 || r.Due < time.Now().Add(59*time.Minute).UnixNano() {
		t.Errorf("after one failure: %+v", r)
	}

	// A dead letter completes by a late fact; completed absorbs the rest.
	report(t, l, id, ferry.Failed, setAside(ferry.ReasonAttemptsExhausted))
	wantState(t, l, id, ferry.StateDeadLettered)
	if out := report(t, l, id, ferry.Delivered, ferry.Next{}, stale); !out.Applied || out.State != ferry.StateCompleted {
		t.Errorf("delivered after all: %+v", out)
	}
	report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected))
	if e := show(t, l, id); e.State != ferry.StateCompleted || e.Reference != "INV-1" || e.DeadLetter != nil {
		t.Errorf("completed: %+v", e)
	}

	// A turn without a call leaves its words, for as long as they are the last.
	asked := accept(t, l, "asked")
	handOut(t, l, testRoute, 10)
	report(t, l, asked, ferry.Unavailable, ferry.Next{Do: ferry.DoRetry, After: time.Hour, Doubt: true}, func(rc *ferry.Receipt) {
		rc.Attempts, rc.Text = nil, "the lookup was not answered: "+strings.Repeat("é", 400)
	})
	if w := show(t, l, asked).WaitingFor; !w.Open || !strings.HasPrefix(w.Text, "the lookup was not answered: éé") || !strings.HasSuffix(w.Text, "é…") || len(w.Text) > maxSaid+3 {
		t.Errorf("waits for %+v", w)
	}
	report(t, l, asked, ferry.Failed, retryIn(time.Hour))
	if w := show(t, l, asked).WaitingFor; w.Open || w.Text != "" {
		t.Errorf("after a call it waits for %+v", w)
	}

	// On a discarded message a fact is a conflict.
	gone := deadLetter(t, l, "y")
	must0(t, l.Discard(t.Context(), gone, "not wanted", "ann"))
	if out := report(t, l, gone, ferry.Delivered, ferry.Next{}); !out.Conflict || out.Applied || out.State != ferry.StateDiscarded {
		t.Errorf("delivered though discarded: %+v", out)
	}
	if e := show(t, l, gone); e.Conflict == "" {
		t.Error("the conflict is not shown")
	}
	if out := report(t, l, gone, ferry.Delivered, ferry.Next{}); out.Conflict {
		t.Error("the same conflict is told twice")
	}

	// A message that retention removed.
	unknown := ferry.Receipt{ID: ferry.NewID(time.Now()), Turn: 1, Verdict: ferry.Delivered}
	if out, err := l.ApplyReceipts(t.Context(), []ferry.Receipt{unknown}, park); err != nil || out[0].Applied || out[0].State != "" {
		t.Errorf("of an unknown message: %+v, %v", out, err)
	}
	must0(t, l.sound())
}

// Rejected while an earlier outcome was open: its attempts are used up so that
// the destination is asked first. It ends for what the destination said.
func TestRejectedWithAnOpenOutcomeEndsAsRejected(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, "x")
	handOut(t, l, testRoute, 10)
	report(t, l, id, ferry.Rejected, ferry.Next{Do: ferry.DoRetry, Spends: 8, Doubt: true}, func(rc *ferry.Receipt) {
		rc.Attempts[0].Code, rc.Attempts[0].Text, rc.Attempts[0].Generation = "E17", "no such supplier", 1
	})
	report(t, l, id, ferry.Failed, setAside(ferry.ReasonAttemptsExhausted), func(rc *ferry.Receipt) {
		rc.Attempts, rc.Text = nil, "the destination does not have it"
	})
	if d := show(t, l, id).DeadLetter; d == nil || d.Reason != ferry.ReasonRejected || d.Code != "E17" || d.Description != "no such supplier" {
		t.Errorf("the dead letter: %+v", d)
	}
	must0(t, l.sound())
}

// A receipt that leaves an outcome open comes between a person's look and the
// discard: the answer says that the destination may have it.
func TestDiscardedInDoubtIsShown(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, "x")
	handOut(t, l, testRoute, 10)
	report(t, l, id, ferry.Unknown, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true})
	must0(t, l.Discard(t.Context(), id, "not wanted", "ann"))
	if e := show(t, l, id); e.State != ferry.StateDiscarded || e.Conflict != mayHaveIt {
		t.Errorf("discarded: %+v", e)
	}
	must0(t, l.Restore(t.Context(), id, "", "ann"))
	if e := show(t, l, id); e.Conflict != "" || e.WaitingFor == nil || !e.WaitingFor.Open {
		t.Errorf("restored: %+v", e)
	}
	must0(t, l.Discard(t.Context(), id, "not wanted", "ann"))
	if out := report(t, l, id, ferry.Delivered, ferry.Next{}); !out.Conflict {
		t.Errorf("delivered though discarded: %+v", out)
	}
	must0(t, l.sound())
}

// A claim was taken over: that outcome costs nothing. The next worker's own call,
// which nobody answered, does: else its attempts would never be used up.
func TestACallAfterATakeOverCostsAnAttempt(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, "x")
	must0(t, l.Bind(t.Context(), testRoute, Binding{Worker: "one", Inbox: "1"}, false, "", "ann"))
	handOut(t, l, testRoute, 10)
	must0(t, l.Bind(t.Context(), testRoute, Binding{Worker: "two", Inbox: "2"}, true, "", "ann"))
	if r := rec(t, l, id); !r.Elsewhere || !r.Doubt {
		t.Fatalf("taken over: %+v", r)
	}
	report(t, l, id, ferry.NotTried, ferry.Next{Do: ferry.DoRetry, Doubt: true}, func(rc *ferry.Receipt) { rc.Attempts = nil })
	if r := rec(t, l, id); !r.Elsewhere {
		t.Errorf("waited for: %+v", r)
	}
	report(t, l, id, ferry.Unknown, ferry.Next{Do: ferry.DoRetry, Doubt: true})
	if r := rec(t, l, id); r.Elsewhere || !r.Doubt {
		t.Errorf("called: %+v", r)
	}
	must0(t, l.sound())
}

func TestDoubtAndRevisions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		id := accept(t, l, "x")
		report(t, l, id, ferry.Unknown, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true})
		time.Sleep(time.Minute)
		h := handOut(t, l, testRoute, 1)[0]
		if !h.Doubt || h.Turn != 2 || h.OpenRevision || !h.NotBefore.Equal(time.Now()) {
			t.Errorf("in doubt: %+v", h.HandOut)
		}
		report(t, l, id, ferry.Unknown, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true})
		must0(t, l.Replay(t.Context(), id, []byte("edited"), "", "", "ann"))
		time.Sleep(time.Millisecond)
		h = handOut(t, l, testRoute, 1)[0]
		if !h.OpenRevision || !h.Doubt || !h.RiskAccepted || h.Revision != 2 || h.Generation != 2 || h.Spent != 0 {
			t.Errorf("edited in doubt: %+v", h.HandOut)
		}
		report(t, l, id, ferry.Failed, retryIn(time.Second))
		time.Sleep(time.Second)
		h = handOut(t, l, testRoute, 1)[0]
		if h.OpenRevision || h.Doubt || h.RiskAccepted || h.Spent != 1 {
			t.Errorf("after a clear answer: %+v", h.HandOut)
		}
	})
}

func TestAttemptsKept(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, "x")
	const calls = 150
	for range calls {
		report(t, l, id, ferry.Failed, retryIn(0))
	}
	dropped := func(rc *ferry.Receipt) { rc.Turn, rc.Attempts[0].Turn = 30, 30 }
	report(t, l, id, ferry.Failed, retryIn(0), dropped)
	e := show(t, l, id)
	if e.AttemptsTotal != calls || len(e.Attempts) != ferry.MaxAttemptsKept {
		t.Fatalf("%d attempts, %d kept", e.AttemptsTotal, len(e.Attempts))
	}
	for i, a := range e.Attempts {
		want := i + 1
		if i >= ferry.AttemptsKeptFirst {
			want = i + 1 + calls - ferry.MaxAttemptsKept
		}
		if a.Number != want {
			t.Fatalf("attempt %d has number %d, want %d", i, a.Number, want)
		}
	}
}

func TestOrderingKeys(t *testing.T) {
	l := newLedger(t)
	a, b, c := accept(t, l, "a", withOrder("o")), accept(t, l, "b", withOrder("o")), accept(t, l, "c", withOrder("o"))
	free := accept(t, l, "free", withOrder("other"))
	if ids := idsOf(handOut(t, l, testRoute, 10)); len(ids) != 2 || ids[0] != a || ids[1] != free {
		t.Fatalf("handed out %v, want the heads %s and %s", ids, a, free)
	}
	if w := show(t, l, b).WaitingFor; w == nil || w.Behind == nil || *w.Behind != a {
		t.Errorf("b waits for %+v", w)
	}
	must0(t, l.Discard(t.Context(), b, "", "ann")) // parked: no worker can hold it
	report(t, l, a, ferry.Rejected, setAside(ferry.ReasonRejected))
	if r := rec(t, l, c); !r.Parked {
		t.Error("c goes on behind a dead letter")
	}
	must0(t, l.Replay(t.Context(), a, nil, "", "", "ann"))
	report(t, l, a, ferry.Delivered, ferry.Next{})
	if r := rec(t, l, c); r.Parked || r.Due == 0 {
		t.Errorf("c is not the head: %+v", r)
	}
	must0(t, l.Restore(t.Context(), b, "", "ann")) // it stands at the end now
	if r := rec(t, l, b); !r.Parked {
		t.Error("two heads")
	}
	if _, err := l.ApplyReceipts(t.Context(), []ferry.Receipt{{ID: c, Route: testRoute, Turn: 1, Verdict: ferry.Rejected, Next: setAside(ferry.ReasonRejected)}}, onward); err != nil {
		t.Fatal(err)
	}
	if r := rec(t, l, b); r.Parked {
		t.Error("the key does not go on behind a dead letter, although the route says so")
	}
	must0(t, l.Discard(t.Context(), c, "", "ann"))
	must0(t, l.Restore(t.Context(), c, "", "ann"))
	if r := rec(t, l, c); r.OrderSeq != 0 {
		t.Error("a restored dead letter holds back a key that went on before")
	}
	must0(t, l.sound())
}

func TestDueTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		later := accept(t, l, "later", func(m *ferry.Message) { m.DeliverAt = time.Now().Add(time.Hour) })
		first := accept(t, l, "1")
		time.Sleep(time.Millisecond)
		second := accept(t, l, "2")
		if ids := idsOf(handOut(t, l, testRoute, 10)); len(ids) != 2 || ids[0] != first || ids[1] != second {
			t.Fatalf("handed out %v", ids)
		}
		_, next, err := l.Look(testRoute, nil, time.Now(), 10, func(id ferry.ID) bool { return id != later })
		if due := show(t, l, later).DeliverAt; err != nil || !next.Equal(*due) {
			t.Errorf("the next is due at %v, %v", next, err)
		}
		wantState(t, l, later, ferry.StateAccepted)
		time.Sleep(time.Hour)
		if ids := idsOf(handOut(t, l, testRoute, 10)); len(ids) != 3 || ids[2] != later {
			t.Errorf("an hour later: %v", ids)
		}
	})
}

func TestTheClockGoesBack(t *testing.T) {
	l := newLedger(t)
	accept(t, l, "before")
	// A hand-out of an hour from now is what a clock leaves that ran ahead.
	ahead := time.Now().Add(time.Hour)
	must0(t, l.Advance(t.Context(), testRoute, dueKey(1, ahead.UnixNano(), ferry.NewID(ahead))))
	fresh := accept(t, l, "after")
	retried := accept(t, l, "retried")
	report(t, l, retried, ferry.Failed, retryIn(10*time.Minute))
	wantState(t, l, fresh, ferry.StateAccepted)
	ids := idsOf(handOut(t, l, testRoute, 10))
	if len(ids) != 2 || ids[1] != fresh {
		t.Errorf("handed out %v; want %s at once, and no retry yet", ids, fresh)
	}
	wantState(t, l, fresh, ferry.StateQueued)
}

// Spent attempts are given back, never more than there are, and count once.
func TestAttemptsAreGivenBack(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, "x")
	spends := func(n int) func(*ferry.Receipt) { return func(rc *ferry.Receipt) { rc.Next.Spends = n } }
	for i, c := range []struct{ spends, want int }{{1, 1}, {1, 2}, {-1, 1}, {0, 1}, {-3, 0}, {1, 1}} {
		handOut(t, l, testRoute, 10)
		receipt := spends(c.spends)
		if out := report(t, l, id, ferry.Failed, retryIn(0), receipt); !out.Applied {
			t.Fatalf("%d: %+v", i, out)
		}
		stale := func(rc *ferry.Receipt) { receipt(rc); rc.Turn, rc.Attempts[0].Turn = rc.Turn-1, rc.Turn-1 }
		report(t, l, id, ferry.Failed, retryIn(0), stale)
		if r := rec(t, l, id); r.Spent != c.want {
			t.Fatalf("%d: %d spent, want %d", i, r.Spent, c.want)
		}
	}
}
