package store

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"ferry"
)

// soundOutbox recounts the notices that wait.
func (l *Ledger) soundOutbox(tx *bbolt.Tx) error {
	var is outbox
	if err := is.read(tx); err != nil {
		return err
	}
	if is.total != l.outbox.total || !maps.Equal(is.waiting, l.outbox.waiting) || !maps.Equal(is.shares, l.outbox.shares) || !maps.Equal(is.routes, l.outbox.routes) || !maps.Equal(is.ends, l.outbox.ends) {
		return fmt.Errorf("outbox: %v on disk, %v in memory", is, l.outbox)
	}
	return nil
}

func replyTo(queue string) func(*ferry.Message) {
	return func(m *ferry.Message) {
		m.ReplyTo = &ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: queue, SessionID: "s", CorrelationID: "m-1"}
	}
}

func target(queue string) ferry.NoticeTarget {
	return ferry.NoticeTarget{Kind: ferry.ReplyServiceBus, Route: testRoute, Target: queue}
}

func notices(t *testing.T, l *Ledger, queue string) []ferry.Notice {
	t.Helper()
	list, err := l.Notices(target(queue), 0, 1000)
	must0(t, err)
	return list
}

// Every end of a message that somebody asked for is told: also the one after a
// dead letter, and each as it was.
func TestEveryEndIsInTheOutbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		l := openIn(t, t.TempDir(), Options{OnNotice: func([]ferry.NoticeTarget, int) { told++ }})
		ctx := t.Context()
		id := deadLetter(t, l, "x", replyTo("answers"))
		quiet := deadLetter(t, l, "y")
		must0(t, l.Replay(ctx, id, nil, "", "", "ann"))
		report(t, l, id, ferry.Delivered, ferry.Next{})
		dropped := accept(t, l, "z", replyTo("others"))
		must0(t, l.Discard(ctx, dropped, "no", "ann"))
		must0(t, l.Discard(ctx, quiet, "no", "ann"))
		if want := map[ferry.NoticeTarget]int{target("answers"): 2, target("others"): 1}; !maps.Equal(l.NoticeTargets(), want) || told != 3 {
			t.Fatalf("%v wait, want %v; told %d times", l.NoticeTargets(), want, told)
		}

		l = reopen(t, l) // the counts come back
		must0(t, l.sound())
		list := notices(t, l, "answers")
		if len(list) != 2 || list[0].State != ferry.StateDeadLettered || list[1].State != ferry.StateCompleted || list[0].Generation != 1 || list[1].Generation != 2 {
			t.Fatalf("notices: %+v", list)
		}
		first, ok, err := l.Ending(list[0])
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		e := first.Envelope
		if e.State != ferry.StateDeadLettered || e.DeadLetter == nil || e.DeadLetter.Reason != ferry.ReasonRejected || e.Reference != "" || e.Generation != 1 || e.WaitingFor != nil {
			t.Errorf("the first end is told as it is now: %+v", e)
		}
		second, _, err := l.Ending(list[1])
		must0(t, err)
		if e := second.Envelope; e.State != ferry.StateCompleted || e.DeadLetter != nil || e.Reference != "INV-1" {
			t.Errorf("the second end: %+v", e)
		}
		if diff := cmp.Diff(ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: "answers", SessionID: "s", CorrelationID: "m-1"}, second.ReplyTo); diff != "" {
			t.Error(diff)
		}
		// What was told goes, and going twice does no harm.
		must0(t, l.DropNotices(ctx, list, nil))
		must0(t, l.DropNotices(ctx, list, nil))
		if got := l.NoticeTargets(); len(got) != 1 || got[target("others")] != 1 {
			t.Errorf("%v wait", got)
		}
		must0(t, l.sound())
	})
}

// TestAMessageStaysUntilItsEndIsTold: retention leaves it, over a restart and behind the
// sieve, and removes it in the first round after it was told.
func TestAMessageStaysUntilItsEndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		id := accept(t, l, "x", replyTo("answers"))
		other := accept(t, l, "y")
		for _, id := range []ferry.ID{id, other} {
			report(t, l, id, ferry.Delivered, ferry.Next{})
		}
		n := notices(t, l, "answers")[0]
		removes := func(want int) {
			t.Helper()
			time.Sleep(time.Hour)
			if purged, err := purgeBefore(t.Context(), l, time.Now()); purged != want || err != nil {
				t.Fatalf("%d purged, not %d: %v", purged, want, err)
			}
			must0(t, l.sound())
		}
		removes(1)
		removes(0)
		l = reopen(t, l)
		removes(0)
		if _, ok, err := l.Ending(n); !ok || err != nil {
			t.Fatalf("what is owed cannot be told: %v, %v", ok, err)
		}
		must0(t, l.DropNotices(t.Context(), []ferry.Notice{n}, nil))
		removes(1)
		if _, ok, err := l.Ending(n); ok || err != nil {
			t.Fatalf("a message that is gone is told: %v, %v", ok, err)
		}
		if n := entries(t, l, bEnded); n != 0 {
			t.Errorf("%d entries of ends are left", n)
		}
	})
}

// What cannot be told in time is given up, with an entry in the audit log for
// each target.
func TestGiveUpNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		for range 3 {
			deadLetter(t, l, "x", replyTo("gone"))
		}
		time.Sleep(23 * time.Hour)
		deadLetter(t, l, "x", replyTo("gone"))
		time.Sleep(2 * time.Hour)
		// One that nobody can read.
		must0(t, l.update(t.Context(), 0, func(tx *bbolt.Tx) error {
			return tx.Bucket(bOutbox).Put(noticeKey(target("gone"), 999), []byte("{"))
		}))
		if list := notices(t, l, "gone"); len(list) != 4 {
			t.Fatalf("%d notices", len(list))
		}
		given, err := l.GiveUpNotices(t.Context(), time.Now().Add(-ferry.NoticeLife))
		if err != nil || given[target("gone")] != 3 || len(given) != 1 {
			t.Fatalf("given up: %v, %v", given, err)
		}
		if list := notices(t, l, "gone"); len(list) != 1 {
			t.Fatalf("%d notices are left", len(list))
		}
		must0(t, l.sound())
		audit, err := l.Audit(0, time.Time{}, 10)
		if err != nil || len(audit) != 1 || audit[0].Act != "give up notices" || audit[0].Note != "3 ends of messages could not be told in time" {
			t.Fatalf("audit: %+v, %v", audit, err)
		}
	})
}

// A target that takes nothing for long is bounded, and keeps no message from
// ending.
func TestTheOutboxIsBounded(t *testing.T) {
	lost := 0
	l := openIn(t, t.TempDir(), Options{OnNotice: func(_ []ferry.NoticeTarget, n int) { lost += n }})
	// As if that many waited already.
	l.outbox.waiting = map[ferry.NoticeTarget]int{target("gone"): ferry.MaxNoticesPerTarget - 1}
	l.outbox.shares = map[ferry.NoticeTarget]int{target("gone"): ferry.MaxNoticesPerTarget - 1}
	l.outbox.total = ferry.MaxNoticesPerTarget - 1
	var kept []ferry.ID
	for range 4 {
		id := accept(t, l, "x", replyTo("gone"))
		report(t, l, id, ferry.Delivered, ferry.Next{})
		wantState(t, l, id, ferry.StateCompleted)
		kept = append(kept, id)
	}
	other := deadLetter(t, l, "x", replyTo("answers"))
	if list := notices(t, l, "gone"); len(list) != 1 || list[0].ID != kept[0] || lost != 3 {
		t.Fatalf("notices %+v, %d lost", list, lost)
	}
	if list := notices(t, l, "answers"); len(list) != 1 || list[0].ID != other {
		t.Fatalf("another target's: %+v", list)
	}
	audit, err := l.Audit(0, time.Time{}, 10)
	if err != nil || len(audit) != 1 || audit[0].Act != "lose notices" {
		t.Fatalf("audit: %+v, %v", audit, err)
	}
	l.outbox.total = ferry.MaxNotices
	deadLetter(t, l, "x", replyTo("answers"))
	if list := notices(t, l, "answers"); len(list) != 1 || lost != 4 {
		t.Fatalf("beyond the bound of all targets: %+v, %d lost", list, lost)
	}
	// Room again: what is lost next is told of again.
	must0(t, l.DropNotices(t.Context(), notices(t, l, "gone"), nil))
	if l.outbox.full[target("gone")] {
		t.Error("it still counts as full")
	}
}

// A commit that fails leaves the counts as they were.
func TestAFailedCommitTellsNothing(t *testing.T) {
	told := 0
	l := openIn(t, t.TempDir(), Options{OnNotice: func([]ferry.NoticeTarget, int) { told++ }})
	id := accept(t, l, "x", replyTo("answers"))
	fault := errors.New("a fault")
	err := l.update(t.Context(), 0, func(tx *bbolt.Tx) error {
		r, err := must(tx, id)
		if err != nil {
			return err
		}
		if err := l.endTurn(tx, r); err != nil {
			return err
		}
		if err := l.move(tx, r, ferry.StateDiscarded); err != nil {
			return err
		}
		return fault
	})
	if !errors.Is(err, fault) || told != 0 || len(l.NoticeTargets()) != 0 {
		t.Fatalf("%v, told %d, %v wait", err, told, l.NoticeTargets())
	}
	must0(t, l.sound())
}

// A ledger of the version before has no outbox, and gets one.
func TestALedgerWithoutOutboxGetsOne(t *testing.T) {
	l := newLedger(t)
	must0(t, l.update(t.Context(), 0, func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(bOutbox); err != nil {
			return err
		}
		return tx.Bucket(bMeta).Put(metaSchema, u64(2))
	}))
	l = reopen(t, l)
	deadLetter(t, l, "x", replyTo("answers"))
	if len(notices(t, l, "answers")) != 1 {
		t.Fatal("nothing is in the outbox")
	}
	must0(t, l.sound())
}

func TestRoom(t *testing.T) {
	l := newLedger(t)
	if err := l.Room(t.Context(), 1024); err != nil {
		t.Fatalf("no room for a small body: %v", err)
	}
	wantCode(t, l.Room(t.Context(), 1<<60), ferry.CodeNoSpace)
	must0(t, l.Close())
	wantCode(t, l.Room(t.Context(), 1), ferry.CodeStopping)
}

// Who sends a message once more, and asks, is told as well: a flow that was
// resubmitted waits for an answer of its own.
func TestWhoSendsAgainIsTold(t *testing.T) {
	l := newLedger(t)
	again := func(body string, to func(*ferry.Message)) {
		t.Helper()
		a, errs, err := l.AcceptBatch(t.Context(), []ferry.Message{message(body, withKey(body), to)}, true)
		if err != nil || errs[0] != nil || !a[0].Duplicate {
			t.Fatalf("%+v, %v, %v", a, errs, err)
		}
		must0(t, l.sound())
	}
	session := func(id string) func(*ferry.Message) {
		return func(m *ferry.Message) {
			m.ReplyTo = &ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: "answers", SessionID: id}
		}
	}
	// Pending: the last who asked is told, once.
	pending := accept(t, l, "pending", withKey("pending"), session("run-1"))
	again("pending", session("run-2"))
	again("pending", session("run-2"))
	report(t, l, pending, ferry.Delivered, ferry.Next{})
	list := notices(t, l, "answers")
	if len(list) != 1 {
		t.Fatalf("notices %+v", list)
	}
	if e, _, err := l.Ending(list[0]); err != nil || e.ReplyTo.SessionID != "run-2" {
		t.Fatalf("%+v, %v", e.ReplyTo, err)
	}
	// Ended: at once, and nobody else.
	again("pending", session("run-3"))
	list = notices(t, l, "answers")
	if len(list) != 2 {
		t.Fatalf("notices %+v", list)
	}
	if e, _, err := l.Ending(list[1]); err != nil || e.ReplyTo.SessionID != "run-3" || e.State != ferry.StateCompleted || e.Envelope.Reference != "INV-1" {
		t.Fatalf("%+v, %v", e, err)
	}
	// Posted by somebody who did not ask, and a dead letter by now.
	posted := deadLetter(t, l, "posted", withKey("posted"))
	again("posted", session("run-4"))
	list = notices(t, l, "answers")
	if e, _, err := l.Ending(list[2]); err != nil || e.ID != posted || e.Dead == nil || e.ReplyTo.SessionID != "run-4" {
		t.Fatalf("%+v, %v", e, err)
	}
	// A repeat without a question changes nothing, in one batch neither.
	again("posted", func(*ferry.Message) {})
	both := message("twice", withKey("twice"), session("run-5"))
	other := both
	other.ID, other.ReplyTo = ferry.NewID(both.CreatedAt), &ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: "answers", SessionID: "run-6"}
	if a, errs, err := l.AcceptBatch(t.Context(), []ferry.Message{both, other}, true); err != nil || errs[1] != nil || !a[1].Duplicate {
		t.Fatalf("%+v, %v, %v", a, errs, err)
	}
	if r := rec(t, l, both.ID); r.ReplyTo.SessionID != "run-6" || len(notices(t, l, "answers")) != 3 {
		t.Fatalf("%+v, %d notices", r.ReplyTo, len(notices(t, l, "answers")))
	}
	if a, err := l.Accept(t.Context(), message("posted", withKey("posted"), session("run-7"))); err != nil || !a.Duplicate || len(notices(t, l, "answers")) != 4 {
		t.Fatalf("%+v, %v", a, err)
	}
	must0(t, l.sound())
}
