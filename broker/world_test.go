package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"ferry"
	"ferry/queue"
	"ferry/queue/memqueue"
	"ferry/queue/queuetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	orders = "orders"
	notes  = "notes"
)

// world is a broker on a queue in memory, with workers that a test plays.
type world struct {
	t   *testing.T
	dir string
	mem *memqueue.Broker
	b   *Broker

	hands []*hand
}

type memTransport struct {
	q   *queue.Queue
	mem *memqueue.Broker
	n   *int
}

func (m memTransport) Queue() *queue.Queue { return m.q }

func (m memTransport) NewLogin() (public, seed string, err error) {
	*m.n++
	return "public", "seed", nil
}

func (m memTransport) SetWorkers(workers []ferry.WorkerInfo) error {
	for _, w := range workers {
		if w.RevokedAt != nil {
			m.mem.Revoke(w.Name)
		}
	}
	return nil
}

func (m memTransport) Close(ctx context.Context) error { return m.q.Close(ctx) }

// days is for a test of days, of which most pass in waiting: it says nothing about
// races, and takes ten times as long with the detector.
func days(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("days are simulated without the race detector: go test ./broker")
	}
}

// bubble runs a test in a synctest bubble, on a fresh world.
func bubble(t *testing.T, test func(t *testing.T, w *world), change ...func(*Options)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, dir: dir, mem: memqueue.New(memqueue.Options{Lock: time.Minute})}
		w.start(change...)
		defer func() {
			for _, h := range w.hands {
				h.close()
			}
			w.stop()
		}()
		test(t, w)
	})
}

func (w *world) start(change ...func(*Options)) {
	w.t.Helper()
	logins := 0
	opts := Options{
		DataDir: w.dir, Version: "test", MinFree: -1,
		Routes: []ferry.Route{{Name: orders, Window: 3}, {Name: notes}},
		OpenTransport: func(context.Context, []ferry.WorkerInfo) (Transport, error) {
			return memTransport{q: queue.New(w.mem.Broker(), queue.Options{}), mem: w.mem, n: &logins}, nil
		},
	}
	for _, f := range change {
		f(&opts)
	}
	b, err := New(w.t.Context(), opts)
	if err != nil {
		w.t.Fatalf("New: %v", err)
	}
	if err := b.Start(); err != nil {
		w.t.Fatalf("Start: %v", err)
	}
	w.b = b
}

func (w *world) stop() {
	w.t.Helper()
	if err := w.b.Stop(context.Background()); err != nil {
		w.t.Errorf("Stop: %v", err)
	}
}

// restart stops the broker and starts another on the same ledger and queue.
func (w *world) restart(change ...func(*Options)) {
	w.t.Helper()
	w.stop()
	w.start(change...)
}

func (w *world) send(body string, change ...func(*ferry.Message)) ferry.ID {
	w.t.Helper()
	m := ferry.Message{Route: orders, Body: []byte(body), ContentType: "application/json"}
	for _, f := range change {
		f(&m)
	}
	a, err := w.b.Accept(w.t.Context(), m)
	if err != nil {
		w.t.Fatalf("Accept: %v", err)
	}
	return a.ID
}

func (w *world) message(id ferry.ID) ferry.Envelope {
	w.t.Helper()
	e, err := w.b.Message(w.t.Context(), id)
	if err != nil {
		w.t.Fatalf("Message: %v", err)
	}
	return e
}

func (w *world) state(id ferry.ID, want ferry.State) ferry.Envelope {
	w.t.Helper()
	synctest.Wait()
	e := w.message(id)
	if e.State != want {
		w.t.Fatalf("message %s is %s, want %s (%+v)", id.Short(), e.State, want, e.DeadLetter)
	}
	return e
}

// hand is a worker that a test plays by hand.
type hand struct {
	w     *world
	name  string
	inbox string
	q     *queue.Queue
}

// worker adds a worker for routes and connects it, under an inbox of its name.
func (w *world) worker(name string, routes ...string) *hand {
	w.t.Helper()
	if _, err := w.b.AddWorker(w.t.Context(), name, routes, "", "test"); err != nil && ferry.CodeOf(err) != ferry.CodeExists {
		w.t.Fatalf("AddWorker: %v", err)
	}
	h := &hand{w: w, name: name, inbox: "inbox-of-" + name, q: queue.New(w.mem.Worker(name, routes...), queue.Options{})}
	w.hands = append(w.hands, h)
	return h
}

func (h *hand) close() { _ = h.q.Close(context.Background()) }

func (h *hand) hello(routes ...string) queue.Welcome {
	h.w.t.Helper()
	hello := queue.Hello{Worker: h.name, Inbox: h.inbox, Version: "test"}
	for _, r := range routes {
		hello.Routes = append(hello.Routes, queue.RouteHello{Name: r, Bound: 90 * time.Second})
	}
	welcome, err := h.q.Hello(h.w.t.Context(), hello)
	if err != nil {
		h.w.t.Fatalf("Hello: %v", err)
	}
	return welcome
}

// take receives what is there now, at most most.
func (h *hand) take(route string, most int) []*queue.Delivery {
	h.w.t.Helper()
	synctest.Wait()
	ctx, cancel := context.WithTimeout(h.w.t.Context(), time.Millisecond)
	defer cancel()
	deliveries, err := h.q.ReceiveMessages(ctx, route, most)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		h.w.t.Fatalf("ReceiveMessages: %v", err)
	}
	return deliveries
}

// takeOne receives the one message that is there.
func (h *hand) takeOne(route string) *queue.Delivery {
	h.w.t.Helper()
	got := h.take(route, 10)
	if len(got) != 1 {
		h.w.t.Fatalf("%d messages in the queue, want 1", len(got))
	}
	return got[0]
}

// fetch brings the body of a message that was too large to travel with it.
func (h *hand) fetch(m ferry.HandOut) ([]byte, error) {
	return queuetest.FetchBody(h.w.t.Context(), h.q, m)
}

// report sends the receipt of a delivery and completes it.
func (h *hand) report(d *queue.Delivery, verdict ferry.VerdictKind, next ferry.Next, change ...func(*ferry.Receipt)) {
	h.w.t.Helper()
	rc := h.receipt(d, verdict, next)
	for _, f := range change {
		f(&rc)
	}
	h.tell(rc)
	if err := d.Complete(h.w.t.Context()); err != nil {
		h.w.t.Fatalf("Complete: %v", err)
	}
	synctest.Wait()
}

func (h *hand) receipt(d *queue.Delivery, verdict ferry.VerdictKind, next ferry.Next) ferry.Receipt {
	m := d.HandOut
	rc := ferry.Receipt{
		ID: m.ID, Route: m.Route, Turn: m.Turn, Revision: m.Revision, Generation: m.Generation,
		Worker: h.name, Inbox: h.inbox, Verdict: verdict, Effect: ferry.EffectNone, Next: next,
		Attempts: []ferry.Attempt{{Turn: m.Turn, Revision: m.Revision, Generation: m.Generation, Verdict: verdict, StartedAt: time.Now()}},
	}
	if verdict.HasIt() {
		rc.Effect, rc.Reference = ferry.EffectDone, "DOC-1"
	}
	return rc
}

func (h *hand) tell(rc ferry.Receipt) {
	h.w.t.Helper()
	if err := h.q.SendReceipts(h.w.t.Context(), []ferry.Receipt{rc}, rand.Text()); err != nil {
		h.w.t.Fatalf("SendReceipts: %v", err)
	}
	synctest.Wait()
}

func done() ferry.Next { return ferry.Next{Do: ferry.DoComplete} }

func retryAfter(d time.Duration) ferry.Next {
	return ferry.Next{Do: ferry.DoRetry, After: d, Spends: 1}
}

func rejected() ferry.Next {
	return ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected}
}

// balanced holds the ledger against promise 2.
func (w *world) balanced() {
	w.t.Helper()
	rows, err := w.b.Reconcile(w.t.Context())
	if err != nil {
		w.t.Fatalf("Reconcile: %v", err)
	}
	for _, r := range rows {
		if !r.Balanced || r.Accepted != r.Pending+r.Completed+r.DeadLetters+r.Discarded {
			w.t.Errorf("not balanced: %+v", r)
		}
	}
}
