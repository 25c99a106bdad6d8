package commit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestAFullDisk fills a small file system of its own.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("ferry-test", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a tmpfs cannot be mounted (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x.db")
	db := open(t, path, Options{})
	value := string(make([]byte, 20<<10))
	var err error
	n := 0
	for ; err == nil && n < 200; n++ {
		err = db.Update(context.Background(), put(fmt.Sprint("k", n), value))
	}
	if !errors.Is(err, ErrNoSpace) || n < 3 {
		t.Fatalf("write %d on a full disk: %v", n, err)
	}
	if db.Err() != nil {
		t.Fatalf("a full disk stopped the writing for good: %v", db.Err())
	}
	if has(t, db, fmt.Sprint("k", n-1)) || !has(t, db, "k0") {
		t.Error("the refused write is there, or an earlier one is not")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(context.Background(), put("resumed", value)); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	_ = db.Close()
	again := open(t, path, Options{})
	for i := range n - 1 {
		if !has(t, again, fmt.Sprint("k", i)) {
			t.Errorf("k%d is gone", i)
		}
	}
	if !has(t, again, "resumed") {
		t.Error("what was written afterwards is gone")
	}
	_ = again.Close()
}

// TestNoRoomForTheCopy: a suspect file stays in place, and suspect, until there is
// room for its copy.
func TestNoRoomForTheCopy(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("ferry-test", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("a tmpfs cannot be mounted (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	path, filler := filepath.Join(dir, "x.db"), filepath.Join(dir, "filler")
	db := open(t, path, Options{})
	for i := range 30 {
		if err := db.Update(context.Background(), put(fmt.Sprint("k", i), string(make([]byte, 20<<10)))); err != nil {
			t.Fatal(err)
		}
	}
	_ = db.Close()
	if err := os.WriteFile(suspectPath(path), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if _, err := Open(path, Options{MinFree: -1}); !errors.Is(err, ErrNoSpace) || errors.Is(err, ErrUnreadable) {
		t.Errorf("no room for the copy: %v", err)
	}
	if _, err := os.Stat(path + ".copy"); err == nil {
		t.Error("half a copy is left")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, Options{})
	if !has(t, again, "k29") {
		t.Error("what was there is not in the copy")
	}
	_ = again.Close()
}
