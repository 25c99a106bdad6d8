package store

import (
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// TestOldestPending: a message waits since it was accepted, whatever was tried since
// then; but not while it is not to be delivered yet, and not for the time that it was a
// dead letter.
func TestOldestPending(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := openIn(t, dir, Options{})
		defer func() { must0(t, l.Close()) }()
		want := func(what string, since time.Time) {
			t.Helper()
			got, err := l.OldestPending(testRoute)
			if err != nil || got.IsZero() != since.IsZero() || got.Sub(since).Abs() > time.Second {
				t.Errorf("%s: since %s, %v, want %s", what, got, err, since)
			}
		}
		end := func(id ferry.ID) { report(t, l, id, ferry.Delivered, ferry.Next{Do: ferry.DoComplete}) }

		deliverAt := time.Now().Add(6 * time.Hour)
		later := accept(t, l, `{}`, func(m *ferry.Message) { m.DeliverAt = deliverAt })
		want("not to be delivered yet", time.Time{})
		time.Sleep(2 * time.Hour)
		want("not to be delivered yet, hours later", time.Time{})
		time.Sleep(5 * time.Hour)
		want("it was to be delivered an hour ago", deliverAt)
		end(later)

		accepted := time.Now()
		tried := accept(t, l, `{}`)
		for range 5 {
			time.Sleep(time.Hour)
			report(t, l, tried, ferry.Failed, retryIn(2*time.Hour))
			want("tried in vain, and waits for the next try", accepted)
		}
		time.Sleep(3 * time.Hour)
		want("due for the next try", accepted)
		end(tried)

		dead := deadLetter(t, l, `{}`)
		young := time.Now()
		other := accept(t, l, `{}`)
		time.Sleep(24 * time.Hour)
		want("a dead letter does not wait", young)
		end(other)
		time.Sleep(time.Hour)
		replayed := time.Now()
		must0(t, l.Replay(t.Context(), dead, nil, "", "", "ann"))
		time.Sleep(time.Minute)
		want("replayed", replayed)
		report(t, l, dead, ferry.Failed, retryIn(2*time.Hour))
		time.Sleep(time.Hour)
		want("replayed and tried", replayed)
		end(dead)
		want("nothing waits", time.Time{})
	})
}
