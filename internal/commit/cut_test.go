package commit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// A copy that was cut anywhere within its pages is refused, and reading it ends no
// process: its last pages would be read beyond the end of the file.
func TestAFileThatWasCutIsRefused(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "whole.db"), Options{})
	for i := range 50 {
		if err := db.Update(context.Background(), put(fmt.Sprint(i), strings.Repeat("v", 3000))); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "whole.db"))
	if err != nil {
		t.Fatal(err)
	}
	page, cut := os.Getpagesize(), filepath.Join(dir, "cut.db")
	if err := Look(filepath.Join(dir, "whole.db"), true, func(*bbolt.Tx) error { return nil }); err != nil {
		t.Fatalf("the whole file: %v", err)
	}
	for pages := 2; pages < 50; pages += 3 {
		if err := os.WriteFile(cut, whole[:pages*page], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Look(cut, true, func(*bbolt.Tx) error { return nil }); !errors.Is(err, ErrUnreadable) {
			t.Errorf("looked at after %d pages: %v", pages, err)
		}
		if err := Finish(cut, nil); err == nil {
			t.Errorf("finished after %d pages", pages)
		}
	}
}
