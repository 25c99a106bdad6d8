package sbqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/servicebus"
	"ferry/queue"
)

// positionProperty is a message's position. The SDK does not tell the sequence
// number that Service Bus gave to what was sent, so the broker counts for itself.
const positionProperty = "ferry-position"

// chain is the way of the messages of one route into their queue: one publication
// at a time, so that they lie there in the order of their positions.
type chain struct {
	turn chan struct{} // holds the publication under way

	mu    sync.Mutex
	first uint64 // no position of this run is lower
	given uint64 // the last that was given out
	ended uint64 // the last whose publication is over, however it ended
	quiet uint64 // the queue was seen empty when this was the last; 0: it was not
}

// newChain counts on from the clock, in microseconds: after a restart the
// positions are above those of before.
func newChain(now time.Time) *chain {
	start := uint64(max(now.UnixMicro(), 1))
	return &chain{turn: make(chan struct{}, 1), first: start + 1, given: start, ended: start}
}

// take waits for the chain's turn and gives n positions, from first on.
func (ch *chain) take(ctx context.Context, n int) (first uint64, err error) {
	select {
	case ch.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	first = ch.given + 1
	ch.given += uint64(n)
	ch.quiet = 0
	return first, nil
}

// done ends the turn.
func (ch *chain) done() {
	ch.mu.Lock()
	ch.ended = ch.given
	ch.mu.Unlock()
	<-ch.turn
}

// Publish appends messages. Receipts are the workers' to send.
func (b *Broker) Publish(ctx context.Context, to queue.Address, packets []queue.Packet) ([]uint64, error) {
	if to.Kind != queue.Messages {
		return nil, fmt.Errorf("only workers send receipts: %w", queue.ErrUnauthorized)
	}
	messages, err := b.messagesOf(packets)
	if err != nil {
		return nil, err
	}
	during, end, err := b.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	ch := b.chain(to)
	first, err := ch.take(during, len(packets))
	if err != nil {
		return nil, b.wrap(ctx, err)
	}
	defer ch.done()
	positions := make([]uint64, len(packets))
	for i, m := range messages {
		positions[i] = first + uint64(i)
		m.ApplicationProperties = map[string]any{positionProperty: int64(positions[i])}
	}
	if err := b.send(ctx, during, b.names.of(to), messages); err != nil {
		b.missed(b.names.of(to), err)
		return nil, err
	}
	return positions, nil
}

// Publish sends receipts, signed. Their positions are the queue's own, which only
// the broker sees.
func (w *Worker) Publish(ctx context.Context, to queue.Address, packets []queue.Packet) ([]uint64, error) {
	if to.Kind != queue.Receipts {
		return nil, errOnlyBroker
	}
	messages, err := w.messagesOf(packets)
	if err != nil {
		return nil, err
	}
	queueName := w.names.receipts()
	for _, m := range messages {
		w.signer.sign(queueName, m)
	}
	during, end, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	return make([]uint64, len(packets)), w.send(ctx, during, queueName, messages)
}

// messagesOf makes messages of packets, all or none.
func (c *conn) messagesOf(packets []queue.Packet) ([]*azservicebus.Message, error) {
	list := make([]*azservicebus.Message, len(packets))
	for i, p := range packets {
		if len(p.Data) > c.props.MaxData {
			return nil, fmt.Errorf("packet %s of %d bytes: %w", p.ID, len(p.Data), queue.ErrTooLarge)
		}
		id := messageID(p.ID)
		list[i] = &azservicebus.Message{MessageID: &id, Body: p.Data}
	}
	return list, nil
}

// send sends for who asked under ctx, bounded in time.
func (c *conn) send(ctx, during context.Context, queueName string, messages []*azservicebus.Message) error {
	bounded, cancel := context.WithTimeout(during, sendTimeout)
	defer cancel()
	err := c.sendFresh(bounded, queueName, messages)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && c.ctx.Err() == nil {
		return fmt.Errorf("%s: no answer within %s: %w", queueName, sendTimeout, queue.ErrUnavailable)
	}
	return c.wrap(ctx, err)
}

// sendFresh sends, and once more what was not taken where there is no such queue: the
// link may have been that to a queue of the same name which was deleted.
func (c *conn) sendFresh(ctx context.Context, queueName string, messages []*azservicebus.Message) error {
	s := c.client.Sender(queueName)
	err := s.Send(ctx, messages)
	var partly *servicebus.SendError
	if errors.Is(err, servicebus.ErrNotFound) && errors.As(err, &partly) {
		err = s.Send(ctx, messages[partly.Sent:])
	}
	return err
}

// positionIn is the position that the broker gave a message.
func positionIn(m *azservicebus.ReceivedMessage) (uint64, bool) {
	switch p := m.ApplicationProperties[positionProperty].(type) {
	case int64:
		return uint64(max(p, 0)), p > 0
	case uint64:
		return p, p > 0
	default:
		return 0, false
	}
}
