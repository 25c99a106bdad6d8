package worker

import (
	"log/slog"
	"time"

	"ferry"
	"ferry/queue"
)

// finish settles the turn: the result goes into the inbox and the receipt to
// the broker, then the delivery is completed.
func (t *turn) finish(v ferry.Verdict, s situation) {
	crashes := 0
	if t.rec != nil && t.rec.generation == t.h.Generation {
		crashes = t.rec.crashes
	}
	t.finishCrashed(v, s, crashes)
}

func (t *turn) finishCrashed(v ferry.Verdict, s situation, crashes int) {
	now := time.Now()
	s.route, s.resolved = &t.r.Route, t.resolved
	s.open = s.open || t.plan.open
	s.awaits, s.statusURL = t.plan.awaits, t.plan.statusURL
	if t.plan.awaits {
		s.awaited = now.Sub(t.h.AwaitedAt)
	}
	s.soon = t.w.soon()
	back := t.reckon(&s)
	if s.settleTime == 0 {
		s.settleTime = t.r.SettleTime
	}
	next := settle(v, s)
	next.Spends -= back
	t.span.Settled(&v, &next)
	receipt := t.receipt(v, next)
	rec := t.resultRecord(v, next, now)
	rec.crashes = crashes
	rec.receipt = queue.EncodeReceipt(&receipt)

	// The two may overlap. Lost with its record, a receipt that arrives is a fact
	// all the same, and the turn, found begun, is waited out and looked up; it
	// counts for the ledger no more. Only completing has to wait for both.
	t.w.inbox.expect(t.h.ID, t.h.Turn)
	told := t.w.teller.begin(receipt)
	putErr := t.w.inbox.put(t.w.ioCtx, t.h.ID, rec)
	done := t.parting(putErr)
	defer done()
	tellErr := t.w.teller.end(told)
	t.log(v, next, now)
	t.r.meter.verdict(v.Kind)
	switch {
	case putErr != nil:
		t.fault("inbox.write", putErr)
	case tellErr != nil:
		// On record: it is told again when the delivery comes back.
		t.fault("receipt.send", tellErr)
	default:
		t.w.complete(t.d)
	}
}

// partingAtOnce bounds the deliveries of a worker, beside those in hand, of which
// only the receipt is to be sent and the delivery to be completed.
const partingAtOnce = 1024

// parting frees the delivery's hand once its result is on disk: what is left is
// waiting for the queue, two round trips or more, and no reason to leave the
// destination without work. Where too many wait the hand stays taken, so that a queue
// which takes no receipts is not received from any more.
func (t *turn) parting(putErr error) (done func()) {
	if putErr != nil {
		return func() {}
	}
	select {
	case t.w.parting <- struct{}{}:
		t.freeHand()
		return func() { <-t.w.parting }
	default:
		return func() {}
	}
}

func (t *turn) receipt(v ferry.Verdict, next ferry.Next) ferry.Receipt {
	receipt := ferry.Receipt{
		ID: t.h.ID, Route: t.h.Route, Turn: t.h.Turn, Revision: t.provenRevision(v), Generation: t.h.Generation,
		Worker: t.w.opts.Name, Inbox: t.w.inbox.identity,
		Verdict: v.Kind, Effect: v.Effect, Reference: v.Reference, Result: v.Result, Code: v.Code, Text: v.Text,
		Next: next, Traceparent: t.span.Context().Parent,
	}
	if t.attempt != nil {
		receipt.Attempts = []ferry.Attempt{*t.attempt}
	}
	return receipt
}

// provenRevision is the revision that the verdict speaks of, 0 when a document
// is there and nobody can say of which.
func (t *turn) provenRevision(v ferry.Verdict) int {
	if v.Kind.HasIt() && (t.plan.other || v.Kind == ferry.Duplicate && t.h.Revision > 1) {
		return 0
	}
	return t.h.Revision
}

func (t *turn) resultRecord(v ferry.Verdict, next ferry.Next, now time.Time) *record {
	rec := &record{
		state: result, turn: t.h.Turn, revision: t.h.Revision, generation: t.h.Generation,
		hasIt: v.Kind.HasIt(), begunAt: t.begunAt, deadline: t.deadline, callEnded: now,
	}
	if !next.Doubt {
		return rec
	}
	t.carry(rec)
	earlier, earlierRevision := rec.doubt, rec.doubtRevision
	switch {
	case v.Effect == ferry.EffectMaybe && t.attempt != nil:
		// This turn's own call is the latest that may still be written.
		rec.own, rec.free, rec.doubtRevision = true, t.free, t.h.Revision
		if earlier && earlierRevision != t.h.Revision || t.h.OpenRevision {
			rec.doubtRevision = 0
		}
		if t.plan.action != actCrashed {
			rec.callEnded = now
		}
	case !earlier:
		// Open elsewhere: the ledger told, and will tell again.
		rec.doubtRevision = t.h.Revision
		if t.h.OpenRevision {
			rec.doubtRevision = 0
		}
		rec.callEnded = later(t.h.NotBefore, now).Add(-t.r.writesFor())
	}
	rec.doubt = true
	return rec
}

// log writes the one wide line of a turn.
func (t *turn) log(v ferry.Verdict, next ferry.Next, now time.Time) {
	what, level := "delivery.attempted", slog.LevelInfo
	if t.attempt == nil {
		what = "delivery.settled"
	}
	if next.Do == ferry.DoDeadLetter {
		level = slog.LevelWarn
	}
	if !t.w.log.Enabled(t.w.ioCtx, level) {
		return
	}
	attrs := make([]slog.Attr, 0, 20)
	attrs = append(attrs,
		slog.String("route", t.r.Name), slog.String("message", t.h.ID.String()), slog.Uint64("turn", t.h.Turn),
		slog.Int("attempt", t.h.Attempt), slog.Int("revision", t.h.Revision), slog.Int("generation", t.h.Generation),
		slog.String("verdict", string(v.Kind)), slog.String("effect", string(v.Effect)), slog.Int("status", v.Status),
		slog.String("next", string(next.Do)), slog.String("destination", t.r.Destination.opts.Name),
		slog.String("worker", t.w.opts.Name),
	)
	if t.attempt != nil {
		attrs = append(attrs, slog.Int64("durationMs", t.attempt.DurationMS))
	}
	if next.After > 0 {
		attrs = append(attrs, slog.Duration("after", next.After))
	}
	for _, a := range []slog.Attr{
		slog.String("reason", string(next.Reason)), slog.String("code", v.Code),
		slog.String("reference", v.Reference), slog.String("text", cut(v.Text, 200)),
		slog.String("correlationId", t.h.CorrelationID),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	t.w.log.LogAttrs(t.w.ioCtx, level, what, attrs...)
}
