package sbemu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/wire"
)

// What a peer may not do closes its connection, with the reason, and nobody else's.
func TestConnectionErrors(t *testing.T) {
	limits := Limits{Sessions: 1000, FrameBytes: 4096}
	for name, c := range map[string]struct {
		do   func(p *peer)
		want wire.Symbol
	}{
		"large frame":         {func(p *peer) { p.write(binary.BigEndian.AppendUint32(nil, 4097)); p.write([]byte{2, 0, 0, 0}) }, condFraming},
		"frame of no size":    {func(p *peer) { p.write([]byte{0, 0, 0, 7, 2, 0, 0, 0}) }, condFraming},
		"body before its end": {func(p *peer) { p.write([]byte{0, 0, 0, 8, 3, 0, 0, 0}) }, condFraming},
		"no performative":     {func(p *peer) { p.write([]byte{0, 0, 0, 10, 2, 0, 0, 0, 0x40, 0x40}) }, condDecode},
		"an unknown one":      {func(p *peer) { p.write([]byte{0, 0, 0, 12, 2, 0, 0, 0, 0, 0x53, 0x99, 0x45}) }, condDecode},
		"two opens":           {func(p *peer) { p.send(0, &wire.Open{ContainerID: "x"}) }, condNotAllowed},
		"no session":          {func(p *peer) { p.send(3, &wire.Attach{Name: "x"}) }, condNotAllowed},
		"a session twice":     {func(p *peer) { p.begin(0); p.send(0, &wire.Begin{}) }, condNotAllowed},
		"a channel too high":  {func(p *peer) { p.send(1000, &wire.Begin{}) }, condLimit},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{Limits: limits})
			well := dial(t, s)
			p := dial(t, s)
			c.do(p)
			if why := p.closed(); why == nil || why.Condition != c.want {
				t.Errorf("closed with %v, want %s", why, c.want)
			}
			well.begin(0)
		})
	}
}

// What a peer may not do on a session ends the session, with the reason.
func TestSessionErrors(t *testing.T) {
	attach := func(p *peer) { p.attachSender(0, 0, "orders") }
	transfer := &wire.Transfer{Handle: 0, DeliveryID: wire.U(0), DeliveryTag: []byte("t")}
	for name, c := range map[string]struct {
		do   func(p *peer)
		want wire.Symbol
	}{
		"handle in use":     {func(p *peer) { attach(p); p.send(0, &wire.Attach{Name: "other", Handle: 0}) }, condHandleInUse},
		"handle too high":   {func(p *peer) { p.send(0, &wire.Attach{Name: "x", Handle: mostHandle + 1}) }, condLimit},
		"flow of no link":   {func(p *peer) { p.credit(0, 7, 0, 1, false) }, condUnattached},
		"detach of no link": {func(p *peer) { p.send(0, &wire.Detach{Handle: 7}) }, condUnattached},
		"transfer of none":  {func(p *peer) { p.send(0, transfer) }, condUnattached},
		"the wrong way":     {func(p *peer) { p.attachReceiver(0, 0, &wire.Source{Address: "orders"}, 0); p.send(0, transfer) }, condNotAllowed},
		"too many links": {func(p *peer) {
			p.attachSender(0, 0, "orders")
			p.attachSender(0, 1, "orders")
			p.send(0, &wire.Attach{Name: "x", Handle: 2})
		}, condLimit},
		"a name without end": {func(p *peer) { p.send(0, &wire.Attach{Name: string(bytes.Repeat([]byte("x"), 1025))}) }, condInvalid},
		"not for a session":  {func(p *peer) { p.send(0, &wire.SASLInit{Mechanism: "PLAIN"}) }, condNotAllowed},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{Limits: Limits{Links: 2}})
			p := dial(t, s)
			p.begin(0)
			c.do(p)
			if end := expect[*wire.End](p); end.Error == nil || end.Error.Condition != c.want {
				t.Errorf("ended with %v, want %s", end.Error, c.want)
			}
			p.send(0, &wire.Detach{Handle: 0}) // crosses the end: of no interest
			p.send(0, &wire.End{})
			p.begin(0)
			p.attachSender(0, 0, "orders")
		})
	}
}

// What a peer may not do on a link detaches the link, with the reason.
func TestLinkErrors(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(p *peer)
		want wire.Symbol
	}{
		"a delivery without an id": {func(p *peer) {
			p.attachSender(0, 0, "orders")
			p.send(0, &wire.Transfer{Handle: 0, DeliveryTag: []byte("t")})
		}, condInvalid},
		"larger than the queue takes": {func(p *peer) {
			p.attachSender(0, 0, "orders")
			for range 5 {
				p.frame(wire.TypeAMQP, 0, &wire.Transfer{Handle: 0, DeliveryID: wire.U(0), DeliveryTag: []byte("t"), Settled: true, More: true}, make([]byte, 60<<10))
			}
		}, condTooLarge},
		"too much without an end": {func(p *peer) {
			for handle := range uint32(2) {
				p.attachSender(0, handle, "orders")
				for range 3 {
					p.frame(wire.TypeAMQP, 0, &wire.Transfer{Handle: handle, DeliveryID: wire.U(handle), DeliveryTag: []byte("t"), More: true}, make([]byte, 60<<10))
				}
			}
		}, condLimit},
		"a request that is none": {func(p *peer) {
			p.attachSender(0, 0, "$cbs")
			p.transfer(0, &wire.Transfer{Handle: 0, DeliveryID: wire.U(0), DeliveryTag: []byte("t"), Settled: true}, amqp.NewMessage([]byte("x")))
		}, condDecode},
		"replies that nobody takes": {func(p *peer) {
			p.attachSender(0, 0, "orders/$management")
			p.attachReceiver(0, 1, &wire.Source{Address: "orders/$management"}, 0)
			for i := range 11 {
				p.transfer(0, &wire.Transfer{Handle: 0, DeliveryID: wire.U(uint32(i)), DeliveryTag: []byte("t"), Settled: true}, &amqp.Message{
					Properties: &amqp.MessageProperties{MessageID: "x", ReplyTo: ptr("there")}, Value: map[string]any{}, ApplicationProperties: map[string]any{"operation": "com.microsoft:none"},
				})
			}
		}, condLimit},
		"a transaction": {func(p *peer) {
			p.attachReceiver(0, 0, &wire.Source{Address: "orders"}, 1)
			head, _ := p.delivery()
			p.send(0, &wire.Disposition{Receiver: true, First: head.DeliveryID.Value, State: &wire.State{Kind: wire.InTransaction}})
		}, condNotThere},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, Options{Limits: Limits{PartialBytes: 270 << 10, Replies: 10}})
			put(t, s, "orders", "x")
			p := dial(t, s)
			p.begin(0)
			c.do(p)
			if d := expect[*wire.Detach](p); d.Error == nil || d.Error.Condition != c.want {
				t.Errorf("detached with %v, want %s", d.Error, c.want)
			}
			p.begin(1)
		})
	}
}

// A delivery that is too large is rejected, too: some clients hear only that.
func TestOversizeIsRejectedAndDetached(t *testing.T) {
	s := start(t, Options{Queues: []entity.Config{{Name: "orders", MaxMessageBytes: 1000}}})
	p := dial(t, s)
	p.begin(0)
	p.attachSender(0, 0, "orders")
	p.transfer(0, &wire.Transfer{Handle: 0, DeliveryID: wire.U(0), DeliveryTag: []byte("t")}, message(2000))
	if d := expect[*wire.Disposition](p); d.State == nil || d.State.Error == nil || d.State.Error.Condition != condTooLarge {
		t.Errorf("answered %+v", d)
	}
	if d := expect[*wire.Detach](p); d.Error == nil || d.Error.Condition != condTooLarge {
		t.Errorf("detached with %v", d.Error)
	}
	if got := counts(t, s, "orders"); got != (entity.Counts{}) {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestAbortedDelivery(t *testing.T) {
	s := start(t, Options{})
	p := dial(t, s)
	p.begin(0)
	p.attachSender(0, 0, "orders")
	p.frame(wire.TypeAMQP, 0, &wire.Transfer{Handle: 0, DeliveryID: wire.U(0), DeliveryTag: []byte("t"), More: true}, []byte("half"))
	p.send(0, &wire.Transfer{Handle: 0, Aborted: true})
	p.transfer(0, &wire.Transfer{Handle: 0, DeliveryID: wire.U(1), DeliveryTag: []byte("u")}, amqp.NewMessage([]byte("x")))
	if d := expect[*wire.Disposition](p); d.First != 1 || d.State.Kind != wire.Accepted {
		t.Errorf("answered %+v", d)
	}
}

// A delivery that cannot be read is rejected; the link stays.
func TestMalformedMessage(t *testing.T) {
	s := start(t, Options{})
	p := dial(t, s)
	p.begin(0)
	p.attachSender(0, 0, "orders")
	for id, b := range [][]byte{{0xff}, {0, 0x53, 0x75}, bytes.Repeat([]byte{0}, 10_000), {0, 0x53, 0x99, 0x45}} {
		p.frame(wire.TypeAMQP, 0, &wire.Transfer{Handle: 0, DeliveryID: wire.U(uint32(id)), DeliveryTag: []byte("t")}, b)
		if d := expect[*wire.Disposition](p); d.State.Error == nil || d.State.Error.Condition != condDecode {
			t.Errorf("answered %+v", d.State)
		}
	}
	p.frame(wire.TypeAMQP, 0, &wire.Transfer{Handle: 0, DeliveryID: wire.U(9), DeliveryTag: []byte("t"), MessageFormat: wire.U(batchFormat)}, []byte{0, 0x53, 0x73, 0x45})
	if d := expect[*wire.Disposition](p); d.State.Error == nil || d.State.Error.Condition != condDecode {
		t.Errorf("a batch without messages was answered %+v", d.State)
	}
}

func TestTooManyConnections(t *testing.T) {
	s := start(t, Options{Limits: Limits{Connections: 2}})
	for range 2 {
		dial(t, s)
	}
	p := dialRaw(t, s)
	p.open(&wire.Open{ContainerID: "one too many"})
	if why := p.closed(); why == nil || why.Condition != condLimit {
		t.Errorf("closed with %v", why)
	}
}

func TestUnsettledIsBounded(t *testing.T) {
	s := start(t, Options{Limits: Limits{Unsettled: 4}})
	var bodies []string
	for i := range 10 {
		bodies = append(bodies, fmt.Sprint(i))
	}
	put(t, s, "orders", bodies...)
	p := dial(t, s)
	p.begin(0)
	p.attachReceiver(0, 0, &wire.Source{Address: "orders"}, 100)
	for range 4 {
		p.delivery()
	}
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 6, Locked: 4}) {
		t.Errorf("the queue holds %+v", got)
	}
	p.send(0, &wire.Disposition{Receiver: true, First: 0, Last: wire.U(3), Settled: true, State: &wire.State{Kind: wire.Accepted}})
	for range 4 {
		p.delivery()
	}
	if got := counts(t, s, "orders"); got != (entity.Counts{Active: 2, Locked: 4}) {
		t.Errorf("the queue holds %+v", got)
	}
}

// What was fetched for a peer and not sent to it goes back when its link ends.
func TestUnsentDeliveriesGoBack(t *testing.T) {
	s := start(t, Options{})
	put(t, s, "orders", "a", "b", "c")
	p := dial(t, s)
	p.send(0, &wire.Begin{IncomingWindow: 1, OutgoingWindow: 10})
	expect[*wire.Begin](p)
	p.attachReceiver(0, 0, &wire.Source{Address: "orders"}, 0)
	p.send(0, &wire.Flow{NextIncomingID: wire.U(firstOutgoing), IncomingWindow: 1, Handle: wire.U(0), DeliveryCount: wire.U(0), LinkCredit: wire.U(3)})
	p.delivery()
	p.send(0, &wire.Detach{Handle: 0, Closed: true})
	expect[*wire.Detach](p)
	got := counts(t, s, "orders")
	// One was sent; of another the sending had begun, and nobody can say whether it came.
	if got.Active < 1 || got.Active+got.Locked != 3 {
		t.Errorf("the queue holds %+v", got)
	}
}

func TestSilentPeerIsCut(t *testing.T) {
	s := start(t, Options{Limits: Limits{IdleTimeOut: 500 * time.Millisecond}})
	p := dialRaw(t, s)
	if o := p.open(&wire.Open{ContainerID: "test"}); o.IdleTimeOut != 500*time.Millisecond {
		t.Errorf("the double wants to hear something within %s", o.IdleTimeOut)
	}
	if why := p.closed(); why == nil || why.Condition != condLimit {
		t.Errorf("closed with %v", why)
	}
}

func TestConnectionIsKeptAlive(t *testing.T) {
	s := start(t, Options{})
	p := dialRaw(t, s)
	p.open(&wire.Open{ContainerID: "test", IdleTimeOut: 60 * time.Millisecond})
	for range 3 {
		f, _, err := wire.ReadFrame(p.r, nil, 512)
		if err != nil || len(f.Body) != 0 {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	s.Freeze(true) // a frozen double looks alive
	for range 3 {
		if _, _, err := wire.ReadFrame(p.r, nil, 512); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLayers(t *testing.T) {
	s := start(t, Options{})
	t.Run("another protocol", func(t *testing.T) {
		p := dialRaw(t, s)
		p.write([]byte("AMQP\x00\x00\x09\x01"))
		p.header(wire.HeaderAMQP)
		if _, _, err := p.next(); err == nil {
			t.Error("the connection goes on")
		}
	})
	t.Run("another way to sign in", func(t *testing.T) {
		p := dialRaw(t, s)
		p.write([]byte(wire.HeaderSASL))
		p.header(wire.HeaderSASL)
		expect[*wire.SASLMechanisms](p)
		p.frame(wire.TypeSASL, 0, &wire.SASLInit{Mechanism: "PLAIN"}, nil)
		if out := expect[*wire.SASLOutcome](p); out.Code == 0 {
			t.Error("signed in")
		}
		if _, _, err := p.next(); err == nil {
			t.Error("the connection goes on")
		}
	})
	t.Run("no sign-in", func(t *testing.T) {
		p := dialRaw(t, s)
		p.write([]byte(wire.HeaderAMQP))
		p.header(wire.HeaderAMQP)
		p.send(0, &wire.Open{ContainerID: "x"})
		expect[*wire.Open](p)
	})
	t.Run("small frames", func(t *testing.T) {
		p := dialRaw(t, s)
		p.write([]byte(wire.HeaderAMQP))
		p.header(wire.HeaderAMQP)
		p.send(0, &wire.Open{ContainerID: "x", MaxFrame: wire.U(511)})
		if why := p.closed(); why == nil || why.Condition != condInvalid {
			t.Errorf("closed with %v", why)
		}
	})
	t.Run("nothing within time", func(t *testing.T) {
		quick := start(t, Options{Limits: Limits{Handshake: 50 * time.Millisecond}})
		for _, first := range []string{"", "AMQP", wire.HeaderSASL, "GET / HT", "\x16\x03"} {
			p := dialRaw(t, quick)
			p.write([]byte(first))
			for {
				if _, err := p.r.ReadByte(); err != nil {
					break
				}
			}
		}
	})
}
