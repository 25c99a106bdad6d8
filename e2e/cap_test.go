package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/internal/cap"
)

// capERP is SAP CAP as the destination of a world.
type capERP struct {
	w    *world
	root string
}

// startCAP starts CAP, broker and worker, which deliver to its supplier invoices.
func startCAP(t *testing.T, mode cap.Mode) *capERP {
	t.Helper()
	c := &capERP{root: cap.Start(t, mode)}
	c.w = newWorld(t, options{})
	if err := os.WriteFile(c.w.path("cap.key"), []byte(cap.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.w.write("worker.yaml", fmt.Sprintf(`name: erp-worker
dataDir: ./erp-worker-data
queue: %s
destinations:
  cap:
    adapter: erp
    dialect: odata
    url: %s
    auth: {type: basic, username: %s, password: "file:./cap.key"}
    timeout: 10s
routes:
  - name: supplier-invoices
    destination: cap
    entity: SupplierInvoices(ID:guid)
    map: .invoice
    keyField: externalId
    settleTime: 1s
`, c.w.workerQueue("erp-worker", "30s"), c.root+cap.V4, cap.User))
	c.w.start()
	return c
}

// ask asks CAP itself, by-passing Ferry.
func (c *capERP) ask(method, path string, body any) map[string]any {
	c.w.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		c.w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(c.w.t.Context(), method, c.root+cap.V4+path, bytes.NewReader(data))
	if err != nil {
		c.w.t.Fatal(err)
	}
	req.SetBasicAuth(cap.User, cap.Password)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode > 299 {
		c.w.t.Fatalf("%s %s: %d %s, %v", method, path, resp.StatusCode, answer, err)
	}
	var out map[string]any
	if err := json.Unmarshal(answer, &out); err != nil {
		c.w.t.Fatal(err)
	}
	return out
}

// invoices are the documents of an external key.
func (c *capERP) invoices(key string) []any {
	c.w.t.Helper()
	list, _ := c.ask(http.MethodGet, "/SupplierInvoices?$expand=lines&$filter=externalId%20eq%20'"+key+"'", nil)["value"].([]any)
	return list
}

func capInvoice(supplier string) string {
	return fmt.Sprintf(`{"invoice":{"supplier":%q,"number":"A-1","currency":"EUR","total":25.50,"lines":[{"text":"a","amount":10.25},{"text":"b","amount":15.25}]}}`, supplier)
}

// TestCAPDuplicateEndsAsDuplicate: the invoice is there already, so that CAP
// answers 500, in production without a word. The message ends as delivered, with the
// number of the document that is there, and there is no second one.
func TestCAPDuplicateEndsAsDuplicate(t *testing.T) {
	for _, mode := range []cap.Mode{cap.Development, cap.Production} {
		t.Run(string(mode), func(t *testing.T) {
			c := startCAP(t, mode)
			fresh := c.w.await(c.w.send(invoices, "fresh", capInvoice("S-1")).ID, ferry.StateCompleted, time.Minute)
			if got := c.invoices("fresh"); len(got) != 1 || fresh.Reference == "" {
				t.Fatalf("%d invoices, reference %q", len(got), fresh.Reference)
			}
			there := c.ask(http.MethodPost, "/SupplierInvoices", map[string]any{"externalId": "there", "supplier": "S-1", "number": "A-1", "currency": "EUR"})
			e := c.w.await(c.w.send(invoices, "there", capInvoice("S-1")).ID, ferry.StateCompleted, time.Minute)
			if e.Reference != there["ID"] || len(c.invoices("there")) != 1 {
				t.Errorf("reference %q, not %v; %d invoices", e.Reference, there["ID"], len(c.invoices("there")))
			}
			seen500 := false
			for _, a := range e.Attempts {
				seen500 = seen500 || a.Status == http.StatusInternalServerError
			}
			if !seen500 {
				t.Errorf("no attempt was answered with 500: %+v", e.Attempts)
			}
			c.w.balance()
		})
	}
}

// TestCAPErrorsShownEditedAndReplayed: all faults of an invoice are shown to the
// person who has the dead letter, and the mended one makes one document.
func TestCAPErrorsShownEditedAndReplayed(t *testing.T) {
	c := startCAP(t, cap.Development)
	a := c.w.send(invoices, "INV-7", `{"invoice":{"total":-1}}`)
	c.w.await(a.ID, ferry.StateDeadLettered, time.Minute)
	show := c.w.cli("dlq", "show", a.ID.Short())
	for _, want := range []string{"MULTIPLE_ERRORS", "supplier", "number", "currency", "total", "Provide the missing value", "Enter a value between"} {
		if !strings.Contains(show, want) {
			t.Errorf("`dlq show` lacks %q:\n%s", want, show)
		}
	}
	if strings.Contains(show, cap.Password) {
		t.Error("`dlq show` shows the password")
	}
	c.w.write("fixed.json", capInvoice("S-2"))
	c.w.cli("dlq", "edit", a.ID.Short(), "-f", "fixed.json", "--yes")
	e := c.w.await(a.ID, ferry.StateCompleted, time.Minute)
	got := c.invoices("INV-7")
	if len(got) != 1 {
		t.Fatalf("%d invoices", len(got))
	}
	document, _ := got[0].(map[string]any)
	lines, _ := document["lines"].([]any)
	if document["ID"] != e.Reference || document["supplier"] != "S-2" || len(lines) != 2 {
		t.Errorf("reference %q of %v", e.Reference, document)
	}
	c.w.balance()
}
