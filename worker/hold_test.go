package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/queue"
)

// An outage costs nothing: no attempts, a probe now and then, and everything
// through within seconds of the return.
func TestOutage(t *testing.T) {
	for name, probe := range map[string]bool{"with a health request": true, "a message is the probe": false} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				var down atomic.Bool
				down.Store(true)
				w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
					if down.Load() {
						return verdict(ferry.Unavailable, ferry.EffectNone, 0)
					}
					return delivered("INV-1")
				}
				if probe {
					w.erp.probeFn = func() error {
						if down.Load() {
							return errors.New("connection refused")
						}
						return nil
					}
				}
				w.run()
				for range 20 {
					w.publish(w.handOut())
				}
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				receipts := w.all()
				for _, r := range receipts {
					if r.Next.Do != ferry.DoRetry || r.Next.Spends != 0 || r.Next.Doubt || r.Next.After < time.Second {
						w.t.Fatalf("an outage costs: %+v", r)
					}
				}
				posts, _ := w.erp.counts()
				probes := w.erp.probeCount()
				// One call in 5 s at the most, and after three health requests a message
				// (each of the 20 comes once here).
				if most := 2 * 720; probes+posts > most+10 || probe && probes < most/2 || posts > 20 {
					w.t.Fatalf("%d posts and %d probes in two hours", posts, probes)
				}
				if last := w.lastHello().Routes[0]; len(last.Conditions) != 1 || last.Conditions[0].Type != ferry.RouteUnavailable || last.NextProbe == nil {
					if probe { // else the messages may all be with the ledger again
						w.t.Fatalf("hello %+v", last)
					}
				}
				w.clear()
				down.Store(false)
				if !probe { // a new message finds it back
					w.publish(w.handOut())
				}
				time.Sleep(12 * time.Second)
				w.wantSettled()
				for _, r := range w.all() {
					if r.Verdict != ferry.Delivered && r.Verdict != ferry.NotTried {
						w.t.Fatalf("after the return: %+v", r)
					}
				}
			})
		})
	}
}

func (w *world) lastHello() queue.Hello {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hellos[len(w.hellos)-1]
}

func TestThrottledHoldsTheDestination(t *testing.T) {
	inWorld(t, func(w *world) {
		v := verdict(ferry.Throttled, ferry.EffectNone, 429)
		v.RetryAfter = 90 * time.Second
		w.erp.post = always(v)
		w.run()
		w.publish(w.handOut())
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoRetry, After: 90 * time.Second})
		w.erp.set(func(s *script) { s.post = nil })
		w.publish(w.handOut())
		time.Sleep(89 * time.Second)
		w.wantCounts(1, 0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.wantCounts(2, 0)
		if r := w.only(); r.Verdict != ferry.Delivered {
			w.t.Fatalf("receipt %+v", r)
		}
	})
}

func TestUnauthorizedStopsTheRoute(t *testing.T) {
	refuse := verdict(ferry.Unauthorized, ferry.EffectNone, 401)
	start := func(w *world) {
		w.erp.post, w.erp.print = always(refuse), "old"
		w.run()
		w.publish(w.handOut())
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoRetry, After: unauthorizedAfter})
		w.publish(w.handOut())
		time.Sleep(29 * time.Minute)
		synctest.Wait()
		w.wantCounts(1, 0)
		if c := w.lastHello().Routes[0].Conditions; len(c) != 1 || c[0].Type != ferry.RouteUnauthorized {
			w.t.Fatalf("conditions %+v", c)
		}
	}
	t.Run("until the secret changes", func(t *testing.T) {
		inWorld(t, func(w *world) {
			start(w)
			w.erp.set(func(s *script) { s.print, s.post = "new", nil })
			time.Sleep(2 * watchInterval)
			synctest.Wait()
			w.wantCounts(2, 0)
		})
	})
	t.Run("until somebody resumes", func(t *testing.T) {
		inWorld(t, func(w *world) {
			start(w)
			w.erp.set(func(s *script) { s.post = nil })
			w.say(func(w *world) { w.word.ResumedAt = time.Now() })
			w.signal(queue.Signal{HelloAgain: true})
			time.Sleep(2 * time.Second)
			synctest.Wait()
			w.wantCounts(2, 0)
		})
	})
	t.Run("tries again three times a day", func(t *testing.T) {
		inWorld(t, func(w *world) {
			start(w)
			for range 23 * 2 {
				time.Sleep(30 * time.Minute)
				h := w.handOut()
				w.publish(h)
			}
			if posts, _ := w.erp.counts(); posts != 1+refusedTries {
				w.t.Fatalf("%d logons in a day", posts)
			}
			time.Sleep(3 * time.Hour)
			synctest.Wait()
			if posts, _ := w.erp.counts(); posts <= 1+refusedTries || posts > 1+2*refusedTries {
				w.t.Fatalf("%d logons on the second day", posts)
			}
		})
	})
}

func TestNothingIsReceivedBeforeItIsGranted(t *testing.T) {
	inWorld(t, func(w *world) {
		w.word = queue.RouteWelcome{Granted: false, Why: "the route is bound to another inbox"}
		w.run()
		h := w.handOut()
		w.publish(h)
		time.Sleep(time.Minute)
		w.wantCounts(0, 0)
		if w.mq.Len(queue.MessagesOf(testRoute)) != 1 {
			w.t.Fatal("the message was touched")
		}
		w.say(func(w *world) { w.word = queue.RouteWelcome{Granted: true} })
		time.Sleep(helloEvery)
		synctest.Wait()
		w.wantCounts(1, 0)
	})
}

func TestPauseStopsReceiving(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.say(func(w *world) { w.word.Paused = true })
		w.signal(queue.Signal{HelloAgain: true})
		time.Sleep(2 * time.Second)
		w.publish(w.handOut())
		time.Sleep(time.Hour)
		w.wantCounts(0, 0)
		w.say(func(w *world) { w.word.Paused = false })
		w.signal(queue.Signal{HelloAgain: true})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.wantCounts(1, 0)
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			time.Sleep(time.Second)
			return delivered("INV-1")
		}
		w.run()
		list := make([]ferry.HandOut, 40)
		for i := range list {
			list[i] = w.handOut()
		}
		w.publish(list...)
		time.Sleep(10*time.Second + 100*time.Millisecond)
		synctest.Wait()
		w.wantCounts(40, 0)
		if most := w.erp.mostAtATime(); most != 4 {
			w.t.Fatalf("%d calls at a time", most)
		}
		w.wantSettled()
	})
}

func TestRateIsBounded(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = func(r *Route) {
			r.Destination = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 8, Rate: 2})
		}
		w.run()
		list := make([]ferry.HandOut, 20)
		for i := range list {
			list[i] = w.handOut()
		}
		w.publish(list...)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if posts, _ := w.erp.counts(); posts < 10 || posts > 12 {
			w.t.Fatalf("%d calls in 5 s at 2/s", posts)
		}
	})
}

// A lookup and the post that follows it in the same turn are two calls. The post does
// not wait, later turns do: what is in the slots already is ahead of the rate.
func TestRateCountsLookups(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = func(r *Route) {
			r.Destination = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 8, Rate: 2})
		}
		w.run()
		list := make([]ferry.HandOut, 20)
		for i := range list {
			list[i] = w.handOut()
			list[i].Doubt, list[i].Elsewhere = true, true
		}
		w.publish(list...)
		time.Sleep(12 * time.Second)
		synctest.Wait()
		posts, lookups := w.erp.counts()
		if calls := posts + lookups; posts != lookups || calls < 24 || calls > 24+8+2 {
			w.t.Fatalf("%d posts and %d lookups in 12 s at 2/s", posts, lookups)
		}
		time.Sleep(20 * time.Second)
		w.wantCounts(20, 20)
		w.wantSettled()
	})
}

func TestDrain(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(ctx context.Context, _ adapters.Call) ferry.Verdict {
			select {
			case <-time.After(10 * time.Second):
				return delivered("INV-1")
			case <-ctx.Done():
				return verdict(ferry.Unknown, ferry.EffectMaybe, 0)
			}
		}
		w.run()
		list := make([]ferry.HandOut, 7)
		for i := range list {
			list[i] = w.handOut()
		}
		w.publish(list...)
		w.stopWorker() // running calls end, the rest is given back
		receipts := w.all()
		if len(receipts) != 4 {
			w.t.Fatalf("%d receipts", len(receipts))
		}
		reported := map[ferry.ID]bool{}
		for _, r := range receipts {
			if r.Verdict != ferry.Delivered {
				w.t.Fatalf("receipt %+v", r)
			}
			reported[r.ID] = true
		}
		w.wantCounts(4, 0)
		w.clear()
		w.run()
		time.Sleep(11 * time.Second)
		// Results whose confirmation came after the worker had stopped listening are
		// told again: they are no calls.
		for _, r := range w.all() {
			reported[r.ID] = true
		}
		if len(reported) != 7 {
			w.t.Fatalf("%d of the 3 given back came through", len(reported)-4)
		}
		w.wantCounts(7, 0)
	})
}

func TestDrainCutsWhatTakesTooLong(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = func(r *Route) { r.Timeout = time.Hour }
		w.erp.post = func(ctx context.Context, _ adapters.Call) ferry.Verdict {
			<-ctx.Done()
			return verdict(ferry.Unknown, ferry.EffectMaybe, 0)
		}
		w.run()
		w.publish(w.handOut())
		started := time.Now()
		w.stopWorker()
		if took := time.Since(started); took != 25*time.Second {
			w.t.Fatalf("stopping took %s", took)
		}
		if r := w.only(); r.Verdict != ferry.Unknown || !r.Next.Doubt {
			w.t.Fatalf("receipt %+v", r)
		}
	})
}

// Begun, and the destination went down before the call: given back by receipt.
func TestBegunButNotCalled(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		// Another route of the same destination learns that credentials are refused
		// while this delivery waits for its pace.
		w.stopWorker()
		w.change = func(r *Route) {
			r.Destination = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 8, Rate: 1})
		}
		w.run()
		h.Inbox = w.worker.Inbox()
		first := w.handOut()
		w.publish(first, h)
		w.worker.dests[0].refused("")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.wantCounts(1, 0)
		var told *ferry.Receipt
		for _, r := range w.all() {
			if r.ID == h.ID || r.ID == first.ID && r.Verdict == ferry.NotTried {
				told = &r
			}
		}
		if told == nil || told.Verdict != ferry.NotTried || told.Next.Spends != 0 || told.Next.Doubt || len(told.Attempts) != 0 {
			w.t.Fatalf("receipts %+v", w.all())
		}
	})
}
