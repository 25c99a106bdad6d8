package commit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"ferry/internal/disk"
)

// Errors of Compact beside those of Update. After any of them the old file is in
// use, as before, and nothing of the new one is left, but for ErrStopped.
var (
	// ErrCompacting: another compaction runs.
	ErrCompacting = errors.New("a compaction runs already")
	// ErrNoRoom: the disk has no room for a second file beside the first, or has
	// run out of it. Unlike ErrNoSpace it says nothing about writes.
	ErrNoRoom = errors.New("no room on the disk for a smaller copy beside the file")
	// ErrInTheWay: the compaction would have held up writes, which go first.
	ErrInTheWay = errors.New("the compaction was in the way of the writes and ended")
	// ErrDiffers: the copy is not what it should be. It was thrown away.
	ErrDiffers = errors.New("the copy differs from the file")
	// ErrOpenElsewhere: here a file cannot be replaced while it is open. Open
	// compacts it, where Options say so.
	ErrOpenElsewhere = errors.New("a file that is open cannot be replaced on this system")
)

// Waste is how much of the file is in use.
type Waste struct {
	Size int64 // of the file, bytes
	Free int64 // bytes of it that nothing lies in; they are reused, never given back
}

// Much says whether a compaction is worth its while: more than 64 MiB are free, and
// more than half of the file; or more than 512 MiB and an eighth of it, as each
// commit writes the list of the free pages, 2 MiB of it for each GiB.
func (w Waste) Much() bool {
	return w.Free > muchFree && w.Free > w.Size/2 || w.Free > slowFree && w.Free > w.Size/8
}

const (
	muchFree = 64 << 20
	slowFree = 512 << 20
)

// Waste says how much of the file is free. It is cheap.
func (db *DB) Waste() Waste {
	h := db.take()
	defer db.leave(h)
	return h.waste(db.Size())
}

// Wasteful says whether Compact is worth its while, and can be done here.
func (db *DB) Wasteful() bool { return replacesOpenFiles() && db.Waste().Much() }

func (h *handle) waste(size int64) Waste {
	stats := h.bolt.Stats()
	pages := int64(stats.FreePageN + stats.PendingPageN)
	return Waste{Size: size, Free: pages * int64(h.page)}
}

// CompactOptions of Compact. The zero value works.
type CompactOptions struct {
	// Pause is how long the copier rests for each second that it works, so that
	// writers have the machine; it works in steps of some milliseconds. Default 3 s;
	// -1: none.
	Pause time.Duration

	reached func(stage) error // tests stop the world, or fail, there
}

// Compacted says what a compaction did.
type Compacted struct {
	Before, After int64 // size of the file, bytes
	Took          time.Duration
	Held          time.Duration // how long writes were held at the end
	Entries       int           // that were copied
	Changes       int           // that writes made meanwhile, and were followed
}

// Compact writes what the file holds into a new, smaller one and puts that in its
// place, while reads and writes go on: the copier follows what the writes change
// (see copier). Writes are held only for the last of these changes, an fsync and
// a rename. Reads that run then keep the old file until they end.
//
// A crash at any time leaves the old file or the new one, whole. One compaction
// runs at a time; it ends early with ctx and with Close.
func (db *DB) Compact(ctx context.Context, opts CompactOptions) (Compacted, error) {
	if !replacesOpenFiles() {
		return Compacted{}, fmt.Errorf("%s: %w", db.path, ErrOpenElsewhere)
	}
	if opts.Pause == 0 {
		opts.Pause = 3 * time.Second
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := &compaction{db: db, opts: opts, path: newFile(db.path) + "compact"}
	if err := db.beginCompaction(c, cancel); err != nil {
		return Compacted{}, err
	}
	defer db.endCompaction(c)
	start := time.Now()
	c.result.Before = db.Size()
	err := guard(func() error { return c.run(ctx) })
	c.drop()
	if !c.replaced {
		c.discard()
	}
	if cause := context.Cause(ctx); err != nil && cause != nil && errors.Is(err, ctx.Err()) {
		err = cause
	}
	c.result.Took = time.Since(start)
	c.result.After = db.Size()
	return c.result, c.say(err)
}

// say gives errors of a full disk their name.
func (c *compaction) say(err error) error {
	switch {
	case err == nil:
		return nil
	case IsNoSpace(err):
		err = fmt.Errorf("%w: %w", ErrNoRoom, err)
	case errors.Is(err, errDamage):
		err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	return fmt.Errorf("compact %s: %w", c.db.path, err)
}

// replacesOpenFiles says whether a file may get the name of one that is open.
func replacesOpenFiles() bool { return runtime.GOOS != "windows" }

// compaction is one that runs. It reads in two snapshots of the file at most: the
// one that the copy is equal to, and the one that it comes to be equal to.
type compaction struct {
	db   *DB
	opts CompactOptions
	path string // of the new file

	copier   copier
	fresh    *handle
	written  int64     // since the new file was last synced, bytes
	followed time.Time // when the work of this step began
	replaced bool
	result   Compacted

	// Whoever reads in a snapshot holds mu; the committer closes both when a write
	// would wait for them.
	mu         sync.Mutex
	base, next *bbolt.Tx
	dropped    bool
}

// running is the compaction that runs, if one does.
type running struct {
	mu     sync.Mutex
	now    *compaction
	cancel context.CancelCauseFunc
	closed bool
	ended  sync.WaitGroup
}

func (db *DB) beginCompaction(c *compaction, cancel context.CancelCauseFunc) error {
	db.running.mu.Lock()
	defer db.running.mu.Unlock()
	switch {
	case db.running.closed:
		return ErrClosed
	case db.running.now != nil:
		return ErrCompacting
	case db.Err() != nil:
		return db.Err()
	}
	db.running.now, db.running.cancel = c, cancel
	db.running.ended.Add(1)
	return nil
}

func (db *DB) endCompaction(*compaction) {
	db.running.mu.Lock()
	db.running.now, db.running.cancel = nil, nil
	db.running.mu.Unlock()
	db.running.ended.Done()
}

// stopCompaction ends the compaction that runs, and lets none begin.
func (db *DB) stopCompaction() {
	db.running.mu.Lock()
	db.running.closed = true
	if db.running.cancel != nil {
		db.running.cancel(ErrClosed)
	}
	db.running.mu.Unlock()
	db.running.ended.Wait()
}

// makeWay ends a compaction that the group which begins might have to wait for:
// when more of the file must be mapped, bbolt waits for those who read.
func (db *DB) makeWay(h *handle, tx *bbolt.Tx, group []*op) {
	size := tx.Size()
	if size >= h.mapped {
		h.mapped = mapStep(size + 1)
	}
	h.bolt.AllocSize = allocStep(size)
	db.running.mu.Lock()
	c := db.running.now
	db.running.mu.Unlock()
	if c == nil {
		return
	}
	reach := size + 16<<20 + 2*int64(h.bolt.Stats().FreelistInuse)
	for _, o := range group {
		reach += 2 * int64(o.size)
	}
	if reach >= h.mapped {
		c.drop()
	}
}

// drop closes the snapshots: without them the compaction cannot go on.
func (c *compaction) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropped = true
	c.closeBase()
	if c.next != nil {
		c.db.end(c.next)
		c.next = nil
	}
}

func (c *compaction) closeBase() {
	if c.base != nil {
		c.db.end(c.base)
		c.base = nil
	}
}

// discard removes what there is of the new file.
func (c *compaction) discard() {
	if c.fresh != nil {
		_ = c.fresh.bolt.Close() // nobody will read it
	}
	if err := os.Remove(c.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.db.opts.Log.Warn("what a compaction left could not be removed: the next start does it", "file", c.path, "error", err)
	}
}

// reserve is what a compaction leaves free on the disk beyond Options.MinFree, so
// that it is never the reason why a write is refused.
const reserve = 64 << 20

// hasRoom says whether the disk can take more bytes.
func (c *compaction) hasRoom(more int64) error {
	free, err := disk.Free(filepath.Dir(c.db.path))
	if err != nil {
		return fmt.Errorf("ask for the room on the disk: %w", err)
	}
	if keep := max(c.db.opts.MinFree, 0) + reserve; free < more+keep {
		return fmt.Errorf("%w: %d bytes are free, %d are needed for the copy and %d must stay free", ErrNoRoom, free, more, keep)
	}
	return nil
}
