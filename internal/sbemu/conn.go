package sbemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"ferry/internal/sbemu/wire"
)

// The conditions of errors that are AMQP's own.
const (
	condNotFound     = "amqp:not-found"
	condUnauthorized = "amqp:unauthorized-access"
	condDecode       = "amqp:decode-error"
	condLimit        = "amqp:resource-limit-exceeded"
	condNotAllowed   = "amqp:not-allowed"
	condInvalid      = "amqp:invalid-field"
	condNotThere     = "amqp:not-implemented"
	condFraming      = "amqp:connection:framing-error"
	condHandleInUse  = "amqp:session:handle-in-use"
	condUnattached   = "amqp:session:unattached-handle"
	condDetachForced = "amqp:link:detach-forced"
	condTooLarge     = "amqp:link:message-size-exceeded"
	condBusy         = "com.microsoft:server-busy"
)

func failure(condition wire.Symbol, format string, args ...any) *wire.Error {
	return &wire.Error{Condition: condition, Description: fmt.Sprintf(format, args...)}
}

// conn is one connection that speaks AMQP. Two goroutines serve it: this one reads
// and acts, the other writes and fetches deliveries when there is room for them.
// Nothing that queues call back takes mu, so queues are called with it held.
type conn struct {
	srv    *Server
	net    net.Conn
	r      *bufio.Reader
	wake   chan struct{} // something is to be written
	ctx    context.Context
	cancel context.CancelFunc // the connection is over
	wg     sync.WaitGroup
	heard  atomic.Int64 // when the peer was last heard, in nanoseconds
	expire *time.Timer  // ends a handshake that takes too long

	mu       sync.Mutex
	room     *sync.Cond // there is room in out, or the connection is over
	out      []byte
	writing  bool // something taken from out is on its way
	over     bool
	opened   bool
	closing  bool // close is sent: nothing follows it
	frozen   bool // reads and answers nothing
	mostOut  uint32
	idle     time.Duration // within which the peer wants to hear something
	sessions map[uint16]*session
	links    int
	partial  int // bytes of messages whose end has not come
	claims   map[string]claim
	nextEnd  time.Time // when the first claim ends
	rearm    bool      // how long the one who writes may sleep has changed

	boxMu sync.Mutex  // taken with a queue locked: nothing is locked under it
	ready []*outgoing // links with something in their box, under boxMu
}

// amqp serves a connection until it is over.
func (s *Server) amqp(nc net.Conn, r *bufio.Reader, expire *time.Timer) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &conn{
		srv: s, net: nc, r: r, wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel, expire: expire,
		mostOut: smallestFrame, sessions: map[uint16]*session{}, claims: map[string]claim{},
	}
	c.room = sync.NewCond(&c.mu)
	c.frozen = s.hooks.freezesNew()
	c.heard.Store(time.Now().UnixNano())
	defer s.leave(c)
	defer c.wg.Wait()
	defer c.end()
	c.wg.Go(c.write)
	err := c.read()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
	case err != nil:
		s.log.Debug("an AMQP connection ends", "error", err)
	}
}

// end makes the connection be over: its receivers end, and the one who writes stops.
func (c *conn) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.over = true
	c.expire.Stop()
	c.cancel()
	for _, s := range c.sessions {
		s.drop()
	}
	c.room.Broadcast()
	_ = c.net.Close()
}

func (c *conn) read() error {
	if err := c.headers(); err != nil {
		return err
	}
	var buf []byte
	for {
		var f wire.Frame
		var err error
		if f, buf, err = wire.ReadFrame(c.r, buf, uint32(c.srv.o.Limits.FrameBytes)); err != nil {
			if errors.Is(err, wire.ErrMalformed) || errors.Is(err, wire.ErrTooLarge) {
				c.fail(failure(condFraming, "%s", err))
			}
			return err
		}
		c.heard.Store(time.Now().UnixNano())
		if len(f.Body) == 0 {
			continue
		}
		p, payload, err := wire.Decode(f.Body)
		if err != nil {
			c.fail(failure(condDecode, "%s", err))
			return err
		}
		if over := c.frame(f.Channel, p, payload); over {
			return nil
		}
	}
}

// headers agrees on the layers: SASL without a name, then AMQP.
func (c *conn) headers() error {
	head := make([]byte, len(wire.HeaderAMQP))
	if _, err := io.ReadFull(c.r, head); err != nil {
		return err
	}
	if string(head) == wire.HeaderSASL {
		c.raw(wire.HeaderSASL)
		c.sasl(&wire.SASLMechanisms{Mechanisms: []wire.Symbol{"ANONYMOUS"}})
		f, _, err := wire.ReadFrame(c.r, nil, smallestFrame)
		if err != nil {
			return err
		}
		p, _, err := wire.Decode(f.Body)
		if err != nil {
			return err
		}
		if init, ok := p.(*wire.SASLInit); !ok || f.Type != wire.TypeSASL || init.Mechanism != "ANONYMOUS" {
			c.sasl(&wire.SASLOutcome{Code: 1})
			c.flushed()
			return errors.New("the peer wants to sign in: tokens are put on links here")
		}
		c.sasl(&wire.SASLOutcome{})
		if _, err := io.ReadFull(c.r, head); err != nil {
			return err
		}
	}
	c.raw(wire.HeaderAMQP)
	if string(head) != wire.HeaderAMQP {
		c.flushed()
		return fmt.Errorf("the peer speaks %q", head)
	}
	return nil
}

// frame acts on one frame. It waits first until the peer has taken what it was
// answered before.
func (c *conn) frame(channel uint16, p wire.Performative, payload []byte) (over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) > c.srv.o.Limits.OutBytes && !c.over {
		c.room.Wait()
	}
	if c.over {
		return true
	}
	if c.frozen {
		return false
	}
	if c.closing { // what comes before the peer's own close is of no interest
		_, isClose := p.(*wire.Close)
		return isClose
	}
	if err := c.handle(channel, p, payload); err != nil {
		c.closeWith(err)
		return false
	}
	if _, ok := p.(*wire.Close); ok {
		c.closeWith(nil)
		c.flushLocked()
		return true
	}
	return false
}

func (c *conn) handle(channel uint16, p wire.Performative, payload []byte) *wire.Error {
	switch p := p.(type) {
	case *wire.Open:
		return c.open(p)
	case *wire.Close:
		return nil
	}
	if !c.opened {
		return failure(condNotAllowed, "a connection begins with open")
	}
	if p, ok := p.(*wire.Begin); ok {
		return c.begin(channel, p)
	}
	s := c.sessions[channel]
	if s == nil {
		return failure(condNotAllowed, "there is no session on channel %d", channel)
	}
	if err := s.handle(p, payload); err != nil {
		s.endWith(err)
	}
	return nil
}

func (c *conn) open(p *wire.Open) *wire.Error {
	if c.opened {
		return failure(condNotAllowed, "a connection is opened once")
	}
	c.opened = true
	c.expire.Stop()
	if c.srv.hooks.freezesNew() { // since the connection began
		c.frozen = true
		return nil
	}
	most := uint32(c.srv.o.Limits.FrameBytes)
	if p.MaxFrame.Set {
		if p.MaxFrame.Value < smallestFrame {
			return failure(condInvalid, "frames of %d bytes: at least %d", p.MaxFrame.Value, smallestFrame)
		}
		most = min(most, p.MaxFrame.Value)
	}
	c.mostOut = most
	c.idle = p.IdleTimeOut
	c.send(0, &wire.Open{
		ContainerID: "ferry-servicebus-double", MaxFrame: wire.U(uint32(c.srv.o.Limits.FrameBytes)),
		ChannelMax: wire.U(uint32(min(c.srv.o.Limits.Sessions, 65_535) - 1)), IdleTimeOut: c.srv.o.Limits.IdleTimeOut,
	})
	c.rearm = true
	if !c.srv.join(c) {
		return failure(condLimit, "there are %d connections already", c.srv.o.Limits.Connections)
	}
	return nil
}

// fail ends the connection with an error, when the peer still hears.
func (c *conn) fail(err *wire.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return
	}
	c.closeWith(err)
	c.flushLocked()
}

// closeWith sends close, after which nothing more is sent.
func (c *conn) closeWith(err *wire.Error) {
	if c.closing {
		return
	}
	if err != nil {
		c.srv.log.Debug("close an AMQP connection", "error", err)
	}
	for _, s := range c.sessions {
		s.drop()
	}
	clear(c.sessions)
	c.send(0, &wire.Close{Error: err})
	c.closing = true
	c.expire.Reset(writeTime) // a peer that does not close in its turn is cut
}
