package broker

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ferry"
)

// ledgerFile waits for the end of the compaction that runs.
func (w *world) compacted() ferry.LedgerFile {
	w.t.Helper()
	for range 1000 {
		file, err := w.b.LedgerFile(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if !file.Compacting {
			return file
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatal("the compaction does not end")
	return ferry.LedgerFile{}
}

// TestAnOperatorCompactsTheLedger: it is in the audit log, messages go on, and what
// it came to is told.
func TestAnOperatorCompactsTheLedger(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send("before")
		if file := w.compacted(); file.Last != nil || file.Size == 0 {
			t.Errorf("before any: %+v", file)
		}
		if file, err := w.b.CompactLedger(t.Context(), "the disk", "ann"); err != nil || !file.Compacting {
			t.Fatalf("%+v, %v", file, err)
		}
		// Asked again it is the same one.
		if file, err := w.b.CompactLedger(t.Context(), "again", "bob"); err != nil || !file.Compacting {
			t.Errorf("%+v, %v", file, err)
		}
		during := w.send("during")
		file := w.compacted()
		if last := file.Last; last == nil || last.Outcome != ferry.Compacted || last.By != "ann" || last.Error != "" || last.EndedAt.Before(last.StartedAt) {
			t.Errorf("%+v", file)
		}
		w.state(id, ferry.StateAccepted)
		w.state(during, ferry.StateAccepted)
		audit, err := w.b.Audit(t.Context(), 0, time.Time{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		var acts []string
		for _, e := range audit {
			if e.Act == "compact" {
				acts = append(acts, fmt.Sprint(e.By, " ", e.Target, " ", e.Note))
			}
		}
		if got := strings.Join(acts, ", "); got != "ann ledger the disk, bob ledger again" {
			t.Errorf("audit: %s", got)
		}
		rec := httptest.NewRecorder()
		w.b.Metrics().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		for _, line := range []string{
			`ferry_ledger_compactions_total{outcome="compacted"} 1`, `ferry_ledger_compactions_total{outcome="failed"} 0`,
			"ferry_ledger_compacting 0", "ferry_ledger_free_bytes ", "ferry_ledger_compaction_last_hold_seconds ",
		} {
			if !strings.Contains(rec.Body.String(), line) {
				t.Errorf("no metric %s", line)
			}
		}
		w.restart()
		w.state(id, ferry.StateAccepted)
		w.balanced()
	})
}
