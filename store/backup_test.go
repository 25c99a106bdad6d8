package store

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

func takeBackup(t *testing.T, l *Ledger) []byte {
	t.Helper()
	b, err := l.Backup(t.Context(), ferry.Backup{Version: "test", Environment: "prod"}, []string{"admin.key", "other.key"})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var out bytes.Buffer
	must0(t, b.Write(&out))
	return out.Bytes()
}

func restoreTo(t *testing.T, backup []byte, dir string) (ferry.Restored, error) {
	t.Helper()
	return Restore(t.Context(), bytes.NewReader(backup), dir, "ada", slog.New(slog.DiscardHandler))
}

// cannotTell is a file system that does not number its files.
func cannotTell(string) (uint64, error) { return 0, nil }

func TestBackupAndRestore(t *testing.T) {
	p := newProvable(t)
	must0(t, os.WriteFile(filepath.Join(p.dir, "admin.key"), []byte("secret"), 0o600))
	backup := takeBackup(t, p.Ledger)
	later := accept(t, p.Ledger, "later")
	before := rec(t, p.Ledger, p.pending)

	dir := filepath.Join(t.TempDir(), "deep", "data")
	out, err := restoreTo(t, backup, dir)
	if err != nil {
		t.Fatal(err)
	}
	if out.Environment != "prod" || out.Bodies != 1 || len(out.Findings) != 0 || len(out.Altered) != 0 || out.Routes[0].Accepted != 8 || out.Routes[0].Pending != 5 {
		t.Errorf("restored: %+v", out)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "admin.key")); err != nil || string(text) != "secret" {
		t.Errorf("the admin's key: %q, %v", text, err)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	r := openIn(t, dir, Options{FileID: cannotTell})
	must0(t, r.sound())
	is := rec(t, r, p.pending)
	if is.Turn <= before.Turn+1 || !is.Doubt || !is.Elsewhere {
		t.Errorf("what was pending is not begun elsewhere: %+v", is)
	}
	if _, _, err := readBody(r, p.large, 0); err != nil {
		t.Errorf("the large body: %v", err)
	}
	if _, err := r.Message(later); ferry.CodeOf(err) != ferry.CodeMessageNotFound {
		t.Errorf("what came after the backup: %v", err)
	}
	log, err := r.Audit(0, time.Time{}, 100)
	must0(t, err)
	var chain ferry.AuditChain
	for _, e := range log {
		must0(t, chain.Check(e))
	}
	if last := log[len(log)-1]; last.Act != "restore ledger" || last.By != "ada" || log[len(log)-2].Act != "new epoch" {
		t.Errorf("the audit log ends with %+v", log[max(len(log)-2, 0):])
	}
	if f, _, err := r.HoldAgainst("w", []InboxRecord{{ID: later, HasIt: true, Reference: "INV-9", Route: testRoute}}, func(string) bool { return true }); err != nil || len(f) != 1 ||
		!strings.Contains(f[0].Text, "INV-9; it was accepted after the backup") {
		t.Errorf("what the worker knows of it: %+v, %v", f, err)
	}
	must0(t, r.Close())
	r = openIn(t, dir, Options{FileID: cannotTell})
	if again := rec(t, r, p.pending); again.Turn != is.Turn {
		t.Errorf("the second start began another epoch: turn %d, was %d", again.Turn, is.Turn)
	}
}

// Whatever a backup is cut off at, and whatever byte of it changes, it is refused,
// and leaves an empty folder.
func TestADamagedBackupIsRefused(t *testing.T) {
	l := newLedger(t)
	accept(t, l, strings.Repeat("x", ferry.InlineBody+1))
	whole := takeBackup(t, l)
	dir := filepath.Join(t.TempDir(), "data")
	refused := func(what string, backup []byte, codes ...ferry.Code) {
		t.Helper()
		_, err := restoreTo(t, backup, dir)
		code := ferry.CodeOf(err)
		if err == nil || len(codes) == 0 && code != ferry.CodeBackupUnreadable || len(codes) > 0 && code != codes[0] {
			t.Fatalf("%s: %v", what, err)
		}
		if entries, err := os.ReadDir(dir); err != nil && !os.IsNotExist(err) || len(entries) > 0 {
			t.Fatalf("%s: the folder has %v, %v", what, entries, err)
		}
	}
	end := len(whole) - 1024 - 512 // the end of a tar, and at least the last line of the checksums
	for _, n := range []int{0, 1, 511, 512, 700, 2048, len(whole) / 3, len(whole) / 2, end - 512, end} {
		refused("cut off", whole[:n])
		if _, err := ReadBackup(t.Context(), bytes.NewReader(whole[:n])); ferry.CodeOf(err) != ferry.CodeBackupUnreadable {
			t.Errorf("read, cut off at %d: %v", n, err)
		}
	}
	if _, err := ReadBackup(t.Context(), bytes.NewReader(whole)); err != nil {
		t.Errorf("read: %v", err)
	}
	for _, at := range []int{520, len(whole) / 4, len(whole) / 2, len(whole) - 2000} {
		changed := bytes.Clone(whole)
		changed[at] ^= 0x20
		refused("changed", changed)
	}
	for name, entries := range map[string][]tar.Header{
		"above":  {{Name: "../ledger.db", Typeflag: tar.TypeReg}},
		"rooted": {{Name: "/etc/x", Typeflag: tar.TypeReg}},
		"deep":   {{Name: "bodies/../../x.1", Typeflag: tar.TypeReg}},
		"link":   {{Name: "ledger.db", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}},
		"log":    {{Name: "audit/../audit-000000001-000000002.jsonl", Typeflag: tar.TypeReg}},
		"notes":  {{Name: "audit/notes.jsonl", Typeflag: tar.TypeReg}},
		"key":    {{Name: "../x.key", Typeflag: tar.TypeReg}},
		"twice":  {{Name: "ledger.db", Typeflag: tar.TypeReg}, {Name: "ledger.db", Typeflag: tar.TypeReg}},
	} {
		refused(name, tarOf(t, ferry.Backup{Format: 1, Schema: 1, Files: []string{"../x.key"}}, entries...))
	}
	huge := tarOf(t, ferry.Backup{Format: 1, Schema: 1}, tar.Header{Name: "audit/" + auditName(1, 2), Typeflag: tar.TypeReg, Size: maxAuditFile + 1})
	if _, err := restoreTo(t, huge, dir); err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a file of the audit log without an end: %v", err)
	}
	refused("a newer format", tarOf(t, ferry.Backup{Format: 2}), ferry.CodeLedgerNewer)
	refused("a newer schema", tarOf(t, ferry.Backup{Format: 1, Schema: SchemaVersion() + 1}), ferry.CodeLedgerNewer)
	refused("no backup", tarOf(t, ferry.Backup{}))
}

func tarOf(t *testing.T, manifest ferry.Backup, entries ...tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	text, err := json.Marshal(manifest)
	must0(t, err)
	must0(t, w.WriteHeader(&tar.Header{Name: ferry.BackupManifest, Typeflag: tar.TypeReg, Size: int64(len(text))}))
	_, err = w.Write(text)
	must0(t, err)
	for i := range entries {
		must0(t, w.WriteHeader(&entries[i]))
	}
	if len(entries) > 0 && entries[len(entries)-1].Size > 0 {
		return out.Bytes() // cut off there
	}
	must0(t, w.Close())
	return out.Bytes()
}

func TestARestoreWantsAnEmptyFolder(t *testing.T) {
	l := newLedger(t)
	backup := takeBackup(t, l)
	_, err := restoreTo(t, backup, l.dir)
	wantCode(t, err, ferry.CodeFolderNotEmpty)

	// One that was cut off is no data folder, and may be begun anew.
	dir := t.TempDir()
	must0(t, os.MkdirAll(filepath.Join(dir, restoreDir), 0o700))
	must0(t, os.WriteFile(filepath.Join(dir, "admin.key"), nil, 0o600))
	_, err = Open(dir, Options{})
	wantCode(t, err, ferry.CodeLedgerUnreadable)
	if _, err := restoreTo(t, backup, dir); err != nil {
		t.Fatal(err)
	}
	must0(t, os.MkdirAll(filepath.Join(dir, restoreDir), 0o700)) // the last step was cut off
	openIn(t, dir, Options{})
	if _, err := os.Stat(filepath.Join(dir, restoreDir)); !os.IsNotExist(err) {
		t.Errorf("what the restore left is still there: %v", err)
	}
}

// What fails once the ledger is in place takes nothing of the folder away.
func TestARestoreIsNotTakenBackAtItsLastStep(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, strings.Repeat("x", ferry.InlineBody+1))
	must0(t, os.WriteFile(filepath.Join(l.dir, "admin.key"), []byte("secret"), 0o600))
	dir := t.TempDir()
	u := &unpacking{dir: filepath.Join(dir, restoreDir), sums: map[string]string{}}
	must0(t, os.Mkdir(u.dir, 0o700))
	must0(t, u.unpack(t.Context(), bytes.NewReader(takeBackup(t, l))))
	u.dir += "/." // what os.RemoveAll refuses
	var out ferry.Restored
	must0(t, u.settle(dir, &out))
	if out.Untidy == "" {
		t.Error("nobody is told that the folder was not tidied up")
	}
	if _, err := os.Stat(filepath.Join(dir, "admin.key")); err != nil {
		t.Error(err)
	}
	r := openIn(t, dir, Options{FileID: cannotTell})
	if _, _, err := readBody(r, id, 0); err != nil {
		t.Errorf("the body: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, restoreDir)); !os.IsNotExist(err) {
		t.Errorf("what the restore left is still there: %v", err)
	}
}

// Bodies that retention removes while a backup runs are in it, and go afterwards.
func TestABackupKeepsTheBodiesOfItsSnapshot(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, strings.Repeat("x", ferry.InlineBody+1))
	report(t, l, id, ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
	b, err := l.Backup(t.Context(), ferry.Backup{}, nil)
	must0(t, err)
	if _, err := l.Backup(t.Context(), ferry.Backup{}, nil); ferry.CodeOf(err) != ferry.CodeBackupRuns {
		t.Errorf("a second backup: %v", err)
	}
	if n, err := purgeBefore(t.Context(), l, time.Now().Add(time.Second)); err != nil || n != 1 {
		t.Fatalf("Purge: %d, %v", n, err)
	}
	path := l.bodyPath(id, 1)
	must0(t, os.Chtimes(path, time.Time{}, time.Now().Add(-3*time.Hour)))
	if _, err := l.SweepBodies(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	must0(t, b.Write(&out))
	b.Close()
	if n, err := l.SweepBodies(t.Context(), time.Hour); err != nil || n != 1 {
		t.Errorf("after the backup: %d files removed, %v", n, err)
	}
	dir := t.TempDir()
	if _, err := restoreTo(t, out.Bytes(), dir); err != nil {
		t.Fatal(err)
	}
	r := openIn(t, dir, Options{})
	if _, _, err := readBody(r, id, 0); err != nil {
		t.Errorf("the body: %v", err)
	}
	if _, err := os.Stat(filepath.Join(l.dir, backupDir)); !os.IsNotExist(err) {
		t.Errorf("the snapshot is still there: %v", err)
	}
}

// What retention took is not missing from a backup.
func TestARestoreKnowsWhatRetentionTook(t *testing.T) {
	l := newLedger(t)
	for _, body := range []string{"small", strings.Repeat("x", ferry.InlineBody+1)} {
		report(t, l, accept(t, l, body), ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
	}
	purgeBodies(t, l, 2)
	out, err := restoreTo(t, takeBackup(t, l), t.TempDir())
	if err != nil || len(out.Altered)+len(out.Findings) > 0 {
		t.Errorf("restored: %v, %+v", err, out)
	}
}

// A ledger of an earlier schema is not held against itself, which this build could
// only after its migration: what comes out says so.
func TestARestoreOfAnEarlierSchemaSaysWhatItLeftOut(t *testing.T) {
	l := newLedger(t)
	accept(t, l, "x")
	for _, whole := range []bool{true, false} {
		if !whole {
			must0(t, l.db.Update(t.Context(), func(tx *bbolt.Tx) error {
				return tx.Bucket(bMeta).Put(metaSchema, u64(uint64(SchemaVersion()-1)))
			}))
		}
		out, err := restoreTo(t, takeBackup(t, l), t.TempDir())
		must0(t, err)
		text, err := json.Marshal(out)
		must0(t, err)
		if out.Findings != nil != whole || strings.Contains(string(text), `"findings":[]`) != whole {
			t.Errorf("of this schema: %v: %s", whole, text)
		}
	}
}

// A backup under load is one moment: it proves whole, and has all that was accepted
// before it.
func TestBackupUnderLoad(t *testing.T) {
	l := newLedger(t)
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var mu sync.Mutex
	accepted := map[ferry.ID]time.Time{}
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				answer, err := l.Accept(context.Background(), message(`{"n":1}`))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				accepted[answer.ID] = time.Now()
				mu.Unlock()
				rc := ferry.Receipt{ID: answer.ID, Route: testRoute, Turn: 1, Revision: 1, Worker: "w", Verdict: ferry.Delivered, Reference: "R", Next: ferry.Next{Do: ferry.DoComplete}}
				if _, err := l.ApplyReceipts(context.Background(), []ferry.Receipt{rc}, park); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		time.Sleep(50 * time.Millisecond)
		asked := time.Now()
		dir := t.TempDir()
		out, err := restoreTo(t, takeBackup(t, l), dir)
		if err != nil || len(out.Findings) > 0 {
			t.Fatalf("%v, %+v", err, out.Findings)
		}
		missing := 0
		r := openIn(t, dir, Options{})
		must0(t, r.db.View(func(tx *bbolt.Tx) error {
			mu.Lock()
			defer mu.Unlock()
			for id, at := range accepted {
				if at.Before(asked) && tx.Bucket(bMessages).Get(id[:]) == nil {
					missing++
				}
			}
			return nil
		}))
		if missing > 0 {
			t.Errorf("%d messages of before the backup are not in it", missing)
		}
		must0(t, r.Close())
	}
	stop()
	load.Wait()
}
