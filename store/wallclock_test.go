package store

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

const (
	stepped = 5 * time.Minute
	writes  = 2 * time.Minute // how long an old worker's calls may go on
)

// setForward sets the system's clock forward: the ledger's own goes on as it did.
func setForward(l *Ledger) {
	l.wall = func() time.Time { return time.Now().Round(0).Add(stepped) }
}

// notBefore looks as the relay does, by the system's clock: nothing is due for so long.
func notBefore(t *testing.T, l *Ledger, id ferry.ID, wait time.Duration) {
	t.Helper()
	now := l.wall()
	last, next, err := l.Look(testRoute, nil, now, 10, skipNone)
	if err != nil || last != nil || next.Before(now.Add(wait)) {
		t.Errorf("due: %x, next in %s, %v, want nothing for %s", last, next.Sub(now), err, wait)
	}
	if r := rec(t, l, id); timeOf(r.NotBefore).Before(now.Add(wait)) {
		t.Errorf("not before %s from now, want %s", timeOf(r.NotBefore).Sub(now), wait)
	}
}

// What an old worker may have begun is waited out also when the system's clock was
// set forward before: due times go by that one.
func TestATakeOverWaitsAlthoughTheClockWasSet(t *testing.T) {
	bind := func(t *testing.T, l *Ledger, worker string, force bool) {
		t.Helper()
		must0(t, l.Bind(context.Background(), testRoute, Binding{Worker: worker, Inbox: "inbox of " + worker, Bound: writes}, force, "", "ann"))
	}
	bound := func(t *testing.T, l *Ledger) ferry.ID {
		bind(t, l, "w1", false)
		id := accept(t, l, "held")
		handOut(t, l, testRoute, 1)
		return id
	}
	claimed := func(t *testing.T, l *Ledger) ferry.ID {
		must0(t, l.SetSeveral(t.Context(), testRoute, true))
		id := accept(t, l, "held")
		c := Claim{ID: id, Route: testRoute, Turn: 1, Worker: "w1", Inbox: "i1", Nonce: "n1", For: time.Minute, Bound: time.Minute}
		if state, _, err := l.Claim(t.Context(), c); err != nil || state != ClaimGranted {
			t.Fatal(state, err)
		}
		return id
	}
	for name, c := range map[string]struct {
		begin func(t *testing.T, l *Ledger) ferry.ID
		act   func(t *testing.T, l *Ledger)
		wait  time.Duration
	}{
		"bound to another": {bound, func(t *testing.T, l *Ledger) { bind(t, l, "w2", true) }, writes},
		"on a long word": {func(t *testing.T, l *Ledger) ferry.ID {
			id := bound(t, l)
			must0(t, l.Grant(t.Context(), testRoute, 1, "run", l.Now().Add(time.Hour)))
			return id
		}, func(t *testing.T, l *Ledger) { bind(t, l, "w2", true) }, time.Hour + writes},
		"on a word that is cut short": {func(t *testing.T, l *Ledger) ferry.ID {
			id := bound(t, l)
			must0(t, l.Grant(t.Context(), testRoute, 1, "run", l.Now().Add(time.Hour)))
			return id
		}, func(t *testing.T, l *Ledger) {
			bind(t, l, "w2", true)
			if n, err := l.Heard(t.Context(), testRoute, "w1", "inbox of w1", 2); n != 1 || err != nil {
				t.Errorf("%d released, %v", n, err)
			}
		}, writes},
		"to several": {bound, func(t *testing.T, l *Ledger) { must0(t, l.SetSeveral(t.Context(), testRoute, true)) }, writes},
		"to one":     {claimed, func(t *testing.T, l *Ledger) { must0(t, l.SetSeveral(t.Context(), testRoute, false)) }, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLedger(t)
				id := c.begin(t, l)
				setForward(l)
				c.act(t, l)
				notBefore(t, l, id, c.wait)
				must0(t, l.sound())
			})
		})
	}
}

// An inbox that is waited for by a clock that was set is forgotten all the same.
func TestWhoIsWaitedForIsForgottenAlthoughTheClockWasSet(t *testing.T) {
	handedOver(t, func(t *testing.T, l *Ledger, _, _ ferry.ID, _ time.Time) {
		setForward(l)
		left := l.testRoute(t).Leaving[0]
		time.Sleep(left.CalmAt().Sub(l.wall()) + time.Second)
		must0(t, l.Grant(context.Background(), testRoute, 2, "run", l.Now().Add(time.Hour)))
		if r := l.testRoute(t); len(r.Leaving) != 0 || leftKeys(t, l) != 0 {
			t.Errorf("still waited for: %+v, %d keys", r.Leaving, leftKeys(t, l))
		}
	})
}

// A receiver is told by the system's clock when its lock ends, and has it for as long
// as it would have otherwise.
func TestALockIsToldByTheSystemsClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t)
		must0(t, l.SetPull(t.Context(), testRoute))
		id := accept(t, l, "x")
		setForward(l)
		token := ferry.NewID(time.Now())
		got, err := l.Lock(t.Context(), LockRequest{Route: testRoute, By: "r", Token: token, For: time.Minute, Window: 10, Most: 10}, park)
		if err != nil || got.Got == nil || !got.Got.LockedUntil.Equal(l.wall().Add(time.Minute)) {
			t.Fatalf("%+v, %v", got, err)
		}
		if w := show(t, l, id).WaitingFor; w == nil || w.Until == nil || !w.Until.Equal(got.Got.LockedUntil) {
			t.Errorf("people are told %+v", w)
		}
		time.Sleep(30 * time.Second)
		out, err := l.Settle(t.Context(), ferry.LockSettle{Route: testRoute, Message: id.String(), Lock: token, Do: ferry.LockRenew, By: "r"}, time.Minute, park)
		if err != nil || !out.Until.Equal(l.wall().Add(time.Minute)) {
			t.Fatalf("%+v, %v", out, err)
		}
		if _, next, err := l.TakeOverClaims(t.Context(), 10, park); err != nil || next.Sub(l.Now()) != time.Minute {
			t.Errorf("it ends in %s, %v", next.Sub(l.Now()), err)
		}
	})
}
