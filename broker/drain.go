package broker

import (
	"context"
	"strings"
	"time"

	"ferry"
	"ferry/queue"
)

const (
	drainBatch = 64               // brought back in one commit
	drainPause = 10 * time.Second // after a fault
	// drainAtOnce bounds how many routes are listened to at a time: each takes a link
	// to the queue. Where there are more, they take turns of drainTurn.
	drainAtOnce = 32
	drainTurn   = 20 * time.Second
)

// drainReceipts brings back the receipts that the queue sets aside by itself, where
// its technology does: nothing may lie where Ferry's own commands do not show it.
func (b *Broker) drainReceipts(ctx context.Context) {
	if !b.queue.SetsAside() {
		return
	}
	b.goRun(func() {
		b.drainLoop(ctx, "", func() error {
			list, err := b.queue.ReceiveDeadReceipts(ctx, drainBatch)
			if err != nil {
				return err
			}
			return b.bringBackReceipts(ctx, list)
		})
	})
}

// drainOf does so with the messages of one route, until ctx ends.
func (b *Broker) drainOf(ctx context.Context, route string) {
	if b.queue.SetsAside() {
		b.goRun(func() { b.drainLoop(ctx, route, func() error { return b.drainRoute(ctx, route, b.drainOnes) }) })
	}
}

// drainRoute waits for what the queue of a route sets aside, for one turn where
// others wait for theirs.
func (b *Broker) drainRoute(ctx context.Context, route string, slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	turn := ctx
	if len(b.names()) > cap(slots) {
		limited, stop := context.WithTimeout(ctx, drainTurn)
		defer stop()
		turn = limited
	}
	list, err := b.queue.ReceiveDeadMessages(turn, route, drainBatch)
	switch {
	case err == nil:
		return b.bringBack(ctx, route, list)
	case turn.Err() != nil:
		return nil // nothing came
	default:
		return err
	}
}

func (b *Broker) drainLoop(ctx context.Context, route string, step func() error) {
	const repeat = 10 * time.Minute // of the same words in the log
	told, toldAt := "", time.Time{}
	for ctx.Err() == nil {
		err := step()
		if err == nil || ctx.Err() != nil {
			continue
		}
		if text := err.Error(); text != told || time.Since(toldAt) >= repeat {
			told, toldAt = text, time.Now()
			b.log.Warn("what the queue set aside could not be brought back: it stays there", "route", route, "error", err)
		}
		sleep(ctx, drainPause)
	}
}

// bringBack makes dead letters of messages that the queue set aside, first on disk,
// then there. One whose turn is over, or that is claimed, is only removed: the
// ledger looks after it. So is one that only waited too long for the queue, and one
// that only asks what became of a message: the sweep hands it out again.
func (b *Broker) bringBack(ctx context.Context, route string, list []*queue.DeadMessage) error {
	receipts := make([]ferry.Receipt, 0, len(list))
	for _, m := range list {
		again := m.Expired || m.HandOut.Awaiting
		b.log.Warn("queue.setAside", "route", route, "message", m.HandOut.ID, "turn", m.HandOut.Turn, "reason", m.Reason,
			"description", cut(m.Description, ferry.MaxAttemptText), "handedOutAgain", again)
		if !again {
			receipts = append(receipts, undeliverable(m))
		}
	}
	if err := b.commitReceipts(ctx, receipts); err != nil {
		atOnce(list, func(m *queue.DeadMessage) {
			_ = m.Release(context.WithoutCancel(ctx)) // its lock would end by itself
		})
		return err
	}
	atOnce(list, func(m *queue.DeadMessage) {
		if err := m.Complete(ctx); err != nil && ctx.Err() == nil {
			b.log.Debug("what was brought back could not be removed there: it is found to be over next time", "message", m.HandOut.ID, "error", err)
		}
	})
	return nil
}

// undeliverable is the broker's own receipt of a turn that the queue set aside. A
// worker may have begun it, and nobody here can ask the destination: the outcome
// stays open, so that a replay looks first. Where turns are claimed, a receipt of
// the broker counts only for one that nobody claimed, which nobody began.
func undeliverable(m *queue.DeadMessage) ferry.Receipt {
	h := &m.HandOut
	rc := ferry.Receipt{
		ID: h.ID, Route: h.Route, Turn: h.Turn, Revision: h.Revision, Generation: h.Generation, Worker: "broker",
		Verdict: ferry.NotTried, Effect: ferry.EffectMaybe, Code: m.Reason,
		Text: strings.TrimSuffix("the queue set it aside: "+m.Description, ": "),
		Next: ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonUndeliverable, Doubt: h.Doubt || !h.Claims},
	}
	if h.Claims && !h.Doubt {
		rc.Effect = ferry.EffectNone
	}
	bound(&rc)
	return rc
}

// bringBackReceipts treats receipts that the queue set aside like any other.
func (b *Broker) bringBackReceipts(ctx context.Context, list []*queue.DeadReceipt) error {
	arrivals := make([]arrival, len(list))
	for i, d := range list {
		b.log.Warn("queue.setAside", "message", d.Receipt.ID, "turn", d.Receipt.Turn, "worker", d.Receipt.Worker, "reason", d.Reason, "receipt", true)
		arrivals[i] = arrival{&d.Receipt, d.From, d}
	}
	confirmed, err := b.commitBatch(ctx, arrivals)
	if err != nil {
		return err
	}
	b.acknowledge(ctx, arrivals, confirmed)
	return nil
}
