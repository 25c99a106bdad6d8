package commit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"ferry/internal/disk"
)

// newFile begins the name of a file that create has not put in place yet.
func newFile(path string) string { return path + ".new-" }

// create makes the file, when there is none, under another name first: so a disk
// that is full, or a power cut, leaves no half of an empty file that the next
// start could only take for a damaged one.
func create(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // what is wrong with it, openBolt says
	}
	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(newFile(path))+"*")
	if err != nil {
		return createError(path, err)
	}
	name := temp.Name()
	defer func() { _ = os.Remove(name) }() // what stays, sweepNew removes
	if err := temp.Close(); err != nil {
		return createError(path, err)
	}
	h, err := openHandle(name, opening{}) // syncs what it makes
	if err != nil {
		return err
	}
	if err := h.bolt.Close(); err != nil {
		return createError(path, err)
	}
	// A link fails where there is a file by now; a rename would replace it under
	// a process that has it open. Where there are no links, bbolt makes the file.
	if err := os.Link(name, path); disk.IsFull(err) {
		return createError(path, err)
	}
	return nil
}

func createError(path string, err error) error {
	if disk.IsFull(err) {
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return fmt.Errorf("make %s: %w", path, err)
}

// sweepNew removes what a create left that was killed. The file is open, and so
// locked: another create, if there is one, is too late anyway.
func sweepNew(path string) {
	left, _ := filepath.Glob(newFile(path) + "*") // the pattern may be bad by the folder's name
	for _, name := range left {
		_ = os.Remove(name)
	}
}
