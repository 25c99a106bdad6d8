package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/internal/commit"
	"ferry/internal/disk"
)

// TestACompactedLedgerIsTheSame: what lives through a compaction is the ledger, of
// the same epoch, also after another start; a copy of before, or of after, begins
// another.
func TestACompactedLedgerIsTheSame(t *testing.T) {
	if file, err := disk.FileID(t.TempDir()); err != nil || file == 0 {
		t.Skip("this system does not number its files: a copy cannot be told from its original")
	}
	l := newLedger(t)
	dead := deadLetter(t, l, "dead")
	var ids []ferry.ID
	for i := range 300 {
		ids = append(ids, accept(t, l, fmt.Sprint("body ", i), withKey(fmt.Sprint("k", i)), withOrder(fmt.Sprint("o", i%7))))
	}
	copied := backup(t, l)
	done, outcome, err := l.Compact(t.Context())
	if err != nil || outcome != ferry.Compacted || done.Entries == 0 {
		t.Fatalf("%+v, %s, %v", done, outcome, err)
	}
	must0(t, l.sound())
	after := backup(t, l)
	turn := rec(t, l, ids[0]).Turn
	if again := accept(t, l, "body 5", withKey("k5")); again != ids[5] {
		t.Errorf("the key k5 is not known any more: %s", again)
	}
	l = reopen(t, l)
	must0(t, l.sound())
	if is := rec(t, l, ids[0]); is.Turn != turn || is.Doubt {
		t.Errorf("a compaction began another epoch: %+v", is)
	}
	wantState(t, l, dead, ferry.StateDeadLettered)
	// A file of this size grows by 64 KiB at a time.
	if done, _, err := l.Compact(t.Context()); err != nil || done.Before+64<<10 < done.After {
		t.Errorf("once more: %+v, %v", done, err)
	}
	l = reopen(t, l)
	if rec(t, l, ids[1]).Turn != turn {
		t.Error("another epoch after the second one")
	}
	for when, dir := range map[string]string{"before": copied, "after": after} {
		r := openIn(t, dir, Options{})
		if is := rec(t, r, ids[0]); is.Turn <= turn || !is.Doubt {
			t.Errorf("a copy of %s the compaction begins no epoch: %+v", when, is)
		}
		must0(t, r.sound())
	}
}

// TestCompactionUnderLoad: messages go their way while the ledger is compacted
// again and again, and every rule of the ledger holds at its end.
func TestCompactionUnderLoad(t *testing.T) {
	l := newLedger(t)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	accepted := make(chan ferry.ID, 10_000)
	for s := range 3 {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil && n < 3000; n++ {
				m := message(fmt.Sprint(s, " ", n), withKey(fmt.Sprint(s, "-", n)), withOrder(fmt.Sprint(n%50)))
				a, err := l.Accept(t.Context(), m)
				if err != nil {
					t.Error(err)
					return
				}
				accepted <- a.ID
			}
		})
	}
	wg.Go(func() { // and go their way
		for ctx.Err() == nil {
			for _, r := range handOut(t, l, testRoute, 20) {
				report(t, l, r.ID, ferry.Delivered, ferry.Next{})
			}
		}
	})
	const some = 50 // below them this test shows nothing
	for n := 0; n < 3 || len(accepted) < some && n < 100; n++ {
		if _, _, err := l.Compact(t.Context()); err != nil {
			t.Error(err)
			break
		}
	}
	stop()
	wg.Wait()
	close(accepted)
	must0(t, l.sound())
	l = reopen(t, l)
	must0(t, l.sound())
	n := 0
	for id := range accepted {
		show(t, l, id)
		n++
	}
	if n < some {
		t.Errorf("only %d messages: this test shows nothing", n)
	}
}

func TestHowACompactionEnds(t *testing.T) {
	for _, c := range []struct {
		err     error
		outcome ferry.CompactionOutcome
		code    ferry.Code
	}{
		{commit.ErrNoRoom, ferry.CompactionNoRoom, ferry.CodeNoSpace},
		{commit.ErrInTheWay, ferry.CompactionGave, ferry.CodeConflict},
		{commit.ErrCompacting, ferry.CompactionGave, ferry.CodeConflict},
		{commit.ErrOpenElsewhere, ferry.CompactionFailed, ferry.CodeConflict},
		{commit.ErrDiffers, ferry.CompactionFailed, ferry.CodeInternal},
		{commit.ErrStopped, ferry.CompactionFailed, ferry.CodeLedgerUnavailable},
		{commit.ErrClosed, ferry.CompactionEnded, ferry.CodeStopping},
		{context.Canceled, ferry.CompactionEnded, ferry.CodeStopping},
		{errors.New("fsync: input/output error"), ferry.CompactionFailed, ferry.CodeInternal},
	} {
		outcome, err := compactionError(fmt.Errorf("compact ledger.db: %w", c.err))
		var known *ferry.Error
		if !errors.As(err, &known) || outcome != c.outcome || known.Code != c.code || known.Hint == "" {
			t.Errorf("%v: %s, %v", c.err, outcome, err)
		}
	}
	l := newLedger(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if _, outcome, err := l.Compact(ctx); outcome != ferry.CompactionEnded {
		t.Errorf("%s, %v", outcome, err)
	}
}
