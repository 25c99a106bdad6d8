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
