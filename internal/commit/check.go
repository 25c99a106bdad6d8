package commit

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Look opens a file that nobody has open, to read alone, and runs read in a
// transaction; whole: every page is read and checked before. The error is ErrLocked
// when somebody has it open, ErrUnreadable when it is damaged.
func Look(path string, whole bool, read func(tx *bbolt.Tx) error) (err error) {
	if whole {
		if err := readAll(path); err != nil {
			return fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
		}
	}
	var b *bbolt.DB
	err = guard(func() (err error) {
		b, err = bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("%s: %w", path, ErrLocked)
	case errors.Is(err, errDamage), errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
	case err != nil:
		return fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if whole {
		if err := guard(func() error { return b.View(check) }); err != nil {
			return fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
		}
	}
	err = guard(func() error { return b.View(read) })
	if errors.Is(err, errDamage) {
		return fmt.Errorf("%s: %w: %w", path, ErrUnreadable, err)
	}
	return err
}
