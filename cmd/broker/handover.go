package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ferry/internal/disk"
)

// handOver calls make and writes the secret that it gives to file, with a line
// break at the end. The file is readable by its owner only, and never replaced. It
// is written under another name beside it, which is made first (a secret that could
// not be kept is not made), and gets its name when it is whole: a kill at any moment
// leaves no file that holds none. Without a file only make is called.
func (a *app) handOver(file string, make func() (secret string, err error)) error {
	if file == "" {
		_, err := make()
		return err
	}
	if holdsSomething(file) {
		return usagef("%s exists, and secrets are never written over one another", file).
			withHint("name another file with --out, or move this one away")
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // for its owner only
	if err != nil {
		return fmt.Errorf("the file for the secret: %w", err)
	}
	secret, err := make()
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	_, err = f.WriteString(secret + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = giveName(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("the secret was made but could not be written to %s, rotate it: %w", file, err)
	}
	return nil
}

// holdsSomething says whether there is something at the path that must stay: all but
// a file that is empty, as one that was killed over the making of a secret left it.
func holdsSomething(file string) bool {
	info, err := os.Lstat(file)
	return err == nil && !(info.Mode().IsRegular() && info.Size() == 0)
}

// giveName gives a file the name that it shall have, unless something holds that.
func giveName(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		_ = os.Remove(from)
	case holdsSomething(to):
		return err
	default: // an empty file is in the way, or the file system knows no links
		if err := os.Rename(from, to); err != nil {
			return err
		}
	}
	_ = disk.SyncDir(filepath.Dir(to)) // it is there; not every folder can be synced
	return nil
}
