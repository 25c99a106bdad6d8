package broker

import (
	"context"
	"slices"
	"time"

	"ferry"
	"ferry/store"
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

// Bulk starts an act on every dead letter that req selects, as an operation
// that outlives the request and a restart; a dry run only counts.
func (b *Broker) Bulk(ctx context.Context, act string, req ferry.BulkRequest, by string) (ferry.BulkAnswer, error) {
	answer := ferry.BulkAnswer{ByRoute: map[string]map[ferry.Reason]int{}}
	if act == "discard" && req.Note == "" {
		return answer, noteRequired(act)
	}
	ids, err := b.selectBulk(act, req, &answer)
	if err != nil || req.DryRun {
		return answer, err
	}
	if req.Expect != nil && *req.Expect != answer.Count {
		return answer, ferry.Errorf(ferry.CodeCountChanged, "the selection has %d messages, %d were expected", answer.Count, *req.Expect).
			WithHint("look again with --dry-run: dead letters come and go")
	}
	if answer.Count == 0 {
		return answer, nil
	}
	op := ferry.Operation{
		ID: ferry.NewID(time.Now()).String(), Act: act, State: store.OperationRunning, Filter: req.Filter,
		By: by, KeyID: ferry.CallerOf(ctx).KeyID, Note: req.Note, Total: len(ids), CreatedAt: time.Now().UTC(),
	}
	if err := b.ledger.StartOperation(ctx, op, ids); err != nil {
		return answer, err
	}
	select {
	case b.bulk <- struct{}{}:
	default:
	}
	answer.OperationID = op.ID
	return answer, nil
}

func (b *Broker) selectBulk(act string, req ferry.BulkRequest, answer *ferry.BulkAnswer) ([]ferry.ID, error) {
	f := req.Filter
	f.Limit, f.Cursor = 0, ""
	if f == (ferry.DeadLetterFilter{}) && len(req.IDs) == 0 && !req.All {
		return nil, ferry.Errorf(ferry.CodeBadFilter, "neither ids nor a filter say what to %s", act).
			WithHint("all of them, explicitly: --all")
	}
	var ids []ferry.ID
	keep := func(route string, dead *ferry.DeadLetter, id ferry.ID) {
		reason := dead.Reason
		if act == "replay" && reason == ferry.ReasonOutcomeUnknown && !req.IncludeUnknown {
			answer.LeftOut++
			return
		}
		if answer.ByRoute[route] == nil {
			answer.ByRoute[route] = map[ferry.Reason]int{}
		}
		answer.ByRoute[route][reason]++
		answer.Count++
		if dead.MayExist() {
			answer.MayExist++
		}
		ids = append(ids, id)
	}
	if len(req.IDs) == 0 {
		if act == "restore" {
			return nil, ferry.Errorf(ferry.CodeBadFilter, "restore in bulk takes ids")
		}
		err := b.ledger.DeadIDs(f, b.ownerOf, keep)
		if req.Filter.Limit > 0 && len(ids) > req.Filter.Limit {
			return nil, ferry.Errorf(ferry.CodeBadFilter, "the filter selects %d, more than its limit %d", len(ids), req.Filter.Limit).
				WithHint("narrow the filter, or leave the limit out")
		}
		return ids, err
	}
	for _, id := range req.IDs {
		e, err := b.ledger.Message(id)
		if err != nil {
			return nil, err
		}
		dead := e.DeadLetter
		if dead == nil {
			dead = &ferry.DeadLetter{}
		}
		if !slices.Contains(ids, id) {
			keep(e.Route, dead, id)
		}
	}
	return ids, nil
}

// runOperations carries out bulk acts, also those that an earlier run left.
func (b *Broker) runOperations(ctx context.Context) {
	for ctx.Err() == nil {
		ops, err := b.ledger.Operations()
		if err != nil {
			b.log.Error("operations cannot be read", "error", err)
		}
		slices.Reverse(ops) // the oldest first
		for _, op := range ops {
			if op.State == store.OperationRunning {
				b.runOperation(ctx, op)
			}
		}
		select {
		case <-ctx.Done():
		case <-b.bulk:
		}
	}
}

const operationStep = 50

func (b *Broker) runOperation(ctx context.Context, op ferry.Operation) {
	for ctx.Err() == nil && op.State == store.OperationRunning {
		ids, err := b.ledger.Selected(op.ID, op.Done+op.Skipped, operationStep)
		if err != nil {
			b.log.Error("an operation cannot go on", "operation", op.ID, "error", err)
			return
		}
		done, skipped, stalled := 0, 0, false
		who := ferry.WithCaller(ctx, ferry.Caller{KeyID: op.KeyID, RequestID: op.ID})
		for _, id := range ids {
			err := b.step(who, &op, id)
			if stalled = ctx.Err() != nil || ledgerRefuses(err); stalled {
				break // not the message's doing: it is tried again
			}
			if err == nil {
				done++
			} else {
				skipped++
			}
		}
		if len(ids) == 0 {
			skipped = op.Total - op.Done - op.Skipped // nothing is left of the selection
		}
		if stalled {
			sleep(ctx, time.Second)
		}
		next, err := b.ledger.StepOperation(ctx, op.ID, done, skipped)
		if err != nil {
			b.log.Warn("an operation's progress could not be kept", "operation", op.ID, "error", err)
			sleep(ctx, time.Second)
			continue
		}
		op = next
	}
}

func ledgerRefuses(err error) bool {
	switch ferry.CodeOf(err) {
	case ferry.CodeNoSpace, ferry.CodeLedgerUnavailable, ferry.CodeStopping:
		return true
	}
	return false
}

func (b *Broker) step(ctx context.Context, op *ferry.Operation, id ferry.ID) error {
	var err error
	switch op.Act {
	case "replay":
		err = b.ledger.Replay(ctx, id, nil, "", op.Note, op.By)
	case "discard":
		err = b.ledger.Discard(ctx, id, op.Note, op.By)
	default:
		err = b.ledger.Restore(ctx, id, op.Note, op.By)
	}
	_, err = b.acted(ctx, id, err)
	return err
}

// Operations lists bulk acts, the newest first.
func (b *Broker) Operations(context.Context) ([]ferry.Operation, error) { return b.ledger.Operations() }

// Operation returns one bulk act.
func (b *Broker) Operation(_ context.Context, id string) (ferry.Operation, error) {
	return b.ledger.Operation(id)
}

// CancelOperation stops a bulk act; what was done stays done.
func (b *Broker) CancelOperation(ctx context.Context, id, note, by string) (ferry.Operation, error) {
	return b.ledger.CancelOperation(ctx, id, note, by)
}
