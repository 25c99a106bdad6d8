package store

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
	"ferry/internal/disk"
)

// A backup is a snapshot of the ledger, the bodies that it refers to, and the part of
// the audit log that was moved out of it. The
// snapshot is copied to a file of the data folder first, so that the ledger's read
// lasts as long as that copy takes, and not as long as somebody far away takes to
// fetch it. Files of bodies that retention removes meanwhile stay until it ends.

// backupDir is where a backup's snapshot lies, in the data folder.
const backupDir = "backup.part"

// Backup is a snapshot that can be written out once. Close it.
type Backup struct {
	ferry.Backup
	l      *Ledger
	path   string // of the snapshot
	bodies []bodyFile
	audit  []auditPart
	closed bool
}

type bodyFile struct {
	id       ferry.ID
	revision int
	size     int64
}

// auditPart is a file of moved entries of the audit log. Once it has its name it is
// not written any more.
type auditPart struct {
	name string
	size int64
}

// Backup takes a snapshot. files are the names of files in the data folder that go
// with it, where they are there. about says what the manifest says of the broker.
// One backup runs at a time. Errors: backupRuns, noSpace.
func (l *Ledger) Backup(ctx context.Context, about ferry.Backup, files []string) (*Backup, error) {
	if !l.backups.TryLock() {
		return nil, ferry.Errorf(ferry.CodeBackupRuns, "a backup runs already").WithHint("wait for its end, then try again")
	}
	l.bodiesHeld.Store(true)
	b := &Backup{Backup: about, l: l, path: filepath.Join(l.dir, backupDir, "ledger.db")}
	b.Format, b.Schema = ferry.BackupFormat, SchemaVersion()
	err := b.take(ctx, files)
	if err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Backup) take(ctx context.Context, files []string) error {
	if err := b.l.sweepBackup(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.path), 0o700); err != nil {
		return b.l.fileError(err)
	}
	if err := b.snapshot(ctx); err != nil {
		return err
	}
	if err := b.list(ctx); err != nil {
		return err
	}
	for _, name := range files {
		switch _, err := os.Stat(filepath.Join(b.l.dir, name)); {
		case err == nil:
			b.Files = append(b.Files, name)
		case !errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("back up %s: %w", name, err)
		}
	}
	return nil
}

// snapshot copies the ledger as it is at one moment.
func (b *Backup) snapshot(ctx context.Context) error {
	free, err := disk.Free(b.l.dir)
	if size := b.l.Size(); err == nil && free-size < max(b.l.minFree, 0)+spare {
		return ferry.Errorf(ferry.CodeNoSpace, "a backup needs room for a copy of the ledger in the data folder while it runs: %d MiB, and %d MiB are free", size>>20, free>>20).
			WithHint("make room on the disk of %s", b.l.dir)
	}
	f, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return b.l.fileError(err)
	}
	err = b.l.db.View(func(tx *bbolt.Tx) error {
		b.At = time.Now().UTC().Truncate(time.Millisecond)
		_, err := tx.WriteTo(stopping{ctx, f})
		return err
	})
	if err = errors.Join(err, f.Close()); err != nil && ctx.Err() == nil {
		return b.l.fileError(err)
	}
	return err
}

// stopping is a writer until ctx ends.
type stopping struct {
	ctx context.Context
	w   io.Writer
}

func (s stopping) Write(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.w.Write(p)
}

// list reads the snapshot for the routes and for the bodies in files.
func (b *Backup) list(ctx context.Context) error {
	return commit.Look(b.path, false, func(tx *bbolt.Tx) error {
		b.LedgerBytes = tx.Size()
		if err := b.listAudit(tx); err != nil {
			return err
		}
		if err := eachJSON(tx, bRoutes, func(row *routeRow) { b.Routes = append(b.Routes, backupRoute(row)) }); err != nil {
			return err
		}
		n := 0
		return tx.Bucket(bMessages).ForEach(func(k, v []byte) error {
			if n++; n%1000 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			r, err := decodeRecord(ferry.ID(k), v)
			if err != nil {
				return nil //nolint:nilerr // it is in the snapshot as it is
			}
			for revision := 1; revision <= r.Revision && r.BodiesGone == 0; revision++ {
				if !inFile(tx, r, revision) {
					continue
				}
				info, err := os.Stat(b.l.bodyPath(r.ID, revision))
				if err != nil {
					b.Missing++
					continue
				}
				b.bodies = append(b.bodies, bodyFile{r.ID, revision, info.Size()})
				b.Bodies++
				b.BodyBytes += info.Size()
			}
			return nil
		})
	})
}

// listAudit lists the files with the entries of the audit log before those in the
// snapshot. What it still has may be in a file as well, and is left out of that.
func (b *Backup) listAudit(tx *bbolt.Tx) error {
	entries, err := os.ReadDir(b.l.auditDir())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("back up the audit log: %w", err)
	}
	oldest, _ := tx.Bucket(bAudit).Cursor().First()
	for _, e := range entries {
		_, last, ok := parseAuditFile(e.Name())
		if !ok || oldest != nil && last >= binary.BigEndian.Uint64(oldest) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return fmt.Errorf("back up the audit log: %w", err)
		}
		if !info.Mode().IsRegular() || info.Size() > maxAuditFile {
			return ferry.Errorf(ferry.CodeConflict, "%s is no file of the audit log, although it has the name of one", filepath.Join(b.l.auditDir(), e.Name())).
				WithHint("move it elsewhere, then take the backup")
		}
		b.audit = append(b.audit, auditPart{e.Name(), info.Size()})
		b.AuditFiles++
		b.AuditBytes += info.Size()
	}
	return nil
}

// inFile says whether a revision's body lies in a file.
func inFile(tx *bbolt.Tx, r *record, revision int) bool {
	want, empty := r.hashOf(revision), sha256.Sum256(nil)
	return want != nil && !bytes.Equal(want, empty[:]) && tx.Bucket(bBodies).Get(bodyKey(r.ID, revision)) == nil
}

func backupRoute(row *routeRow) ferry.BackupRoute {
	r := ferry.BackupRoute{Name: row.Name, Accepted: row.Seq, Pending: row.Pending, Completed: row.Completed, Discarded: row.Discarded}
	for _, n := range row.Dead {
		r.DeadLetters += n
	}
	return r
}

// Write writes the backup as a tar. Its last entry are the checksums of all before:
// a file without them was cut off.
func (b *Backup) Write(w io.Writer) error {
	out := &archive{tar: tar.NewWriter(w), at: b.At}
	manifest, err := json.MarshalIndent(b.Backup, "", "  ")
	if err != nil {
		return err
	}
	if err := out.add(ferry.BackupManifest, int64(len(manifest))+1, bytes.NewReader(append(manifest, '\n'))); err != nil {
		return err
	}
	for _, name := range b.Files {
		if err := out.addFile(name, filepath.Join(b.l.dir, name), -1); err != nil {
			return err
		}
	}
	for _, part := range b.audit {
		if err := out.addFile(auditPrefix+part.name, filepath.Join(b.l.auditDir(), part.name), part.size); err != nil {
			return err
		}
	}
	if err := out.addFile("ledger.db", b.path, b.LedgerBytes); err != nil {
		return err
	}
	for _, body := range b.bodies {
		path := b.l.bodyPath(body.id, body.revision)
		name, err := filepath.Rel(b.l.dir, path)
		if err != nil {
			return err
		}
		if err := out.addFile(filepath.ToSlash(name), path, body.size); err != nil {
			return err
		}
	}
	return out.end()
}

// Close removes the snapshot.
func (b *Backup) Close() {
	if b.closed {
		return
	}
	b.closed = true
	if err := b.l.sweepBackup(); err != nil {
		b.l.log.Warn("what a backup left could not be removed", "error", err)
	}
	b.l.bodiesHeld.Store(false)
	b.l.backups.Unlock()
}

// sweepBackup removes what a backup that was cut off left.
func (l *Ledger) sweepBackup() error { return os.RemoveAll(filepath.Join(l.dir, backupDir)) }

// removeFiles removes files of bodies whose messages are gone, unless a backup may
// still want them: the sweep removes them after its end.
func (l *Ledger) removeFiles(files []string) {
	if l.bodiesHeld.Load() {
		return
	}
	for _, f := range files {
		_ = os.Remove(f) // most are not there; the sweep removes what stays
	}
}

// archive is a tar whose last entry are the checksums of the others.
type archive struct {
	tar  *tar.Writer
	at   time.Time
	sums bytes.Buffer
}

func (a *archive) addFile(name, path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("back up %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	if size < 0 {
		info, err := f.Stat()
		if err != nil {
			return fmt.Errorf("back up %s: %w", name, err)
		}
		size = info.Size()
	}
	return a.add(name, size, f)
}

func (a *archive) add(name string, size int64, r io.Reader) error {
	sum := sha256.New()
	if err := a.write(name, size, io.TeeReader(io.LimitReader(r, size), sum)); err != nil {
		return fmt.Errorf("back up %s: %w", name, err)
	}
	a.sums.WriteString(sumLine(sum, name))
	return nil
}

// sumLine is a line as sha256sum writes it.
func sumLine(sum hash.Hash, name string) string {
	return hex.EncodeToString(sum.Sum(nil)) + "  " + name + "\n"
}

func (a *archive) write(name string, size int64, r io.Reader) error {
	if err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: a.at.Truncate(time.Second)}); err != nil {
		return err
	}
	n, err := io.Copy(a.tar, r)
	if err == nil && n != size {
		err = fmt.Errorf("it has %d bytes instead of %d", n, size)
	}
	return err
}

func (a *archive) end() error {
	if err := a.write(ferry.BackupSums, int64(a.sums.Len()), bytes.NewReader(a.sums.Bytes())); err != nil {
		return fmt.Errorf("back up: %w", err)
	}
	return a.tar.Close()
}
