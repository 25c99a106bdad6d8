package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// handOver calls make and writes the secret that it gives to file, with a line
// break at the end. The file is made first, readable by its owner only, and
// never replaced: a secret that could not be kept is not made. Without a file
// only make is called.
func (a *app) handOver(file string, make func() (secret string, err error)) error {
	if file == "" {
		_, err := make()
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return usagef("%s exists, and secrets are never written over one another", file).
			withHint("name another file with --out, or move this one away")
	}
	if err != nil {
		return fmt.Errorf("the file for the secret: %w", err)
	}
	secret, err := make()
	if err != nil {
		return errors.Join(err, f.Close(), os.Remove(file))
	}
	_, err = f.WriteString(secret + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("the secret was made but could not be written to %s, rotate it: %w", file, err)
	}
	return nil
}
