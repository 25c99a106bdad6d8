package intake

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/servicebus"
)

// BusOf is a client as a Bus.
func BusOf(c *servicebus.Client) Bus { return clientBus{c} }

type clientBus struct{ c *servicebus.Client }

func (b clientBus) Receiver(queue string) Receiver {
	return b.c.Receiver(queue, servicebus.ReceiverOptions{})
}

func (b clientBus) Send(ctx context.Context, queue string, msgs []*azservicebus.Message) error {
	return b.c.Sender(queue).Send(ctx, msgs)
}
