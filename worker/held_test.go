package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/queue"
)

// A worker that hears of a pause begins nothing more: what it has in hand and did
// not begin it gives back, and it says what still runs.
func TestAPausedRouteBeginsNothing(t *testing.T) {
	inWorld(t, func(w *world) {
		w.erp.post = func(context.Context, adapters.Call) ferry.Verdict {
			time.Sleep(10 * time.Second)
			return delivered("INV-1")
		}
		w.run()
		list := make([]ferry.HandOut, 20) // four in calls, four more in hand
		for i := range list {
			list[i] = w.handOut()
		}
		w.publish(list...)
		time.Sleep(time.Second)
		w.wantCounts(4, 0)
		since := time.Now().UTC()
		w.say(func(w *world) { w.word.Paused, w.word.PausedAt = true, since })
		w.signal(queue.Signal{HelloAgain: true})
		time.Sleep(4 * time.Second)
		if h := w.lastHello().Routes[0]; !h.Stopped.Equal(since) || h.InFlight < 4 {
			t.Fatalf("it tells: %+v", h)
		}
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if h := w.lastHello().Routes[0]; !h.Stopped.Equal(since) || h.InFlight != 0 {
			t.Fatalf("at the end of the calls it tells: %+v", h)
		}
		time.Sleep(time.Hour)
		w.wantCounts(4, 0)
		w.say(func(w *world) { w.word.Paused, w.word.PausedAt = false, time.Time{} })
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		w.wantCounts(20, 0)
		w.wantSettled()
		for _, r := range w.all() {
			if r.Verdict != ferry.Delivered {
				t.Errorf("%+v", r)
			}
		}
	})
}

// What waits for the configured rate does not keep a paused route from coming to
// rest.
func TestAPauseDoesNotWaitForTheRate(t *testing.T) {
	inWorld(t, func(w *world) {
		w.change = func(r *Route) {
			r.Destination = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 4, Burst: 4, Rate: 1.0 / 60})
		}
		w.run()
		w.publish(w.handOut(), w.handOut(), w.handOut(), w.handOut())
		time.Sleep(15 * time.Second)
		w.wantCounts(1, 0) // a start is no burst
		h := w.lastHello().Routes[0]
		if len(h.Conditions) != 1 || h.Conditions[0].Type != ferry.RouteThrottled || !h.Conditions[0].Rate {
			t.Errorf("what holds is the rate: %+v", h.Conditions)
		}
		w.say(func(w *world) { w.word.Paused, w.word.PausedAt = true, time.Now() })
		w.signal(queue.Signal{HelloAgain: true})
		time.Sleep(3 * time.Second)
		if h := w.lastHello().Routes[0]; h.InFlight != 0 || h.Stopped.IsZero() {
			t.Errorf("it tells: %+v", h)
		}
		time.Sleep(10 * time.Minute)
		w.wantCounts(1, 0)
	})
}

// A worker stops at the begin of a window that it was told of, and goes on at its
// end, without a word in between; and the clocks of what it holds stood still.
func TestAWindowWithoutABroker(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say(func(w *world) {
			w.word.Good, w.outlives = 24*time.Hour, true
			w.word.Held = 5 * time.Minute
			w.word.Hold = &queue.Hold{In: 10 * time.Minute, For: time.Hour}
		})
		w.run()
		begin := time.Now()
		w.say(func(w *world) { w.helloFails = true })
		time.Sleep(9*time.Minute + 59*time.Second)
		w.publish(w.handOut())
		w.wantCounts(1, 0)
		time.Sleep(time.Second)
		h, stale := w.handOut(), w.handOut()
		h.Held, h.ExpiresAt = 5*time.Minute, time.Now().Add(30*time.Minute)    // handed out right before
		stale.Held, stale.ExpiresAt = 2*time.Hour, time.Now().Add(time.Minute) // by a broker that knows of more
		w.publish(h, stale)
		time.Sleep(time.Hour - time.Second)
		w.wantCounts(1, 0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		w.wantCounts(2, 0)
		if d := time.Since(begin); d > 71*time.Minute {
			t.Fatalf("after %s", d)
		}
		verdicts := map[ferry.ID]ferry.VerdictKind{}
		for _, r := range w.all() {
			verdicts[r.ID] = r.Verdict
		}
		if verdicts[h.ID] != ferry.Delivered || verdicts[stale.ID] != ferry.Expired {
			t.Errorf("%v", verdicts)
		}
	})
}

// The expiry of what was handed out moves with what its route was held since.
func TestExpiryMoves(t *testing.T) {
	now := time.Now()
	h := ferry.HandOut{ExpiresAt: now.Add(time.Hour), Held: 10 * time.Minute}
	for name, c := range map[string]struct {
		word word
		hand ferry.HandOut
		want time.Duration
	}{
		"as it was":                {word{RouteWelcome: queue.RouteWelcome{Held: 10 * time.Minute}}, h, 0},
		"held since":               {word{RouteWelcome: queue.RouteWelcome{Held: 40 * time.Minute}}, h, 30 * time.Minute},
		"a word from before":       {word{RouteWelcome: queue.RouteWelcome{Held: time.Minute}}, h, 0},
		"an older broker's word":   {word{}, h, 0},
		"handed out by an older":   {word{RouteWelcome: queue.RouteWelcome{Held: 40 * time.Minute}}, ferry.HandOut{ExpiresAt: h.ExpiresAt}, 0},
		"a hold since the word":    {word{RouteWelcome: queue.RouteWelcome{Held: 10 * time.Minute, Hold: &queue.Hold{In: time.Minute, For: 5 * time.Minute}}, heard: atMoment(now.Add(-time.Hour))}, h, 5 * time.Minute},
		"a hold that goes on":      {word{RouteWelcome: queue.RouteWelcome{Held: 10 * time.Minute, Hold: &queue.Hold{}}, heard: atMoment(now.Add(-7 * time.Minute))}, h, 7 * time.Minute},
		"a hold that is yet to be": {word{RouteWelcome: queue.RouteWelcome{Held: 10 * time.Minute, Hold: &queue.Hold{In: time.Hour}}, heard: atMoment(now.Add(-7 * time.Minute))}, h, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := &route{word: c.word}
			if got := r.expiresAt(&c.hand, now).Sub(c.hand.ExpiresAt); got != c.want {
				t.Fatalf("moved by %s, want %s", got, c.want)
			}
		})
	}
}
