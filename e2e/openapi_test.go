package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/internal/prism"
)

// TestImportedRoute goes the newcomer's way: from a description to a delivered
// message, with what worker import wrote; and from a message that the description
// refuses to one that is mended.
func TestImportedRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{routes: []string{"create-invoice"}})
	w.importRoute(w.erpURL)
	if docs := w.erp.Documents("INV-1"); len(docs) != 1 || !strings.Contains(string(docs[0].Body), `"total":1234567890123456.10`) {
		t.Errorf("%d documents", len(docs))
	}
	if n := len(w.erp.Documents("INV-2")); n != 1 {
		t.Errorf("%d documents of the mended message", n)
	}
}

// TestPrismDelivers: the same to Prism.
func TestPrismDelivers(t *testing.T) {
	w := newWorld(t, options{routes: []string{"create-invoice"}})
	w.importRoute(prism.Start(t, "../examples/openapi/invoices.yaml"))
}

func (w *world) importRoute(address string) {
	t := w.t
	t.Helper()
	spec, err := os.ReadFile("../examples/openapi/invoices.yaml")
	if err != nil {
		t.Fatal(err)
	}
	w.write("invoices.yaml", strings.Replace(string(spec), "https://{host}/api", address, 1))
	if r := command(t, w.dir, "worker", "import", "openapi", "invoices.yaml", "--operation", "createInvoice", "--worker", "erp-worker", "--out", "made.yaml"); r.code != 0 {
		t.Fatalf("%s%s", r.out, r.errOut)
	}
	made, err := os.ReadFile(w.path("made.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// What a person fills in: where the queue is, and the key.
	before, rest, _ := strings.Cut(string(made), "queue:\n")
	_, rest, _ = strings.Cut(rest, "destinations:\n")
	text := before + "queue: " + w.workerQueue("erp-worker", "30s") + "\ndestinations:\n" + strings.Replace(rest, "env:INVOICES_KEY", "file:./key", 1)
	w.write("worker.yaml", text)
	w.write("key", "any\n")
	w.start()
	if r := command(t, w.dir, "worker", "check", "--config", "worker.yaml"); r.code != 0 {
		t.Errorf("%s%s", r.out, r.errOut)
	}

	const body = `{"number":"4711","supplier":{"id":"S-1"},"date":"2026-01-31","currency":"EUR","total":1234567890123456.10,"lines":[{"account":"4400","amount":1234567890123456.10}]}`
	sent := w.send("create-invoice", "INV-1", body)
	if done := w.await(sent.ID, ferry.StateCompleted, 20*time.Second); done.Reference != "INV-000001" {
		t.Errorf("reference %q", done.Reference)
	}
	wrong := w.send("create-invoice", "INV-2", strings.Replace(body, "EUR", "CHF", 1))
	dead := w.await(wrong.ID, ferry.StateDeadLettered, 20*time.Second)
	if a := dead.Attempts[len(dead.Attempts)-1]; a.Code != "schemaViolation" || a.Status != 0 || len(a.Fields) != 1 || a.Fields[0].Field != "/currency" {
		t.Errorf("%+v", a)
	}
	if shown := w.cli("dlq", "show", wrong.ID.String()); !strings.Contains(shown, "/currency") || !strings.Contains(shown, "must be one of EUR, USD, GBP") {
		t.Error(shown)
	}
	w.write("mended.json", body)
	w.cli("dlq", "edit", wrong.ID.String(), "-f", w.path("mended.json"), "--yes")
	w.await(wrong.ID, ferry.StateCompleted, 20*time.Second)
}
