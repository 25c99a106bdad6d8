package intake

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/broker"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
	"ferry/internal/servicebus"
	"ferry/queue"
	"ferry/queue/memqueue"
)

const (
	flowQueue  = "flow-invoices"
	replyQueue = "flow-replies"
	invoices   = "invoices"
)

// world is a broker with an intake from the Service Bus double, and a worker that
// a test plays.
type world struct {
	*testing.T
	emu    *sbemu.Server
	bus    *servicebus.Client // the flow's
	dir    string
	mem    *memqueue.Broker
	route  ferry.Route
	source func(*Source)

	b     *broker.Broker
	fault *faultyBroker
	in    *Intake
	stop  func()
}

// faultyBroker is the broker, or what a test makes of it.
type faultyBroker struct {
	*broker.Broker
	refuse atomic.Pointer[ferry.Error]

	mu    sync.Mutex
	order map[string][]string // by ordering key, the keys as they were accepted
}

// accepted is in which order the messages of an ordering key were accepted.
func (b *faultyBroker) accepted(orderingKey string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.order[orderingKey])
}

func (b *faultyBroker) AcceptBatch(ctx context.Context, ms []ferry.Message, partial bool) ([]ferry.Accepted, []error, error) {
	if err := b.refuse.Load(); err != nil {
		return nil, nil, err
	}
	answers, errs, err := b.Broker.AcceptBatch(ctx, ms, partial)
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range answers {
		if errs[i] == nil && !answers[i].Duplicate {
			b.order[ms[i].OrderingKey] = append(b.order[ms[i].OrderingKey], ms[i].IdempotencyKey)
		}
	}
	return answers, errs, err
}

func (b *faultyBroker) Room(ctx context.Context, size int64) error {
	if err := b.refuse.Load(); err != nil {
		return err
	}
	return b.Broker.Room(ctx, size)
}

type memTransport struct{ q *queue.Queue }

func (m memTransport) Queue() *queue.Queue                 { return m.q }
func (m memTransport) NewLogin() (string, string, error)   { return "public", "seed", nil }
func (m memTransport) SetWorkers([]ferry.WorkerInfo) error { return nil }
func (m memTransport) Close(ctx context.Context) error     { return m.q.Close(ctx) }
func (w *world) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(w.Context(), time.Minute)
}

// start starts double, broker and intake. Its tests wait for locks to end, and do so
// side by side.
func start(t *testing.T, change ...func(*world, *sbemu.Options)) *world {
	t.Helper()
	t.Parallel()
	w := &world{
		T: t, dir: t.TempDir(), mem: memqueue.New(memqueue.Options{Lock: time.Minute}),
		route: ferry.Route{Name: invoices}, source: func(*Source) {},
	}
	o := sbemu.Options{Queues: []entity.Config{{Name: flowQueue}, {Name: replyQueue}}}
	for _, f := range change {
		f(w, &o)
	}
	var err error
	if w.emu, err = sbemu.Start(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.emu.Close() })
	w.bus = w.dial(w.emu.ConnectionString())
	w.begin()
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) dial(connection string) *servicebus.Client {
	w.Helper()
	c, err := servicebus.Dial(servicebus.Config{ConnectionString: connection})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

// begin starts broker and intake on what there is.
func (w *world) begin() {
	w.Helper()
	log := slog.New(slog.NewTextHandler(w.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	bus, err := servicebus.Dial(servicebus.Config{ConnectionString: w.emu.ConnectionString(), Log: log})
	if err != nil {
		w.Fatal(err)
	}
	source := Source{Route: invoices, Queue: flowQueue, Bus: BusOf(bus), Namespace: "127.0.0.1", Concurrency: 32, Replies: true, Unwrap: true}
	w.source(&source)
	w.in = New(Options{Sources: []Source{source}, OwnPrefixes: []string{"ferry"}, Environment: "test", Encode: encodePlain, Log: log})
	w.b, err = broker.New(w.Context(), broker.Options{
		DataDir: w.dir, Version: "test", MinFree: -1, Routes: []ferry.Route{w.route}, Environment: "test", Log: log,
		OpenTransport: func(context.Context, []ferry.WorkerInfo) (broker.Transport, error) {
			return memTransport{queue.New(w.mem.Broker(), queue.Options{})}, nil
		},
		Tellers: map[string]broker.Teller{ferry.ReplyServiceBus: w.in}, Intake: w.in.Info,
	})
	if err != nil {
		w.Fatal(err)
	}
	if err := w.b.Start(); err != nil {
		w.Fatal(err)
	}
	w.fault = &faultyBroker{Broker: w.b, order: map[string][]string{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.in.Run(ctx, w.fault) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		ending, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := w.b.Stop(ending); err != nil {
			w.Errorf("Stop: %v", err)
		}
		_ = bus.Close(ending)
	})
}

func (w *world) restart() {
	w.Helper()
	w.stop()
	w.begin()
}

// send puts messages into the flow's queue.
func (w *world) send(msgs ...*azservicebus.Message) {
	w.Helper()
	ctx, cancel := w.soon()
	defer cancel()
	err := w.bus.Sender(flowQueue).Send(ctx, msgs)
	for errors.Is(err, servicebus.ErrUnavailable) { // a test cuts connections: a repeat does no harm
		err = w.bus.Sender(flowQueue).Send(ctx, msgs)
	}
	if err != nil {
		w.Fatal(err)
	}
}

func message(id, body string, change ...func(*azservicebus.Message)) *azservicebus.Message {
	m := &azservicebus.Message{Body: []byte(body), ContentType: new("application/json")}
	if id != "" {
		m.MessageID = &id
	}
	for _, f := range change {
		f(m)
	}
	return m
}

func (w *world) queue(name string) *entity.Queue {
	w.Helper()
	q, err := w.emu.Namespace().Queue(name)
	if err != nil {
		w.Fatal(err)
	}
	return q
}

// until waits for a condition; a test that would wait for ever fails.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	for deadline := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("never: %s; the intake: %+v; the queue: %+v", what, w.in.Info(invoices), w.queue(flowQueue).Counts())
		}
	}
}

// drained waits until nothing is left in the flow's queue.
func (w *world) drained() {
	w.Helper()
	w.until("everything is taken in", func() bool {
		c := w.queue(flowQueue).Counts()
		return c.Active+c.Locked == 0 && w.in.Info(invoices).InHand == 0
	})
}

// list is every message of the ledger, the oldest first.
func (w *world) list() (all []ferry.Envelope) {
	w.Helper()
	for cursor := ""; ; {
		page, err := w.b.Messages(w.Context(), ferry.MessageFilter{Limit: 1000, Cursor: cursor})
		if err != nil {
			w.Fatal(err)
		}
		for _, e := range page.Items {
			all = append([]ferry.Envelope{e}, all...)
		}
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}

// deliver plays a worker that gives every message that comes the verdict of
// answer, until the test ends.
func (w *world) deliver(answer func(h ferry.HandOut) ferry.Receipt) {
	w.Helper()
	if _, err := w.b.AddWorker(w.Context(), "w1", []string{invoices}, "", "test"); err != nil && ferry.CodeOf(err) != ferry.CodeExists {
		w.Fatal(err)
	}
	q := queue.New(w.mem.Worker("w1", invoices), queue.Options{})
	hello := queue.Hello{Worker: "w1", Inbox: "inbox", Version: "test", Routes: []queue.RouteHello{{Name: invoices, Bound: time.Minute}}}
	if _, err := q.Hello(w.Context(), hello); err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			deliveries, err := q.ReceiveMessages(ctx, invoices, 10)
			if err != nil {
				continue
			}
			for _, d := range deliveries {
				rc := answer(d.HandOut)
				rc.ID, rc.Route, rc.Turn, rc.Revision, rc.Generation = d.HandOut.ID, invoices, d.HandOut.Turn, d.HandOut.Revision, d.HandOut.Generation
				rc.Worker, rc.Inbox = "w1", "inbox"
				rc.Attempts = []ferry.Attempt{{Turn: rc.Turn, Generation: rc.Generation, Verdict: rc.Verdict, StartedAt: time.Now()}}
				if q.SendReceipts(ctx, []ferry.Receipt{rc}, rand.Text()) == nil {
					_ = d.Complete(ctx)
				}
			}
		}
	}()
	w.Cleanup(func() {
		cancel()
		<-done
		_ = q.Close(context.Background())
	})
}

func delivered(reference string) ferry.Receipt {
	return ferry.Receipt{Verdict: ferry.Delivered, Effect: ferry.EffectDone, Reference: reference, Next: ferry.Next{Do: ferry.DoComplete}}
}

func rejected(code, text string) ferry.Receipt {
	return ferry.Receipt{Verdict: ferry.Rejected, Effect: ferry.EffectNone, Code: code, Text: text, Next: ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected}}
}

// replies receives from the flow's reply queue until there are n.
func (w *world) replies(n int) (list []*azservicebus.ReceivedMessage) {
	w.Helper()
	r := w.bus.Receiver(replyQueue, servicebus.ReceiverOptions{})
	ctx, cancel := w.soon()
	defer cancel()
	for len(list) < n {
		got, err := r.Receive(ctx, n)
		if err != nil {
			w.Fatalf("%d replies of %d: %v", len(list), n, err)
		}
		for _, m := range got {
			if err := r.Complete(ctx, m); err != nil {
				w.Fatal(err)
			}
		}
		list = append(list, got...)
	}
	if err := r.Close(ctx); err != nil {
		w.Fatal(err)
	}
	return list
}

func envelopeOf(t *testing.T, m *azservicebus.ReceivedMessage) (e ferry.Envelope) {
	t.Helper()
	if err := json.Unmarshal(m.Body, &e); err != nil {
		t.Fatalf("the reply's body: %v: %s", err, m.Body)
	}
	return e
}

// balanced holds the ledger to its promise.
func (w *world) balanced() {
	w.Helper()
	rows, err := w.b.Reconcile(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	for _, r := range rows {
		if !r.Balanced {
			w.Errorf("not balanced: %+v", r)
		}
	}
}

func numbered(from, n int) []*azservicebus.Message {
	msgs := make([]*azservicebus.Message, n)
	for i := range msgs {
		msgs[i] = message(fmt.Sprintf("INV-%04d", from+i), fmt.Sprintf(`{"n":%d}`, from+i))
	}
	return msgs
}
