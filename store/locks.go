package store

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// Settled is what the ledger made of a receiver's word.
type Settled struct {
	ID ferry.ID
	// Until is when the lock ends now; zero unless it was renewed.
	Until time.Time
	// Repeated: the same was said under the same lock before.
	Repeated bool
	// Receipt is what it amounts to, and Outcome what became of it; nil when the lock
	// was renewed, or the word repeated.
	Receipt *ferry.Receipt
	Outcome Outcome
	// Delivery is what was received, for its span; with Receipt.
	Delivery ferry.HandOut
}

// Settle commits what a receiver says of a message that it received. Complete is
// a fact, and counts whatever became of the lock; the rest counts only while the
// message is locked under it. lockLost otherwise.
func (l *Ledger) Settle(ctx context.Context, s ferry.LockSettle, renewFor time.Duration, continueAfterDead func(route string) bool) (Settled, error) {
	var out Settled
	var late error // of a word that is kept all the same
	err := l.update(ctx, len(s.Result), func(tx *bbolt.Tx) error {
		r, d, err := l.delivered(tx, &s)
		if err != nil {
			return err
		}
		out, late = Settled{ID: r.ID, Delivery: l.deliveryOf(r, d)}, nil
		if r.EndedBy == d.token && (s.Do == ferry.LockComplete && r.State == ferry.StateCompleted || s.Do == ferry.LockReject && r.State == ferry.StateDeadLettered) {
			out.Repeated = true
			return nil
		}
		if s.Do == ferry.LockComplete {
			late, err = l.completeBy(tx, r, d, &s, &out, continueAfterDead)
			return err
		}
		if !r.heldBy(d.token) {
			return lockLost("its lock has ended, and it is " + string(l.shownState(r)))
		}
		switch s.Do {
		case ferry.LockRenew:
			return l.renew(tx, r, renewFor, &out)
		case ferry.LockReject:
			return l.rejectBy(tx, r, d, &s, &out, continueAfterDead)
		default:
			return l.unlock(tx, r, d, &s, &out, continueAfterDead)
		}
	})
	if err != nil {
		return Settled{}, err
	}
	return out, late
}

// completeBy completes a message that a receiver has done. The first result is
// what the receiver is told when it came too late for that.
func (l *Ledger) completeBy(tx *bbolt.Tx, r *record, d delivery, s *ferry.LockSettle, out *Settled, continueAfterDead func(string) bool) (late, err error) {
	rc := l.receiptOf(r, d, s.By, ferry.Delivered, ferry.EffectDone)
	rc.Reference, rc.Result, rc.Text, rc.ResultNote = s.Reference, s.Result, s.Text, s.ResultNote
	rc.Attempts[0].Reference, rc.Attempts[0].Text = s.Reference, s.Text
	if out.Outcome, err = l.apply(tx, rc, continueAfterDead); err != nil {
		return nil, err
	}
	out.Receipt = rc
	switch {
	case out.Outcome.Applied:
		return nil, l.endedBy(tx, r.ID, d.token)
	case out.Outcome.State == ferry.StateDiscarded:
		return ferry.Errorf(ferry.CodeConflict, "message %s was discarded: that it was done is kept, for a person to see", r.ID).
			WithHint("GET /v1/messages/%s shows the conflict", r.ID), nil
	default:
		return lockLost("its lock ended, and another completed it"), nil
	}
}

// rejectBy makes a dead letter of a message that a receiver cannot take.
func (l *Ledger) rejectBy(tx *bbolt.Tx, r *record, d delivery, s *ferry.LockSettle, out *Settled, continueAfterDead func(string) bool) (err error) {
	rc := l.receiptOf(r, d, s.By, ferry.Rejected, ferry.EffectNone)
	rc.Code, rc.Text = s.Code, s.Text
	rc.Attempts[0].Code, rc.Attempts[0].Text = s.Code, s.Text
	rc.Next = ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected, Doubt: r.Doubt}
	if out.Outcome, err = l.apply(tx, rc, continueAfterDead); err != nil {
		return err
	}
	out.Receipt = rc
	return l.endedBy(tx, r.ID, d.token)
}

// unlock gives a message back: the next turn, at once. It costs nothing, and says
// nothing of the lock any more.
func (l *Ledger) unlock(tx *bbolt.Tx, r *record, d delivery, s *ferry.LockSettle, out *Settled, continueAfterDead func(string) bool) (err error) {
	rc := l.receiptOf(r, d, s.By, ferry.NotTried, ferry.EffectNone)
	rc.Attempts, rc.Text = nil, s.By+" gave it back"
	rc.Next = ferry.Next{Do: ferry.DoRetry, Doubt: r.Doubt}
	if out.Outcome, err = l.apply(tx, rc, continueAfterDead); err != nil {
		return err
	}
	out.Receipt = rc
	return l.change(tx, r.ID, func(r *record) error { return l.forget(tx, r, d.token) })
}

func (l *Ledger) renew(tx *bbolt.Tx, r *record, renewFor time.Duration, out *Settled) error {
	h := *r.Holder
	until := l.clock().Add(renewFor)
	h.Until, out.Until = until.UnixNano(), l.DueAt(until).UTC()
	if err := l.holdUntil(tx, r, &h); err != nil {
		return err
	}
	return put(tx, r)
}

// lapse ends a lock whose receiver never said what became of the message: it may
// have done it. The message comes again, until that has happened too often.
func (l *Ledger) lapse(tx *bbolt.Tx, r *record, continueAfterDead func(string) bool) (*Lapsed, error) {
	token, err := ferry.ParseID(r.Holder.Nonce)
	if err != nil {
		return nil, fmt.Errorf("message %s: %w: its lock", r.ID, errDamaged)
	}
	d := delivery{token: token, turn: r.Turn, revision: r.Revision, generation: r.Generation}
	rc := l.receiptOf(r, d, r.Holder.Worker, ferry.Unknown, ferry.EffectMaybe)
	rc.Text = "its lock ended, and the receiver did not say what became of it"
	rc.Attempts[0].Text = rc.Text
	rc.Next = ferry.Next{Do: ferry.DoRetry, Doubt: true}
	if r.TakenOver >= r.Holder.Most {
		rc.Next = ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonUndeliverable, Doubt: true}
		rc.Text = fmt.Sprintf("received %d times, and never completed: it may exist at the destination", r.TakenOver)
	}
	if err := put(tx, r); err != nil { // with how often it was taken over
		return nil, err
	}
	lapsed := &Lapsed{Receipt: *rc, Delivery: l.deliveryOf(r, d)}
	if lapsed.Outcome, err = l.apply(tx, rc, continueAfterDead); err != nil {
		return nil, err
	}
	// Should a worker deliver it one day: that it proves absent costs no attempt.
	return lapsed, l.change(tx, r.ID, func(r *record) error {
		r.Elsewhere = true
		return nil
	})
}

// receiptOf is a receiver's word as a receipt, with the call that it tells of.
func (l *Ledger) receiptOf(r *record, d delivery, by string, verdict ferry.VerdictKind, effect ferry.Effect) *ferry.Receipt {
	span := ""
	if r.heldBy(d.token) {
		span = r.Holder.Span
	}
	return &ferry.Receipt{
		ID: r.ID, Route: l.peek(r.Route).Name, Turn: d.turn, Revision: d.revision, Generation: d.generation, Traceparent: span,
		Worker: by, Inbox: d.token.String(), Verdict: verdict, Effect: effect, Next: ferry.Next{Do: ferry.DoComplete},
		Attempts: []ferry.Attempt{{
			Turn: d.turn, Revision: d.revision, Generation: d.generation, Verdict: verdict, Effect: effect,
			// The token was made when the message was received.
			StartedAt: d.token.Time(), DurationMS: max(time.Since(d.token.Time()).Milliseconds(), 0),
		}},
	}
}

// deliveryOf is what a receiver was given, as a worker would have been.
func (l *Ledger) deliveryOf(r *record, d delivery) ferry.HandOut {
	h := l.handOut(l.peek(r.Route), r)
	h.Turn, h.Revision, h.Generation, h.Attempt = d.turn, d.revision, d.generation, r.Deliveries
	return h
}

// endedBy keeps under which lock a receiver ended the message, so that a repeat is
// known.
func (l *Ledger) endedBy(tx *bbolt.Tx, id, token ferry.ID) error {
	return l.change(tx, id, func(r *record) error {
		r.EndedBy = token
		return nil
	})
}

// change writes more of a record that was written before in the same commit.
func (l *Ledger) change(tx *bbolt.Tx, id ferry.ID, set func(r *record) error) error {
	r, err := get(tx, id)
	if err != nil || r == nil {
		return err
	}
	if err := set(r); err != nil {
		return err
	}
	return put(tx, r)
}
