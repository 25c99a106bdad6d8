package broker

import (
	"testing"
	"time"

	"ferry"
	"ferry/queue"
)

// reconfigure is restart without a restart.
func (w *world) reconfigure(change ...func(*Options)) {
	w.t.Helper()
	opts := Options{Routes: []ferry.Route{{Name: orders, Window: 3}, {Name: notes}}}
	for _, f := range change {
		f(&opts)
	}
	entry := ferry.AuditEntry{By: "ada", Act: "reload", Target: "configuration", Detail: "routes"}
	if err := w.b.Reconfigure(w.t.Context(), opts.settings(), entry); err != nil {
		w.t.Fatalf("Reconfigure: %v", err)
	}
}

func only(names ...string) func(*Options) {
	return func(o *Options) {
		o.Routes = nil
		for _, name := range names {
			o.Routes = append(o.Routes, ferry.Route{Name: name, Window: 3})
		}
	}
}

// A route that is taken out delivers what it holds, under its old name, mask and
// window, over a restart too.
func TestARouteThatIsTakenOutIsDelivered(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.reconfigure(func(o *Options) { o.Routes[0].Mask = []string{"iban"} })
		h := w.worker("w1", orders)
		h.hello(orders)
		first, second := w.send(`{"n":1}`), w.send(`{"n":2}`)
		d := h.takeOneOf(first)
		view := w.b.View() // of a request that began before
		w.reconfigure(only(notes))
		if _, err := w.b.Accept(t.Context(), ferry.Message{Route: orders, Body: []byte(`{}`)}); ferry.CodeOf(err) != ferry.CodeRouteRetired {
			t.Errorf("accepted: %v", err)
		}
		late, err := view.Accept(t.Context(), ferry.Message{Route: orders, Body: []byte(`{"n":3}`)})
		if err != nil {
			t.Errorf("a request that began before: %v", err)
		}
		h.report(d, ferry.Rejected, rejected())
		if word := h.hello(orders).Routes[orders]; !word.Granted {
			t.Errorf("its worker: %+v", word)
		}
		w.restart(only(notes))
		r, ok := w.b.Route(orders)
		if !ok || !r.Retired || len(r.Mask) != 1 {
			t.Fatalf("after a restart: %+v, %v", r, ok)
		}
		if e := w.message(first); len(e.Mask) != 1 {
			t.Errorf("its messages are shown without their mask: %+v", e.Mask)
		}
		h.hello(orders)
		for range 2 {
			for _, d := range h.take(orders, 1) {
				h.report(d, ferry.Delivered, done())
			}
		}
		w.state(second, ferry.StateCompleted)
		w.state(late.ID, ferry.StateCompleted)
		if _, err := w.b.Replay(t.Context(), first, nil, "", "", "ada"); err != nil {
			t.Fatal(err)
		}
		for _, d := range h.take(orders, 1) {
			h.report(d, ferry.Delivered, done())
		}
		w.state(first, ferry.StateCompleted)
		infos, err := w.b.RouteInfos(t.Context())
		if err != nil || len(infos) != 1 {
			t.Errorf("an empty one is still shown: %+v, %v", infos, err)
		}
		w.balanced()
		time.Sleep(retiredFor)
		w.reconfigure(only(notes))
		if r, ok := w.b.Route(orders); !ok || !r.Retired {
			t.Error("it is gone, and the ledger keeps what it delivered")
		}
		// And it may come back.
		w.reconfigure(only(notes, orders))
		h.hello(orders)
		again := w.send(`{"n":4}`)
		h.report(h.takeOne(orders), ferry.Delivered, done())
		w.state(again, ferry.StateCompleted)
		w.balanced()
	})
}

// takeOneOf receives everything that is there, gives back all but one, and gives
// that.
func (h *hand) takeOneOf(id ferry.ID) (found *queue.Delivery) {
	h.w.t.Helper()
	for _, d := range h.take(orders, 10) {
		if d.HandOut.ID == id {
			found = d
			continue
		}
		if err := d.Release(h.w.t.Context()); err != nil {
			h.w.t.Fatal(err)
		}
	}
	if found == nil {
		h.w.t.Fatalf("message %s is not in the queue", id)
	}
	return found
}

// A new route begins at once, a window grows at once, and a mistake changes nothing.
func TestReconfigureUnderway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("w1", orders)
		h.hello(orders)
		for range 6 {
			w.send(`{}`)
		}
		if got := h.take(orders, 10); len(got) != 3 {
			t.Fatalf("%d in a window of 3", len(got))
		}
		w.reconfigure(func(o *Options) {
			o.Routes[0].Window = 5
			o.Routes = append(o.Routes, ferry.Route{Name: "fresh"})
		})
		if got := h.take(orders, 10); len(got) != 2 {
			t.Errorf("%d more in a window of 5", len(got))
		}
		h = w.worker("w2", "fresh")
		if word := h.hello("fresh").Routes["fresh"]; !word.Granted {
			t.Errorf("the new route: %+v", word)
		}
		id := w.send(`{}`, func(m *ferry.Message) { m.Route = "fresh" })
		h.report(h.takeOne("fresh"), ferry.Delivered, done())
		w.state(id, ferry.StateCompleted)

		bad := Settings{Routes: []ferry.Route{{Name: "other"}, {Name: orders, OrderBy: ".a["}}}
		if err := w.b.Reconfigure(t.Context(), bad, ferry.AuditEntry{Act: "reload"}); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("a bad one: %v", err)
		}
		if _, ok := w.b.Route("other"); ok {
			t.Error("half of a bad one was taken over")
		}
		entries, err := w.b.Audit(t.Context(), 0, time.Time{}, 100)
		if err != nil {
			t.Fatal(err)
		}
		reloads := 0
		for _, e := range entries {
			if e.Act == "reload" {
				reloads++
			}
		}
		if reloads != 1 {
			t.Errorf("%d reloads in the audit log: %+v", reloads, entries)
		}
	})
}

// Workers change from one to several and back, and to receivers, without a restart,
// as over one (TestFromOneWorkerToSeveral and the like).
func TestReconfigureChangesWhoDelivers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.worker("one", orders)
		a.hello(orders)
		id := w.send(`{}`)
		old := a.takeOne(orders)
		w.reconfigure(several)
		b := w.worker("two", orders)
		a.hello(orders)
		b.hello(orders)
		a.claim(old, "n1", queue.ClaimRefused)
		if got := b.take(orders, 10); len(got) != 0 {
			t.Fatal("handed out again before the old call has stopped writing")
		}
		time.Sleep(90*time.Second + time.Millisecond) // the bound of hello
		d := b.takeOne(orders)
		if h := d.HandOut; !h.Claims || h.Inbox != "" || !h.Doubt || !h.Elsewhere || h.Turn != old.HandOut.Turn+1 {
			t.Fatalf("%+v", h)
		}
		b.claim(d, "n2", queue.ClaimGranted)

		// Back to one, while the claim is out.
		w.reconfigure()
		free := w.send(`{"n":2}`)
		if word := a.hello(orders).Routes[orders]; !word.Granted || word.Claims {
			t.Fatalf("%+v", word)
		}
		a.report(a.takeOne(orders), ferry.Delivered, done())
		w.state(free, ferry.StateCompleted)
		time.Sleep(claimFor + claimBound + time.Millisecond)
		d = a.takeOne(orders)
		if h := d.HandOut; h.ID != id || h.Claims || !h.Doubt || h.Inbox != a.inbox {
			t.Fatalf("%+v", h)
		}

		// To receivers, while the worker is in its call.
		w.reconfigure(pulling)
		if got := w.receive(time.Minute); got != nil {
			t.Fatalf("while the worker may still write: %+v", got)
		}
		got := w.receive(time.Hour)
		if got == nil || got.ID != id || !got.Doubt {
			t.Fatalf("%+v", got)
		}
		a.tell(a.receipt(d, ferry.Delivered, done()))
		w.state(id, ferry.StateCompleted)
		w.balanced()
	})
}
