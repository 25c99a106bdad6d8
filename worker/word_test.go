package worker

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// spoken are the hellos so far.
func (w *world) spoken() []queue.Hello {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]queue.Hello(nil), w.hellos...)
}

// away has nobody answer, or somebody again.
func (w *world) away(yes bool) { w.say(func(w *world) { w.helloFails = yes }) }

// While the word is good the worker works on without the broker; when it has
// ended it takes nothing from the queue any more.
func TestWorksOnWithoutTheBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.word = queue.RouteWelcome{Granted: true, Binding: 1, Good: time.Hour}
		w.run()
		w.away(true)
		for range 5 {
			time.Sleep(11 * time.Minute)
			h := w.handOut()
			h.Binding = 1
			w.publish(h)
			if r := w.only(); r.Verdict != ferry.Delivered {
				t.Fatalf("%+v", r)
			}
			w.wantSettled()
		}
		time.Sleep(6 * time.Minute) // now it is over
		w.publish(w.handOut())
		time.Sleep(time.Minute)
		w.wantCounts(5, 0)
		if n := w.mq.Ready(queue.MessagesOf(testRoute)); n != 1 {
			t.Errorf("%d messages lie in the queue untouched, want 1", n)
		}
		w.away(false)
		time.Sleep(helloTimeout + 2*time.Second)
		w.wantCounts(6, 0)
		w.wantSettled()
	})
}

// What says how old a word is: the machine may have slept, or its clock been set.
func TestAWordEndsByTheClockThatSaysMore(t *testing.T) {
	at := func(steady, wall time.Duration) moment {
		epoch := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
		return moment{steady: epoch.Add(steady), wall: epoch.Add(wall)}
	}
	for name, c := range map[string]struct {
		word  word
		now   moment
		holds bool
	}{
		"fresh":                      {word{named: true}, at(19*time.Second, 19*time.Second), true},
		"short, over":                {word{named: true}, at(20*time.Second, 20*time.Second), false},
		"long":                       {word{named: true, RouteWelcome: queue.RouteWelcome{Good: time.Hour}}, at(59*time.Minute, 59*time.Minute), true},
		"long, over":                 {word{named: true, RouteWelcome: queue.RouteWelcome{Good: time.Hour}}, at(time.Hour, time.Hour), false},
		"the machine slept":          {word{named: true, RouteWelcome: queue.RouteWelcome{Good: time.Hour}}, at(time.Minute, 2*time.Hour), false},
		"the clock was set back":     {word{named: true, RouteWelcome: queue.RouteWelcome{Good: time.Hour}}, at(2*time.Hour, -time.Hour), false},
		"longer than may be":         {word{named: true, RouteWelcome: queue.RouteWelcome{Good: 1000 * time.Hour}}, at(ferry.MaxWorkAway, ferry.MaxWorkAway), false},
		"the broker did not name it": {word{RouteWelcome: queue.RouteWelcome{Good: time.Hour}}, at(0, 0), false},
		"claims need the broker":     {word{named: true, RouteWelcome: queue.RouteWelcome{Good: time.Hour, Claims: true}}, at(heardLately, heardLately), false},
	} {
		c.word.Granted, c.word.asked = true, at(0, 0)
		if got := c.word.holds(c.now); got != c.holds {
			t.Errorf("%s: holds %v", name, got)
		}
		if c.word.Granted = false; c.word.holds(c.now) {
			t.Errorf("%s, not granted: it holds", name)
		}
	}
}

// That a word was heard is told at once: another inbox waits for it.
func TestAWordThatWasHeardIsTold(t *testing.T) {
	inWorld(t, func(w *world) {
		w.word = queue.RouteWelcome{Granted: true, Binding: 7, Good: time.Hour}
		w.run()
		time.Sleep(2 * time.Second)
		list := w.spoken()
		if len(list) != 2 || list[0].Routes[0].Heard != 0 || list[1].Routes[0].Heard != 7 {
			t.Fatalf("hellos %+v", list)
		}
		w.say(func(w *world) { w.word = queue.RouteWelcome{Binding: 8, Why: "bound to another"} })
		w.signal(queue.Signal{HelloAgain: true})
		time.Sleep(2 * time.Second)
		if list = w.spoken(); len(list) != 4 || list[2].Routes[0].Heard != 7 || list[3].Routes[0].Heard != 8 {
			t.Fatalf("hellos %+v", list)
		}
		// A refusal that cannot say how the route is bound takes nothing back.
		w.say(func(w *world) { w.refuse, w.word = "no such worker", queue.RouteWelcome{} })
		w.signal(queue.Signal{HelloAgain: true})
		time.Sleep(2 * helloEvery)
		if list = w.spoken(); list[len(list)-1].Routes[0].Heard != 8 {
			t.Fatalf("hellos %+v", list)
		}
	})
}

// A route that was bound to another inbox and back: what was handed out before is
// not called for, since it has a later turn.
func TestWhatAnEarlierBindingHandedOutIsNotBegun(t *testing.T) {
	inWorld(t, func(w *world) {
		w.word = queue.RouteWelcome{Granted: true, Binding: 3}
		w.run()
		earlier := w.handOut()
		earlier.Binding = 1
		w.publish(earlier)
		w.wantCounts(0, 0)
		w.wantSettled()
		// Of a later one the worker has not heard: it gives it back, and asks.
		later := w.handOut()
		later.Binding, later.PublishedAt = 5, time.Now().Add(time.Second)
		w.publish(later)
		w.wantCounts(0, 0)
		if w.settledAll() {
			t.Fatal("it was settled")
		}
		w.say(func(w *world) { w.word.Binding = 5 })
		time.Sleep(pauseRefused + time.Second)
		w.wantCounts(1, 0)
		w.wantSettled()
		// A broker that does not number its bindings.
		w.publish(w.handOut())
		w.wantCounts(2, 0)
	})
}

// A word that comes while the message waits for its slot counts, too.
func TestABindingThatEndsInTheSlotIsNoticed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.word = queue.RouteWelcome{Granted: true, Binding: 1, Good: time.Hour}
		w.change = func(r *Route) {
			w.dest = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 1, Rate: 1.0 / 60})
			r.Destination = w.dest
		}
		w.run()
		first, second := w.handOut(), w.handOut()
		first.Binding, second.Binding = 1, 1
		w.publish(first, second)
		w.wantCounts(1, 0)
		for no, granted := range []bool{false, true} { // to another, and back
			w.say(func(w *world) { w.word.Granted, w.word.Binding = granted, uint64(no+2) })
			w.signal(queue.Signal{HelloAgain: true})
			time.Sleep(5 * time.Second)
		}
		time.Sleep(2 * time.Minute)
		w.wantCounts(1, 0)
		w.wantSettled()
	})
}

// The broker, or the queue, says that this worker has nothing to say any more:
// its word ends, however long it was to be good.
func TestARefusedHelloEndsTheWord(t *testing.T) {
	inWorld(t, func(w *world) {
		w.word = queue.RouteWelcome{Granted: true, Binding: 1, Good: time.Hour}
		w.run()
		w.mq.Revoke("erp-worker-1")
		time.Sleep(helloEvery + time.Second)
		if r := w.worker.routes[0].last(); r.holds(atMoment(time.Now())) {
			t.Errorf("the word holds: %+v", r)
		}
	})
}

// Bodies that have to be fetched wait for the broker: not in the destination's
// slots, and not by being given back again and again. What needs no broker goes on.
func TestLargeBodiesWaitForTheBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.word = queue.RouteWelcome{Granted: true, Binding: 1, Good: 24 * time.Hour}
		w.run()
		w.say(func(w *world) { w.helloFails, w.bodiesFail = true, true })
		time.Sleep(heardLately)
		body := bytes.Repeat([]byte("x"), ferry.InlineBody+1)
		sum := sha256.Sum256(body)
		var large []ferry.HandOut
		for range cap(w.worker.routes[0].hands) - 1 {
			h := w.handOut()
			h.Binding, h.Body, h.Size, h.SHA256 = 1, nil, int64(len(body)), sum[:]
			large = append(large, h)
			w.say(func(w *world) { w.bodies[h.ID] = body })
		}
		w.publish(large...)
		time.Sleep(time.Minute)
		small := w.handOut()
		small.Binding = 1
		w.publish(small)
		time.Sleep(8 * time.Hour)
		w.wantCounts(1, 0)
		if r := w.only(); r.ID != small.ID || r.Verdict != ferry.Delivered {
			t.Errorf("%+v", r)
		}
		// About one a minute, of those for which there was no hand.
		if n := strings.Count(w.log.String(), "delivery.released"); n > 8*60*len(large)/2+len(large) {
			t.Errorf("%d were given back in 8 hours", n)
		}
		if n := len(w.worker.routes[0].waits); n != cap(w.worker.routes[0].waits) {
			t.Errorf("%d wait", n)
		}
		w.say(func(w *world) { w.helloFails, w.bodiesFail = false, false })
		time.Sleep(2 * pauseAway)
		w.wantCounts(1+len(large), 0)
		w.wantSettled()
	})
}

// Turns are claimed at the broker: without it nothing is taken from the queue.
func TestClaimsWaitForTheBroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runSeveral()
		w.away(true)
		time.Sleep(time.Minute)
		w.publish(w.claimed())
		time.Sleep(time.Minute)
		if n := w.mq.Ready(queue.MessagesOf(testRoute)); n != 1 || len(w.asked()) != 0 {
			t.Errorf("%d messages in the queue, %d claims", n, len(w.asked()))
		}
		w.away(false)
		time.Sleep(helloTimeout + 2*time.Second)
		w.wantCounts(1, 0)
	})
}

// Hours without the broker, and a whole window delivered meanwhile: nothing is told
// twice for it, neither then nor when the broker is back and is on its way through
// what the queue kept.
func TestResultsAreNotToldAgainWhileNobodyCanHear(t *testing.T) {
	const window = 10_000
	inWorld(t, func(w *world) {
		w.word = queue.RouteWelcome{Granted: true, Binding: 1, Good: 24 * time.Hour}
		w.outlives, w.mute = true, true
		w.run()
		w.away(true)
		w.wantHandedOut(window)
		time.Sleep(8 * time.Hour)
		if n := len(w.all()); n != window {
			t.Fatalf("%d receipts of %d messages", n, window)
		}
		if n := w.worker.Unconfirmed(); n != window {
			t.Fatalf("%d unconfirmed", n)
		}
		w.say(func(w *world) { w.start = "second" })
		w.away(false)
		time.Sleep(resendAfter - time.Second)
		if n := len(w.all()); n != window {
			t.Fatalf("%d receipts soon after the broker came back", n)
		}
		// It got nothing of it: then all is told again.
		w.clear()
		w.say(func(w *world) { w.mute = false })
		time.Sleep(time.Minute)
		if n := len(w.all()); n != window || w.worker.Unconfirmed() != 0 {
			t.Fatalf("%d told again, %d unconfirmed", n, w.worker.Unconfirmed())
		}
	})
}

// wantHandedOut publishes many messages and waits for their calls.
func (w *world) wantHandedOut(n int) {
	w.t.Helper()
	for n > 0 {
		list := make([]ferry.HandOut, min(n, 500))
		for i := range list {
			list[i] = w.handOut()
			list[i].Binding = 1
		}
		n -= len(list)
		w.publish(list...)
	}
	w.wantSettled()
}

// Lost receipts are told again at once, also of a queue that runs on.
func TestLostReceiptsAreToldAtOnceOnAQueueThatRunsOn(t *testing.T) {
	inWorld(t, func(w *world) {
		w.outlives, w.mute, w.start = true, true, "1-1"
		w.run()
		w.publish(w.handOut())
		w.only()
		w.say(func(w *world) { w.start = "1-1.1" })
		w.signal(queue.Signal{HelloAgain: true})
		time.Sleep(2 * time.Second)
		w.only()
	})
}
