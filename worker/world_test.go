package worker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/queue/memqueue"
	"ferry/retry"
)

const testRoute = "supplier-invoices"

// world is a broker's side, a destination, and the worker at hand.
type world struct {
	t      *testing.T
	mq     *memqueue.Broker
	broker *queue.Queue
	erp    *script
	dest   *Dest
	dir    string
	change func(*Route)                    // how the route differs from the usual one
	driver func(queue.Driver) queue.Driver // nil: the queue's own
	log    *logText

	metrics *Metrics // nil: nothing is measured

	worker *Worker
	wq     *queue.Queue

	mu         sync.Mutex
	start      string
	word       queue.RouteWelcome
	refuse     string
	bodies     map[ferry.ID][]byte
	hellos     []queue.Hello
	claims     []queue.ClaimRequest
	claim      func(queue.ClaimRequest) (queue.ClaimAnswer, error) // nil: granted
	receipts   []ferry.Receipt
	helloFails bool          // nobody answers in time
	bodiesFail bool          // nor brings bodies
	mute       bool          // receipts are taken and never confirmed
	outlives   bool          // the queue runs on while the broker is away
	skew       time.Duration // of the broker's clock against the worker's
	suffix     int
	stop       []func()
}

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.end()
		test(w)
	})
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, mq: memqueue.New(memqueue.Options{Lock: 30 * time.Second}), erp: &script{}, dir: t.TempDir(),
		start: "first", word: queue.RouteWelcome{Granted: true}, bodies: map[ferry.ID][]byte{}, log: &logText{},
	}
	w.broker = queue.New(w.mq.Broker(), queue.Options{})
	if _, err := w.broker.Ensure(t.Context(), []string{testRoute}); err != nil {
		t.Fatal(err)
	}
	stop, err := w.broker.Serve(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var taking sync.WaitGroup
	taking.Go(func() { w.take(ctx) })
	w.stop = append(w.stop, stop, cancel, taking.Wait)
	return w
}

func (w *world) end() {
	if w.worker != nil {
		w.stopWorker()
	}
	for _, stop := range w.stop {
		stop()
	}
	_ = w.broker.Close(context.Background())
}

func (w *world) Hello(_ context.Context, _ string, h queue.Hello) queue.Welcome {
	w.mu.Lock()
	if w.helloFails {
		w.mu.Unlock()
		time.Sleep(helloTimeout + time.Second)
		return queue.Welcome{}
	}
	defer w.mu.Unlock()
	w.hellos = append(w.hellos, h)
	return queue.Welcome{
		Start: w.start, Now: time.Now().Add(w.skew), Error: w.refuse, Outlives: w.outlives,
		Routes: map[string]queue.RouteWelcome{testRoute: w.word},
	}
}

func (w *world) Body(_ context.Context, _ string, r queue.BodyRequest) ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.bodiesFail {
		return nil, errors.New("the broker is away")
	}
	body, ok := w.bodies[r.ID]
	if !ok {
		return nil, queue.ErrBodyMissing
	}
	return body[r.Offset:min(r.Offset+int64(r.Length), int64(len(body)))], nil
}

func (w *world) Claim(_ context.Context, _ string, r queue.ClaimRequest) (queue.ClaimAnswer, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.claims = append(w.claims, r)
	if w.claim == nil {
		return queue.ClaimAnswer{State: queue.ClaimGranted, For: r.For}, nil
	}
	return w.claim(r)
}

// take receives receipts and confirms them, as the ledger does.
func (w *world) take(ctx context.Context) {
	for {
		list, err := w.broker.ReceiveReceipts(ctx, 100)
		if err != nil {
			return
		}
		w.mu.Lock()
		for _, d := range list {
			w.receipts = append(w.receipts, d.Receipt)
		}
		mute := w.mute
		w.mu.Unlock()
		s := queue.Signal{}
		for _, d := range list {
			_ = d.Complete(ctx)
			s.Confirmed = append(s.Confirmed, queue.Confirmed{ID: d.Receipt.ID, Turn: d.Receipt.Turn})
		}
		if !mute {
			_ = w.broker.Signal(ctx, "erp-worker-1", s)
		}
	}
}

// run starts a worker over the world's inbox folder.
func (w *world) run() {
	w.t.Helper()
	route := Route{
		Name: testRoute, Adapter: w.erp, Retry: retry.Policy{Attempts: 3, InitialDelay: 2 * time.Second, MaxDelay: time.Minute},
		Timeout: 30 * time.Second, SettleTime: time.Minute,
	}
	w.dest = NewDest(DestOptions{Name: "erp", Destination: w.erp, Concurrency: 4})
	route.Destination = w.dest
	if w.change != nil {
		w.change(&route)
	}
	driver := w.mq.Worker("erp-worker-1")
	if w.driver != nil {
		driver = w.driver(driver)
	}
	w.wq = queue.New(driver, queue.Options{})
	worker, err := New(Options{
		Name: "erp-worker-1", Version: "test", Queue: w.wq, InboxDir: w.dir, Routes: []Route{route},
		Metrics: w.metrics,
		FileID:  func(string) (uint64, error) { return 1, nil }, // a kill is played by copying the file
		Log:     slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.worker = worker
	if err := worker.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

func (w *world) stopWorker() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
	defer cancel()
	_ = w.worker.Stop(ctx)
	_ = w.wq.Close(ctx)
	w.worker = nil
}

// snapshot copies the inbox as a kill at this moment would leave it: a commit
// that returned is in the file.
func (w *world) snapshot() string {
	dir := w.t.TempDir()
	from, err := os.Open(filepath.Join(w.dir, inboxFile))
	if err != nil {
		w.t.Error(err)
		return dir
	}
	defer func() { _ = from.Close() }()
	to, err := os.Create(filepath.Join(dir, inboxFile))
	if err == nil {
		_, err = io.Copy(to, from)
		err = errorsJoin(err, to.Close())
	}
	if err != nil {
		w.t.Error(err)
	}
	return dir
}

func errorsJoin(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// reviveFrom ends the worker at hand and begins anew with an inbox as it was at
// the moment of a kill; what the first life said is forgotten.
func (w *world) reviveFrom(dir string) {
	w.stopWorker()
	w.mq.ExpireLocks()
	synctest.Wait()
	w.clear()
	w.dir = dir
	w.run()
}

func (w *world) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.receipts = nil
}

// handOut is a fresh message in its first turn.
func (w *world) handOut() ferry.HandOut {
	now := time.Now()
	id := ferry.NewID(now)
	return ferry.HandOut{
		ID: id, Route: testRoute, Turn: 1, Revision: 1, Generation: 1, Inbox: w.worker.Inbox(), Attempt: 1,
		ExternalKey: id.String(), ContentType: "application/json", CreatedAt: now, PublishedAt: now,
		ExpiresAt: now.Add(30 * 24 * time.Hour), Body: []byte(`{"number":1}`), Size: 12,
	}
}

// publish hands out and lets everything happen that needs no time.
func (w *world) publish(list ...ferry.HandOut) {
	w.t.Helper()
	w.suffix++
	for i := range list {
		if list[i].PublishedAt.Before(time.Now().Add(-time.Hour)) && list[i].PublishedAt.After(time.Now().Add(-staleAfter)) {
			list[i].PublishedAt = time.Now()
		}
	}
	if _, err := w.broker.Publish(w.t.Context(), testRoute, list, string(rune('a'+w.suffix))); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// next is the hand-out that the ledger makes of a retry.
func next(h ferry.HandOut, r ferry.Receipt) ferry.HandOut {
	h.Turn++
	h.Attempt += len(r.Attempts)
	h.Spent += r.Next.Spends
	h.Doubt = r.Next.Doubt
	h.RiskAccepted, h.Elsewhere = false, false
	h.PublishedAt = time.Now()
	return h
}

func (w *world) all() []ferry.Receipt {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]ferry.Receipt(nil), w.receipts...)
}

// only is the one receipt that came since the last clear.
func (w *world) only() ferry.Receipt {
	w.t.Helper()
	list := w.all()
	if len(list) != 1 {
		w.t.Fatalf("%d receipts instead of 1: %+v\n%s", len(list), list, w.log)
	}
	w.clear()
	return list[0]
}

// settledAll says whether the queue of the route is empty.
func (w *world) settledAll() bool {
	w.t.Helper()
	synctest.Wait()
	p, err := w.broker.Progress(w.t.Context(), testRoute)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Settled == p.Last
}

func (w *world) wantCounts(posts, looks int) {
	w.t.Helper()
	if p, l := w.erp.counts(); p != posts || l != looks {
		w.t.Fatalf("%d posts and %d lookups instead of %d and %d\n%s", p, l, posts, looks, w.log)
	}
}

func (w *world) wantSettled() {
	w.t.Helper()
	if !w.settledAll() {
		w.t.Fatalf("a delivery is not settled\n%s", w.log)
	}
}

func wantNext(t *testing.T, r ferry.Receipt, want ferry.Next) {
	t.Helper()
	got := r.Next
	if want.After == 0 {
		got.After = 0
	}
	if got != want {
		t.Fatalf("next is %+v instead of %+v (verdict %s, text %q)", r.Next, want, r.Verdict, r.Text)
	}
}

func (w *world) say(change func(*world)) {
	w.mu.Lock()
	change(w)
	w.mu.Unlock()
}

func (w *world) signal(s queue.Signal) {
	w.t.Helper()
	if err := w.broker.Signal(w.t.Context(), "erp-worker-1", s); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
}

// logText is what a worker logged; it logs while tests read.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
