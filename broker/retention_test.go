package broker

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
)

// TestRetentionOfRoutes: each route's own counts, what it does not say is as for all,
// and nothing goes while a repeat is known by it.
func TestRetentionOfRoutes(t *testing.T) {
	const day = 2 * time.Hour // of this test
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders, notes)
		h.hello(orders, notes)
		short, long := w.send(`{"n":1}`, withKeyOf("k")), w.send(`{"n":2}`, func(m *ferry.Message) { m.Route = notes })
		for _, route := range []string{orders, notes} {
			h.report(h.takeOne(route), ferry.Delivered, done())
		}
		time.Sleep(day + time.Hour)
		if _, err := w.b.OpenBody(t.Context(), short, 0); ferry.CodeOf(err) != ferry.CodeBodyRemoved {
			t.Errorf("the body of %s: %v", short, err)
		}
		if e := w.state(short, ferry.StateCompleted); e.BodyRemovedAt == nil || e.Reference != "DOC-1" {
			t.Errorf("%+v", e)
		}
		if b, err := w.b.OpenBody(t.Context(), long, 0); err != nil {
			t.Errorf("the body of %s: %v", long, err)
		} else {
			_ = b.Close()
		}
		// Its record is kept for the window, although its retention is over.
		a, err := w.b.Accept(t.Context(), ferry.Message{Route: orders, Body: []byte(`{"n":1}`), IdempotencyKey: "k"})
		if err != nil || !a.Duplicate || a.ID != short {
			t.Errorf("a repeat within the window: %+v, %v", a, err)
		}
		time.Sleep(3 * day)
		if _, err := w.b.Message(t.Context(), short); ferry.CodeOf(err) != ferry.CodeMessageNotFound {
			t.Errorf("%s is kept: %v", short, err)
		}
		w.state(long, ferry.StateCompleted)
		time.Sleep(10 * day)
		if _, err := w.b.Message(t.Context(), long); ferry.CodeOf(err) != ferry.CodeMessageNotFound {
			t.Errorf("%s is kept: %v", long, err)
		}
		w.balanced()
	}, func(o *Options) {
		o.IdempotencyWindow = 3 * day
		o.SilentAfter = time.Hour
		o.Retention = ferry.Retention{Completed: 10 * day}
		o.Routes = []ferry.Route{{Name: orders, Retention: ferry.Retention{Completed: 2 * day, Bodies: day}}, {Name: notes}}
	})
}

// TestRetentionWaitsForCallbacks: who is to be called back is told, however much longer
// his address is down than the message would be kept. Then it goes.
func TestRetentionWaitsForCallbacks(t *testing.T) {
	calledBack(t, func(t *testing.T, f *flows, s *subscribers) {
		sub, _ := f.subscribed(s, f.Flow("watch"), "completed", "")
		s.Answer(func(string, int) int { return http.StatusServiceUnavailable })
		f.restart(func(o *Options) {
			s.options(o)
			o.IdempotencyWindow, o.Retention = time.Hour, ferry.Retention{Completed: time.Hour}
		})
		f.serve()
		f.worker.hello(orders)
		id := f.completes(`{"n":1}`)
		time.Sleep(3 * time.Hour)
		f.state(id, ferry.StateCompleted)
		s.Answer(func(string, int) int { return http.StatusAccepted })
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		calls := s.Calls(sub.CallbackURL)
		if len(calls) == 0 || calls[len(calls)-1].Answer != http.StatusAccepted || f.waitingNotices() != 0 {
			t.Errorf("called %d times, %d wait", len(calls), f.waitingNotices())
		}
		if _, err := f.b.Message(t.Context(), id); ferry.CodeOf(err) != ferry.CodeMessageNotFound {
			t.Errorf("%s is kept when it was told: %v", id, err)
		}
	})
}

func withKeyOf(key string) func(*ferry.Message) {
	return func(m *ferry.Message) { m.IdempotencyKey = key }
}
