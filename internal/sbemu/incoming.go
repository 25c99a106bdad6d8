package sbemu

import (
	"errors"
	"time"

	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/wire"
)

// creditGiven is how many deliveries a peer may send before it is given more. What it
// sends is acted on before it is read further, so it is always given more in time.
const creditGiven = 1_000

// mostRequest bounds a request to $cbs.
const mostRequest = 64 << 10

// batchFormat is the message format of several messages in one delivery.
const batchFormat = 0x80013700

// incoming is a link on which the peer sends.
type incoming struct {
	linkBase
	deliveryCount uint32
	credit        uint32
	most          int64 // bytes of a delivery

	// The delivery whose end has not come.
	open    bool
	id      uint32
	format  uint32
	settled bool
	parts   []byte
}

// attachIncoming answers a peer that wants to send.
func (s *session) attachIncoming(b linkBase, p *wire.Attach) (link, *wire.Error) {
	if p.Target == nil || p.Target.Coordinator || p.Target.Dynamic || p.Target.Address == "" {
		return nil, failure(condNotThere, "no transactions, no dynamic nodes: a target has an address here")
	}
	n, refused := s.c.srv.find(p.Target.Address)
	if refused != nil {
		return nil, refused
	}
	b.node, b.right = n, Send
	answer := &wire.Attach{
		Name: p.Name, Handle: p.Handle, Receiver: true, SenderSettle: p.SenderSettle, ReceiverSettle: p.ReceiverSettle,
		Source: p.Source, Target: p.Target,
	}
	l := &incoming{linkBase: b, deliveryCount: p.InitialDeliveryCount.Value, credit: creditGiven, most: mostRequest}
	switch {
	case n.kind == kindQueue && n.source != n.source.Queue().Main():
		return nil, failure(condNotAllowed, "a sub-queue is not sent to")
	case n.kind == kindQueue:
		c := n.source.Queue().Config()
		l.most = max(c.MaxMessageBytes, c.MaxBatchBytes)
		answer.MaxMessageSize = uint64(c.MaxMessageBytes)
		answer.Properties = wire.Map{{Key: wire.Symbol("com.microsoft:max-message-batch-size"), Value: uint64(c.MaxBatchBytes)}}
	case n.kind == kindManage:
		l.right = 0 // each operation has its own
		l.most = 2 * max(n.source.Queue().Config().MaxMessageBytes, 1<<20)
	}
	if !s.c.permitted(n, l.right, time.Now()) {
		return nil, failure(condUnauthorized, "no token of this connection has the right to send to %s", n.address)
	}
	s.c.send(s.channel, answer)
	l.give()
	return l, nil
}

// give tells the peer how many deliveries it may send.
func (l *incoming) give() {
	l.s.sendFlow(wire.Flow{Handle: wire.U(l.handle), DeliveryCount: wire.U(l.deliveryCount), LinkCredit: wire.U(l.credit)})
}

func (l *incoming) flow(f *wire.Flow) {
	if f.Echo && !l.detached {
		l.give()
	}
}

func (l *incoming) drop() { l.forget() }

func (l *incoming) forget() {
	l.s.c.partial -= len(l.parts)
	l.parts, l.open = nil, false
}

// transfer takes a delivery, or a part of one.
func (l *incoming) transfer(p *wire.Transfer, payload []byte) {
	if l.detached {
		return
	}
	if !l.open {
		if !p.DeliveryID.Set {
			l.s.c.endLink(l, failure(condInvalid, "a delivery without an id"))
			return
		}
		l.credit--
		l.deliveryCount++
		l.open, l.id, l.format, l.settled = true, p.DeliveryID.Value, p.MessageFormat.Value, false
	}
	l.settled = l.settled || p.Settled
	whole := payload
	switch {
	case p.Aborted:
		l.forget()
		l.refill()
		return
	case int64(len(l.parts)+len(payload)) > l.most:
		l.refuse(failure(condTooLarge, "The received message (delivery-id:%d, size:%d bytes or more) exceeds the limit (%d bytes) currently allowed on the link.",
			l.id, len(l.parts)+len(payload), l.most))
		return
	case p.More, len(l.parts) > 0:
		if l.s.c.partial += len(payload); l.s.c.partial > l.s.c.srv.o.Limits.PartialBytes {
			l.s.c.endLink(l, failure(condLimit, "%d bytes of messages whose end has not come", l.s.c.partial))
			return
		}
		l.parts = append(l.parts, payload...)
		whole = l.parts
	}
	if p.More {
		return
	}
	l.take(whole)
	if !l.detached {
		l.forget()
		l.refill()
	}
}

func (l *incoming) refill() {
	if l.credit < creditGiven/2 {
		l.credit = creditGiven
		l.give()
	}
}

// take acts on a whole delivery. What it is given is not kept.
func (l *incoming) take(b []byte) {
	switch l.node.kind {
	case kindTokens, kindManage:
		l.answer(l.id, l.settled, &wire.State{Kind: wire.Accepted})
		l.request(b)
	default:
		l.store(b)
	}
}

// answer tells the peer what became of a delivery, unless it does not want to know.
func (l *incoming) answer(id uint32, settled bool, state *wire.State) {
	if settled || l.detached || l.s.ended {
		return
	}
	l.s.c.send(l.s.channel, &wire.Disposition{Receiver: true, First: id, Settled: true, State: state})
}

// refuse rejects the delivery and ends the link with the same reason: the service
// does so, and the sender must look anew. Some clients hear only the one, some only
// the other.
func (l *incoming) refuse(why *wire.Error) {
	l.answer(l.id, l.settled, rejected(why))
	l.s.c.endLink(l, why)
}

// store puts what came into the queue.
func (l *incoming) store(b []byte) {
	id, settled := l.id, l.settled
	fault := l.s.c.srv.hooks.send(l.node.queue())
	if fault.Lose {
		return
	}
	state := &wire.State{Kind: wire.Accepted}
	msgs, err := messages(b, l.format)
	switch {
	case l.s.c.srv.hooks.busy():
		state = rejected(failure(condBusy, "%s", textBusy))
	case err != nil:
		state = rejected(failure(condDecode, "%s", err))
	default:
		err = l.node.source.Queue().Send(msgs...)
		switch {
		case err == nil:
		case errors.Is(err, entity.ErrTooLarge), errors.Is(err, entity.ErrNotFound):
			l.refuse(failureOf(err))
			return
		default:
			state = rejected(failureOf(err))
		}
	}
	if fault.Drop {
		return
	}
	l.s.c.after(fault.Delay, func() { l.answer(id, settled, state) })
}

func rejected(err *wire.Error) *wire.State { return &wire.State{Kind: wire.Rejected, Error: err} }

// failureOf says an error of the queues as AMQP does.
func failureOf(err error) *wire.Error {
	return failure(wire.Symbol(entity.Condition(err)), "%s", err)
}

// messages decodes a delivery: one message, or the many of a batch.
func messages(b []byte, format uint32) ([]entity.Incoming, error) {
	outer, err := decode(b)
	if err != nil {
		return nil, err
	}
	if format != batchFormat {
		return []entity.Incoming{{Message: outer, Size: len(b)}}, nil
	}
	if len(outer.Data) == 0 {
		return nil, errors.New("a batch without messages")
	}
	out := make([]entity.Incoming, 0, len(outer.Data))
	for _, data := range outer.Data {
		m, err := decode(data)
		if err != nil {
			return nil, err
		}
		out = append(out, entity.Incoming{Message: m, Size: len(data)})
	}
	return out, nil
}
