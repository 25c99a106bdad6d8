package commit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"ferry/internal/disk"
)

func suspectPath(path string) string { return path + ".suspect" }

// rescue copies a file whose last run stopped on a disk error: every page is
// read, checked and written anew, so that what is served afterwards is what the
// disk really has, not what a page cache believes.
func rescue(path string, opts Options) error {
	if _, err := os.Stat(suspectPath(path)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	opts.Log.Warn("the last run stopped on a disk error: copying into a new file", "file", path)
	fresh := path + ".copy"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an old copy: %w", err)
	}
	if err := copyChecked(path, fresh, opts.Copied); err != nil {
		return fmt.Errorf("%s: %w: it could not be copied into a new file: %w", path, ErrUnreadable, err)
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("put the copy in place: %w", err)
	}
	if err := disk.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("sync the folder of %s: %w", path, err)
	}
	return os.Remove(suspectPath(path))
}

func copyChecked(from, to string, copied func(tx *bbolt.Tx, from, to string) error) error {
	src, err := openBolt(from, 0)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	if err := guard(func() error { return src.View(check) }); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	dst, err := openBolt(to, 0)
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

// errDamage says that a page of the file makes no sense: bbolt panics on it.
var errDamage = errors.New("a page of the file is damaged")

// guard runs what reads pages, and gives a panic back as an error: data pages
// have no checksums, so that damage shows only when one is used.
func guard(read func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamage, p)
		}
	}()
	return read()
}
