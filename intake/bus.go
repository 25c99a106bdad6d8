package intake

import (
	"context"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/servicebus"
)

// BusOf is a client as a Bus.
func BusOf(c *servicebus.Client) Bus { return clientBus{c} }

type clientBus struct{ c *servicebus.Client }

func (b clientBus) Receiver(queue string) Receiver {
	return b.c.Receiver(queue, servicebus.ReceiverOptions{})
}

func (b clientBus) NextSession(ctx context.Context, queue string, wait time.Duration) (Link, error) {
	s, err := b.c.NextSession(ctx, queue, wait)
	if err != nil {
		return nil, err
	}
	return &sessionLink{s}, nil
}

func (b clientBus) Send(ctx context.Context, queue string, msgs []*azservicebus.Message) error {
	return b.c.Sender(queue).Send(ctx, msgs)
}

// sessionLink is a session as a Link.
type sessionLink struct{ *servicebus.Session }

// idleSession is how long a session may be without messages before it is given
// back.
const idleSession = 2 * time.Second

// Receive gives one message at a time.
func (s *sessionLink) Receive(ctx context.Context, _ int) ([]*azservicebus.ReceivedMessage, error) {
	within, cancel := context.WithTimeout(ctx, idleSession)
	defer cancel()
	m, err := s.Session.Receive(within)
	switch {
	case err == nil:
		return []*azservicebus.ReceivedMessage{m}, nil
	case ctx.Err() == nil && within.Err() != nil:
		return nil, errNoMore
	default:
		return nil, err
	}
}

// Renew says until when the session's lock holds, which renews itself.
func (s *sessionLink) Renew(context.Context, *azservicebus.ReceivedMessage) (time.Time, error) {
	return s.LockedUntil()
}
