package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/mapping"
)

// invoiceWorld maps JSON on one route, and passes through on the other.
func invoiceWorld(t *testing.T) *world {
	t.Helper()
	program, err := os.ReadFile("testdata/invoice.jq")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, options{routes: []string{invoices, "plain-invoices"}})
	text, err := os.ReadFile(w.path("worker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	indented := strings.ReplaceAll(strings.TrimSpace(string(program)), "\n", "\n      ")
	w.write("worker.yaml", strings.Replace(string(text), "  - name: "+invoices+"\n", "  - name: "+invoices+"\n    map: |\n      "+indented+"\n", 1))
	w.start()
	return w
}

// TestInvoices: invoices come to the ERP as the mapping says, with exact amounts.
func TestInvoices(t *testing.T) {
	t.Parallel()
	w := invoiceWorld(t)
	for file, want := range map[string]string{
		"one-line.json": `{"currency":"EUR","issued":"2026-11-02","lines":[{"amount":1234567890123456.10,"id":"1","quantity":3.000}],` +
			`"linesTotal":1234567890123456.10,"number":"FB-2026-0017","supplier":"Fährbetrieb Süderhaff GmbH","tax":0.00,"total":1234567890123456.10}`,
		"many-lines.json": `{"currency":"SEK","issued":"2026-11-09","lines":[{"amount":9007199254740993.00,"id":"1","quantity":1},` +
			`{"amount":0.10,"id":"2","quantity":0.5},{"amount":0.20,"id":"3","quantity":2}],` +
			`"linesTotal":9007199254740993.30,"number":"2026/118-B","supplier":"Repslagaren & Co <Öst>","tax":0.30,"total":9007199254740993.30}`,
		"credit-note.json": `{"currency":"EUR","issued":"2026-11-12","lines":[{"amount":-50.00,"id":"1","quantity":-1},{"amount":150.00,"id":"2","quantity":3}],` +
			`"linesTotal":100.00,"number":"C-88","supplier":"Hafenlicht AG","tax":19.00,"total":119.00}`,
	} {
		if got := w.deliverFile(invoices, filepath.Join("testdata", file)); string(got) != want {
			t.Errorf("%s:\n got %s\nwant %s", file, got, want)
		}
	}
}

// TestInvoicePassedThrough: what no mapping touches arrives as it was sent.
func TestInvoicePassedThrough(t *testing.T) {
	t.Parallel()
	w := invoiceWorld(t)
	for _, file := range []string{"testdata/passed-through.xml", "testdata/many-lines.json"} {
		w.passThrough(file)
	}
}

// TestInvoicesOfFolder sends every .json through the mapping and every .xml as it
// is. Without a folder of one's own it takes testdata.
func TestInvoicesOfFolder(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("FERRY_INVOICES_DIR")
	if dir == "" {
		dir = "testdata"
	}
	w := invoiceWorld(t)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, file := range files {
		switch filepath.Ext(file) {
		case ".json":
			wantAmounts(t, file, w.deliverFile(invoices, file))
		case ".xml":
			w.passThrough(file)
		default:
			continue
		}
		sent++
	}
	if sent == 0 {
		t.Fatalf("%s holds no invoice", dir)
	}
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: int64(sent), Completed: int64(sent)}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
}

// deliverFile sends a file and gives the body that came to the ERP.
func (w *world) deliverFile(route, file string) []byte {
	w.t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	key := route + "-" + filepath.Base(file)
	a := w.send(route, key, string(body))
	e := w.await(a.ID, ferry.StateCompleted, 10*time.Second)
	d := w.document(key)
	if e.Reference != d.ID {
		w.t.Errorf("%s is completed as %q, and is %s", file, e.Reference, d.ID)
	}
	if d.Body == nil {
		return []byte(d.Text)
	}
	return d.Body
}

func (w *world) passThrough(file string) {
	w.t.Helper()
	want, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	if got := w.deliverFile("plain-invoices", file); !bytes.Equal(got, want) {
		w.t.Errorf("%s came as %q", file, got)
	}
	if d := w.document("plain-invoices-" + filepath.Base(file)); d.ContentType != "application/"+filepath.Ext(file)[1:] {
		w.t.Errorf("%s came as %s", file, d.ContentType)
	}
}

// wantAmounts holds what came against the file, whatever invoice it is: the same
// text of the amounts, and every line.
func wantAmounts(t *testing.T, file string, got []byte) {
	t.Helper()
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := mapping.Compile(`[.. | objects | .PayableAmount? // empty | .["#"]?] + [.. | objects | (.InvoiceLine? // .CreditNoteLine? // empty)` +
		` | if type == "array" then .[] else . end | .LineExtensionAmount["#"]]`)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := plain.Run(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	if err := json.Unmarshal(texts, &want); err != nil || len(want) < 2 {
		t.Fatalf("%s has the amounts %s: %v", file, texts, err)
	}
	var mapped struct {
		Number, Supplier, Currency string
		Total, LinesTotal          json.Number
		Lines                      []struct{ Amount json.Number }
	}
	if err := json.Unmarshal(got, &mapped); err != nil {
		t.Fatalf("%s came as %s: %v", file, got, err)
	}
	have := []string{mapped.Total.String()}
	for _, l := range mapped.Lines {
		have = append(have, l.Amount.String())
	}
	if strings.Join(have, " ") != strings.Join(want, " ") || mapped.Number == "" || mapped.Supplier == "" || len(mapped.Currency) != 3 {
		t.Errorf("%s has the amounts %v and came as %s", file, want, got)
	}
	t.Logf("%s: %s of %s, %d lines of %s, to pay %s %s", filepath.Base(file), mapped.Number, mapped.Supplier, len(mapped.Lines), mapped.LinesTotal, mapped.Total, mapped.Currency)
}
