package worker

import (
	"context"
	"errors"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/queue"
)

// Killed in the call: "begun" is on disk, nothing else.
func TestKilledInTheCall(t *testing.T) {
	for name, c := range map[string]struct {
		blind  bool
		change func(*Route)
		next   ferry.Next
	}{
		"lookup": {false, nil, ferry.Next{Do: ferry.DoRetry, After: time.Minute + 35*time.Second - 10*time.Second, Doubt: true}},
		"blind":  {true, nil, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}},
		"honours the key": {
			true, func(r *Route) { r.OnUnknown = OnUnknownRepost },
			ferry.Next{Do: ferry.DoRetry, Spends: 1, Doubt: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.erp.blind, w.change = c.blind, c.change
				var killed string
				w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
					killed = w.snapshot()
					return delivered("INV-1")
				}
				w.run()
				h := w.handOut()
				w.publish(h)
				w.clear()
				time.Sleep(10 * time.Second)
				w.reviveFrom(killed)
				h.PublishedAt = time.Now()
				w.publish(h) // the lock ended, or the ledger's sweep
				r := w.only()
				if r.Verdict != ferry.Unknown || r.Effect != ferry.EffectMaybe || len(r.Attempts) != 1 || r.Turn != 1 {
					w.t.Fatalf("receipt %+v", r)
				}
				wantNext(w.t, r, c.next)
				w.wantCounts(1, 0)
				w.wantSettled()
				w.publish(h) // the same turn once more: its result is on record now
				if again := w.only(); again.Verdict != ferry.Unknown {
					w.t.Fatalf("told %+v the second time", again)
				}
				w.wantCounts(1, 0)
			})
		})
	}
}

// Killed in the call, and the turn has moved on: the new turn may not be posted
// before the old call was waited out and looked up.
func TestKilledInTheCallThenNextTurn(t *testing.T) {
	inWorld(t, func(w *world) {
		var killed string
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			killed = w.snapshot()
			return delivered("INV-1")
		}
		w.run()
		h := w.handOut()
		w.publish(h)
		w.reviveFrom(killed)
		h.Turn = 2
		w.publish(h)
		r := w.only()
		if r.Verdict != ferry.NotTried || r.Next.After != 95*time.Second || !r.Next.Doubt {
			w.t.Fatalf("receipt %+v", r)
		}
		time.Sleep(95 * time.Second)
		h = next(h, r)
		w.publish(h)
		r = w.only() // the lookup says absent: one spent, and posted
		wantNext(w.t, r, ferry.Next{Do: ferry.DoComplete, Spends: 1})
		w.wantCounts(2, 1)
	})
}

// Killed again and again: it is what ends the workers.
func TestKilledFiveTimesIsUndeliverable(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = func(r *Route) { r.Retry.Attempts = 20 }
		var killed string
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			killed = w.snapshot()
			return delivered("INV-1")
		}
		w.run()
		h := w.handOut()
		for crash := 1; crash <= maxCrashes; crash++ {
			w.publish(h)
			w.reviveFrom(killed)
			h.PublishedAt = time.Now()
			w.publish(h)
			r := w.only()
			if r.Verdict != ferry.Unknown || r.Next.Do != ferry.DoRetry {
				w.t.Fatalf("crash %d: %+v", crash, r)
			}
			h = next(h, r)
			time.Sleep(2 * time.Minute)
		}
		w.publish(h)
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonUndeliverable, Spends: 1})
		w.wantCounts(maxCrashes, maxCrashes)
	})
}

// Killed between the result on disk and the receipt.
func TestKilledBeforeTheReceipt(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		w.mq.FailPublish(queue.AllReceipts(), errors.New("the connection is gone"), false)
		w.publish(h)
		if len(w.all()) != 0 {
			w.t.Fatal("the receipt was not to be sent")
		}
		w.reviveFrom(w.snapshot())
		time.Sleep(time.Second)
		// Found at the start: unconfirmed results are sent at the first welcome, and
		// the delivery that comes again is retold.
		list := w.all()
		if len(list) == 0 {
			w.t.Fatalf("nothing told\n%s", w.log)
		}
		for _, r := range list {
			if r.Verdict != ferry.Delivered || r.Turn != 1 {
				w.t.Fatalf("receipt %+v", r)
			}
		}
		w.wantCounts(1, 0)
		w.wantSettled()
	})
}

// The queue failed in the receipt: the delivery is given back and told again,
// without another call.
func TestReceiptNotSentIsToldAgain(t *testing.T) {
	for _, after := range []bool{false, true} {
		inWorld(t, func(w *world) {
			w.run()
			w.mq.FailPublish(queue.AllReceipts(), errors.New("no answer"), after)
			w.publish(w.handOut())
			time.Sleep(5 * time.Second)
			list := w.all()
			if len(list) == 0 || list[len(list)-1].Verdict != ferry.Delivered {
				w.t.Fatalf("receipts %+v", list)
			}
			w.wantCounts(1, 0)
			w.wantSettled()
		})
	}
}

// Killed between the receipt and the settling: the delivery comes again.
func TestKilledBeforeSettling(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		w.publish(h)
		w.reviveFrom(w.snapshot())
		h.PublishedAt = time.Now()
		w.publish(h)
		list := w.all()
		if len(list) == 0 || list[0].Reference != "INV-1" {
			w.t.Fatalf("receipts %+v", list)
		}
		w.wantCounts(1, 0)
		w.wantSettled()
	})
}

// The queue loses everything: the ledger publishes again, the inbox knows.
func TestQueueIsPurged(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			time.Sleep(5 * time.Second)
			return delivered("INV-1")
		}
		w.run()
		h := w.handOut()
		w.publish(h)
		w.mq.Purge(queue.MessagesOf(testRoute))
		w.publish(h) // the sweep, while the first call runs
		time.Sleep(10 * time.Second)
		w.wantCounts(1, 0)
		for _, r := range w.all() {
			if r.Reference != "INV-1" {
				w.t.Fatalf("receipt %+v", r)
			}
		}
		w.wantSettled()
	})
}

func TestLockLostBeforeItIsBegun(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			time.Sleep(40 * time.Second)
			return delivered("INV-1")
		}
		w.change = func(r *Route) {
			r.Timeout = time.Minute
			r.Destination = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 1})
		}
		w.run()
		a, b := w.handOut(), w.handOut()
		w.publish(a, b)
		w.mq.Purge(queue.MessagesOf(testRoute)) // both locks are gone
		time.Sleep(90 * time.Second)
		// The first was in its call, which is nobody else's; the second had not begun.
		w.wantCounts(1, 0)
		if r := w.only(); r.ID != a.ID && r.ID != b.ID || r.Verdict != ferry.Delivered {
			w.t.Fatalf("receipt %+v", r)
		}
	})
}

func TestResultsAreSentAgainUntilConfirmed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.mute = true
		w.run()
		h := w.handOut()
		w.publish(h)
		w.only()
		time.Sleep(29 * time.Second)
		if n := len(w.all()); n != 0 {
			w.t.Fatalf("sent again %d times too early", n)
		}
		time.Sleep(7 * time.Second)
		if r := w.only(); r.Verdict != ferry.Delivered {
			w.t.Fatalf("sent again: %+v", r)
		}
		w.say(func(w *world) { w.start = "second" }) // the broker starts anew
		w.signal(queue.Signal{HelloAgain: true})
		time.Sleep(2 * time.Second)
		w.only()
		w.signal(queue.Signal{Confirmed: []queue.Confirmed{{ID: h.ID, Turn: 9}}}) // of another turn
		time.Sleep(3 * time.Minute)
		if len(w.all()) == 0 {
			w.t.Fatal("the confirmation of another turn was taken")
		}
		w.signal(queue.Signal{Confirmed: []queue.Confirmed{{ID: h.ID, Turn: 1}}})
		w.clear()
		time.Sleep(time.Hour)
		if n := len(w.all()); n != 0 {
			w.t.Fatalf("sent again %d times after it was confirmed", n)
		}
		w.reviveFrom(w.snapshot()) // the confirmation was written down
		time.Sleep(time.Hour)
		if n := len(w.all()); n != 0 {
			w.t.Fatalf("sent again %d times after a restart", n)
		}
	})
}

// The turn after a crash may come early: the call of the dead worker is waited
// out to its own deadline, not from when the crash was noticed.
func TestKilledInTheCallThenTooEarly(t *testing.T) {
	inWorld(t, func(w *world) {
		var killed string
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			killed = w.snapshot()
			return delivered("INV-1")
		}
		w.run()
		h := w.handOut()
		w.publish(h)
		w.reviveFrom(killed)
		w.publish(h)
		h = next(h, w.only())
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.NotTried || r.Next.After != 95*time.Second || !r.Next.Doubt {
			w.t.Fatalf("receipt %+v", r)
		}
		w.wantCounts(1, 0)
	})
}
