package commit

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"

	"ferry/internal/disk"
)

// Full says whether the last group was refused for lack of room.
func (db *DB) Full() bool { return db.full.Load() }

// room looks at the disk at most once a second, and at every group while there
// is too little.
func (db *DB) room() error {
	if db.opts.MinFree < 0 {
		return nil
	}
	if now := time.Now(); !db.freeOK || now.Sub(db.freeAt) > time.Second {
		free, err := disk.Free(filepath.Dir(db.path))
		if err != nil {
			return nil // the disk cannot be asked: let the write tell
		}
		db.freeAt, db.free, db.freeOK = now, free, free >= db.opts.MinFree
	}
	if !db.freeOK {
		return fmt.Errorf("%w: %d bytes free, %d must stay free", ErrNoSpace, db.free, db.opts.MinFree)
	}
	return nil
}

// noteRoom logs when the disk becomes full, and when it is not any more: not at
// every write that is refused.
func (db *DB) noteRoom(err error) {
	full := errors.Is(err, ErrNoSpace)
	if db.full.Swap(full) == full {
		return
	}
	switch {
	case full:
		db.opts.Log.Warn("no space left on the disk: writes are refused until there is room, nothing written before is touched", "file", db.path, "error", err)
	case err == nil:
		db.opts.Log.Info("there is room on the disk again: writes go on", "file", db.path)
	}
}

// IsNoSpace says whether a write failed because the disk, or the file's own
// bound, is full.
func IsNoSpace(err error) bool {
	if errors.Is(err, bolterrors.ErrMaxSizeReached) || disk.IsFull(err) {
		return true
	}
	// bbolt says why the file could not grow as text only.
	why, ok := strings.CutPrefix(fmt.Sprint(err), "file resize error: ")
	return ok && (strings.HasSuffix(why, syscall.ENOSPC.Error()) || strings.HasSuffix(why, syscall.EDQUOT.Error()) ||
		runtime.GOOS == "windows" && strings.HasSuffix(why, disk.ErrorDiskFull.Error()))
}
