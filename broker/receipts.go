package broker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"ferry"
	"ferry/internal/rules"
	"ferry/queue"
	"ferry/store"
)

const (
	// receiptBatch is how many receipts share one commit at the most.
	receiptBatch = 256
	// acknowledgedAtOnce is how many batches are acknowledged while the next ones are
	// received and committed.
	acknowledgedAtOnce = 4
)

// takeReceipts commits what workers report until ctx ends. A receipt is
// completed in the queue only after its commit, and confirmed to its worker
// only then; where that is a round trip or two, the next batch does not wait for it.
func (b *Broker) takeReceipts(ctx context.Context) {
	const pause = time.Second
	var acknowledging sync.WaitGroup
	defer acknowledging.Wait()
	room := make(chan struct{}, acknowledgedAtOnce)
	for ctx.Err() == nil {
		batch, err := b.queue.ReceiveReceipts(ctx, receiptBatch)
		if err != nil {
			if ctx.Err() == nil {
				b.log.Warn("receipts could not be received", "error", err)
				if errors.Is(err, queue.ErrNotFound) {
					_ = b.sweepReceipts(ctx) // makes the channel anew; that it could not, the next look tells
				}
				sleep(ctx, pause)
			}
			continue
		}
		arrivals := make([]arrival, len(batch))
		for i, d := range batch {
			arrivals[i] = arrival{&d.Receipt, d.From, d}
		}
		confirmed, err := b.commitBatch(ctx, arrivals)
		if err != nil {
			if ctx.Err() == nil {
				b.log.Error("receipts could not be committed: they stay in the queue", "receipts", len(batch), "error", err)
				sleep(ctx, pause)
			}
			continue
		}
		room <- struct{}{}
		acknowledging.Go(func() {
			defer func() { <-room }()
			b.acknowledge(ctx, arrivals, confirmed)
		})
	}
}

// arrival is a receipt as it came: from where it belongs, or from what the queue
// set aside.
type arrival struct {
	receipt *ferry.Receipt
	from    string // the worker as the queue authenticated it; empty when it cannot tell
	settled
}

// settled is what ends a delivery in the queue.
type settled interface {
	Complete(ctx context.Context) error
	Release(ctx context.Context) error
}

// confirmations are turns of which the receipts are on disk, by worker.
type confirmations map[string][]queue.Confirmed

// commitBatch commits a batch, which the caller has to acknowledge then. What cannot
// be committed is given back to the queue.
func (b *Broker) commitBatch(ctx context.Context, batch []arrival) (confirmations, error) {
	receipts := make([]ferry.Receipt, 0, len(batch))
	for _, a := range batch {
		rc := a.receipt
		if why := b.refuseReceipt(rc, a.from); why != "" {
			b.log.Warn("a receipt was refused", "why", why, "from", a.from, "worker", rc.Worker, "route", rc.Route, "message", rc.ID)
			continue
		}
		bound(rc)
		receipts = append(receipts, *rc)
	}
	confirmed := confirmations{}
	for i := range receipts {
		worker := receipts[i].Worker
		confirmed[worker] = append(confirmed[worker], queue.Confirmed{ID: receipts[i].ID, Turn: receipts[i].Turn})
	}
	if !rules.On(rules.AfterCommit) {
		b.acknowledge(ctx, batch, confirmed)
	}
	if err := b.commitReceipts(ctx, receipts); err != nil {
		atOnce(batch, func(a arrival) {
			_ = a.Release(context.WithoutCancel(ctx)) // its lock would end by itself
		})
		return nil, err
	}
	for _, a := range batch {
		a.receipt.Result, a.receipt.Attempts = nil, nil // what is large in it is not needed any more
	}
	return confirmed, nil
}

// acknowledge completes receipts in the queue and confirms them to their workers.
func (b *Broker) acknowledge(ctx context.Context, batch []arrival, confirmed confirmations) {
	atOnce(batch, func(a arrival) {
		if err := a.Complete(ctx); err != nil && !errors.Is(err, queue.ErrLockLost) && !errors.Is(err, queue.ErrSettled) && ctx.Err() == nil {
			b.log.Debug("a committed receipt could not be completed in the queue", "message", a.receipt.ID, "error", err)
		}
	})
	b.confirm(ctx, confirmed)
}

// atOnce settles a batch together: where each is a round trip, one after the other
// would take seconds.
func atOnce[T any](batch []T, settle func(T)) {
	if len(batch) == 1 {
		settle(batch[0])
		return
	}
	var group sync.WaitGroup
	for _, one := range batch {
		group.Go(func() { settle(one) })
	}
	group.Wait()
}

// refuseReceipt says why a receipt is not its sender's to give, or "".
func (b *Broker) refuseReceipt(rc *ferry.Receipt, from string) string {
	if from == "" {
		return "" // this queue cannot tell who sends
	}
	if rc.Inbox == "" {
		return "it names no inbox: only the broker's own do not"
	}
	if from != rc.Worker {
		return "it names another worker than the one that sent it"
	}
	if !b.fleet.may(from, rc.Route) && !b.workerMay(from, rc.Route) {
		return "the worker may not speak for this route"
	}
	return ""
}

// bound holds a receipt to the limits of what is kept. Workers keep to them; the
// ledger must not depend on it.
func bound(rc *ferry.Receipt) {
	rc.Text, rc.Code, rc.Reference = cut(rc.Text, ferry.MaxAttemptText), cut(rc.Code, ferry.MaxReferenceLength), cut(rc.Reference, ferry.MaxReferenceLength)
	if len(rc.Result) > ferry.MaxResult {
		rc.Result = nil
	}
	if len(rc.Next.StatusURL) > ferry.MaxStatusURL {
		rc.Next.StatusURL = "" // nowhere to ask: it is waited for, and looked up
	}
	rc.Attempts = rc.Attempts[:min(len(rc.Attempts), 1)] // a turn has one call at the most
	for i := range rc.Attempts {
		a := &rc.Attempts[i]
		a.Text, a.Code, a.Reference = cut(a.Text, ferry.MaxAttemptText), cut(a.Code, ferry.MaxReferenceLength), cut(a.Reference, ferry.MaxReferenceLength)
		a.Request, a.RemoteCorrelationID = cut(a.Request, ferry.MaxAttemptText), cut(a.RemoteCorrelationID, ferry.MaxReferenceLength)
		a.Fields = a.Fields[:min(len(a.Fields), ferry.MaxAttemptFields)]
		for j := range a.Fields {
			a.Fields[j].Field, a.Fields[j].Text = cut(a.Fields[j].Field, ferry.MaxReferenceLength), cut(a.Fields[j].Text, ferry.MaxAttemptText)
		}
	}
}

// cut shortens a text to most bytes, not inside a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

func (b *Broker) commitReceipts(ctx context.Context, receipts []ferry.Receipt) error {
	if len(receipts) == 0 {
		return nil
	}
	for i := range receipts {
		b.hide(&receipts[i])
		if rc := &receipts[i]; rc.Verdict.HasIt() {
			rc.Result, rc.ResultNote = b.told(ctx, rc.Route, func() (ferry.ID, bool) { return rc.ID, true }, rc.Reference, rc.Result)
		}
	}
	began := time.Now()
	outcomes, err := b.ledger.ApplyReceipts(ctx, receipts, b.continueAfterDead)
	if err != nil {
		return err
	}
	for i := range outcomes {
		b.metrics.receipt(&receipts[i], &outcomes[i])
		b.logOutcome(&receipts[i], &outcomes[i])
		b.opts.Tracer.Committed(&receipts[i], outcomes[i].State, outcomes[i].Reason, outcomes[i].Applied, began)
	}
	return nil
}

func (b *Broker) logOutcome(rc *ferry.Receipt, out *store.Outcome) {
	switch {
	case out.Conflict:
		b.log.Warn("the destination has a message that was discarded", "route", out.Route, "message", rc.ID, "reference", rc.Reference)
	case out.Applied && out.State == ferry.StateDeadLettered:
		b.log.Warn("message.deadLettered", "route", out.Route, "message", rc.ID, "reason", out.Reason, "code", rc.Code, "text", rc.Text)
	case out.Applied && out.State == ferry.StateCompleted:
		b.log.Debug("message.completed", "route", out.Route, "message", rc.ID, "reference", rc.Reference)
	}
}

// confirm tells workers whose receipts are on disk. Lost signals cost nothing
// but a repeat.
func (b *Broker) confirm(ctx context.Context, confirmed confirmations) {
	for worker, turns := range confirmed {
		if err := b.queue.Signal(ctx, worker, queue.Signal{Confirmed: turns}); err != nil && ctx.Err() == nil {
			b.log.Debug("receipts could not be confirmed now: the worker will send them again", "worker", worker, "error", err)
		}
	}
}
