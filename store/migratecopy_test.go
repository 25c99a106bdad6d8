package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// asBefore takes a ledger back to the schema version before, as the program before
// left it.
func asBefore(t *testing.T, dir string) []byte {
	t.Helper()
	path := filepath.Join(dir, "ledger.db")
	err := commit.Finish(path, func(tx *bbolt.Tx) error {
		return tx.Bucket(bMeta).Put(metaSchema, u64(uint64(SchemaVersion()-1)))
	})
	if err != nil {
		t.Fatal(err)
	}
	return readFile(t, path)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func copies(t *testing.T, dir string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, beforeSchema+"*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func open(t *testing.T, dir string) *Ledger {
	t.Helper()
	l, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestALedgerIsCopiedBeforeItsSchemaChanges(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	if err := l.EnsureRoute(context.Background(), "invoices"); err != nil {
		t.Fatal(err)
	}
	start := l.StartID()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := copies(t, dir); len(got) != 0 {
		t.Fatalf("a new ledger was copied: %v", got)
	}
	asBefore(t, dir)
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, fmt.Sprintf("%s%d", beforeSchema, SchemaVersion()))
	if got := copies(t, dir); len(got) != 1 || got[0] != want {
		t.Fatalf("copies: %v, want %s", got, want)
	}
	first := readFile(t, want)
	if err := commit.Peek(want, func(tx *bbolt.Tx) error {
		version, err := schemaVersion(tx, SchemaVersion())
		if version != uint64(SchemaVersion()-1) {
			t.Errorf("the copy has schema version %d", version)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}

	// Put back, it is another ledger than the one that went on.
	if err := os.Rename(filepath.Join(dir, "ledger.db"), filepath.Join(dir, "later.db")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ledger.db"), first, 0o600); err != nil {
		t.Fatal(err)
	}
	l = open(t, dir)
	epoch, _, _ := strings.Cut(l.StartID(), "-")
	if before, _, _ := strings.Cut(start, "-"); epoch == before {
		t.Errorf("the copy went on in the epoch %s of the original", epoch)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if string(readFile(t, want)) != string(first) {
		t.Error("the copy was written again")
	}

	// Gone back and forth: what was since is copied too, and nothing is written over.
	asBefore(t, dir)
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	if got := copies(t, dir); len(got) != 2 {
		t.Fatalf("copies: %v", got)
	}
	if string(readFile(t, want)) != string(first) {
		t.Error("the first copy was written over")
	}
}

// Whatever step fails, no half of a copy stays, and the ledger is as it was.
func TestACopyThatFailsLeavesTheLedger(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	before := asBefore(t, dir)
	full := &os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}
	make := func(change func(*ledgerCopy)) error {
		c := ledgerCopy{
			dir: dir, from: uint64(SchemaVersion() - 1), to: SchemaVersion(), size: int64(len(before)), log: slog.New(slog.DiscardHandler),
			starts: []byte("another"),
			step:   func(string) error { return nil },
			write:  func(w io.Writer) error { _, err := w.Write(before); return err },
		}
		change(&c)
		return c.make()
	}
	for name, change := range map[string]func(*ledgerCopy){
		"no room": func(c *ledgerCopy) { c.minFree = 1 << 60 },
		"full in the middle": func(c *ledgerCopy) {
			c.write = func(w io.Writer) error { _, _ = w.Write(before[:len(before)/2]); return full }
		},
		"cut short": func(c *ledgerCopy) {
			// More of the file may be free.
			c.write = func(w io.Writer) error { _, err := w.Write(before[:2*os.Getpagesize()]); return err }
		},
		"full: write": func(c *ledgerCopy) { c.step = failAt("write", full) },
		"full: check": func(c *ledgerCopy) { c.step = failAt("check", full) },
		"rename":      func(c *ledgerCopy) { c.step = failAt("rename", errors.New("no")) },
	} {
		err := make(change)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if space := strings.HasPrefix(name, "full") || name == "no room"; space != (ferry.CodeOf(err) == ferry.CodeNoSpace) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "ledger.db.*")); len(left) != 0 {
			t.Errorf("%s left %v", name, left)
		}
		if string(readFile(t, filepath.Join(dir, "ledger.db"))) != string(before) {
			t.Errorf("%s: the ledger is another", name)
		}
	}
	// The name is there, and a power cut may take it: the start ends, and the next one
	// finds a copy that is not of this ledger's last start.
	if err := make(func(c *ledgerCopy) { c.step = failAt("sync", full) }); ferry.CodeOf(err) != ferry.CodeNoSpace {
		t.Errorf("sync: %v", err)
	}
}

func failAt(step string, err error) func(string) error {
	return func(s string) error {
		if s == step {
			return err
		}
		return nil
	}
}

// A start that cannot copy ends, says how much room it wants, and touches nothing.
func TestNoMigrationWithoutACopy(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	before := asBefore(t, dir)
	_, err := Open(dir, Options{MinFree: 1 << 60})
	if ferry.CodeOf(err) != ferry.CodeNoSpace || !strings.Contains(err.Error(), "copy the ledger") {
		t.Fatalf("opened: %v", err)
	}
	if string(readFile(t, filepath.Join(dir, "ledger.db"))) != string(before) {
		t.Error("the ledger was touched")
	}
}
