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
