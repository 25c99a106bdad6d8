package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// route is what the ledger knows of the tests' route.
func (l *Ledger) testRoute(t testing.TB) RouteLedger {
	t.Helper()
	r, err := l.Route(testRoute)
	must0(t, err)
	return r
}

// leftKeys counts what the index of left inboxes holds.
func leftKeys(t testing.TB, l *Ledger) (n int) {
	t.Helper()
	must0(t, l.db.View(func(tx *bbolt.Tx) error { n = tx.Bucket(bLeft).Stats().KeyN; return nil }))
	return n
}

// A route whose inbox was given a long word is handed over.
func handedOver(t *testing.T, test func(t *testing.T, l *Ledger, held, fresh ferry.ID, begun time.Time)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		ctx := context.Background()
		must0(t, l.Bind(ctx, testRoute, Binding{Worker: "w1", Inbox: "one", Bound: time.Minute}, false, "", "w1"))
		must0(t, l.Grant(ctx, testRoute, 1, "run", time.Now().Add(24*time.Hour)))
		held := accept(t, l, "held")
		if ready := handOut(t, l, testRoute, 1); len(ready) != 1 || ready[0].Binding != 1 || ready[0].Inbox != "one" {
			t.Fatalf("handed out %+v", ready)
		}
		time.Sleep(time.Hour)
		fresh := accept(t, l, "fresh")
		begun := time.Now()
		must0(t, l.Bind(ctx, testRoute, Binding{Worker: "w2", Inbox: "two", Bound: 2 * time.Minute}, true, "w1 is lost", "ann"))
		test(t, l, held, fresh, begun)
	})
}

func TestALongWordIsWaitedFor(t *testing.T) {
	handedOver(t, func(t *testing.T, l *Ledger, held, fresh ferry.ID, begun time.Time) {
		must0(t, l.sound())
		calm := begun.Add(23*time.Hour + 2*time.Minute)
		if r := rec(t, l, held); r.Turn != 2 || !r.Elsewhere || !timeOf(r.NotBefore).Equal(calm) {
			t.Errorf("held: %+v, want it at %s", r, calm)
		}
		// What nobody had in hand goes to the new inbox at once, under its binding.
		if ready := handOut(t, l, testRoute, 10); len(ready) != 1 || ready[0].ID != fresh || ready[0].Inbox != "two" || ready[0].Binding != 2 {
			t.Errorf("handed out %+v", ready)
		}
		r := l.testRoute(t)
		if len(r.Leaving) != 1 || r.Leaving[0].Worker != "w1" || r.Leaving[0].Held != 1 || !r.Leaving[0].CalmAt().Equal(calm) || r.Bindings != 2 {
			t.Errorf("leaving: %+v", r)
		}
		time.Sleep(time.Until(calm))
		if ready := handOut(t, l, testRoute, 10); len(ready) == 0 || ready[len(ready)-1].ID != held || ready[len(ready)-1].Turn != 2 {
			t.Errorf("when it is calm: %+v", ready)
		}
		// The next word that is written down forgets it.
		time.Sleep(time.Second)
		must0(t, l.Grant(context.Background(), testRoute, 2, "run", time.Now().Add(time.Hour)))
		if r := l.testRoute(t); len(r.Leaving) != 0 || leftKeys(t, l) != 0 {
			t.Errorf("still waited for: %+v, %d keys", r.Leaving, leftKeys(t, l))
		}
		must0(t, l.sound())
	})
}

func TestAWordEndsWhenItsInboxHasHeard(t *testing.T) {
	handedOver(t, func(t *testing.T, l *Ledger, held, _ ferry.ID, _ time.Time) {
		ctx := context.Background()
		l = reopen(t, l) // it is on disk
		for name, c := range map[string]struct {
			worker, inbox string
			no            uint64
		}{
			"of its own binding, late": {"w1", "one", 1},
			"of no binding":            {"w1", "one", 0},
			"another inbox":            {"w1", "three", 2},
			"the new one":              {"w2", "two", 2},
			"another in its name":      {"w2", "one", 2},
		} {
			if n, err := l.Heard(ctx, testRoute, c.worker, c.inbox, c.no); n != 0 || err != nil {
				t.Errorf("%s: %d released, %v", name, n, err)
			}
		}
		time.Sleep(time.Minute)
		n, err := l.Heard(ctx, testRoute, "w1", "one", 2)
		calm := time.Now().Add(2 * time.Minute)
		if r := rec(t, l, held); n != 1 || err != nil || r.Turn != 2 || !timeOf(r.NotBefore).Equal(calm) || !timeOf(r.Due).Equal(calm) {
			t.Fatalf("%d released, %v, %+v", n, err, r)
		}
		time.Sleep(time.Second)
		if n, err := l.Heard(ctx, testRoute, "w1", "one", 2); n != 0 || err != nil {
			t.Errorf("a second time: %d, %v", n, err)
		}
		if ready := handOut(t, l, testRoute, 10); len(ready) != 1 {
			t.Errorf("too early: %+v", ready)
		}
		time.Sleep(2 * time.Minute)
		ready := handOut(t, l, testRoute, 10)
		if last := ready[len(ready)-1]; last.ID != held || !last.Elsewhere || !last.Doubt || last.Inbox != "two" {
			t.Errorf("handed out %+v", ready)
		}
		must0(t, l.sound())
	})
}

// What moved on since for a reason of its own is left alone.
func TestReleaseTouchesOnlyWhatWaitsForTheInbox(t *testing.T) {
	handedOver(t, func(t *testing.T, l *Ledger, held, _ ferry.ID, _ time.Time) {
		ctx := context.Background()
		late := rec(t, l, held)
		// The old inbox reports on the turn that it had: a fact.
		out, err := l.ApplyReceipts(ctx, []ferry.Receipt{{
			ID: held, Route: testRoute, Turn: 1, Revision: 1, Worker: "w1", Inbox: "one", Verdict: ferry.Delivered, Effect: ferry.EffectDone, Reference: "R",
		}}, park)
		if err != nil || out[0].State != ferry.StateCompleted {
			t.Fatal(out, err)
		}
		if n, err := l.Heard(ctx, testRoute, "w1", "one", 2); n != 0 || err != nil {
			t.Errorf("%d released, %v", n, err)
		}
		if r := rec(t, l, held); r.State != ferry.StateCompleted || r.Due != 0 || late.Due == 0 {
			t.Errorf("%+v", r)
		}
	})
}

// A message that waits for another reason by now is left where it is.
func TestReleaseKeepsAnotherReasonToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		ctx := context.Background()
		must0(t, l.Bind(ctx, testRoute, Binding{Worker: "w1", Inbox: "one", Bound: time.Minute}, false, "", "w1"))
		must0(t, l.Grant(ctx, testRoute, 1, "run", time.Now().Add(10*time.Second)))
		held := accept(t, l, "held")
		handOut(t, l, testRoute, 1)
		must0(t, l.Bind(ctx, testRoute, Binding{Worker: "w2", Inbox: "two", Bound: time.Minute}, true, "", "ann"))
		must0(t, l.Bind(ctx, testRoute, Binding{Worker: "w2", Inbox: "two", Bound: 5 * time.Minute}, false, "", "w2"))
		r := openIn(t, backup(t, l), Options{FileID: func(string) (uint64, error) { return 4711, nil }})
		calm := time.Now().Add(5 * time.Minute) // the restored ledger's own reason
		if n, err := r.Heard(ctx, testRoute, "w1", "one", 2); n != 0 || err != nil || !timeOf(rec(t, r, held).NotBefore).Equal(calm) {
			t.Errorf("%d released, %v, %+v", n, err, rec(t, r, held))
		}
	})
}

func TestAPersonSaysThatAnInboxIsGone(t *testing.T) {
	handedOver(t, func(t *testing.T, l *Ledger, held, _ ferry.ID, _ time.Time) {
		ctx := context.Background()
		if n, err := l.Gone(ctx, testRoute, func(inbox string) bool { return inbox == "one" }, "off", "ann"); n != 0 || err != nil {
			t.Errorf("it is heard: %d, %v", n, err)
		}
		n, err := l.Gone(ctx, testRoute, func(string) bool { return false }, "scrapped", "ann")
		if r := rec(t, l, held); n != 1 || err != nil || !timeOf(r.NotBefore).Equal(time.Now().Add(2*time.Minute)) {
			t.Errorf("%d released, %v, %+v", n, err, r)
		}
		list, err := l.Audit(0, time.Time{}, 100)
		must0(t, err)
		if last := list[len(list)-1]; last.Act != "workers gone" || last.Note != "scrapped" || last.By != "ann" {
			t.Errorf("audit %+v", last)
		}
	})
}

func TestGrantIsOfTheBindingAtHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		ctx := context.Background()
		wantCode(t, l.Grant(ctx, testRoute, 0, "run", time.Now().Add(time.Hour)), ferry.CodeConflict)
		one := Binding{Worker: "w1", Inbox: "one", Bound: time.Minute}
		must0(t, l.Bind(ctx, testRoute, one, false, "", "w1"))
		until := time.Now().Add(time.Hour)
		must0(t, l.Grant(ctx, testRoute, 1, "run", until))
		must0(t, l.Grant(ctx, testRoute, 1, "run", until.Add(-time.Minute))) // never less
		one.Bound = 3 * time.Minute
		must0(t, l.Bind(ctx, testRoute, one, false, "", "w1")) // the same inbox, other settings
		if b := l.testRoute(t).Binding; b.No != 1 || !b.Until.Equal(until) || b.Bound != 3*time.Minute {
			t.Errorf("%+v", b)
		}
		must0(t, l.Bind(ctx, testRoute, Binding{Worker: "w2", Inbox: "two"}, true, "", "ann"))
		wantCode(t, l.Grant(ctx, testRoute, 1, "run", until), ferry.CodeConflict)
		if r := l.testRoute(t); len(r.Leaving) != 0 || !r.Binding.Until.IsZero() {
			t.Errorf("nothing was handed out, and it is waited for: %+v", r)
		}
		must0(t, l.Bind(ctx, testRoute, one, true, "", "ann")) // back
		if b := l.testRoute(t).Binding; b.No != 3 || !b.Until.IsZero() {
			t.Errorf("%+v", b)
		}
	})
}

// A worker that stops in good order leaves nothing to wait for, unless it has
// started again since.
func TestAWorkerThatStoppedIsNotWaitedFor(t *testing.T) {
	for name, c := range map[string]struct {
		left    []string      // runs that say goodbye, in this order
		waiting time.Duration // of what it held, when the route is bound to another
	}{
		"nobody":                   {nil, time.Hour},
		"the run that was let in":  {[]string{"second"}, 0},
		"an earlier run, late":     {[]string{"first"}, time.Hour},
		"one without a name":       {[]string{""}, time.Hour},
		"both, in the wrong order": {[]string{"second", "first"}, 0},
		"the same, twice":          {[]string{"second", "second"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger(t)
				ctx := context.Background()
				must0(t, l.Bind(ctx, testRoute, Binding{Worker: "w1", Inbox: "one", Bound: time.Minute}, false, "", "w1"))
				until := time.Now().Add(time.Hour)
				for _, run := range []string{"first", "second"} {
					must0(t, l.Grant(ctx, testRoute, 1, run, until))
				}
				held := accept(t, l, "held")
				handOut(t, l, testRoute, 1)
				for _, run := range c.left {
					must0(t, l.Left(ctx, testRoute, "one", run))
				}
				must0(t, l.Left(ctx, testRoute, "two", "second"))
				must0(t, l.Bind(ctx, testRoute, Binding{Worker: "w2", Inbox: "two", Bound: time.Minute}, true, "", "ann"))
				calm := time.Now().Add(c.waiting + time.Minute)
				if r := rec(t, l, held); !timeOf(r.NotBefore).Equal(calm) {
					t.Errorf("it waits until %s, want %s", timeOf(r.NotBefore), calm)
				}
				// It may also stop after it lost the route.
				must0(t, l.Left(ctx, testRoute, "one", "second"))
				if r := rec(t, l, held); !timeOf(r.NotBefore).Equal(time.Now().Add(time.Minute)) {
					t.Errorf("after its end it waits until %s", timeOf(r.NotBefore))
				}
				must0(t, l.sound())
			})
		})
	}
}

// From one worker to several: the old one's long word is waited for, too.
func TestALongWordIsWaitedForBeforeSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		ctx := context.Background()
		must0(t, l.Bind(ctx, testRoute, Binding{Worker: "w1", Inbox: "one", Bound: time.Minute}, false, "", "w1"))
		must0(t, l.Grant(ctx, testRoute, 1, "run", time.Now().Add(time.Hour)))
		held := accept(t, l, "held")
		handOut(t, l, testRoute, 1)
		must0(t, l.SetSeveral(ctx, testRoute, true))
		if r := rec(t, l, held); !timeOf(r.NotBefore).Equal(time.Now().Add(time.Hour + time.Minute)) {
			t.Errorf("%+v", r)
		}
		n, err := l.Heard(ctx, testRoute, "w1", "one", l.testRoute(t).Bindings)
		if r := rec(t, l, held); n != 1 || err != nil || !timeOf(r.NotBefore).Equal(time.Now().Add(time.Minute)) {
			t.Errorf("%d, %v, %+v", n, err, r)
		}
		must0(t, l.sound())
	})
}

func TestInboxesThatAreWaitedForAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		ctx := context.Background()
		bind := func(i int) error {
			inbox := string(rune('a'+i%26)) + string(rune('a'+i/26))
			return l.Bind(ctx, testRoute, Binding{Worker: "w1", Inbox: inbox, Bound: time.Minute}, true, "", "ann")
		}
		must0(t, bind(0))
		for i := range maxLeaving {
			must0(t, l.Grant(ctx, testRoute, uint64(i+1), "run", time.Now().Add(time.Hour)))
			accept(t, l, "held")
			handOut(t, l, testRoute, 1)
			must0(t, bind(i+1))
			time.Sleep(time.Millisecond)
		}
		must0(t, l.Grant(ctx, testRoute, maxLeaving+1, "run", time.Now().Add(time.Hour)))
		accept(t, l, "held")
		handOut(t, l, testRoute, 1)
		before := l.testRoute(t)
		wantCode(t, bind(maxLeaving+1), ferry.CodeLimitReached)
		if r := l.testRoute(t); r.Binding.No != before.Binding.No || r.Bindings != before.Bindings || len(r.Leaving) != maxLeaving {
			t.Errorf("a refused binding changed %+v", r)
		}
		time.Sleep(2 * time.Hour) // all are over
		must0(t, bind(maxLeaving+1))
		must0(t, l.sound())
	})
}

// A restored ledger lifts the numbers above all that workers can have heard.
func TestARestoredLedgerNumbersBindingsAnew(t *testing.T) {
	l := newLedger(t)
	must0(t, l.Bind(t.Context(), testRoute, Binding{Worker: "w1", Inbox: "one"}, false, "", "w1"))
	r := openIn(t, backup(t, l), Options{FileID: func(string) (uint64, error) { return 4711, nil }})
	b := r.testRoute(t).Binding
	if b.Inbox != "one" || b.No < epochTurn(time.Now().Add(-time.Minute)) || b.No != r.testRoute(t).Bindings {
		t.Errorf("%+v", b)
	}
}
