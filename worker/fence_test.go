package worker

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/queue"
)

// The commit of "begun" takes long, and meanwhile something happens after which
// no call may start: the turn is given back by receipt.
func TestNoCallAfterASlowCommit(t *testing.T) {
	for name, c := range map[string]struct {
		commit    time.Duration
		meanwhile func(w *world)
		why       string // empty: the call is made
	}{
		"nothing happens":     {4 * time.Second, func(*world) {}, ""},
		"the deadline passes": {startGrace + time.Millisecond, func(*world) {}, "the deadline of the call had come too close"},
		"the lock is lost": {
			20 * time.Second, // renewed at half the lock of 30 s
			func(w *world) { w.mq.Purge(queue.MessagesOf(testRoute)) }, "the lock on the delivery was lost",
		},
		"the credentials are refused": {
			time.Second, func(w *world) { w.dest.refused("") }, "the destination is not called at the moment",
		},
		"the destination goes down": {
			time.Second, func(w *world) { w.dest.breaker.Unavailable(true) }, "the destination is not called at the moment",
		},
		"the worker is stopping": {
			time.Second, func(w *world) { w.worker.stopReceive() }, "the worker is stopping",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.run()
				h := w.handOut()
				slow := make(chan error, 1)
				go func() {
					slow <- w.worker.inbox.db.Update(context.Background(), func(*bbolt.Tx) error {
						time.Sleep(c.commit)
						return nil
					})
				}()
				synctest.Wait()
				w.publish(h)
				w.wantCounts(0, 0)
				c.meanwhile(w)
				time.Sleep(c.commit)
				if err := <-slow; err != nil {
					w.t.Fatal(err)
				}
				r := w.only()
				if c.why == "" {
					if r.Verdict != ferry.Delivered {
						w.t.Fatalf("receipt %+v", r)
					}
					return
				}
				w.wantCounts(0, 0)
				if r.Verdict != ferry.NotTried || !strings.Contains(r.Text, c.why) || len(r.Attempts) != 0 {
					w.t.Fatalf("receipt %+v", r)
				}
				wantNext(w.t, r, ferry.Next{Do: ferry.DoRetry})
				if rec, err := w.worker.inbox.find(h.ID); err != nil || rec.state != result || rec.doubt {
					w.t.Fatalf("record %+v, %v", rec, err)
				}
			})
		})
	}
}

// The deadline of a call is kept by both clocks: the turn of a machine that slept may
// have been taken over, and a clock may have been set.
func TestADeadlineIsKeptByTheClockThatSaysLess(t *testing.T) {
	at := func(steady, wall time.Duration) moment {
		epoch := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
		return moment{steady: epoch.Add(steady), wall: epoch.Add(wall)}
	}
	deadline := at(35*time.Second, 35*time.Second)
	for name, c := range map[string]struct {
		now  moment
		want time.Duration
	}{
		"fresh":                  {at(time.Second, time.Second), 34 * time.Second},
		"over":                   {at(36*time.Second, 36*time.Second), -time.Second},
		"the machine slept":      {at(time.Second, time.Hour), 35*time.Second - time.Hour},
		"the clock was set back": {at(34*time.Second, -time.Hour), time.Second},
	} {
		if got := deadline.until(c.now); got != c.want {
			t.Errorf("%s: %s left, want %s", name, got, c.want)
		}
	}
	if got := left(time.Now().Add(time.Hour)); got > time.Hour || got < 59*time.Minute {
		t.Errorf("%s left of an hour", got)
	}
}
