package broker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/queue/memqueue"
)

// outliving runs a test on a queue that runs on while the broker is away.
func outliving(t *testing.T, test func(t *testing.T, w *world), change ...func(*Options)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, mem: memqueue.New(memqueue.Options{Lock: time.Minute, Outlives: true})}
		w.start(change...)
		defer func() {
			for _, h := range w.hands {
				h.close()
			}
			w.stop()
		}()
		test(t, w)
	})
}

// heard says hello for the orders, having heard of a binding.
func (h *hand) heard(no uint64) queue.RouteWelcome {
	h.w.t.Helper()
	hello := queue.Hello{Worker: h.name, Inbox: h.inbox, Version: "test", Routes: []queue.RouteHello{{Name: orders, Bound: 90 * time.Second, Heard: no}}}
	welcome, err := h.q.Hello(h.w.t.Context(), hello)
	if err != nil {
		h.w.t.Fatalf("Hello: %v", err)
	}
	return welcome.Routes[orders]
}

func (w *world) ordersInfo() ferry.RouteInfo {
	w.t.Helper()
	info, err := w.b.routeInfo(orders)
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

func (w *world) bind(worker string, gone bool, note string) error {
	_, err := w.b.BindRoute(w.t.Context(), orders, worker, gone, note, "ann")
	return err
}

func TestAWordIsGoodForLongOnAQueueThatRunsOn(t *testing.T) {
	outliving(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		r := h.heard(0)
		if !r.Granted || r.Good != ferry.DefaultWorkAway || r.Binding != 1 || !h.hello(orders).Outlives {
			t.Fatalf("the word: %+v", r)
		}
		// Written down in advance: the hellos of the next hours write nothing.
		until := w.b.ledger.Now().Add(ferry.DefaultWorkAway * 5 / 4)
		binding := func() time.Time {
			t.Helper()
			info, err := w.b.ledger.Route(orders)
			if err != nil {
				t.Fatal(err)
			}
			return info.Binding.Until
		}
		if got := binding(); !got.Equal(until) {
			t.Fatalf("noted until %s, want %s", got, until)
		}
		time.Sleep(ferry.DefaultWorkAway / 4)
		if h.heard(1); !binding().Equal(until) {
			t.Errorf("written again: %s", binding())
		}
		time.Sleep(time.Second)
		if h.heard(1); !binding().Equal(until.Add(ferry.DefaultWorkAway/4 + time.Second)) {
			t.Errorf("not written again: %s", binding())
		}
	})
	t.Run("as the route says", func(t *testing.T) {
		outliving(t, func(t *testing.T, w *world) {
			if r := w.worker("one", orders).heard(0); r.Good != time.Hour {
				t.Errorf("%+v", r)
			}
		}, func(o *Options) { o.Routes[0].WorkAway = time.Hour })
	})
	t.Run("short, as the route says", func(t *testing.T) {
		outliving(t, func(t *testing.T, w *world) {
			if r := w.worker("one", orders).heard(0); !r.Granted || r.Good != 0 {
				t.Errorf("%+v", r)
			}
		}, func(o *Options) { o.Routes[0].WorkAway = ferry.MinWorkAway })
	})
	t.Run("on a queue that ends with the broker", func(t *testing.T) {
		bubble(t, func(t *testing.T, w *world) {
			if r := w.worker("one", orders).heard(0); !r.Granted || r.Good != 0 || r.Binding != 1 {
				t.Errorf("%+v", r)
			}
		})
	})
	t.Run("not where turns are claimed", func(t *testing.T) {
		outliving(t, func(t *testing.T, w *world) {
			if r := w.worker("one", orders).heard(0); !r.Claims || r.Good != 0 {
				t.Errorf("%+v", r)
			}
		}, func(o *Options) { o.Routes[0].Several = true })
	})
}

// The old worker hears, and says so: the new one waits for its calls only.
func TestTheOldWorkerSaysThatItHasHeard(t *testing.T) {
	outliving(t, func(t *testing.T, w *world) {
		one, two := w.worker("one", orders), w.worker("two", orders)
		one.heard(0)
		two.heard(0)
		id := w.send(`{}`)
		one.takeOne(orders)
		if err := w.bind("two", false, "moved"); err != nil {
			t.Fatal(err)
		}
		if info := w.ordersInfo(); len(info.Leaving) != 1 || info.Leaving[0].Worker != "one" || info.Leaving[0].Stopped || info.Leaving[0].Messages != 1 {
			t.Fatalf("leaving %+v", info.Leaving)
		}
		r := one.heard(1)
		if r.Granted || r.Binding != 2 {
			t.Fatalf("the old one: %+v", r)
		}
		if info := w.ordersInfo(); info.Leaving[0].Stopped {
			t.Fatal("it has not heard when it asked")
		}
		heard := time.Now()
		one.heard(2)
		if info := w.ordersInfo(); !info.Leaving[0].Stopped || !info.Leaving[0].Calm.Equal(heard.Add(90*time.Second)) {
			t.Fatalf("leaving %+v", info.Leaving)
		}
		time.Sleep(89 * time.Second)
		if got := two.take(orders, 1); len(got) != 0 {
			t.Fatalf("too early: %+v", got[0].HandOut)
		}
		time.Sleep(2 * time.Second)
		if d := two.takeOne(orders); d.HandOut.ID != id || d.HandOut.Binding != 2 || !d.HandOut.Elsewhere {
			t.Fatalf("%+v", d.HandOut)
		}
		if info := w.ordersInfo(); len(info.Leaving) != 0 {
			t.Errorf("leaving %+v", info.Leaving)
		}
	})
}

// A worker that is stopped in good order, to be moved to another machine.
func TestAWorkerThatSaysGoodbyeIsNotWaitedFor(t *testing.T) {
	outliving(t, func(t *testing.T, w *world) {
		one, two := w.worker("one", orders), w.worker("two", orders)
		hello := func(run string, leaving bool) {
			t.Helper()
			h := queue.Hello{Worker: "one", Inbox: one.inbox, Run: run, Leaving: leaving}
			if !leaving {
				h.Routes = []queue.RouteHello{{Name: orders, Bound: 90 * time.Second}}
			}
			if welcome, err := one.q.Hello(t.Context(), h); err != nil || !leaving && welcome.Routes[orders].Good == 0 {
				t.Fatalf("%+v, %v", welcome, err)
			}
		}
		hello("first", false)
		hello("second", false) // it was started again
		hello("first", true)   // late
		two.heard(0)
		id := w.send(`{}`)
		if err := one.takeOne(orders).Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		hello("second", true)
		if err := w.bind("two", false, "moved"); err != nil {
			t.Fatal(err)
		}
		if info := w.ordersInfo(); len(info.Leaving) != 0 {
			t.Fatalf("leaving %+v", info.Leaving)
		}
		time.Sleep(91 * time.Second)
		for _, d := range two.take(orders, 10) {
			if d.HandOut.Binding == 2 && d.HandOut.ID == id {
				return
			}
		}
		t.Fatal("it is not handed out to the new one")
	})
}

// The old worker is silent: its word is waited for, also over restarts, unless
// somebody knows that it is gone.
func TestASilentWorkerIsWaitedFor(t *testing.T) {
	outliving(t, func(t *testing.T, w *world) {
		one, two := w.worker("one", orders), w.worker("two", orders)
		one.heard(0)
		first := w.send(`{}`)
		one.takeOne(orders)
		time.Sleep(10 * time.Minute)
		two.heard(0)
		if err := w.bind("two", false, ""); err != nil {
			t.Fatal(err)
		}
		w.restart()
		two.heard(0)
		fresh := w.send(`{}`)
		if d := two.takeOne(orders); d.HandOut.ID != fresh { // what the old one never had
			t.Fatalf("%+v", d.HandOut)
		}
		time.Sleep(20 * time.Hour)
		w.state(first, ferry.StateAccepted)
		s, err := w.b.Status(t.Context())
		if err != nil || len(s.Problems) == 0 || !strings.Contains(strings.Join(s.Problems, "\n"), "1 messages of route orders wait for worker one") {
			t.Errorf("problems %q, %v", s.Problems, err)
		}
		if err := w.bind("two", true, ""); ferry.CodeOf(err) != ferry.CodeNoteRequired {
			t.Errorf("without a note: %v", err)
		}
		two.heard(0)
		if err := w.bind("two", true, "its machine burnt down"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(91 * time.Second)
		if got := two.take(orders, 10); len(got) == 0 || got[len(got)-1].HandOut.ID != first {
			t.Fatalf("after it is gone: %d", len(got))
		}
		audit, err := w.b.Audit(t.Context(), 0, time.Time{}, 100)
		if err != nil || audit[len(audit)-1].Act != "workers gone" || audit[len(audit)-1].Note != "its machine burnt down" {
			t.Errorf("audit %+v, %v", audit, err)
		}
	})
}

func TestWhoIsHeardIsNotGone(t *testing.T) {
	outliving(t, func(t *testing.T, w *world) {
		one, two := w.worker("one", orders), w.worker("two", orders)
		one.heard(0)
		two.heard(0)
		w.send(`{}`)
		one.takeOne(orders)
		if err := w.bind("two", true, "off, I think"); ferry.CodeOf(err) != ferry.CodeConflict || !strings.Contains(err.Error(), "not gone") {
			t.Fatalf("bound: %v", err)
		}
		if info := w.ordersInfo(); info.Worker != "one" || len(info.Leaving) != 0 {
			t.Fatalf("%+v", info)
		}
		// The same name with another inbox: the old inbox is heard no more.
		if err := w.bind("two", false, ""); err != nil {
			t.Fatal(err)
		}
		one.inbox = "a-new-one"
		one.heard(0)
		if err := w.bind("two", true, "the disk of one died"); err != nil {
			t.Fatal(err)
		}
		if info := w.ordersInfo(); !info.Leaving[0].Stopped {
			t.Errorf("%+v", info.Leaving)
		}
	})
}

// A worker that was revoked learns whose its routes are, and that it has heard
// counts, where the queue still lets it in.
func TestARevokedWorkerIsHeardOut(t *testing.T) {
	outliving(t, func(t *testing.T, w *world) {
		one, two := w.worker("one", orders), w.worker("two", orders)
		one.heard(0)
		two.heard(0)
		w.send(`{}`)
		one.takeOne(orders)
		w.b.transport = elsewhere{w.b.transport.(memTransport)}
		if _, err := w.b.RevokeWorker(t.Context(), "one", "", "ann"); err != nil {
			t.Fatal(err)
		}
		if r := one.heard(1); r.Granted || r.Binding != 1 || r.Why == "" {
			t.Errorf("after it was revoked: %+v", r)
		}
		if err := w.bind("two", false, ""); err != nil {
			t.Fatal(err)
		}
		if r := one.heard(1); r.Granted || r.Binding != 2 {
			t.Errorf("after the route was bound: %+v", r)
		}
		one.heard(2)
		if info := w.ordersInfo(); !info.Leaving[0].Stopped {
			t.Errorf("%+v", info.Leaving)
		}
	})
}

// Receipts that came while the broker was away are heard before anything is
// handed out: else all of it would travel once more.
func TestReceiptsFromBeforeTheStartComeFirst(t *testing.T) {
	outliving(t, func(t *testing.T, w *world) {
		one := w.worker("one", orders)
		one.heard(0)
		done1, open := w.send(`{"n":1}`), w.send(`{"n":2}`)
		deliveries := one.take(orders, 10)
		w.stop()
		one.tell(one.receipt(deliveries[0], ferry.Delivered, done()))
		if err := deliveries[0].Complete(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.start()
		one.heard(1)
		time.Sleep(5 * time.Second)
		w.state(done1, ferry.StateCompleted)
		if d := one.takeOne(orders); d.HandOut.ID != open {
			t.Errorf("handed out %+v", d.HandOut)
		}
		if p, err := w.b.queue.Progress(t.Context(), orders); err != nil || p.Last != 3 {
			t.Errorf("published up to %d, %v: what has ended travelled once more", p.Last, err)
		}
	})
}

// What a worker calls its inbox and its run is kept: it has a limit.
func TestNamesInHellosAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		one := w.worker("one", orders)
		long := strings.Repeat("x", 129)
		for name, h := range map[string]queue.Hello{"inbox": {Worker: "one", Inbox: long}, "run": {Worker: "one", Inbox: "i", Run: long}} {
			h.Routes = []queue.RouteHello{{Name: orders}}
			if _, err := one.q.Hello(t.Context(), h); err == nil {
				t.Errorf("a long name of the %s was taken", name)
			}
		}
		if info := w.ordersInfo(); info.Worker != "" {
			t.Errorf("bound to %s", info.Worker)
		}
	})
}
