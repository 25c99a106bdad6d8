package store

import (
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// Who hands back a dead letter whose time to live has passed wants it delivered,
// however late, whatever the reason was. One that still has time keeps it.
func TestReplayAfterItsTime(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := openIn(t, dir, Options{})
		defer func() { must0(t, l.Close()) }()
		living := func(d time.Duration) func(*ferry.Message) {
			return func(m *ferry.Message) { m.TimeToLive = d }
		}
		rejected := deadLetter(t, l, "1", living(time.Hour))
		edited := deadLetter(t, l, "2", living(time.Hour))
		inTime := deadLetter(t, l, "3", living(3*time.Hour))
		held := deadLetter(t, l, "4", living(time.Hour), func(m *ferry.Message) { m.Route = otherRoute })
		must0(t, l.Pause(t.Context(), otherRoute, "why", time.Now().Add(90*time.Minute), "ann"))
		replaced := deadLetter(t, l, "5", living(time.Hour), withKey("k5"))

		time.Sleep(2 * time.Hour)
		must0(t, l.Replay(t.Context(), rejected, nil, "", "it is mended", "ann"))
		must0(t, l.Replay(t.Context(), edited, []byte("2, mended"), "text/plain", "it is mended", "ann"))
		must0(t, l.Replay(t.Context(), inTime, nil, "", "it is mended", "ann"))
		must0(t, l.Replay(t.Context(), held, nil, "", "it is mended", "ann"))
		if _, err := l.Accept(t.Context(), message("5, mended", living(time.Hour), withKey("k5"), replacing)); err != nil {
			t.Fatal(err)
		}

		ends := map[ferry.ID]time.Duration{rejected: 0, edited: 0, inTime: time.Hour, held: 30 * time.Minute, replaced: time.Hour}
		now := time.Now()
		for id, left := range ends {
			e := show(t, l, id)
			switch {
			case left == 0 && e.ExpiresAt != nil:
				t.Errorf("%s expires at %s, and was handed back late", id.Short(), e.ExpiresAt)
			case left != 0 && (e.ExpiresAt == nil || !e.ExpiresAt.Equal(now.Add(left))):
				t.Errorf("%s expires at %v, want %s", id.Short(), e.ExpiresAt, now.Add(left))
			}
		}
	})
}

// The expiry of a message that has ended stays what it was at its end, however it
// ended and whatever holds its route afterwards; it goes on from there when the
// message is pending again.
func TestExpiryStaysAtTheEnd(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, l *Ledger, id ferry.ID){
		"completed": func(t *testing.T, l *Ledger, id ferry.ID) {
			report(t, l, id, ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
		},
		"rejected": func(t *testing.T, l *Ledger, id ferry.ID) {
			report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected))
		},
		"expired, says the worker": func(t *testing.T, l *Ledger, id ferry.ID) {
			time.Sleep(time.Hour)
			report(t, l, id, ferry.Expired, setAside(ferry.ReasonExpired), func(rc *ferry.Receipt) { rc.Attempts = nil })
			wantState(t, l, id, ferry.StateDeadLettered)
		},
		"expired": func(t *testing.T, l *Ledger, id ferry.ID) {
			time.Sleep(time.Hour)
			if gone, err := l.Expire(t.Context(), []ferry.ID{id}, park); err != nil || len(gone) != 1 {
				t.Fatalf("%v, %v", gone, err)
			}
		},
		"discarded": func(t *testing.T, l *Ledger, id ferry.ID) {
			must0(t, l.Discard(t.Context(), id, "why", "ann"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				l := openIn(t, dir, Options{})
				defer func() { must0(t, l.Close()) }()
				hold := func() {
					t.Helper()
					must0(t, l.Pause(t.Context(), testRoute, "why", time.Time{}, "ann"))
					time.Sleep(time.Hour)
					must0(t, l.Resume(t.Context(), testRoute, "", "ann"))
				}
				id := accept(t, l, "1", func(m *ferry.Message) { m.TimeToLive = time.Hour })
				want := time.Now().Add(2 * time.Hour)
				expires := func(when string) {
					t.Helper()
					if e := show(t, l, id); e.ExpiresAt == nil || !e.ExpiresAt.Equal(want) {
						t.Errorf("%s: it expires at %s, want %s", when, e.ExpiresAt, want)
					}
				}
				hold()
				expires("held once")
				end(t, l, id)
				expires("ended")
				hold()
				expires("held again, after its end")
				if rec(t, l, id).State != ferry.StateDiscarded {
					return
				}
				must0(t, l.Restore(t.Context(), id, "why", "ann"))
				want = want.Add(time.Hour)
				expires("pending again")
			})
		})
	}
}
