package sbemu

import (
	"net/url"
	"strings"
	"time"

	"ferry/internal/sbemu/entity"
	"ferry/internal/sbemu/wire"
)

// link is one end of a link: incoming when the peer sends, outgoing when it
// receives.
type link interface {
	base() *linkBase
	flow(f *wire.Flow)
	drop() // ends what the link holds, without a word to the peer
}

// linkBase is what both have.
type linkBase struct {
	s        *session
	name     string
	handle   uint32
	node     node
	right    Rights // that its claim must have
	detached bool   // detach is sent: nothing follows it
}

func (l *linkBase) base() *linkBase { return l }

// kind is what an address leads to.
type kind int

const (
	kindQueue  kind = iota + 1 // a queue or a sub-queue
	kindManage                 // its $management
	kindTokens                 // $cbs
)

// node is what a link is attached to.
type node struct {
	kind    kind
	address string
	source  *entity.Source // of queues and their management
}

func (n node) queue() string {
	if n.source == nil {
		return ""
	}
	return n.source.Queue().Config().Name
}

// find resolves an address.
func (s *Server) find(address string) (node, *wire.Error) {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address = u.Path
	}
	address = strings.Trim(address, "/")
	n := node{kind: kindQueue, address: address}
	if strings.EqualFold(address, "$cbs") {
		n.kind = kindTokens
		return n, nil
	}
	const management = "/$management"
	path := address
	if at := len(path) - len(management); at > 0 && strings.EqualFold(path[at:], management) {
		n.kind = kindManage
		path = path[:at]
	}
	var err error
	if n.source, err = s.ns.Source(path); err != nil {
		// Clients know the kind by this text, too.
		return n, failure(wire.Symbol(entity.Condition(err)), "The messaging entity 'sb://%s/%s' could not be found: %s", Host, path, err)
	}
	return n, nil
}

// attach answers a peer's attach. What is refused is attached to nothing and then
// detached, which is how a peer learns why.
func (s *session) attach(p *wire.Attach) *wire.Error {
	old := s.links[p.Handle]
	switch {
	case p.Handle > mostHandle:
		return failure(condLimit, "handles go up to %d", mostHandle)
	case old != nil:
		return failure(condHandleInUse, "the handle %d is that of the link %.60q", p.Handle, old.base().name)
	case s.c.links >= s.c.srv.o.Limits.Links:
		return failure(condLimit, "a connection has at most %d links", s.c.srv.o.Limits.Links)
	case len(p.Name) > 1024:
		return failure(condInvalid, "the name of a link has %d bytes", len(p.Name))
	}
	b := linkBase{s: s, name: p.Name, handle: p.Handle}
	var l link
	var refused *wire.Error
	if p.Receiver {
		l, refused = s.attachOutgoing(b, p)
	} else {
		l, refused = s.attachIncoming(b, p)
	}
	if l != nil {
		s.links[p.Handle] = l
		s.c.links++
	}
	if refused != nil {
		s.refuse(p, refused)
	}
	return nil
}

// refuse attaches a link to nothing, and detaches it with the reason.
func (s *session) refuse(p *wire.Attach, why *wire.Error) {
	if l := s.links[p.Handle]; l != nil { // it has waited for a session
		l.base().detached = true
	} else {
		s.links[p.Handle] = &refused{linkBase{s: s, name: p.Name, handle: p.Handle, detached: true}}
		s.c.links++
	}
	s.attachNothing(p)
	s.c.send(s.channel, &wire.Detach{Handle: p.Handle, Closed: true, Error: why})
}

func (s *session) attachNothing(p *wire.Attach) {
	answer := &wire.Attach{Name: p.Name, Handle: p.Handle, Receiver: !p.Receiver, SenderSettle: p.SenderSettle, ReceiverSettle: p.ReceiverSettle}
	if p.Receiver { // then this is the one who sends
		answer.InitialDeliveryCount = wire.U(0)
	}
	s.c.send(s.channel, answer)
}

// refused is a link that never was: it waits for the peer's detach.
type refused struct{ linkBase }

func (r *refused) flow(*wire.Flow) {}
func (r *refused) drop()           {}

// detachWith ends a link with an error. It stays until the peer has agreed: what
// the peer had sent before it heard of it still counts.
func (l *linkBase) detachWith(err *wire.Error) {
	if l.detached || l.s.ended {
		return
	}
	l.detached = true
	l.s.c.send(l.s.channel, &wire.Detach{Handle: l.handle, Closed: true, Error: err})
}

// detach acts on the peer's detach.
func (s *session) detach(p *wire.Detach) *wire.Error {
	l := s.links[p.Handle]
	if l == nil {
		return failure(condUnattached, "detach of the handle %d, which is no link's", p.Handle)
	}
	b := l.base()
	if o, ok := l.(*outgoing); ok && o.waiting != nil {
		s.attachNothing(o.waiting) // a detach answers an attach only once that is answered
	}
	if o, ok := l.(*outgoing); ok && o.settled && !b.detached {
		o.flush()
	}
	delete(s.links, p.Handle)
	s.c.links--
	l.drop()
	for id, h := range s.unsettled {
		if h.l.base() == b {
			delete(s.unsettled, id)
		}
	}
	if !b.detached {
		b.detached = true
		s.c.send(s.channel, &wire.Detach{Handle: p.Handle, Closed: p.Closed})
	}
	return nil
}

// permitted says whether the connection's claims allow a link to a node.
func (c *conn) permitted(n node, right Rights, now time.Time) bool {
	if n.kind == kindTokens {
		return true
	}
	path := strings.ToLower(n.address)
	for {
		if cl, ok := c.claims[path]; ok && now.Before(cl.expires) && c.srv.auth.allows(cl.policy, n.queue(), right) {
			return true
		}
		if path == "" {
			return false
		}
		path = path[:max(strings.LastIndexByte(path, '/'), 0)]
	}
}

// dropUnclaimed detaches the links that no claim allows any more, and forgets the
// claims that have ended.
func (c *conn) dropUnclaimed(now time.Time) {
	c.nextEnd = time.Time{}
	for path, cl := range c.claims {
		if !now.Before(cl.expires) {
			delete(c.claims, path)
		} else if c.nextEnd.IsZero() || cl.expires.Before(c.nextEnd) {
			c.nextEnd = cl.expires
		}
	}
	for _, s := range c.sessions {
		for _, l := range s.links {
			b := l.base()
			if !b.detached && !c.permitted(b.node, b.right, now) {
				c.endLink(l, failure(condUnauthorized, "the token for %s has ended, or its policy was revoked", b.node.address))
			}
		}
	}
}

// endLink detaches one link with an error, and ends what it holds.
func (c *conn) endLink(l link, err *wire.Error) {
	l.base().detachWith(err)
	l.drop()
}
