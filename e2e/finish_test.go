package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// finishing are dialects whose documents are created and then acted on.
var finishing = map[string]string{ // dialect -> further keys of the example's route
	"bc": "", "tryton": "", "frappe": "finish: submit", "odoo-jsonrpc": "",
	"odata": "finish: release\n    finished: '.status == \"released\"'",
}

// finishWorld has the dialect's example deliver to the practice ERP, with an act
// after the create.
func finishWorld(t *testing.T, dialect, more string) *world {
	t.Helper()
	w := newWorld(t, options{erp: practice.Settings{Dialect: dialect}, lock: "5s"})
	example, err := practice.Example(dialect)
	if err != nil {
		t.Fatal(err)
	}
	w.write("practice.key", "any\n")
	text := strings.NewReplacer(
		practice.ExampleURL, w.erpURL, practice.ExampleKey, `"file:./practice.key"`, "timeout: 10s", "timeout: 2s",
		"name: supplier-invoices", "name: "+invoices,
	).Replace(example)
	if more != "" {
		text += "    " + more + "\n"
	}
	if !strings.Contains(text, "finish:") {
		t.Fatalf("the example of %s has no act:\n%s", dialect, text)
	}
	w.write("worker.yaml", fmt.Sprintf("name: erp-worker\ndataDir: ./erp-worker-data\nqueue: %s\n%s    settleTime: 300ms\n", w.workerQueue("erp-worker", "5s"), text))
	w.start()
	return w
}

const finishBody = `{"invoice":{"number":"INV-7","supplier":"Contoso","currency":"EUR","total":11.90,"date":"2026-11-26"}}`

// wantOneDocument: one create, whatever came after it.
func (w *world) wantOneDocument() {
	w.t.Helper()
	docs := w.erp.Documents("")
	if len(docs) != 1 || docs[0].Appended != 0 || w.erp.Calls(practice.OpCreate) != 1 {
		w.t.Errorf("%d creates left %+v", w.erp.Calls(practice.OpCreate), docs)
	}
}

// TestKilledBetweenCreateAndFinish: the worker dies while the ERP posts what it has
// created. The document is found again, and only posted.
func TestKilledBetweenCreateAndFinish(t *testing.T) {
	for dialect, more := range finishing {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := finishWorld(t, dialect, more)
			w.fail(practice.Fault{Kind: practice.FaultHang, On: practice.OpFinish})
			id := w.send(invoices, "finish-1", finishBody).ID
			eventually(t, 20*time.Second, func() string {
				if n := w.erp.Calls(practice.OpFinish); n == 0 {
					return "the act was not asked for"
				}
				return ""
			})
			w.worker.kill()
			w.startWorker()
			e := w.await(id, ferry.StateCompleted, 30*time.Second)
			w.wantOneDocument()
			if e.Reference == "" || w.erp.Calls(practice.OpFinish) < 2 {
				t.Errorf("completed as %q after %d acts", e.Reference, w.erp.Calls(practice.OpFinish))
			}
		})
	}
}

// TestFinishThatIsRefused: what the ERP creates and will not post is a dead letter
// that says which document is there; sent again, it is posted and not made twice.
func TestFinishThatIsRefused(t *testing.T) {
	for dialect, more := range finishing {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			w := finishWorld(t, dialect, more)
			w.fail(practice.Fault{Kind: practice.FaultStatus, Status: 400, Code: "validation", Text: "the period is closed", On: practice.OpFinish})
			id := w.send(invoices, "finish-2", finishBody).ID
			e := w.await(id, ferry.StateDeadLettered, 20*time.Second)
			if e.DeadLetter.Reason != ferry.ReasonRejected || !strings.Contains(e.DeadLetter.Description, "is there, and ") ||
				!strings.Contains(e.DeadLetter.Description, "the period is closed") {
				t.Errorf("dead letter %+v", e.DeadLetter)
			}
			w.cli("dlq", "replay", id.String())
			if e := w.await(id, ferry.StateCompleted, 20*time.Second); e.Reference == "" {
				t.Error("completed without a reference")
			}
			w.wantOneDocument()
		})
	}
}
