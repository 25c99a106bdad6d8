package commit

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// TestACompactionThatFails: at whatever stage it fails, the old file goes on, and
// nothing is left beside it.
func TestACompactionThatFails(t *testing.T) {
	broken := errors.New("broken")
	for s := stageOpened; s < stageRenamed; s++ {
		path := file(t)
		db := open(t, path, Options{})
		wasteful(t, db, 1200, 400)
		size := db.Size()
		_, err := db.Compact(context.Background(), CompactOptions{Pause: -1, reached: func(at stage) error {
			if at == s {
				return broken
			}
			return nil
		}})
		if !errors.Is(err, broken) || db.Err() != nil {
			t.Fatalf("stage %d: %v, Err %v", s, err, db.Err())
		}
		if left := leftovers(t, path); left != nil || db.Size() != size {
			t.Errorf("stage %d: left %v, size %d of %d", s, left, db.Size(), size)
		}
		if err := db.Update(context.Background(), put("after", "1")); err != nil || !has(t, db, "00001199") {
			t.Errorf("stage %d: writing afterwards: %v", s, err)
		}
		if _, err := db.Compact(context.Background(), CompactOptions{Pause: -1}); err != nil || !has(t, db, "after") {
			t.Errorf("stage %d: another compaction: %v", s, err)
		}
		_ = db.Close()
	}
}

// TestAFolderThatCannotBeSynced: nobody can say which of the two files a power cut
// would leave, so writing stops, and the next start copies the file.
func TestAFolderThatCannotBeSynced(t *testing.T) {
	path, broken := file(t), errors.New("broken")
	db := open(t, path, Options{})
	wasteful(t, db, 1200, 400)
	want := dumpDB(t, db)
	_, err := db.Compact(context.Background(), CompactOptions{Pause: -1, reached: func(at stage) error {
		if at == stageRenamed {
			return broken
		}
		return nil
	}})
	if !errors.Is(err, ErrStopped) || !errors.Is(err, broken) || !errors.Is(db.Err(), ErrStopped) {
		t.Fatalf("%v, Err %v", err, db.Err())
	}
	if err := db.Update(context.Background(), put("after", "1")); !errors.Is(err, ErrStopped) {
		t.Errorf("writing afterwards: %v", err)
	}
	if diff := cmp.Diff(want, dumpDB(t, db)); diff != "" {
		t.Errorf("reading afterwards: %s", diff)
	}
	if _, err := db.Compact(context.Background(), CompactOptions{}); !errors.Is(err, ErrStopped) {
		t.Errorf("another compaction: %v", err)
	}
	_ = db.Close()
	again := open(t, path, Options{})
	if !has(t, again, "00001199") || has(t, again, "after") {
		t.Error("the copy is not what the file was")
	}
}

// TestKilledInACompaction: the folder as it is at each stage is that of the old
// file or the new one, whole, and a start on it removes what is left.
func TestKilledInACompaction(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	wasteful(t, db, 1200, 400)
	want := dumpDB(t, db)
	seen := map[stage]string{}
	if _, err := db.Compact(context.Background(), CompactOptions{Pause: -1, reached: func(s stage) error {
		if _, again := seen[s]; !again || s == stageStep {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(filepath.Dir(path))); err != nil {
				return err
			}
			seen[s] = filepath.Join(dir, filepath.Base(path))
		}
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	for s := stageOpened; s <= stageDone; s++ {
		left, there := seen[s]
		if !there {
			t.Errorf("stage %d was not reached", s)
			continue
		}
		again := open(t, left, Options{})
		if diff := cmp.Diff(want, dumpDB(t, again)); diff != "" {
			t.Errorf("stage %d: (-want +got)\n%s", s, diff)
		}
		if err := again.View(check); err != nil {
			t.Errorf("stage %d: %v", s, err)
		}
		if more := leftovers(t, left); more != nil {
			t.Errorf("stage %d: left %v", s, more)
		}
		if _, err := again.Compact(context.Background(), CompactOptions{Pause: -1}); err != nil {
			t.Errorf("stage %d: the next compaction: %v", s, err)
		}
		_ = again.Close()
	}
}

// TestEndsOfACompaction: by its context, by Close, and by another one that runs.
func TestEndsOfACompaction(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	wasteful(t, db, 2000, 800)
	at := func(s stage, f func()) CompactOptions {
		return CompactOptions{reached: func(now stage) error {
			if now == s {
				f()
			}
			return nil
		}}
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := db.Compact(ctx, at(stageCopied, cancel)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := db.Compact(context.Background(), at(stageOpened, func() {
		if _, err := db.Compact(context.Background(), CompactOptions{}); !errors.Is(err, ErrCompacting) {
			t.Errorf("beside another one: %v", err)
		}
	})); err != nil {
		t.Errorf("with another one beside it: %v", err)
	}
	closed := make(chan error, 1)
	if _, err := db.Compact(context.Background(), at(stageCopied, func() {
		go func() { closed <- db.Close() }()
		<-db.quit
	})); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if left := leftovers(t, path); left != nil {
		t.Errorf("left: %v", left)
	}
	if _, err := db.Compact(context.Background(), CompactOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestWritesGoFirst: a group that may need more of the file in memory ends the
// compaction, whose snapshots bbolt would wait for.
func TestWritesGoFirst(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{MaxSize: 1 << 30}) // not mapped ahead
	wasteful(t, db, 1200, 400)
	grown := make(chan error, 1)
	_, err := db.Compact(context.Background(), CompactOptions{Pause: -1, reached: func(s stage) error {
		if s == stageCopied {
			go func() { grown <- db.Update(context.Background(), put("large", strings.Repeat("x", 20<<20))) }()
			select {
			case err := <-grown:
				grown <- err
			case <-time.After(time.Minute):
				t.Error("a write waits for the compaction")
			}
		}
		return nil
	}})
	if !errors.Is(err, ErrInTheWay) {
		t.Errorf("the compaction: %v", err)
	}
	if err := <-grown; err != nil || !has(t, db, "large") {
		t.Errorf("the write: %v", err)
	}
	if left := leftovers(t, path); left != nil {
		t.Errorf("left: %v", left)
	}
	_ = db.Close()
	again := open(t, path, Options{}) // mapped ahead
	if _, err := again.Compact(context.Background(), CompactOptions{Pause: -1, reached: func(s stage) error {
		if s == stageCopied {
			return again.Update(context.Background(), put("larger", strings.Repeat("x", 40<<20)))
		}
		return nil
	}}); err != nil || !has(t, again, "larger") {
		t.Errorf("with room to grow: %v", err)
	}
}

func TestNoRoomForACompaction(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	wasteful(t, db, 1000, 100)
	db.opts.MinFree = 1 << 60
	if _, err := db.Compact(context.Background(), CompactOptions{}); !errors.Is(err, ErrNoRoom) || errors.Is(err, ErrNoSpace) {
		t.Errorf("no room: %v", err)
	}
	db.opts.MinFree = -1
	if _, err := os.Stat(path); err != nil || leftovers(t, path) != nil {
		t.Errorf("%v, left %v", err, leftovers(t, path))
	}
	// It runs out of room on the way.
	_, err := db.Compact(context.Background(), CompactOptions{reached: func(s stage) error {
		if s == stageSync {
			return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
		}
		return nil
	}})
	if !errors.Is(err, ErrNoRoom) || db.Full() || leftovers(t, path) != nil {
		t.Errorf("%v, full %v, left %v", err, db.Full(), leftovers(t, path))
	}
	if err := db.Update(context.Background(), put("after", "1")); err != nil {
		t.Error(err)
	}
}

func TestBucketsInBucketsAreNotCopied(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	if err := db.Update(context.Background(), func(tx *bbolt.Tx) error {
		_, err := tx.Bucket(bucket).CreateBucket([]byte("inner"))
		return Abort(err)
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Compact(context.Background(), CompactOptions{Pause: -1}); !errors.Is(err, errNested) {
		t.Errorf("%v", err)
	}
	if left := leftovers(t, path); left != nil {
		t.Errorf("left: %v", left)
	}
}

// TestACopyThatDiffersIsThrownAway: what the copy lost on its way is seen before
// it takes the file's place.
func TestACopyThatDiffersIsThrownAway(t *testing.T) {
	for name, damage := range map[string]func(b *bbolt.Bucket) error{
		"a value":    func(b *bbolt.Bucket) error { return b.Put([]byte("00001000"), []byte("other")) },
		"a key":      func(b *bbolt.Bucket) error { return b.Delete([]byte("00001000")) },
		"one more":   func(b *bbolt.Bucket) error { return b.Put([]byte("9"), []byte("more")) },
		"one bucket": func(b *bbolt.Bucket) error { return b.Tx().DeleteBucket(bucket) },
		"one beside": func(b *bbolt.Bucket) error {
			_, err := b.Tx().CreateBucket([]byte("zzz"))
			return err
		},
	} {
		path := file(t)
		db := open(t, path, Options{})
		wasteful(t, db, 1200, 400)
		_, err := db.Compact(context.Background(), CompactOptions{Pause: -1, reached: func(s stage) error {
			if s != stageCopied {
				return nil
			}
			return db.running.now.fresh.bolt.Update(func(tx *bbolt.Tx) error { return damage(tx.Bucket(bucket)) })
		}})
		if !errors.Is(err, ErrDiffers) || leftovers(t, path) != nil || db.Err() != nil {
			t.Errorf("%s: %v, left %v, Err %v", name, err, leftovers(t, path), db.Err())
		}
		if !has(t, db, "00001000") {
			t.Errorf("%s: the file was touched", name)
		}
	}
}
