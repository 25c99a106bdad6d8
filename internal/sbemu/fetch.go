package sbemu

import (
	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/wire"
)

// transferHead is more than a transfer takes beside what it carries.
const transferHead = 64

// parcel is a delivery that is being sent, in as many frames as it needs.
type parcel struct {
	rest  []byte
	head  wire.Transfer // of the next frame
	begun bool
}

// mark says that there may be something to do for a link.
func (c *conn) mark(l *outgoing) {
	c.boxMu.Lock()
	defer c.boxMu.Unlock()
	c.markLocked(l)
}

func (c *conn) markLocked(l *outgoing) {
	if !l.marked {
		l.marked = true
		c.ready = append(c.ready, l)
	}
	c.signal()
}

// fetch encodes deliveries of the links that have some, a few of each in turn,
// while there is room. It is called by the one who writes, with mu held.
func (c *conn) fetch() {
	if c.over || c.closing || c.frozen {
		return
	}
	c.boxMu.Lock()
	ready := c.ready
	c.ready = nil
	c.boxMu.Unlock()
	for i, l := range ready {
		if len(c.out) >= c.srv.o.Limits.OutBytes {
			c.boxMu.Lock()
			c.ready = append(ready[i:], c.ready...)
			c.boxMu.Unlock()
			c.signal()
			return
		}
		c.boxMu.Lock()
		l.marked = false
		c.boxMu.Unlock()
		if more := l.pump(); more {
			c.mark(l)
		}
	}
}

// turn is how many deliveries of a link are sent before the next link's.
const turn = 64

// pump sends deliveries of the link. It returns true when it has more and could go
// on; without windows or credit it is marked again by the flow that brings them.
func (l *outgoing) pump() (more bool) {
	c := l.s.c
	if l.detached || l.s.ended || l.waiting != nil {
		return false
	}
	for range turn {
		for l.now.begun {
			if l.s.outgoing == 0 {
				return false // the flow that opens the window marks the link
			}
			if len(c.out) >= c.srv.o.Limits.OutBytes {
				return true
			}
			l.sendPart()
		}
		if !l.next() {
			return false
		}
	}
	return true
}

// flush sends what was received and deleted for the link, as far as the window
// allows: nobody else has it.
func (l *outgoing) flush() {
	for l.now.begun || l.next() {
		for l.now.begun {
			if l.s.outgoing == 0 {
				return
			}
			l.sendPart()
		}
	}
}

// next begins the link's next delivery or reply, or ends what is to be ended.
func (l *outgoing) next() bool {
	c := l.s.c
	if len(l.replies) > 0 && int32(l.limit-l.deliveryCount) > 0 {
		b := l.replies[0]
		l.replies = l.replies[1:]
		l.begin(b, entity.Token{}.Tag(), true)
		return true
	}
	c.boxMu.Lock()
	var d entity.Delivery
	got, gone := len(l.box) > 0, l.gone
	if got {
		d = l.box[0]
		l.box[0] = entity.Delivery{}
		l.box = l.box[1:]
	}
	c.boxMu.Unlock()
	switch {
	case got:
		b, err := encode(d.Message)
		if err != nil {
			// A message was decoded from bytes once: what it became here is at fault.
			c.srv.log.Error("encode a message", "queue", l.node.address, "error", err)
			_ = l.node.source.DeadLetter(d.Token, "EncodeError", err.Error(), nil)
			l.deliveryCount++
			return true
		}
		if !l.settled {
			l.s.unsettled[l.s.nextDelivery] = &held{l: l, token: d.Token}
			l.inHand++
		}
		l.begin(b, d.Message.DeliveryTag, l.settled)
		return true
	case gone != nil:
		c.endLink(l, failureOf(gone))
	case l.drain && len(l.replies) == 0:
		l.deliveryCount = l.limit
		l.tell()
		l.drain = false
	}
	return false
}

// begin makes a delivery the one that is sent.
func (l *outgoing) begin(b, tag []byte, settled bool) {
	l.now = parcel{rest: b, begun: true, head: wire.Transfer{
		Handle: l.handle, DeliveryID: wire.U(l.s.nextDelivery), DeliveryTag: tag, MessageFormat: wire.U(0), Settled: settled,
	}}
	l.s.nextDelivery++
	l.deliveryCount++
}

// sendPart sends one frame of the delivery.
func (l *outgoing) sendPart() {
	p := &l.now
	n := min(len(p.rest), int(l.s.c.mostOut)-transferHead)
	p.head.More = n < len(p.rest)
	l.s.c.sendWith(l.s.channel, &p.head, p.rest[:n])
	l.s.nextOutgoing++
	l.s.outgoing--
	p.rest = p.rest[n:]
	if !p.head.More {
		l.now = parcel{}
		return
	}
	// What the first frame said need not be said again.
	p.head = wire.Transfer{Handle: l.handle, DeliveryID: p.head.DeliveryID, Settled: p.head.Settled}
}
