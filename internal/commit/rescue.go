package commit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"ferry/internal/disk"
)

func suspectPath(path string) string { return path + ".suspect" }

// rescue copies a file whose last run stopped on a disk error: every page is
// read, checked and written anew, and synced, so that what is served afterwards
// is on the disk, and not only what a page cache believes. The old file is
// replaced only then.
func rescue(path string, opts Options) error {
	log := opts.Log
	if _, err := os.Stat(suspectPath(path)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	opts.Log.Warn("the last run stopped on a disk error: copying into a new file", "file", path)
	fresh := path + ".copy"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an old copy: %w", err)
	}
	if err := copyChecked(path, fresh, opts.Copied); err != nil {
		_ = os.Remove(fresh) // of no use, and in the way of a full disk
		reason := ErrUnreadable
		if IsNoSpace(err) || errors.Is(err, ErrNoSpace) {
			reason = ErrNoSpace
		}
		return fmt.Errorf("%s: %w: it could not be copied into a new file: %w", path, reason, err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("put the copy in place: %w", err)
	}
	if err := disk.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("sync the folder of %s: %w", path, err)
	}
	log.Warn("the copy is checked and in place: whatever was answered is in it; what was refused may be", "file", path)
	return os.Remove(suspectPath(path))
}

func copyChecked(from, to string, copied func(tx *bbolt.Tx, from, to string) error) error {
	if err := readAll(from); err != nil {
		return err
	}
	src, err := openBolt(from)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	if err := guard(func() error { return src.View(check) }); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	dst, err := openBolt(to)
	if err != nil {
		return err
	}
	// 64 MiB transactions bound the memory of the copy.
	if err := guard(func() error { return bbolt.Compact(dst, src, 64<<20) }); err != nil {
		_ = dst.Close()
		return fmt.Errorf("copy: %w", err)
	}
	if copied != nil {
		if err := dst.Update(func(tx *bbolt.Tx) error { return copied(tx, from, to) }); err != nil {
			_ = dst.Close()
			return fmt.Errorf("finish the copy: %w", err)
		}
	}
	return errors.Join(dst.Sync(), dst.Close())
}

func openBolt(path string) (*bbolt.DB, error) {
	h, err := openHandle(path, opening{})
	if err != nil {
		return nil, err
	}
	return h.bolt, nil
}

// readAll reads the file by plain reads, whose errors are errors: that of a
// mapped page would end the process, as the checker runs in a goroutine of its own.
// A file that lacks pages of its own is one too: they would be read beyond its end.
func readAll(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, f)
	if err == nil {
		err = holdsItsPages(f, n)
	}
	return errors.Join(err, f.Close())
}

// check reads every page, and reports the first fault after the last page: the
// checker must not be left behind in the transaction.
func check(tx *bbolt.Tx) error {
	var first error
	for err := range tx.Check() {
		if first == nil {
			first = err
		}
	}
	return first
}

// errDamage says that a page of the file makes no sense, or cannot be read: bbolt
// panics on it.
var errDamage = errors.New("a page of the file is damaged")

// guard runs what reads pages, and gives a panic back as an error: data pages
// have no checksums, so that damage shows only when one is used. A page that the
// disk does not give is a fault of memory, which must not end the process either.
func guard(read func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // a fault of memory
			err = fmt.Errorf("%w: the disk does not give it", errDamage)
		default:
			err = fmt.Errorf("%w: %v", errDamage, p)
		}
	}()
	return read()
}
