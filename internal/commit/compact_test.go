package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"
)

// dump is all that a file holds, by bucket and key; sequences stand under "#".
func dump(t *testing.T, tx *bbolt.Tx) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		all[string(name)+" #"] = fmt.Sprint(b.Sequence())
		return b.ForEach(func(k, v []byte) error {
			all[string(name)+" "+string(k)] = string(v)
			return nil
		})
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func dumpDB(t *testing.T, db *DB) (all map[string]string) {
	t.Helper()
	if err := db.View(func(tx *bbolt.Tx) error {
		all = dump(t, tx)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// unsynced spares a test the waiting for the disk.
func unsynced(db *DB, on bool) { db.current().bolt.NoSync, db.current().bolt.NoGrowSync = on, on }

// wasteful fills a file and deletes most of it again.
func wasteful(t *testing.T, db *DB, keys, kept int) { wastefulOf(t, db, keys, kept, 1000) }

func wastefulOf(t *testing.T, db *DB, keys, kept, size int) {
	t.Helper()
	unsynced(db, true)
	defer unsynced(db, false)
	value := strings.Repeat("v", size)
	for i := 0; i < keys; i += 500 {
		if err := db.Update(context.Background(), func(tx *bbolt.Tx) error {
			for j := i; j < min(i+500, keys); j++ {
				if err := tx.Bucket(bucket).Put(fmt.Appendf(nil, "%08d", j), []byte(value)); err != nil {
					return Abort(err)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Update(context.Background(), func(tx *bbolt.Tx) error {
		for j := range keys - kept {
			if err := tx.Bucket(bucket).Delete(fmt.Appendf(nil, "%08d", j)); err != nil {
				return Abort(err)
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// leftovers are the files beside the one at path.
func leftovers(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != filepath.Base(path) {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestCompactGivesSpaceBack(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	wasteful(t, db, 6000, 500)
	before, waste := dumpDB(t, db), db.Waste()
	if waste.Free < waste.Size/2 || waste.Size != db.Size() {
		t.Fatalf("waste %+v of a file that is nearly empty", waste)
	}
	got, err := db.Compact(context.Background(), CompactOptions{Pause: -1})
	if err != nil {
		t.Fatal(err)
	}
	if got.Before != waste.Size || got.After != db.Size() || got.After > waste.Size/5 || got.Entries != 500 {
		t.Errorf("%+v of %+v", got, waste)
	}
	if now := db.Waste(); now.Free > now.Size/2 || now.Size != got.After {
		t.Errorf("waste %+v afterwards", now)
	}
	if diff := cmp.Diff(before, dumpDB(t, db)); diff != "" {
		t.Errorf("(-before +after)\n%s", diff)
	}
	if left := leftovers(t, path); left != nil {
		t.Errorf("left: %v", left)
	}
	if err := db.Update(context.Background(), put("after", "1")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process after the compaction: %v", err)
	}
	if _, err := db.Compact(context.Background(), CompactOptions{Pause: -1}); err != nil {
		t.Errorf("once more: %v", err)
	}
	_ = db.Close()
	again := open(t, path, Options{})
	if !has(t, again, "after") || !has(t, again, "00005999") || has(t, again, "00000000") {
		t.Error("the file is not what it was")
	}
}

// Who asks how much is free does not look into the mapping, which a commit takes away
// to map more: the process would end. The race detector sees it without luck.
func TestWasteWhileTheFileGrows(t *testing.T) {
	db := open(t, file(t), Options{MaxSize: 64 << 20}) // mapped as bbolt does, doubling
	unsynced(db, true)
	done := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				db.Waste()
			}
		}
	})
	for size := 1; size <= 8<<20; size *= 2 {
		if err := db.Update(t.Context(), put(fmt.Sprint(size), strings.Repeat("v", size))); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	asking.Wait()
	if w := db.Waste(); w.Size < 16<<20 {
		t.Errorf("the file has %d bytes", w.Size)
	}
}

func TestWasteThatIsMuch(t *testing.T) {
	for _, c := range []struct {
		w    Waste
		much bool
	}{
		{Waste{Size: 1 << 30, Free: 600 << 20}, true},
		{Waste{Size: 1 << 30, Free: 500 << 20}, false},
		{Waste{Size: 4 << 30, Free: 500 << 20}, false},
		{Waste{Size: 4 << 30, Free: 600 << 20}, true},
		{Waste{Size: 8 << 30, Free: 600 << 20}, false},
		{Waste{Size: 70 << 20, Free: 60 << 20}, false},
		{Waste{}, false},
	} {
		if c.w.Much() != c.much {
			t.Errorf("%+v: %v", c.w, !c.much)
		}
	}
}

// scribble changes anything at random, as writers of several buckets would.
func scribble(rnd *rand.Rand) func(tx *bbolt.Tx) error {
	seed := rnd.Uint64()
	return func(tx *bbolt.Tx) error {
		rnd := rand.New(rand.NewPCG(seed, 2))
		for range 1 + rnd.IntN(8) {
			name := fmt.Appendf(nil, "b%d", rnd.IntN(6))
			if rnd.IntN(40) == 0 && tx.Bucket(name) != nil {
				if err := tx.DeleteBucket(name); err != nil {
					return Abort(err)
				}
			}
			b, err := tx.CreateBucketIfNotExists(name)
			if err != nil {
				return Abort(err)
			}
			for range rnd.IntN(12) {
				key, at := fmt.Appendf(nil, "%06d", rnd.IntN(4000)), rnd.IntN(8)
				switch {
				case at == 0:
					_, err = b.NextSequence()
				case at == 1:
					err = b.SetSequence(rnd.Uint64N(100))
				case at < 5:
					err = b.Delete(key)
				case at == 5:
					err = b.Put(key, bytes.Repeat([]byte{byte(seed)}, rnd.IntN(20_000)))
				default:
					err = b.Put(key, bytes.Repeat([]byte{byte(seed)}, rnd.IntN(300)))
				}
				if err != nil {
					return Abort(err)
				}
			}
		}
		return nil
	}
}

// TestCompactKeyForKey: while writers change everything, buckets included, the
// copy that takes the file's place is equal to it in every key and sequence, and
// sound; and what is written afterwards is in it.
func TestCompactKeyForKey(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			path := file(t)
			db := open(t, path, Options{})
			unsynced(db, true)
			for range 40 {
				if err := db.Update(context.Background(), scribble(rnd)); err != nil {
					t.Fatal(err)
				}
			}
			var wg sync.WaitGroup
			quit, held := make(chan struct{}), false
			for range 3 {
				rnd := rand.New(rand.NewPCG(rnd.Uint64(), 7))
				wg.Go(func() {
					for {
						select {
						case <-quit:
							return
						case <-time.After(time.Duration(rnd.IntN(4000)) * time.Microsecond):
						}
						if err := db.Update(context.Background(), scribble(rnd)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			steps := 0
			got, err := db.Compact(context.Background(), CompactOptions{Pause: -1, reached: func(s stage) error {
				if s == stageStep {
					if steps++; steps > 3 { // more steps than a file of this size has
						time.Sleep(2 * time.Millisecond)
					}
				}
				if s == stageHeld {
					held = true
					c := db.running.now
					_ = c.base.DB().View(func(was *bbolt.Tx) error {
						return c.fresh.bolt.View(func(is *bbolt.Tx) error {
							if a, b := dump(t, was), dump(t, is); !maps.Equal(a, b) {
								t.Errorf("(-file +copy)\n%s", cmp.Diff(a, b))
							}
							return check(is)
						})
					})
				}
				return nil
			}})
			close(quit)
			wg.Wait()
			if err != nil || !held {
				t.Fatalf("held %v, %v", held, err)
			}
			if got.Changes == 0 {
				t.Error("nothing changed meanwhile: this test shows nothing")
			}
			want := dumpDB(t, db)
			_ = db.Close()
			again := open(t, path, Options{})
			delete(want, string(bucket)+" #")
			is := dumpDB(t, again)
			delete(is, string(bucket)+" #")
			if !maps.Equal(want, is) {
				t.Errorf("after another start: (-want +got)\n%s", cmp.Diff(want, is))
			}
			if err := again.View(check); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNoAnswerIsLostInACompaction: each writer finds what it was answered for, at
// once and at the end, through several compactions on end.
func TestNoAnswerIsLostInACompaction(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	unsynced(db, true)
	wasteful(t, db, 5000, 1000)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var answered atomic.Int64
	written := make([]map[string]string, 4)
	for w := range written {
		written[w] = map[string]string{}
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-quit:
					return
				default:
				}
				key, value := fmt.Sprintf("w%d %d", w, n%97), fmt.Sprint(n)
				if err := db.Update(context.Background(), put(key, value)); err != nil {
					t.Error(err)
					return
				}
				answered.Add(1)
				written[w][key] = value
				if err := db.View(func(tx *bbolt.Tx) error {
					if got := string(tx.Bucket(bucket).Get([]byte(key))); got != value {
						return fmt.Errorf("%s is %q after %q was confirmed", key, got, value)
					}
					return nil
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		if _, err := db.Compact(context.Background(), CompactOptions{Pause: -1}); err != nil {
			t.Error(err)
		}
	}
	close(quit)
	wg.Wait()
	_ = db.Close()
	again := open(t, path, Options{})
	all := dumpDB(t, again)
	for _, kept := range written {
		for k, v := range maps.All(kept) {
			if all["things "+k] != v {
				t.Fatalf("%s is %q, %q was confirmed", k, all["things "+k], v)
			}
		}
	}
	if answered.Load() < 100 {
		t.Errorf("only %d writes: this test shows nothing", answered.Load())
	}
}

// TestReadersKeepTheOldFile: a read that began before the copy took the file's
// place goes on in the old one, and one that begins then sees the new one.
func TestReadersKeepTheOldFile(t *testing.T) {
	db := open(t, file(t), Options{})
	wasteful(t, db, 5000, 500)
	begun, gate, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		ended <- db.View(func(tx *bbolt.Tx) error {
			before := dump(t, tx)
			close(begun)
			<-gate
			if diff := cmp.Diff(before, dump(t, tx)); diff != "" {
				return errors.New(diff)
			}
			var whole bytes.Buffer // a backup
			if n, err := tx.WriteTo(&whole); err != nil || n != tx.Size() {
				return fmt.Errorf("%d bytes of %d: %w", n, tx.Size(), err)
			}
			return nil
		})
	}()
	<-begun
	if _, err := db.Compact(context.Background(), CompactOptions{Pause: -1}); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(context.Background(), put("new", "1")); err != nil || !has(t, db, "new") {
		t.Errorf("beside a read that runs: %v", err)
	}
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	select {
	case <-closed:
		t.Error("Close did not wait for the read")
	case <-time.After(20 * time.Millisecond):
	}
	close(gate)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// TestWhoWaitsForTheLockOfAReplacedFile: a second process that opened the file
// before it was replaced gets the lock of a file without a name, and is refused.
func TestWhoWaitsForTheLockOfAReplacedFile(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	wasteful(t, db, 2000, 100)
	second := make(chan error, 1)
	if _, err := db.Compact(context.Background(), CompactOptions{Pause: -1, reached: func(s stage) error {
		if s == stageHeld {
			go func() {
				_, err := Open(path, Options{})
				second <- err
			}()
			time.Sleep(100 * time.Millisecond) // it has the old file open, and waits up to a second
		}
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	if err := <-second; !errors.Is(err, ErrLocked) {
		t.Errorf("it was told %v", err)
	}
	if !has(t, db, "00001999") {
		t.Error("the file is not what it was")
	}
}

// TestCompactAtOpen: where an open file cannot be replaced, it is done before.
func TestCompactAtOpen(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	wastefulOf(t, db, 3000, 30, 30_000)
	want, before := dumpDB(t, db), db.Waste()
	if !before.Much() {
		t.Fatalf("%+v", before)
	}
	_ = db.Close()
	copies := 0
	opts := Options{CompactAtOpen: true, Copied: func(*bbolt.Tx, string, string) error {
		copies++
		return errors.New("not this one")
	}}
	db = open(t, path, opts)
	if db.Size() != before.Size || copies != 1 || leftovers(t, path) != nil {
		t.Errorf("size %d, copies %d, left %v", db.Size(), copies, leftovers(t, path))
	}
	_ = db.Close()
	opts.Copied = nil
	db = open(t, path, opts)
	if diff := cmp.Diff(want, dumpDB(t, db)); diff != "" || db.Size() > before.Size/10 || leftovers(t, path) != nil {
		t.Errorf("size %d, left %v, (-want +got)\n%s", db.Size(), leftovers(t, path), diff)
	}
}
