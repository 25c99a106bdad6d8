package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// MkdirAll is os.MkdirAll whose folders survive a power cut: the name of each new
// folder is synced in the one above it. That of the last is synced also when it
// was there: whoever made it may have ended before it came to it.
func MkdirAll(path string, perm os.FileMode) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	above := filepath.Dir(path)
	deepest := above // that was there before
	for deepest != filepath.Dir(deepest) {
		if _, err := os.Stat(deepest); err == nil {
			break
		}
		deepest = filepath.Dir(deepest)
	}
	if err := os.MkdirAll(path, perm); err != nil {
		return err
	}
	for dir := above; ; dir = filepath.Dir(dir) {
		// A folder that we may not read was not made by us.
		if err := SyncDir(dir); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		if dir == deepest {
			return nil
		}
	}
}

// WriteNew writes a file that is not there yet, synced with its name. A file that
// it could not finish is removed.
func WriteNew(path string, data []byte, perm os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = SyncDir(filepath.Dir(path))
	}
	if err != nil {
		_ = os.Remove(path) // it may be in the way of the next try only
	}
	return err
}
