package broker

import (
	"context"

	"ferry"
)

// Replay sends a dead letter again, with a corrected body unless body is nil.
func (b *Broker) Replay(ctx context.Context, id ferry.ID, body []byte, contentType, note, by string) (ferry.Envelope, error) {
	if body != nil {
		if err := b.checkRevision(id, body); err != nil {
			return ferry.Envelope{}, err
		}
	}
	return b.acted(ctx, id, b.ledger.Replay(ctx, id, body, contentType, note, by))
}

// checkRevision holds a new body against the limits of its route.
func (b *Broker) checkRevision(id ferry.ID, body []byte) error {
	e, err := b.ledger.Message(id)
	if err != nil {
		return err
	}
	r, ok := b.route(e.Route)
	switch {
	case !ok:
		return nil
	case int64(len(body)) > r.MaxBytes:
		return ferry.Errorf(ferry.CodeTooLarge, "the body has %d bytes", len(body)).WithHint("route %s takes up to %d", e.Route, r.MaxBytes)
	case len(body) == 0 && !r.AllowEmpty:
		return ferry.Errorf(ferry.CodeEmptyBody, "the body is empty").WithHint("route %s does not take empty bodies", e.Route)
	}
	return nil
}

// AcceptDeadLetter ends a dead letter as completed: somebody found it at the
// destination.
func (b *Broker) AcceptDeadLetter(ctx context.Context, id ferry.ID, reference, note, by string) (ferry.Envelope, error) {
	if note == "" {
		return ferry.Envelope{}, noteRequired("accept")
	}
	if len(reference) > ferry.MaxReferenceLength {
		return ferry.Envelope{}, ferry.Errorf(ferry.CodeReferenceTooLong, "the reference has %d bytes", len(reference)).
			WithHint("at most %d", ferry.MaxReferenceLength)
	}
	return b.acted(ctx, id, b.ledger.AcceptDead(ctx, id, reference, note, by))
}

// Discard ends a dead letter, or a waiting message that no worker can hold.
func (b *Broker) Discard(ctx context.Context, id ferry.ID, note, by string) (ferry.Envelope, error) {
	if note == "" {
		return ferry.Envelope{}, noteRequired("discard")
	}
	return b.acted(ctx, id, b.ledger.Discard(ctx, id, note, by))
}

// Restore undoes a discard.
func (b *Broker) Restore(ctx context.Context, id ferry.ID, note, by string) (ferry.Envelope, error) {
	return b.acted(ctx, id, b.ledger.Restore(ctx, id, note, by))
}

func noteRequired(act string) error {
	return ferry.Errorf(ferry.CodeNoteRequired, "%s needs a note", act).
		WithHint("say why, for those who look at it later: --note TEXT")
}

func (b *Broker) acted(ctx context.Context, id ferry.ID, err error) (ferry.Envelope, error) {
	if err != nil {
		return ferry.Envelope{}, err
	}
	return b.Message(ctx, id)
}
