package store

import (
	"context"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

const day = 24 * time.Hour

// keeping is one retention for every route.
func keeping(r ferry.Retention) Keep {
	return func(string) ferry.Retention { return r.Over(ferry.Retention{}) }
}

// purged is what both parts of retention did.
type purged struct {
	Purged
	DeadLettered int
}

func purge(t testing.TB, l *Ledger, keep Keep) (p purged) {
	t.Helper()
	var errPurge, errDead error
	p.Purged, errPurge = l.Purge(context.Background(), time.Now(), keep, 1<<30)
	p.DeadLettered, _, errDead = l.DiscardOldDead(context.Background(), time.Now(), keep, 1<<30)
	must0(t, errors.Join(errPurge, errDead, l.sound()))
	return p
}

// purgeBodies removes the bodies of completed messages, which are so many.
func purgeBodies(t testing.TB, l *Ledger, n int) {
	t.Helper()
	keep := keeping(ferry.Retention{Completed: day, Bodies: time.Minute})
	if p, err := l.Purge(context.Background(), time.Now().Add(time.Hour), keep, 1<<30); err != nil || p.Bodies != n {
		t.Fatalf("Purge: %+v, %v", p, err)
	}
}

func gone(t testing.TB, l *Ledger, id ferry.ID) bool {
	t.Helper()
	_, err := l.Message(id)
	if err != nil {
		wantCode(t, err, ferry.CodeMessageNotFound)
	}
	return err != nil
}

// TestRetentionByState: each state has its time, whenever a message ended, and
// whatever the sieve passed before.
func TestRetentionByState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		keep := keeping(ferry.Retention{Completed: 10 * day, Discarded: 20 * day, Bodies: 3 * day})
		done := accept(t, l, "done")
		report(t, l, done, ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
		refused := deadLetter(t, l, "refused")
		stopped := deadLetter(t, l, "stopped")
		must0(t, l.Discard(t.Context(), stopped, "not wanted", "ann"))
		late := accept(t, l, "late")

		time.Sleep(3*day + time.Hour)
		if p := purge(t, l, keep); p.Bodies != 1 || p.Completed+p.Discarded+p.DeadLettered != 0 {
			t.Fatalf("after 3 days: %+v", p)
		}
		_, err := l.OpenBody(done, 0)
		wantCode(t, err, ferry.CodeBodyRemoved)
		if e := show(t, l, done); e.BodyRemovedAt == nil || e.Reference != "INV-1" || len(e.Attempts) != 1 {
			t.Errorf("the story of %s is not whole: %+v", done, e)
		}
		// Behind the sieve: the end is noted in its own commit.
		report(t, l, late, ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
		must0(t, l.sound())

		time.Sleep(7 * day)
		if p := purge(t, l, keep); p.Completed != 1 || p.Bodies != 1 || !gone(t, l, done) {
			t.Fatalf("after 10 days: %+v", p)
		}
		if e := show(t, l, late); e.BodyRemovedAt == nil || e.State != ferry.StateCompleted {
			t.Errorf("late: %+v", e)
		}
		time.Sleep(3*day + time.Hour)
		if p := purge(t, l, keep); p.Completed != 1 || !gone(t, l, late) {
			t.Fatalf("after 13 days: %+v", p)
		}
		must0(t, l.Restore(t.Context(), stopped, "after all", "ann"))
		must0(t, l.Discard(t.Context(), stopped, "no", "ann"))
		time.Sleep(7*day + time.Hour)
		if p := purge(t, l, keep); p.Discarded != 0 || gone(t, l, stopped) {
			t.Fatalf("discarded anew, it is kept anew: %+v", p)
		}
		time.Sleep(14 * day)
		if p := purge(t, l, keep); p.Discarded != 1 || !gone(t, l, stopped) {
			t.Fatalf("after 34 days: %+v", p)
		}
		time.Sleep(1000 * day)
		if p := purge(t, l, keep); p != (purged{}) || gone(t, l, refused) {
			t.Fatalf("dead letters wait for a person: %+v", p)
		}
		if n := entries(t, l, bAttempts); n != 1 { // of the dead letter
			t.Errorf("%d attempts are left", n)
		}
		if n := entries(t, l, bEnded); n != 0 {
			t.Errorf("%d entries of ends are left", n)
		}
		if n := entries(t, l, bMessages); n != 1 {
			t.Errorf("%d records are left", n)
		}
	})
}

func entries(t testing.TB, l *Ledger, bucket []byte) (n int) {
	t.Helper()
	must0(t, l.db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(bucket).Stats().KeyN
		return nil
	}))
	return n
}

// TestRetentionOfDeadLetters: with a time of their own they are discarded, which is
// audited and can be undone, and removed when that is over, too.
func TestRetentionOfDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		keep := func(route string) ferry.Retention {
			r := ferry.Retention{Completed: 5 * day, Discarded: 5 * day}
			if route == testRoute {
				r.DeadLettered = 30 * day
			}
			return r.Over(ferry.Retention{})
		}
		var old []ferry.ID
		for i := range 5 {
			old = append(old, deadLetter(t, l, "old", withKey(string(rune('a'+i)))))
		}
		other := deadLetter(t, l, "other", func(m *ferry.Message) { m.Route = otherRoute })
		ordered := deadLetter(t, l, "head", withOrder("k"))
		follower := accept(t, l, "follower", withOrder("k"))
		time.Sleep(29 * day)
		young := deadLetter(t, l, "young")
		purge(t, l, keep)
		time.Sleep(2 * day)
		if p := purge(t, l, keep); p.DeadLettered != 6 {
			t.Fatalf("%+v", p)
		}
		wantState(t, l, young, ferry.StateDeadLettered)
		wantState(t, l, other, ferry.StateDeadLettered)
		wantState(t, l, ordered, ferry.StateDiscarded)
		if e := show(t, l, follower); e.WaitingFor == nil || e.WaitingFor.Reason == "orderingKey" {
			t.Errorf("the follower waits still: %+v", e.WaitingFor)
		}
		log, err := l.Audit(0, time.Time{}, 100)
		must0(t, err)
		if e := log[len(log)-1]; e.Act != "discard by retention" || e.By != "broker" || e.Detail != "6 dead letters that were older than 30d" {
			t.Errorf("audited as %+v", e)
		}
		must0(t, l.Restore(t.Context(), old[0], "it is wanted", "ann"))
		wantState(t, l, old[0], ferry.StateDeadLettered)
		time.Sleep(5*day + time.Hour)
		// What was restored waits anew.
		if p := purge(t, l, keep); p.Discarded != 5 || p.DeadLettered != 0 || !gone(t, l, old[1]) {
			t.Fatalf("%+v", p)
		}
		list, err := l.Reconcile()
		must0(t, err)
		for _, day := range list {
			if !day.Balanced {
				t.Errorf("%+v", day)
			}
		}
	})
}

// TestARestoredDeadLetterWaitsAnew: whoever discarded it, retention does not take it
// again at once, and the lists have it as of when it came back.
func TestARestoredDeadLetterWaitsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		keep := keeping(ferry.Retention{Completed: 5 * day, Discarded: 90 * day, DeadLettered: 60 * day})
		id := deadLetter(t, l, "x")
		time.Sleep(40 * day)
		purge(t, l, keep)
		must0(t, l.Discard(t.Context(), id, "not wanted", "ann"))
		time.Sleep(30 * day)
		purge(t, l, keep)
		restored := time.Now()
		must0(t, l.Restore(t.Context(), id, "it is wanted", "ann"))
		time.Sleep(time.Hour)
		if p := purge(t, l, keep); p != (purged{}) {
			t.Fatalf("an hour after its restore: %+v", p)
		}
		groups, err := l.Groups(ferry.DeadLetterFilter{}, func(string) string { return "" })
		must0(t, err)
		if len(groups) != 1 || groups[0].Count != 1 || !groups[0].First.Equal(restored) || !groups[0].Last.Equal(restored) {
			t.Errorf("its group: %+v", groups)
		}
		time.Sleep(60 * day)
		if p := purge(t, l, keep); p.DeadLettered != 1 {
			t.Fatalf("60 days after its restore: %+v", p)
		}
	})
}

// TestRetentionLeavesWhatIsActedOn: what a running operation has yet to act on is not
// discarded under its hands, and does not keep others from it.
func TestRetentionLeavesWhatIsActedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		keep := keeping(ferry.Retention{DeadLettered: 60 * day})
		var ids []ferry.ID
		for range purgeStep + 10 {
			ids = append(ids, deadLetter(t, l, "x"))
		}
		late := deadLetter(t, l, "x")
		time.Sleep(60*day - time.Hour)
		op := startOperation(t, l, ferry.ActReplay, ids)
		time.Sleep(2 * time.Hour)
		if p := purge(t, l, keep); p.DeadLettered != 1 {
			t.Fatalf("%+v", p)
		}
		wantState(t, l, late, ferry.StateDiscarded)
		wantState(t, l, ids[0], ferry.StateDeadLettered)
		must0(t, l.HaltOperation(t.Context(), op, "it waits for somebody's word"))
		if p := purge(t, l, keep); p.DeadLettered != 0 {
			t.Fatalf("while it is stopped: %+v", p)
		}
		if _, err := l.CancelOperation(t.Context(), op, "enough", "ann"); err != nil {
			t.Fatal(err)
		}
		if p := purge(t, l, keep); p.DeadLettered != len(ids) {
			t.Fatalf("after the operation: %+v", p)
		}
	})
}

// TestRetentionLooksOnce: a purge does not look again at what stays, however much
// that is.
func TestRetentionLooksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		const each = 400
		for range each {
			deadLetter(t, l, "dead")
			accept(t, l, "pending")
			report(t, l, accept(t, l, "done"), ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
		}
		long := keeping(ferry.Retention{Completed: 30 * day, Discarded: 90 * day, Bodies: 7 * day, DeadLettered: 300 * day})
		looked := 0
		for range 24 * 40 { // each hour of 40 days
			time.Sleep(time.Hour)
			p, err := l.Purge(t.Context(), time.Now(), long, 1<<30)
			must0(t, err)
			looked += p.Looked
		}
		// Each record once by the sieve, each that was completed once more by its entry.
		if want := 3*each + each; looked != want {
			t.Errorf("looked at %d, not %d", looked, want)
		}
		if n := entries(t, l, bMessages); n != 2*each {
			t.Errorf("%d records are left", n)
		}
		// A round is bounded, and says that there is more.
		for range each {
			report(t, l, accept(t, l, "done"), ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
		}
		time.Sleep(31 * day)
		p, err := l.Purge(t.Context(), time.Now(), long, 100)
		if must0(t, err); p.Looked > 100+purgeStep || p.Looked == 0 {
			t.Errorf("one round looked at %d", p.Looked)
		}
		must0(t, l.sound())
	})
}

// TestRetentionChanges: a retention that becomes longer or shorter counts for what
// the sieve passed, too.
func TestRetentionChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		id := accept(t, l, "x")
		report(t, l, id, ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
		mixed := func(own time.Duration) Keep {
			return func(route string) ferry.Retention {
				r := ferry.Retention{Completed: day}
				if route == testRoute {
					r.Completed = own
				}
				return r.Over(ferry.Retention{})
			}
		}
		time.Sleep(2 * day)
		purge(t, l, mixed(100*day))
		time.Sleep(8 * day)
		if p := purge(t, l, mixed(20*day)); p.Completed != 0 {
			t.Fatalf("%+v", p)
		}
		if p := purge(t, l, mixed(9*day)); p.Completed != 1 {
			t.Fatalf("shorter: %+v", p)
		}
	})
}

// TestRetentionRemovesFiles: bodies in files go, with the message or before it, and a
// file that a kill left between the commit and its removal is an orphan.
func TestRetentionRemovesFiles(t *testing.T) {
	l := newLedger(t)
	body := make([]byte, ferry.InlineBody+1)
	id := accept(t, l, string(body))
	report(t, l, id, ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
	path := l.bodyPath(id, 1)
	kept := path + ".kept"
	must0(t, os.Link(path, kept))
	time.Sleep(2 * time.Millisecond)
	keep := func(string) ferry.Retention {
		return ferry.Retention{Completed: day, Discarded: day, DeadLettered: ferry.KeepForever}
	}
	if p := purge(t, l, keep); p.Bodies != 1 {
		t.Fatalf("%+v", p)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the file is there: %v", err)
	}
	must0(t, os.Rename(kept, path)) // as if it had not been removed
	if n, err := l.SweepBodies(t.Context(), 0); n != 1 || err != nil {
		t.Errorf("%d swept, %v", n, err)
	}
	must0(t, l.sound())
}

// TestOlderLedgerFillsDeadIn: the lists of a ledger of before the index are the same.
func TestOlderLedgerFillsDeadIn(t *testing.T) {
	l := newLedger(t)
	for range 30 {
		deadLetter(t, l, "x")
	}
	must0(t, l.db.Update(t.Context(), func(tx *bbolt.Tx) error {
		err := errors.Join(tx.DeleteBucket(bDeadIn), tx.Bucket(bMeta).Delete(metaDeadIn))
		_, err2 := tx.CreateBucket(bDeadIn)
		return errors.Join(err, err2)
	}))
	l = reopen(t, l)
	must0(t, l.sound())
	p, err := l.DeadLetters(ferry.DeadLetterFilter{Route: testRoute, Limit: 100}, func(string) string { return "" })
	if err != nil || len(p.Items) != 30 {
		t.Errorf("%d listed, %v", len(p.Items), err)
	}
}
