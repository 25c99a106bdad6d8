package servicebus

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

const (
	maxBatch = 1000 // messages; the service refuses more than about 4,500
	// maxSenders bounds the links that are kept open: names of queues may come
	// from outside, as places to answer to.
	maxSenders   = 500 // in a client
	busyAttempts = 3
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
	// Sent leading messages were confirmed. With ErrTooLarge, ErrNotFound,
	// ErrUnauthorized, ErrThrottled, ErrFull and ErrRefused the others were not taken.
	// With any other error, the context's included, some may have been.
	Sent int
	Err  error
}

func (e *SendError) Error() string {
	if e.Sent == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v (after %d were sent)", e.Err, e.Sent)
}

// Unwrap gives the cause.
func (e *SendError) Unwrap() error { return e.Err }

// Send sends messages in their order, packed into as few batches as fit, at most
// 1,000 in each. Without a deadline it takes at most 30 s. Errors are *SendError;
// ErrTooLarge is the message with the index Sent, which fits into no batch. What the
// service may have taken is not sent again; what it refused because it is busy is,
// after 2 s, up to three times in all.
func (s *Sender) Send(ctx context.Context, msgs []*azservicebus.Message) error {
	for sent := 0; sent < len(msgs); {
		n, err := s.sendSome(ctx, msgs[sent:])
		if err != nil {
			if errors.Is(err, ErrTooLarge) {
				err = fmt.Errorf("message %d of %d: %w", sent, len(msgs), err)
			}
			return &SendError{Sent: sent, Err: err}
		}
		sent += n
	}
	return nil
}

// sendSome sends as many of the first messages as fit one batch.
func (s *Sender) sendSome(ctx context.Context, msgs []*azservicebus.Message) (int, error) {
	c := s.client
	within := ctx
	if _, has := ctx.Deadline(); !has {
		limited, stop := context.WithTimeout(ctx, c.timing.send)
		defer stop()
		within = limited
	}
	for attempt := 1; ; attempt++ {
		n, err := s.try(within, msgs)
		switch {
		case err == nil:
			return n, nil
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case !errors.Is(err, ErrThrottled) || attempt == busyAttempts:
			return 0, err
		}
		c.busy()
	}
}

func (s *Sender) try(ctx context.Context, msgs []*azservicebus.Message) (int, error) {
	c := s.client
	what := "send to " + s.queue
	if err := c.rest(ctx); err != nil {
		return 0, c.wrap(context.Background(), what, err)
	}
	slots, done := c.sendersOf(s.queue)
	defer done()
	link, err := c.takeSender(ctx, slots)
	if err != nil {
		return 0, c.wrap(context.Background(), what, err)
	}
	began := time.Now()
	n, err := link.send(ctx, msgs)
	link.sending.end()
	if err == nil {
		link.conn.worked()
		return n, nil
	}
	timedOut := ctx.Err() != nil
	if bad := unwritable(msgs[0]); bad != nil {
		err = fmt.Errorf("%w: %w", ErrRefused, bad)
	}
	err = c.wrap(context.Background(), what, err)
	switch {
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrThrottled), errors.Is(err, ErrFull), errors.Is(err, ErrRefused):
		link.conn.worked()
	case timedOut:
		// A caller's short patience is no fault of the link.
		if time.Since(began) >= c.timing.grace {
			link.conn.failed(began, err)
		}
	default:
		if slots.drop(link) {
			link.sending.close()
			c.lastly(link.close)
		}
		if passing(err) {
			link.conn.failed(began, err)
		}
	}
	return 0, err
}

// takeSender gives a link for one send, which ends with sending.end.
func (c *Client) takeSender(ctx context.Context, slots *senders) (*senderLink, error) {
	for fresh := false; ; {
		link, err := slots.get(ctx)
		if err != nil {
			return nil, err
		}
		if !fresh && link.stale(c.timing.idle) {
			fresh = true
			if slots.drop(link) {
				c.lastly(link.close)
			}
			continue
		}
		if link.sending.begin() {
			return link, nil
		}
		// Closed just now: the next one is open.
	}
}

// senderLink is an open link to a queue.
type senderLink struct {
	conn    *connection
	sdk     *azservicebus.Sender
	sending *inflight
	used    atomic.Int64 // unix nanoseconds
}

func (l *senderLink) alive() bool { return !l.sending.isClosed() && l.conn.alive() }

// close closes the link when nothing is being sent on it any more.
func (l *senderLink) close() {
	t := l.conn.client.timing
	l.sending.close()
	l.sending.wait(l.conn.ctx.Done(), t.send)
	ctx, stop := context.WithTimeout(l.conn.ctx, t.close)
	defer stop()
	_ = l.sdk.Close(ctx)
}

// stale says whether the service may have closed the link for being idle, which
// would be found only by a send.
func (l *senderLink) stale(idle time.Duration) bool {
	return time.Since(time.Unix(0, l.used.Load())) > idle
}

func (l *senderLink) send(ctx context.Context, msgs []*azservicebus.Message) (int, error) {
	defer func() { l.used.Store(time.Now().UnixNano()) }()
	n, batch := 1, (*azservicebus.MessageBatch)(nil)
	if len(msgs) > 1 {
		var err error
		if batch, err = l.sdk.NewMessageBatch(ctx, nil); err != nil {
			return 0, err
		}
		if n, err = pack(batch, msgs); err != nil {
			return 0, err
		}
	}
	return max(n, 1), once(ctx, func(ctx context.Context) error {
		if n <= 1 {
			// A single message may be larger than a batch.
			return l.sdk.SendMessage(ctx, msgs[0], nil)
		}
		return l.sdk.SendMessageBatch(ctx, batch, nil)
	})
}

// pack fills a batch with the first messages and says how many fit.
func pack(batch *azservicebus.MessageBatch, msgs []*azservicebus.Message) (int, error) {
	for i, m := range msgs {
		if i == maxBatch {
			return i, nil
		}
		if err := batch.AddMessage(m, nil); errors.Is(err, azservicebus.ErrMessageTooLarge) {
			return i, nil
		} else if err != nil && i > 0 {
			return i, nil // its turn comes, with the others sent
		} else if err != nil {
			return 0, err
		}
	}
	return len(msgs), nil
}

// unwritable says why a message cannot be written as AMQP: a property of a type
// that it does not have.
func unwritable(m *azservicebus.Message) error {
	var batch azservicebus.MessageBatch // nothing fits into it
	if err := batch.AddMessage(m, nil); !errors.Is(err, azservicebus.ErrMessageTooLarge) {
		return err
	}
	return nil
}
