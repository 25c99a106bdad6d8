package commit

import (
	"errors"
	"fmt"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// Finish has write, if there is one, change a file that nobody has open, syncs it,
// and looks at every page. An error says that the file is of no use.
func Finish(path string, write func(tx *bbolt.Tx) error) error {
	if err := readAll(path); err != nil {
		return err
	}
	b, err := openBolt(path)
	if err != nil {
		return err
	}
	err = guard(func() error {
		if write != nil {
			if err := b.Update(write); err != nil {
				return err
			}
		}
		return b.View(check)
	})
	return errors.Join(err, b.Close())
}

// Peek reads a file that nobody has open for writing.
func Peek(path string, read func(tx *bbolt.Tx) error) error {
	if _, err := os.Stat(path); err != nil {
		return err
	}
	return guard(func() error {
		b, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		return errors.Join(b.View(read), b.Close())
	})
}
