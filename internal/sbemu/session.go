package sbemu

import (
	"ferry/internal/sbemu/wire"
)

// windowFrames is how many transfers a peer may send before it hears of room again.
// A transfer is acted on before the peer is read further, so there is always room.
const windowFrames = 5_000

// firstOutgoing is the id of a session's first transfer.
const firstOutgoing = 1

// mostHandle is the highest handle of a session.
const mostHandle = 4_095

// session is a pair of windows with the links in them. Everything here is under the
// connection's mu.
type session struct {
	c       *conn
	channel uint16
	ended   bool // end is sent: nothing follows it, and what comes is of no interest

	nextIncoming uint32 // id of the peer's next transfer
	incoming     uint32 // how many it may still send
	nextOutgoing uint32
	outgoing     uint32 // how many the peer still takes
	nextDelivery uint32

	links     map[uint32]link
	unsettled map[uint32]*held
}

func (c *conn) begin(channel uint16, p *wire.Begin) *wire.Error {
	switch {
	case c.sessions[channel] != nil:
		return failure(condNotAllowed, "there is a session on channel %d already", channel)
	case len(c.sessions) >= c.srv.o.Limits.Sessions || int(channel) >= c.srv.o.Limits.Sessions:
		return failure(condLimit, "a connection has at most %d sessions", c.srv.o.Limits.Sessions)
	}
	s := &session{
		c: c, channel: channel, nextIncoming: p.NextOutgoingID, incoming: windowFrames, outgoing: p.IncomingWindow,
		nextOutgoing: firstOutgoing, links: map[uint32]link{}, unsettled: map[uint32]*held{},
	}
	c.sessions[channel] = s
	c.send(channel, &wire.Begin{
		RemoteChannel: wire.U(uint32(channel)), NextOutgoingID: s.nextOutgoing, IncomingWindow: s.incoming, OutgoingWindow: windowFrames,
		HandleMax: wire.U(mostHandle),
	})
	return nil
}

// handle acts on a frame of the session. An error ends the session.
func (s *session) handle(p wire.Performative, payload []byte) *wire.Error {
	if end, ok := p.(*wire.End); ok {
		s.end(end)
		return nil
	}
	if s.ended {
		return nil
	}
	switch p := p.(type) {
	case *wire.Attach:
		return s.attach(p)
	case *wire.Flow:
		return s.flow(p)
	case *wire.Transfer:
		return s.transfer(p, payload)
	case *wire.Disposition:
		s.disposition(p)
		return nil
	case *wire.Detach:
		return s.detach(p)
	}
	return failure(condNotAllowed, "not a frame of a session")
}

// end ends the session at the peer's wish, or because it agrees.
func (s *session) end(p *wire.End) {
	if p.Error != nil {
		s.c.srv.log.Debug("the peer ends a session", "error", p.Error)
	}
	if !s.ended {
		s.drop()
		s.c.send(s.channel, &wire.End{})
	}
	delete(s.c.sessions, s.channel)
}

// endWith ends the session with an error. It stays until the peer has agreed, so
// that what is on its way is known to be of no interest.
func (s *session) endWith(err *wire.Error) {
	if s.ended {
		return
	}
	s.c.srv.log.Debug("end an AMQP session", "error", err)
	s.drop()
	s.c.send(s.channel, &wire.End{Error: err})
}

// drop ends the links without a word to the peer.
func (s *session) drop() {
	s.ended = true
	for h, l := range s.links {
		delete(s.links, h)
		s.c.links--
		l.drop()
	}
	clear(s.unsettled)
}

// flow takes the peer's windows, and for a link its credit.
func (s *session) flow(p *wire.Flow) *wire.Error {
	s.nextIncoming = p.NextOutgoingID
	base := uint32(firstOutgoing) // nothing of ours had arrived when it was sent
	if p.NextIncomingID.Set {
		base = p.NextIncomingID.Value
	}
	s.outgoing = base + p.IncomingWindow - s.nextOutgoing
	if int32(s.outgoing) < 0 && p.IncomingWindow < 1<<31 {
		s.outgoing = 0
	}
	for _, l := range s.links {
		if o, ok := l.(*outgoing); ok && o.now.begun { // stopped for want of room
			s.c.mark(o)
		}
	}
	if !p.Handle.Set {
		if p.Echo {
			s.sendFlow(wire.Flow{})
		}
		return nil
	}
	l := s.links[p.Handle.Value]
	if l == nil {
		return failure(condUnattached, "flow for the handle %d, which is no link's", p.Handle.Value)
	}
	l.flow(p)
	return nil
}

// sendFlow sends the session's windows, with what of a link is set already.
func (s *session) sendFlow(f wire.Flow) {
	s.incoming = windowFrames
	f.NextIncomingID = wire.U(s.nextIncoming)
	f.IncomingWindow = s.incoming
	f.NextOutgoingID = s.nextOutgoing
	f.OutgoingWindow = windowFrames
	s.c.send(s.channel, &f)
}

func (s *session) transfer(p *wire.Transfer, payload []byte) *wire.Error {
	s.nextIncoming++
	s.incoming--
	if s.incoming < windowFrames/2 {
		s.sendFlow(wire.Flow{})
	}
	l := s.links[p.Handle]
	if l == nil {
		return failure(condUnattached, "transfer on the handle %d, which is no link's", p.Handle)
	}
	in, ok := l.(*incoming)
	if !ok {
		return failure(condNotAllowed, "transfer on a link on which the peer receives")
	}
	in.transfer(p, payload)
	return nil
}
