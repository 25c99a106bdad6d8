package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
	"ferry/internal/disk"
)

// Options of Open.
type Options struct {
	Log *slog.Logger
	// IdempotencyWindow: how long a repeat is recognised by its key. Default
	// ferry.IdempotencyWindow.
	IdempotencyWindow time.Duration
	// IdempotencyBytes bounds the index in memory. Default 64 MiB.
	IdempotencyBytes int
	// Notify is told after each commit what became ready and what left the hands
	// of the relay. It runs on the committer's goroutine and must not block.
	Notify func([]Change)
	// OnNotice is told after each commit that put notices into the outbox for whom,
	// and how many there was no room for. It runs like Notify.
	OnNotice func(fresh []ferry.NoticeTarget, lost int)
	// OnOperation is told after each commit that changed an operation. It runs like
	// Notify.
	OnOperation func()
	// OnEnd is told after each commit which messages came to an end in it, whoever
	// ended them. It runs like Notify, and must not keep the list.
	OnEnd func([]End)
	// OnCommit is told how long each group commit took and its number of writes.
	OnCommit func(took time.Duration, writes int)
	// Windows tells when routes are not delivered; nil: they are at any time.
	Windows WindowsOf
	// MinFree and MaxSize: see commit.Options.
	MinFree, MaxSize int64
	// BeforeCommit and AfterCommit are for simulations: see commit.Options.
	BeforeCommit, AfterCommit func()
	// FileID tells the ledger's file from a copy of it; nil: by the number that the
	// file system gave it. 0: it cannot be told.
	FileID func(path string) (uint64, error)
}

// Change is what a commit did to a message as the relay sees it.
type Change struct {
	Route string
	ID    ferry.ID
	Ready bool   // ready again, or for the first time
	Key   []byte // of a ready one: its place in the due index
	Left  bool   // the turn that may have been handed out has ended
}

// End is that a message came to an end: completed, dead-lettered or discarded.
type End struct {
	Route   string
	State   ferry.State
	Reason  ferry.Reason // of a dead letter
	Created time.Time    // when the message was accepted
}

// Ledger is an open ledger. Its methods may be called concurrently.
type Ledger struct {
	db       *commit.DB
	dir      string
	log      *slog.Logger
	notify   func([]Change)
	noted    func(fresh []ferry.NoticeTarget, lost int)
	ended    func([]End)
	operated func()
	start    string // names this opening; no two are alike
	fileID   func(path string) (uint64, error)
	windows  WindowsOf
	opened   time.Time        // with the monotonic clock's reading
	wall     func() time.Time // the system's clock, which may be set

	minFree int64
	staged  paths      // large bodies on their way in
	placed  paths      // those that wait for their commit
	naming  sync.Mutex // around a rename to a name that an orphan may have
	buffers sync.Pool  // of *[stageBuffer]byte, to copy bodies with

	backups    sync.Mutex  // held while one runs
	bodiesHeld atomic.Bool // while a backup runs: no file of a body is removed

	group     group    // the committer's: what the current group has changed in memory
	lastEvent ferry.ID // the committer's
	pageBound int      // entries that a page of a list may look at: scanBound

	mu        sync.RWMutex
	routes    map[uint32]*routeRow // never changed in place: replaced after a commit
	byName    map[string]uint32
	keys      map[string]*keyRow
	workers   map[string]*workerRow
	idem      *idemIndex
	outbox    outbox
	subs      subscriptions
	ops       map[string]string // the state of each operation, by its id
	begun     map[string]bool   // operations whose selection this process is writing
	leftovers bool
}

// Open opens or makes the ledger in dir. Errors are *ferry.Error: ledgerLocked,
// ledgerNewer, ledgerUnreadable, noSpace.
func Open(dir string, opts Options) (*Ledger, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Notify == nil {
		opts.Notify = func([]Change) {}
	}
	if opts.OnOperation == nil {
		opts.OnOperation = func() {}
	}
	if opts.OnNotice == nil {
		opts.OnNotice = func([]ferry.NoticeTarget, int) {}
	}
	if opts.OnEnd == nil {
		opts.OnEnd = func([]End) {}
	}
	if opts.IdempotencyWindow == 0 {
		opts.IdempotencyWindow = ferry.IdempotencyWindow
	}
	if opts.IdempotencyBytes == 0 {
		opts.IdempotencyBytes = 64 << 20
	}
	if opts.FileID == nil {
		opts.FileID = disk.FileID
	}
	if opts.MinFree == 0 {
		opts.MinFree = 16 << 20 // as of commit.Options
	}
	if err := wasRestored(dir); err != nil {
		return nil, err
	}
	if err := makeFolders(dir); err != nil {
		return nil, err
	}
	l := &Ledger{
		minFree: opts.MinFree, buffers: sync.Pool{New: func() any { return new([stageBuffer]byte) }},
		pageBound: scanBound,
		dir:       dir, log: opts.Log, notify: opts.Notify, noted: opts.OnNotice, ended: opts.OnEnd, operated: opts.OnOperation, fileID: opts.FileID, windows: opts.Windows, opened: time.Now(), wall: time.Now,
		routes: map[uint32]*routeRow{}, byName: map[string]uint32{},
		ops: map[string]string{}, begun: map[string]bool{},
		keys: map[string]*keyRow{}, workers: map[string]*workerRow{},
		idem: newIdemIndex(opts.IdempotencyWindow, opts.IdempotencyBytes), outbox: newOutbox(), subs: newSubscriptions(),
	}
	db, err := commit.Open(filepath.Join(dir, "ledger.db"), commit.Options{
		Log: opts.Log, OnCommit: opts.OnCommit, MinFree: opts.MinFree, MaxSize: opts.MaxSize,
		Flush: l.flush, Finish: l.finish, Copied: l.keepFile, Before: opts.BeforeCommit, After: opts.AfterCommit,
		Unreadable: func(err error) error { return damagedPage(err) },
	})
	if err != nil {
		return nil, openError(dir, err)
	}
	l.db = db
	if err := l.load(); err != nil {
		_ = db.Close()
		return nil, openError(dir, err)
	}
	if err := l.sweepBackup(); err != nil {
		l.log.Warn("what a backup of an earlier run left could not be removed", "error", err)
	}
	if _, err := l.sweepStaged(); err != nil {
		l.log.Warn("what an earlier run left of large bodies could not be removed", "error", err)
	}
	return l, nil
}

func makeFolders(dir string) error {
	err := errors.Join(disk.MkdirAll(dir, 0o700), disk.MkdirAll(filepath.Join(dir, "bodies", "staged"), 0o700))
	switch {
	case err == nil:
		return nil
	case disk.IsFull(err):
		return openError(dir, fmt.Errorf("%w: %w", commit.ErrNoSpace, err))
	default:
		return ferry.Errorf(ferry.CodeLedgerUnreadable, "the data folder %s cannot be made: %w", dir, err).
			WithHint("set dataDir to a folder that this process may make and write to")
	}
}

// openError is what a start ends with: it says what to do now.
func openError(dir string, err error) error {
	var known *ferry.Error
	switch {
	case errors.As(err, &known) && !errors.Is(err, commit.ErrUnreadable):
		return known
	case errors.Is(err, commit.ErrLocked):
		return ferry.Errorf(ferry.CodeLedgerLocked, "the ledger in %s is open in another process", dir).
			WithHint("is a broker running there already? stop it, or choose another --data folder")
	case errors.Is(err, commit.ErrNoSpace):
		return ferry.Errorf(ferry.CodeNoSpace, "the disk of %s is full: %w", dir, err).
			WithHint("make room and start again: nothing that was accepted was touched")
	case errors.Is(err, commit.ErrUnreadable), errors.Is(err, errDamaged):
		return ferry.Errorf(ferry.CodeLedgerUnreadable, "the ledger in %s cannot be read: %w", dir, err).
			WithHint("it was not touched: keep the folder as it is, look at the disk, and start on a copy restored into another folder (docs/operations.md, \"When the disk fails\")")
	case errors.Is(err, fs.ErrPermission):
		return ferry.Errorf(ferry.CodeLedgerUnreadable, "the ledger in %s cannot be opened: %w", dir, err).
			WithHint("let the user that the broker runs as read and write the folder and all that is in it")
	default:
		return ferry.Errorf(ferry.CodeLedgerUnavailable, "the ledger in %s cannot be opened: %w", dir, err).
			WithHint("look at the disk and at the system's log, and start again once the disk reads and writes; until then leave the folder as it is")
	}
}

// Close ends the ledger after the writes that wait.
func (l *Ledger) Close() error { return l.db.Close() }

// StartID names this opening of the ledger: queue ids carry it, so that no
// duplicate window mistakes what is published now for what was published by an
// earlier run.
func (l *Ledger) StartID() string { return l.start }

// Err is why the ledger no longer writes, or nil.
func (l *Ledger) Err() error {
	if err := l.db.Err(); err != nil {
		return l.writeError(err)
	}
	return nil
}

// Full says whether the last write was refused because the disk is full.
func (l *Ledger) Full() bool { return l.db.Full() }

// Size is the length of the ledger's file, bytes.
func (l *Ledger) Size() int64 { return l.db.Size() }

// Dir is the folder of the ledger.
func (l *Ledger) Dir() string { return l.dir }

// writeError turns an error of a commit into what a caller may be told.
func (l *Ledger) writeError(err error) error {
	var known *ferry.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, commit.ErrNoSpace):
		return ferry.Errorf(ferry.CodeNoSpace, "the broker's disk is full: nothing was accepted: %w", err).
			WithHint("send again later; accepting resumes by itself once the operator has made room")
	case errors.Is(err, commit.ErrStopped):
		return ferry.Errorf(ferry.CodeLedgerUnavailable, "the ledger cannot write: %w", err).
			WithHint("send again later; the operator must look at the broker's disk and start the broker again: it copies the ledger into a new, checked file first")
	case errors.Is(err, commit.ErrClosed):
		return ferry.Errorf(ferry.CodeStopping, "the broker is stopping").WithHint("send again in a moment")
	default:
		return err
	}
}

// load reads what is kept in memory. It writes only once all of it could be read:
// a ledger that is refused stays untouched.
func (l *Ledger) load() error {
	known := len(schemaSteps())
	var version uint64
	err := l.db.View(func(tx *bbolt.Tx) (err error) {
		if version, err = schemaVersion(tx, known); err != nil || version < uint64(known) {
			return err
		}
		return l.read(tx)
	})
	if err == nil && version < uint64(known) {
		if version > 0 { // an empty file is nothing to go back to
			if err := l.copyBeforeMigration(version); err != nil {
				return err
			}
		}
		if err = l.setUp(func(tx *bbolt.Tx) error { return migrate(tx, schemaSteps()) }); err == nil {
			err = l.db.View(l.read)
		}
	}
	if err != nil {
		return err
	}
	if err := l.fillDeadIn(); err != nil {
		return err
	}
	return l.begin()
}

// setUp is a write of Open. It is not update, whose errors are for senders.
func (l *Ledger) setUp(write func(tx *bbolt.Tx) error) error {
	return l.db.Update(noContext, func(tx *bbolt.Tx) error { return commit.Abort(write(tx)) })
}

func (l *Ledger) read(tx *bbolt.Tx) error {
	if err := eachJSON(tx, bRoutes, func(row *routeRow) {
		if row.Binding != nil && row.Binding.No == 0 { // bound before bindings had numbers
			row.Bindings, row.Binding.No = 1, 1
		}
		l.routes[row.No] = row
		l.byName[row.Name] = row.No
	}); err != nil {
		return err
	}
	if err := eachJSON(tx, bKeys, func(row *keyRow) { l.keys[row.ID] = row }); err != nil {
		return err
	}
	if err := l.readKeyUse(tx); err != nil {
		return err
	}
	if err := eachJSON(tx, bWorkers, func(row *workerRow) { l.workers[row.Name] = row }); err != nil {
		return err
	}
	if err := l.readOperations(tx); err != nil {
		return err
	}
	if err := l.outbox.read(tx); err != nil {
		return err
	}
	if err := l.subs.read(tx); err != nil {
		return err
	}
	if k, _ := tx.Bucket(bEvents).Cursor().Last(); k != nil {
		l.lastEvent = ferry.ID(k)
	}
	l.idem.rebuild(tx, time.Now(), func() { commit.GiveBack(tx) })
	commit.GiveBack(tx)
	return nil
}

func eachJSON[T any](tx *bbolt.Tx, bucket []byte, keep func(*T)) error {
	return tx.Bucket(bucket).ForEach(func(_, v []byte) error {
		row := new(T)
		if err := json.Unmarshal(v, row); err != nil {
			return fmt.Errorf("%s: %w: %w", bucket, errDamaged, err)
		}
		keep(row)
		return nil
	})
}

func putJSON(tx *bbolt.Tx, bucket, key []byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return tx.Bucket(bucket).Put(key, text)
}

// appending fills pages to nine tenths: right for buckets that only grow at their
// right edge.
func appending(tx *bbolt.Tx, bucket []byte) *bbolt.Bucket {
	b := tx.Bucket(bucket)
	b.FillPercent = 0.9
	return b
}

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// get reads a record inside a transaction; nil when there is none.
func get(tx *bbolt.Tx, id ferry.ID) (*record, error) {
	v := tx.Bucket(bMessages).Get(id[:])
	if v == nil {
		return nil, nil
	}
	return decodeRecord(id, v)
}

// must is get for a message that somebody named.
func must(tx *bbolt.Tx, id ferry.ID) (*record, error) {
	r, err := get(tx, id)
	if err != nil {
		return nil, damaged(err)
	}
	if r == nil {
		return nil, ferry.Errorf(ferry.CodeMessageNotFound, "there is no message %s", id).
			WithHint("ended messages are kept for the retention only")
	}
	return r, nil
}

// damaged is what a caller is told of a record that cannot be read. As a
// *ferry.Error it fails this caller alone, not its group.
func damaged(err error) *ferry.Error {
	return ferry.Errorf(ferry.CodeLedgerUnreadable, "a record of the ledger cannot be read: %w", err).
		WithHint("keep a copy of the data folder; the other messages are not touched")
}

// damagedPage is what a caller is told when a page of the ledger cannot be read.
func damagedPage(err error) *ferry.Error {
	return ferry.Errorf(ferry.CodeLedgerUnreadable, "a page of the ledger cannot be read: %w", err).
		WithHint("the operator must look at the broker's disk; what lies on other pages is still served")
}

// update runs a write in the next group. A *ferry.Error is the caller's alone
// and comes before anything is written; any other error fails the group.
func (l *Ledger) update(ctx context.Context, size int, write func(tx *bbolt.Tx) error) error {
	return l.writeError(l.db.UpdateSized(ctx, size, func(tx *bbolt.Tx) error {
		err := write(tx)
		var known *ferry.Error
		if errors.As(err, &known) {
			return err
		}
		return commit.Abort(err)
	}))
}

func put(tx *bbolt.Tx, r *record) error {
	b, err := r.encode(make([]byte, 0, 512))
	if err != nil {
		return err
	}
	return appending(tx, bMessages).Put(r.ID[:], b)
}
