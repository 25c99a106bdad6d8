//go:build linux

package faultfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// mounted is a file system that lives as long as the test.
func mounted(t *testing.T) *FS {
	t.Helper()
	f, err := Mount(t.TempDir())
	if err != nil {
		t.Skipf("FUSE cannot be mounted (needs root and /dev/fuse): %v", err)
	}
	t.Cleanup(func() {
		if err := f.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *FS) at(name string) string { return filepath.Join(f.Dir(), name) }

// write writes a file anew, and syncs it when asked to.
func (f *FS) write(t *testing.T, name, text string, sync bool) {
	t.Helper()
	must(t, writeAt(f.at(name), 0, text, os.O_CREATE|os.O_TRUNC, sync))
}

func writeAt(path string, at int64, text string, flags int, sync bool) error {
	file, err := os.OpenFile(path, os.O_WRONLY|flags, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(text), at)
	if err == nil && sync {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

func (f *FS) syncDir(t *testing.T, name string) {
	t.Helper()
	dir, err := os.Open(f.at(name))
	must(t, err)
	must(t, errors.Join(dir.Sync(), dir.Close()))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want holds the files of the whole tree, by path; folders end in a slash.
func (f *FS) want(t *testing.T, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	must(t, filepath.WalkDir(f.Dir(), func(path string, d os.DirEntry, err error) error {
		name, _ := filepath.Rel(f.Dir(), path)
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir():
			got[name+"/"] = ""
			return nil
		}
		text, err := os.ReadFile(path)
		got[name] = string(text)
		return err
	}))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCutLosesWhatIsNotDurable(t *testing.T) {
	long := strings.Repeat("long ", 4000)
	for name, c := range map[string]struct {
		do   func(t *testing.T, f *FS)
		want map[string]string
	}{
		"written":            {func(t *testing.T, f *FS) { f.write(t, "a", "x", false) }, map[string]string{}},
		"synced":             {func(t *testing.T, f *FS) { f.write(t, "a", long, true) }, map[string]string{"a": long}},
		"name without bytes": {func(t *testing.T, f *FS) { f.write(t, "a", "x", false); f.syncDir(t, "") }, map[string]string{"a": ""}},
		"overwritten": {func(t *testing.T, f *FS) {
			f.write(t, "a", long, true)
			must(t, writeAt(f.at("a"), 5000, "short", 0, false))
		}, map[string]string{"a": long}},
		"grown": {func(t *testing.T, f *FS) {
			f.write(t, "a", "x", true)
			must(t, os.Truncate(f.at("a"), 1<<20))
		}, map[string]string{"a": "x"}},
		"cut short": {func(t *testing.T, f *FS) {
			f.write(t, "a", long, true)
			must(t, os.Truncate(f.at("a"), 10))
		}, map[string]string{"a": long}},
		"cut short, grown and synced": {func(t *testing.T, f *FS) {
			f.write(t, "a", long, true)
			must(t, os.Truncate(f.at("a"), 2))
			must(t, writeAt(f.at("a"), 5, "!", 0, true))
		}, map[string]string{"a": "lo\x00\x00\x00!"}},
		"renamed": {func(t *testing.T, f *FS) {
			f.write(t, "a", "x", true)
			must(t, os.Rename(f.at("a"), f.at("b")))
		}, map[string]string{"a": "x"}},
		"renamed, its folder synced": {func(t *testing.T, f *FS) {
			f.write(t, "a", "x", true)
			must(t, os.Rename(f.at("a"), f.at("b")))
			f.syncDir(t, "")
		}, map[string]string{"b": "x"}},
		"renamed over another": {func(t *testing.T, f *FS) {
			f.write(t, "a", "new", true)
			f.write(t, "b", "old", true)
			must(t, os.Rename(f.at("a"), f.at("b")))
		}, map[string]string{"a": "new", "b": "old"}},
		"renamed before it was synced": {func(t *testing.T, f *FS) {
			f.write(t, "a", "x", false)
			must(t, os.Rename(f.at("a"), f.at("b")))
			must(t, writeAt(f.at("b"), 1, "y", 0, true))
		}, map[string]string{"b": "xy"}},
		"removed": {func(t *testing.T, f *FS) {
			f.write(t, "a", "x", true)
			must(t, os.Remove(f.at("a")))
		}, map[string]string{"a": "x"}},
		"removed, its folder synced": {func(t *testing.T, f *FS) {
			f.write(t, "a", "x", true)
			must(t, os.Remove(f.at("a")))
			f.syncDir(t, "")
		}, map[string]string{}},
		"in a new folder": {func(t *testing.T, f *FS) {
			must(t, os.Mkdir(f.at("d"), 0o700))
			f.write(t, "d/a", "x", true)
		}, map[string]string{}},
		"in a new folder that was synced too": {func(t *testing.T, f *FS) {
			must(t, os.Mkdir(f.at("d"), 0o700))
			f.write(t, "d/a", "x", true)
			f.syncDir(t, "")
		}, map[string]string{"d/": "", "d/a": "x"}},
		"another name": {func(t *testing.T, f *FS) {
			f.write(t, "a", "x", true)
			must(t, os.Link(f.at("a"), f.at("b")))
			f.syncDir(t, "")
			must(t, os.Remove(f.at("a")))
		}, map[string]string{"a": "x", "b": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := mounted(t)
			c.do(t, f)
			must(t, f.Cut(0))
			f.want(t, c.want)
			must(t, f.Cut(7)) // nothing is left to be lost
			f.want(t, c.want)
			saved := t.TempDir()
			must(t, f.Save(saved))
			(&FS{dir: saved}).want(t, c.want)
		})
	}
}

// TestAFileStaysWhatItWas: its number tells it from a copy, and the open file
// outlives its name.
func TestAFileStaysWhatItWas(t *testing.T) {
	f := mounted(t)
	f.write(t, "a", "x", true)
	before, err := os.Stat(f.at("a"))
	must(t, err)
	must(t, f.Cut(0))
	after, err := os.Stat(f.at("a"))
	must(t, err)
	if a, b := before.Sys().(*syscall.Stat_t).Ino, after.Sys().(*syscall.Stat_t).Ino; a != b {
		t.Errorf("the number was %d and is %d", a, b)
	}
	open, err := os.Open(f.at("a"))
	must(t, err)
	must(t, os.Remove(f.at("a")))
	text := make([]byte, 1)
	if _, err := open.ReadAt(text, 0); err != nil || string(text) != "x" {
		t.Errorf("a removed file that is open: %q, %v", text, err)
	}
	must(t, open.Close())
}

func TestCutTearsAndReorders(t *testing.T) {
	const blocks = 40
	f := mounted(t)
	old := bytes.Repeat([]byte("o"), blocks*blockSize)
	seen := map[string]bool{}
	var first [blocks]string
	for seed := uint64(1); seed <= 6; seed++ {
		f.write(t, "a", string(old), true)
		must(t, writeAt(f.at("a"), 0, strings.Repeat("n", blocks*blockSize), 0, false))
		must(t, f.Cut(seed))
		text, err := os.ReadFile(f.at("a"))
		must(t, err)
		if len(text) != len(old) {
			t.Fatalf("%d bytes of %d", len(text), len(old))
		}
		for i := range blocks {
			b := text[i*blockSize : (i+1)*blockSize]
			kind := "torn"
			if len(bytes.Trim(b, "n")) == 0 {
				kind = "new"
			} else if len(bytes.Trim(b, "o")) == 0 {
				kind = "old"
			}
			for s := 0; s < blockSize; s += sectorSize {
				if c := b[s : s+1]; !bytes.Equal(b[s:s+sectorSize], bytes.Repeat(c, sectorSize)) {
					t.Errorf("sector %d of block %d is mixed", s/sectorSize, i)
				}
			}
			seen[kind] = true
			if seed == 1 {
				first[i] = kind
			}
		}
	}
	for _, kind := range []string{"new", "old", "torn"} {
		if !seen[kind] || !slices.Contains(first[:], kind) {
			t.Errorf("no block was %s", kind)
		}
	}
}

// TestNamesSurviveInOrder: a later name does not survive an earlier one that is lost.
func TestNamesSurviveInOrder(t *testing.T) {
	counts := map[int]bool{}
	for seed := uint64(1); seed <= 12; seed++ {
		f := mounted(t)
		for i := range 4 {
			f.write(t, fmt.Sprint("f", i), "x", false)
		}
		must(t, f.Cut(seed))
		entries, err := os.ReadDir(f.Dir())
		must(t, err)
		for i, e := range entries {
			if e.Name() != fmt.Sprint("f", i) {
				t.Errorf("seed %d: %s survived an earlier one", seed, e.Name())
			}
		}
		counts[len(entries)] = true
	}
	if len(counts) < 3 {
		t.Errorf("the same number of names survived each time: %v", counts)
	}
}

func TestNoSpace(t *testing.T) {
	f := mounted(t)
	f.write(t, "a", "x", true)
	only := func(path string) bool { return path == "a" }
	full := f.Inject(Fault{Op: Write | Overwrite, Path: only, Nth: 2, Times: 2, Err: syscall.ENOSPC})
	for i, want := range []error{nil, syscall.ENOSPC, syscall.ENOSPC, nil} {
		if err := writeAt(f.at("a"), 0, fmt.Sprint(i), 0, true); !errors.Is(err, want) {
			t.Errorf("write %d: %v", i, err)
		}
		f.write(t, "other", "x", false)
	}
	if full.Seen() != 4 || full.Hits() != 2 {
		t.Errorf("%d writes, %d refused", full.Seen(), full.Hits())
	}
	full.Lift()
	full = f.Inject(Fault{Op: Write, Err: syscall.ENOSPC})
	if err := os.Truncate(f.at("a"), 1<<16); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("growth: %v", err)
	}
	if err := writeAt(f.at("a"), 0, "o", 0, true); err != nil {
		t.Errorf("a write that needs no room: %v", err)
	}
	if err := writeAt(f.at("a"), 1<<16, "o", 0, true); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write into a new block: %v", err)
	}
	if err := os.Truncate(f.at("a"), 0); err != nil {
		t.Errorf("shrinking: %v", err)
	}
	if err := os.Mkdir(f.at("d"), 0o700); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a new folder: %v", err)
	}
	if err := os.WriteFile(f.at("b"), nil, 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a new file: %v", err)
	}
	full.Lift()
	f.write(t, "b", "room", true)
}

func TestSyncFails(t *testing.T) {
	for name, c := range map[string]struct {
		dirty             Dirty
		seen, after, lost string // at once, after one more fsync, after a cut
	}{
		"kept":     {Kept, "new", "new", "new"},
		"dropped":  {Dropped, "old", "old", "old"},
		"believed": {Believed, "new", "new", "old"},
	} {
		t.Run(name, func(t *testing.T) {
			f := mounted(t)
			f.write(t, "a", "old", true)
			f.want(t, map[string]string{"a": "old"}) // now it is in the cache
			counted := f.Inject(Fault{Op: Sync})
			f.Inject(Fault{Op: Sync, Times: 1, Err: syscall.EIO, Dirty: c.dirty})
			if err := writeAt(f.at("a"), 0, "new", 0, true); !errors.Is(err, syscall.EIO) {
				t.Errorf("fsync: %v", err)
			}
			f.want(t, map[string]string{"a": c.seen})
			file, err := os.OpenFile(f.at("a"), os.O_RDWR, 0)
			must(t, err)
			must(t, errors.Join(file.Sync(), file.Close()))
			f.want(t, map[string]string{"a": c.after})
			if counted.Seen() != 2 {
				t.Errorf("%d fsyncs", counted.Seen())
			}
			must(t, f.Cut(0))
			f.want(t, map[string]string{"a": c.lost})
		})
	}
}

func TestReadFails(t *testing.T) {
	f := mounted(t)
	f.write(t, "a", "x", true)
	must(t, f.Cut(0))                                  // empties the cache
	bad := f.Inject(Fault{Op: Read, Err: syscall.EIO}) // the kernel tries more than once
	if _, err := os.ReadFile(f.at("a")); !errors.Is(err, syscall.EIO) {
		t.Errorf("a read: %v", err)
	}
	bad.Lift()
	f.want(t, map[string]string{"a": "x"})
}
