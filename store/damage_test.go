package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
)

// TestEveryDamagedPage makes rubbish of each page of a ledger in turn. A start
// refuses it, says what to do, and leaves the file as it is, byte for byte; or it
// serves what can be read, each message whole or refused.
func TestEveryDamagedPage(t *testing.T) {
	dir := t.TempDir()
	// A disk that damages a page leaves the file where it is: it is no copy.
	inPlace := func(string) (uint64, error) { return 1, nil }
	l := openIn(t, dir, Options{FileID: inPlace})
	bodies := map[ferry.ID]string{}
	for i := range 40 {
		body := fmt.Sprintf(`{"n":%d,"filler":%q}`, i, strings.Repeat("x", 1000))
		bodies[accept(t, l, body, withKey(fmt.Sprint("k", i)))] = body
	}
	must0(t, l.Close())
	whole, err := os.ReadFile(filepath.Join(dir, "ledger.db"))
	must0(t, err)
	page := os.Getpagesize()
	refused, served := 0, 0
	for at := 0; at+page <= len(whole); at += page {
		dir := t.TempDir()
		damaged := bytes.Clone(whole)
		copy(damaged[at:], bytes.Repeat([]byte{0xa5}, page))
		path := filepath.Join(dir, "ledger.db")
		must0(t, os.WriteFile(path, damaged, 0o600))
		l, err := Open(dir, Options{MinFree: -1, FileID: inPlace})
		if err != nil {
			refused++
			wantCode(t, err, ferry.CodeLedgerUnreadable)
			var known *ferry.Error
			if errors.As(err, &known) && !strings.Contains(known.Hint, "restored into another folder") {
				t.Errorf("page %d: the hint is %q", at/page, known.Hint)
			}
			after, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(after, damaged) {
				t.Errorf("page %d: the refused ledger was touched: %v", at/page, err)
			}
			continue
		}
		served++
		for id, want := range bodies {
			body, _, err := readBody(l, id, 0)
			if err == nil && string(body) != want {
				t.Errorf("page %d: message %s has another body", at/page, id)
			}
		}
		must0(t, l.Close())
	}
	if refused < 5 || served < 5 {
		t.Errorf("%d damaged ledgers were refused, %d served", refused, served)
	}
}

// TestAKeyThatCannotBeKeptIsNone: an admin key that nobody knows would lock
// everybody out.
func TestAKeyThatCannotBeKeptIsNone(t *testing.T) {
	l := newLedger(t)
	full := errors.New("no room for the file")
	_, err := l.CreateKeptKey(context.Background(), ferry.KeySpec{Name: "admin", Role: ferry.RoleAdmin}, "test", func(string) error { return full })
	if !errors.Is(err, full) || len(l.Keys()) != 0 {
		t.Errorf("%v; keys: %+v", err, l.Keys())
	}
	kept := ""
	key, err := l.CreateKeptKey(context.Background(), ferry.KeySpec{Name: "admin", Role: ferry.RoleAdmin}, "test", func(text string) error {
		kept = text
		if len(l.Keys()) != 0 {
			t.Error("the key is valid before it is kept")
		}
		return nil
	})
	if err != nil || kept == "" || kept != key.Secret || len(l.Keys()) != 1 {
		t.Errorf("%v; kept %t, keys %+v", err, kept == key.Secret, l.Keys())
	}
}
