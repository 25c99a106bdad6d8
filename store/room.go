package store

import (
	"context"
	"fmt"

	"go.etcd.io/bbolt"

	"ferry/internal/commit"
	"ferry/internal/disk"
)

// spare is what a commit may need beside the body, bytes.
const spare = 1 << 20

// Room says why a message with a body of size bytes cannot be accepted now, nil
// when it can: it writes, an empty commit. For those who had a message refused
// and must not try with the message itself.
func (l *Ledger) Room(ctx context.Context, size int64) error {
	if err := l.update(ctx, 0, func(*bbolt.Tx) error { return nil }); err != nil {
		return err
	}
	free, err := disk.Free(l.dir)
	if err != nil || free >= size+spare {
		return nil //nolint:nilerr // the disk cannot be asked: let the write tell
	}
	return l.writeError(fmt.Errorf("%w: %d bytes free, a body of %d waits", commit.ErrNoSpace, free, size))
}
