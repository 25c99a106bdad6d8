package sbemu

import (
	"bytes"
	"testing"
	"time"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"

	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/wire"
)

func put(t *testing.T, s *Server, queue string, bodies ...string) {
	t.Helper()
	q, err := s.Namespace().Queue(queue)
	must(t, err)
	for _, b := range bodies {
		must(t, q.Send(entity.Incoming{Message: amqp.NewMessage([]byte(b))}))
	}
}

// A refused link is attached to nothing, and then detached with the reason.
func TestRefusedAttach(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders"}, {Name: "sessions", RequiresSession: true}}})
	p := dial(t, s)
	p.begin(0)
	for handle, c := range []struct {
		attach    wire.Attach
		condition wire.Symbol
	}{
		{wire.Attach{Target: &wire.Target{Address: "nowhere"}}, condNotFound},
		{wire.Attach{Target: &wire.Target{Address: "orders/$DeadLetterQueue"}}, condNotAllowed},
		{wire.Attach{Target: &wire.Target{Coordinator: true}}, condNotThere},
		{wire.Attach{}, condNotThere},
		{wire.Attach{Receiver: true, Source: &wire.Source{Address: "nowhere"}}, condNotFound},
		{wire.Attach{Receiver: true, Source: &wire.Source{Address: "nowhere/$management"}}, condNotFound},
		{wire.Attach{Receiver: true, Source: &wire.Source{Address: "sessions"}}, condNotAllowed},
		{wire.Attach{Receiver: true, Source: &wire.Source{Dynamic: true}}, condNotThere},
		{wire.Attach{Receiver: true, Source: &wire.Source{Address: "sessions", Filter: wire.Map{{Key: wire.Symbol(sessionFilter), Value: uint32(1)}}}}, condInvalid},
	} {
		c.attach.Name, c.attach.Handle = "l", uint32(handle)
		p.send(0, &c.attach)
		if a := expect[*wire.Attach](p); a.Source != nil || a.Target != nil || a.Receiver == c.attach.Receiver {
			t.Errorf("%d: attached to %+v, %+v", handle, a.Source, a.Target)
		}
		if d := expect[*wire.Detach](p); d.Error == nil || d.Error.Condition != c.condition || !d.Closed {
			t.Errorf("%d: detached with %v, want %s", handle, d.Error, c.condition)
		}
		p.send(0, &wire.Detach{Handle: uint32(handle), Closed: true})
	}
	p.attachSender(0, 0, "/orders/") // the session is well
}

func TestSenderAttachSaysTheSizes(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", MaxMessageBytes: 1 << 20, MaxBatchBytes: 100_000}}})
	p := dial(t, s)
	p.begin(0)
	a := p.attachSender(0, 0, "amqps://"+Host+"/Orders")
	if a.MaxMessageSize != 1<<20 || a.Properties.Get("com.microsoft:max-message-batch-size") != uint64(100_000) {
		t.Errorf("at most %d, batches %v", a.MaxMessageSize, a.Properties)
	}
	if f := expect[*wire.Flow](p); f.LinkCredit.Value == 0 || f.Handle.Value != 0 {
		t.Errorf("given %+v", f)
	}
}

// The header's delivery count stands there even when it is 0.
func TestDeliveryCountOfZeroIsEncoded(t *testing.T) {
	s := start(t, Options{})
	p := dial(t, s)
	p.begin(0)
	put(t, s, "orders", "x")
	p.attachReceiver(0, 0, &wire.Source{Address: "orders"}, 1)
	head, b := p.delivery()
	if want := wire.AppendHeader(nil, wire.Header{Priority: 4}); !bytes.HasPrefix(b, want) {
		t.Errorf("the message begins with % x, want % x", b[:len(want)], want)
	}
	if head.Settled || len(head.DeliveryTag) != 16 || head.More {
		t.Errorf("transferred as %+v", head)
	}
	var m amqp.Message
	must(t, m.UnmarshalBinary(b))
	for _, key := range []string{"x-opt-sequence-number", "x-opt-enqueued-time", "x-opt-locked-until", "x-opt-message-state"} {
		if m.Annotations[key] == nil {
			t.Errorf("the annotation %s is missing: %v", key, m.Annotations)
		}
	}
	if m.Properties == nil || m.Properties.MessageID == nil {
		t.Error("a message without an id was given none")
	}
}

// What a peer settles is answered with the outcome alone.
func TestAnswersToSettlements(t *testing.T) {
	s := start(t, Options{})
	for _, c := range []struct {
		state  wire.State
		answer wire.State
		left   entity.Counts
	}{
		{wire.State{Kind: wire.Accepted}, wire.State{Kind: wire.Accepted}, entity.Counts{}},
		{wire.State{Kind: wire.Released}, wire.State{Kind: wire.Released}, entity.Counts{Active: 1}},
		{wire.State{Kind: wire.Modified, Annotations: wire.Map{{Key: wire.Symbol("k"), Value: "v"}}}, wire.State{Kind: wire.Modified}, entity.Counts{Active: 1}},
		{wire.State{Kind: wire.Modified, UndeliverableHere: true}, wire.State{Kind: wire.Modified, UndeliverableHere: true}, entity.Counts{Deferred: 1}},
		{
			wire.State{Kind: wire.Rejected, Error: &wire.Error{Condition: "com.microsoft:dead-letter", Info: wire.Map{{Key: wire.Symbol(deadLetterReason), Value: "R"}}}},
			wire.State{Kind: wire.Rejected},
			entity.Counts{Dead: 1},
		},
		{wire.State{Kind: wire.Rejected, Error: &wire.Error{Condition: "my:own", Description: "d"}}, wire.State{Kind: wire.Rejected}, entity.Counts{Dead: 1}},
	} {
		q, err := s.Namespace().Create(entity.Config{Name: "one"})
		must(t, err)
		put(t, s, "one", "x")
		p := dial(t, s)
		p.begin(0)
		p.attachReceiver(0, 0, &wire.Source{Address: "one"}, 1)
		head, _ := p.delivery()
		p.send(0, &wire.Disposition{Receiver: true, First: head.DeliveryID.Value, State: &c.state})
		got := expect[*wire.Disposition](p)
		if d := cmp.Diff(&wire.Disposition{First: head.DeliveryID.Value, Last: head.DeliveryID, Settled: true, State: &c.answer}, got); d != "" {
			t.Error(d)
		}
		left := q.Counts()
		left.Bytes = 0
		if left != c.left {
			t.Errorf("after %+v: %+v", c.state, left)
		}
		for _, m := range q.DeadLetters().Messages() {
			if m.MessageID == "" {
				t.Errorf("dead letter %+v", m)
			}
		}
		must(t, s.Namespace().Delete("one"))
	}
}

func TestSettlementsByRange(t *testing.T) {
	s := start(t, Options{})
	p := dial(t, s)
	p.begin(0)
	put(t, s, "orders", "a", "b", "c", "d")
	p.attachReceiver(0, 0, &wire.Source{Address: "orders"}, 4)
	for range 4 {
		p.delivery()
	}
	// The range may go far beyond what was delivered.
	p.send(0, &wire.Disposition{Receiver: true, First: 1, Last: wire.U(4_000_000_000), State: &wire.State{Kind: wire.Accepted}})
	for id := uint32(1); id < 4; id++ {
		if d := expect[*wire.Disposition](p); d.First != id || d.State.Kind != wire.Accepted {
			t.Errorf("answered %+v", d)
		}
	}
	// Settled by the peer already: nothing is answered.
	p.send(0, &wire.Disposition{Receiver: true, First: 0, Settled: true, State: &wire.State{Kind: wire.Accepted}})
	p.send(0, &wire.Disposition{Receiver: true, First: 0, State: &wire.State{Kind: wire.Accepted}}) // there is none
	p.send(0, &wire.Flow{NextIncomingID: wire.U(5), IncomingWindow: 10, Echo: true})
	expect[*wire.Flow](p)
	if got := counts(t, s, "orders"); got != (entity.Counts{}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestDrain(t *testing.T) {
	s := start(t, Options{})
	p := dial(t, s)
	p.begin(0)
	put(t, s, "orders", "a", "b")
	p.attachReceiver(0, 0, &wire.Source{Address: "orders"}, 0)
	p.credit(0, 0, 0, 10, true)
	for range 2 {
		p.delivery()
	}
	drained := expect[*wire.Flow](p)
	if !drained.Drain || drained.DeliveryCount.Value != 10 || drained.LinkCredit.Value != 0 {
		t.Errorf("drained to %+v", drained)
	}
	put(t, s, "orders", "c")
	// The count goes on from where drain left it: this is credit for one.
	p.credit(0, 0, 10, 1, false)
	if _, m := p.message(); string(m.GetData()) != "c" {
		t.Errorf("received %q", m.GetData())
	}
	p.credit(0, 0, 11, 0, true) // nothing to take back is answered, too
	if f := expect[*wire.Flow](p); f.DeliveryCount.Value != 11 {
		t.Errorf("drained to %+v", f)
	}
}

// A peer that takes few frames gets no more of a large message than that.
func TestTheOtherSidesWindow(t *testing.T) {
	s := start(t, Options{})
	p := dialRaw(t, s)
	p.open(&wire.Open{ContainerID: "test", MaxFrame: wire.U(1024)})
	p.token(s, "")
	p.send(0, &wire.Begin{IncomingWindow: 3, OutgoingWindow: 10})
	expect[*wire.Begin](p)
	body := string(bytes.Repeat([]byte("0123456789"), 500))
	put(t, s, "orders", body)
	p.attachReceiver(0, 0, &wire.Source{Address: "orders"}, 0)
	p.send(0, &wire.Flow{NextIncomingID: wire.U(firstOutgoing), IncomingWindow: 3, Handle: wire.U(0), DeliveryCount: wire.U(0), LinkCredit: wire.U(1), Echo: true})
	var got []byte
	frames := 0
	for more := true; more; frames++ {
		if frames == 3 { // the window is used up: the echo comes before the rest
			p.send(0, &wire.Flow{NextIncomingID: wire.U(firstOutgoing + 3), IncomingWindow: 0, Echo: true})
			if f := expectNext[*wire.Flow](p); f.NextOutgoingID != firstOutgoing+3 {
				t.Errorf("3 frames, then %+v", f)
			}
			p.send(0, &wire.Flow{NextIncomingID: wire.U(firstOutgoing + 3), IncomingWindow: 100})
		}
		head, b := p.delivery()
		if len(b) > 1024 || (head.DeliveryID.Set && frames > 0 && head.DeliveryID.Value != 0) {
			t.Errorf("frame %d: %d bytes, %+v", frames, len(b), head)
		}
		got = append(got, b...)
		more = head.More
	}
	var m amqp.Message
	must(t, m.UnmarshalBinary(got))
	if string(m.GetData()) != body {
		t.Errorf("%d bytes came", len(m.GetData()))
	}
}

// expectNext is expect that passes over nothing but deliveries' own flows: the first
// frame must be of the kind.
func expectNext[T wire.Performative](p *peer) T {
	p.t.Helper()
	perf, _, err := p.next()
	must(p.t, err)
	got, ok := perf.(T)
	if !ok {
		p.t.Fatalf("%T came: %+v", perf, perf)
	}
	return got
}

func TestSessionFilterKeepsItsForm(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", RequiresSession: true}}})
	q, err := s.Namespace().Queue("orders")
	must(t, err)
	for _, id := range []string{"a", "b"} {
		must(t, q.Send(entity.Incoming{Message: &amqp.Message{Properties: &amqp.MessageProperties{GroupID: &id}, Data: [][]byte{{}}}}))
	}
	for name, c := range map[string]struct{ ask, answer any }{
		"plain":     {"a", "a"},
		"described": {wire.Described{Descriptor: sessionCode, Value: "b"}, wire.Described{Descriptor: sessionCode, Value: "b"}},
		"any":       {nil, "a"},
	} {
		p := dial(t, s)
		p.begin(0)
		before := ticks(time.Now())
		a := p.attachReceiver(0, 0, &wire.Source{Address: "orders", Filter: wire.Map{{Key: wire.Symbol(sessionFilter), Value: c.ask}}}, 1)
		if a.Source == nil {
			t.Fatalf("%s: refused: %v", name, expect[*wire.Detach](p).Error)
		}
		if d := cmp.Diff(c.answer, a.Source.Filter.Get(sessionFilter)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		until, _ := a.Properties.Get("com.microsoft:locked-until-utc").(int64)
		if minute := int64(time.Minute / 100); until < before+minute/2 || until > before+2*minute {
			t.Errorf("%s: locked for %s", name, time.Duration(until-before)*100)
		}
		p.delivery()
		p.send(0, &wire.Detach{Handle: 0, Closed: true})
		expect[*wire.Detach](p)
	}
}

func TestNoSessionInTime(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", RequiresSession: true}}})
	p := dial(t, s)
	p.begin(0)
	attach := &wire.Attach{
		Name: "r", Handle: 0, Receiver: true, Source: &wire.Source{Address: "orders", Filter: wire.Map{{Key: wire.Symbol(sessionFilter), Value: nil}}},
		Target: &wire.Target{Address: "t"}, Properties: wire.Map{{Key: wire.Symbol("com.microsoft:timeout"), Value: uint32(50)}},
	}
	p.send(0, attach)
	if a := expect[*wire.Attach](p); a.Source != nil {
		t.Errorf("attached to %+v", a.Source)
	}
	if d := expect[*wire.Detach](p); d.Error == nil || d.Error.Condition != "com.microsoft:timeout" {
		t.Errorf("detached with %v", d.Error)
	}
	p.send(0, &wire.Detach{Handle: 0, Closed: true})
	// Who waits no longer is answered at once.
	attach.Properties = nil
	p.send(0, attach)
	p.send(0, &wire.Detach{Handle: 0, Closed: true})
	expect[*wire.Attach](p)
	if d := expect[*wire.Detach](p); d.Error != nil {
		t.Errorf("detached with %v", d.Error)
	}
	put := &amqp.Message{Properties: &amqp.MessageProperties{GroupID: ptr("a")}, Data: [][]byte{{}}}
	q, err := s.Namespace().Queue("orders")
	must(t, err)
	must(t, q.Send(entity.Incoming{Message: put}))
	if a := p.attachReceiver(0, 1, attach.Source, 0); a.Source == nil || a.Source.Filter.Get(sessionFilter) != "a" {
		t.Errorf("the session was given to one who had gone: %+v", a)
	}
}
