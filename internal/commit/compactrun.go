package commit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"ferry/internal/disk"
)

// Bounds of a compaction.
const (
	// patience is how long it waits for a place between two groups. It is a net
	// below makeWay only: a committer that waits for the compaction must not be
	// waited for.
	patience = 5 * time.Second
	// longestRest keeps what is to be followed after it small.
	longestRest = 50 * time.Millisecond
	// syncBytes of the copy are written to the disk at a time, so that no fsync of
	// the file in use has to wait for much of it.
	syncBytes = 2 << 20
	// fewChanges are so few that writes may be held for as many.
	fewChanges = 2000
	// holdBound is how long writes are held for the last changes; when these take
	// longer, they are followed once more without. The fsync and the rename add to it.
	holdBound = 20 * time.Millisecond
	// catchUps is how often that is tried.
	catchUps = 100
)

// stage is a moment of a compaction, for tests.
type stage int

const (
	stageOpened stage = iota
	stageStep
	stageSync
	stageCopied
	stageSeen
	stageHeld
	stageSynced
	stageRenamed
	stageDone
)

func (c *compaction) reach(s stage) error {
	if c.opts.reached == nil {
		return nil
	}
	return c.opts.reached(s)
}

func (c *compaction) run(ctx context.Context) error {
	from := c.db.take()
	defer c.db.leave(from)
	defer c.drop()
	if err := c.open(from); err != nil {
		return err
	}
	for !c.copier.copied.end {
		if _, err := c.step(ctx, func(next *bbolt.Tx) error {
			n, err := c.copier.copySome(next)
			c.result.Entries += n
			return err
		}); err != nil {
			return err
		}
	}
	if err := c.reach(stageCopied); err != nil {
		return err
	}
	for !c.copier.seen.end {
		if _, err := c.step(ctx, c.copier.seeSome); err != nil {
			return err
		}
	}
	if err := c.reach(stageSeen); err != nil {
		return err
	}
	return c.catchUp(ctx)
}

// open makes the new file.
func (c *compaction) open(from *handle) error {
	waste := from.waste(c.db.Size())
	live := waste.Size - waste.Free
	if err := c.hasRoom(live + live/8); err != nil {
		return err
	}
	// One compaction runs at a time, and the file in use is locked: what is there
	// was left by one that was killed.
	if err := os.Remove(c.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fresh, err := openHandle(c.path, opening{maxSize: c.db.opts.MaxSize, ahead: live, unsynced: true})
	if err != nil {
		return err
	}
	c.fresh = fresh
	c.copier.fresh = fresh.bolt
	c.copier.pages = pages{file: from.file, size: from.page}
	return c.reach(stageOpened)
}

// step goes over to what is committed now, and does some work on it. It rests from the
// work only: after a rest from following there would be more to follow.
func (c *compaction) step(ctx context.Context, work func(next *bbolt.Tx) error) (changes int, err error) {
	if err := c.db.Err(); err != nil {
		return 0, err
	}
	if err := c.reach(stageStep); err != nil {
		return 0, err
	}
	if err := c.db.between(ctx, c.snapshot); err != nil {
		return 0, err
	}
	if changes, err = c.advance(work); err != nil {
		return changes, err
	}
	if c.written += c.copier.size; c.written >= syncBytes {
		if err := c.sync(); err != nil {
			return changes, err
		}
	}
	if work == nil {
		return changes, ctx.Err()
	}
	return changes, c.rest(ctx, time.Since(c.followed))
}

// snapshot begins the next one, on the committer's goroutine: between two groups
// nobody waits for a larger mapping, and so this does not either.
func (c *compaction) snapshot() error {
	tx, err := c.db.begin(c.db.current(), false)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped {
		c.db.end(tx)
		return ErrInTheWay
	}
	c.next = tx
	return nil
}

// advance makes the copy equal to the next snapshot, as far as it has come.
func (c *compaction) advance(work func(next *bbolt.Tx) error) (changes int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped {
		return 0, ErrInTheWay
	}
	if err := c.copier.begin(); err != nil {
		return 0, err
	}
	defer c.copier.rollback()
	if c.base != nil {
		if changes, err = c.copier.follow(c.base, c.next); err != nil {
			return changes, err
		}
	}
	c.followed = time.Now()
	if work != nil {
		if err := work(c.next); err != nil {
			return changes, err
		}
	}
	c.closeBase()
	c.base, c.next = c.next, nil
	c.result.Changes += changes
	return changes, c.copier.commit()
}

func (c *compaction) sync() error {
	c.written = 0
	if err := c.reach(stageSync); err != nil {
		return err
	}
	if err := c.fresh.file.Sync(); err != nil {
		return err
	}
	return c.hasRoom(0)
}

// rest leaves the machine to the writers for a while.
func (c *compaction) rest(ctx context.Context, worked time.Duration) error {
	if c.opts.Pause < 0 {
		return ctx.Err()
	}
	pause := min(time.Duration(float64(c.opts.Pause)*worked.Seconds()), longestRest)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// catchUp follows until there is little to follow, and puts the copy in place.
func (c *compaction) catchUp(ctx context.Context) error {
	for range catchUps {
		changes, err := c.step(ctx, nil)
		if err != nil {
			return err
		}
		if err := c.sync(); err != nil {
			return err
		}
		if changes > fewChanges {
			continue
		}
		err = c.db.between(ctx, func() error { return guard(c.replace) })
		if !errors.Is(err, errLate) {
			return err
		}
	}
	return fmt.Errorf("%w: they change more than it can follow", ErrInTheWay)
}

// errLate ends a hold that takes too long. The copy is as it was before.
var errLate = errors.New("writes would be held for too long")

// replace puts the copy in place, on the committer's goroutine: no write runs.
func (c *compaction) replace() error {
	start := time.Now()
	if err := c.db.Err(); err != nil {
		return err // the file must be copied otherwise: see rescue
	}
	if err := c.snapshot(); err != nil {
		return err
	}
	if err := c.finish(start.Add(holdBound)); err != nil {
		return err
	}
	if err := c.reach(stageHeld); err != nil {
		return err
	}
	if err := c.fresh.file.Sync(); err != nil {
		return fmt.Errorf("sync the copy: %w", err)
	}
	if err := c.reach(stageSynced); err != nil {
		return err
	}
	if err := os.Rename(c.path, c.db.path); err != nil {
		return fmt.Errorf("put the copy in place: %w", err)
	}
	c.replaced = true
	c.fresh.bolt.NoSync, c.fresh.bolt.NoGrowSync = false, false
	c.drop()
	c.db.replace(c.fresh)
	err := c.reach(stageRenamed)
	if err == nil {
		err = disk.SyncDir(filepath.Dir(c.db.path))
	}
	if err != nil {
		// After a power cut it may be the old file, which would lack what is written
		// from now on.
		return c.db.stop(fmt.Errorf("sync the folder of %s: %w", c.db.path, err))
	}
	c.result.Held = time.Since(start)
	return c.reach(stageDone)
}

// finish makes the copy equal to the file, in one transaction.
func (c *compaction) finish(until time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.copier.begin(); err != nil {
		return err
	}
	defer c.copier.rollback()
	c.copier.until = until
	changes, err := c.copier.follow(c.base, c.next)
	c.copier.until = time.Time{}
	if errors.Is(err, errLate) {
		c.db.end(c.next)
		c.next = nil
	}
	if err != nil {
		return err
	}
	if c.db.opts.Copied != nil {
		if err := c.db.opts.Copied(c.copier.tx, c.db.path, c.path); err != nil {
			return fmt.Errorf("finish the copy: %w", err)
		}
	}
	c.result.Changes += changes
	return c.copier.commit()
}

// between runs f on the committer's goroutine, when no write has begun.
func (db *DB) between(ctx context.Context, f func() error) error {
	var err error
	done := make(chan struct{})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case db.pauses <- func() { defer close(done); err = f() }:
		<-done // the committer has taken it: it runs
		return err
	case <-db.quit:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return ErrInTheWay
	}
}
