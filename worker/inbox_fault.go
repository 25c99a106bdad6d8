package worker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
	"ferry/internal/disk"
)

// inboxError is what a start ends with: it says what to do now.
func inboxError(path string, err error) error {
	var newer *ferry.Error
	switch {
	case errors.As(err, &newer):
		return ferry.Errorf(newer.Code, "the inbox %s cannot be opened: %w", path, err).WithHint("%s", newer.Hint)
	case errors.Is(err, commit.ErrLocked):
		return ferry.Errorf(ferry.CodeLedgerLocked, "the inbox %s is open in another process", path).
			WithHint("each worker needs a dataDir of its own; is the worker running already?")
	case errors.Is(err, commit.ErrUnreadable):
		return ferry.Errorf(ferry.CodeLedgerUnreadable, "the inbox %s cannot be read: %w", path, err).
			WithHint("it was not touched; look at the disk, move it away to begin with a new inbox, then bind the routes to it: broker workers bind; what it had begun is waited out and looked up")
	case errors.Is(err, commit.ErrNoSpace), disk.IsFull(err):
		return ferry.Errorf(ferry.CodeNoSpace, "the inbox %s cannot be opened: %w", path, err).
			WithHint("make room on the worker's disk and start again: nothing in the inbox was touched")
	case errors.Is(err, commit.ErrStopped), errors.Is(err, syscall.EIO), errors.Is(err, syscall.EROFS):
		return ferry.Errorf(ferry.CodeLedgerUnavailable, "the inbox %s cannot be opened: %w", path, err).
			WithHint("look at the worker's disk and its system's log, and start again once the disk reads and writes; until then leave the inbox as it is")
	}
	return ferry.Errorf(ferry.CodeOf(err), "the inbox %s cannot be opened: %w", path, err).
		WithHint("set dataDir in worker.yaml to a folder that this process may make and write to")
}

// knownSchema refuses an inbox that this build may not understand.
func knownSchema(tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		if name, _ := tx.Cursor().First(); name != nil {
			return fmt.Errorf("%w: it is no inbox: it has a bucket %q and no meta", commit.ErrUnreadable, name)
		}
		return nil
	}
	if v := meta.Get(keySchema); v != nil && (len(v) != 1 || v[0] > inboxSchema) {
		return ferry.Errorf(ferry.CodeLedgerNewer, "it was written by a newer version").
			WithHint("start the newer version of the worker; the inbox was not touched")
	}
	return nil
}

// stillTheSame keeps the identity of an inbox whose file our own start has copied
// after a disk error: nobody else works with the one that it replaces. An inbox
// that was a stranger's copy before stays one.
func stillTheSame(fileID func(path string) (uint64, error)) func(tx *bbolt.Tx, from, to string) error {
	return func(tx *bbolt.Tx, from, to string) error {
		before, err := fileID(from)
		if err != nil {
			return err
		}
		after, err := fileID(to)
		meta := tx.Bucket(bucketMeta)
		if err != nil || meta == nil || len(meta.Get(keyFile)) == 0 {
			return err
		}
		if !bytes.Equal(meta.Get(keyFile), fileNumber(before)) {
			// The number that it bears may have been given to the new file meanwhile;
			// that of the old file has not.
			after = before
		}
		return meta.Put(keyFile, fileNumber(after))
	}
}

func fileNumber(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// update is a write of the inbox; whether it succeeded is remembered, so that the
// broker can be told.
func (b *inbox) update(ctx context.Context, size int, write func(tx *bbolt.Tx) error) error {
	err := b.db.UpdateSized(ctx, size, write)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case inboxHint(err) == "":
		b.failing, b.failure = time.Time{}, nil
	case b.failure == nil:
		b.failing, b.failure = time.Now(), err
	default:
		b.failure = err
	}
	return err
}

// conditions says what of the inbox keeps every route from being delivered.
func (b *inbox) conditions() []ferry.Condition {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failure == nil {
		return nil
	}
	return []ferry.Condition{{
		Type: ferry.RouteUnavailable, Since: b.failing.UTC(),
		Reason: "the worker cannot write its inbox: " + reasonOf(b.failure) + ": " + inboxHint(b.failure),
	}}
}

func reasonOf(err error) string {
	if errors.Is(err, commit.ErrNoSpace) {
		return commit.ErrNoSpace.Error()
	}
	return commit.ErrStopped.Error()
}

// inboxHint is what to do when a write of the running worker's inbox failed by
// its disk, "" for any other error.
func inboxHint(err error) string {
	switch {
	case errors.Is(err, commit.ErrNoSpace):
		return "make room on the worker's disk; deliveries go on by themselves"
	case errors.Is(err, commit.ErrStopped):
		return "look at the worker's disk and start the worker again; it copies the inbox into a new, checked file first"
	case errors.Is(err, commit.ErrUnreadable):
		return "look at the worker's disk; when the worker says the same after a new start, move the inbox away and bind its routes anew: broker workers bind"
	}
	return ""
}
