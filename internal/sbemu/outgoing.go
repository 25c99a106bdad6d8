package sbemu

import (
	"context"
	"errors"
	"time"

	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/wire"
)

const (
	sessionFilter  = "com.microsoft:session-filter"
	sessionCode    = uint64(0x137000000C)
	sessionTimeOut = time.Minute // for the next free session, when the peer says none
)

// outgoing is a link on which the peer receives: messages of a source, or replies
// to its requests.
type outgoing struct {
	linkBase
	settled       bool   // deliveries are settled as they are sent
	target        string // where replies are asked for
	receiver      *entity.Receiver
	waiting       *wire.Attach // for a session: the attach that is not answered yet
	cancel        context.CancelFunc
	deliveryCount uint32 // as the peer counts: what was sent, and credit that drain took back
	limit         uint32 // the delivery count up to which there is credit
	skipped       uint32 // by how much the peer's count is ahead of the queue's: credit that was drained and never granted
	drain         bool
	capped        bool   // the queue was granted less than the peer gave
	inHand        int    // deliveries that the peer has not settled
	now           parcel // the delivery of which a part is sent

	// What the queue put here, under the connection's boxMu.
	box    []entity.Delivery
	gone   error
	marked bool
	// replies wait for credit; under the connection's mu.
	replies [][]byte
}

// held is a delivery in the peer's hands.
type held struct {
	l     *outgoing
	token entity.Token
}

// attachOutgoing answers a peer that wants to receive. For a session it may be
// answered later.
func (s *session) attachOutgoing(b linkBase, p *wire.Attach) (link, *wire.Error) {
	if p.Source == nil || p.Source.Dynamic || p.Source.Address == "" {
		return nil, failure(condNotThere, "no dynamic nodes: a source has an address here")
	}
	n, refused := s.c.srv.find(p.Source.Address)
	if refused != nil {
		return nil, refused
	}
	b.node = n
	if n.kind == kindQueue {
		b.right = Listen
	}
	if !s.c.permitted(n, b.right, time.Now()) {
		return nil, failure(condUnauthorized, "no token of this connection has the right to listen to %s", n.address)
	}
	l := &outgoing{linkBase: b, settled: p.SenderSettle.Set && p.SenderSettle.Value == wire.SenderSettled}
	if p.Target != nil {
		l.target = p.Target.Address
	}
	if n.kind != kindQueue {
		l.settled = true
		s.answerOutgoing(l, p, nil)
		return l, nil
	}
	o := entity.ReceiverOptions{Delete: l.settled, Deliver: l.deliver, Gone: l.leave}
	if filter, ok := filterOf(p); ok {
		return l, l.accept(p, filter, o)
	}
	var err error
	if l.receiver, err = n.source.Attach(o); err != nil {
		return nil, failureOf(err)
	}
	s.answerOutgoing(l, p, nil)
	return l, nil
}

func (s *session) answerOutgoing(l *outgoing, p *wire.Attach, properties wire.Map) {
	s.c.send(s.channel, &wire.Attach{
		Name: p.Name, Handle: p.Handle, SenderSettle: p.SenderSettle, ReceiverSettle: p.ReceiverSettle,
		Source: p.Source, Target: p.Target, InitialDeliveryCount: wire.U(0), Properties: properties,
	})
}

// filterOf finds the filter for a session: some SDKs describe its value, some send
// it plain. The answer has the same form.
func filterOf(p *wire.Attach) (int, bool) {
	for i, f := range p.Source.Filter {
		if key, ok := f.Key.(wire.Symbol); ok && key == sessionFilter {
			return i, true
		}
	}
	return 0, false
}

// accept waits for a session, and answers the attach then.
func (l *outgoing) accept(p *wire.Attach, filter int, o entity.ReceiverOptions) *wire.Error {
	value := p.Source.Filter[filter].Value
	if d, ok := value.(wire.Described); ok {
		value = d.Value
	}
	var id *string
	switch v := value.(type) {
	case nil:
	case string:
		id = &v
	default:
		return failure(condInvalid, "a session's id is a string")
	}
	wait := sessionTimeOut
	if ms, ok := p.Properties.Get("com.microsoft:timeout").(uint32); ok {
		wait = min(time.Duration(ms)*time.Millisecond, 10*time.Minute)
	}
	c := l.s.c
	ctx, cancel := context.WithTimeout(c.ctx, wait)
	l.waiting, l.cancel = p, cancel
	c.wg.Go(func() {
		defer cancel()
		r, err := l.node.source.AcceptSession(ctx, id, o)
		c.mu.Lock()
		defer c.mu.Unlock()
		l.accepted(p, filter, r, err)
	})
	return nil
}

func (l *outgoing) accepted(p *wire.Attach, filter int, r *entity.Receiver, err error) {
	if l.waiting == nil { // the peer waits no longer
		if r != nil {
			r.Close()
		}
		return
	}
	l.waiting = nil
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = entity.ErrNoSession
		}
		l.s.refuse(p, failureOf(err))
		return
	}
	l.receiver = r
	id, _ := r.Session()
	if d, ok := p.Source.Filter[filter].Value.(wire.Described); ok {
		d.Value = id
		p.Source.Filter[filter].Value = d
	} else {
		p.Source.Filter[filter].Value = id
	}
	l.s.answerOutgoing(l, p, wire.Map{{Key: wire.Symbol("com.microsoft:locked-until-utc"), Value: ticks(r.LockedUntil())}})
	l.s.c.mark(l) // the session may be gone already
}

// ticks is a time as .NET counts: in 100 ns since the year 1.
func ticks(t time.Time) int64 { return t.UnixMicro()*10 + 621_355_968_000_000_000 }

// deliver and leave are called with the queue locked.
func (l *outgoing) deliver(d entity.Delivery) {
	c := l.s.c
	c.boxMu.Lock()
	l.box = append(l.box, d)
	c.markLocked(l)
	c.boxMu.Unlock()
}

func (l *outgoing) leave(err error) {
	c := l.s.c
	c.boxMu.Lock()
	l.gone = err
	c.markLocked(l)
	c.boxMu.Unlock()
}

// flow takes the peer's credit.
func (l *outgoing) flow(f *wire.Flow) {
	if l.detached || l.waiting != nil {
		return
	}
	if f.LinkCredit.Set {
		l.limit = f.DeliveryCount.Value + f.LinkCredit.Value
		l.drain = f.Drain
		l.grant()
		if l.drain && l.receiver != nil {
			_, at := l.receiver.Drain() // what was there is in the box
			l.skipped = l.limit - at
		}
		l.s.c.mark(l)
	}
	if f.Echo {
		l.tell()
	}
}

// tell sends how far the link has come.
func (l *outgoing) tell() {
	l.s.sendFlow(wire.Flow{
		Handle: wire.U(l.handle), DeliveryCount: wire.U(l.deliveryCount), LinkCredit: wire.U(l.limit - l.deliveryCount), Drain: l.drain,
	})
}

// grant lets the queue deliver as much as the peer gave credit for, and as it may
// have in its hands.
func (l *outgoing) grant() {
	if l.receiver == nil {
		return
	}
	c := l.s.c
	c.boxMu.Lock()
	waiting := len(l.box)
	c.boxMu.Unlock()
	delivered := l.receiver.Delivered()
	credit := int64(int32(l.limit - l.skipped - delivered))
	room := int64(c.srv.o.Limits.Unsettled - waiting - l.inHand)
	l.capped = credit > room
	l.receiver.Flow(delivered, uint32(max(min(credit, room), 0)))
}

// settledOne notes that the peer has a delivery less in its hands.
func (l *outgoing) settledOne() {
	l.inHand--
	if l.capped && !l.detached && l.inHand <= l.s.c.srv.o.Limits.Unsettled/2 {
		l.grant()
	}
}

// drop ends the receiver. What it was given and never sent goes back; what the peer
// has stays locked until it is settled or the lock ends.
func (l *outgoing) drop() {
	if l.cancel != nil {
		l.waiting = nil
		l.cancel()
	}
	l.replies, l.now = nil, parcel{}
	if l.receiver == nil {
		return
	}
	l.receiver.Close()
	c := l.s.c
	c.boxMu.Lock()
	box := l.box
	l.box = nil
	c.boxMu.Unlock()
	for _, d := range box {
		if !l.settled {
			_ = l.node.source.Release(d.Token) // the lock may have ended: then it is back already
		}
	}
}
