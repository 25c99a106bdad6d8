// Package commit is a bbolt file behind one committer goroutine: writers that
// wait at the same time share one transaction and one fsync.
//
// The committer takes what waits, runs it in one transaction, commits, and
// answers all. It never lingers for more: while one group is being synced, the
// next one gathers by itself. Measured at 64 writers this is four to ten times
// bbolt's own Batch, whose timer costs a lone writer 10 ms.
package commit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"ferry/internal/disk"
)

// Errors of Open and Update.
var (
	// ErrLocked: another process has the file open.
	ErrLocked = errors.New("the file is open in another process")
	// ErrUnreadable: the file is no bbolt file, or is damaged.
	ErrUnreadable = errors.New("the file cannot be read")
	// ErrNoSpace: the disk is full. Nothing of the group was written; later
	// groups are tried again.
	ErrNoSpace = errors.New("no space left on the disk")
	// ErrStopped: a write or fsync failed, so that nobody can say what is on disk.
	// Nothing more is written until the file is opened anew.
	ErrStopped = errors.New("writing has stopped after an error of the disk")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("the file is closed")
)

// Bounds of one group.
const (
	maxOps   = 1000
	maxBytes = 16 << 20
)

// Options of Open. The zero value works.
type Options struct {
	Log *slog.Logger
	// MinFree refuses groups (ErrNoSpace) while the disk has fewer free bytes:
	// room that the operators' own acts and the queue need. Default 16 MiB; -1: off.
	MinFree int64
	// MaxSize bounds the file, bytes; 0: unbounded. Beyond it groups are ErrNoSpace.
	MaxSize int64
	// OnCommit is told how long each group took and how many writes it held.
	OnCommit func(took time.Duration, ops int)
	// Flush runs after the last write of each group, in its transaction: what the
	// writes gathered in memory is written once. An error fails the group.
	Flush func(tx *bbolt.Tx) error
	// Unreadable makes of an ErrUnreadable of View what its callers are told; nil:
	// it stays as it is.
	Unreadable func(err error) error
	// Finish runs after each group, before its writers are answered, and says
	// whether the group is on disk. Like the writes and Flush it runs on the
	// committer's goroutine.
	Finish func(committed bool)
	// Before runs when a write waits and nothing of its group has begun, After when
	// the group is on disk, or has failed, and its writers are not answered yet: both
	// on the committer's goroutine. A simulation stops the world there.
	Before, After func()
	// Copied runs once on a copy of the file that is about to take its place, in a
	// transaction: what Open makes after a disk error, and what a compaction makes
	// (on the committer's goroutine then). What the content says of its file can be
	// set right there.
	Copied func(tx *bbolt.Tx, from, to string) error
	// CompactAtOpen compacts a file of which much is free before it is opened. Where
	// Compact cannot replace an open file, that is done in any case.
	CompactAtOpen bool
}

// DB is an open file. Its methods may be called concurrently.
type DB struct {
	handles
	path    string
	opts    Options
	running running

	queue  chan *op
	pauses chan func() // what runs between two groups
	quit   chan struct{}
	ended  chan struct{}
	once   sync.Once
	failed atomic.Pointer[error]
	full   atomic.Bool // the last group was refused for lack of room

	beginning sync.Mutex  // around bbolt's own locks
	wedged    atomic.Bool // see begin

	freeAt time.Time // of the last look at the disk; committer only
	free   int64
	freeOK bool
}

type op struct {
	run  func(tx *bbolt.Tx) error
	size int
	err  error
	done chan struct{}
}

// Open opens or makes the file. When the last run stopped on a disk error, its
// content is first copied into a new, checked and synced file.
func Open(path string, opts Options) (*DB, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.MinFree == 0 {
		opts.MinFree = 16 << 20
	}
	if err := rescue(path, opts); err != nil {
		return nil, err
	}
	if err := create(path); err != nil {
		return nil, err
	}
	if err := lookAtHeads(path, opts.Log); err != nil {
		return nil, err
	}
	if opts.CompactAtOpen || !replacesOpenFiles() {
		if err := compactAtOpen(path, opts); err != nil {
			return nil, err
		}
	}
	h, err := openHandle(path, opening{maxSize: opts.MaxSize})
	if err != nil {
		return nil, err
	}
	if err := moved(path, h.file); err != nil {
		_ = h.bolt.Close()
		return nil, err
	}
	if err := disk.SyncDir(filepath.Dir(path)); err != nil {
		_ = h.bolt.Close()
		return nil, fmt.Errorf("sync the folder of %s: %w", path, err)
	}
	sweepNew(path)
	db := &DB{
		handles: handles{now: h}, path: path, opts: opts,
		queue:  make(chan *op, maxOps),
		pauses: make(chan func()),
		quit:   make(chan struct{}),
		ended:  make(chan struct{}),
	}
	go db.commitLoop()
	return db, nil
}

// Update runs write in the next group and returns after the group's fsync.
//
// Write must decide before it writes: an error that it returns is given to this
// caller alone, and nothing of the write may have been done. An error of the
// transaction itself (a failed Put) must be returned through [Abort]; it fails
// the whole group. ctx bounds the wait for a place in a group only: once taken,
// the answer says what is on disk.
func (db *DB) Update(ctx context.Context, write func(tx *bbolt.Tx) error) error {
	return db.UpdateSized(ctx, 0, write)
}

// UpdateSized is Update for a write of about size bytes: groups are bounded by
// bytes too.
func (db *DB) UpdateSized(ctx context.Context, size int, write func(tx *bbolt.Tx) error) error {
	o := &op{run: write, size: size, done: make(chan struct{})}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-db.quit:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	case db.queue <- o:
	}
	select {
	case <-o.done:
	case <-db.ended:
		// The committer may have answered in its last group.
		select {
		case <-o.done:
		default:
			return ErrClosed
		}
	}
	return o.err
}

// View runs read in a transaction of its own, on what was last committed. Keep
// it short: pages that it can see are not reused meanwhile.
// A damaged page is ErrUnreadable.
func (db *DB) View(read func(tx *bbolt.Tx) error) error {
	h := db.take()
	defer db.leave(h)
	tx, err := db.begin(h, false)
	if err == nil {
		err = guard(func() error { return read(tx) })
		db.end(tx)
	}
	if errors.Is(err, errDamage) {
		return db.unreadable(err)
	}
	return err
}

// begin is bbolt's Begin, by one caller at a time. A panic in it leaves locks of
// bbolt's held; then nobody may wait for one of those any more.
func (db *DB) begin(h *handle, writable bool) (tx *bbolt.Tx, err error) {
	db.beginning.Lock()
	defer db.beginning.Unlock()
	if db.wedged.Load() {
		return nil, errDamage
	}
	err = guard(func() (err error) {
		tx, err = h.bolt.Begin(writable)
		return err
	})
	if errors.Is(err, errDamage) {
		db.wedged.Store(true)
	}
	return tx, err
}

// end ends what begin began; of no effect after a commit. It must not wait for
// who begins: that one may wait for this to end.
func (db *DB) end(tx *bbolt.Tx) {
	if db.wedged.Load() {
		return
	}
	err := guard(func() error {
		_ = tx.Rollback() // it says that it was committed
		return nil
	})
	if err != nil {
		db.wedged.Store(true)
	}
}

func (db *DB) unreadable(err error) error {
	err = fmt.Errorf("%s: %w: %w", db.path, ErrUnreadable, err)
	if db.opts.Unreadable != nil {
		return db.opts.Unreadable(err)
	}
	return err
}

// Err is why writing has stopped, or nil.
func (db *DB) Err() error {
	if p := db.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// Size is the length of the file, bytes.
func (db *DB) Size() int64 {
	st, err := os.Stat(db.path)
	if err != nil {
		return 0
	}
	return st.Size()
}

// Path is the file's.
func (db *DB) Path() string { return db.path }

// Close lets the writes that wait finish, and closes the file. A compaction ends
// without an effect.
func (db *DB) Close() error {
	db.once.Do(func() { close(db.quit) })
	db.stopCompaction()
	<-db.ended
	if db.wedged.Load() {
		return nil // the process is about to end: what is on disk is all there is
	}
	db.leaving.Wait()
	return db.current().bolt.Close()
}

func (db *DB) commitLoop() {
	defer close(db.ended)
	var group []*op
	for {
		group = group[:0]
		select {
		case o := <-db.queue:
			group = append(group, o)
		case f := <-db.pauses:
			f()
			continue
		case <-db.quit:
			// Writers that had a place before Close still get their answer.
			select {
			case o := <-db.queue:
				group = append(group, o)
			default:
				return
			}
		}
		if db.opts.Before != nil {
			db.opts.Before()
		}
		group = db.gather(group)
		db.commit(group)
		if db.opts.After != nil {
			db.opts.After()
		}
		for _, o := range group {
			close(o.done)
		}
		clear(group)
	}
}

// gather adds what waits to the group. Everybody who can run is let run first,
// as long as that brings more: under load the group grows by what would have
// been the next ones, and an idle machine loses nothing, as no timer is
// involved.
func (db *DB) gather(group []*op) []*op {
	size := group[0].size
	for grown := true; grown; {
		grown = false
		runtime.Gosched()
		for len(group) < maxOps && size < maxBytes {
			select {
			case o := <-db.queue:
				group = append(group, o)
				size += o.size
				grown = true
				continue
			default:
			}
			break
		}
	}
	return group
}

// commit runs one group and leaves every op's error in it.
func (db *DB) commit(group []*op) {
	start := time.Now()
	err := db.Err()
	if err == nil {
		err = db.room()
	}
	if err == nil {
		err = guard(func() error { return db.transact(group) })
		if errors.Is(err, errDamage) {
			err = db.stop(err)
		}
	}
	db.noteRoom(err)
	if db.opts.Finish != nil {
		db.opts.Finish(err == nil)
	}
	if err != nil {
		for _, o := range group {
			o.err = err
		}
		return
	}
	if db.opts.OnCommit != nil {
		db.opts.OnCommit(time.Since(start), len(group))
	}
}

func (db *DB) transact(group []*op) error {
	h := db.current() // nobody but the committer replaces it
	tx, err := db.begin(h, true)
	if err != nil {
		return fmt.Errorf("begin a group: %w", err)
	}
	defer db.end(tx)
	db.makeWay(h, tx, group)
	for _, o := range group {
		o.err = o.run(tx)
		var abort *abortError
		if errors.As(o.err, &abort) {
			return abort.err
		}
	}
	if db.opts.Flush != nil {
		if err := db.opts.Flush(tx); err != nil {
			return fmt.Errorf("flush a group: %w", err)
		}
	}
	err = tx.Commit()
	switch {
	case err == nil:
		return nil
	case IsNoSpace(err):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	default:
		return db.stop(err)
	}
}

// stop remembers the error for ever: after a failed fsync the kernel may have
// dropped the dirty pages, so that a second try would lie.
func (db *DB) stop(err error) error {
	stopped := fmt.Errorf("%w: %w", ErrStopped, err)
	db.failed.Store(&stopped)
	db.opts.Log.Error("writing has stopped after an error of the disk", "file", db.path, "error", err)
	if err := os.WriteFile(suspectPath(db.path), []byte(err.Error()+"\n"), 0o600); err != nil {
		db.opts.Log.Warn("the file could not be marked as suspect", "file", db.path, "error", err)
	}
	return stopped
}

type abortError struct{ err error }

func (e *abortError) Error() string { return e.err.Error() }
func (e *abortError) Unwrap() error { return e.err }

// Abort marks an error of the transaction itself: the whole group is rolled
// back and fails with it. Nil stays nil.
func Abort(err error) error {
	if err == nil {
		return nil
	}
	return &abortError{err}
}
