package sbqueue

import (
	"context"
	"time"

	"ferry/queue"
)

// expiredReason is what Service Bus says of a message that waited longer than its
// time to live.
const expiredReason = "TTLExpiredException"

// ReceiveDead waits for what the queue set aside: delivered too often, waited too
// long, or moved there by somebody.
func (b *Broker) ReceiveDead(ctx context.Context, from queue.Address, most int) ([]queue.DeadItem, error) {
	for {
		messages, r, err := b.receive(ctx, source{queue: b.names.of(from), dead: true}, most)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		items := make([]queue.Item, len(messages))
		for i, m := range messages {
			items[i] = b.item(r, m, now)
		}
		if from.Kind == queue.Receipts {
			items = b.proven(ctx, from, items)
		}
		if len(items) == 0 {
			continue
		}
		list := make([]queue.DeadItem, len(items))
		for i, item := range items {
			m := item.Token.(*held).message
			list[i] = queue.DeadItem{Item: item, Reason: text(m.DeadLetterReason), Description: text(m.DeadLetterErrorDescription)}
			list[i].Expired = list[i].Reason == expiredReason
		}
		return list, nil
	}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// SettleDead ends a delivery from there. Service Bus does not count deliveries
// there: what is released comes again however often.
func (b *Broker) SettleDead(ctx context.Context, _ queue.Address, item queue.DeadItem, verb queue.Verb) error {
	return b.settle(ctx, item.Item, verb)
}

var _ queue.DeadLetterer = (*Broker)(nil)
