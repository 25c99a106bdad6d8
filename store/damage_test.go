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

	"go.etcd.io/bbolt"

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

// TestNoActWithoutItsEntry: where the audit log cannot go on, nothing is done that
// would be missing in it, singly or in bulk; accepting goes on.
func TestNoActWithoutItsEntry(t *testing.T) {
	l := newLedger(t)
	one, two := deadLetter(t, l, "one"), deadLetter(t, l, "two")
	must0(t, l.Replay(t.Context(), two, nil, "", "", "ann"))
	bulk := startOperation(t, l, ferry.ActDiscard, []ferry.ID{one})
	must0(t, l.db.Update(t.Context(), func(tx *bbolt.Tx) error {
		last, _ := tx.Bucket(bAudit).Cursor().Last()
		return tx.Bucket(bAudit).Put(last, []byte("{"))
	}))
	wantCode(t, l.Replay(t.Context(), one, nil, "", "", "ann"), ferry.CodeLedgerUnavailable)
	wantCode(t, l.Discard(t.Context(), one, "", "ann"), ferry.CodeLedgerUnavailable)
	_, err := l.CreateKey(t.Context(), ferry.KeySpec{Name: "k", Role: ferry.RoleSender}, "ann")
	if wantCode(t, err, ferry.CodeLedgerUnavailable); len(l.Keys()) != 0 {
		t.Errorf("keys: %+v", l.Keys())
	}
	if _, err := l.StepOperation(t.Context(), bulk); err == nil {
		t.Error("the bulk act was done")
	}
	wantState(t, l, one, ferry.StateDeadLettered)
	wantState(t, l, accept(t, l, "three"), ferry.StateAccepted)
	// What the broker must do it does: else the bulk act would be tried for ever.
	must0(t, l.HaltOperation(t.Context(), bulk, "it cannot go on"))
	if in := l.OperationsIn(ferry.OperationStopped); len(in) != 1 {
		t.Errorf("stopped: %v", in)
	}
	must0(t, l.sound())
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

// TestADamagedAttemptHoldsUpNoReceipt: what is told of a message of which an attempt
// cannot be read counts, and so does what comes with it.
func TestADamagedAttemptHoldsUpNoReceipt(t *testing.T) {
	l := newLedger(t)
	hurt, sound := accept(t, l, "hurt"), accept(t, l, "sound")
	handOut(t, l, testRoute, 10)
	report(t, l, hurt, ferry.Rejected, ferry.Next{Do: ferry.DoRetry, Doubt: true})
	must0(t, l.db.Update(t.Context(), func(tx *bbolt.Tx) error {
		return tx.Bucket(bAttempts).Put(attemptKey(hurt, 1), []byte("{"))
	}))
	handOut(t, l, testRoute, 10)
	out, err := l.ApplyReceipts(t.Context(), []ferry.Receipt{
		{ID: hurt, Route: testRoute, Turn: 2, Worker: "w", Verdict: ferry.NotTried, Next: setAside(ferry.ReasonAttemptsExhausted)},
		{ID: sound, Route: testRoute, Turn: 1, Worker: "w", Verdict: ferry.Delivered, Reference: "R", Next: ferry.Next{Do: ferry.DoComplete}},
	}, park)
	if err != nil || !out[0].Applied || out[0].Reason != ferry.ReasonAttemptsExhausted || !out[1].Applied {
		t.Fatalf("%+v, %v", out, err)
	}
	if r := rec(t, l, hurt); r.State != ferry.StateDeadLettered {
		t.Errorf("the damaged one is %s", r.State)
	}
	wantState(t, l, sound, ferry.StateCompleted)
}
