package sim

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"

	"ferry"
	"ferry/broker"
	"ferry/queue"
	"ferry/retry"
	"ferry/worker"
)

// brokerLife is one run of the broker.
type brokerLife struct {
	*life
	b *broker.Broker
}

// workerLife is one run of a worker.
type workerLife struct {
	*life
	worker   *worker.Worker
	queue    *queue.Queue
	draining bool
	drained  chan struct{} // closed when a drain has ended
}

type transport struct{ q *queue.Queue }

func (t transport) Queue() *queue.Queue                    { return t.q }
func (transport) NewLogin() (public, seed string, _ error) { return "public", "seed", nil }
func (transport) SetWorkers([]ferry.WorkerInfo) error      { return nil }
func (t transport) Close(ctx context.Context) error        { return t.q.Close(ctx) }

func workerName(i int) string { return fmt.Sprintf("w%d", i+1) }

// startBroker starts it on the ledger as it was left.
func (w *world) startBroker() {
	l := newLife("B")
	b, err := broker.New(context.Background(), broker.Options{
		DataDir: w.ledgerAt, Version: "simulated", PublicURL: "https://broker.example", MinFree: -1, SilentAfter: silentAfter,
		Routes: []ferry.Route{{Name: route, Window: w.cfg.window, Several: w.cfg.several, WorkAway: workAway}},
		OpenTransport: func(context.Context, []ferry.WorkerInfo) (broker.Transport, error) {
			return transport{w.driverOf(l, w.mem.Broker())}, nil
		},
		FileID:       func(string) (uint64, error) { return w.ledgerFile, nil },
		BeforeCommit: func() { w.commits(l, "begins a commit of the ledger", false) },
		AfterCommit:  func() { w.commits(l, "has a commit of the ledger on disk", true) },
	})
	if err != nil {
		w.t.Fatalf("the broker does not start: %v", err)
	}
	for i := range w.cfg.workers {
		if _, err := b.AddWorker(context.Background(), workerName(i), []string{route}, "", "simulator"); err != nil && ferry.CodeOf(err) != ferry.CodeExists {
			w.t.Fatal(err)
		}
	}
	l.setGated(true)
	if err := b.Start(); err != nil {
		w.t.Fatalf("the broker does not start: %v", err)
	}
	w.broker = &brokerLife{life: l, b: b}
	w.brokerUp.Store(true)
}

// commits is a gate before or after a commit. The words are found when it is
// passed: by then everybody else has come as far as he can.
func (w *world) commits(l *life, words string, onDisk bool) {
	words = l.name + " " + words
	if _, err := w.park(context.Background(), &gate{of: l, kind: "commit", words: words, ways: []way{ordinary}}); err != nil || !l.isGated() {
		return
	}
	if l.name == "B" {
		w.tellf("%s", words)
		return
	}
	if !onDisk {
		l.writing = w.inboxWords(l)
	}
	w.tellf("%s: %s", words, l.writing)
}

// hand is a delivery in a worker's hands.
type hand struct {
	turn  string
	stage stage
}

// stage is how far it is.
type stage int

const (
	received stage = iota // the next that is written down is "begun"
	calling               // the next is its result
	ended                 // the same: a receipt is on its way
	recorded
)

// inboxWords says what a worker writes down now, and moves its deliveries on.
func (w *world) inboxWords(l *life) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for letter, h := range w.hands[l.name] {
		switch h.stage {
		case received:
			list = append(list, "begun "+letter+"."+h.turn)
			h.stage = calling
			w.message(letter).called = true
		case calling, ended:
			list = append(list, "the result of "+letter+"."+h.turn)
			h.stage = recorded
		}
	}
	if len(list) == 0 {
		return "what was confirmed"
	}
	sort.Strings(list)
	return strings.Join(list, ", ")
}

// inHand notes how far a delivery is. A packet of another turn says nothing of it.
func (w *world) inHand(l *life, p queue.Packet, s stage) {
	if l.isDead() {
		return
	}
	parts := strings.Split(p.ID, ".")
	letter := w.letterOf(parts[0])
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hands[l.name] == nil {
		w.hands[l.name] = map[string]*hand{}
	}
	if s == received {
		w.hands[l.name][letter] = &hand{turn: parts[1]}
	}
	if h := w.hands[l.name][letter]; h != nil && h.turn == parts[1] {
		h.stage = max(h.stage, s)
	}
}

func (w *world) outOfHand(l *life, p queue.Packet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !l.isDead() {
		delete(w.hands[l.name], w.letterOf(strings.Split(p.ID, ".")[0]))
	}
}

// killBroker ends it with no word to anybody. What is in its ledger stays.
func (w *world) killBroker() {
	b := w.broker
	w.ledgerAt = w.snapshot(w.ledgerAt, "ledger.db", broker.ConfirmKeyFile) // before anything goes on
	w.brokerUp.Store(false)
	b.kill()
	w.broker = nil
	if err := b.b.Stop(context.Background()); err != nil {
		w.t.Errorf("reap the broker: %v", err)
	}
}

// startWorker starts one on its inbox as it was left.
func (w *world) startWorker(i int) {
	l := newLife(fmt.Sprintf("W%d", i+1))
	a := &adapter{w: w, l: l}
	r := worker.Route{
		Name: route, Adapter: a, Timeout: callTimeout, SettleTime: settleTime,
		Retry: retry.Policy{Attempts: w.cfg.budget, InitialDelay: time.Second, MaxDelay: 4 * time.Second},
	}
	dest := worker.DestOptions{Name: "erp", Destination: a, Concurrency: w.cfg.concurrency}
	if w.cfg.slow {
		dest.Rate = 1 / callEvery.Seconds()
	}
	r.Destination = worker.NewDest(dest)
	if w.cfg.later {
		r.Confirm, r.ConfirmWithin, r.PollInterval = worker.ConfirmPoll, confirmTime, time.Second
	}
	if w.cfg.callsBack {
		r.Confirm = worker.ConfirmCallback
	}
	if w.cfg.idempotent {
		r.OnUnknown = worker.OnUnknownRepost
	}
	q := w.driverOf(l, w.mem.Worker(workerName(i), route))
	made, err := worker.New(worker.Options{
		Name: workerName(i), Version: "simulated", Queue: q, InboxDir: w.inboxAt[i], Routes: []worker.Route{r},
		FileID:       func(string) (uint64, error) { return 1, nil },
		BeforeCommit: func() { w.commits(l, "begins to write down a commit", false) },
		AfterCommit:  func() { w.commits(l, "has a commit on disk", true) },
		Jitter:       func() float64 { return w.jitter },
	})
	if err != nil {
		w.t.Fatalf("%s does not start: %v", l.name, err)
	}
	l.setGated(true)
	if err := made.Start(context.Background()); err != nil {
		w.t.Fatalf("%s does not start: %v", l.name, err)
	}
	w.workers[i] = &workerLife{life: l, worker: made, queue: q}
}

// killWorker ends it with no word to anybody. What is in its inbox stays.
func (w *world) killWorker(i int) {
	worker := w.workers[i]
	w.inboxAt[i] = w.snapshot(w.inboxAt[i], "inbox.db") // before anything goes on
	worker.kill()
	w.workers[i] = nil
	w.dropHands(worker.life)
	if worker.draining {
		<-worker.drained
	} else {
		_ = worker.worker.Stop(context.Background())
	}
	_ = worker.queue.Close(context.Background())
}

// dropHands forgets what a worker had in hand. What it had begun may cost an
// attempt, as a call does whose end nobody learned.
func (w *world) dropHands(l *life) {
	w.erp.mu.Lock()
	defer w.erp.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for letter := range w.hands[l.name] {
		m := w.message(letter)
		w.erp.calls = append(w.erp.calls, &call{letter: letter, generation: max(m.seen.Generation, 1), by: l, end: "unknown"})
	}
	delete(w.hands, l.name)
}

// drain has a worker stop as it does on a signal: it finishes what it has begun.
func (w *world) drain(i int) {
	worker := w.workers[i]
	worker.draining, worker.drained = true, make(chan struct{})
	go func() {
		defer close(worker.drained)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = worker.worker.Stop(ctx)
	}()
}
