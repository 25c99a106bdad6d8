package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"go.uber.org/goleak"

	"ferry"
	"ferry/internal/servicebus"
)

func TestMain(m *testing.M) {
	// The SDK (azservicebus v1.11.0) opens a link twice when two calls find it closed at
	// the same moment: AMQPLinksImpl.Get looks before it takes its lock, and not again
	// behind it. The renewer of the claim that the first of them made is then never
	// ended, whoever closes the client.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(
		"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/internal.(*Namespace).startNegotiateClaimRenewer.func3"))
}

// fakeQueue is a queue of Service Bus in memory, for tests that play with time.
type fakeQueue struct {
	lock time.Duration

	mu        sync.Mutex
	wake      chan struct{}
	waiting   []*fakeMessage
	locked    map[[16]byte]*fakeMessage
	outcomes  []string // "complete 1"
	renewals  int
	peeks     int
	open      bool
	most      int // in hand at a time
	fault     func(what string, n int64) error
	next      byte
	sequences int64
}

type fakeMessage struct {
	m      azservicebus.ReceivedMessage
	count  int
	expiry *time.Timer
}

func newFakeQueue() *fakeQueue {
	return &fakeQueue{lock: time.Minute, wake: make(chan struct{}, 1), locked: map[[16]byte]*fakeMessage{}}
}

func (q *fakeQueue) put(id, body string, change ...func(*azservicebus.ReceivedMessage)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sequences++
	m := azservicebus.ReceivedMessage{MessageID: id, Body: []byte(body), SequenceNumber: new(q.sequences), EnqueuedTime: new(time.Now())}
	for _, f := range change {
		f(&m)
	}
	q.waiting = append(q.waiting, &fakeMessage{m: m})
	q.poke()
}

func (q *fakeQueue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *fakeQueue) Receive(ctx context.Context, most int) ([]*azservicebus.ReceivedMessage, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		q.mu.Lock()
		if err := q.failing("receive", 0); err != nil {
			q.mu.Unlock()
			return nil, err
		}
		q.open = true
		n := min(most, len(q.waiting))
		var out []*azservicebus.ReceivedMessage
		for _, f := range q.waiting[:n] {
			q.next++
			f.count++
			m := f.m
			m.LockToken = [16]byte{q.next}
			m.LockedUntil = new(time.Now().Add(q.lock))
			m.DeliveryCount = uint32(f.count)
			q.locked[m.LockToken] = f
			f.expiry = time.AfterFunc(q.lock, func() { q.unlock(m.LockToken) })
			out = append(out, &m)
		}
		q.waiting = slices.Clone(q.waiting[n:])
		q.most = max(q.most, len(q.locked))
		q.mu.Unlock()
		if n > 0 {
			return out, nil
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		}
	}
}

func (q *fakeQueue) failing(what string, n int64) error {
	if q.fault == nil {
		return nil
	}
	return q.fault(what, n)
}

func (q *fakeQueue) setFault(fault func(what string, n int64) error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fault = fault
	q.poke()
}

// unlock puts a message back whose lock has ended.
func (q *fakeQueue) unlock(token [16]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f, ok := q.locked[token]; ok {
		delete(q.locked, token)
		q.waiting = append([]*fakeMessage{f}, q.waiting...)
		q.poke()
	}
}

func (q *fakeQueue) Peek(context.Context, int64, int) ([]*azservicebus.ReceivedMessage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.peeks++
	return nil, q.failing("peek", 0)
}

func (q *fakeQueue) settle(what string, m *azservicebus.ReceivedMessage) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.failing(what, *m.SequenceNumber); err != nil {
		return err
	}
	f, ok := q.locked[m.LockToken]
	if !ok {
		return fmt.Errorf("%s: %w", what, servicebus.ErrLockLost)
	}
	delete(q.locked, m.LockToken)
	f.expiry.Stop()
	q.outcomes = append(q.outcomes, fmt.Sprint(what, " ", *m.SequenceNumber))
	if what == "abandon" {
		q.waiting = append(q.waiting, f)
		slices.SortFunc(q.waiting, func(a, b *fakeMessage) int { return int(*a.m.SequenceNumber - *b.m.SequenceNumber) })
		q.poke()
	}
	return nil
}

func (q *fakeQueue) Complete(_ context.Context, m *azservicebus.ReceivedMessage) error {
	return q.settle("complete", m)
}

func (q *fakeQueue) Abandon(_ context.Context, m *azservicebus.ReceivedMessage) error {
	return q.settle("abandon", m)
}

func (q *fakeQueue) DeadLetter(_ context.Context, m *azservicebus.ReceivedMessage, reason, description string, props map[string]any) error {
	return q.settle(fmt.Sprintf("deadLetter %s %s %v", reason, description, props), m)
}

func (q *fakeQueue) Renew(_ context.Context, m *azservicebus.ReceivedMessage) (time.Time, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f, ok := q.locked[m.LockToken]
	if !ok {
		return time.Time{}, servicebus.ErrLockLost
	}
	q.renewals++
	f.expiry.Reset(q.lock)
	return time.Now().Add(q.lock), nil
}

func (q *fakeQueue) Close(context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = false
	return nil
}

func (q *fakeQueue) all() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.outcomes)
}

// fakeBus is a namespace of fake queues.
type fakeBus struct {
	queue *fakeQueue

	mu   sync.Mutex
	sent map[string][]*azservicebus.Message
	send func(queue string, msgs []*azservicebus.Message) error
}

func (b *fakeBus) Receiver(string) Receiver { return b.queue }

func (b *fakeBus) NextSession(context.Context, string, time.Duration) (Link, error) {
	return nil, fmt.Errorf("sessions: %w", servicebus.ErrRefused)
}

func (b *fakeBus) Send(_ context.Context, queue string, msgs []*azservicebus.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	sent, err := len(msgs), error(nil)
	if b.send != nil {
		if err = b.send(queue, msgs); err != nil {
			sent = 0
			if partly, ok := errors.AsType[*servicebus.SendError](err); ok {
				sent = partly.Sent
			}
		}
	}
	if b.sent == nil {
		b.sent = map[string][]*azservicebus.Message{}
	}
	b.sent[queue] = append(b.sent[queue], msgs[:sent]...)
	return err
}

// fakeBroker accepts what its fault lets through, by key and body.
type fakeBroker struct {
	route ferry.Route

	mu       sync.Mutex
	accepted []ferry.Message
	byKey    map[string]ferry.Message
	counts   map[string]int
	groups   []int
	fault    func(m *ferry.Message) error // of one message
	down     func() error                 // of the whole
	room     func(size int64) error
	gone     bool
}

func newFakeBroker() *fakeBroker {
	return &fakeBroker{
		route: ferry.Route{Name: "invoices", MaxBytes: 1 << 20}, byKey: map[string]ferry.Message{}, counts: map[string]int{},
	}
}

func (b *fakeBroker) Route(name string) (ferry.Route, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.route, name == b.route.Name && !b.gone
}

func (b *fakeBroker) AcceptBatch(_ context.Context, ms []ferry.Message, partial bool) ([]ferry.Accepted, []error, error) {
	if !partial {
		return nil, nil, errors.New("not partial")
	}
	b.mu.Lock()
	down := b.down
	b.mu.Unlock()
	if down != nil {
		if err := down(); err != nil {
			return nil, nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	answers, errs := make([]ferry.Accepted, len(ms)), make([]error, len(ms))
	b.groups = append(b.groups, len(ms))
	for i := range ms {
		m := ms[i]
		if b.fault != nil {
			if errs[i] = b.fault(&m); errs[i] != nil {
				continue
			}
		}
		if first, known := b.byKey[m.IdempotencyKey]; known && m.IdempotencyKey != "" {
			answers[i] = ferry.Accepted{ID: first.ID, Route: m.Route, State: ferry.StateAccepted, Duplicate: true}
			if !bytes.Equal(first.Body, m.Body) {
				e := ferry.Errorf(ferry.CodeKeyReused, "the idempotency key was used before, with another body")
				e.Existing = &answers[i]
				errs[i] = e
			}
			continue
		}
		m.ID = ferry.NewID(m.CreatedAt)
		b.byKey[m.IdempotencyKey] = m
		b.accepted = append(b.accepted, m)
		answers[i] = ferry.Accepted{ID: m.ID, Route: m.Route, State: ferry.StateAccepted}
	}
	return answers, errs, nil
}

func (b *fakeBroker) Room(_ context.Context, size int64) error {
	b.mu.Lock()
	room := b.room
	b.mu.Unlock()
	if room == nil {
		return nil
	}
	return room(size)
}

func (b *fakeBroker) IntakeDone(_, outcome string, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[outcome] += n
}

func (b *fakeBroker) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

func (b *fakeBroker) all() []ferry.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.accepted)
}

func (b *fakeBroker) count(outcome string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[outcome]
}

func encodePlain(e ferry.Envelope) []byte {
	b, err := json.Marshal(e)
	if err != nil {
		return nil
	}
	return b
}

// fakeIntake is an intake on fakes.
type fakeIntake struct {
	q   *fakeQueue
	bus *fakeBus
	b   *fakeBroker
	in  *Intake
	log *bytes.Buffer

	stop func()
}

func (f *fakeIntake) source() *source { return f.in.sources["invoices"] }

func newFake(change ...func(*Source)) *fakeIntake {
	f := &fakeIntake{q: newFakeQueue(), b: newFakeBroker(), log: &bytes.Buffer{}}
	f.bus = &fakeBus{queue: f.q}
	o := Source{Route: "invoices", Queue: "Flow-Invoices", Bus: f.bus, Namespace: "ns.example", Concurrency: 32, Replies: true, Unwrap: true}
	for _, c := range change {
		c(&o)
	}
	f.in = New(Options{Sources: []Source{o}, OwnPrefixes: []string{"ferry"}, Environment: "test", Encode: encodePlain, Log: slog.New(slog.NewTextHandler(f.log, nil))})
	f.source().broker = f.b
	return f
}

// run runs the intake until stop, or the end of the test.
func (f *fakeIntake) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.in.Run(ctx, f.b) }()
	f.stop = sync.OnceFunc(func() { cancel(); <-done })
}
