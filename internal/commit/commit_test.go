package commit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

var bucket = []byte("things")

func open(t *testing.T, path string, opts Options) *DB {
	t.Helper()
	if opts.MinFree == 0 {
		opts.MinFree = -1
	}
	db, err := Open(path, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	if err := db.Update(context.Background(), func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return Abort(err)
	}); err != nil {
		t.Fatalf("make the bucket: %v", err)
	}
	return db
}

func file(t *testing.T) string { return filepath.Join(t.TempDir(), "x.db") }

func put(key, value string) func(tx *bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return Abort(tx.Bucket(bucket).Put([]byte(key), []byte(value))) }
}

func has(t *testing.T, db *DB, key string) bool {
	t.Helper()
	found := false
	if err := db.View(func(tx *bbolt.Tx) error {
		found = tx.Bucket(bucket).Get([]byte(key)) != nil
		return nil
	}); err != nil {
		t.Fatalf("View: %v", err)
	}
	return found
}

// hold keeps the committer in a write until release is called.
func hold(t *testing.T, db *DB) (release func()) {
	t.Helper()
	begun, gate := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- db.Update(context.Background(), func(*bbolt.Tx) error {
			close(begun)
			<-gate
			return nil
		})
	}()
	<-begun
	return func() {
		close(gate)
		if err := <-ended; err != nil {
			t.Errorf("the write that held the committer: %v", err)
		}
	}
}

// together runs writes that wait at the same time, and so share one group.
func together(t *testing.T, db *DB, writes ...func(tx *bbolt.Tx) error) []error {
	t.Helper()
	release := hold(t, db)
	errs := make([]error, len(writes))
	var wg sync.WaitGroup
	for i, write := range writes {
		wg.Go(func() { errs[i] = db.Update(context.Background(), write) })
		for deadline := time.Now().Add(10 * time.Second); len(db.queue) != i+1; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a write does not get its place")
			}
		}
	}
	release()
	wg.Wait()
	return errs
}

func TestWritersShareACommit(t *testing.T) {
	var groups []int
	db := open(t, file(t), Options{OnCommit: func(_ time.Duration, ops int) { groups = append(groups, ops) }})
	var writes []func(tx *bbolt.Tx) error
	for i := range 50 {
		writes = append(writes, put(fmt.Sprint(i), "v"))
	}
	for _, err := range together(t, db, writes...) {
		if err != nil {
			t.Fatal(err)
		}
	}
	_ = db.Close() // groups is the committer's until here
	if want := []int{1, 1, 50}; !slices.Equal(groups, want) {
		t.Errorf("groups of %v writes, want %v", groups, want)
	}
}

func TestAWritesOwnErrorLeavesItsNeighbours(t *testing.T) {
	db := open(t, file(t), Options{})
	mine := errors.New("no")
	errs := together(t, db, put("a", "1"), func(*bbolt.Tx) error { return mine }, put("b", "1"))
	if errs[0] != nil || !errors.Is(errs[1], mine) || errs[2] != nil {
		t.Fatalf("errors %v", errs)
	}
	if !has(t, db, "a") || !has(t, db, "b") {
		t.Error("the neighbours are not on disk")
	}
}

func TestAbortFailsTheGroup(t *testing.T) {
	committed := []bool{}
	db := open(t, file(t), Options{Finish: func(ok bool) { committed = append(committed, ok) }})
	broken := errors.New("broken")
	errs := together(t, db, put("a", "1"), func(*bbolt.Tx) error { return Abort(broken) }, put("b", "1"))
	for _, err := range errs {
		if !errors.Is(err, broken) {
			t.Errorf("errors %v, want %v for all", errs, broken)
		}
	}
	if has(t, db, "a") || has(t, db, "b") {
		t.Error("a write of the aborted group is on disk")
	}
	if err := db.Update(context.Background(), put("c", "1")); err != nil || !has(t, db, "c") {
		t.Errorf("the next group: %v", err)
	}
	_ = db.Close()
	if want := []bool{true, true, false, true}; !slices.Equal(committed, want) {
		t.Errorf("Finish was told %v, want %v", committed, want)
	}
	if Abort(nil) != nil {
		t.Error("Abort(nil) is an error")
	}
}

func TestFlushThenFinishThenAnswer(t *testing.T) {
	var story []string
	fail := error(nil)
	db := open(t, file(t), Options{
		Flush: func(tx *bbolt.Tx) error {
			story = append(story, "flush")
			return errors.Join(fail, tx.Bucket(bucket).Put([]byte("flushed"), nil))
		},
		Finish: func(ok bool) { story = append(story, fmt.Sprint("finish ", ok)) },
	})
	story = nil
	write := func(tx *bbolt.Tx) error {
		story = append(story, "write")
		return nil
	}
	err := db.Update(context.Background(), write)
	story = append(story, "answer")
	if want := []string{"write", "flush", "finish true", "answer"}; err != nil || !slices.Equal(story, want) {
		t.Errorf("%v, %v; want %v", story, err, want)
	}
	if !has(t, db, "flushed") {
		t.Error("what Flush wrote is not on disk")
	}
	fail = errors.New("cannot flush")
	story = nil
	if err := db.Update(context.Background(), put("x", "1")); !errors.Is(err, fail) || has(t, db, "x") {
		t.Errorf("a failed Flush: %v", err)
	}
	if want := []string{"flush", "finish false"}; !slices.Equal(story, want) {
		t.Errorf("a failed Flush: %v, want %v", story, want)
	}
}

func TestContextBoundsTheWaitForAPlace(t *testing.T) {
	db := open(t, file(t), Options{})
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	if err := db.Update(gone, put("a", "1")); !errors.Is(err, context.Canceled) || has(t, db, "a") {
		t.Errorf("with a context that has ended: %v", err)
	}
	release := hold(t, db)
	var wg sync.WaitGroup
	for range maxOps {
		wg.Go(func() { _ = db.Update(context.Background(), func(*bbolt.Tx) error { return nil }) })
	}
	for len(db.queue) < maxOps {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := db.Update(ctx, put("b", "1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while there is no place: %v", err)
	}
	release()
	wg.Wait()
	if has(t, db, "b") {
		t.Error("a write without a place is on disk")
	}
}

func TestCloseAnswersEverybody(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	release := hold(t, db)
	const writers = 40
	errs := make(chan error, writers)
	for i := range writers {
		go func() { errs <- db.Update(context.Background(), put(fmt.Sprint("k", i), "v")) }()
	}
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	release()
	done := 0
	for range writers {
		select {
		case err := <-errs:
			if err == nil {
				done++
			} else if !errors.Is(err, ErrClosed) {
				t.Errorf("a writer was told %v", err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("a writer got no answer")
		}
	}
	if err := <-closed; err != nil {
		t.Fatalf("Close: %v", err)
	}
	if err := db.Update(context.Background(), put("late", "v")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	again, found := open(t, path, Options{}), 0
	for i := range writers {
		if has(t, again, fmt.Sprint("k", i)) {
			found++
		}
	}
	if found != done {
		t.Errorf("%d writes are on disk, %d were confirmed", found, done)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	db := open(t, path, Options{})
	if _, err := Open(path, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second Open: %v", err)
	}
	if db.Size() == 0 || db.Path() != path {
		t.Errorf("Size %d, Path %s", db.Size(), db.Path())
	}
	rubbish := filepath.Join(dir, "rubbish.db")
	if err := os.WriteFile(rubbish, []byte(fmt.Sprintf("%065536d", 7)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(rubbish, Options{}); !errors.Is(err, ErrUnreadable) {
		t.Errorf("a file of something else: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "missing", "x.db"), Options{}); err == nil {
		t.Error("a folder that does not exist: no error")
	}
}

func TestSizeLimit(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{MaxSize: 256 << 10})
	big := string(make([]byte, 32<<10))
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = db.Update(context.Background(), put(fmt.Sprint("big", n), big))
	}
	if !errors.Is(err, ErrNoSpace) {
		t.Fatalf("beyond the limit: %v", err)
	}
	if db.Err() != nil {
		t.Fatalf("no space stopped the writing: %v", db.Err())
	}
	if has(t, db, fmt.Sprint("big", n-1)) {
		t.Error("the refused write is there")
	}
	// Room is made by deleting.
	if err := db.Update(context.Background(), func(tx *bbolt.Tx) error {
		for i := range n - 1 {
			if err := tx.Bucket(bucket).Delete([]byte(fmt.Sprint("big", i))); err != nil {
				return Abort(err)
			}
		}
		return nil
	}); err != nil {
		t.Fatalf("deleting: %v", err)
	}
	if err := db.Update(context.Background(), put("after", big)); err != nil {
		t.Errorf("after room was made: %v", err)
	}
	_ = db.Close()
	again := open(t, path, Options{MaxSize: 4 << 20})
	for i := range 10 {
		if err := again.Update(context.Background(), put(fmt.Sprint("more", i), big)); err != nil {
			t.Fatalf("under a higher limit: %v", err)
		}
	}
	if !has(t, again, "after") {
		t.Error("what was written is gone")
	}
}

func TestMinFree(t *testing.T) {
	path := file(t)
	open(t, path, Options{})
	other := filepath.Join(t.TempDir(), "y.db")
	db, err := Open(other, Options{MinFree: 1 << 60})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := db.Update(context.Background(), func(*bbolt.Tx) error { return nil }); !errors.Is(err, ErrNoSpace) {
		t.Errorf("with less free than must stay free: %v", err)
	}
}

func TestIsNoSpace(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{syscall.ENOSPC, false}, // of an fsync: pages are lost
		{&os.PathError{Op: "write", Err: syscall.ENOSPC}, true},
		{fmt.Errorf("commit: %w", &os.PathError{Op: "truncate", Err: syscall.EDQUOT}), true},
		{&os.PathError{Op: "sync", Err: syscall.ENOSPC}, false},
		{&os.PathError{Op: "write", Err: syscall.EIO}, false},
	} {
		if got := IsNoSpace(tc.err); got != tc.want {
			t.Errorf("IsNoSpace(%v) = %v", tc.err, got)
		}
	}
}

func TestANewFileIsMadeWhole(t *testing.T) {
	path := file(t)
	left := newFile(path) + "1" // of a process that was killed
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	db := open(t, path, Options{})
	if err := db.Update(context.Background(), put("a", "1")); err != nil {
		t.Fatal(err)
	}
	if err := create(path); err != nil { // of another process that was late
		t.Fatal(err)
	}
	if !has(t, db, "a") {
		t.Error("a file that was there was replaced")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file: %v, %v", entries, err)
	}
}

func TestNoRoomToGrow(t *testing.T) {
	grow := &os.PathError{Op: "truncate", Path: "x.db", Err: syscall.ENOSPC}
	if err := fmt.Errorf("file resize error: %s", grow); !IsNoSpace(err) {
		t.Errorf("%v is not taken for a full disk", err)
	}
	if err := fmt.Errorf("file sync error: %s", grow); IsNoSpace(err) {
		t.Errorf("%v is taken for a full disk: pages are lost", err)
	}
}

// TestAfterAPanicInBeginNobodyWaits: bbolt's locks may be held for ever.
func TestAfterAPanicInBeginNobodyWaits(t *testing.T) {
	db := open(t, file(t), Options{})
	db.wedged.Store(true)
	if err := db.View(func(*bbolt.Tx) error { return nil }); !errors.Is(err, ErrUnreadable) {
		t.Errorf("View: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	_ = db.current().bolt.Close()
}
