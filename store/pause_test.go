package store

import (
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"
)

// The end of a pause that was to end by itself is no resume: it leaves alone what
// an operator set meanwhile, and does not say that somebody resumed the route.
func TestEndPause(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := openIn(t, dir, Options{})
		defer func() { must0(t, l.Close()) }()
		pauseFor := func(d time.Duration) {
			t.Helper()
			until := time.Time{}
			if d > 0 {
				until = time.Now().Add(d)
			}
			must0(t, l.Pause(t.Context(), testRoute, "why", until, "ann"))
		}
		end := func(paused bool) RouteLedger {
			t.Helper()
			must0(t, l.EndPause(t.Context(), testRoute))
			in, err := l.Route(testRoute)
			must0(t, err)
			if (in.Paused != nil) != paused {
				t.Fatalf("paused: %+v, want %t", in.Paused, paused)
			}
			return in
		}
		acts := func() int {
			t.Helper()
			list, err := l.Audit(0, time.Time{}, 100)
			must0(t, err)
			return len(list)
		}
		pauseFor(time.Minute)
		end(true) // before its time
		time.Sleep(time.Minute)
		pauseFor(0) // in the moment in which the other one was to end
		end(true)
		pauseFor(time.Hour)
		time.Sleep(time.Hour - 1)
		before := acts()
		end(true)
		if acts() != before {
			t.Error("nothing was ended, and the audit log says so")
		}
		time.Sleep(time.Nanosecond)
		in := end(false)
		if !in.ResumedAt.IsZero() {
			t.Errorf("resumed by nobody at %s", in.ResumedAt)
		}
		if got := in.HeldBy(time.Now()); got != time.Hour+time.Minute {
			t.Errorf("held for %s", got)
		}
		if acts() != before+1 {
			t.Error("the audit log does not tell of the end")
		}
		end(false)
		if acts() != before+1 {
			t.Error("the audit log tells of it twice")
		}
	})
}

// A window that is configured anew is kept to also after the clock was set back to
// before the route was counted last.
func TestAWindowConfiguredAfterTheClockWentBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var from, to time.Time
		l := openIn(t, dir, Options{Windows: func(_ string, after time.Time) (time.Time, time.Time, bool) { return from, to, to.After(after) }})
		defer func() { must0(t, l.Close()) }()
		// It was counted last tomorrow.
		must0(t, l.updateRoute(t.Context(), testRoute, nil, func(_ *bbolt.Tx, row *routeRow) error {
			row.HeldAt = time.Now().Add(24 * time.Hour).UnixNano()
			return nil
		}))
		if next, err := l.Hold(t.Context(), testRoute); err != nil || !next.IsZero() {
			t.Fatalf("no window, and nothing is held: looks again at %s, %v", next, err)
		}
		from, to = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		if next, err := l.Hold(t.Context(), testRoute); err != nil || !next.Equal(to) {
			t.Fatalf("looks again at %s, want %s, %v", next, to, err)
		}
		time.Sleep(90 * time.Minute)
		in, err := l.Route(testRoute)
		must0(t, err)
		if until, held := in.Held(time.Now()); !held || !until.Equal(to) || in.HeldBy(time.Now()) != 30*time.Minute {
			t.Errorf("held %t until %s, for %s", held, until, in.HeldBy(time.Now()))
		}
	})
}
