package e2e

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// kibibyte is an invoice of 1 KiB.
func kibibyte(number string) string { return invoiceOf(number, 1024) }

// invoiceOf is an invoice of n bytes.
func invoiceOf(number string, n int) string {
	head := fmt.Sprintf(`{"number":%q,"filler":"`, number)
	return head + strings.Repeat("x", n-len(head)-2) + `"}`
}

// TestMainJob: 1,000 messages of 16 senders, each delivered once and completed.
func TestMainJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{erp: practice.Settings{Required: []string{"number"}}})
	w.start()
	const senders, each = 16, 1000 / 16
	const total = senders*each + 1000%16
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		keyOf = map[ferry.ID]string{}
		next  = make(chan int, total)
	)
	for i := range total {
		next <- i
	}
	close(next)
	for range senders {
		group.Go(func() {
			for i := range next {
				key := fmt.Sprintf("main-%04d", i)
				a, err := w.client.Send(t.Context(), invoices, ferry.Message{Body: []byte(kibibyte(key)), ContentType: "application/json", IdempotencyKey: key})
				if err != nil || a.Duplicate {
					t.Errorf("send %s: %+v, %v", key, a, err)
					return
				}
				mu.Lock()
				keyOf[a.ID] = key
				mu.Unlock()
			}
		})
	}
	group.Wait()
	w.awaitDrained(60 * time.Second)

	if len(keyOf) != total {
		t.Fatalf("%d messages were accepted, not %d", len(keyOf), total)
	}
	seen := 0
	for e, err := range w.client.AllMessages(t.Context(), ferry.MessageFilter{Limit: ferry.MaxListLimit}) {
		if err != nil {
			t.Fatal(err)
		}
		seen++
		key := keyOf[e.ID]
		if d := w.document(key); e.State != ferry.StateCompleted || e.Reference != d.ID || string(d.Body) != kibibyte(key) {
			t.Fatalf("message %s (%s) is %s with %q; the ERP has %s, %s", e.ID, key, e.State, e.Reference, d.ID, d.Body)
		}
	}
	if n := len(w.erp.Documents("")); seen != total || n != total {
		t.Errorf("%d messages in the list and %d documents, not %d", seen, n, total)
	}
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: total, Completed: total}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
	w.cli("reconcile")
	w.wantMetrics(
		fmt.Sprintf(`ferry_messages_accepted_total{route=%q} %d`, invoices, total),
		fmt.Sprintf(`ferry_messages_completed_total{route=%q} %d`, invoices, total),
		fmt.Sprintf(`ferry_attempts_total{route=%q,verdict="delivered"} %d`, invoices, total),
		fmt.Sprintf(`ferry_messages_pending{route=%q} 0`, invoices),
	)
}

func (w *world) wantMetrics(lines ...string) {
	w.t.Helper()
	text, err := w.client.Metrics(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	have := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		have[strings.TrimSpace(line)] = true
	}
	for _, line := range lines {
		if !have[line] {
			t := w.t
			t.Errorf("the metrics lack %s", line)
			for got := range have {
				if name, _, _ := strings.Cut(line, "{"); strings.HasPrefix(got, name) {
					t.Logf("they have %s", got)
				}
			}
		}
	}
}

// TestRejectedIsMended: an invoice that the ERP refuses is a dead letter at once, tells field and text, and is delivered once mended.
func TestRejectedIsMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{erp: practice.Settings{Required: []string{"number"}}})
	w.start()
	if r := w.try("status"); r.code != 0 {
		t.Errorf("status of a broker that is well: exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
	sent := time.Now()
	a := w.send(invoices, "bad-1", `{"supplier":"Northwind"}`)
	for !strings.Contains(w.cli("dlq", "list"), a.ID.Short()) {
		if time.Since(sent) > 10*time.Second { // a machine that does much else
			t.Fatalf("not in `broker dlq list`:\n%s", w.cli("dlq", "list"))
		}
	}
	list := w.cli("dlq", "list")
	for _, want := range []string{invoices, "Rejected", "validation"} {
		if !strings.Contains(list, want) {
			t.Errorf("`dlq list` lacks %q:\n%s", want, list)
		}
	}
	show := w.cli("dlq", "show", a.ID.Short())
	for _, want := range []string{"number is required", "/number", "400"} {
		if !strings.Contains(show, want) {
			t.Errorf("`dlq show` lacks %q:\n%s", want, show)
		}
	}
	if r := w.try("status"); r.code != 3 {
		t.Errorf("status with a dead letter: exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
	if n := len(w.erp.Documents("")); n != 0 {
		t.Errorf("the ERP wrote %d documents of a rejected message", n)
	}
	const mended = `{"number":"N-1","supplier":"Northwind"}`
	w.write("fixed.json", mended)
	w.cli("dlq", "edit", a.ID.Short(), "-f", "fixed.json", "--yes")
	e := w.await(a.ID, ferry.StateCompleted, 10*time.Second)
	if d := w.document("bad-1"); e.Reference != d.ID || e.Revision != 2 || string(d.Body) != mended {
		t.Errorf("completed as %q, revision %d; the ERP has %s: %s", e.Reference, e.Revision, d.ID, d.Body)
	}
	if r := w.try("status"); r.code != 0 {
		t.Errorf("status after it was mended: exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
	if info, err := os.Stat(w.path("data/admin.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the admin key's file: %v, %v", info, err)
	}
}
