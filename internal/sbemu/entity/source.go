package entity

import (
	"time"

	"github.com/Azure/go-amqp"
)

// Source is what messages are received from: a queue, or one of its sub-queues.
type Source struct{}

// Queue is the queue that the source belongs to.
func (s *Source) Queue() *Queue { return nil }

// Address is the source's name: QUEUE or QUEUE/$DeadLetterQueue.
func (s *Source) Address() string { return "" }

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
	Gone func(error)
}

// Receiver takes messages from a source while it has credit.
type Receiver struct{}

// Attach adds a receiver without credit. ErrNotAllowed on a queue with sessions,
// ErrDisabled, ErrNotFound (deleted), ErrClosed, ErrTooManyLinks.
func (s *Source) Attach(o ReceiverOptions) (*Receiver, error) { return nil, nil }

// Flow grants credit as an AMQP flow frame does: the receiver may get credit
// deliveries after its first deliveryCount ones, which are counted from 0. What is
// there is delivered before Flow returns; the rest as it comes, shared fairly
// between receivers: the one that has waited longest is next.
func (r *Receiver) Flow(deliveryCount, credit uint32) {}

// Drain takes back what credit is left, and returns it with the delivery count
// after which the receiver stands, the taken credit not counted.
func (r *Receiver) Drain() (left, deliveryCount uint32) { return 0, 0 }

// Delivered is how many deliveries the receiver got.
func (r *Receiver) Delivered() uint32 { return 0 }

// Close ends the receiver; it may be called again. Locked messages stay locked until
// they are settled or the lock ends. A session is given up: its messages are free
// at once, without a count.
func (r *Receiver) Close() {}

// Complete removes the message: ErrLockLost. On a queue with sessions the error of
// this and the methods that follow is ErrSessionLost when the session is no longer
// held.
func (s *Source) Complete(t Token) error { return nil }

// Abandon gives the message back to its place in the order, counts the delivery, and
// sets application properties. A message that has been delivered MaxDelivery times
// is dead-lettered. A deferred message stays deferred. ErrLockLost.
func (s *Source) Abandon(t Token, properties map[string]any) error { return nil }

// Release gives the message back without a count: ErrLockLost.
func (s *Source) Release(t Token) error { return nil }

// Defer sets the message aside, to be received by its sequence number alone:
// ErrLockLost.
func (s *Source) Defer(t Token, properties map[string]any) error { return nil }

// DeadLetter moves the message to the dead-letter sub-queue, with reason and
// description as its application properties DeadLetterReason and
// DeadLetterErrorDescription, and properties. ErrLockLost; ErrNotAllowed in that
// sub-queue itself.
func (s *Source) DeadLetter(t Token, reason, description string, properties map[string]any) error {
	return nil
}

// Renew starts the lock's time anew and returns its end: ErrLockLost; ErrNotAllowed
// on a queue with sessions.
func (s *Source) Renew(t Token) (time.Time, error) { return time.Time{}, nil }

// ReceiveDeferred takes deferred messages by their sequence numbers, all or none:
// ErrNotFound when one is not there, not deferred, or locked.
func (s *Source) ReceiveDeferred(numbers []int64, remove bool) ([]Delivery, error) {
	return nil, nil
}

// Peek returns copies of at most most messages from a sequence number on, in order,
// whatever their state, without touching them. session limits it to one session;
// nil: all.
func (s *Source) Peek(from int64, most int, session *string) ([]*amqp.Message, error) {
	return nil, nil
}
