package worker

import (
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
)

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

// An adapter says that no call was made: nothing is open, and nobody is asked.
func TestAdapterDidNotTry(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.blind = true
		w.erp.post = always(verdict(ferry.NotTried, ferry.EffectNone, 0))
		w.run()
		w.publish(w.handOut())
		r := w.only()
		if r.Verdict != ferry.NotTried || r.Effect != ferry.EffectNone || len(r.Attempts) != 0 {
			w.t.Fatalf("receipt %+v", r)
		}
		wantNext(w.t, r, ferry.Next{Do: ferry.DoRetry})
		w.wantSettled()
	})
}

// The destination called back that it rejects the message, and a person replayed
// it: the inbox only knows that the call of the earlier generation is open. It is
// looked up, and costs the new generation nothing.
func TestAnOutcomeOfAnEarlierGenerationCostsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = always(verdict(ferry.Unknown, ferry.EffectMaybe, 504))
		w.run()
		h := w.handOut()
		w.publish(h)
		h = next(h, w.only())
		h.Generation, h.Spent, h.Doubt = 2, 0, false
		time.Sleep(time.Minute)
		w.erp.set(func(s *script) { s.post = nil })
		h.PublishedAt = time.Now()
		w.publish(h)
		wantNext(w.t, w.only(), ferry.Next{Do: ferry.DoComplete})
		w.wantCounts(2, 1)
	})
}

// Late, and the destination says that it still works on it: that is not forgotten
// when the turn ends without an answer to the lookup, and it is not sent again.
func TestRunningIsNotForgottenWhenTheLookupFails(t *testing.T) {
	for name, down := range map[string]func(w *world, h *ferry.HandOut){
		"the lookup is not answered": func(w *world, _ *ferry.HandOut) {
			w.erp.look = looked(adapters.LookupResult{Verdict: verdict(ferry.Unavailable, ferry.EffectNone, 503)})
		},
		"claimed, and the body cannot be fetched": func(w *world, h *ferry.HandOut) {
			w.word.Claims, w.bodiesFail = true, true
			h.Inbox, h.Claims, h.Body, h.Size = "", true, nil, 10
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.change = polls
				w.run()
				h := w.taken()
				time.Sleep(25 * time.Hour)
				w.erp.set(func(s *script) { s.poll = always(ferry.Verdict{Kind: ferry.InProgress}) })
				w.say(func(w *world) { down(w, &h) })
				time.Sleep(2 * helloEvery)
				h.PublishedAt = time.Now()
				w.publish(h)
				r := w.only()
				wantNext(t, r, ferry.Next{Do: ferry.DoRetry, Doubt: true, Awaits: true, StatusURL: statusURL})

				w.erp.set(func(s *script) { s.look = nil })
				w.say(func(w *world) { w.bodiesFail, w.bodies[h.ID] = false, make([]byte, 10) })
				h = ledgered(h, r)
				h.PublishedAt = time.Now()
				w.publish(h)
				time.Sleep(10 * time.Second)
				wantNext(t, w.only(), ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonOutcomeUnknown, Doubt: true})
				w.wantPosts(1)
				w.wantSettled()
			})
		})
	}
}
