package entity

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// link is a receiver as a front keeps one.
type link struct {
	*Receiver
	mu   sync.Mutex
	got  []Delivery
	left error
}

func (l *link) options(o ReceiverOptions) ReceiverOptions {
	o.Deliver = func(d Delivery) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.got = append(l.got, d)
	}
	o.Gone = func(err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.left = err
	}
	return o
}

// grant gives the link n credits beyond what it has got.
func (l *link) grant(n uint32) *link {
	l.Flow(l.Delivered(), n)
	return l
}

// take returns what was delivered since the last take.
func (l *link) take() []Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	got := l.got
	l.got = nil
	return got
}

func (l *link) gone() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.left
}

func attach(t *testing.T, s *Source, o ReceiverOptions) *link {
	t.Helper()
	l := &link{}
	r, err := s.Attach(l.options(o))
	if err != nil {
		t.Fatal(err)
	}
	l.Receiver = r
	return l
}

// receive takes up to n messages at once, by a link of its own.
func receive(t *testing.T, s *Source, n uint32) []Delivery {
	t.Helper()
	l := attach(t, s, ReceiverOptions{})
	defer l.Close()
	return l.grant(n).take()
}

// one receives the next message, which must be there.
func one(t *testing.T, s *Source) Delivery {
	t.Helper()
	got := receive(t, s, 1)
	if len(got) != 1 {
		t.Fatalf("got %d deliveries, want 1", len(got))
	}
	return got[0]
}

func queueOf(t *testing.T, c Config) *Queue {
	t.Helper()
	n := New(Options{})
	t.Cleanup(n.Close)
	if c.Name == "" {
		c.Name = "orders"
	}
	q, err := n.Create(c)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func text(id string) *amqp.Message {
	m := amqp.NewMessage([]byte("body of " + id))
	m.Properties = &amqp.MessageProperties{MessageID: id}
	return m
}

func in(m *amqp.Message) Incoming { return Incoming{Message: m} }

// send sends plain messages in one batch.
func send(t *testing.T, q *Queue, ids ...string) {
	t.Helper()
	var batch []Incoming
	for _, id := range ids {
		batch = append(batch, in(text(id)))
	}
	must(t, q.Send(batch...))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func fails(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func idsOf(list []Delivery) string {
	var ids []string
	for _, d := range list {
		ids = append(ids, d.Message.Properties.MessageID.(string))
	}
	return strings.Join(ids, " ")
}

func wantIDs(t *testing.T, got []Delivery, want string) {
	t.Helper()
	if idsOf(got) != want {
		t.Fatalf("got %q, want %q", idsOf(got), want)
	}
}

// wantHeld compares what a source holds, written as "id:state id:state".
func wantHeld(t *testing.T, s *Source, want string) {
	t.Helper()
	var list []string
	for _, h := range s.Messages() {
		list = append(list, fmt.Sprintf("%s:%s", h.MessageID, h.State))
	}
	if got := strings.Join(list, " "); got != want {
		t.Fatalf("%s holds %q, want %q", s.Address(), got, want)
	}
}

func wantCounts(t *testing.T, q *Queue, want Counts) {
	t.Helper()
	got := q.Counts()
	want.Bytes = got.Bytes
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
}

// bubble runs a test where time is that of the bubble, and passes at once.
func bubble(t *testing.T, c Config, test func(*testing.T, *Queue)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, queueOf(t, c)) })
}

// pass lets time pass, and what it brings happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func headerOf(ttl time.Duration) *amqp.MessageHeader { return &amqp.MessageHeader{TTL: ttl} }
