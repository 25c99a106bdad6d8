package servicebus

import (
	"context"
	"errors"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// Bounds of what MaxBytes finds out.
const (
	sizeStep = 16 << 10
	sizeMost = 1 << 20
)

// MaxBytes is how large a message of the queue may be, its properties and encoding
// included: a multiple of 16 KiB, at most 1 MiB, which is more than the tiers
// Basic and Standard take. It opens the link, and sends nothing.
func (s *Sender) MaxBytes(ctx context.Context) (int64, error) {
	c, what := s.client, "ask how large a message may be of "+s.queue
	slots, done := c.sendersOf(s.queue)
	defer done()
	link, err := slots.get(ctx)
	if err != nil {
		return 0, c.wrap(ctx, what, err)
	}
	// The SDK keeps the number to itself, but a batch knows what does not fit.
	low, high := 0, sizeMost/sizeStep // the first fits, what is above the last is not asked
	body := make([]byte, sizeMost)
	for low < high {
		middle := (low + high + 1) / 2
		batch, err := link.sdk.NewMessageBatch(ctx, nil)
		if err != nil {
			return 0, c.wrap(ctx, what, err)
		}
		err = batch.AddMessage(&azservicebus.Message{Body: body[:middle*sizeStep-sizeFrame]}, nil)
		switch {
		case err == nil:
			low = middle
		case errors.Is(err, azservicebus.ErrMessageTooLarge):
			high = middle - 1
		default:
			return 0, c.wrap(ctx, what, err)
		}
	}
	return int64(low) * sizeStep, nil
}

// sizeFrame is what the encoding of a message without properties takes beside its
// body, in a batch, and a little more.
const sizeFrame = 512

// Host is the namespace's host, with its port where one is written.
func (c *Client) Host() string { return c.ns.host }
