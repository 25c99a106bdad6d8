package ratelimit_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/ratelimit"
)

var perDay = ferry.Rate{Calls: 100, Per: 24 * time.Hour}

func none(string, time.Time, time.Duration) (int64, error) { return 0, nil }

// TestQuotaIsUsedToTheLast: 64 at once, some of what they reserve turns out not to
// be used: not one more than the quota, and not one less.
func TestQuotaIsUsedToTheLast(t *testing.T) {
	q, now := ratelimit.NewQuotas(none), time.Date(2026, 11, 26, 23, 0, 0, 0, time.UTC)
	var used, tried atomic.Int64
	var senders sync.WaitGroup
	for range 64 {
		senders.Go(func() {
			for range 200 {
				a, err := q.Reserve("key:a", perDay, now, 1)
				if err != nil || !a.OK {
					continue
				}
				n := int(tried.Add(1) % 2) // every second one is a repeat
				used.Add(int64(n))
				q.Settle("key:a", a.Until, 1, n)
			}
		})
	}
	senders.Wait()
	if used.Load() != 100 {
		t.Errorf("%d were used of 100", used.Load())
	}
}

func TestWindowsOfQuotas(t *testing.T) {
	for _, c := range []struct{ quota, now, until string }{
		{"5/d", "2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"},
		{"5/d", "2026-11-26T23:59:59Z", "2026-11-27T00:00:00Z"},
		{"5/d", "2026-11-27T00:30:00+01:00", "2026-11-27T00:00:00Z"}, // the day is UTC's
		{"5/h", "2026-11-26T10:20:00Z", "2026-11-26T11:00:00Z"},
		{"5/7d", "2026-11-26T10:20:00Z", "2026-11-30T00:00:00Z"}, // weeks begin on Mondays
	} {
		quota, err := ferry.ParseRate(c.quota)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := ratelimit.Window(quota, now).Format(time.RFC3339); got != c.until {
			t.Errorf("%s at %s ends at %s, want %s", c.quota, c.now, got, c.until)
		}
	}
}

func TestQuotaGoesOnAndBeginsAnew(t *testing.T) {
	asked := 0
	q := ratelimit.NewQuotas(func(name string, until time.Time, _ time.Duration) (int64, error) {
		asked++
		if name == "key:a" && until.Day() == 27 {
			return 98, nil // before the restart
		}
		return 0, nil
	})
	now := time.Date(2026, 11, 26, 23, 0, 0, 0, time.UTC)
	for i, want := range []bool{true, true, false, false} {
		a, err := q.Reserve("key:a", perDay, now, 1)
		if err != nil || a.OK != want {
			t.Errorf("the %d. after the restart: %+v, %v", i+1, a, err)
		}
	}
	if a, _ := q.Reserve("key:b", perDay, now, 101); a.OK || a.Left != 100 {
		t.Errorf("more at once than the quota: %+v", a)
	}
	tomorrow := now.Add(2 * time.Hour)
	if a, _ := q.Reserve("key:a", perDay, tomorrow, 100); !a.OK || a.Left != 0 {
		t.Errorf("the next day: %+v", a)
	}
	if a, _ := q.Reserve("key:a", perDay, now, 1); a.OK { // the clock went back
		t.Error("yesterday's window was opened again")
	}
	if asked != 3 {
		t.Errorf("asked %d times what was used before, want once per name and window", asked)
	}
}

// A clock that was far ahead for a moment leaves a window behind that nobody is in
// for a long time: it must not count for all of it.
func TestQuotaAfterAClockThatWasAhead(t *testing.T) {
	q, now := ratelimit.NewQuotas(none), time.Date(2026, 11, 26, 23, 0, 0, 0, time.UTC)
	for i, c := range []struct {
		ahead time.Duration
		n     int
		ok    bool
	}{
		{30 * 24 * time.Hour, 1, true}, // the clock is ahead
		{0, 100, true},                 // and right again
		{0, 1, false},
		{24 * time.Hour, 60, true},
		{0, 41, false}, // a day back: what was begun goes on
		{0, 40, true},
		{48 * time.Hour, 100, true},
	} {
		a, err := q.Reserve("key:a", perDay, now.Add(c.ahead), c.n)
		if err != nil || a.OK != c.ok || a.Until.Sub(now.Add(c.ahead)) > 48*time.Hour {
			t.Errorf("%d. %d at %s: %+v, %v", i, c.n, c.ahead, a, err)
		}
	}
}

func TestQuotaThatCannotBeRead(t *testing.T) {
	damaged := errors.New("damaged")
	q := ratelimit.NewQuotas(func(string, time.Time, time.Duration) (int64, error) { return 0, damaged })
	if a, err := q.Reserve("key:a", perDay, time.Now(), 1); !errors.Is(err, damaged) || a.OK {
		t.Errorf("%+v, %v", a, err)
	}
}
