package broker

import (
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/queue"
)

// The clock of a bubble begins at midnight UTC of 1 January 2000, a Saturday.

// fromOne holds the first route from one to two at night.
func fromOne(o *Options) {
	o.Routes[0].Windows = []ferry.Window{{Name: "month-end", Cron: "0 1 * * *", For: time.Hour}}
}

func at(hour, minute, second int) time.Time {
	return time.Date(2000, 1, 1, hour, minute, second, 0, time.UTC)
}

func sleepUntil(t time.Time) { time.Sleep(time.Until(t)) }

func living(d time.Duration) func(*ferry.Message) {
	return func(m *ferry.Message) { m.TimeToLive = d }
}

func TestAWindowHoldsTheRoute(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		if word := h.hello(orders).Routes[orders]; word.Paused || word.Hold == nil || word.Hold.In != time.Hour || word.Hold.For != time.Hour {
			t.Fatalf("the word before the window: %+v", word)
		}
		if info := w.route(orders); info.NextWindow == nil || !info.NextWindow.From.Equal(at(1, 0, 0)) || info.Stopping != nil {
			t.Errorf("before the window: %+v", info)
		}
		sleepUntil(at(0, 59, 59))
		before := w.send(`1`)
		h.report(h.takeOne(orders), ferry.Delivered, done())
		w.state(before, ferry.StateCompleted)

		sleepUntil(at(1, 0, 0))
		id := w.send(`2`)
		if got := h.take(orders, 1); len(got) != 0 {
			t.Fatal("handed out at the begin of the window")
		}
		if word := h.hello(orders).Routes[orders]; !word.Paused || !word.PausedAt.Equal(at(1, 0, 0)) || word.Hold.In != 0 || word.Hold.For > time.Hour {
			t.Errorf("the word in the window: %+v, %+v", word, word.Hold)
		}
		info := w.route(orders)
		if info.State != ferry.RouteWindow || info.Conditions[0].Reason != "month-end" || !info.Conditions[0].Until.Equal(at(2, 0, 0)) {
			t.Errorf("in the window: %+v", info)
		}
		if e := w.message(id); e.WaitingFor.Reason != ferry.WaitsForWindow || e.WaitingFor.Detail != "month-end" || !e.WaitingFor.Until.Equal(at(2, 0, 0)) {
			t.Errorf("waiting for %+v", e.WaitingFor)
		}
		s, err := w.b.Status(t.Context())
		if err != nil || len(s.Problems) != 0 {
			t.Errorf("a window is a problem: %q, %v", s.Problems, err)
		}
		if m := w.metricsText(); !strings.Contains(m, `ferry_route_condition{condition="window",route="orders"} 1`) {
			t.Error("the metrics do not tell of the window")
		}
		sleepUntil(at(1, 59, 59))
		h.hello(orders)
		if got := h.take(orders, 1); len(got) != 0 {
			t.Fatal("handed out before the end of the window")
		}
		sleepUntil(at(2, 0, 0))
		if d := h.takeOne(orders); d.HandOut.ID != id {
			t.Fatalf("handed out: %s", d.HandOut.ID)
		}
		if word := h.hello(orders).Routes[orders]; word.Paused || word.Held != time.Hour || word.Hold == nil || word.Hold.In < 22*time.Hour {
			t.Errorf("the word after the window: %+v, %+v", word, word.Hold)
		}
	}, fromOne)
}

// A worker that is away in a window is a problem all the same.
func TestAWindowHidesNoTrouble(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		w.send(`1`)
		sleepUntil(at(1, 30, 0))
		s, err := w.b.Status(t.Context())
		if err != nil || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "noWorker") || w.route(orders).State != ferry.RouteWindow {
			t.Errorf("%q, %v", s.Problems, err)
		}
	}, fromOne)
}

// Receivers get nothing while a window holds, and what waits for them at its end.
func TestAWindowHoldsReceivers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		sleepUntil(at(0, 59, 0))
		w.send(`1`)
		got := w.receive(0)
		if got == nil {
			t.Fatal("nothing before the window")
		}
		sleepUntil(at(1, 0, 0))
		if s := w.route(orders).Stopping; s == nil || s.Done || s.Running != 1 {
			t.Errorf("a receiver has a message: %+v", s)
		}
		w.settleLock(got, ferry.LockComplete, "")
		if s := w.route(orders).Stopping; s == nil || !s.Done {
			t.Errorf("it is done: %+v", s)
		}
		id := w.send(`2`)
		if got := w.receive(10 * time.Minute); got != nil {
			t.Fatalf("received in the window: %+v", got)
		}
		if got := w.receive(time.Hour); got == nil || got.ID != id || !time.Now().Equal(at(2, 0, 0)) {
			t.Fatalf("%+v at %s", got, time.Now())
		}
	}, pulling, fromOne)
}

// The time to live stands still in a window and in a pause, also while the broker
// is away, and where the two overlap it stands still once.
func TestClocksStandStill(t *testing.T) {
	days(t)
	pause := func(w *world, until time.Time) {
		if _, err := w.b.Pause(w.t.Context(), orders, "month end", until, "ann"); err != nil {
			w.t.Fatal(err)
		}
	}
	resume := func(w *world) {
		if _, err := w.b.Resume(w.t.Context(), orders, "", "ann"); err != nil {
			w.t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		during func(w *world) // from half past midnight on
		change []func(*Options)
		held   time.Duration
	}{
		"nothing":                     {func(*world) {}, nil, 0},
		"a pause":                     {func(w *world) { pause(w, time.Time{}); time.Sleep(3 * time.Hour); resume(w) }, nil, 3 * time.Hour},
		"a pause that ends by itself": {func(w *world) { pause(w, at(2, 0, 0)) }, nil, 90 * time.Minute},
		"two pauses": {func(w *world) {
			pause(w, time.Time{})
			time.Sleep(time.Hour)
			resume(w)
			time.Sleep(10 * time.Minute)
			pause(w, time.Time{})
			time.Sleep(time.Hour)
			resume(w)
		}, nil, 2 * time.Hour},
		"paused anew, with another end": {func(w *world) {
			pause(w, time.Time{})
			time.Sleep(time.Hour)
			pause(w, time.Now().Add(time.Hour))
		}, nil, 2 * time.Hour},
		"a window":                    {func(*world) {}, []func(*Options){fromOne}, time.Hour},
		"a pause into a window":       {func(w *world) { time.Sleep(15 * time.Minute); pause(w, at(1, 30, 0)) }, []func(*Options){fromOne}, 75 * time.Minute},
		"a pause out of a window":     {func(w *world) { sleepUntil(at(1, 30, 0)); pause(w, at(3, 0, 0)) }, []func(*Options){fromOne}, 2 * time.Hour},
		"a window within a pause":     {func(w *world) { pause(w, at(3, 30, 0)) }, []func(*Options){fromOne}, 3 * time.Hour},
		"resumed within a window":     {func(w *world) { pause(w, time.Time{}); sleepUntil(at(1, 20, 0)); resume(w) }, []func(*Options){fromOne}, 90 * time.Minute},
		"the broker away in a pause":  {func(w *world) { pause(w, at(4, 30, 0)); w.stop(); sleepUntil(at(4, 0, 0)); w.start() }, nil, 4 * time.Hour},
		"away beyond a pause":         {func(w *world) { pause(w, at(4, 30, 0)); w.stop(); sleepUntil(at(5, 0, 0)); w.start() }, nil, 4 * time.Hour},
		"away over a window":          {func(w *world) { w.stop(); sleepUntil(at(3, 0, 0)); w.start(fromOne) }, []func(*Options){fromOne}, time.Hour},
		"away from within a window":   {func(w *world) { sleepUntil(at(1, 30, 0)); w.stop(); sleepUntil(at(3, 0, 0)); w.start(fromOne) }, []func(*Options){fromOne}, time.Hour},
		"away, and the window is out": {func(w *world) { sleepUntil(at(1, 30, 0)); w.stop(); sleepUntil(at(1, 40, 0)); w.start() }, []func(*Options){fromOne}, 40 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				const life = 6 * time.Hour
				id := w.send(`1`, living(life))
				other := w.send(`2`, living(life), func(m *ferry.Message) { m.Route = notes })
				sleepUntil(at(0, 30, 0))
				c.during(w)
				sleepUntil(at(6, 0, 0).Add(-time.Second))
				end := at(6, 0, 0).Add(c.held)
				if got := w.message(id).ExpiresAt; !got.Equal(end) {
					t.Fatalf("it expires at %s, want %s", got, end)
				}
				later := w.send(`3`, living(life))
				sleepUntil(end.Add(-time.Second))
				w.state(id, ferry.StateAccepted)
				time.Sleep(overdueEvery + time.Second)
				dead := w.state(id, ferry.StateDeadLettered)
				if dead.DeadLetter.Reason != ferry.ReasonExpired || !dead.ExpiresAt.Equal(end) || !strings.Contains(dead.DeadLetter.Description, end.Format(time.RFC3339)) {
					t.Errorf("%+v, expired at %s", dead.DeadLetter, dead.ExpiresAt)
				}
				w.state(other, ferry.StateDeadLettered)
				// What was accepted afterwards has nothing of it.
				if got := w.message(later).ExpiresAt; !got.Equal(at(12, 0, 0).Add(-time.Second)) {
					t.Errorf("a later one expires at %s", got)
				}
				w.balanced()
			}, c.change...)
		})
	}
}

func expired() ferry.Next {
	return ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonExpired}
}

// A worker that goes by what it was told before a pause takes a message for expired
// whose clock stood still: it gets its next turn, and no attempt is spent.
func TestAStaleExpiryIsNoEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send(`1`, living(time.Hour))
		d := h.takeOne(orders)
		if d.HandOut.Held == 0 || !d.HandOut.ExpiresAt.Equal(at(1, 0, 0)) {
			t.Fatalf("handed out: %+v", d.HandOut)
		}
		if _, err := w.b.Pause(t.Context(), orders, "month end", at(2, 0, 0), "ann"); err != nil {
			t.Fatal(err)
		}
		sleepUntil(at(2, 0, 1))
		h.hello(orders)
		noCall := func(rc *ferry.Receipt) { rc.Attempts = nil }
		h.report(d, ferry.Expired, expired(), noCall)
		e := w.state(id, ferry.StateQueued)
		again := h.takeOne(orders)
		if again.HandOut.Turn != d.HandOut.Turn+1 || again.HandOut.Spent != 0 || !again.HandOut.ExpiresAt.Equal(at(3, 0, 0)) || e.AttemptsTotal != 0 {
			t.Fatalf("the next turn: %+v", again.HandOut)
		}
		// It was told as things are, and its clock goes otherwise: it is believed.
		h.report(again, ferry.Expired, expired(), noCall)
		if e := w.state(id, ferry.StateDeadLettered); e.DeadLetter.Reason != ferry.ReasonExpired {
			t.Errorf("%+v", e.DeadLetter)
		}
		w.balanced()
	})
}

// A pause says what still runs and who has not heard of it, and says that nothing
// does only when nothing can begin any more.
func TestAPauseIsConfirmed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		says := func(inFlight int, stopped time.Time) queue.RouteWelcome {
			t.Helper()
			welcome, err := h.q.Hello(t.Context(), queue.Hello{Worker: h.name, Inbox: h.inbox, Routes: []queue.RouteHello{
				{Name: orders, Bound: 90 * time.Second, InFlight: inFlight, Stopped: stopped},
			}})
			if err != nil {
				t.Fatal(err)
			}
			return welcome.Routes[orders]
		}
		says(3, time.Time{})
		info, err := w.b.Pause(t.Context(), orders, "month end", time.Time{}, "ann")
		if err != nil {
			t.Fatal(err)
		}
		s := info.Stopping
		if s == nil || s.Done || s.Running != 3 || len(s.Workers) != 1 || s.Workers[0].Heard || !s.Workers[0].StartsUntil.Equal(time.Now().Add(queue.WordGood)) {
			t.Fatalf("before the worker has heard: %+v", s)
		}
		if c := info.Conditions[0]; c.By != "ann" || c.Reason != "month end" {
			t.Errorf("who paused it: %+v", c)
		}
		// What it says while it has not heard yet proves nothing.
		word := says(0, time.Time{})
		if s := w.route(orders).Stopping; s.Done || s.Running != 0 {
			t.Errorf("it says that nothing runs, and has not heard: %+v", s)
		}
		says(2, word.PausedAt)
		if s := w.route(orders).Stopping; s.Done || s.Running != 2 || !s.Workers[0].Heard {
			t.Errorf("it has heard: %+v", s)
		}
		rest := make(chan ferry.RouteInfo)
		go func() {
			info, err := w.b.AwaitRest(t.Context(), orders, time.Minute)
			if err != nil {
				t.Error(err)
			}
			rest <- info
		}()
		time.Sleep(10 * time.Second)
		says(0, word.PausedAt)
		if info := <-rest; !info.Stopping.Done || time.Since(info.Conditions[0].Since) > 11*time.Second {
			t.Errorf("nothing runs: %+v", info.Stopping)
		}
		if problems := w.problems(); len(problems) != 1 || !strings.Contains(problems[0], "month end, by ann") {
			t.Errorf("status: %q", problems)
		}
		// Another pause is another matter.
		if _, err := w.b.Resume(t.Context(), orders, "", "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if info, err := w.b.Pause(t.Context(), orders, "again", time.Time{}, "ann"); err != nil || info.Stopping.Done {
			t.Errorf("paused again: %+v, %v", info.Stopping, err)
		}
	})
}

func (w *world) problems() []string {
	w.t.Helper()
	s, err := w.b.Status(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Problems
}

// The end of a pause is no word of a person: a worker whose credentials are refused
// goes on waiting, and what an operator set in the same moment stays.
func TestAPauseThatEndsIsNoResume(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		pause := func(until time.Time) {
			t.Helper()
			if _, err := w.b.Pause(t.Context(), orders, "month end", until, "ann"); err != nil {
				t.Fatal(err)
			}
		}
		pause(at(1, 0, 0))
		sleepUntil(at(1, 0, 1))
		if info := w.route(orders); info.Stopping != nil {
			t.Fatalf("it goes on by itself: %+v", info)
		}
		if word := h.hello(orders).Routes[orders]; word.Paused || !word.ResumedAt.IsZero() {
			t.Errorf("nobody resumed it: %+v", word)
		}
		pause(at(2, 0, 0))
		sleepUntil(at(1, 59, 59))
		pause(time.Time{})
		sleepUntil(at(3, 0, 0))
		if info := w.route(orders); info.State != ferry.RoutePaused {
			t.Errorf("paused anew until somebody resumes: %+v", info)
		}
		if _, err := w.b.Resume(t.Context(), orders, "", "ann"); err != nil {
			t.Fatal(err)
		}
		if word := h.hello(orders).Routes[orders]; !word.ResumedAt.Equal(at(3, 0, 0)) {
			t.Errorf("somebody resumed it: %+v", word)
		}
	})
}

// Of a worker of an older version, which does not say what it has heard, and of one
// that is silent, it is known when nothing can begin any more.
func TestAPauseThatNobodyConfirms(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		pause := func() {
			if _, err := w.b.Pause(t.Context(), orders, "month end", time.Time{}, "ann"); err != nil {
				t.Fatal(err)
			}
		}
		pause()
		for range 2 {
			time.Sleep(10 * time.Second)
			h.hello(orders)
			if s := w.route(orders).Stopping; s.Done {
				t.Errorf("its word from before is good until now: %+v", s)
			}
		}
		time.Sleep(time.Second)
		h.hello(orders)
		if s := w.route(orders).Stopping; !s.Done {
			t.Errorf("no word from before the pause is good any more: %+v", s)
		}
		if _, err := w.b.Resume(t.Context(), orders, "", "ann"); err != nil {
			t.Fatal(err)
		}
		h.hello(orders)
		pause()
		time.Sleep(89 * time.Second)
		if s := w.route(orders).Stopping; s.Done {
			t.Errorf("what the silent one may have begun may still run: %+v", s)
		}
		time.Sleep(2 * time.Second)
		if s := w.route(orders).Stopping; !s.Done || !s.Workers[0].Silent {
			t.Errorf("whatever the silent one began is over: %+v", s)
		}
	})
}

// A worker that dies after it has heard of a pause tells of its calls for the last
// time: they end all the same, and the pause is confirmed.
func TestAPauseWhoseWorkerDies(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		says := func(inFlight int, stopped time.Time) queue.RouteWelcome {
			t.Helper()
			welcome, err := h.q.Hello(t.Context(), queue.Hello{Worker: h.name, Inbox: h.inbox, Routes: []queue.RouteHello{
				{Name: orders, Bound: 90 * time.Second, InFlight: inFlight, Stopped: stopped},
			}})
			if err != nil {
				t.Fatal(err)
			}
			return welcome.Routes[orders]
		}
		says(3, time.Time{})
		if _, err := w.b.Pause(t.Context(), orders, "month end", time.Time{}, "ann"); err != nil {
			t.Fatal(err)
		}
		since := says(3, time.Time{}).PausedAt
		for name, stopped := range map[string]time.Time{"it said that it has heard": since, "an older one, that does not say it": {}} {
			sleepUntil(time.Now().Add(queue.WordGood + time.Second))
			says(3, stopped)
			time.Sleep(70 * time.Second) // as long as the destination may write on, after the word
			if s := w.route(orders).Stopping; s.Done || s.Running != 3 || !s.Workers[0].Heard || s.Workers[0].Silent {
				t.Errorf("%s: what it began may still run: %+v", name, s)
			}
			time.Sleep(2 * time.Second)
			if s := w.route(orders).Stopping; !s.Done || s.Running != 0 || !s.Workers[0].Silent {
				t.Errorf("%s: whatever it began is over: %+v", name, s)
			}
		}
	})
}

// Where turns are claimed, none is granted any more from the pause on.
func TestNothingIsClaimedWhileHeld(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		a, _ := two(w)
		id := w.send(`1`)
		d := a.takeOne(orders)
		if _, err := w.b.Pause(t.Context(), orders, "month end", time.Time{}, "ann"); err != nil {
			t.Fatal(err)
		}
		a.claim(d, "n1", queue.ClaimRefused)
		if err := d.Complete(t.Context()); err != nil { // as a worker does
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, err := w.b.Resume(t.Context(), orders, "", "ann"); err != nil {
			t.Fatal(err)
		}
		again := a.takeOne(orders)
		if again.HandOut.ID != id || again.HandOut.Turn != d.HandOut.Turn {
			t.Fatalf("handed out after the pause: %+v", again.HandOut)
		}
		a.claim(again, "n2", queue.ClaimGranted)
		if s := w.message(id).WaitingFor; s.Reason != ferry.WaitsForDelivery || s.Worker != a.name || s.Until == nil {
			t.Errorf("waiting for %+v", s)
		}
	}, several)
}
