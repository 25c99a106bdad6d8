package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/queue/memqueue"
)

const route = "supplier-invoices"

// The times of the worlds: short, so that little of it has to pass, and odd, so
// that few timers end in one moment.
const (
	callTimeout = 3 * time.Second
	settleTime  = 5 * time.Second
	lockTime    = 10 * time.Second
	silentAfter = 7100 * time.Millisecond
	confirmTime = 40 * time.Second // within which a destination that answers later has written
	workAway    = 2 * time.Minute  // that a worker works on without the broker
	callEvery   = 45 * time.Second // of a worker that has a rate
	tick        = time.Millisecond // between two steps

	// As long as a queue may have it: who publishes under an id that was used
	// publishes nothing.
	duplicateWindow = 7 * 24 * time.Hour
)

// config is what surrounds the protocol in one world.
type config struct {
	letters     string // the messages: "A", "AB", "ABC"
	keyed       bool   // of one ordering key
	workers     int
	several     bool          // they claim turns; else the first is bound
	keeps       bool          // the queue cannot be emptied by the broker
	outlives    bool          // the queue runs on while the broker is away, and the workers work on
	lookup      bool          // truthful: finds what is written, never what is still being written
	idempotent  bool          // refuses a second document for one external key
	later       bool          // it takes messages, and says when it is asked what became of them
	callsBack   bool          // with later: it calls the broker instead of being asked
	lateForever bool          // it may write later than any wait
	budget      int           // attempts
	ttl         time.Duration // time to live; 0: long
	window      int
	concurrency int
	slow        bool   // a worker starts one call in callEvery, and has others in hand meanwhile
	faults      faults // how often each may strike
	eager       bool   // what may fail at a gate does
	noChance    bool   // scripted: the first gate is opened, nothing is drawn
}

// world is a broker, its workers, the queue and the destination, with one
// goroutine, the simulator, that says who may take the next step.
type world struct {
	gates
	t   testing.TB
	cfg config
	rng *rand.Rand
	dir string

	mem      *memqueue.Broker
	erp      erp
	broker   *brokerLife // nil: it is down
	workers  []*workerLife
	brokerUp atomic.Bool
	looks    int       // at the ledger
	away     time.Time // the broker does not come back before
	ledgerAt string    // the ledger's folder
	inboxAt  []string  // by worker
	copies   int
	jitter   float64

	msgs       []*message
	letter     map[string]string // by id
	left       faults
	acting     *act
	telling    *callback
	backupAt   string // a copy of the ledger
	ledgerFile uint64
	hellos     map[string][][]byte // by worker: the last that it sent
	stale      sync.WaitGroup      // of hellos that arrive once more
	rebound    bool                // the route was handed over to another inbox

	mu      sync.Mutex
	holders map[string]holder // by letter
	story   story
	broken  string                      // the first promise that was broken
	hands   map[string]map[string]*hand // worker -> letter -> how far its delivery is
}

// message is what the simulator knows of a message.
type message struct {
	letter   string
	id       ferry.ID
	accepted bool // the sender was told
	sending  chan error
	sentTo   *brokerLife

	seen   ferry.Envelope // as it was last seen; ID zero: not yet in the ledger
	called bool           // some worker began it
	heard  bool           // the broker acknowledged a receipt that says that the ERP has it
	turns  map[uint64]int // the revision of each turn that reached the ERP
	told   bool           // discarded by somebody who knew that it may already exist
	moved  bool           // it lost its place in the order: restored
	asked  map[fault]int  // acts asked for, less the moves that they explain
}

// newWorld makes a world of a seed. It is called in a bubble.
func newWorld(t testing.TB, dir string, cfg config, seed uint64) *world {
	t.Helper()
	w := &world{
		hellos: map[string][][]byte{},
		t:      t, cfg: cfg, rng: rand.New(rand.NewPCG(seed, 0x66657272)), dir: dir, left: cfg.faults,
		mem: memqueue.New(memqueue.Options{Lock: lockTime, DuplicateWindow: duplicateWindow}), letter: map[string]string{}, hands: map[string]map[string]*hand{}, holders: map[string]holder{}, ledgerFile: 1,
	}
	w.story.begun = time.Now()
	w.jitter = w.rng.Float64()
	for i, l := range cfg.letters {
		id := ferry.FirstID(time.Now().Add(time.Duration(i) * time.Millisecond))
		id[6], id[8], id[15] = 0x70, 0x80, byte(l)
		w.msgs = append(w.msgs, &message{letter: string(l), id: id, asked: map[fault]int{}, turns: map[uint64]int{}})
		w.letter[id.String()] = string(l)
	}
	w.ledgerAt = w.folder()
	for range cfg.workers {
		w.inboxAt = append(w.inboxAt, w.folder())
		w.workers = append(w.workers, nil)
	}
	w.startBroker()
	for i := range cfg.workers {
		time.Sleep(7 * time.Millisecond) // no two processes tick together
		w.startWorker(i)
	}
	return w
}

func (w *world) folder() string {
	w.copies++
	dir := filepath.Join(w.dir, fmt.Sprint(w.copies))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// end stops everything: nothing may be left in the bubble.
func (w *world) end() {
	for i, worker := range w.workers {
		if worker != nil {
			w.killWorker(i)
		}
	}
	if w.broker != nil {
		w.killBroker()
	}
	for _, m := range w.msgs {
		w.reapSend(m)
	}
	if w.acting != nil {
		<-w.acting.done
	}
	w.stale.Wait()
	if w.telling != nil {
		<-w.telling.done
	}
}

func (w *world) letterOf(id string) string {
	if l, ok := w.letter[id]; ok {
		return l
	}
	return "?"
}

func (w *world) message(letter string) *message {
	for _, m := range w.msgs {
		if m.letter == letter {
			return m
		}
	}
	return &message{letter: letter, asked: map[fault]int{}, turns: map[uint64]int{}}
}

// snapshot copies durable files into a folder of their own, as a kill at this
// moment leaves them.
func (w *world) snapshot(from string, names ...string) string {
	dir := w.folder()
	for _, name := range names {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			w.t.Error(err)
		}
	}
	return dir
}

// send has the sender post a message, or post it again: the sender repeats until
// it is told that the message is accepted.
func (w *world) send(m *message) {
	b := w.broker
	body := fmt.Sprintf(`{"letter":%q}`, m.letter)
	msg := ferry.Message{
		ID: m.id, Route: route, Body: []byte(body), ContentType: "application/json",
		IdempotencyKey: "key-" + m.letter, CreatedAt: m.id.Time(), TimeToLive: 30 * 24 * time.Hour,
	}
	if w.cfg.ttl > 0 {
		msg.TimeToLive = w.cfg.ttl
	}
	if w.cfg.keyed {
		msg.OrderingKey = "one"
	}
	w.tellf("the sender posts %s", m.letter)
	m.sending, m.sentTo = make(chan error, 1), b
	go func() {
		_, err := b.b.Accept(context.Background(), msg)
		m.sending <- err
	}()
}

// reapSend takes the answer to a sender that waits.
func (w *world) reapSend(m *message) {
	if m.sending == nil {
		return
	}
	select {
	case err := <-m.sending:
		m.sending = nil
		switch {
		case m.sentTo.isDead():
			w.tellf("the sender of %s gets no answer", m.letter)
		case err != nil:
			w.tellf("the sender of %s is refused: %v", m.letter, err)
		default:
			m.accepted = true
			w.tellf("%s is accepted", m.letter)
		}
	default:
	}
}

// pass lets time pass, until somebody who stood still goes on. What is written
// late is there in time.
func (w *world) pass(d time.Duration) {
	end := time.Now().Add(d)
	for _, worker := range w.workers {
		if worker != nil && worker.isFrozen() && worker.thaws().Before(end) {
			end = worker.thaws()
		}
	}
	for {
		n, due := w.nextLate()
		if due.IsZero() || due.After(end) {
			break
		}
		time.Sleep(max(time.Until(due), 0))
		synctest.Wait()
		w.finishLate(n)
	}
	time.Sleep(max(time.Until(end), 0))
	synctest.Wait()
}

// driverOf is a gated connection to the queue.
func (w *world) driverOf(l *life, inner queue.Driver) *queue.Queue {
	return queue.New(&driver{w: w, l: l, inner: inner}, queue.Options{})
}
