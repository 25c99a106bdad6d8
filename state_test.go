package ferry_test

import (
	"testing"

	"ferry"
)

func TestStates(t *testing.T) {
	const (
		accepted  = ferry.StateAccepted
		queued    = ferry.StateQueued
		retrying  = ferry.StateRetrying
		completed = ferry.StateCompleted
		dead      = ferry.StateDeadLettered
		discarded = ferry.StateDiscarded
	)
	all := []ferry.State{accepted, queued, retrying, completed, dead, discarded}
	// Every pair that is allowed, by where it comes from.
	allowed := map[ferry.State][]ferry.State{
		accepted:  all,
		queued:    all,
		retrying:  all,
		completed: nil, // absorbing
		dead:      {accepted, queued, retrying, completed, discarded},
		discarded: {accepted, dead},
	}
	if got := len(ferry.States()); got != len(all) {
		t.Fatalf("States has %d states, want %d", got, len(all))
	}
	for _, from := range ferry.States() {
		if !from.Valid() || from.Pending() == from.Terminal() {
			t.Errorf("%s: valid %v, pending %v, terminal %v", from, from.Valid(), from.Pending(), from.Terminal())
		}
		for _, to := range all {
			want := false
			for _, s := range allowed[from] {
				want = want || s == to
			}
			if got := from.CanBecome(to); got != want {
				t.Errorf("%s -> %s: %v, want %v", from, to, got, want)
			}
		}
		if from.CanBecome("lost") {
			t.Errorf("%s may become a state that does not exist", from)
		}
	}
	for _, s := range []ferry.State{"", "lost"} {
		if s.Valid() || s.Pending() || s.Terminal() || s.CanBecome(completed) {
			t.Errorf("%q counts as a state", s)
		}
	}
}

func TestReasons(t *testing.T) {
	if n := len(ferry.Reasons()); n != 7 {
		t.Errorf("%d reasons, want 7", n)
	}
	for _, r := range ferry.Reasons() {
		if !r.Valid() {
			t.Errorf("%s is not valid", r)
		}
	}
	for _, r := range []ferry.Reason{"", "rejected", "Lost"} {
		if r.Valid() {
			t.Errorf("%q is valid", r)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for kind, want := range map[ferry.VerdictKind]struct {
		cause ferry.Cause
		hasIt bool
	}{
		ferry.Delivered:     {ferry.CauseNone, true},
		ferry.Duplicate:     {ferry.CauseNone, true},
		ferry.Rejected:      {ferry.CauseMessage, false},
		ferry.Failed:        {ferry.CauseUnclear, false},
		ferry.Throttled:     {ferry.CauseDestination, false},
		ferry.Unavailable:   {ferry.CauseDestination, false},
		ferry.Unauthorized:  {ferry.CauseCredentials, false},
		ferry.Unknown:       {ferry.CauseUnclear, false},
		ferry.NotTried:      {ferry.CauseNone, false},
		ferry.AlreadyExists: {ferry.CauseMessage, false},
		ferry.Expired:       {ferry.CauseMessage, false},
	} {
		if kind.Cause() != want.cause || kind.HasIt() != want.hasIt {
			t.Errorf("%s: cause %q, has it %v; want %q, %v", kind, kind.Cause(), kind.HasIt(), want.cause, want.hasIt)
		}
	}
}
