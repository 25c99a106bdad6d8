package store

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/ratelimit"
)

func counted(until time.Time, names ...string) func(*ferry.Message) {
	return func(m *ferry.Message) {
		for _, name := range names {
			m.Quotas = append(m.Quotas, ferry.QuotaUse{Name: name, Until: until, Per: 24 * time.Hour})
		}
	}
}

func used(t *testing.T, l *Ledger, name string, until time.Time) int64 {
	t.Helper()
	n, err := l.QuotaUsed(name, until, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestQuotasAreCountedWithTheAccept: a message that is on disk is counted on disk;
// repeats and refused ones are not.
func TestQuotasAreCountedWithTheAccept(t *testing.T) {
	l, ctx := newLedger(t), context.Background()
	until := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	for i := range 5 {
		accept(t, l, fmt.Sprintf(`{"n":%d}`, i), withKey(fmt.Sprint(i)), counted(until, "key:a/24h0m0s", "route:r/24h0m0s"))
	}
	accept(t, l, `{"other":1}`, counted(until, "route:r/24h0m0s"))
	if _, err := l.Accept(ctx, message(`{"n":1}`, withKey("1"), counted(until, "key:a/24h0m0s"))); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Accept(ctx, message(`{"n":"other"}`, withKey("1"), counted(until, "key:a/24h0m0s"))); err == nil {
		t.Fatal("a key that was used with another body is taken")
	}
	for range 2 {
		if n := used(t, l, "key:a/24h0m0s", until); n != 5 {
			t.Errorf("the key used %d, want 5", n)
		}
		if n := used(t, l, "route:r/24h0m0s", until); n != 6 {
			t.Errorf("the route used %d, want 6", n)
		}
		l = reopen(t, l)
	}
	if n := used(t, l, "key:a/24h0m0s", until.Add(24*time.Hour)); n != 0 {
		t.Errorf("the next day begins with %d", n)
	}
	if n := used(t, l, "key:b/24h0m0s", until); n != 0 {
		t.Errorf("another key begins with %d", n)
	}
}

func TestBatchesAreCountedInQuotas(t *testing.T) {
	l, ctx := newLedger(t), context.Background()
	until := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	batch := func(keys ...string) (ms []ferry.Message) {
		for _, key := range keys {
			ms = append(ms, message(`{"of":"`+key+`"}`, withKey(key), counted(until, "q")))
		}
		return ms
	}
	if _, _, err := l.AcceptBatch(ctx, batch("1", "2", "2", "3"), false); err != nil {
		t.Fatal(err)
	}
	if n := used(t, l, "q", until); n != 3 {
		t.Errorf("%d counted for three messages and a repeat", n)
	}
	refused := batch("4", "5")
	refused[1].Route = "no-such-route"
	if _, _, err := l.AcceptBatch(ctx, refused, false); err != nil {
		t.Fatal(err)
	}
	if n := used(t, l, "q", until); n != 3 {
		t.Errorf("%d counted after a batch that was refused", n)
	}
	// What is counted later in a window that ended, since the clock went back, counts
	// in the later one.
	if _, err := l.Accept(ctx, message(`{}`, counted(until.Add(-24*time.Hour), "q"))); err != nil {
		t.Fatal(err)
	}
	if n := used(t, l, "q", until); n != 4 {
		t.Errorf("%d counted after the clock went back", n)
	}
}

// One message while the clock was far ahead does not end a quota until that day comes.
func TestQuotasAfterAClockThatWasAhead(t *testing.T) {
	l := newLedger(t)
	quota, now, name := ferry.Rate{Calls: 3, Per: 24 * time.Hour}, time.Now(), "key:a/24h0m0s"
	quotas, keys := ratelimit.NewQuotas(l.QuotaUsed), 0
	take := func(at time.Time, want bool) {
		t.Helper()
		a, err := quotas.Reserve(name, quota, at, 1)
		if err != nil || a.OK != want {
			t.Fatalf("at %s: %+v, %v, want %t", at, a, err, want)
		}
		if a.OK {
			keys++
			accept(t, l, `{}`, withKey(fmt.Sprint(keys)), counted(a.Until, name))
			quotas.Settle(name, a.Until, 1, 1)
		}
	}
	reopened := func() { l = reopen(t, l); quotas = ratelimit.NewQuotas(l.QuotaUsed) }

	take(now.Add(30*24*time.Hour), true)
	reopened()
	for range quota.Calls {
		take(now, true)
	}
	take(now, false)
	reopened()
	take(now, false)
	tomorrow := now.Add(24 * time.Hour)
	take(tomorrow, true)
	take(tomorrow, true)
	reopened()
	take(now, true) // the window that was begun goes on
	take(now, false)
	take(tomorrow, false)
	if n := used(t, l, name, ratelimit.Window(quota, tomorrow)); n != 3 {
		t.Errorf("%d counted tomorrow, want 3", n)
	}
}

func TestEndedWindowsAreRemoved(t *testing.T) {
	l, ctx := newLedger(t), context.Background()
	today := time.Now().UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
	for i := range 3 {
		accept(t, l, fmt.Sprintf(`{"n":%d}`, i), counted(today, "stays"), counted(today.Add(-48*time.Hour), fmt.Sprint("goes-", i)))
	}
	if err := l.PurgeQuotas(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	rows := 0
	if err := l.db.View(func(tx *bbolt.Tx) error {
		rows = tx.Bucket(bQuotas).Stats().KeyN
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := used(t, l, "stays", today); n != 3 || rows != 1 {
		t.Errorf("%d rows stay, the one of today says %d", rows, n)
	}
}
