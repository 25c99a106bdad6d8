package store

import (
	"testing"
	"testing/synctest"
	"time"
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
		time.Sleep(1)
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
