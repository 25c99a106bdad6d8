package e2e

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// quick is a world that is over a kill within seconds: short locks and calls.
func quick(t *testing.T) *world {
	t.Helper()
	w := newQuick(t)
	w.start()
	return w
}

// newQuick is quick before anything runs.
func newQuick(t *testing.T) *world {
	t.Helper()
	return newWorld(t, options{
		lock:        "5s",
		destination: []string{"timeout: 1s", "concurrency: 8"},
		route: []string{
			`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`,
			"settleTime: 1s",
			"retry: {attempts: 8, initialDelay: 100ms, maxDelay: 1s}",
		},
	})
}

// load is senders that never give up on a message.
type load struct {
	w     *world
	stop  chan struct{}
	group sync.WaitGroup
	next  atomic.Int64
	body  func(n int64, key string) string

	mu       sync.Mutex
	accepted map[string]ferry.ID // by key
}

// startLoad sends from so many senders, about fifty messages a second.
func (w *world) startLoad(senders int) *load {
	return w.startLoadOf(senders, func(_ int64, key string) string { return kibibyte(key) })
}

// startMixedLoad is startLoad, where every fifth body lies in a file of its own.
func (w *world) startMixedLoad(senders int) *load {
	return w.startLoadOf(senders, func(n int64, key string) string {
		if n%5 == 0 {
			return invoiceOf(key, ferry.InlineBody+1+int(n)*100)
		}
		return kibibyte(key)
	})
}

func (w *world) startLoadOf(senders int, body func(n int64, key string) string) *load {
	l := &load{w: w, stop: make(chan struct{}), accepted: map[string]ferry.ID{}, body: body}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.t.Cleanup(func() { cancel(); l.group.Wait() })
	for range senders {
		l.group.Go(func() { l.run(ctx, time.Duration(senders)*20*time.Millisecond) })
	}
	return l
}

func (l *load) run(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		n := l.next.Add(1)
		key := fmt.Sprintf("load-%05d", n)
		a, err := l.w.sendUntil(ctx, invoices, key, []byte(l.body(n, key)))
		if err != nil {
			l.w.t.Errorf("send %s: %v", key, err)
			return
		}
		l.mu.Lock()
		l.accepted[key] = a.ID
		l.mu.Unlock()
	}
}

// end stops the senders, once each has an answer to its last message.
func (l *load) end() map[string]ferry.ID {
	l.w.t.Helper()
	close(l.stop)
	l.group.Wait()
	return l.accepted
}

// count is how many were accepted so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.accepted)
}

// awaitMore waits until n more were accepted: there is load.
func (l *load) awaitMore(n int) {
	l.w.t.Helper()
	until := l.count() + n
	eventually(l.w.t, 30*time.Second, func() string {
		if have := l.count(); have < until {
			return fmt.Sprintf("%d messages were accepted, not %d", have, until)
		}
		return ""
	})
}

// wantOnce fails unless every message is completed, and in the ERP exactly once.
func (w *world) wantOnce(accepted map[string]ferry.ID) {
	w.t.Helper()
	w.awaitDrained(time.Minute + time.Duration(len(accepted))*50*time.Millisecond)
	if len(accepted) == 0 {
		w.t.Fatal("no message was accepted")
	}
	for key, id := range accepted {
		docs := w.erp.Documents(key)
		e := w.message(id)
		if e.State != ferry.StateCompleted || len(docs) != 1 || e.Reference != docs[0].ID {
			w.t.Errorf("%s is %s as %q with %d documents: %+v, attempts %+v", key, e.State, e.Reference, len(docs), e.DeadLetter, e.Attempts)
		}
	}
	n := int64(len(accepted))
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: n, Completed: n}); got != want {
		w.t.Errorf("reconcile: %+v, not %+v", got, want)
	}
	if docs := len(w.erp.Documents("")); docs != len(accepted) {
		w.t.Errorf("the ERP has %d documents of %d messages", docs, len(accepted))
	}
}

// number is a setting from the environment; otherwise where it is not set.
func number(t *testing.T, name string, otherwise, most uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < 1 || n > most {
		t.Fatalf("%s=%s is no number from 1 to %d", name, text, most)
	}
	return n
}

// chance is what a test leaves to chance: a seed that FERRY_SEED repeats.
func chance(t *testing.T) (*rand.Rand, uint64) {
	t.Helper()
	seed := number(t, "FERRY_SEED", rand.Uint64N(1_000_000)+1, math.MaxUint64)
	t.Logf("FERRY_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0)), seed
}

// TestKillLoops kills the broker, the worker and both, again and again, at
// moments left to chance: under load, while they start, while calls are out and
// while answers are lost.
func TestKillLoops(t *testing.T) {
	t.Parallel()
	kills := number(t, "FERRY_KILLS", 6, 10_000)
	rng, seed := chance(t)
	w := quick(t)
	w.erp.Set(practice.Settings{Seed: seed})
	w.fail(
		practice.Fault{Kind: practice.FaultSlow, Times: -1, Chance: 0.50, Delay: 100 * time.Millisecond},
		practice.Fault{Kind: practice.FaultCutAfter, Times: -1, Chance: 0.02},
		practice.Fault{Kind: practice.FaultCutWriteLate, Times: -1, Chance: 0.01, Delay: 300 * time.Millisecond},
		practice.Fault{Kind: practice.FaultStatusAfterWrite, Times: -1, Chance: 0.02},
	)
	l := w.startLoad(8)
	killed := map[string]int{}
	for i := range kills {
		if i%8 == 5 {
			w.awaitUp()
			l.awaitMore(15) // there is load, and the broker gets somewhere
		}
		w.keepRunning(time.Duration(rng.Int64N(int64(time.Second))))
		whom := [...]string{"broker", "worker", "both"}[rng.IntN(3)]
		killed[whom]++
		if whom != "worker" {
			w.broker.kill()
		}
		if whom != "broker" {
			w.worker.kill()
		}
		w.keepRunning(time.Duration(rng.Int64N(int64(100 * time.Millisecond))))
	}
	w.awaitUp()
	l.awaitMore(15)
	accepted := l.end()
	w.wantOnce(accepted)
	t.Logf("%d kills (%v), %d messages, %d creates, %d lookups", kills, killed, len(accepted), w.erp.Calls(practice.OpCreate), w.erp.Calls(practice.OpLookup))
}

// keepRunning is a service manager for a while: what has ended is started again,
// also a worker that came before its broker.
func (w *world) keepRunning(within time.Duration) {
	w.t.Helper()
	for until := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) { // bounded by until
		w.restart()
		if time.Now().After(until) {
			return
		}
	}
}

func (w *world) restart() {
	w.t.Helper()
	if !w.broker.running() {
		w.launchBroker()
	}
	if !w.worker.running() {
		w.startWorker()
	}
}

// awaitUp is keepRunning until the routes run.
func (w *world) awaitUp() {
	w.t.Helper()
	w.restart()
	w.awaitBroker()
	eventually(w.t, 20*time.Second, func() string {
		w.restart()
		routes, err := w.client.Routes(w.t.Context())
		if err != nil {
			return err.Error()
		}
		for _, r := range routes {
			if r.State == ferry.RouteNoWorker {
				return "route " + r.Name + " has no worker"
			}
		}
		return ""
	})
}

func (w *world) fail(faults ...practice.Fault) {
	w.t.Helper()
	if err := w.erp.Fail(faults...); err != nil {
		w.t.Fatal(err)
	}
}

// TestKillWithCallsCut: the worker dies while the ERP holds its calls, having
// written or not.
func TestKillWithCallsCut(t *testing.T) {
	t.Parallel()
	w := quick(t)
	l := w.startLoad(4)
	l.awaitMore(5)
	before := w.erp.Calls(practice.OpCreate)
	w.fail(practice.Fault{Kind: practice.FaultWriteLate, Times: 4, Delay: 300 * time.Millisecond})
	w.fail(practice.Fault{Kind: practice.FaultHang, Times: 2, Delay: 900 * time.Millisecond})
	eventually(t, 10*time.Second, func() string {
		if n := w.erp.Calls(practice.OpCreate); n < before+3 {
			return fmt.Sprintf("the ERP was called %d times", n-before)
		}
		return ""
	})
	w.worker.kill()
	w.startWorker()
	l.awaitMore(20)
	w.wantOnce(l.end())
}

// TestKillWithQueueLost: the queue's folder is deleted while the broker is down.
func TestKillWithQueueLost(t *testing.T) {
	t.Parallel()
	w := quick(t)
	l := w.startLoad(4)
	l.awaitMore(10)
	// What waits in the queue is lost with it: the worker must not be faster.
	w.worker.kill()
	l.awaitMore(30)
	w.broker.kill()
	if err := os.RemoveAll(w.path("data/queue")); err != nil {
		t.Fatal(err)
	}
	w.startBroker()
	w.startWorker()
	l.awaitMore(10)
	w.wantOnce(l.end())
}

// TestQueueLostUnderWorker: as above, while the worker goes on.
func TestQueueLostUnderWorker(t *testing.T) {
	t.Parallel()
	w := quick(t)
	l := w.startLoad(4)
	l.awaitMore(20)
	w.broker.kill()
	if err := os.RemoveAll(w.path("data/queue")); err != nil {
		t.Fatal(err)
	}
	w.startBroker()
	l.awaitMore(20)
	w.wantOnce(l.end())
}
