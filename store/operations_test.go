package store

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"ferry"
)

// ofNobody leaves nothing out.
func ofNobody(ferry.State, *ferry.DeadLetter) bool { return false }

// startOperation starts an act on the messages, and gives its id.
func startOperation(t testing.TB, l *Ledger, act string, ids []ferry.ID, change ...func(*ferry.Operation)) string {
	t.Helper()
	op := ferry.Operation{ID: ferry.NewID(time.Now()).String(), Act: act, By: "ann", Note: "mended", CreatedAt: time.Now()}
	for _, f := range change {
		f(&op)
	}
	s, err := l.SelectIDs(ids, ofNobody)
	must0(t, err)
	must0(t, l.StartOperation(t.Context(), op, s))
	return op.ID
}

func withCanary(n int) func(*ferry.Operation) {
	return func(op *ferry.Operation) { op.Canary = &ferry.OperationCanary{Size: n} }
}

func withRate(n int, per time.Duration) func(*ferry.Operation) {
	return func(op *ferry.Operation) { op.Rate = ferry.Rate{Calls: n, Per: per} }
}

// carryOn steps an operation until it ends, waits or is to wait for its rate.
func carryOn(t testing.TB, l *Ledger, id string) ferry.Operation {
	t.Helper()
	for range 10_000 {
		plan, err := l.PlanOperation(id)
		must0(t, err)
		if plan.Acts == 0 {
			op, err := l.Operation(id)
			must0(t, err)
			return op
		}
		_, err = l.StepOperation(t.Context(), id)
		must0(t, err)
	}
	t.Fatal("the operation goes round in circles")
	return ferry.Operation{}
}

// deadOf makes n dead letters with an error.
func deadOf(t testing.TB, l *Ledger, n int, text string, change ...func(*ferry.Message)) (ids []ferry.ID) {
	t.Helper()
	for range n {
		id := accept(t, l, `{}`, change...)
		failWith(t, l, id, text)
		ids = append(ids, id)
	}
	return ids
}

func failWith(t testing.TB, l *Ledger, id ferry.ID, text string) {
	t.Helper()
	report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected), func(rc *ferry.Receipt) { rc.Text = text })
}

func generations(t testing.TB, l *Ledger, ids []ferry.ID) map[int]int {
	t.Helper()
	count := map[int]int{}
	for _, id := range ids {
		count[rec(t, l, id).Generation]++
	}
	return count
}

// A kill before or after any commit, and messages that fail anew before the operation
// goes on: none of them is sent again twice.
func TestAnOperationActsOnceWhereverAKillComes(t *testing.T) {
	dir, shots := t.TempDir(), t.TempDir()
	var taking bool
	var files []string
	shot := func() {
		if !taking {
			return
		}
		text, err := os.ReadFile(filepath.Join(dir, "ledger.db"))
		if err != nil {
			t.Error(err)
		}
		folder := filepath.Join(shots, fmt.Sprint(len(files)))
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Error(err)
		}
		files = append(files, folder)
		if err := os.WriteFile(filepath.Join(folder, "ledger.db"), text, 0o600); err != nil {
			t.Error(err)
		}
	}
	sameFile := func(string) (uint64, error) { return 7, nil }
	l := openIn(t, dir, Options{BeforeCommit: shot, AfterCommit: shot, FileID: sameFile})
	ids := deadOf(t, l, 12, "no such supplier")
	taking = true
	// The rate makes a commit of each message.
	id := startOperation(t, l, ferry.ActReplay, ids, withRate(10_000, time.Second), withRate(1, time.Second))
	for range ids {
		_, err := l.StepOperation(t.Context(), id)
		must0(t, err)
		must0(t, l.update(t.Context(), 0, forwardRate(l, id)))
	}
	taking = false
	if op := carryOn(t, l, id); op.State != ferry.OperationDone || op.Done != len(ids) {
		t.Fatalf("without a kill: %+v", op)
	}
	if len(files) < 20 {
		t.Fatalf("only %d places for a kill", len(files))
	}
	went := 0
	for i, folder := range files {
		l := openIn(t, folder, Options{FileID: sameFile})
		must0(t, l.SweepOperations(t.Context(), time.Time{}))
		if len(l.OperationsIn(ferry.OperationRunning, ferry.OperationDone)) == 0 {
			if n := len(l.OperationsIn(operationSelecting)); n > 0 {
				t.Errorf("place %d: a selection that was not finished stays", i)
			}
			continue // its sender had no answer
		}
		went++
		for _, one := range ids { // what the run before sent again is a dead letter anew
			if rec(t, l, one).State.Pending() {
				failWith(t, l, one, "no such supplier")
			}
		}
		var op ferry.Operation
		for range 2 * len(ids) {
			if op = carryOn(t, l, id); op.State == ferry.OperationDone {
				break
			}
			must0(t, l.update(t.Context(), 0, forwardRate(l, id)))
		}
		if got := generations(t, l, ids); op.State != ferry.OperationDone || op.Done != len(ids) || got[2] != len(ids) {
			t.Errorf("place %d: %+v, generations %v", i, op, got)
		}
		must0(t, l.sound())
		must0(t, l.Close())
	}
	if went < 15 {
		t.Errorf("the operation went on from %d places only", went)
	}
}

func TestACanaryStopsOnlyTheGroupThatFailsAsBefore(t *testing.T) {
	l := newLedger(t)
	a := deadOf(t, l, 30, "field 7 is missing")
	b := deadOf(t, l, 20, "customer 4711 is blocked")
	c := deadOf(t, l, 10, "the period is closed", func(m *ferry.Message) { m.Route = otherRoute })
	all := append(append(append([]ferry.ID{}, a...), b...), c...)
	id := startOperation(t, l, ferry.ActReplay, all, withCanary(5))
	op := carryOn(t, l, id)
	if op.Done != 5 || op.Canary.Sent != 5 || op.Canary.Waiting() != 5 || op.State != ferry.OperationRunning {
		t.Fatalf("the canary: %+v %+v", op, op.Canary)
	}
	per := map[string]int{}
	for _, m := range op.Canary.Messages {
		per[m.Group]++
	}
	if len(per) != 3 {
		t.Fatalf("the canary is of %v, not of every group", per)
	}
	l = reopen(t, l) // what it waits for survives
	if op := carryOn(t, l, id); op.Done != 5 {
		t.Fatalf("after a restart it did not wait: %+v", op)
	}
	for _, m := range op.Canary.Messages {
		if m.Group == rec(t, l, a[29]).Dead.Group {
			failWith(t, l, m.ID, "field 12 is missing")
		} else {
			report(t, l, m.ID, ferry.Delivered, ferry.Next{})
		}
	}
	l = reopen(t, l)
	op = carryOn(t, l, id)
	sentA := per[rec(t, l, a[29]).Dead.Group]
	if op.State != ferry.OperationStopped || op.Done != 30+sentA || op.Left() != 30-sentA {
		t.Fatalf("after the canary: %+v", op)
	}
	if !strings.Contains(op.Stopped, "failed as before: field 12 is missing") || op.Canary.Completed+op.Canary.Alike != 5 || op.Canary.Alike != sentA {
		t.Errorf("it says: %q, %+v", op.Stopped, op.Canary)
	}
	states := []string{}
	for _, g := range op.Groups {
		states = append(states, g.Description+": "+g.State)
	}
	if diff := cmp.Diff([]string{"field # is missing: stopped", "customer # is blocked: done", "the period is closed: done"}, states); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	// Somebody mends it and has it go on.
	if _, err := l.ContinueOperation(t.Context(), id, "field added", "bob"); err != nil {
		t.Fatal(err)
	}
	if op = carryOn(t, l, id); op.State != ferry.OperationDone || op.Done != 60 {
		t.Fatalf("after it went on: %+v", op)
	}
	if got := generations(t, l, all); got[2] != 60 {
		t.Errorf("generations %v", got)
	}
	_, err := l.ContinueOperation(t.Context(), id, "", "bob")
	wantCode(t, err, ferry.CodeConflict)
	must0(t, l.sound())
}

func TestACanaryThatDoesNotComeThroughStops(t *testing.T) {
	for _, test := range []struct {
		name  string
		end   func(t *testing.T, l *Ledger, id ferry.ID, n int)
		state string
	}{
		{"all with another error", func(t *testing.T, l *Ledger, id ferry.ID, _ int) { failWith(t, l, id, "quite another") }, ferry.OperationStopped},
		{"one of them with another error", func(t *testing.T, l *Ledger, id ferry.ID, n int) {
			if n == 0 {
				failWith(t, l, id, "quite another")
			} else {
				report(t, l, id, ferry.Delivered, ferry.Next{})
			}
		}, ferry.OperationDone},
		{"the last as before", func(t *testing.T, l *Ledger, id ferry.ID, n int) {
			if n == 2 {
				failWith(t, l, id, "field 9 is missing")
			} else {
				report(t, l, id, ferry.Delivered, ferry.Next{})
			}
		}, ferry.OperationStopped},
		{"all discarded", func(t *testing.T, l *Ledger, id ferry.ID, _ int) {
			failWith(t, l, id, "quite another")
			must0(t, l.Discard(t.Context(), id, "no", "ann"))
		}, ferry.OperationStopped},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLedger(t)
			ids := deadOf(t, l, 8, "field 7 is missing")
			id := startOperation(t, l, ferry.ActReplay, ids, withCanary(3))
			op := carryOn(t, l, id)
			for n, m := range op.Canary.Messages {
				test.end(t, l, m.ID, n)
			}
			if op = carryOn(t, l, id); op.State != test.state {
				t.Errorf("%s: %+v %+v", op.State, op, op.Canary)
			}
		})
	}
}

// A canary message that was discarded and restored has not ended, and ends once.
func TestACanaryWaitsForAMessageThatWasRestored(t *testing.T) {
	l := newLedger(t)
	ids := deadOf(t, l, 6, "field 7 is missing")
	id := startOperation(t, l, ferry.ActReplay, ids, withCanary(2))
	op := carryOn(t, l, id)
	one, other := op.Canary.Messages[0].ID, op.Canary.Messages[1].ID
	must0(t, l.Discard(t.Context(), one, "not this one", "bob"))
	if op = carryOn(t, l, id); op.Canary.Waiting() != 1 || op.Canary.Messages[0].End != ferry.CanaryDiscarded {
		t.Errorf("after the discard: %+v", op.Canary)
	}
	must0(t, l.Restore(t.Context(), one, "after all", "bob"))
	if op = carryOn(t, l, id); op.Canary.Waiting() != 2 {
		t.Errorf("after the restore: %+v", op.Canary)
	}
	report(t, l, one, ferry.Delivered, ferry.Next{})
	if op = carryOn(t, l, id); op.Done != 2 || op.Canary.Waiting() != 1 {
		t.Errorf("it does not wait for the other: %+v, %+v", op, op.Canary)
	}
	report(t, l, other, ferry.Delivered, ferry.Next{})
	if op = carryOn(t, l, id); op.State != ferry.OperationDone || op.Done != 6 || op.Canary.Completed != 2 {
		t.Errorf("at the end: %+v, %+v", op, op.Canary)
	}
	must0(t, l.sound())
}

// Whatever has the broker stop an operation, the audit log has it.
func TestAnOperationThatIsHaltedIsInTheAuditLog(t *testing.T) {
	l := newLedger(t)
	id := startOperation(t, l, ferry.ActReplay, deadOf(t, l, 3, "field 7 is missing"))
	must0(t, l.HaltOperation(t.Context(), id, "the ledger cannot carry it on: a record is damaged"))
	must0(t, l.HaltOperation(t.Context(), id, "once more")) // it is stopped already
	entries, err := l.Audit(0, time.Time{}, 100)
	must0(t, err)
	var stops []ferry.AuditEntry
	for _, e := range entries {
		if e.Act == "operations stop" {
			stops = append(stops, ferry.AuditEntry{By: e.By, Target: e.Target, Detail: e.Detail, Note: e.Note})
		}
	}
	want := []ferry.AuditEntry{{By: "broker", Target: "operation " + id, Detail: "3 of 3 left", Note: "the ledger cannot carry it on: a record is damaged"}}
	if diff := cmp.Diff(want, stops); diff != "" {
		t.Errorf("stops in the log (-want +got):\n%s", diff)
	}
}

// Groups that got no canary of their own wait for those of the others.
func TestMoreGroupsThanCanaries(t *testing.T) {
	texts := []string{"the supplier is blocked", "the item is blocked", "the customer is blocked"}
	for name, come := range map[string]bool{"through": true, "failed": false} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t)
			var ids []ferry.ID
			for i, text := range texts {
				ids = append(ids, deadOf(t, l, 5-i, text)...)
			}
			id := startOperation(t, l, ferry.ActReplay, ids, withCanary(2))
			op := carryOn(t, l, id)
			if op.Done != 2 || op.Groups[2].State != ferry.GroupWaiting {
				t.Fatalf("%+v", op)
			}
			for i, m := range op.Canary.Messages {
				if come && i == 0 {
					report(t, l, m.ID, ferry.Delivered, ferry.Next{})
				} else {
					failWith(t, l, m.ID, texts[i])
				}
			}
			op = carryOn(t, l, id)
			want := 2
			if come {
				want = 1 + 5 + 3
			}
			if op.State != ferry.OperationStopped || op.Done != want {
				t.Errorf("%+v", op)
			}
		})
	}
}

func TestManyAlikeInARowStopTheRest(t *testing.T) {
	l := newLedger(t)
	ids := deadOf(t, l, 40, "field 7 is missing")
	id := startOperation(t, l, ferry.ActReplay, ids, withCanary(1), withRate(1, time.Hour))
	op := carryOn(t, l, id)
	report(t, l, op.Canary.Messages[0].ID, ferry.Delivered, ferry.Next{})
	for n := 1; ; n++ {
		must0(t, l.update(t.Context(), 0, forwardRate(l, id)))
		if op = carryOn(t, l, id); op.State != ferry.OperationRunning {
			break
		}
		for _, one := range ids {
			if rec(t, l, one).State.Pending() && n == 5 {
				report(t, l, one, ferry.Delivered, ferry.Next{}) // the row begins anew
			} else if rec(t, l, one).State.Pending() {
				failWith(t, l, one, "field 8 is missing")
			}
		}
	}
	if op.Done != 1+5+mostAlike || !strings.Contains(op.Stopped, "10 messages in a row failed as before") {
		t.Errorf("stopped after %d: %q", op.Done, op.Stopped)
	}
}

// What was selected is that dead letter: one that somebody sent again meanwhile, and
// that failed anew, is another.
func TestASelectionIsFrozen(t *testing.T) {
	l := newLedger(t)
	ids := deadOf(t, l, 6, "field 7 is missing")
	id := startOperation(t, l, ferry.ActReplay, ids)
	later := deadOf(t, l, 1, "field 7 is missing")
	must0(t, l.Replay(t.Context(), ids[0], nil, "", "", "bob"))
	must0(t, l.Replay(t.Context(), ids[1], nil, "", "", "bob"))
	failWith(t, l, ids[1], "field 7 is missing")
	must0(t, l.AcceptDead(t.Context(), ids[2], "R", "", "bob"))
	must0(t, l.Discard(t.Context(), ids[3], "", "bob"))
	op := carryOn(t, l, id)
	want := map[ferry.SkipReason]int{ferry.SkipPending: 1, ferry.SkipFailedAnew: 1, ferry.SkipCompleted: 1, ferry.SkipDiscarded: 1}
	if diff := cmp.Diff(want, op.SkippedBy); diff != "" || op.Done != 2 || op.Skipped != 4 || op.State != ferry.OperationDone || len(op.Examples) != 4 {
		t.Errorf("%+v (-want +got):\n%s", op, diff)
	}
	wantState(t, l, later[0], ferry.StateDeadLettered)
	report(t, l, ids[4], ferry.Delivered, ferry.Next{})
	failWith(t, l, ids[5], "no")
	if op, _ = l.Operation(id); op.Completed != 1 || op.FailedAgain != 1 || op.Out() != 0 {
		t.Errorf("what became of them: %+v", op)
	}
	must0(t, l.AcceptDead(t.Context(), ids[5], "R", "", "bob"))
	if op, _ = l.Operation(id); op.Completed != 2 || op.FailedAgain != 0 {
		t.Errorf("after one was accepted: %+v", op)
	}
}

// Messages of one ordering key come back in the order of their acceptance, whatever
// became a dead letter first.
func TestAReplayKeepsTheOrderOfAKey(t *testing.T) {
	l := newLedger(t)
	var ids []ferry.ID
	for range 5 {
		ids = append(ids, accept(t, l, `{}`, withOrder("k")))
	}
	fail := func(id ferry.ID) {
		r := rec(t, l, id)
		_, err := l.ApplyReceipts(t.Context(), []ferry.Receipt{{ID: id, Route: testRoute, Turn: r.Turn, Verdict: ferry.Rejected, Next: setAside(ferry.ReasonRejected), Attempts: []ferry.Attempt{{Turn: r.Turn}}}}, onward)
		must0(t, err)
	}
	for _, id := range ids {
		fail(id)
	}
	// The last that failed is the first that was accepted.
	must0(t, l.Replay(t.Context(), ids[0], nil, "", "", "bob"))
	fail(ids[0])
	s, err := l.SelectDead(t.Context(), ferry.DeadLetterFilter{Route: testRoute}, func(string) string { return "" }, func(*ferry.DeadLetter) bool { return true })
	must0(t, err)
	op := ferry.Operation{ID: ferry.NewID(time.Now()).String(), Act: ferry.ActReplay, CreatedAt: time.Now()}
	must0(t, l.StartOperation(t.Context(), op, s))
	carryOn(t, l, op.ID)
	seq := uint64(0)
	for i, id := range ids {
		r := rec(t, l, id)
		if r.OrderSeq <= seq {
			t.Errorf("message %d stands before the one that was accepted before it", i)
		}
		seq = r.OrderSeq
	}
	must0(t, l.sound())
}

func TestADiscardIsTakenBackAsAWhole(t *testing.T) {
	l := newLedger(t)
	ids := deadOf(t, l, 5, "field 7 is missing")
	waiting := accept(t, l, `{}`)
	id := startOperation(t, l, ferry.ActDiscard, append(ids, waiting))
	if op := carryOn(t, l, id); op.State != ferry.OperationDone || op.Done != 6 {
		t.Fatalf("%+v", op)
	}
	by := deadOf(t, l, 1, "field 7 is missing")[0]
	must0(t, l.Discard(t.Context(), by, "by hand", "bob"))
	must0(t, l.Restore(t.Context(), ids[0], "", "bob"))
	must0(t, l.SweepOperations(t.Context(), time.Now().Add(-time.Hour)))
	s, err := l.SelectOperation(t.Context(), id)
	must0(t, err)
	if s.Len() != 5 || s.Gone != 1 {
		t.Fatalf("%d can be taken back, %d are gone", s.Len(), s.Gone)
	}
	undo := ferry.Operation{ID: ferry.NewID(time.Now()).String(), Act: ferry.ActRestore, Undoes: id, CreatedAt: time.Now()}
	must0(t, l.StartOperation(t.Context(), undo, s))
	if op := carryOn(t, l, undo.ID); op.Done != 5 || op.State != ferry.OperationDone {
		t.Fatalf("%+v", op)
	}
	for _, one := range ids {
		wantState(t, l, one, ferry.StateDeadLettered)
	}
	wantState(t, l, waiting, ferry.StateAccepted)
	wantState(t, l, by, ferry.StateDiscarded)
	if op, _ := l.Operation(id); op.Restored != 6 {
		t.Errorf("restored since: %+v", op)
	}
	if s, err = l.SelectDiscarded(t.Context(), ferry.DeadLetterFilter{Route: testRoute}, func(string) string { return "" }); err != nil || s.Len() != 1 {
		t.Errorf("by a filter: %d, %v", s.Len(), err)
	}
	must0(t, l.SweepOperations(t.Context(), time.Now().Add(time.Hour)))
	if s, err = l.SelectOperation(t.Context(), id); err != nil || s.Len() != 0 || s.Gone != 6 {
		t.Errorf("after the retention: %+v, %v", s, err)
	}
	_, err = l.SelectOperation(t.Context(), undo.ID)
	wantCode(t, err, ferry.CodeBadFilter)
	must0(t, l.sound())
}

func TestOperationsAreBounded(t *testing.T) {
	l := newLedger(t)
	ids := deadOf(t, l, 3, "field 7 is missing")
	var started []string
	for range ferry.MaxOperations {
		started = append(started, startOperation(t, l, ferry.ActReplay, ids))
	}
	s, err := l.SelectIDs(ids, ofNobody)
	must0(t, err)
	err = l.StartOperation(t.Context(), ferry.Operation{ID: ferry.NewID(time.Now()).String(), Act: ferry.ActReplay}, s)
	wantCode(t, err, ferry.CodeLimitReached)
	l = reopen(t, l)
	for _, id := range started {
		op, err := l.CancelOperation(t.Context(), id, "too many", "ann")
		if err != nil || op.State != ferry.OperationCancelled {
			t.Fatalf("%+v, %v", op, err)
		}
	}
	_, err = l.CancelOperation(t.Context(), started[0], "", "ann")
	wantCode(t, err, ferry.CodeConflict)
	if !l.HasLeftovers() {
		t.Error("nothing is left of cancelled selections")
	}
	must0(t, l.SweepOperations(t.Context(), time.Time{}))
	if op := carryOn(t, l, started[0]); op.Done != 0 || op.State != ferry.OperationCancelled {
		t.Errorf("a cancelled one went on: %+v", op)
	}
	for _, id := range started {
		n := 0
		must0(t, l.update(t.Context(), 0, countRows(id, &n)))
		if n != 0 {
			t.Fatalf("%d rows are left", n)
		}
	}
	must0(t, l.update(t.Context(), 0, func(tx *bbolt.Tx) error {
		for range maxOperations - ferry.MaxOperations + 5 { // the oldest are forgotten
			op := operationRow{Operation: ferry.Operation{ID: ferry.NewID(time.Now()).String(), State: ferry.OperationDone}, Layout: layoutFrozen}
			if err := putJSON(tx, bOperations, []byte(op.ID), op); err != nil {
				return err
			}
		}
		return nil
	}))
	l = reopen(t, l)
	must0(t, l.SweepOperations(t.Context(), time.Time{}))
	list, err := l.Operations()
	if err != nil || len(list) != maxOperations {
		t.Errorf("%d operations are kept, %v", len(list), err)
	}
	_, err = l.Operation(slices.Min(started))
	wantCode(t, err, ferry.CodeNotFound)
}

// A discard that can still be taken back is not forgotten for operations that came
// later; there is a bound for those, too.
func TestADiscardIsNotForgottenForLaterOperations(t *testing.T) {
	l := newLedger(t)
	ids := deadOf(t, l, 3, "field 7 is missing")
	id := startOperation(t, l, ferry.ActDiscard, ids)
	carryOn(t, l, id)
	put := func(n int, act string) {
		t.Helper()
		must0(t, l.update(t.Context(), 0, func(tx *bbolt.Tx) error {
			now := time.Now()
			for range n {
				op := operationRow{
					Operation: ferry.Operation{ID: ferry.NewID(now).String(), Act: act, State: ferry.OperationDone, FinishedAt: &now},
					Layout:    layoutFrozen, Swept: act != ferry.ActDiscard,
				}
				if err := putJSON(tx, bOperations, []byte(op.ID), op); err != nil {
					return err
				}
			}
			return nil
		}))
		l = reopen(t, l)
	}
	put(maxOperations+2, ferry.ActReplay)
	must0(t, l.SweepOperations(t.Context(), time.Now().Add(-time.Hour)))
	if n := len(l.OperationsIn(ferry.OperationDone)); n != maxOperations+1 {
		t.Errorf("%d operations are kept", n)
	}
	s, err := l.SelectOperation(t.Context(), id)
	if err != nil || s.Len() != len(ids) {
		t.Fatalf("the discard can be taken back of %+v, %v", s, err)
	}
	put(maxDiscards, ferry.ActDiscard)
	must0(t, l.SweepOperations(t.Context(), time.Now().Add(-time.Hour)))
	if n := len(l.OperationsIn(ferry.OperationDone)); n != maxOperations+maxDiscards {
		t.Errorf("%d operations are kept", n)
	}
	_, err = l.SelectOperation(t.Context(), id)
	wantCode(t, err, ferry.CodeNotFound)
}

// An operation of before selections were frozen with groups goes on.
func TestAnOperationOfAnEarlierVersionGoesOn(t *testing.T) {
	l := newLedger(t)
	ids := deadOf(t, l, 5, "field 7 is missing")
	id := ferry.NewID(time.Now()).String()
	must0(t, l.update(t.Context(), 0, earlierOperation(id, ids, 2)))
	l = reopen(t, l)
	op := carryOn(t, l, id)
	if op.State != ferry.OperationDone || op.Done != 5 {
		t.Fatalf("%+v", op)
	}
	if got := generations(t, l, ids); got[1] != 2 || got[2] != 3 {
		t.Errorf("generations %v: the first two had been done", got)
	}
}

// forwardRate lets the next tick of the rate be due.
func forwardRate(l *Ledger, id string) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		l.operationOf(tx, id).TickAt = time.Time{}
		return nil
	}
}

func countRows(id string, n *int) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		c := tx.Bucket(bSelected).Cursor()
		for k, _ := c.Seek([]byte(id)); isRow(k, id); k, _ = c.Next() {
			*n++
		}
		return nil
	}
}

// earlierOperation writes what an earlier version did of an operation of which the
// first ids are done.
func earlierOperation(id string, ids []ferry.ID, done int) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		for i, one := range ids {
			if err := tx.Bucket(bSelected).Put(rowKey(id, uint32(i)), one[:]); err != nil {
				return err
			}
		}
		return tx.Bucket(bOperations).Put([]byte(id), fmt.Appendf(nil, `{"id":%q,"act":"replay","state":"running","total":%d,"done":%d}`, id, len(ids), done))
	}
}

// A replay with a canary has a bounded number on their way, and goes on in steps of
// many when half of them have ended.
func TestAReplayWithACanaryWaitsForEnds(t *testing.T) {
	l := newLedger(t)
	ids := deadMany(t, l, mostOut+900)
	id := startOperation(t, l, ferry.ActReplay, ids, withCanary(1))
	op := carryOn(t, l, id)
	report(t, l, op.Canary.Messages[0].ID, ferry.Delivered, ferry.Next{})
	if op = carryOn(t, l, id); op.Done != mostOut+1 {
		t.Fatalf("%d are on their way", op.Out())
	}
	end := func(n int) {
		var receipts []ferry.Receipt
		for _, one := range ids {
			if r := rec(t, l, one); r.State.Pending() && len(receipts) < n {
				receipts = append(receipts, ferry.Receipt{ID: one, Route: testRoute, Turn: r.Turn, Revision: 1, Verdict: ferry.Delivered})
			}
		}
		_, err := l.ApplyReceipts(t.Context(), receipts, park)
		must0(t, err)
	}
	end(100)
	if op = carryOn(t, l, id); op.Done != mostOut+1 {
		t.Fatalf("it goes on after a few: %d done", op.Done)
	}
	end(mostOut/2 - 100)
	if op = carryOn(t, l, id); op.Done != mostOut+1+mostOut/2 {
		t.Fatalf("it does not go on: %d done, %d on their way", op.Done, op.Out())
	}
}
