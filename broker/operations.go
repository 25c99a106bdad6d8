package broker

import (
	"context"
	"fmt"
	"time"

	"ferry"
)

const (
	operationLook  = time.Minute // how long the runner sleeps when nobody wakes it
	operationRetry = time.Second // after the ledger refused
	operationSweep = time.Hour
)

func (b *Broker) nudgeOperations() {
	select {
	case b.bulk <- struct{}{}:
	default:
	}
}

// runOperations carries on bulk acts, also those that an earlier run left: each in
// turn by a step, so that none waits for another, and accepts come between.
func (b *Broker) runOperations(ctx context.Context) {
	swept := time.Time{}
	for ctx.Err() == nil {
		wait := operationLook
		for _, id := range b.ledger.OperationsIn(ferry.OperationRunning) {
			next := b.stepOperation(ctx, id)
			wait = min(wait, next)
		}
		if time.Since(swept) >= operationSweep || wait > 0 && b.ledger.HasLeftovers() {
			swept = time.Now()
			if err := b.ledger.SweepOperations(ctx, time.Now().Add(-b.longestDiscarded())); err != nil && ctx.Err() == nil {
				b.log.Warn("what ended operations left could not be removed", "error", err)
			}
		}
		if wait == 0 {
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-b.bulk:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// longestDiscarded is how long anything that was discarded is kept: a bulk discard may
// be of any route, also of one that is not configured any more.
func (b *Broker) longestDiscarded() time.Duration {
	longest := b.retentionOf("").Discarded
	for _, name := range b.names() {
		longest = max(longest, b.retentionOf(name).Discarded)
	}
	return longest
}

// stepOperation carries one operation on, and says when it wants its next step.
func (b *Broker) stepOperation(ctx context.Context, id string) time.Duration {
	plan, err := b.ledger.PlanOperation(id)
	switch {
	case ferry.CodeOf(err) == ferry.CodeNotFound:
		return operationLook
	case err != nil:
		b.log.Error("an operation cannot be read", "operation", id, "error", err)
		return operationLook
	case plan.Acts == 0 && plan.Wait > 0:
		return plan.Wait
	case plan.Acts == 0:
		return operationLook // the end of a message wakes it
	}
	step, err := b.ledger.StepOperation(ferry.WithCaller(ctx, ferry.Caller{KeyID: plan.KeyID, RequestID: id}), id)
	switch {
	case err == nil:
	case ctx.Err() != nil || ledgerRefuses(err):
		return operationRetry // not the operation's doing: it is tried again
	default:
		b.log.Error("an operation was stopped: the ledger cannot carry it on", "operation", id, "error", err)
		if err := b.ledger.HaltOperation(ctx, id, "the ledger cannot carry it on: "+err.Error()); err != nil {
			b.log.Error("an operation cannot be stopped", "operation", id, "error", err)
		}
		return operationRetry
	}
	switch step.State {
	case ferry.OperationRunning:
	case ferry.OperationStopped:
		if op, err := b.ledger.Operation(id); err == nil {
			b.log.Warn("operation.stopped", "operation", id, "reason", op.Stopped, "left", op.Left())
		}
		return operationLook
	default:
		b.log.Info("operation.ended", "operation", id, "state", step.State)
		return operationLook
	}
	switch {
	case step.Wait > 0:
		return step.Wait
	case step.Waits:
		return operationLook
	}
	return 0
}

func ledgerRefuses(err error) bool {
	switch ferry.CodeOf(err) {
	case ferry.CodeNoSpace, ferry.CodeLedgerUnavailable, ferry.CodeStopping:
		return true
	}
	return false
}

// Operations lists bulk acts, the newest first.
func (b *Broker) Operations(context.Context) ([]ferry.Operation, error) { return b.ledger.Operations() }

// Operation returns one bulk act, and says what it waits for.
func (b *Broker) Operation(ctx context.Context, id string) (ferry.Operation, error) {
	return b.tellOperation(ctx)(b.ledger.Operation(id))
}

// CancelOperation ends a bulk act; what was done stays done.
func (b *Broker) CancelOperation(ctx context.Context, id, note, by string) (ferry.Operation, error) {
	return b.ledger.CancelOperation(ctx, id, note, by)
}

// ContinueOperation has a bulk act go on that was stopped.
func (b *Broker) ContinueOperation(ctx context.Context, id, note, by string) (ferry.Operation, error) {
	op, err := b.ledger.ContinueOperation(ctx, id, note, by)
	b.nudgeOperations()
	return b.tellOperation(ctx)(op, err)
}

// tellOperation adds what a running operation waits for.
func (b *Broker) tellOperation(ctx context.Context) func(ferry.Operation, error) (ferry.Operation, error) {
	return func(op ferry.Operation, err error) (ferry.Operation, error) {
		if err != nil || op.State != ferry.OperationRunning || op.Canary == nil {
			return op, err
		}
		switch n := op.Canary.Waiting(); {
		case n > 0:
			op.Waiting = fmt.Sprintf("%d of %d canary messages have not ended, since %s%s",
				n, op.Canary.Sent, op.Canary.Since.UTC().Format("2006-01-02 15:04:05 UTC"), b.canaryWaits(ctx, op.Canary))
		case op.ExpectedEnd == nil && op.Out() > 0 && op.Left() > 0:
			op.Waiting = fmt.Sprintf("%d messages are on their way; the next follow as they end", op.Out())
		}
		return op, nil
	}
}

// canaryWaits says what the first canary message waits for that has not ended.
func (b *Broker) canaryWaits(ctx context.Context, c *ferry.OperationCanary) string {
	for _, m := range c.Messages {
		if m.End != "" {
			continue
		}
		e, err := b.Message(ctx, m.ID)
		if err != nil || e.WaitingFor == nil {
			return ""
		}
		text := fmt.Sprintf("; %s waits for: %s", m.ID.Short(), e.WaitingFor.Reason)
		if e.WaitingFor.Behind != nil {
			text += ", behind " + e.WaitingFor.Behind.Short()
		}
		if e.WaitingFor.Until != nil {
			text += ", until " + e.WaitingFor.Until.UTC().Format("15:04:05 UTC")
		}
		return text
	}
	return ""
}

// liveOperations are those that run or wait for a person, the oldest first.
func (b *Broker) liveOperations() []ferry.Operation {
	var list []ferry.Operation
	for _, id := range b.ledger.OperationsIn(ferry.OperationRunning, ferry.OperationStopped) {
		if op, err := b.ledger.Operation(id); err == nil {
			op.Groups = nil // operations show has them
			list = append(list, op)
		}
	}
	return list
}

// stoppedOperations are sentences of those that wait for a person.
func stoppedOperations(list []ferry.Operation) []string {
	var problems []string
	for i := range list {
		if op := &list[i]; op.State == ferry.OperationStopped {
			problems = append(problems, fmt.Sprintf("operation %s (%s, %d of %d) is stopped: %s: broker operations show %s", op.ID, op.Act, op.Done, op.Total, op.Stopped, op.ID))
		}
	}
	return problems
}
