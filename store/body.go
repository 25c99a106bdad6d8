package store

import (
	"bytes"
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

// stageBody puts a large body into its file, synced, before the commit that
// refers to it. A crash in between leaves an orphan, which sweepBodies removes.
func (l *Ledger) stageBody(id ferry.ID, revision int, body []byte) error {
	if len(body) <= ferry.InlineBody {
		return nil
	}
	path := l.bodyPath(id, revision)
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
		_ = os.Remove(path)
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

// body reads a whole body and checks it against the record's hash.
func (l *Ledger) body(tx *bbolt.Tx, r *record, revision int) ([]byte, error) {
	want := r.hashOf(revision)
	if want == nil {
		return nil, fmt.Errorf("message %s has no revision %d: %w", r.ID, revision, ErrBodyMissing)
	}
	if empty := sha256.Sum256(nil); bytes.Equal(want, empty[:]) {
		return []byte{}, nil
	}
	body := bytes.Clone(tx.Bucket(bBodies).Get(bodyKey(r.ID, revision)))
	if body == nil {
		var err error
		if body, err = os.ReadFile(l.bodyPath(r.ID, revision)); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBodyMissing, err)
		}
	}
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], want) {
		return nil, fmt.Errorf("message %s, revision %d: %w", r.ID, revision, ErrBodyMissing)
	}
	return body, nil
}

// hashOf is the SHA-256 of a revision's body, nil when there is no such revision.
func (r *record) hashOf(revision int) []byte {
	if revision < 1 || revision*sha256.Size > len(r.BodyHash) {
		return nil
	}
	return r.BodyHash[(revision-1)*sha256.Size : revision*sha256.Size]
}

// knowsBody says whether any revision had this body.
func (r *record) knowsBody(hash []byte) bool {
	for rev := 1; rev*sha256.Size <= len(r.BodyHash); rev++ {
		if bytes.Equal(r.hashOf(rev), hash) {
			return true
		}
	}
	return false
}

// Body returns a revision of a message's body; revision 0 means the current one.
func (l *Ledger) Body(id ferry.ID, revision int) (body []byte, contentType string, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
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
		body, err = l.body(tx, r, revision)
		contentType = r.ContentType
		return err
	})
	return body, contentType, err
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

// SweepBodies removes body files that no message refers to and that are older
// than age: left by a crash between file and commit. It returns their number.
func (l *Ledger) SweepBodies(age time.Duration) (int, error) {
	removed := 0
	root := filepath.Join(l.dir, "bodies")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil || time.Since(info.ModTime()) < age {
			return nil //nolint:nilerr // gone meanwhile
		}
		name, number, _ := strings.Cut(d.Name(), ".")
		id, err := ferry.ParseID(name)
		revision, numErr := strconv.Atoi(number)
		if err != nil || numErr != nil {
			return nil //nolint:nilerr // not a file of ours: leave it
		}
		known := false
		if err := l.db.View(func(tx *bbolt.Tx) error {
			r, err := get(tx, id)
			known = err != nil || r != nil && revision <= r.Revision // unreadable: keep it
			return nil
		}); err != nil || known {
			return err
		}
		removed++
		return os.Remove(path)
	})
	return removed, err
}
