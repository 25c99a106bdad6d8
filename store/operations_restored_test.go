package store

import (
	"strings"
	"testing"
	"time"

	"ferry"
)

// A bulk act that a backup caught half way may have gone on after it: a ledger that was
// restored does nothing more of it by itself, and above all posts no unknown outcome
// again, until a person says so.
func TestARestoredLedgerStopsWhatRanInBulk(t *testing.T) {
	l := newLedger(t)
	unknown := func(n int) (ids []ferry.ID) {
		for range n {
			id := accept(t, l, "{}")
			report(t, l, id, ferry.Unknown, setAside(ferry.ReasonOutcomeUnknown), func(rc *ferry.Receipt) { rc.Effect = ferry.EffectMaybe })
			ids = append(ids, id)
		}
		return ids
	}
	sent, ended, tested := unknown(3), unknown(2), deadOf(t, l, 20, "field 7 is missing")
	canary := deadOf(t, l, 8, "customer 4711 is blocked")
	replay := startOperation(t, l, ferry.ActReplay, sent, withRate(1, time.Hour))
	discard := startOperation(t, l, ferry.ActDiscard, ended, withRate(1, time.Hour))
	trying := startOperation(t, l, ferry.ActReplay, tested, withCanary(2))
	stopped := startOperation(t, l, ferry.ActReplay, canary, withCanary(1))
	for _, id := range []string{replay, discard, trying} {
		carryOn(t, l, id)
	}
	failWith(t, l, carryOn(t, l, stopped).Canary.Messages[0].ID, "customer 4711 is blocked")
	whole := deadOf(t, l, 1, "gone")
	done := startOperation(t, l, ferry.ActReplay, whole)
	carryOn(t, l, done)
	before := carryOn(t, l, stopped)
	if before.State != ferry.OperationStopped {
		t.Fatalf("the canary did not stop it: %+v", before)
	}

	dir := t.TempDir()
	if _, err := restoreTo(t, takeBackup(t, l), dir); err != nil {
		t.Fatal(err)
	}
	r := openIn(t, dir, Options{FileID: cannotTell})
	if running := r.OperationsIn(ferry.OperationRunning); len(running) > 0 {
		t.Errorf("%v still run", running)
	}
	for id, doneBefore := range map[string]int{replay: 1, discard: 1, trying: 2} {
		op := carryOn(t, r, id)
		if op.State != ferry.OperationStopped || op.Done != doneBefore || !strings.Contains(op.Stopped, "the ledger was restored") {
			t.Errorf("%s: %s, %d done: %q", op.Act, op.State, op.Done, op.Stopped)
		}
	}
	if op := carryOn(t, r, stopped); op.State != ferry.OperationStopped || op.Stopped != before.Stopped {
		t.Errorf("the one that its canary stopped: %s: %q", op.State, op.Stopped)
	}
	if op := carryOn(t, r, done); op.State != ferry.OperationDone {
		t.Errorf("the one that was done: %s", op.State)
	}
	if got := generations(t, r, sent); got[2] != 1 {
		t.Errorf("unknown outcomes that were sent again: generations %v", got)
	}
	for _, id := range sent {
		if rec(t, r, id).Risk {
			t.Errorf("message %s would be posted without a lookup", id)
		}
	}
	log, err := r.Audit(0, time.Time{}, 1000)
	must0(t, err)
	told := map[string]bool{}
	for _, e := range log {
		if e.Act == "operations stop" && strings.Contains(e.Note, "the ledger was restored") {
			told[e.Target] = true
		}
	}
	if len(told) != 3 || !told["operation "+replay] {
		t.Errorf("the audit log tells that these were stopped: %v", told)
	}

	// What becomes of a canary message says nothing of the restore.
	failWith(t, r, carryOn(t, r, trying).Canary.Messages[0].ID, "field 7 is missing")
	if op := carryOn(t, r, trying); op.State != ferry.OperationStopped || !strings.Contains(op.Stopped, "the ledger was restored") {
		t.Errorf("after the end of a canary message: %s: %q", op.State, op.Stopped)
	}
	// A person says yes, and another start asks nobody again.
	if _, err := r.ContinueOperation(t.Context(), replay, "looked at the ERP", "bob"); err != nil {
		t.Fatal(err)
	}
	r = reopen(t, r)
	must0(t, r.update(t.Context(), 0, forwardRate(r, replay)))
	if op := carryOn(t, r, replay); op.State != ferry.OperationRunning || op.Done != 2 {
		t.Errorf("after it went on: %s, %d done", op.State, op.Done)
	}
	must0(t, r.sound())
}
