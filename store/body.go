package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
	"ferry/internal/disk"
)

// ErrBodyMissing says that a body is gone, or is not what was accepted.
var ErrBodyMissing = errors.New("the body is missing or was altered")

func bodyKey(id ferry.ID, revision int) []byte {
	return binary.BigEndian.AppendUint16(append(make([]byte, 0, 18), id[:]...), uint16(revision))
}

func (l *Ledger) bodyPath(id ferry.ID, revision int) string {
	name := id.String()
	// The last characters are random: 256 folders share the files evenly.
	return filepath.Join(l.dir, "bodies", name[34:], fmt.Sprintf("%s.%d", name, revision))
}

// writeBody writes a large body that is in memory into its file, synced with its
// name.
func (l *Ledger) writeBody(path string, body []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return l.fileError(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return l.fileError(err)
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = errors.Join(disk.SyncDir(dir), disk.SyncDir(filepath.Dir(dir)))
	}
	if err != nil {
		return l.fileError(err)
	}
	return nil
}

func (l *Ledger) fileError(err error) error {
	if commit.IsNoSpace(err) {
		return l.writeError(fmt.Errorf("%w: %w", commit.ErrNoSpace, err))
	}
	return ferry.Errorf(ferry.CodeLedgerUnavailable, "a body could not be written: nothing was accepted: %w", err).
		WithHint("send again; when it stays so, the operator must look at the broker's disk and at its system's log")
}

func (l *Ledger) putBody(tx *bbolt.Tx, id ferry.ID, revision int, body []byte) error {
	if len(body) > ferry.InlineBody || len(body) == 0 {
		return nil
	}
	return appending(tx, bBodies).Put(bodyKey(id, revision), body)
}

// inline reads a body that the ledger itself holds, and checks it against the
// record's hash; nil when it lies in a file.
func (l *Ledger) inline(tx *bbolt.Tx, r *record, revision int) ([]byte, error) {
	want := r.hashOf(revision)
	if want == nil {
		return nil, fmt.Errorf("message %s has no revision %d: %w", r.ID, revision, ErrBodyMissing)
	}
	if empty := sha256.Sum256(nil); bytes.Equal(want, empty[:]) {
		return []byte{}, nil
	}
	body := bytes.Clone(tx.Bucket(bBodies).Get(bodyKey(r.ID, revision)))
	if body == nil {
		return nil, nil
	}
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], want) {
		return nil, missing(r.ID, revision, nil)
	}
	return body, nil
}

func missing(id ferry.ID, revision int, err error) error {
	if err != nil {
		return fmt.Errorf("message %s, revision %d: %w: %w", id, revision, ErrBodyMissing, err)
	}
	return fmt.Errorf("message %s, revision %d: %w", id, revision, ErrBodyMissing)
}

// body is inline for one that should be small; a small one that is in a file
// cannot be.
func (l *Ledger) body(tx *bbolt.Tx, r *record, revision int) ([]byte, error) {
	body, err := l.inline(tx, r, revision)
	if err == nil && body == nil {
		return nil, missing(r.ID, revision, nil)
	}
	return body, err
}

// hashOf is the SHA-256 of a revision's body, nil when there is no such revision.
func (r *record) hashOf(revision int) []byte {
	if revision < 1 || revision*sha256.Size > len(r.BodyHash) {
		return nil
	}
	return r.BodyHash[(revision-1)*sha256.Size : revision*sha256.Size]
}

// OpenBody opens a revision of a message's body; revision 0 means the current
// one. A large one is read once, and held against its hash, before it is returned:
// an error that is ErrBodyMissing says that it is gone or was altered.
func (l *Ledger) OpenBody(id ferry.ID, revision int) (ferry.BodyReader, error) {
	var b ferry.BodyReader
	err := l.db.View(func(tx *bbolt.Tx) error {
		r, err := must(tx, id)
		if err != nil {
			return err
		}
		if revision == 0 {
			revision = r.Revision
		}
		if r.hashOf(revision) == nil {
			return ferry.Errorf(ferry.CodeNotFound, "message %s has revisions 1 to %d", id, r.Revision)
		}
		b.ContentType, b.SHA256 = r.ContentType, bytes.Clone(r.hashOf(revision))
		body, err := l.inline(tx, r, revision)
		if body != nil {
			b.ReadSeekCloser, b.Size = ferry.NewBodyReader(body), int64(len(body))
		}
		return err
	})
	if err != nil || b.ReadSeekCloser != nil {
		return b, err
	}
	f, err := os.Open(l.bodyPath(id, revision))
	if err != nil {
		return ferry.BodyReader{}, missing(id, revision, err)
	}
	if b.Size, err = l.verify(f, b.SHA256); err != nil {
		_ = f.Close()
		return ferry.BodyReader{}, missing(id, revision, err)
	}
	b.ReadSeekCloser = f
	return b, nil
}

// verify reads the file, holds it against the hash and goes back to its beginning.
func (l *Ledger) verify(f *os.File, want []byte) (size int64, err error) {
	buf := l.buffers.Get().(*[stageBuffer]byte)
	defer l.buffers.Put(buf)
	sum := sha256.New()
	// A plain reader and writer: io.CopyBuffer would leave the buffer aside else.
	if size, err = io.CopyBuffer(sum, struct{ io.Reader }{f}, buf[:]); err != nil {
		return size, err
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return size, errors.New("its SHA-256 differs")
	}
	_, err = f.Seek(0, io.SeekStart)
	return size, err
}

// BodyPart reads a part of a body: for workers, which fetch large ones in
// pieces. It is shorter than length at the end of the body.
func (l *Ledger) BodyPart(id ferry.ID, revision int, offset int64, length int) (part []byte, err error) {
	length, offset = max(length, 0), max(offset, 0)
	inline := false
	err = l.db.View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bBodies).Get(bodyKey(id, revision)); v != nil {
			inline = true
			from := min(offset, int64(len(v)))
			part = bytes.Clone(v[from : from+min(int64(length), int64(len(v))-from)])
		}
		return nil
	})
	if err != nil || inline {
		return part, err
	}
	f, err := os.Open(l.bodyPath(id, revision))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBodyMissing, err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBodyMissing, err)
	}
	part = make([]byte, min(int64(length), max(info.Size()-offset, 0)))
	n, err := f.ReadAt(part, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", ErrBodyMissing, err)
	}
	return part[:n], nil
}

// removeBodies drops every revision inside a transaction, and returns the files
// to be removed after its commit.
func (l *Ledger) removeBodies(tx *bbolt.Tx, r *record) (files []string, err error) {
	for rev := 1; rev <= r.Revision; rev++ {
		if err := tx.Bucket(bBodies).Delete(bodyKey(r.ID, rev)); err != nil {
			return nil, err
		}
		files = append(files, l.bodyPath(r.ID, rev))
	}
	return files, nil
}

// SweepBodies removes files of bodies that no message refers to: orphans older
// than age, left by a crash between file and commit, and what is staged and nobody
// holds. It returns their number.
func (l *Ledger) SweepBodies(ctx context.Context, age time.Duration) (int, error) {
	removed, err := l.sweepStaged()
	if err != nil || l.bodiesHeld.Load() {
		return removed, err
	}
	err = filepath.WalkDir(filepath.Join(l.dir, "bodies"), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path == l.stagedDir():
			return fs.SkipDir
		case d.IsDir():
			return ctx.Err()
		}
		info, err := d.Info()
		if err != nil || time.Since(info.ModTime()) < age || l.placed.has(path) {
			return nil //nolint:nilerr // gone meanwhile
		}
		name, number, _ := strings.Cut(d.Name(), ".")
		id, err := ferry.ParseID(name)
		revision, numErr := strconv.Atoi(number)
		if err != nil || numErr != nil {
			return nil //nolint:nilerr // not a file of ours: leave it
		}
		gone, err := l.removeOrphan(path, id, revision)
		if gone {
			removed++
		}
		return err
	})
	return removed, err
}

// removeOrphan removes a file that no record refers to. No body gets its name
// meanwhile: what a replaced body will be called may have been an orphan's name.
func (l *Ledger) removeOrphan(path string, id ferry.ID, revision int) (gone bool, err error) {
	l.naming.Lock()
	defer l.naming.Unlock()
	known := l.placed.has(path) || l.bodiesHeld.Load()
	err = l.db.View(func(tx *bbolt.Tx) error {
		r, err := get(tx, id)
		known = known || err != nil || r != nil && revision <= r.Revision // unreadable: keep it
		return nil
	})
	if err != nil || known {
		return false, err
	}
	return true, os.Remove(path)
}
