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

func TestBodyIsFetched(t *testing.T) {
	inWorld(t, func(w *world) {
		w.run()
		h := w.handOut()
		body := []byte(strings.Repeat("x", 3*queue.BodyChunk/2))
		w.say(func(w *world) { w.bodies[h.ID] = body })
		h.Body, h.Size = nil, int64(len(body))
		w.publish(h)
		if r := w.only(); r.Verdict != ferry.Delivered || w.erp.firstBody() != string(body) {
			w.t.Fatalf("receipt %+v, body of %d bytes", r, len(w.erp.firstBody()))
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
