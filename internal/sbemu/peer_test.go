package sbemu

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/wire"
)

// peer speaks frame by frame to a double: what SDKs do not do, or do not show.
type peer struct {
	t   *testing.T
	c   net.Conn
	r   *bufio.Reader
	buf []byte
}

// dialRaw connects, and no more.
func dialRaw(t *testing.T, s *Server) *peer {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	must(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return &peer{t: t, c: c, r: bufio.NewReader(c)}
}

// dial connects, and opens the connection with an anonymous sign-in and a token for
// the whole namespace.
func dial(t *testing.T, s *Server) *peer {
	t.Helper()
	p := dialRaw(t, s)
	p.open(&wire.Open{ContainerID: "test"})
	p.token(s, "")
	return p
}

func (p *peer) open(o *wire.Open) *wire.Open {
	p.t.Helper()
	p.write([]byte(wire.HeaderSASL))
	p.header(wire.HeaderSASL)
	expect[*wire.SASLMechanisms](p)
	p.frame(wire.TypeSASL, 0, &wire.SASLInit{Mechanism: "ANONYMOUS"}, nil)
	if out := expect[*wire.SASLOutcome](p); out.Code != 0 {
		p.t.Fatalf("sign-in ended with %d", out.Code)
	}
	p.write([]byte(wire.HeaderAMQP))
	p.header(wire.HeaderAMQP)
	p.send(0, o)
	return expect[*wire.Open](p)
}

// token puts a token for an entity, on a session of its own that ends again.
func (p *peer) token(s *Server, entity string) {
	p.t.Helper()
	const channel = 900
	p.begin(channel)
	p.attachSender(channel, 0, "$cbs")
	p.attachReceiver(channel, 1, &wire.Source{Address: "$cbs"}, 1)
	audience := "amqp://" + s.Addr() + "/" + entity
	p.transfer(channel, &wire.Transfer{Handle: 0, DeliveryID: wire.U(0), DeliveryTag: []byte("t"), Settled: true}, &amqp.Message{
		Properties:            &amqp.MessageProperties{MessageID: "1", ReplyTo: ptr("receiver-1")},
		ApplicationProperties: map[string]any{"operation": "put-token", "type": tokenSAS, "name": audience},
		Value:                 sign(audience, RootPolicy, s.auth.key(RootPolicy), time.Now().Add(time.Hour)),
	})
	_, m := p.message()
	if m.ApplicationProperties["statusCode"] != int32(202) {
		p.t.Fatalf("the token was answered with %v", m.ApplicationProperties)
	}
	p.send(channel, &wire.End{})
	expect[*wire.End](p)
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	_, err := p.c.Write(b)
	must(p.t, err)
}

func (p *peer) header(want string) {
	p.t.Helper()
	got := make([]byte, len(want))
	_, err := io.ReadFull(p.r, got)
	must(p.t, err)
	if string(got) != want {
		p.t.Fatalf("the layer begins with %q", got)
	}
}

func (p *peer) frame(kind byte, channel uint16, perf wire.Performative, payload []byte) {
	p.t.Helper()
	b, err := wire.AppendFrame(nil, kind, channel, perf, payload)
	must(p.t, err)
	p.write(b)
}

func (p *peer) send(channel uint16, perf wire.Performative) {
	p.t.Helper()
	p.frame(wire.TypeAMQP, channel, perf, nil)
}

// next reads a frame that is not empty.
func (p *peer) next() (wire.Performative, []byte, error) {
	for {
		f, buf, err := wire.ReadFrame(p.r, p.buf, 1<<20)
		p.buf = buf
		if err != nil {
			return nil, nil, err
		}
		if len(f.Body) > 0 {
			return wire.Decode(f.Body)
		}
	}
}

// expect reads the next frame, which must be of one kind. Flows that are not asked
// for are passed over.
func expect[T wire.Performative](p *peer) T {
	p.t.Helper()
	for {
		perf, _, err := p.next()
		must(p.t, err)
		if got, ok := perf.(T); ok {
			return got
		}
		if _, ok := perf.(*wire.Flow); !ok {
			p.t.Fatalf("%T came: %+v", perf, perf)
		}
	}
}

// closed reads until the connection ends, and returns the error it was closed with.
func (p *peer) closed() *wire.Error {
	p.t.Helper()
	var why *wire.Error
	for {
		perf, _, err := p.next()
		if err != nil {
			if errors.Is(err, wire.ErrMalformed) {
				p.t.Fatal(err)
			}
			return why
		}
		if c, ok := perf.(*wire.Close); ok {
			why = c.Error
			p.send(0, &wire.Close{})
		}
	}
}

func (p *peer) begin(channel uint16) {
	p.t.Helper()
	p.send(channel, &wire.Begin{IncomingWindow: 1000, OutgoingWindow: 1000})
	expect[*wire.Begin](p)
}

func (p *peer) attachSender(channel uint16, handle uint32, address string) *wire.Attach {
	p.t.Helper()
	p.send(channel, &wire.Attach{
		Name: fmt.Sprintf("sender-%d", handle), Handle: handle, Source: &wire.Source{Address: "here"}, Target: &wire.Target{Address: address}, InitialDeliveryCount: wire.U(0),
	})
	return expect[*wire.Attach](p)
}

func (p *peer) attachReceiver(channel uint16, handle uint32, source *wire.Source, credit uint32) *wire.Attach {
	p.t.Helper()
	p.send(channel, &wire.Attach{
		Name: fmt.Sprintf("receiver-%d", handle), Handle: handle, Receiver: true, ReceiverSettle: wire.U(wire.ReceiverSecond),
		Source: source, Target: &wire.Target{Address: "there"},
	})
	a := expect[*wire.Attach](p)
	if credit > 0 {
		p.credit(channel, handle, 0, credit, false)
	}
	return a
}

func (p *peer) credit(channel uint16, handle, count, credit uint32, drain bool) {
	p.t.Helper()
	p.send(channel, &wire.Flow{
		NextIncomingID: wire.U(firstOutgoing), IncomingWindow: 1000, OutgoingWindow: 1000, Handle: wire.U(handle),
		DeliveryCount: wire.U(count), LinkCredit: wire.U(credit), Drain: drain,
	})
}

func (p *peer) transfer(channel uint16, head *wire.Transfer, m *amqp.Message) {
	p.t.Helper()
	b, err := m.MarshalBinary()
	must(p.t, err)
	p.frame(wire.TypeAMQP, channel, head, b)
}

// message reads a delivery of one frame.
func (p *peer) message() (*wire.Transfer, *amqp.Message) {
	p.t.Helper()
	head, b := p.delivery()
	m := new(amqp.Message)
	must(p.t, m.UnmarshalBinary(b))
	return head, m
}

func (p *peer) delivery() (*wire.Transfer, []byte) {
	p.t.Helper()
	for {
		perf, payload, err := p.next()
		must(p.t, err)
		switch perf := perf.(type) {
		case *wire.Transfer:
			return perf, payload
		case *wire.Flow:
		default:
			p.t.Fatalf("%T came: %+v", perf, perf)
		}
	}
}
