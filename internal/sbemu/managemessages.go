package sbemu

import (
	"fmt"

	"github.com/Azure/go-amqp"

	"ferry/internal/sbemu/entity"
)

// Here are the operations of management that carry messages.

func (r request) peek(b body) (any, error) {
	from, err := b.number("from-sequence-number")
	if err != nil {
		return nil, err
	}
	most, err := b.number("message-count")
	if err != nil {
		return nil, err
	}
	if most < 1 {
		return nil, fmt.Errorf("%w: message-count is %d", errRequest, most)
	}
	msgs, err := r.node.source.Peek(from, int(min(most, mostAtOnce)), b.session())
	if err != nil {
		return nil, err
	}
	omit, _ := b["omit-message-body"].(bool)
	out := make([]any, 0, len(msgs))
	bytes := 0
	for _, m := range msgs {
		if omit {
			m.Data, m.Value, m.Sequence = [][]byte{{}}, nil, nil
		}
		encoded, err := encode(m)
		if err != nil {
			return nil, err
		}
		if bytes += len(encoded); bytes > mostPeekBytes && len(out) > 0 {
			break
		}
		out = append(out, map[string]any{"message": encoded})
	}
	if len(out) == 0 {
		return nothing, nil
	}
	return map[string]any{"messages": out}, nil
}

func (r request) schedule(b body) (any, error) {
	entries, err := list[map[string]any](b, "messages")
	if err != nil {
		return nil, err
	}
	msgs := make([]entity.Incoming, 0, len(entries))
	for _, e := range entries {
		raw, ok := e["message"].([]byte)
		if !ok {
			return nil, fmt.Errorf("%w: an entry of messages has no message", errRequest)
		}
		m, err := decode(raw)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errRequest, err)
		}
		msgs = append(msgs, entity.Incoming{Message: m, Size: len(raw)})
	}
	numbers, err := r.node.source.Queue().Schedule(msgs...)
	if err != nil {
		return nil, err
	}
	return map[string]any{"sequence-numbers": numbers}, nil
}

func (r request) cancelScheduled(b body) (any, error) {
	numbers, err := list[int64](b, "sequence-numbers")
	if err != nil {
		return nil, err
	}
	if err := r.node.source.Queue().CancelScheduled(numbers); err != nil {
		return nil, err
	}
	return map[string]any{}, nil
}

func (r request) receiveDeferred(b body) (any, error) {
	numbers, err := list[int64](b, "sequence-numbers")
	if err != nil {
		return nil, err
	}
	mode, err := b.number("receiver-settle-mode")
	if err != nil {
		return nil, err
	}
	ds, err := r.node.source.ReceiveDeferred(numbers, mode == 0)
	if err != nil {
		return nil, err
	}
	out := make([]any, 0, len(ds))
	for _, d := range ds {
		// There is no transfer whose tag could say the token.
		d.Message.DeliveryAnnotations = amqp.Annotations{"x-opt-lock-token": amqp.UUID(d.Token)}
		encoded, err := encode(d.Message)
		if err != nil {
			return nil, err
		}
		out = append(out, map[string]any{"message": encoded, "lock-token": amqp.UUID(d.Token)})
	}
	return map[string]any{"messages": out}, nil
}
