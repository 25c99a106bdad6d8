package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// breakDisk opens the database on a file handle that refuses writes: the
// nearest thing to a failing disk.
func breakDisk(t *testing.T, db *DB, path string) {
	t.Helper()
	if err := db.current().bolt.Close(); err != nil {
		t.Fatal(err)
	}
	broken, err := bbolt.Open(path, 0o600, &bbolt.Options{
		OpenFile: func(name string, _ int, _ os.FileMode) (*os.File, error) { return os.Open(name) },
	})
	if err != nil {
		t.Fatal(err)
	}
	db.now.bolt = broken
}

func TestADiskErrorStopsTheWriting(t *testing.T) {
	path := file(t)
	var committed []bool
	db := open(t, path, Options{Finish: func(ok bool) { committed = append(committed, ok) }})
	for i := range 500 {
		if err := db.Update(context.Background(), put(fmt.Sprint("kept", i), strings.Repeat("x", 500))); i%100 == 0 && err != nil {
			t.Fatal(err)
		}
	}
	breakDisk(t, db, path)
	if err := db.Update(context.Background(), put("lost", "1")); !errors.Is(err, ErrStopped) {
		t.Fatalf("a failed write: %v", err)
	}
	// The handle would still refuse; a healthy one must not be tried either.
	if err := db.Update(context.Background(), put("lost too", "1")); !errors.Is(err, ErrStopped) || !errors.Is(db.Err(), ErrStopped) {
		t.Errorf("the next write: %v, Err %v", err, db.Err())
	}
	if !has(t, db, "kept0") || has(t, db, "lost") {
		t.Error("reading does not show what was committed")
	}
	if _, err := os.Stat(suspectPath(path)); err != nil {
		t.Errorf("the file is not marked: %v", err)
	}
	_ = db.Close()
	if last := committed[len(committed)-2:]; last[0] || last[1] {
		t.Errorf("Finish was told %v for the refused groups", last)
	}

	again := open(t, path, Options{})
	if !has(t, again, "kept0") || !has(t, again, "kept499") || has(t, again, "lost") {
		t.Error("the copy does not have what was committed")
	}
	for _, gone := range []string{suspectPath(path), path + ".copy"} {
		if _, err := os.Stat(gone); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", gone, err)
		}
	}
	if err := again.Update(context.Background(), put("new", "1")); err != nil || !has(t, again, "new") {
		t.Errorf("writing into the copy: %v", err)
	}
}

func TestADamagedPageIsUnreadable(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	for i := range 20 {
		if err := db.Update(context.Background(), func(tx *bbolt.Tx) error {
			for j := range 100 {
				if err := tx.Bucket(bucket).Put([]byte(fmt.Sprintf("key-%02d-%02d", i, j)), []byte(strings.Repeat("x", 200))); err != nil {
					return Abort(err)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	_ = db.Close()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, _ := f.Stat()
	page := int64(os.Getpagesize())
	rubbish := []byte(strings.Repeat("\xa5", int(page)))
	for at := 2 * page; at+page <= info.Size(); at += page { // the two meta pages stay whole
		if _, err := f.WriteAt(rubbish, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(suspectPath(path), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, ErrUnreadable) {
		t.Fatalf("a suspect file with damaged pages: %v", err)
	}
	if _, err := os.Stat(suspectPath(path)); err != nil {
		t.Errorf("the mark is gone although nothing was saved: %v", err)
	}
	damaged, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	path = file(t)
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{}); !errors.Is(err, ErrUnreadable) {
		t.Errorf("damaged pages without a mark: %v", err)
	}
}

func TestAPanicOfAPageStopsTheWriting(t *testing.T) {
	db := open(t, file(t), Options{})
	err := db.Update(context.Background(), func(*bbolt.Tx) error { panic("assertion failed: Page expected to be: 7") })
	if !errors.Is(err, ErrStopped) || !errors.Is(db.Err(), ErrStopped) {
		t.Errorf("a write that met a damaged page: %v", err)
	}
	if err := db.View(func(*bbolt.Tx) error { panic("assertion failed") }); !errors.Is(err, ErrUnreadable) {
		t.Errorf("a read that met a damaged page: %v", err)
	}
}

// TestADamagedHeadIsTold: bbolt goes on with the other head, perhaps without the
// last commit; that must not be silent.
func TestADamagedHeadIsTold(t *testing.T) {
	path := file(t)
	db := open(t, path, Options{})
	for i := range 3 {
		if err := db.Update(context.Background(), put(fmt.Sprint("k", i), "1")); err != nil {
			t.Fatal(err)
		}
	}
	_ = db.Close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for head := range 3 {
		path := file(t)
		damaged := bytes.Clone(whole)
		if head < 2 {
			damaged[head*os.Getpagesize()+headAt+headSum]++
		}
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		db := open(t, path, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if !has(t, db, "k0") {
			t.Errorf("head %d: what was committed before is gone", head)
		}
		_ = db.Close()
		if told := strings.Contains(log.String(), "head pages"); told != (head < 2) {
			t.Errorf("head %d: told %v: %s", head, told, log.String())
		}
	}
}
