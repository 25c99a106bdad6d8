package store

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
	"ferry/internal/disk"
)

// A restore unpacks a backup into a folder of the empty data folder, checks all of
// it there, and puts it in place, the ledger last. Until then there is no ledger,
// and no broker starts on the folder.

// restoreDir is where a backup is unpacked, in the data folder.
const restoreDir = "restore.part"

// maxAltered bounds the bodies that a restore names.
const maxAltered = 100

var (
	metaRestored = []byte("restored") // of a restore that no broker has opened yet
	metaRestores = []byte("restores") // the restores of before, JSON
)

// restoreNote is what a restore leaves for the next opening of the ledger, which
// begins another epoch.
type restoreNote struct {
	restore
	By string `json:"by"`
}

// Restore makes a data folder of a backup. dir must be empty, or not there, or hold
// what a restore left that was cut off. by is who restores, for the audit log.
// Nothing of the folder is usable before everything was checked. Errors:
// folderNotEmpty, backupUnreadable, ledgerNewer, ledgerUnreadable, noSpace.
func Restore(ctx context.Context, r io.Reader, dir, by string, log *slog.Logger) (ferry.Restored, error) {
	out := ferry.Restored{Dir: dir}
	if err := emptyForRestore(dir); err != nil {
		return out, err
	}
	part := filepath.Join(dir, restoreDir)
	if err := disk.MkdirAll(part, 0o700); err != nil {
		return out, restoreError(dir, err)
	}
	u := &unpacking{dir: part, sums: map[string]string{}}
	err := u.unpack(ctx, r)
	if err == nil {
		out.Backup = u.manifest
		err = u.check(ctx, &out, log)
	}
	if err == nil {
		out.RestoredAt = time.Now().UTC().Truncate(time.Millisecond)
		err = u.mark(restoreNote{restore{out.At, out.RestoredAt}, by})
	}
	if err == nil {
		err = u.settle(dir, &out)
	}
	if err != nil {
		return out, errors.Join(restoreError(dir, err), discard(dir))
	}
	return out, nil
}

// emptyForRestore clears what an earlier restore left, and refuses anything else.
func emptyForRestore(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return restoreError(dir, err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	if len(names) == 0 {
		return nil
	}
	if slices.Contains(names, restoreDir) && !slices.Contains(names, "ledger.db") {
		return discard(dir)
	}
	return ferry.Errorf(ferry.CodeFolderNotEmpty, "the folder %s is not empty: it has %s", dir, names[0]).
		WithHint("restore into a new folder: what is there is not overwritten")
}

// discard removes what a restore that failed has put into the folder.
func discard(dir string) error {
	var err error
	for _, name := range append(keyFiles(dir), "bodies", "audit", restoreDir) { // the sign that it is unfinished last
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, name)))
	}
	return err
}

// keyFiles are the keys in a folder that a restore made.
func keyFiles(dir string) []string {
	paths, _ := filepath.Glob(filepath.Join(dir, "*.key")) // a pattern of ours
	names := make([]string, len(paths))
	for i, path := range paths {
		names[i] = filepath.Base(path)
	}
	return names
}

// wasRestored refuses a folder that a restore has not finished.
func wasRestored(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, restoreDir)); err != nil {
		return nil //nolint:nilerr // there is none
	}
	if _, err := os.Stat(filepath.Join(dir, "ledger.db")); err == nil {
		return os.RemoveAll(filepath.Join(dir, restoreDir)) // its last step was cut off
	}
	return ferry.Errorf(ferry.CodeLedgerUnreadable, "a restore into %s was not finished: there is no ledger", dir).
		WithHint("run broker restore again")
}

func restoreError(dir string, err error) error {
	var known *ferry.Error
	switch {
	case errors.As(err, &known):
		return err
	case disk.IsFull(err):
		return ferry.Errorf(ferry.CodeNoSpace, "the disk of %s is full: nothing was restored: %w", dir, err).WithHint("make room, or restore into a folder of another disk")
	case errors.Is(err, commit.ErrUnreadable), errors.Is(err, errDamaged):
		return ferry.Errorf(ferry.CodeLedgerUnreadable, "the ledger in the backup is damaged: nothing was restored: %w", err).WithHint("take an earlier backup")
	}
	return ferry.Errorf(ferry.CodeBackupUnreadable, "the backup could not be restored into %s: %w", dir, err).
		WithHint("nothing was restored; mend what the sentence says, or take another backup")
}

// check holds what was unpacked against itself: the ledger's pages and schema, the
// records, and the bodies that they refer to.
func (u *unpacking) check(ctx context.Context, out *ferry.Restored, log *slog.Logger) error {
	path := filepath.Join(u.dir, "ledger.db")
	var version uint64
	err := commit.Look(path, true, func(tx *bbolt.Tx) (err error) {
		if version, err = schemaVersion(tx, SchemaVersion()); err != nil {
			return err
		}
		if version == 0 {
			return ferry.Errorf(ferry.CodeBackupUnreadable, "the backup's ledger is empty").WithHint("take another backup")
		}
		return u.checkBodies(ctx, tx, out)
	})
	if err != nil || version != uint64(SchemaVersion()) {
		return err
	}
	proof, err := proveIn(ctx, u.dir, log)
	out.Findings = proof.Findings
	if out.Findings == nil {
		out.Findings = []ferry.Finding{}
	}
	return err
}

func (u *unpacking) checkBodies(ctx context.Context, tx *bbolt.Tx, out *ferry.Restored) error {
	n := 0
	return tx.Bucket(bMessages).ForEach(func(k, v []byte) error {
		if n++; n%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		r, err := decodeRecord(ferry.ID(k), v)
		if err != nil {
			return nil //nolint:nilerr // a finding of the proof
		}
		for revision := 1; revision <= r.Revision && r.BodiesGone == 0; revision++ {
			if !inFile(tx, r, revision) || len(out.Altered) == maxAltered {
				continue
			}
			if u.sums[bodyName(r.ID, revision)] != hex.EncodeToString(r.hashOf(revision)) {
				out.Altered = append(out.Altered, fmt.Sprintf("%s, revision %d", r.ID, revision))
			}
		}
		return nil
	})
}

// proveIn holds a ledger that nobody has open against itself, and leaves it as it
// is. Its schema must be this build's.
func proveIn(ctx context.Context, dir string, log *slog.Logger) (ferry.Proof, error) {
	l := &Ledger{
		dir: dir, log: log, notify: func([]Change) {}, noted: func([]ferry.NoticeTarget, int) {}, fileID: disk.FileID, opened: time.Now(), wall: time.Now,
		routes: map[uint32]*routeRow{}, byName: map[string]uint32{}, keys: map[string]*keyRow{}, workers: map[string]*workerRow{},
		idem: newIdemIndex(time.Nanosecond, 1<<20), outbox: newOutbox(), subs: newSubscriptions(),
	}
	l.buffers.New = func() any { return new([stageBuffer]byte) }
	db, err := commit.Open(filepath.Join(dir, "ledger.db"), commit.Options{Log: log, MinFree: -1})
	if err != nil {
		return ferry.Proof{}, err
	}
	l.db = db
	if err = db.View(func(tx *bbolt.Tx) error {
		return eachJSON(tx, bRoutes, func(row *routeRow) { l.routes[row.No], l.byName[row.Name] = row, row.No })
	}); err != nil {
		return ferry.Proof{}, errors.Join(err, db.Close())
	}
	proof, err := l.Prove(ctx, ferry.ProofRequest{})
	return proof, errors.Join(err, db.Close())
}

// mark notes in the unpacked ledger that it was restored.
func (u *unpacking) mark(note restoreNote) error {
	db, err := commit.Open(filepath.Join(u.dir, "ledger.db"), commit.Options{MinFree: -1})
	if err != nil {
		return err
	}
	err = db.Update(noContext, func(tx *bbolt.Tx) error {
		text, err := json.Marshal(note)
		if err != nil {
			return err
		}
		return commit.Abort(tx.Bucket(bMeta).Put(metaRestored, text))
	})
	return errors.Join(err, db.Close())
}

// settle puts what was checked into the data folder. Once the ledger is there the
// folder is whole: what fails later is told, and takes nothing away.
func (u *unpacking) settle(dir string, out *ferry.Restored) error {
	if err := u.place(dir); err != nil {
		return err
	}
	if err := errors.Join(disk.SyncDir(dir), os.RemoveAll(u.dir), disk.SyncDir(dir)); err != nil {
		out.Untidy = err.Error()
	}
	return nil
}

// place moves it there: the ledger last.
func (u *unpacking) place(dir string) error {
	for _, name := range append(keyFiles(u.dir), "bodies", "audit") {
		err := os.Rename(filepath.Join(u.dir, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := disk.SyncDir(dir); err != nil {
		return err
	}
	return os.Rename(filepath.Join(u.dir, "ledger.db"), filepath.Join(dir, "ledger.db"))
}

// restoreIn is the restore that nobody has opened yet, nil when there is none.
func restoreIn(tx *bbolt.Tx) *restoreNote {
	v := tx.Bucket(bMeta).Get(metaRestored)
	if v == nil {
		return nil
	}
	note, err := decodeJSON[restoreNote](v)
	if err != nil {
		return &restoreNote{} // it was restored all the same
	}
	return &note
}

// maxRestores bounds the restores that are remembered.
const maxRestores = 20

// keepRestore remembers a restore in the commit that ends its epoch.
func (l *Ledger) keepRestore(tx *bbolt.Tx, note *restoreNote) error {
	meta := tx.Bucket(bMeta)
	list := append(restoresOf(tx), note.restore)
	text, err := json.Marshal(list[max(len(list)-maxRestores, 0):])
	if err != nil {
		return err
	}
	if err := errors.Join(meta.Put(metaRestores, text), meta.Delete(metaRestored)); err != nil {
		return err
	}
	return l.audit(noContext, tx, ferry.AuditEntry{
		At: time.Now(), By: note.By, Act: "restore ledger", Target: "ledger",
		Detail: fmt.Sprintf("from the backup of %s, restored at %s: what was accepted between them is not here", note.BackupAt.Format(time.RFC3339), note.RestoredAt.Format(time.RFC3339)),
	})
}

func restoresOf(tx *bbolt.Tx) restores {
	list, err := decodeJSON[restores](tx.Bucket(bMeta).Get(metaRestores))
	if err != nil {
		return nil
	}
	return list
}

// bodyName is the name of a body's file in the data folder, with slashes.
func bodyName(id ferry.ID, revision int) string {
	name := id.String()
	return fmt.Sprintf("bodies/%s/%s.%d", name[34:], name, revision)
}
