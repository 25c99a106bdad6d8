package store

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// TestMoveAudit: old entries leave the ledger for files that hold all of them, and
// the chain goes on from the last one of those.
func TestMoveAudit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		keep := 730 * day
		for range 900 { // an entry a day
			must0(t, l.NoteAct(t.Context(), ferry.AuditEntry{By: "ann", Act: "look", Target: "it"}))
			time.Sleep(day)
			_, err := l.MoveAudit(t.Context(), time.Now().Add(-keep))
			must0(t, err)
		}
		left, err := l.Audit(0, time.Time{}, 10_000)
		must0(t, err)
		// Two years and at most a month of them, and those that tell of the moves.
		if n := len(left); n < 730 || n > 770 {
			t.Errorf("%d entries are left in the ledger", n)
		}
		var chain ferry.AuditChain
		files, err := filepath.Glob(filepath.Join(l.dir, "audit", "*.jsonl"))
		if must0(t, err); len(files) < 4 || len(files) > 7 {
			t.Errorf("%d files", len(files))
		}
		read := 0
		for _, name := range files { // in the order of their names
			f, err := os.Open(name)
			must0(t, err)
			for lines := bufio.NewScanner(f); lines.Scan(); read++ {
				var e ferry.AuditEntry
				must0(t, json.Unmarshal(lines.Bytes(), &e))
				must0(t, chain.Check(e))
			}
			must0(t, f.Close())
		}
		for _, e := range left {
			must0(t, chain.Check(e))
		}
		if last := left[len(left)-1]; last.Seq != uint64(read+len(left)) {
			t.Errorf("%d entries in files and %d in the ledger, the last is number %d", read, len(left), last.Seq)
		}
		// Found by time as before.
		since := time.Now().Add(-10 * day)
		part, err := l.Audit(0, since, 100)
		if must0(t, err); len(part) == 0 || part[0].At.Before(since) || len(part) > 12 {
			t.Errorf("%d entries since %s", len(part), since)
		}
	})
}
