package sbemu

import (
	"strings"
	"sync"
	"time"

	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/wire"
)

const textBusy = "The server was unable to process the request; please retry the operation. Error code: 50009"

// SettleFault is what goes wrong with a settlement.
type SettleFault struct {
	Delay time.Duration // before the answer
	Drop  bool          // it is done, and never answered
	Lose  bool          // it never arrived
}

// SendFault is what goes wrong with a send: the same.
type SendFault = SettleFault

// hooks are the faults that are set. The functions are called while their connection
// is held: they may cut connections and set faults, and call nothing else of the
// double.
type hooks struct {
	mu       sync.Mutex
	reject   func(entity, policy string) error
	onSettle func(queue, outcome string) SettleFault
	onSend   func(queue string) SendFault
	busyLeft int
	freeze   bool
}

// RejectToken lets f decide on each token that is put for an entity: its error is
// the refusal. Nil takes that back.
func (s *Server) RejectToken(f func(entity, policy string) error) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.reject = f
}

// OnSettle lets f decide what goes wrong with each settlement. Its outcome is
// completed, abandoned, released, deferred or deadLettered. Nil takes that back. f
// is called while the connection is held, as those of OnSend and RejectToken are: it
// may call DropConnections and SetAway, and nothing else of the double.
func (s *Server) OnSettle(f func(queue, outcome string) SettleFault) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.onSettle = f
}

// OnSend lets f decide what goes wrong with each delivery that a peer sends to a
// queue. With Drop the outcome stays unknown to it. Nil takes that back.
func (s *Server) OnSend(f func(queue string) SendFault) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.onSend = f
}

// ServerBusy makes the next n sends and management requests be refused the way a
// throttled namespace does.
func (s *Server) ServerBusy(n int) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.busyLeft = n
}

// DropConnections cuts every connection, without a word.
func (s *Server) DropConnections() { s.cut() }

// SetAway cuts everything and refuses new connections, until it is called with
// false.
func (s *Server) SetAway(away bool) {
	s.mu.Lock()
	s.away = away
	s.mu.Unlock()
	if away {
		s.cut()
	}
}

// Freeze makes every connection that is there, and each that comes while it is on,
// answer nothing for ever: what the peer sends is read and dropped, and the
// connection looks alive. Switched off, new connections work.
func (s *Server) Freeze(on bool) {
	s.hooks.mu.Lock()
	s.hooks.freeze = on
	s.hooks.mu.Unlock()
	if !on {
		return
	}
	for _, c := range s.all() {
		c.mu.Lock()
		c.frozen = true
		c.mu.Unlock()
	}
}

// DetachLinks ends all links of a queue, its sub-queues and its management, with an
// error; nil: amqp:link:detach-forced. It returns how many.
func (s *Server) DetachLinks(queue string, err *amqp.Error) int {
	why := failure(condDetachForced, "the link is detached by the double")
	if err != nil {
		why = failure(wire.Symbol(err.Condition), "%s", err.Description)
	}
	n := 0
	for _, c := range s.all() {
		c.mu.Lock()
		for _, ses := range c.sessions {
			for _, l := range ses.links {
				if b := l.base(); !b.detached && strings.EqualFold(b.node.queue(), queue) {
					c.endLink(l, why)
					n++
				}
			}
		}
		c.mu.Unlock()
	}
	return n
}

// Revoke takes a policy away: its tokens are refused, and the links that they
// opened are detached.
func (s *Server) Revoke(policy string) {
	s.auth.revoke(policy)
	for _, c := range s.all() {
		c.mu.Lock()
		c.dropUnclaimed(time.Now())
		c.mu.Unlock()
	}
}

func (h *hooks) freezesNew() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.freeze
}

func (h *hooks) busy() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busyLeft > 0 {
		h.busyLeft--
		return true
	}
	return false
}

func (h *hooks) rejects(entity, policy string) error {
	h.mu.Lock()
	f := h.reject
	h.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(entity, policy)
}

func (h *hooks) settle(queue, outcome string) SettleFault {
	h.mu.Lock()
	f := h.onSettle
	h.mu.Unlock()
	if f == nil {
		return SettleFault{}
	}
	return f(queue, outcome)
}

func (h *hooks) send(queue string) SendFault {
	h.mu.Lock()
	f := h.onSend
	h.mu.Unlock()
	if f == nil {
		return SendFault{}
	}
	return f(queue)
}

// after does something at once, or after a while if the connection is still there.
// It is called with mu held, and f is too.
func (c *conn) after(d time.Duration, f func()) {
	if d <= 0 {
		f()
		return
	}
	c.wg.Go(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.over {
			f()
		}
	})
}
