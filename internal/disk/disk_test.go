package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestFree(t *testing.T) {
	if free, err := Free(t.TempDir()); err != nil || free <= 0 {
		t.Errorf("Free = %d, %v", free, err)
	}
	if _, err := Free(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("no error for a path that is not there")
	}
}

func TestFileID(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) (id uint64) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := FileID(path)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	a, b := write("a"), write("b")
	if a == 0 {
		t.Skip("this system does not number its files")
	}
	if a == b || write("a") != a {
		t.Errorf("two files are %d and %d, and the first, written again, %d", a, b, write("a"))
	}
	if err := os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	if c, err := FileID(filepath.Join(dir, "c")); err != nil || c != a {
		t.Errorf("renamed: %d, %v, was %d", c, err, a)
	}
	if err := os.Remove(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if again := write("b"); again == b {
		t.Skip("this file system numbers a new file as the one before, and does not tell when it was made")
	}
	if _, err := FileID(filepath.Join(dir, "missing")); err == nil {
		t.Error("no error for a file that is not there")
	}
}

func TestSyncDir(t *testing.T) {
	if err := SyncDir(t.TempDir()); err != nil {
		t.Error(err)
	}
}

func TestMkdirAll(t *testing.T) {
	top := t.TempDir()
	for _, dir := range []string{"a/b/c", "a/b/c", "a", "d"} {
		if err := MkdirAll(filepath.Join(top, dir), 0o700); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
		if info, err := os.Stat(filepath.Join(top, dir)); err != nil || !info.IsDir() {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	file := filepath.Join(top, "file")
	if err := WriteNew(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MkdirAll(filepath.Join(file, "below"), 0o700); err == nil {
		t.Error("a folder below a file")
	}
	if err := WriteNew(file, []byte("y"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file that is there: %v", err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "x" {
		t.Errorf("it was touched: %q, %v", text, err)
	}
}

func TestIsFull(t *testing.T) {
	for _, c := range []struct {
		err  error
		full bool
	}{
		{nil, false},
		{&fs.PathError{Op: "write", Err: syscall.ENOSPC}, true},
		{fmt.Errorf("body: %w", &fs.PathError{Op: "open", Err: syscall.EDQUOT}), true},
		{&os.LinkError{Op: "link", Err: syscall.ENOSPC}, true},
		{&fs.PathError{Op: "sync", Err: syscall.ENOSPC}, false},
		{syscall.ENOSPC, false}, // of fdatasync
		{&fs.PathError{Op: "write", Err: syscall.EIO}, false},
	} {
		if got := IsFull(c.err); got != c.full {
			t.Errorf("IsFull(%v) = %v", c.err, got)
		}
	}
}
