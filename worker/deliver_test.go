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

func TestDelivered(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		w.publish(h)
		r := w.only()
		if r.Verdict != ferry.Delivered || r.Reference != "INV-1" || r.Revision != 1 || r.Turn != 1 || r.Inbox != w.worker.Inbox() {
			w.t.Fatalf("receipt %+v", r)
		}
		wantNext(w.t, r, ferry.Next{Do: ferry.DoComplete})
		if len(r.Attempts) != 1 || r.Attempts[0].Number != 1 || r.Attempts[0].Status != 201 || r.Attempts[0].Worker != "erp-worker-1" {
			w.t.Fatalf("attempts %+v", r.Attempts)
		}
		w.wantSettled()
		if !strings.Contains(w.log.String(), "msg=delivery.attempted") {
			w.t.Fatalf("no wide line in the log:\n%s", w.log)
		}
	})
}

func TestPublishedAgainAfterItsEnd(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		w.publish(h)
		first := w.only()
		w.publish(h) // stayed silent for the ledger: same turn, other suffix
		if r := w.only(); r.Reference != first.Reference || r.Turn != 1 {
			w.t.Fatalf("told %+v the second time", r)
		}
		later := h
		later.Turn, later.Revision = 4, 2
		w.publish(later) // "the destination has it" counts whatever the turn
		if r := w.only(); r.Verdict != ferry.Delivered || r.Turn != 1 || r.Revision != 1 {
			w.t.Fatalf("told %+v for a later turn", r)
		}
		w.wantCounts(1, 0)
		w.wantSettled()
	})
}

func TestOlderTurnIsSettledSilently(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = always(verdict(ferry.Failed, ferry.EffectNone, 400))
		w.run()
		h := w.handOut()
		h.Turn = 5
		w.publish(h)
		w.only()
		h.Turn = 4
		w.publish(h)
		if list := w.all(); len(list) != 0 {
			w.t.Fatalf("an old turn was reported: %+v", list)
		}
		w.wantCounts(1, 0)
		w.wantSettled()
	})
}

func TestStalePublicationIsSettledSilently(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		h.PublishedAt = time.Now().Add(-staleAfter - time.Second)
		w.publish(h)
		if len(w.all()) != 0 {
			w.t.Fatal("a stale publication was worked on")
		}
		w.wantCounts(0, 0)
		w.wantSettled()
	})
}

// A message for another inbox is given back while nobody knows better. Once the
// broker has said again that the route is this inbox's, it is of an earlier
// binding, and has a later turn: it leaves the queue without a call or a word.
func TestOtherInboxRefuses(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		h.Inbox = "somebody-else"
		w.publish(h)
		synctest.Wait()
		if w.settledAll() {
			w.t.Fatal("settled before the broker was asked again")
		}
		time.Sleep(time.Minute)
		w.wantCounts(0, 0)
		if !w.settledAll() || len(w.all()) != 0 {
			w.t.Fatal("a message of an earlier binding stays, or was reported")
		}
		if n := strings.Count(w.log.String(), "delivery.refused"); n != 1 {
			w.t.Fatalf("it was refused %d times", n)
		}
	})
}

func TestOtherInboxIsGivenBackWhileTheRouteIsNotOurs(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		w.mu.Lock()
		w.word = queue.RouteWelcome{Why: "bound to another inbox"}
		w.mu.Unlock()
		h := w.handOut()
		h.Inbox = "somebody-else"
		w.publish(h)
		time.Sleep(time.Minute)
		w.wantCounts(0, 0)
		if w.settledAll() || len(w.all()) != 0 {
			w.t.Fatal("a message for another inbox was settled or reported")
		}
	})
}

func TestFailedSpendsAttempts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = always(verdict(ferry.Failed, ferry.EffectNone, 409))
		w.run()
		h := w.handOut()
		for turn := 1; turn <= 2; turn++ {
			w.publish(h)
			r := w.only()
			wantNext(w.t, r, ferry.Next{Do: ferry.DoRetry, Spends: 1})
			if r.Next.After <= 0 || r.Next.After > 4*time.Second {
				w.t.Fatalf("retry after %s", r.Next.After)
			}
			h = next(h, r)
		}
		w.publish(h)
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonAttemptsExhausted, Spends: 1})
		w.wantCounts(3, 0)
	})
}

func TestRejected(t *testing.T) {
	inWorld(t, func(w *world) {
		v := verdict(ferry.Rejected, ferry.EffectNone, 400)
		v.Code, v.Fields = "badNumber", []ferry.FieldError{{Field: "number", Text: "is required"}}
		w.erp.post = always(v)
		w.run()
		w.publish(w.handOut())
		r := w.only()
		wantNext(w.t, r, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected})
		if r.Code != "badNumber" || len(r.Attempts) != 1 || len(r.Attempts[0].Fields) != 1 {
			w.t.Fatalf("receipt %+v", r)
		}
	})
}

func TestExpired(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		h.ExpiresAt = time.Now()
		w.publish(h)
		r := w.only()
		wantNext(w.t, r, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonExpired})
		if len(r.Attempts) != 0 {
			w.t.Fatal("an attempt without a call")
		}
		w.wantCounts(0, 0)
	})
}

// An unknown outcome: the destination wrote it, the answer was lost.
func TestUnknownIsWaitedOutThenFound(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 0))
		w.run()
		h := w.handOut()
		w.publish(h)
		r := w.only()
		wantNext(w.t, r, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true})
		h = next(h, r)

		w.publish(h) // too early
		r = w.only()
		if r.Verdict != ferry.NotTried || r.Next.After != time.Minute || !r.Next.Doubt || r.Next.Spends != 0 {
			w.t.Fatalf("before the wait is over: %+v", r)
		}
		w.wantCounts(1, 0)

		h = next(h, r)
		time.Sleep(time.Minute)
		w.erp.set(func(s *script) {
			s.look = looked(adapters.LookupResult{State: adapters.Found, Reference: "INV-7"})
		})
		w.publish(h)
		r = w.only()
		if r.Verdict != ferry.Duplicate || r.Reference != "INV-7" || r.Next.Do != ferry.DoComplete || r.Revision != 1 {
			w.t.Fatalf("found: %+v", r)
		}
		w.wantCounts(1, 1)
	})
}

func TestUnknownThenAbsentSpendsOneAndPosts(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 500))
		w.run()
		h := w.handOut()
		for turn := 1; turn <= 3; turn++ {
			w.publish(h)
			r := w.only()
			want := ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true, Spends: min(turn-1, 1)}
			wantNext(w.t, r, want)
			h = next(h, r)
			time.Sleep(time.Minute)
		}
		w.wantCounts(3, 2)
		w.publish(h) // the budget of three is used up by three calls that were not written
		r := w.only()
		wantNext(w.t, r, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonAttemptsExhausted, Spends: 1})
		w.wantCounts(3, 3)
	})
}

func TestUnknownBlindIsHeld(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.blind = true
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 0))
		w.run()
		h := w.handOut()
		w.publish(h)
		r := w.only()
		wantNext(w.t, r, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true})

		h = next(h, r)
		w.publish(h) // a replay without the risk accepted
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true})
		w.wantCounts(1, 0)

		h.Turn, h.RiskAccepted = 3, true
		w.erp.set(func(s *script) { s.post = nil })
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.Delivered {
			w.t.Fatalf("with the risk accepted: %+v", r)
		}
		w.wantCounts(2, 0)
	})
}

func TestUnknownRepostsWhereTheKeyIsHonoured(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.blind = true
		w.change = func(r *Route) { r.OnUnknown = OnUnknownRepost }
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 0))
		w.run()
		h := w.handOut()
		for range 2 {
			w.publish(h)
			r := w.only()
			wantNext(w.t, r, ferry.Next{Do: ferry.DoRetry, Doubt: true, Spends: 1})
			h = next(h, r)
		}
		w.publish(h)
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true, Spends: 1})
		w.wantCounts(3, 0)
	})
}

func TestRepostLooksBeforeItGivesUp(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = func(r *Route) { r.OnUnknown = OnUnknownRepost }
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 0))
		w.run()
		h := w.handOut()
		for range 3 {
			w.publish(h)
			r := w.only()
			if r.Next.Do != ferry.DoRetry || !r.Next.Doubt {
				w.t.Fatalf("next %+v", r.Next)
			}
			h = next(h, r)
		}
		w.wantCounts(3, 0)
		time.Sleep(time.Minute)
		w.publish(h)
		r := w.only()
		w.wantCounts(3, 1)
		wantNext(w.t, r, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonAttemptsExhausted, Spends: 1})
	})
}

func TestUnansweredLookupCostsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		h.Doubt = true
		v := verdict(ferry.Throttled, ferry.EffectMaybe, 429)
		v.RetryAfter = 20 * time.Second
		w.erp.look = looked(adapters.LookupResult{Verdict: v})
		w.publish(h)
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoRetry, After: 20 * time.Second, Doubt: true})
		time.Sleep(20 * time.Second)
		w.erp.set(func(s *script) {
			s.look = looked(adapters.LookupResult{Verdict: verdict(ferry.Rejected, ferry.EffectNone, 400)})
		})
		h.Turn = 2
		w.publish(h)
		r := w.only()
		wantNext(w.t, r, ferry.Next{Do: ferry.DoRetry, After: lookupAgain, Doubt: true})
		if !strings.Contains(r.Text, "lookup was not answered") {
			w.t.Fatalf("text %q", r.Text)
		}
		w.wantCounts(0, 2)
	})
}

func TestEditedMessageFoundIsAlreadyExists(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		h.Doubt, h.OpenRevision, h.Revision, h.Turn = true, true, 2, 3
		w.erp.look = looked(adapters.LookupResult{State: adapters.Found, Reference: "INV-3"})
		w.publish(h)
		r := w.only()
		if r.Verdict != ferry.AlreadyExists || r.Reference != "INV-3" || r.Next.Reason != ferry.ReasonAlreadyExists {
			w.t.Fatalf("receipt %+v", r)
		}
		w.wantCounts(0, 1)
	})
}

// The inbox alone knows that revision 1 is open.
func TestEditAfterOpenOutcomeOnRecord(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 0))
		w.run()
		h := w.handOut()
		w.publish(h)
		w.only()
		time.Sleep(time.Minute)
		w.erp.set(func(s *script) {
			s.look = looked(adapters.LookupResult{State: adapters.Found, Reference: "INV-3"})
		})
		h.Turn, h.Revision, h.Generation = 2, 2, 2
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.AlreadyExists {
			w.t.Fatalf("receipt %+v", r)
		}
		w.wantCounts(1, 1)
	})
}

func TestFoundProvesNoLaterRevision(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		h.Doubt, h.Revision, h.Turn = true, 2, 3
		w.erp.look = looked(adapters.LookupResult{State: adapters.Found, Reference: "INV-3"})
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.Duplicate || r.Revision != 0 {
			w.t.Fatalf("receipt %+v", r)
		}
	})
}

func TestDifferentDocumentIsAlreadyExists(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		h.Doubt = true
		w.erp.look = looked(adapters.LookupResult{State: adapters.Found, Reference: "INV-3", Different: true})
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.AlreadyExists || r.Next.Reason != ferry.ReasonAlreadyExists {
			w.t.Fatalf("receipt %+v", r)
		}
	})
}

func TestBegunElsewhereAbsentCostsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		h.Elsewhere, h.NotBefore = true, time.Now().Add(90*time.Second)
		w.publish(h)
		r := w.only()
		wantNext(w.t, r, ferry.Next{Do: ferry.DoRetry, After: 90 * time.Second, Doubt: true})
		w.wantCounts(0, 0)
		time.Sleep(90 * time.Second)
		h.Turn = 2 // and still elsewhere
		w.publish(h)
		r = w.only()
		wantNext(w.t, r, ferry.Next{Do: ferry.DoComplete})
		w.wantCounts(1, 1)
	})
}

func TestExpiredWithOpenOutcomeLooksFirst(t *testing.T) {
	for name, c := range map[string]struct {
		found  bool
		verb   ferry.NextDo
		reason ferry.Reason
	}{
		"found":  {true, ferry.DoComplete, ""},
		"absent": {false, ferry.DoDeadLetter, ferry.ReasonExpired},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.run()
				h := w.handOut()
				h.Doubt, h.ExpiresAt = true, time.Now()
				if c.found {
					w.erp.look = looked(adapters.LookupResult{State: adapters.Found, Reference: "INV-3"})
				}
				w.publish(h)
				r := w.only()
				if r.Next.Do != c.verb || r.Next.Reason != c.reason || r.Next.Doubt {
					w.t.Fatalf("next %+v", r.Next)
				}
				w.wantCounts(0, 1)
			})
		})
	}
}

func TestConflictIsLookedUpAtOnce(t *testing.T) {
	conflict := verdict(ferry.Unknown, ferry.EffectMaybe, 409)
	conflict.Code = adapters.CodeMaybeDuplicate
	for name, c := range map[string]struct {
		answer adapters.LookupResult
		kind   ferry.VerdictKind
		next   ferry.Next
	}{
		"found":      {adapters.LookupResult{State: adapters.Found, Reference: "INV-5"}, ferry.Duplicate, ferry.Next{Do: ferry.DoComplete}},
		"different":  {adapters.LookupResult{State: adapters.Found, Different: true}, ferry.AlreadyExists, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonAlreadyExists}},
		"absent":     {adapters.LookupResult{State: adapters.Absent}, ferry.Rejected, ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected}},
		"unanswered": {adapters.LookupResult{Verdict: verdict(ferry.Unavailable, ferry.EffectNone, 503)}, ferry.Unknown, ferry.Next{Do: ferry.DoRetry, After: time.Minute, Doubt: true}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.erp.post = always(conflict)
				w.erp.look = looked(c.answer)
				w.run()
				w.publish(w.handOut())
				r := w.only()
				if r.Verdict != c.kind || len(r.Attempts) != 1 || r.Attempts[0].Status != 409 {
					w.t.Fatalf("receipt %+v", r)
				}
				wantNext(w.t, r, c.next)
				w.wantCounts(1, 1)
			})
		})
	}
}

func TestBodyIsFetched(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		body := []byte(strings.Repeat("x", 3*queue.BodyChunk/2))
		w.say(func(w *world) { w.bodies[h.ID] = body })
		h.Body, h.Size = nil, int64(len(body))
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.Delivered || string(w.erp.calls[0].Body) != string(body) {
			w.t.Fatalf("receipt %+v, body of %d bytes", r, len(w.erp.calls[0].Body))
		}
		gone := w.handOut()
		gone.Body, gone.Size = nil, 1000
		w.publish(gone)
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonBodyMissing})
		w.wantCounts(1, 0)
	})
}

func TestPanicOfAnAdapterIsAnUnknownOutcome(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict { panic(errors.New("boom")) }
		w.run()
		w.publish(w.handOut())
		if r := w.only(); r.Verdict != ferry.Unknown || r.Effect != ferry.EffectMaybe || !r.Next.Doubt {
			w.t.Fatalf("receipt %+v", r)
		}
	})
}

func TestOneDeliveryPerMessageAtATime(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(ctx context.Context, _ adapters.Call) ferry.Verdict {
			time.Sleep(10 * time.Second)
			return delivered("INV-1")
		}
		w.run()
		h := w.handOut()
		w.publish(h)
		w.publish(h)
		w.mq.ExpireLocks() // and the first one comes again
		time.Sleep(time.Minute)
		synctest.Wait()
		w.wantCounts(1, 0)
		for _, r := range w.all() {
			if r.Reference != "INV-1" || r.Turn != 1 {
				w.t.Fatalf("receipt %+v", r)
			}
		}
		w.wantSettled()
	})
}

func TestCallEndsByItsDeadline(t *testing.T) {
	inWorld(t, func(w *world) {
		var took time.Duration
		w.erp.post = func(ctx context.Context, _ adapters.Call) ferry.Verdict {
			started := time.Now()
			<-ctx.Done()
			took = time.Since(started)
			return verdict(ferry.Unknown, ferry.EffectMaybe, 0)
		}
		w.run()
		w.publish(w.handOut())
		time.Sleep(31 * time.Second)
		if w.only().Verdict != ferry.Unknown || took != 30*time.Second {
			w.t.Fatalf("the call ran for %s", took)
		}
	})
}
