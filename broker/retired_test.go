package broker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// Discarded messages of a route that was taken out can be restored for as long as they
// are kept; then somebody delivers them, over a restart too.
func TestARestoredMessageOfARetiredRouteIsDelivered(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		ids := w.setAsideMany(h, 2, "unknown supplier")
		w.reconfigure(only(notes))
		for _, id := range ids {
			if _, err := w.b.Discard(t.Context(), id, "not ours", "ada"); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(retiredFor + time.Second)
		w.reconfigure(only(notes))
		w.restart(only(notes))
		if infos, err := w.b.RouteInfos(t.Context()); err != nil || len(infos) != 1 {
			t.Errorf("what has nothing to look after is shown: %+v, %v", infos, err)
		}
		h.hello(orders)
		for _, id := range ids {
			if _, err := w.b.Restore(t.Context(), id, "they are", "ada"); err != nil {
				t.Fatal(err)
			}
		}
		if infos, err := w.b.RouteInfos(t.Context()); err != nil || len(infos) != 2 || infos[1].DeadLetters != 2 {
			t.Errorf("restored dead letters are not shown: %+v, %v", infos, err)
		}
		w.bulk(ferry.ActReplay, ferry.BulkRequest{Filter: ferry.DeadLetterFilter{Route: orders}})
		for range ids {
			h.report(h.takeWithin(orders, time.Minute), ferry.Delivered, done())
		}
		for _, id := range ids {
			w.state(id, ferry.StateCompleted)
		}
		w.balanced()
	})
}

// takeWithin receives one message that somebody hands out within a time.
func (h *hand) takeWithin(route string, most time.Duration) *queue.Delivery {
	h.w.t.Helper()
	for until := time.Now().Add(most); ; time.Sleep(time.Second) {
		if got := h.take(route, 1); len(got) == 1 {
			return got[0]
		}
		if time.Now().After(until) {
			h.w.t.Fatalf("nothing of route %s is handed out", route)
		}
	}
}

// What a route that was taken out has delivered is shown under its mask, known to
// repeats and kept for as long as the route said; then the route goes.
func TestARetiredRouteStaysWithItsMessages(t *testing.T) {
	const day = 2 * time.Hour // of this test
	settings := func(o *Options) {
		o.IdempotencyWindow, o.SilentAfter = time.Hour, time.Hour
		o.Retention = ferry.Retention{Completed: time.Hour}
	}
	with := func(routes ...ferry.Route) func(*Options) { return func(o *Options) { settings(o); o.Routes = routes } }
	kept := ferry.Route{Name: orders, Owner: &ferry.Owner{Name: "AP"}, Mask: []string{"iban"}, Retention: ferry.Retention{Completed: 3 * day}}
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`{"iban":"DE1"}`, withKeyOf("k"))
		h.report(h.takeOne(orders), ferry.Delivered, done())
		w.state(id, ferry.StateCompleted)
		w.reconfigure(with(ferry.Route{Name: notes}))
		w.restart(with(ferry.Route{Name: notes}))
		a, err := w.b.Accept(t.Context(), ferry.Message{Route: orders, Body: []byte(`{"iban":"DE1"}`), ContentType: "application/json", IdempotencyKey: "k"})
		if err != nil || !a.Duplicate || a.ID != id {
			t.Errorf("a repeat: %+v, %v", a, err)
		}
		if r, _ := w.b.Route(orders); r.Owner == nil || r.Retention != kept.Retention {
			t.Errorf("it is configured otherwise than before: %+v", r)
		}
		time.Sleep(2 * day)
		w.reconfigure(with(ferry.Route{Name: notes}))
		if e := w.message(id); strings.Join(e.Mask, "") != "iban" {
			t.Errorf("it is shown without its mask: %v", e.Mask)
		}
		if infos, err := w.b.RouteInfos(t.Context()); err != nil || len(infos) != 1 {
			t.Errorf("what has nothing to look after is shown: %+v, %v", infos, err)
		}
		time.Sleep(2 * day)
		if _, err := w.b.Message(t.Context(), id); ferry.CodeOf(err) != ferry.CodeMessageNotFound {
			t.Errorf("it is kept for longer than its route said: %v", err)
		}
		w.reconfigure(with(ferry.Route{Name: notes}))
		if _, ok := w.b.Route(orders); ok {
			t.Error("nothing is kept of the route, and it is still there")
		}
		// Nobody looks after its channel in the queue any more, until it is back.
		w.mem.PutAside(queue.MessagesOf(orders), h.name, []byte("{}"), tooOften)
		time.Sleep(time.Minute)
		if n := w.mem.LenDead(queue.MessagesOf(orders)); n != 1 {
			t.Errorf("%d packets are set aside there, want 1", n)
		}
		w.reconfigure(with(ferry.Route{Name: orders}, ferry.Route{Name: notes}))
		time.Sleep(time.Minute)
		if n := w.mem.LenDead(queue.MessagesOf(orders)); n != 0 {
			t.Errorf("%d packets are set aside of a route that is back", n)
		}
		w.balanced()
	}, with(kept, ferry.Route{Name: notes}))
}

// A retired route that holds nothing is no news for operators, whatever its worker
// says or does.
func TestNobodyIsToldOfARetiredRouteThatHoldsNothing(t *testing.T) {
	paged(t, func(t *testing.T, w *world, p *pager) {
		h := w.worker("one", orders)
		h.hello(orders)
		w.send(`{}`)
		h.report(h.takeOne(orders), ferry.Delivered, done())
		w.stop()
		w.start(p.options, only(notes))
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := p.heard(); len(got) != 0 {
			t.Errorf("told: %v", got)
		}
	})
}
