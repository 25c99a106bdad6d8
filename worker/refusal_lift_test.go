package worker

import (
	"context"
	"testing"
	"time"

	"ferry"
	"ferry/adapters"
)

// A resume lifts a refusal that came before it, whatever the broker's clock says.
func TestResumeIsHeardByAnotherClock(t *testing.T) {
	for _, skew := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		inWorld(t, func(w *world) {
			l := w.secured("wrong")
			w.skew, w.word.ResumedAt = skew, time.Now().Add(skew-time.Second)
			time.Sleep(time.Minute)
			w.run()
			w.publish(w.handOut())
			time.Sleep(2 * time.Minute)
			if tries, _, _, _ := l.seen(); tries != 1 {
				t.Errorf("%s: %d logons, resumed before the refusal", skew, tries)
			}
			w.say(func(w *world) { w.word.ResumedAt = time.Now().Add(w.skew) })
			time.Sleep(2 * time.Minute)
			w.publish(w.handOut())
			time.Sleep(10 * time.Second)
			if tries, _, _, _ := l.seen(); tries != 2 {
				t.Errorf("%s: %d logons, resumed after the refusal", skew, tries)
			}
		})
	}
}

// A resume counts, too, when the broker's clock was set back since the one before it.
func TestResumeIsHeardAfterTheClockWasSetBack(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.secured("wrong")
		tries := func(when string, want int) {
			t.Helper()
			w.publish(w.handOut())
			time.Sleep(10 * time.Second)
			if tries, _, _, _ := l.seen(); tries != want {
				t.Errorf("%s: %d logons, not %d", when, tries, want)
			}
		}
		w.skew, w.word.ResumedAt = time.Hour, time.Now().Add(59*time.Minute)
		w.run()
		tries("at first", 1)
		w.say(func(w *world) { w.skew = 0 })
		time.Sleep(2 * time.Minute)
		tries("the clock was set back", 1)
		w.say(func(w *world) { w.word.ResumedAt = time.Now() })
		time.Sleep(2 * time.Minute)
		tries("and then somebody resumed", 2)
		w.stopWorker()
		w.say(func(w *world) { w.word.ResumedAt = time.Now().Add(time.Hour) })
		w.run()
		time.Sleep(2 * time.Minute)
		tries("a worker that was started hears of a resume that is yet to come", 2)
	})
}

// A secret that cannot be read for a moment is no other one: what was refused is not
// tried again when it is back, whoever called meanwhile, and over a restart.
func TestAnUnreadableSecretIsNoOther(t *testing.T) {
	inWorld(t, func(w *world) {
		l := w.secured("wrong")
		reads := func(secret string) {
			w.erp.set(func(s *script) {
				s.print = secret
				s.post = func(context.Context, adapters.Call) ferry.Verdict { return l.call() }
				if secret == adapters.Unreadable {
					s.post = always(ferry.Verdict{Kind: ferry.Unauthorized, Effect: ferry.EffectNone, Code: "secretUnreadable"})
				}
			})
		}
		refused := func(when string, want int) {
			t.Helper()
			w.publish(w.handOut())
			time.Sleep(5 * time.Minute)
			if tries, _, _, _ := l.seen(); tries != want {
				t.Fatalf("%d logons %s", tries, when)
			}
		}
		w.run()
		refused("at first", 1)
		reads(adapters.Unreadable)
		time.Sleep(time.Minute)
		reads("wrong")
		refused("after it was unreadable", 1)

		// Tried of its own accord, after half an hour; and somebody resumes.
		time.Sleep(20 * time.Minute)
		refused("after half an hour", 2)
		reads(adapters.Unreadable)
		w.say(func(w *world) { w.word.ResumedAt = time.Now() })
		refused("unreadable and resumed", 2)
		reads("wrong")
		refused("when it was back", 2)
		if n := len(w.dest.refusal.tries); n != 1 {
			t.Errorf("%d tries are remembered", n)
		}

		w.stopWorker()
		reads(adapters.Unreadable)
		w.run()
		time.Sleep(time.Minute)
		reads("wrong")
		time.Sleep(time.Minute)
		refused("after a restart without it", 2)
		if n := len(w.dest.refusal.tries); n != 1 {
			t.Errorf("%d tries are remembered over the restart", n)
		}

		// Another one is tried at once; and a good one that is back goes on.
		w.stopWorker()
		reads(adapters.Unreadable)
		w.run()
		time.Sleep(time.Minute)
		for range 2 {
			reads("right")
			l.set(func(l *logons) { l.now = "right" })
			w.clear()
			w.publish(w.handOut())
			time.Sleep(10 * time.Second)
			if list := w.all(); len(list) == 0 || list[len(list)-1].Verdict != ferry.Delivered {
				t.Fatalf("%+v\n%s", list, w.log)
			}
			reads(adapters.Unreadable)
			w.publish(w.handOut())
			time.Sleep(time.Minute)
		}
	})
}
