package servicebus

import (
	"context"
	"errors"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// ReceiverOptions say what a receiver reads, and how.
type ReceiverOptions struct {
	DeadLetter bool // the dead-letter sub-queue in the place of the queue
	Delete     bool // messages are gone from the queue as they are received: no lock, no settling
}

// Receiver takes messages from one queue under locks. A cheap handle; one
// Receive at a time, everything else concurrently.
type Receiver struct {
	client *Client
	queue  string
	opts   ReceiverOptions
}

// Receiver is a handle for receiving from a queue; nothing is called before it
// is used. Each has a link of its own.
func (c *Client) Receiver(queue string, o ReceiverOptions) *Receiver {
	return &Receiver{client: c, queue: queue, opts: o}
}

// Receive waits for at least one message and gives at most `most` (1..5000).
// When ctx ends first, its error is returned and nothing stays locked.
func (r *Receiver) Receive(ctx context.Context, most int) ([]*azservicebus.ReceivedMessage, error) {
	return nil, errors.ErrUnsupported
}

// Complete ends a message: it is done. ErrLockLost may also mean that an earlier
// try has completed it, its answer being lost.
func (r *Receiver) Complete(ctx context.Context, m *azservicebus.ReceivedMessage) error {
	return errors.ErrUnsupported
}

// Abandon gives a message back. The service counts that: its delivery count
// rises by one, and there is no way to give back without.
func (r *Receiver) Abandon(ctx context.Context, m *azservicebus.ReceivedMessage) error {
	return errors.ErrUnsupported
}

// DeadLetter sets a message aside, into the queue's dead-letter sub-queue.
func (r *Receiver) DeadLetter(ctx context.Context, m *azservicebus.ReceivedMessage, reason, description string, props map[string]any) error {
	return errors.ErrUnsupported
}

// Renew prolongs a message's lock by the queue's lock duration, and says until
// when it lasts.
func (r *Receiver) Renew(ctx context.Context, m *azservicebus.ReceivedMessage) (time.Time, error) {
	return time.Time{}, errors.ErrUnsupported
}

// Peek reads up to `most` messages from a sequence number on, without locks,
// whatever their state. It may give fewer, and none at the end.
func (r *Receiver) Peek(ctx context.Context, from int64, most int) ([]*azservicebus.ReceivedMessage, error) {
	return nil, errors.ErrUnsupported
}

// Close closes the link: nothing is received any more. What was received stays
// locked until it is settled or its lock ends. A later call opens it anew.
func (r *Receiver) Close(ctx context.Context) error { return errors.ErrUnsupported }
