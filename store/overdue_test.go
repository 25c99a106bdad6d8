package store

import (
	"context"
	"testing"
	"time"

	"ferry"
)

// A long backlog is looked through in steps, and nothing of it is passed over.
func TestOverdueGoesOnWhereItStopped(t *testing.T) {
	ctx := context.Background()
	l := newLedger(t)
	const handedOut, waiting = 3, 40
	var short []ferry.ID
	for i := range handedOut + waiting {
		id := accept(t, l, "{}", func(m *ferry.Message) {
			if i%7 == 0 {
				m.TimeToLive = time.Nanosecond
			}
		})
		if i%7 == 0 && i >= handedOut {
			short = append(short, id)
		}
	}
	upTo, _, err := l.Look(testRoute, nil, time.Now(), handedOut, func(ferry.ID) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Advance(ctx, testRoute, upTo); err != nil {
		t.Fatal(err)
	}
	var found []ferry.ID
	steps, entries := 0, 0
	for after := []byte(nil); steps == 0 || after != nil; steps++ {
		ids, looked, next, err := l.Overdue(testRoute, after, time.Now().Add(time.Hour), 10)
		if err != nil || looked > 10 {
			t.Fatalf("looked at %d, %v", looked, err)
		}
		found, after = append(found, ids...), next
		entries += looked
		if expired, err := l.Expire(ctx, ids, func(string) bool { return false }); err != nil || len(expired) != len(ids) {
			t.Fatalf("Expire: %d of %d, %v", len(expired), len(ids), err)
		}
	}
	if len(found) != len(short) || entries != waiting || steps != 4 {
		t.Fatalf("found %d of %d, looked at %d of %d in %d steps", len(found), len(short), entries, waiting, steps)
	}
	for i := range short {
		if found[i] != short[i] {
			t.Errorf("%d: %s, want %s", i, found[i], short[i])
		}
	}
}
