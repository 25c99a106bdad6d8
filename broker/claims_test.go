package broker

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// several has the first route delivered by several workers.
func several(o *Options) { o.Routes[0].Several = true }

// two are the workers of a route that several deliver.
func two(w *world) (a, b *hand) {
	w.t.Helper()
	a, b = w.worker("one", orders), w.worker("two", orders)
	for _, h := range []*hand{a, b} {
		if word := h.hello(orders).Routes[orders]; !word.Granted || !word.Claims {
			w.t.Fatalf("worker %s is told %+v", h.name, word)
		}
	}
	return a, b
}

const (
	claimFor   = 35 * time.Second
	claimBound = time.Minute
)

func (h *hand) ask(d *queue.Delivery, nonce string) (queue.ClaimAnswer, error) {
	return h.q.Claim(h.w.t.Context(), queue.ClaimRequest{
		ID: d.HandOut.ID, Route: d.HandOut.Route, Turn: d.HandOut.Turn, Worker: h.name, Inbox: h.inbox,
		Nonce: nonce, For: claimFor, Bound: claimBound,
	})
}

// claim wants one answer to a claim.
func (h *hand) claim(d *queue.Delivery, nonce string, want queue.ClaimState) queue.ClaimAnswer {
	h.w.t.Helper()
	a, err := h.ask(d, nonce)
	if err != nil || a.State != want {
		h.w.t.Fatalf("worker %s claims: %+v, %v, want %s", h.name, a, err, want)
	}
	return a
}

func TestSeveralHandOutsNameNoInbox(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		id := w.send(`{}`)
		synctest.Wait()
		if e := w.message(id); e.State != ferry.StateAccepted || e.WaitingFor == nil || e.WaitingFor.Reason != "noWorker" {
			t.Fatalf("before anybody was heard: %s, waiting for %+v", e.State, e.WaitingFor)
		}
		a, b := two(w)
		d := a.takeOne(orders)
		if d.HandOut.Inbox != "" || !d.HandOut.Claims || d.HandOut.TakenOver != 0 || d.HandOut.Doubt {
			t.Errorf("handed out: %+v", d.HandOut)
		}
		a.claim(d, "n1", queue.ClaimGranted)
		time.Sleep(5 * time.Second)
		if again := a.claim(d, "n1", queue.ClaimGranted); again.For != claimFor-5*time.Second {
			t.Errorf("the same delivery asks again: %s are left", again.For)
		}
		b.claim(d, "n2", queue.ClaimHeld)
		a.claim(d, "n3", queue.ClaimHeld)
		a.report(d, ferry.Delivered, done())
		w.state(id, ferry.StateCompleted)
		b.claim(d, "n2", queue.ClaimRefused)
		w.balanced()
	}, several)
}

// The first worker dies after its claim: the other takes over when its call has
// surely stopped writing, and what the first says late counts only when the
// destination has it.
func TestTakeOverAfterADeath(t *testing.T) {
	for name, c := range map[string]struct {
		late  ferry.VerdictKind
		next  ferry.Next
		state ferry.State
	}{
		"late: it has it":    {ferry.Delivered, done(), ferry.StateCompleted},
		"late: it failed":    {ferry.Failed, retryAfter(0), ferry.StateQueued},
		"late: it is wrong":  {ferry.Rejected, rejected(), ferry.StateQueued},
		"late: not tried":    {ferry.NotTried, retryAfter(0), ferry.StateQueued},
		"late: never a word": {"", ferry.Next{}, ferry.StateQueued},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				a, b := two(w)
				id := w.send(`{}`)
				lost := a.takeOne(orders)
				a.claim(lost, "n1", queue.ClaimGranted)
				began := time.Now()
				w.mem.ExpireLocks()
				again := b.takeOne(orders) // the lock ended: it comes to the other
				b.claim(again, "n2", queue.ClaimHeld)
				if err := again.Complete(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(claimFor + claimBound - 2*time.Second)
				if got := b.take(orders, 10); len(got) != 0 {
					t.Fatalf("taken over %s after the claim", time.Since(began))
				}
				time.Sleep(4 * time.Second)
				d := b.takeOne(orders)
				if h := d.HandOut; h.Turn != lost.HandOut.Turn+1 || !h.Doubt || !h.Elsewhere || h.TakenOver != 1 || h.NotBefore.Before(began.Add(claimFor+claimBound)) {
					t.Fatalf("taken over as %+v", h)
				}
				b.claim(d, "n3", queue.ClaimGranted)
				if c.late != "" {
					a.tell(a.receipt(lost, c.late, c.next))
				}
				w.state(id, c.state)
				b.report(d, ferry.Duplicate, done())
				e := w.state(id, ferry.StateCompleted)
				if e.Reference != "DOC-1" {
					t.Errorf("reference %q", e.Reference)
				}
				w.balanced()
			}, several)
		})
	}
}

// The holder's last word is heard for a little while after its claim.
func TestTheHolderIsHeardUntilItIsTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := two(w)
		id := w.send(`{}`)
		d := a.takeOne(orders)
		b.tell(b.receipt(d, ferry.Rejected, rejected())) // it holds nothing
		w.state(id, ferry.StateQueued)
		a.claim(d, "n1", queue.ClaimGranted)
		b.tell(b.receipt(d, ferry.Rejected, rejected()))
		w.state(id, ferry.StateQueued)
		time.Sleep(claimFor + claimBound - time.Second)
		a.report(d, ferry.Rejected, rejected())
		w.state(id, ferry.StateDeadLettered)
		w.balanced()
	}, several)
}

func TestActsOnARouteWithClaims(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, _ := two(w)
		claimed, free := w.send(`{"n":1}`), w.send(`{"n":2}`)
		got := a.take(orders, 10)
		if len(got) != 2 {
			t.Fatalf("%d messages", len(got))
		}
		a.claim(got[0], "n1", queue.ClaimGranted)
		if _, err := w.b.Discard(t.Context(), claimed, "no", "ann"); ferry.CodeOf(err) != ferry.CodeInDelivery {
			t.Errorf("discard while claimed: %v", err)
		}
		if _, err := w.b.Discard(t.Context(), free, "no", "ann"); err != nil {
			t.Errorf("discard while in the queue, unclaimed: %v", err)
		}
		a.claim(got[1], "n2", queue.ClaimRefused)
		w.state(free, ferry.StateDiscarded)
		a.report(got[0], ferry.Delivered, done())
		w.state(claimed, ferry.StateCompleted)
		w.balanced()
	}, several)
}

func TestOrderWithTwoWorkers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := two(w)
		keyed := func(m *ferry.Message) { m.OrderingKey = "k" }
		first, second := w.send(`{"n":1}`, keyed), w.send(`{"n":2}`, keyed)
		d := a.takeOne(orders)
		a.claim(d, "n1", queue.ClaimGranted)
		if got := b.take(orders, 10); d.HandOut.ID != first || len(got) != 0 {
			t.Fatalf("%d messages beside the head", len(got))
		}
		time.Sleep(claimFor + claimBound + 2*time.Second) // a is gone
		d = b.takeOne(orders)
		if d.HandOut.ID != first {
			t.Fatal("the second came before the first ended")
		}
		b.claim(d, "n2", queue.ClaimGranted)
		b.report(d, ferry.Delivered, done())
		next := a.takeOne(orders)
		if next.HandOut.ID != second {
			t.Fatalf("%s came", next.HandOut.ID)
		}
		a.claim(next, "n3", queue.ClaimGranted)
		a.report(next, ferry.Delivered, done())
		w.state(second, ferry.StateCompleted)
	}, several)
}

// A restart keeps claims, and does not hand out what is claimed.
func TestRestartWithOpenClaims(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := two(w)
		heard, silent := w.send(`{"n":1}`), w.send(`{"n":2}`)
		got := a.take(orders, 10)
		for _, d := range got {
			a.claim(d, "n-"+d.HandOut.ID.String(), queue.ClaimGranted)
		}
		w.restart(several)
		a.hello(orders)
		b.hello(orders)
		if got := b.take(orders, 10); len(got) != 0 {
			t.Fatalf("%d claimed messages were handed out again", len(got))
		}
		a.claim(got[0], "n-"+got[0].HandOut.ID.String(), queue.ClaimGranted)
		a.tell(a.receipt(got[0], ferry.Delivered, done())) // its packet went with the restart
		w.state(heard, ferry.StateCompleted)
		time.Sleep(claimFor + claimBound + 2*time.Second)
		d := b.takeOne(orders)
		if d.HandOut.ID != silent || d.HandOut.TakenOver != 1 {
			t.Fatalf("taken over: %+v", d.HandOut)
		}
		w.balanced()
	}, several)
}

func TestClaimsOfOthersAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := two(w)
		stranger := w.worker("three", notes)
		w.send(`{}`)
		d := a.takeOne(orders)
		if _, err := stranger.ask(d, "n1"); !errors.Is(err, queue.ErrUnauthorized) {
			t.Errorf("a worker of another route: %v", err)
		}
		as := *b
		as.name = a.name
		if _, err := as.ask(d, "n1"); !errors.Is(err, queue.ErrUnauthorized) {
			t.Errorf("under another's name: %v", err)
		}
		if _, err := w.b.RevokeWorker(t.Context(), "two", "", "ann"); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ask(d, "n1"); !errors.Is(err, queue.ErrUnauthorized) {
			t.Errorf("a revoked worker: %v", err)
		}
		for name, change := range map[string]func(*queue.ClaimRequest){
			"no nonce": func(r *queue.ClaimRequest) { r.Nonce = "" },
			"no inbox": func(r *queue.ClaimRequest) { r.Inbox = "" },
			"no turn":  func(r *queue.ClaimRequest) { r.Turn = 0 },
		} {
			r := queue.ClaimRequest{ID: d.HandOut.ID, Route: orders, Turn: 1, Worker: a.name, Inbox: a.inbox, Nonce: "n"}
			change(&r)
			if _, err := a.q.Claim(t.Context(), r); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		rc := a.receipt(d, ferry.Rejected, rejected())
		rc.Inbox = ""
		a.tell(rc) // without an inbox only the broker speaks
		w.state(d.HandOut.ID, ferry.StateQueued)
		a.claim(d, "n1", queue.ClaimGranted)
	}, several)
}

func TestStateOfARouteWithSeveralWorkers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, b := w.worker("one", orders), w.worker("two", orders)
		down := func(kind ferry.RouteState) []ferry.Condition {
			if kind == ferry.RouteRunning {
				return nil
			}
			return []ferry.Condition{{Type: kind, Since: time.Now(), Reason: "so it is"}}
		}
		hello := func(h *hand, kind ferry.RouteState) {
			if _, err := h.q.Hello(t.Context(), queue.Hello{
				Worker: h.name, Inbox: h.inbox, Routes: []queue.RouteHello{{Name: orders, Bound: time.Minute, Conditions: down(kind)}},
			}); err != nil {
				t.Fatal(err)
			}
		}
		goodbye := func(h *hand) {
			if _, err := h.q.Hello(t.Context(), queue.Hello{Worker: h.name, Inbox: h.inbox, Leaving: true}); err != nil {
				t.Fatal(err)
			}
		}
		want := func(state ferry.RouteState, workers string, conditions int) {
			t.Helper()
			list, err := w.b.RouteInfos(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if r.Name == orders && (r.State != state || r.Worker != workers || len(r.Conditions) != conditions || !r.Several) {
					t.Errorf("route is %s with %q, want %s with %q and %d conditions: %+v", r.State, r.Worker, state, workers, conditions, r.Conditions)
				}
			}
		}
		want(ferry.RouteNoWorker, "", 2)
		hello(a, ferry.RouteUnavailable)
		want(ferry.RouteUnavailable, "one", 2)
		hello(b, ferry.RouteRunning)
		want(ferry.RouteRunning, "one, two", 1)
		hello(b, ferry.RouteThrottled)
		want(ferry.RouteThrottled, "one, two", 2)
		hello(b, ferry.RouteUnauthorized)
		want(ferry.RouteUnavailable, "one, two", 2)
		if _, err := w.b.Pause(t.Context(), orders, "stop", time.Time{}, "ann"); err != nil {
			t.Fatal(err)
		}
		want(ferry.RoutePaused, "one, two", 3)
		if _, err := w.b.Resume(t.Context(), orders, "", "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Second)
		hello(a, ferry.RouteRunning)
		want(ferry.RouteRunning, "one", 1)
		time.Sleep(31 * time.Second)
		want(ferry.RouteNoWorker, "", 2)
		hello(a, ferry.RouteRunning)
		hello(b, ferry.RouteRunning)
		want(ferry.RouteRunning, "one, two", 0)
		goodbye(a)
		want(ferry.RouteRunning, "two", 1)
		goodbye(b)
		want(ferry.RouteNoWorker, "", 2)
		for _, c := range w.route(orders).Conditions {
			if c.Reason != "the worker was stopped" {
				t.Errorf("the reason of %s is %q", c.Worker, c.Reason)
			}
		}
		if _, err := w.b.BindRoute(t.Context(), orders, "one", false, "mine", "ann"); ferry.CodeOf(err) != ferry.CodeConflict {
			t.Errorf("bind: %v", err)
		}
	}, several)
}

// The configuration changes while messages are in workers' hands.
func TestFromOneWorkerToSeveral(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a := w.worker("one", orders)
		a.hello(orders)
		id := w.send(`{}`)
		old := a.takeOne(orders)
		w.restart(several)
		b := w.worker("two", orders)
		a.hello(orders)
		b.hello(orders)
		// The copy from before is of an earlier turn: nobody may claim it.
		a.claim(old, "n1", queue.ClaimRefused)
		if got := b.take(orders, 10); len(got) != 0 {
			t.Fatal("handed out again before the old call has stopped writing")
		}
		time.Sleep(90*time.Second + time.Millisecond) // the bound of hello
		d := b.takeOne(orders)
		if h := d.HandOut; !h.Claims || h.Inbox != "" || !h.Doubt || !h.Elsewhere || h.Turn != old.HandOut.Turn+1 || h.TakenOver != 0 {
			t.Fatalf("%+v", h)
		}
		b.claim(d, "n2", queue.ClaimGranted)
		a.tell(a.receipt(old, ferry.Failed, retryAfter(0)))
		w.state(id, ferry.StateQueued)
		b.report(d, ferry.Duplicate, done())
		w.state(id, ferry.StateCompleted)
		w.balanced()
	})
}

func TestFromSeveralWorkersToOne(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, _ := two(w)
		claimed, free := w.send(`{"n":1}`), w.send(`{"n":2}`)
		got := a.take(orders, 10)
		a.claim(got[0], "n1", queue.ClaimGranted)
		w.restart(func(*Options) {})
		if word := a.hello(orders).Routes[orders]; !word.Granted || word.Claims {
			t.Fatalf("%+v", word)
		}
		a.claim(got[1], "n2", queue.ClaimRefused) // published with claims: not any more
		d := a.takeOne(orders)
		if h := d.HandOut; h.ID != free || h.Claims || h.Inbox != a.inbox || h.Doubt {
			t.Fatalf("%+v", h)
		}
		a.report(d, ferry.Delivered, done())
		time.Sleep(claimFor + claimBound + time.Millisecond)
		d = a.takeOne(orders)
		if h := d.HandOut; h.ID != claimed || !h.Doubt || !h.Elsewhere || h.Inbox != a.inbox {
			t.Fatalf("%+v", h)
		}
		a.report(d, ferry.Duplicate, done())
		w.state(claimed, ferry.StateCompleted)
		w.balanced()
	}, several)
}
