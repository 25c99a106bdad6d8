package store

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// TestABackupHasTheWholeAuditLog: what was moved into files is in it, so that the chain
// is whole after a restore; what is still in the ledger is not in it twice.
func TestABackupHasTheWholeAuditLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		for range 4 {
			must0(t, l.NoteAct(t.Context(), ferry.AuditEntry{By: "ann", Act: "look", Target: "it"}))
			time.Sleep(200 * day)
		}
		n, err := l.MoveAudit(t.Context(), time.Now().Add(-500*day))
		if must0(t, err); n == 0 {
			t.Fatal("nothing was moved")
		}
		moved := auditName(1, uint64(n))
		for _, name := range []string{auditName(uint64(n)+1, 99), auditName(uint64(n)+1, 100) + ".new", "notes.txt"} { // cut short; and a person's
			must0(t, os.WriteFile(filepath.Join(l.auditDir(), name), []byte("x"), 0o600))
		}
		backup := takeBackup(t, l)
		about, err := ReadBackup(t.Context(), bytes.NewReader(backup))
		if must0(t, err); about.AuditFiles != 1 || about.AuditBytes == 0 {
			t.Errorf("the manifest: %+v", about)
		}
		dir := t.TempDir()
		_, err = restoreTo(t, backup, dir)
		must0(t, err)
		r := openIn(t, dir, Options{FileID: cannotTell})
		entries, err := os.ReadDir(r.auditDir())
		if must0(t, err); len(entries) != 1 || entries[0].Name() != moved {
			t.Fatalf("restored: %v, want %s", entries, moved)
		}
		var chain ferry.AuditChain
		text, err := os.ReadFile(filepath.Join(r.auditDir(), moved))
		must0(t, err)
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			var e ferry.AuditEntry
			must0(t, json.Unmarshal(lines.Bytes(), &e))
			must0(t, chain.Check(e))
		}
		left, err := r.Audit(0, time.Time{}, 1000)
		must0(t, err)
		for _, e := range left {
			must0(t, chain.Check(e))
		}
		if left[0].Seq != uint64(n)+1 {
			t.Errorf("the ledger goes on with entry %d behind %d", left[0].Seq, n)
		}
	})
}

// A name from a tar is that of a file of the audit log, or of nothing.
func TestAuditFileNames(t *testing.T) {
	for name, good := range map[string]bool{
		auditName(1, 5000):                       true,
		auditName(1, 1):                          true,
		auditName(9_999_999_999, 10_000_000_000): true,
		"audit-1-5000.jsonl":                     false,
		"audit-000000001-000005000.jsonl.new":    false,
		"audit-000000005-000000001.jsonl":        false,
		"audit-000000000-000000001.jsonl":        false,
		"audit-+00000001-000000002.jsonl":        false,
		"../audit-000000001-000005000.jsonl":     false,
		"audit-000000001.jsonl":                  false,
		"":                                       false,
	} {
		if _, _, got := parseAuditFile(name); got != good {
			t.Errorf("%q: %v", name, got)
		}
	}
}

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
		chain, files, read := movedAudit(t, l)
		if files < 4 || files > 7 {
			t.Errorf("%d files", files)
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

// movedAudit checks the chain of the entries in files, in the order of their names.
func movedAudit(t *testing.T, l *Ledger) (chain ferry.AuditChain, files, entries int) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(l.dir, "audit", "*.jsonl"))
	must0(t, err)
	for _, name := range names {
		f, err := os.Open(name)
		must0(t, err)
		for lines := bufio.NewScanner(f); lines.Scan(); entries++ {
			var e ferry.AuditEntry
			must0(t, json.Unmarshal(lines.Bytes(), &e))
			must0(t, chain.Check(e))
		}
		must0(t, f.Close())
	}
	return chain, len(names), entries
}

// TestMoveAuditCutShort: what a kill left between a file and its commit does not stay
// beside the file of the next move. A file of another ledger does.
func TestMoveAuditCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		for range 100 {
			must0(t, l.NoteAct(t.Context(), ferry.AuditEntry{By: "ann", Act: "look", Target: "<it>"}))
			time.Sleep(day)
		}
		before := time.Now().Add(-50 * day)
		list, err := l.oldAudit(before, 40)
		must0(t, err)
		cut, err := l.writeAudit(list)
		must0(t, err)
		must0(t, os.WriteFile(filepath.Join(l.auditDir(), cut+".new"), nil, 0o600))
		foreign := filepath.Join(l.auditDir(), "audit-000000002-000000003.jsonl")
		must0(t, os.WriteFile(foreign, []byte("{}\n"), 0o600))
		n, err := l.MoveAudit(t.Context(), before)
		if must0(t, err); n <= len(list) {
			t.Fatalf("%d entries moved", n)
		}
		must0(t, os.Remove(foreign))
		chain, files, read := movedAudit(t, l)
		if all, err := os.ReadDir(l.auditDir()); err != nil || files != 1 || len(all) != 1 || read != n {
			t.Errorf("%d entries in files, %d moved; %v, %v", read, n, all, err)
		}
		left, err := l.Audit(0, time.Time{}, 10_000)
		must0(t, err)
		for _, e := range left {
			must0(t, chain.Check(e))
		}
		if n, err := l.MoveAudit(t.Context(), before); n != 0 || err != nil {
			t.Errorf("moved %d once more, %v", n, err)
		}
	})
}
