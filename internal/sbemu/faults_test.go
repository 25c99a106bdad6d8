package sbemu

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/wire"
)

func TestDropConnections(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	from := sender(t, c, "orders")
	send(t, from, &azservicebus.Message{Body: []byte("a")})
	r := receiver(t, c, "orders", nil)
	m := receive(t, r)
	s.DropConnections()
	// The SDK connects again by itself.
	send(t, from, &azservicebus.Message{Body: []byte("b")})
	b := receive(t, r)
	if string(b.Body) != "b" {
		t.Errorf("received %q", b.Body)
	}
	must(t, r.CompleteMessage(within(t), b, nil))
	// A settlement on the cut connection never ends well; by lock token it does.
	must(t, r.CompleteMessage(within(t), &azservicebus.ReceivedMessage{LockToken: m.LockToken}, nil))
	if got := counts(t, s, "orders"); got != (entity.Counts{}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestReceiveEndsEmptyWhenTheConnectionBreaks(t *testing.T) {
	s := start(t, Options{})
	r := receiver(t, client(t, s), "orders", nil)
	got := make(chan error, 1)
	ctx := within(t)
	go func() {
		ms, err := r.ReceiveMessages(ctx, 1, nil)
		if len(ms) > 0 {
			err = errors.New("a message out of nothing")
		}
		got <- err
	}()
	await(t, func() bool { return thirsty(s) == 1 })
	s.DropConnections()
	if err := <-got; ctx.Err() != nil {
		t.Errorf("received until the context ended: %v", err)
	}
}

// thirsty counts links on which peers have given credit that is not used up.
func thirsty(s *Server) int {
	n := 0
	for _, c := range s.all() {
		c.mu.Lock()
		for _, ses := range c.sessions {
			for _, l := range ses.links {
				if o, ok := l.(*outgoing); ok && o.receiver != nil && o.limit != o.deliveryCount {
					n++
				}
			}
		}
		c.mu.Unlock()
	}
	return n
}

// await polls for what another goroutine brings about.
func await(t testing.TB, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for 20 s")
		}
	}
}

func TestDetachLinks(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders"}, {Name: "other"}}})
	c := client(t, s)
	from, r := sender(t, c, "orders"), receiver(t, c, "orders", nil)
	send(t, from, &azservicebus.Message{Body: []byte("a")})
	send(t, sender(t, c, "other"), &azservicebus.Message{Body: []byte("x")})
	m := receive(t, r)
	if senders, receivers := s.Links("ORDERS"); senders != 1 || receivers != 1 || s.Connections() != 1 {
		t.Errorf("%d senders, %d receivers, %d connections", senders, receivers, s.Connections())
	}
	if n := s.DetachLinks("ORDERS", &amqp.Error{Condition: "amqp:link:detach-forced", Description: "maintenance"}); n < 2 {
		t.Errorf("%d links were detached", n)
	}
	must(t, r.CompleteMessage(within(t), &azservicebus.ReceivedMessage{LockToken: m.LockToken}, nil))
	send(t, from, &azservicebus.Message{Body: []byte("b")})
	if m := receive(t, r); string(m.Body) != "b" {
		t.Errorf("received %q", m.Body)
	}
}

// What was sent before the peer heard of the detach still counts, and its answer is
// lost: the trap that makes a lost lock an unknown outcome.
func TestSettlementThatCrossesADetach(t *testing.T) {
	s := start(t, Options{})
	put(t, s, "orders", "x")
	p := dial(t, s)
	p.begin(0)
	p.attachReceiver(0, 0, &wire.Source{Address: "orders"}, 1)
	head, _ := p.delivery()
	s.DetachLinks("orders", nil)
	p.send(0, &wire.Disposition{Receiver: true, First: head.DeliveryID.Value, State: &wire.State{Kind: wire.Accepted}})
	if d := expect[*wire.Detach](p); d.Error == nil || d.Error.Condition != condDetachForced {
		t.Errorf("detached with %v", d.Error)
	}
	p.send(0, &wire.Detach{Handle: 0, Closed: true})
	p.begin(1) // nothing was answered before this
	if got := counts(t, s, "orders"); got != (entity.Counts{}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestSetAway(t *testing.T) {
	s := start(t, Options{})
	from := sender(t, client(t, s), "orders")
	send(t, from, &azservicebus.Message{Body: []byte("a")})
	s.SetAway(true)
	ctx, cancel := contextIn(t, 2*time.Second)
	defer cancel()
	if err := from.SendMessage(ctx, &azservicebus.Message{Body: []byte("b")}, nil); err == nil {
		t.Error("sent to a namespace that is away")
	}
	s.SetAway(false)
	send(t, from, &azservicebus.Message{Body: []byte("c")})
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 2}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestRejectToken(t *testing.T) {
	s := start(t, Options{})
	var asked atomic.Value
	s.RejectToken(func(entity, policy string) error {
		asked.Store(entity + " by " + policy)
		return errors.New("not today")
	})
	var sdk *azservicebus.Error
	if err := sender(t, client(t, s), "orders").SendMessage(within(t), &azservicebus.Message{}, nil); !errors.As(err, &sdk) || sdk.Code != azservicebus.CodeUnauthorizedAccess {
		t.Errorf("sent with a refused token: %v", err)
	}
	if got := asked.Load(); got != "orders by "+RootPolicy {
		t.Errorf("asked for %v", got)
	}
	s.RejectToken(nil)
	send(t, sender(t, client(t, s), "orders"), &azservicebus.Message{})
}

func TestServerBusy(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	from := sender(t, c, "orders")
	send(t, from, &azservicebus.Message{})
	s.ServerBusy(2)
	send(t, from, &azservicebus.Message{}) // tried three times by the SDK
	s.ServerBusy(100)
	err := from.SendMessage(within(t), &azservicebus.Message{}, nil)
	if raw := (*amqp.Error)(nil); !errors.As(err, &raw) || raw.Condition != "com.microsoft:server-busy" {
		t.Errorf("sent to a busy namespace: %v", err)
	}
	if _, err := receiver(t, c, "orders", nil).PeekMessages(within(t), 1, nil); err == nil {
		t.Error("peeked into a busy namespace")
	}
	s.ServerBusy(0)
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 2}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestOnSettle(t *testing.T) {
	for name, c := range map[string]struct {
		fault SettleFault
		left  entity.Counts
		works bool
	}{
		"slow":         {SettleFault{Delay: 50 * time.Millisecond}, entity.Counts{}, true},
		"answer lost":  {SettleFault{Drop: true}, entity.Counts{}, false},
		"request lost": {SettleFault{Lose: true}, entity.Counts{Locked: 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{})
			cl := client(t, s)
			send(t, sender(t, cl, "orders"), &azservicebus.Message{})
			r := receiver(t, cl, "orders", nil)
			m := receive(t, r)
			var seen atomic.Value
			s.OnSettle(func(queue, outcome string) SettleFault {
				seen.Store(queue + " " + outcome)
				return c.fault
			})
			ctx, cancel := context.WithCancel(within(t))
			if !c.works {
				ctx, cancel = contextIn(t, 300*time.Millisecond)
			}
			defer cancel()
			began := time.Now()
			err := r.CompleteMessage(ctx, m, nil)
			if c.works != (err == nil) {
				t.Errorf("completed: %v", err)
			}
			if c.works && time.Since(began) < c.fault.Delay {
				t.Error("the answer was not slow")
			}
			await(t, func() bool { return seen.Load() != nil })
			if seen.Load() != "orders completed" {
				t.Errorf("asked about %v", seen.Load())
			}
			await(t, func() bool { return counts(t, s, "orders") == c.left })
		})
	}
}

func TestOnSettleKnowsTheOutcome(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	outcomes := make(chan string, 10)
	s.OnSettle(func(_, outcome string) SettleFault { outcomes <- outcome; return SettleFault{} })
	r := receiver(t, c, "orders", nil)
	from := sender(t, c, "orders")
	byToken := func(m *azservicebus.ReceivedMessage) *azservicebus.ReceivedMessage {
		return &azservicebus.ReceivedMessage{LockToken: m.LockToken}
	}
	for _, act := range []struct {
		want string
		do   func(m *azservicebus.ReceivedMessage) error
	}{
		{"abandoned", func(m *azservicebus.ReceivedMessage) error { return r.AbandonMessage(within(t), m, nil) }},
		{"abandoned", func(m *azservicebus.ReceivedMessage) error { return r.AbandonMessage(within(t), byToken(m), nil) }},
		{"deferred", func(m *azservicebus.ReceivedMessage) error { return r.DeferMessage(within(t), m, nil) }},
		{"deadLettered", func(m *azservicebus.ReceivedMessage) error { return r.DeadLetterMessage(within(t), m, nil) }},
		{"deadLettered", func(m *azservicebus.ReceivedMessage) error { return r.DeadLetterMessage(within(t), byToken(m), nil) }},
		{"completed", func(m *azservicebus.ReceivedMessage) error { return r.CompleteMessage(within(t), byToken(m), nil) }},
	} {
		send(t, from, &azservicebus.Message{})
		must(t, act.do(receive(t, r)))
		if got := <-outcomes; got != act.want {
			t.Errorf("outcome %s, want %s", got, act.want)
		}
	}
}

func TestOnSendDropMakesTheOutcomeUnknown(t *testing.T) {
	s := start(t, Options{})
	from := sender(t, client(t, s), "orders")
	send(t, from, &azservicebus.Message{Body: []byte("a")})
	for _, fault := range []SendFault{{Drop: true}, {Lose: true}} {
		var came atomic.Bool
		s.OnSend(func(string) SendFault { came.Store(true); return fault })
		ctx, cancel := contextIn(t, 200*time.Millisecond)
		defer cancel()
		if err := from.SendMessage(ctx, &azservicebus.Message{Body: []byte("b")}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("sent without an answer: %v", err)
		}
		await(t, came.Load)
	}
	// The first was taken before its answer was dropped, the second never came.
	await(t, func() bool { return counts(t, s, "orders") == entity.Counts{Active: 2} })
	s.OnSend(func(string) SendFault { return SendFault{Delay: 50 * time.Millisecond} })
	began := time.Now()
	send(t, from, &azservicebus.Message{})
	if time.Since(began) < 50*time.Millisecond {
		t.Error("the answer was not slow")
	}
}

func TestFreeze(t *testing.T) {
	s := start(t, Options{})
	c := client(t, s)
	from := sender(t, c, "orders")
	send(t, from, &azservicebus.Message{})
	s.Freeze(true)
	ctx, cancel := contextIn(t, 200*time.Millisecond)
	defer cancel()
	if err := from.SendMessage(ctx, &azservicebus.Message{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("sent to a frozen double: %v", err)
	}
	ctx, cancel = contextIn(t, 200*time.Millisecond)
	defer cancel()
	if err := sender(t, client(t, s), "orders").SendMessage(ctx, &azservicebus.Message{}, nil); err == nil {
		t.Error("connected to a frozen double")
	}
	s.Freeze(false)
	ctx, cancel = contextIn(t, 200*time.Millisecond)
	defer cancel()
	if err := from.SendMessage(ctx, &azservicebus.Message{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("sent on a connection that was frozen: %v", err)
	}
	send(t, sender(t, client(t, s), "orders"), &azservicebus.Message{})
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 2}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestRevoke(t *testing.T) {
	s := start(t, Options{Policies: map[string]Policy{
		"first": {Keys: []string{"k1"}, Rights: Manage}, "second": {Keys: []string{"k2"}, Rights: Send | Listen},
	}})
	from := sender(t, clientOf(t, s.ConnectionStringOf("second"), nil), "orders")
	other := sender(t, clientOf(t, s.ConnectionStringOf("first"), nil), "orders")
	send(t, from, &azservicebus.Message{})
	send(t, other, &azservicebus.Message{})
	s.Revoke("second")
	if err := from.SendMessage(within(t), &azservicebus.Message{}, nil); err == nil {
		t.Error("sent with a revoked policy")
	}
	send(t, other, &azservicebus.Message{})
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 3}) {
		t.Errorf("the queue holds %+v", got)
	}
}
