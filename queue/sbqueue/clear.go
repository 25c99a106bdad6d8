package sbqueue

import (
	"context"
	"errors"
	"time"

	"ferry/internal/servicebus"
	"ferry/queue"
)

const (
	// clearTimeout bounds the emptying of one queue; what is left then is as harmless
	// as what is locked.
	clearTimeout = 30 * time.Second
	// clearQuiet is how long nothing comes from a queue that is empty.
	clearQuiet = time.Second
)

// Clear removes what nobody holds. What a worker holds it can settle still, or
// it comes again when its lock ends: an old copy of a turn, which its inbox knows.
// The broker cannot reach it: a lock's token is only with its holder.
func (b *Broker) Clear(ctx context.Context, address queue.Address) error {
	during, end, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	return b.wrap(ctx, b.clear(during, b.names.of(address)))
}

func (b *Broker) clear(ctx context.Context, queueName string) (err error) {
	// Mostly it is empty: looking costs less than a link.
	first, err := b.peek(ctx, queueName, 0, 1)
	if err != nil || len(first) == 0 {
		return err
	}
	r := b.client.Receiver(queueName, servicebus.ReceiverOptions{Delete: true})
	defer func() {
		// Nothing is published before the link is closed: it would be deleted, too.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTimeout)
		defer cancel()
		err = errors.Join(err, r.Close(closing))
	}()
	bounded, cancel := context.WithTimeout(ctx, clearTimeout)
	defer cancel()
	quiet := answerTimeout // for the first the link has to be made
	for {
		waiting, stop := context.WithTimeout(bounded, quiet)
		_, err := r.Receive(waiting, receiveAtOnce)
		over := waiting.Err() != nil
		stop()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case over:
			return nil
		case err != nil:
			return err
		}
		quiet = clearQuiet
	}
}

var _ queue.Clearer = (*Broker)(nil)
