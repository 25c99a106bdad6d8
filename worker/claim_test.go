package worker

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/queue"
)

// claimed is a fresh message of a route that several workers deliver.
func (w *world) claimed(change ...func(*ferry.HandOut)) ferry.HandOut {
	h := w.handOut()
	h.Inbox, h.Claims = "", true
	for _, f := range change {
		f(&h)
	}
	return h
}

// runSeveral starts a worker whose broker has turns claimed.
func (w *world) runSeveral() {
	w.t.Helper()
	w.word.Claims = true
	w.run()
}

// asked are the claims so far.
func (w *world) asked() []queue.ClaimRequest {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]queue.ClaimRequest(nil), w.claims...)
}

func answer(state queue.ClaimState) func(queue.ClaimRequest) (queue.ClaimAnswer, error) {
	return func(r queue.ClaimRequest) (queue.ClaimAnswer, error) {
		return queue.ClaimAnswer{State: state, For: r.For}, nil
	}
}

func TestClaimTakesThePlaceOfBegun(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			if n := w.worker.inbox.count(); n != 0 {
				t.Errorf("%d records before the call: the claim is enough", n)
			}
			return delivered("INV-1")
		}
		w.runSeveral()
		h := w.claimed()
		w.publish(h)
		claims := w.asked()
		if len(claims) != 1 {
			t.Fatalf("%d claims", len(claims))
		}
		c := claims[0]
		if c.ID != h.ID || c.Turn != 1 || c.Route != testRoute || c.Worker != "erp-worker-1" || c.Inbox != w.worker.Inbox() || c.Nonce == "" ||
			c.For != startGrace+30*time.Second || c.Bound != time.Minute {
			t.Errorf("the claim: %+v", c)
		}
		if r := w.only(); r.Verdict != ferry.Delivered || r.Inbox != c.Inbox {
			t.Errorf("the receipt: %+v", r)
		}
		w.wantCounts(1, 0)
		w.publish(h) // it comes again: told from the inbox, without another claim
		if r := w.only(); r.Verdict != ferry.Delivered || len(w.asked()) != 1 {
			t.Errorf("told again: %+v after %d claims", r, len(w.asked()))
		}
		w.wantCounts(1, 0)
		w.wantSettled()
	})
}

func TestClaimHeldOrRefusedIsSettledSilently(t *testing.T) {
	for _, state := range []queue.ClaimState{queue.ClaimHeld, queue.ClaimRefused} {
		t.Run(string(state), func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.claim = answer(state)
				w.runSeveral()
				now := time.Now()
				w.publish(w.claimed(), // every way in which a turn can end
					w.claimed(func(h *ferry.HandOut) { h.ExpiresAt = now }),
					w.claimed(func(h *ferry.HandOut) { h.Doubt, h.NotBefore = true, now.Add(time.Hour) }),
					w.claimed(func(h *ferry.HandOut) { h.Doubt = true }))
				if n := len(w.asked()); n != 4 {
					t.Errorf("%d claims", n)
				}
				w.wantSettled()
				w.wantCounts(0, 0)
				if list := w.all(); len(list) != 0 || w.worker.inbox.count() != 0 {
					t.Errorf("receipts %+v, %d records", list, w.worker.inbox.count())
				}
			})
		})
	}
}

// The answer is lost: the same delivery asks again under the same nonce.
func TestClaimAnswerLost(t *testing.T) {
	lost := errors.New("the broker is away")
	t.Run("a few times", func(t *testing.T) {
		inWorld(t, func(w *world) {
			tries := 0
			w.claim = func(r queue.ClaimRequest) (queue.ClaimAnswer, error) {
				if tries++; tries < 4 {
					return queue.ClaimAnswer{}, lost
				}
				return queue.ClaimAnswer{State: queue.ClaimGranted, For: r.For}, nil
			}
			w.runSeveral()
			w.publish(w.claimed())
			time.Sleep(10 * time.Second)
			claims := w.asked()
			if len(claims) != 4 || claims[0].Nonce != claims[3].Nonce {
				t.Fatalf("claims %+v", claims)
			}
			if r := w.only(); r.Verdict != ferry.Delivered {
				t.Errorf("%+v", r)
			}
		})
	})
	t.Run("for good, then the delivery comes back", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.claim = func(queue.ClaimRequest) (queue.ClaimAnswer, error) { return queue.ClaimAnswer{}, lost }
			w.runSeveral()
			w.publish(w.claimed())
			time.Sleep(10 * time.Second)
			if len(w.asked()) < claimTries || len(w.all()) != 0 || w.settledAll() {
				t.Fatalf("%d claims, receipts %+v", len(w.asked()), w.all())
			}
			w.wantCounts(0, 0)
			w.say(func(w *world) { w.claim = nil })
			time.Sleep(10 * time.Second)
			claims := w.asked()
			if claims[0].Nonce != claims[len(claims)-1].Nonce {
				t.Error("no call was made, and the delivery asks as another one")
			}
			if r := w.only(); r.Verdict != ferry.Delivered {
				t.Errorf("%+v", r)
			}
			w.wantCounts(1, 0)
			w.wantSettled()
		})
	})
	t.Run("not for this worker", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.claim = func(queue.ClaimRequest) (queue.ClaimAnswer, error) { return queue.ClaimAnswer{}, queue.ErrUnauthorized }
			w.runSeveral()
			w.publish(w.claimed())
			if len(w.asked()) != 1 || w.settledAll() {
				t.Errorf("%d claims", len(w.asked()))
			}
			w.wantCounts(0, 0)
		})
	})
}

// What is claimed and then not called is told, so that nobody waits for it.
func TestClaimedButNotCalled(t *testing.T) {
	for name, c := range map[string]struct {
		left      time.Duration // of the grant, when it is answered
		takes     time.Duration // the answer
		meanwhile func(w *world)
		why       string // empty: the call is made
	}{
		"in good time":            {35 * time.Second, 4 * time.Second, func(*world) {}, ""},
		"the answer came late":    {35 * time.Second, 5*time.Second - 1, func(*world) {}, ""},
		"little was left":         {29 * time.Second, 0, func(*world) {}, "the deadline of the call had come too close"},
		"nothing was left":        {0, 0, func(*world) {}, "the deadline of the call had come too close"},
		"the worker is stopping":  {35 * time.Second, time.Second, func(w *world) { w.worker.stopReceive() }, "the worker is stopping"},
		"credentials are refused": {35 * time.Second, time.Second, func(w *world) { w.dest.refused("") }, "the destination is not called at the moment"},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.claim = func(queue.ClaimRequest) (queue.ClaimAnswer, error) {
					time.Sleep(c.takes)
					return queue.ClaimAnswer{State: queue.ClaimGranted, For: c.left}, nil
				}
				w.runSeveral()
				w.publish(w.claimed())
				c.meanwhile(w)
				time.Sleep(20 * time.Second)
				r := w.only()
				if c.why == "" {
					if r.Verdict != ferry.Delivered {
						t.Fatalf("receipt %+v", r)
					}
					return
				}
				w.wantCounts(0, 0)
				if r.Verdict != ferry.NotTried || !strings.Contains(r.Text, c.why) || len(r.Attempts) != 0 {
					t.Fatalf("receipt %+v", r)
				}
				wantNext(t, r, ferry.Next{Do: ferry.DoRetry})
			})
		})
	}
}

// A worker that is frozen in front of its call, or in it, does not call beyond
// its deadline.
func TestClaimedCallEndsByTheDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		began := time.Now()
		var ended time.Duration
		defer func() {
			// Frozen after the last look at the clock: little is left, and no more.
			began = time.Now()
			h := w.claimed()
			late := &turn{w: w.worker, r: w.worker.routes[0], h: &h, deadline: began.Add(3 * time.Second)}
			if v := late.deliverOnce(); v.Effect != ferry.EffectMaybe || ended != 3*time.Second {
				t.Errorf("%s after %s", v.Kind, ended)
			}
		}()
		w.erp.post = func(ctx context.Context, _ adapters.Call) ferry.Verdict {
			<-ctx.Done()
			ended = time.Since(began)
			return verdict(ferry.Unknown, ferry.EffectMaybe, 0)
		}
		w.claim = func(queue.ClaimRequest) (queue.ClaimAnswer, error) {
			time.Sleep(2 * time.Second)
			return queue.ClaimAnswer{State: queue.ClaimGranted, For: 33 * time.Second}, nil
		}
		w.runSeveral()
		w.publish(w.claimed())
		time.Sleep(40 * time.Second)
		wantNext(t, w.only(), ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true})
		if ended != 32*time.Second { // its time-out; the deadline is at 33 s, counted from before the question
			t.Errorf("the call ended after %s", ended)
		}
	})
}

// The lookup of a claimed turn ends in time, and when too little is left then, no
// call follows it.
func TestClaimCoversTheLookup(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.look = func(ctx context.Context, _ adapters.Call) adapters.LookupResult {
			<-ctx.Done()
			return adapters.LookupResult{State: adapters.Absent}
		}
		w.claim = func(r queue.ClaimRequest) (queue.ClaimAnswer, error) {
			if r.For != startGrace+time.Minute {
				t.Errorf("claimed for %s", r.For)
			}
			return queue.ClaimAnswer{State: queue.ClaimGranted, For: 20 * time.Second}, nil
		}
		w.runSeveral()
		w.publish(w.claimed(func(h *ferry.HandOut) { h.Doubt, h.Elsewhere = true, true }))
		time.Sleep(20 * time.Second)
		r := w.only()
		w.wantCounts(0, 1)
		if r.Verdict != ferry.NotTried || r.Next.Doubt {
			t.Errorf("%+v", r)
		}
	})
}

// A worker that is killed in a claimed call leaves nothing in its inbox: the
// broker looks after the turn, and nothing is called a second time.
func TestKilledInAClaimedCall(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(ctx context.Context, _ adapters.Call) ferry.Verdict {
			<-ctx.Done()
			return verdict(ferry.Unknown, ferry.EffectMaybe, 0)
		}
		holder := ""
		w.claim = func(r queue.ClaimRequest) (queue.ClaimAnswer, error) {
			if holder == "" || holder == r.Nonce {
				holder = r.Nonce
				return queue.ClaimAnswer{State: queue.ClaimGranted, For: r.For}, nil
			}
			return queue.ClaimAnswer{State: queue.ClaimHeld}, nil
		}
		w.runSeveral()
		h := w.claimed()
		w.publish(h)
		w.wantCounts(1, 0)
		w.reviveFrom(w.snapshot())
		w.wantCounts(1, 0)
		w.wantSettled()
		// Taken over: looked up before anything is sent.
		w.erp.set(func(s *script) { s.look = looked(adapters.LookupResult{State: adapters.Found, Reference: "INV-3"}) })
		h.Turn, h.Doubt, h.Elsewhere, h.TakenOver, holder = 2, true, true, 1, ""
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.Duplicate || r.Reference != "INV-3" {
			t.Errorf("%+v", r)
		}
		w.wantCounts(1, 1)
	})
}

func TestTakenOverFiveTimesIsUndeliverable(t *testing.T) {
	taken := func(n int) func(*ferry.HandOut) {
		return func(h *ferry.HandOut) { h.Turn, h.Doubt, h.Elsewhere, h.TakenOver = uint64(n+1), true, true, n }
	}
	for name, c := range map[string]struct {
		change func(*world)
		times  int
		want   ferry.Next
		posts  int
		looks  int
	}{
		"four times":        {func(*world) {}, 4, ferry.Next{Do: ferry.DoComplete}, 1, 1},
		"five times":        {func(*world) {}, 5, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonUndeliverable}, 0, 1},
		"blind":             {func(w *world) { w.erp.blind = true }, 1, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true}, 0, 0},
		"repost, asks last": {func(w *world) { w.change = func(r *Route) { r.OnUnknown = OnUnknownRepost } }, 5, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonUndeliverable}, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				c.change(w)
				w.runSeveral()
				w.publish(w.claimed(taken(c.times)))
				wantNext(t, w.only(), c.want)
				w.wantCounts(c.posts, c.looks)
			})
		})
	}
}

// The ledger's word on what is open goes before the inbox's: the other worker may
// have found out since.
func TestTheLedgersWordIsTheLastWithClaims(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 0))
		w.runSeveral()
		h := w.claimed()
		w.publish(h)
		w.clear()
		w.erp.set(func(s *script) { s.post = nil })
		// Turn 2 was the other worker's: absent, posted, failed without any effect.
		h.Turn, h.Spent, h.Attempt = 3, 2, 3
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.Delivered || r.Next.Spends != 0 {
			t.Errorf("%+v", r)
		}
		w.wantCounts(2, 0)
	})
}

// What was published for this inbox before the route got several workers is not
// worked on: its turn has been taken over.
func TestPublishedBeforeTheRouteWasClaimed(t *testing.T) {
	inWorld(t, func(w *world) {
		w.runSeveral()
		h := w.handOut()
		h.PublishedAt = h.PublishedAt.Add(-time.Minute)
		w.publish(h)
		w.wantSettled()
		w.wantCounts(0, 0)
		if len(w.all()) != 0 || len(w.asked()) != 0 {
			t.Errorf("receipts %+v, claims %+v", w.all(), w.asked())
		}
		// Published after the word, which cannot be: it is given back.
		h = w.handOut()
		h.PublishedAt = time.Now().Add(time.Minute)
		w.publish(h)
		w.wantCounts(0, 0)
		if w.settledAll() {
			t.Error("it was settled")
		}
	})
}

// No call begins when the broker has not said for a while that the route is this
// inbox's: another one may have taken over.
func TestNoCallBeginsOnAnOldWord(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.say(func(w *world) { w.helloFails = true })
		time.Sleep(queue.WordGood - helloEvery)
		w.publish(w.handOut())
		w.wantCounts(1, 0)
		w.clear()
		time.Sleep(queue.WordGood)
		h := w.handOut()
		w.publish(h)
		w.wantCounts(1, 0)
		if len(w.all()) != 0 || w.settledAll() {
			t.Errorf("receipts %+v", w.all())
		}
		w.say(func(w *world) { w.helloFails = false })
		time.Sleep(10 * time.Second)
		w.wantCounts(2, 0)
		w.wantSettled()
	})
}
