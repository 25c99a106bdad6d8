package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
	"ferry/internal/disk"
)

// A ledger of an older schema is copied before the first step of a migration writes:
// the way back to the program before is to put the copy in the ledger's place, where
// it begins another epoch. It stays until the operator removes it.

// beforeSchema begins the name of the copy, beside ledger.db; the version that the
// ledger goes to follows.
const beforeSchema = "ledger.db.before-schema-"

// maxCopies bounds how often somebody went back and forth between two versions, and
// kept every copy.
const maxCopies = 100

// ledgerCopy makes the copy of one ledger.
type ledgerCopy struct {
	dir     string
	from    uint64 // the ledger's schema version
	to      int    // the version that it is brought to
	starts  []byte // how often it was opened: two copies of the same are one
	size    int64
	minFree int64 // that must be left
	write   func(w io.Writer) error
	step    func(name string) error // called before each step; a test's fault
	log     *slog.Logger
}

// copyBeforeMigration copies the ledger, which has schema version from. It returns
// when the copy is whole, checked and on disk; nothing of the ledger has been touched
// until then, nor when it fails.
func (l *Ledger) copyBeforeMigration(from uint64) error {
	c := ledgerCopy{
		dir: l.dir, from: from, to: len(schemaSteps()), size: l.db.Size(), minFree: max(l.minFree, 0), log: l.log,
		step: func(string) error { return nil },
		write: func(w io.Writer) error {
			return l.db.View(func(tx *bbolt.Tx) error {
				_, err := tx.WriteTo(w)
				return err
			})
		},
	}
	err := l.db.View(func(tx *bbolt.Tx) error {
		c.starts = bytes.Clone(tx.Bucket(bMeta).Get(metaStarts))
		return nil
	})
	if err != nil {
		return err
	}
	return c.make()
}

func (c *ledgerCopy) make() error {
	path, there, err := c.place()
	if err != nil || there {
		return err
	}
	temp := path + ".part"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove what is left of an earlier copy: %w", err)
	}
	if free, err := disk.Free(c.dir); err == nil && free < c.size+c.minFree {
		return c.noSpace(free, nil)
	}
	c.log.Info("ledger.copy", "file", path, "bytes", c.size, "schema", c.from, "next", "the ledger goes to its next schema once the copy is on disk")
	if err := c.writeChecked(temp, path); err != nil {
		_ = os.Remove(temp) // it would only take room
		if disk.IsFull(err) || commit.IsNoSpace(err) {
			free, _ := disk.Free(c.dir)
			return c.noSpace(free, err)
		}
		return fmt.Errorf("copy the ledger before its schema changes: %w", err)
	}
	c.log.Warn("ledger.copied", "file", path, "bytes", c.size, "schema", c.from,
		"next", "it is the way back to the version of the broker before: remove it when you need that no more")
	return nil
}

// place is a name that is free; there: the copy of this very ledger is there already.
func (c *ledgerCopy) place() (path string, there bool, err error) {
	for n := 1; n <= maxCopies; n++ {
		path = filepath.Join(c.dir, fmt.Sprintf("%s%d", beforeSchema, c.to))
		if n > 1 {
			path += fmt.Sprintf(".%d", n)
		}
		switch _, err := os.Lstat(path); {
		case errors.Is(err, fs.ErrNotExist):
			return path, false, nil
		case err != nil:
			return "", false, fmt.Errorf("look for an earlier copy of the ledger: %w", err)
		}
		same := false
		err = commit.Peek(path, func(tx *bbolt.Tx) error {
			meta := tx.Bucket(bMeta)
			same = meta != nil && bytes.Equal(meta.Get(metaStarts), c.starts)
			return nil
		})
		if err == nil && same {
			return path, true, disk.SyncDir(c.dir) // an earlier try to migrate came to here
		}
	}
	return "", false, ferry.Errorf(ferry.CodeLedgerUnreadable, "there are %d copies of the ledger from before its schema changed", maxCopies).
		WithHint("remove those of the files %s* that you need no more, and start again", beforeSchema)
}

// writeChecked makes the copy under a name of its own first: what has the right name is
// whole.
func (c *ledgerCopy) writeChecked(temp, path string) error {
	for _, s := range []struct {
		name string
		do   func() error
	}{
		{"write", func() error { return c.writeFile(temp) }},
		{"check", func() error { return commit.Finish(temp, c.mark) }},
		{"rename", func() error { return os.Rename(temp, path) }},
		{"sync", func() error { return disk.SyncDir(c.dir) }},
	} {
		if err := c.step(s.name); err != nil {
			return err
		}
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

func (c *ledgerCopy) writeFile(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(c.write(f), f.Sync(), f.Close())
}

// mark has whoever opens the copy find that it is one, also in a file system that
// gives the number of a removed file to the next.
func (c *ledgerCopy) mark(tx *bbolt.Tx) error {
	version, err := schemaVersion(tx, int(c.from))
	if err == nil && version != c.from {
		err = fmt.Errorf("the copy has schema version %d, the ledger %d", version, c.from)
	}
	if err != nil {
		return err
	}
	meta := tx.Bucket(bMeta)
	number := uint64(0)
	if was := meta.Get(metaFile); len(was) == 8 {
		number = binary.BigEndian.Uint64(was)
	}
	return meta.Put(metaFile, u64(max(^number, 1)))
}

func (c *ledgerCopy) noSpace(free int64, why error) error {
	need := c.size + c.minFree
	err := fmt.Errorf("%w: %d bytes free, %d needed", commit.ErrNoSpace, free, need)
	if why != nil {
		err = fmt.Errorf("%w: %w", err, why)
	}
	return ferry.Errorf(ferry.CodeNoSpace, "there is no room to copy the ledger before its schema changes: %w", err).
		WithHint("free %d MiB on its disk and start again, or start the version of the broker before: the ledger was not touched", max(need-free, 0)>>20+1)
}
