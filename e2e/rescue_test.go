package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// TestRestoreFromABackupUnderLoad: a backup is taken under load, then broker and
// worker are killed, and the broker's folder is deleted and restored. What was in
// the backup ends exactly once, also what the worker had delivered since; what came
// later is named as gone, with the ERP's own number.
func TestRestoreFromABackupUnderLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t, quickOptions())
	w.start()
	w.fail(practice.Fault{Kind: practice.FaultSlow, Times: -1, Delay: 400 * time.Millisecond})
	before := w.startMixedLoad(4)
	eventually(t, 60*time.Second, func() string { // the ERP is slower than the senders
		s, err := w.client.Status(t.Context())
		if err != nil || s.Waiting < 40 {
			return fmt.Sprintf("%d messages wait, %v", s.Waiting, err)
		}
		return ""
	})
	if out := w.cli("backup", "ferry.tar"); !strings.Contains(out, invoices+": up to accept number") {
		t.Errorf("backup says %q", out)
	}
	if r := w.try("backup", "ferry.tar"); r.code != 2 || !strings.Contains(r.errOut, "--force") {
		t.Errorf("a backup over another: exit code %d, %s", r.code, r.errOut)
	}
	if info, err := os.Stat(w.path("ferry.tar")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup's file: %v, %v", info, err)
	}
	w.erp.ClearFaults()
	before.awaitMore(60)
	accepted := before.end()
	eventually(t, 60*time.Second, func() string { // some of what came later is delivered
		if n := len(w.erp.Documents("")); n < len(accepted)-30 {
			return fmt.Sprintf("%d documents of %d messages", n, len(accepted))
		}
		return ""
	})
	w.broker.kill()
	w.worker.kill()
	if err := os.RemoveAll(w.path("data")); err != nil {
		t.Fatal(err)
	}

	if out := w.cli("restore", "ferry.tar", "--data", "data"); !strings.Contains(out, "gone: whatever was accepted after that moment") || !strings.Contains(out, invoices+": up to accept number") {
		t.Errorf("restore says %q", out)
	}
	if r := w.try("restore", "ferry.tar", "--data", "data"); r.code != 1 || !strings.Contains(r.errOut, "is not empty") {
		t.Errorf("a restore over another: exit code %d, %s", r.code, r.errOut)
	}
	if r := w.try("doctor", "--data", "data"); r.code != 0 && r.code != 3 || !strings.Contains(r.out, "every page is good") {
		t.Errorf("doctor on the restored folder: %d, %s%s", r.code, r.out, r.errOut)
	}
	w.startBroker()
	kept, gone := map[string]ferry.ID{}, map[ferry.ID]string{} // the gone: their documents, where there is one
	ahead := 0                                                 // delivered since, and the backup knows them as pending
	for key, id := range accepted {
		docs := w.erp.Documents(key)
		e, err := w.client.Message(t.Context(), id.String())
		switch {
		case ferry.CodeOf(err) == ferry.CodeMessageNotFound && len(docs) == 1:
			gone[id] = docs[0].ID
		case ferry.CodeOf(err) == ferry.CodeMessageNotFound:
		case err != nil:
			t.Fatal(err)
		default:
			if kept[key] = id; e.State.Pending() && len(docs) == 1 {
				ahead++
			}
		}
	}
	if len(gone) == 0 || ahead == 0 {
		t.Fatalf("of %d messages %d are gone, and %d were delivered since the backup: nothing is shown", len(accepted), len(gone), ahead)
	}
	w.startWorker()
	w.awaitGranted()
	w.namedAsGone(gone, true)
	fresh := map[string]ferry.ID{}
	for i := range 20 {
		key := fmt.Sprintf("fresh-%02d", i)
		fresh[key] = w.send(invoices, key, kibibyte(key)).ID
	}
	w.awaitDrained(2 * time.Minute)

	for key, id := range kept {
		docs := w.erp.Documents(key)
		if e := w.message(id); e.State != ferry.StateCompleted || len(docs) != 1 || e.Reference != docs[0].ID {
			t.Errorf("%s is %s as %q with %d documents: %+v", key, e.State, e.Reference, len(docs), e.DeadLetter)
		}
	}
	for key, id := range fresh {
		if e := w.message(id); e.State != ferry.StateCompleted || e.Reference != w.document(key).ID {
			t.Errorf("%s, of after the restore, is %s as %q", key, e.State, e.Reference)
		}
	}
	w.balance()
	w.namedAsGone(gone, false)
	if out := w.cli("audit", "verify"); !strings.Contains(out, "entries") {
		t.Errorf("audit verify says %q", out)
	}
	if out := w.cli("audit", "list"); !strings.Contains(out, "restore ledger") || !strings.Contains(out, "new epoch") || !strings.Contains(out, "backup") {
		t.Errorf("the audit log: %s", out)
	}
}

// namedAsGone wants reconcile to name exactly these as gone, with the ERP's
// number, and, once all is done (not early), nothing else.
func (w *world) namedAsGone(gone map[ferry.ID]string, early bool) {
	w.t.Helper()
	r := w.try("reconcile", "-o", "json")
	var proof ferry.Proof
	if err := json.Unmarshal([]byte(r.out), &proof); err != nil || r.code != 1 {
		w.t.Fatalf("reconcile: exit code %d, %v: %s", r.code, err, r.errOut)
	}
	if len(proof.Workers) != 1 || proof.Workers[0].Unreached != "" || proof.Workers[0].Records == 0 {
		w.t.Errorf("the worker's inbox: %+v", proof.Workers)
	}
	left := map[ferry.ID]string{}
	for id, reference := range gone {
		left[id] = reference
	}
	for _, f := range proof.Findings {
		reference, known := gone[f.ID]
		switch {
		case f.Kind == ferry.FindingUnknown && known && f.Reference == reference && strings.Contains(f.Text, "after the backup"):
			delete(left, f.ID)
		case f.Kind == ferry.FindingUnknown && f.Reference == "": // in the worker's hands when it was killed
			delete(left, f.ID)
		case early && f.Kind == ferry.FindingWorkerDone:
		default:
			w.t.Errorf("early %v: %+v", early, f)
		}
	}
	if len(left) > 0 {
		w.t.Errorf("%d of %d are not named as gone: %v", len(left), len(gone), left)
	}
}
