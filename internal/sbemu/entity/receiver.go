package entity

import (
	"container/list"
	"fmt"
	"math"
	"time"

	"github.com/Azure/go-amqp"
)

// Delivery is a message in a receiver's hands. Message is a copy with its
// DeliveryTag (the token, in .NET order), header and annotations set. Its header is
// never nil: a delivery count of 0 must still be encoded.
type Delivery struct {
	Message     *amqp.Message
	Token       Token // zero when it was received and deleted
	Sequence    int64
	LockedUntil time.Time // zero when it was received and deleted
}

// ReceiverOptions of Attach and AcceptSession.
type ReceiverOptions struct {
	Delete  bool           // receive and delete: deliveries are settled and have no lock
	Deliver func(Delivery) // called with the queue locked, in order
	// Gone is called once, with the queue locked, when the receiver ends by itself:
	// ErrNotFound (the queue was deleted), ErrSessionLost, ErrDisabled, ErrClosed.
	// It may be nil.
	Gone func(error)
}

// Receiver takes messages from a source while it has credit.
type Receiver struct {
	source  *Source
	options ReceiverOptions
	group   *session // the session it holds

	closed    bool
	delivered uint32
	limit     uint32        // it may be delivered to until delivered is this
	place     *list.Element // among those waiting
}

// Attach adds a receiver without credit. ErrNotAllowed on a queue with sessions,
// ErrDisabled, ErrNotFound (deleted), ErrClosed, ErrTooManyLinks.
func (s *Source) Attach(o ReceiverOptions) (*Receiver, error) {
	if err := s.queue.enter(); err != nil {
		return nil, err
	}
	defer s.queue.leave()
	if s.sessionful {
		return nil, fmt.Errorf("%w: %s has sessions, a receiver must hold one", ErrNotAllowed, s.queue.config.Name)
	}
	return s.attach(o)
}

func (s *Source) attach(o ReceiverOptions) (*Receiver, error) {
	if !s.queue.config.receives() {
		return nil, s.queue.disabled()
	}
	if len(s.receivers) >= MaxReceivers {
		return nil, fmt.Errorf("%w: at most %d", ErrTooManyLinks, MaxReceivers)
	}
	r := &Receiver{source: s, options: o}
	s.receivers[r] = true
	return r, nil
}

func (r *Receiver) credit() int32 { return int32(r.limit - r.delivered) }

// Flow grants credit as an AMQP flow frame does: the receiver may get credit
// deliveries after its first deliveryCount ones, which are counted from 0. What is
// there is delivered before Flow returns; the rest as it comes, shared fairly
// between receivers: the one that has waited longest is next.
func (r *Receiver) Flow(deliveryCount, credit uint32) {
	if r.source.queue.enter() != nil {
		return
	}
	defer r.source.queue.leave()
	if r.closed {
		return
	}
	r.limit = deliveryCount + min(credit, math.MaxInt32/2)
	if r.credit() < 0 { // granted before the receiver saw the last deliveries
		r.limit = r.delivered
	}
	r.wait()
}

// wait puts a receiver among those waiting, or takes it from them.
func (r *Receiver) wait() {
	s := r.source
	switch has := !r.closed && r.credit() > 0; {
	case r.group != nil:
		if has {
			s.offer(r.group)
		}
	case has && r.place == nil:
		r.place = s.waiting.PushBack(r)
	case !has && r.place != nil:
		s.waiting.Remove(r.place)
		r.place = nil
	}
}

// Drain takes back what credit is left and returns it, after what is there was
// delivered. As AMQP has it, what is taken back counts as delivered: deliveryCount is
// where the receiver stands then.
func (r *Receiver) Drain() (left, deliveryCount uint32) {
	if r.source.queue.enter() != nil {
		return 0, r.delivered
	}
	defer r.source.queue.leave()
	r.source.serve(r.source.queue.now())
	left = r.limit - r.delivered
	r.delivered = r.limit
	r.wait()
	return left, r.delivered
}

// Delivered is the delivery count: how many deliveries the receiver got, and credit
// that was drained.
func (r *Receiver) Delivered() uint32 {
	r.source.queue.mu.Lock()
	defer r.source.queue.mu.Unlock()
	return r.delivered
}

// Close ends the receiver; it may be called again. Locked messages stay locked until
// they are settled or the lock ends. A session is given up: its messages are free
// at once, without a count.
func (r *Receiver) Close() {
	if r.source.queue.enter() != nil {
		return
	}
	defer r.source.queue.leave()
	if r.closed {
		return
	}
	r.leave()
	if r.group != nil {
		r.source.giveUp(r.group, false, r.source.queue.now())
	}
}

// leave takes the receiver out of its source.
func (r *Receiver) leave() {
	r.closed = true
	r.wait()
	delete(r.source.receivers, r)
}

// detach ends all receivers of the source, and who waits to be one.
func (s *Source) detach(why error) {
	for r := range s.receivers {
		r.gone(why)
	}
	for e := s.acceptors.Front(); e != nil; e = s.acceptors.Front() {
		s.acceptors.Remove(e).(*acceptor).answer(nil, why)
	}
}

// gone ends a receiver that did not ask for it.
func (r *Receiver) gone(why error) {
	r.leave()
	if r.group != nil {
		r.source.giveUp(r.group, false, r.source.queue.now())
	}
	if r.options.Gone != nil {
		r.options.Gone(why)
	}
}

// serve gives ready messages to waiting receivers, oldest first on both sides.
func (s *Source) serve(now time.Time) {
	if s.sessionful {
		s.serveSessions(now)
		return
	}
	for s.ready.len() > 0 && s.waiting.Len() > 0 {
		r := s.waiting.Front().Value.(*Receiver)
		r.deliver(s.ready.first(), now)
		if r.credit() > 0 {
			s.waiting.MoveToBack(r.place)
		} else {
			r.wait()
		}
	}
}

func (r *Receiver) deliver(m *message, now time.Time) {
	s := r.source
	s.queue.accessed = now
	r.delivered++
	if r.options.Delete {
		r.options.Deliver(s.give(m))
		return
	}
	r.options.Deliver(s.lock(m, now))
}
