package worker

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/adapters"
)

// oneAtATime has the messages called in their order.
func oneAtATime(w *world) {
	w.change = func(r *Route) {
		r.Destination = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 1})
		w.dest = r.Destination
	}
}

func (w *world) receiptOf(h ferry.HandOut) ferry.Receipt {
	w.t.Helper()
	var found []ferry.Receipt
	for _, r := range w.all() {
		if r.ID == h.ID {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		w.t.Fatalf("%d receipts of %s: %+v\n%s", len(found), h.ID, found, w.log)
	}
	return found[0]
}

// Three different messages that fail alike hold the destination; the first gets
// back what it spent, the others spend nothing.
func TestThreeFailAlike(t *testing.T) {
	inWorld(t, func(w *world) {
		oneAtATime(w)
		fail := verdict(ferry.Failed, ferry.EffectNone, 500)
		fail.Code = "SQL_DEADLOCK"
		w.erp.post = always(fail)
		w.run()
		list := w.handOuts(5)
		for _, h := range list {
			w.publish(h) // in this order
		}
		for i, want := range []int{1, 0, 0} {
			if r := w.receiptOf(list[i]); r.Next.Do != ferry.DoRetry || r.Next.Spends != want {
				w.t.Fatalf("message %d: %+v", i, r.Next)
			}
		}
		w.wantCounts(3, 0)
		c, probe := w.dest.conditions()
		if len(c) != 1 || c[0].Type != ferry.RouteUnavailable || probe == nil || !strings.HasPrefix(c[0].Reason, "3 messages in a row failed alike: 500 SQL_DEADLOCK") {
			w.t.Fatalf("conditions %+v", c)
		}
		again := next(list[0], w.receiptOf(list[0]))
		w.clear()
		time.Sleep(2 * time.Minute) // the last two are probes, and fail as well
		for _, r := range w.all() {
			if r.Next.Spends != 0 {
				w.t.Fatalf("a probe costs: %+v", r.Next)
			}
		}
		w.clear()
		if again.Spent != 1 {
			w.t.Fatalf("%d spent", again.Spent)
		}
		w.publish(again)
		time.Sleep(10 * time.Second)
		if r := w.receiptOf(again); r.Next.Spends != -1 || r.Next.Do != ferry.DoRetry {
			w.t.Fatalf("nothing is given back: %+v", r.Next)
		}
		// It is back, and this one fails again, by its own fault.
		w.clear()
		w.erp.set(func(s *script) { s.post = nil })
		w.publish(w.handOut())
		time.Sleep(10 * time.Second)
		w.erp.set(func(s *script) { s.post = always(fail) })
		w.clear()
		again.Turn, again.Spent, again.PublishedAt = again.Turn+1, 0, time.Now()
		w.publish(again)
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoRetry, Spends: 1})
	})
}

// What others failed alike stays free over a restart: the inbox knows.
func TestAnOutcomeThatCostsNothingIsKept(t *testing.T) {
	inWorld(t, func(w *world) {
		oneAtATime(w)
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 500))
		w.run()
		list := w.handOuts(2)
		w.publish(list[0])
		w.publish(list[1])
		first, second := next(list[0], w.receiptOf(list[0])), next(list[1], w.receiptOf(list[1]))
		w.stopWorker()
		w.run()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		w.clear()
		w.erp.set(func(s *script) {
			s.post = func(_ context.Context, c adapters.Call) ferry.Verdict { // each by its own fault
				v := verdict(ferry.Failed, ferry.EffectNone, 500)
				v.Code = c.ID.String()
				return v
			}
		})
		w.publish(first)
		w.publish(second)
		// The first did not know that others would fail: it pays for both calls.
		if r := w.receiptOf(first); r.Next.Spends != 2 {
			w.t.Fatalf("the first: %+v", r.Next)
		}
		if r := w.receiptOf(second); r.Next.Spends != 1 {
			w.t.Fatalf("the second: %+v", r.Next)
		}
	})
}

// An outage that cuts calls off costs nothing, once the lookups say that nothing
// was written.
func TestCutOffCallsCostNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		var down atomic.Bool
		down.Store(true)
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			if down.Load() {
				return ferry.Verdict{Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Code: "cut"}
			}
			return delivered("INV-1")
		}
		w.run()
		list := w.handOuts(3)
		w.publish(list...)
		var again []ferry.HandOut
		for _, h := range list {
			r := w.receiptOf(h)
			if !r.Next.Doubt || r.Next.Spends != 0 {
				w.t.Fatalf("%+v", r.Next)
			}
			again = append(again, next(h, r))
		}
		time.Sleep(2 * time.Minute)
		down.Store(false)
		w.clear()
		w.publish(again...)
		time.Sleep(30 * time.Second)
		for _, h := range again {
			if r := w.receiptOf(h); r.Verdict != ferry.Delivered || r.Next.Spends != 0 {
				w.t.Fatalf("%s %+v", r.Verdict, r.Next)
			}
		}
	})
}

// With one call at a time nothing is kept ready that would be given back with
// every probe.
func TestProbesBounceNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		oneAtATime(w)
		w.erp.post = always(verdict(ferry.Unavailable, ferry.EffectNone, 503))
		w.run()
		w.publish(w.handOuts(30)...)
		time.Sleep(time.Second)
		released := func() int {
			synctest.Wait() // nobody writes the log now
			return strings.Count(w.log.String(), "delivery.released")
		}
		before := released()
		time.Sleep(time.Minute)
		n := released() - before
		posts, _ := w.erp.counts()
		if posts < 12 || posts > 14 || before > 3 || n != 0 {
			w.t.Fatalf("%d posts in a minute; %d messages given back at first, %d by the probes", posts, before, n)
		}
		if n := len(w.all()); n != posts {
			w.t.Fatalf("%d receipts of %d calls", n, posts)
		}
	})
}

// The hello tells how many calls the destination is given.
func TestHelloTellsTheCalls(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			time.Sleep(15 * time.Second)
			return delivered("INV-1")
		}
		w.run()
		w.publish(w.handOuts(3)...)
		time.Sleep(helloEvery)
		synctest.Wait()
		if c := w.lastHello().Routes[0].Calls; c == nil || *c != (ferry.Calls{Now: 3, Limit: 4, Most: 4}) {
			w.t.Fatalf("calls %+v", c)
		}
		time.Sleep(time.Minute)
		w.stopWorker()
		if h := w.lastHello(); !h.Leaving || h.Inbox == "" {
			w.t.Fatalf("no goodbye: %+v", h)
		}
	})
}

// A destination that slows down with its calls is given fewer, and all of them
// again when it is fast.
func TestSlowDestinationIsGivenFewerCalls(t *testing.T) {
	inWorld(t, func(w *world) {
		var slow atomic.Bool
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			if slow.Load() {
				w.erp.mu.Lock()
				out := w.erp.out
				w.erp.mu.Unlock()
				time.Sleep(time.Duration(out) * 100 * time.Millisecond)
			}
			time.Sleep(50 * time.Millisecond)
			return delivered("INV-1")
		}
		w.change = func(r *Route) {
			r.Destination = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 16})
			w.dest = r.Destination
		}
		w.run()
		through := func(n int) (most int) {
			w.erp.set(func(s *script) { s.most = 0 })
			for range n {
				w.publish(w.handOuts(40)...)
				time.Sleep(10 * time.Second)
			}
			w.wantSettled()
			return w.erp.mostAtATime()
		}
		through(8)
		if c := w.dest.calls(); c.Limit != 16 {
			w.t.Fatalf("calls %+v while it is fast", c)
		}
		slow.Store(true)
		through(3)
		if most := through(3); most > 6 {
			w.t.Fatalf("%d calls at a time while it is slow", most)
		}
		slow.Store(false)
		through(10)
		if c := w.dest.calls(); c.Limit != 16 {
			w.t.Fatalf("calls %+v after it recovered", c)
		}
	})
}
