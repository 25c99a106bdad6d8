package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/rules"
)

// maxRetryDelay bounds what a receipt may ask for: longer than any time to live
// that makes sense.
const maxRetryDelay = 366 * 24 * time.Hour

// maxSaid bounds what is kept of how a turn ended without a call, a poll's answer
// say, in bytes.
const maxSaid = 500

// Outcome is what the ledger made of a receipt.
type Outcome struct {
	ID    ferry.ID
	Turn  uint64
	Route string
	// Applied: the receipt ended its turn. Otherwise it was a repeat, or about an
	// earlier turn, and is only recorded.
	Applied bool
	State   ferry.State // afterwards; empty when the ledger does not have the message
	Reason  ferry.Reason
	// Conflict: the destination has a message that was discarded.
	Conflict bool
	Created  time.Time
	Called   bool // a call of the receipt was not known yet
}

const maxTraceparent = 55 // bytes of a span's name in W3C Trace Context

// ApplyReceipts commits receipts, in order, in one group. After it returns
// without error every one of them is on disk, counted or recorded, and may be
// confirmed. continueAfterDead names routes whose ordering keys go on behind a
// dead letter.
func (l *Ledger) ApplyReceipts(ctx context.Context, receipts []ferry.Receipt, continueAfterDead func(route string) bool) ([]Outcome, error) {
	outcomes := make([]Outcome, len(receipts))
	err := l.update(ctx, 0, func(tx *bbolt.Tx) error {
		for i := range receipts {
			var err error
			if outcomes[i], err = l.apply(tx, &receipts[i], continueAfterDead); err != nil {
				return fmt.Errorf("receipt of message %s: %w", receipts[i].ID, err)
			}
		}
		return nil
	})
	return outcomes, err
}

// apply commits one fact. "The destination has it" counts whatever the turn;
// any other receipt counts once, for the turn that is current.
func (l *Ledger) apply(tx *bbolt.Tx, rc *ferry.Receipt, continueAfterDead func(string) bool) (Outcome, error) {
	out := Outcome{ID: rc.ID, Turn: rc.Turn, Route: rc.Route}
	r, err := get(tx, rc.ID)
	if err != nil {
		// Nobody can do better later: let the receipt go, and say so.
		l.log.Error("a receipt about a message that cannot be read", "message", rc.ID, "verdict", rc.Verdict, "reference", rc.Reference, "error", err)
		return out, nil
	}
	if r == nil {
		return out, nil // retention removed it: the worker may forget it too
	}
	if name := l.peek(r.Route).Name; name != rc.Route {
		// Who sent it may speak for the route that it names, not for that of the message.
		l.log.Warn("a receipt names another route than its message has: it is dropped", "message", rc.ID, "route", name, "named", rc.Route, "worker", rc.Worker)
		return out, nil
	}
	out.Route, out.Created = l.row(r.Route).Name, timeOf(r.CreatedAt)
	now := time.Now().UTC()
	changed, err := l.addAttempts(tx, r, rc)
	if err != nil {
		return out, err
	}
	out.Called = changed
	if changed && rc.Traceparent != "" {
		r.LastSpan = head(rc.Traceparent, maxTraceparent)
	}
	switch {
	case rc.Verdict.HasIt() && (rules.On(rules.Facts) || r.State.Pending() && rc.Turn == r.Turn):
		switch {
		case r.State == ferry.StateCompleted:
			if r.DoneRev == 0 && rc.Revision != 0 {
				r.DoneRev, changed = rc.Revision, true
			}
		case r.State == ferry.StateDiscarded:
			out.Conflict = r.Conflict == "" || r.Conflict == mayHaveIt
			r.Doubt = true // should somebody restore it: look first
			r.Conflict = "the destination has it, although it was discarded: " + orUnnamed(rc.Reference)
			changed = true
		default:
			out.Applied, changed = true, true
			r.ResultNote = rc.ResultNote
			if err := l.complete(tx, r, rc.Reference, rc.Result, rc.Revision); err != nil {
				return out, err
			}
		}
	case r.State.Pending() && (rc.Turn == r.Turn || !rules.On(rules.Once)) && !r.Parked && l.peek(r.Route).mayReport(r, rc):
		out.Applied, changed = true, true
		if err := l.applyNext(tx, r, rc, now, continueAfterDead); err != nil {
			return out, err
		}
	}
	out.State = r.State
	if r.Dead != nil {
		out.Reason = r.Dead.Reason
	}
	if !changed {
		return out, nil
	}
	r.UpdatedAt = nsOf(now)
	return out, put(tx, r)
}

// head is the beginning of a text, at most so many bytes of whole characters.
func head(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

func orUnnamed(reference string) string {
	if reference == "" {
		return "no reference was given"
	}
	return "reference " + reference
}

// applyNext does what the worker's settle asked for.
func (l *Ledger) applyNext(tx *bbolt.Tx, r *record, rc *ferry.Receipt, now time.Time, continueAfterDead func(string) bool) error {
	if err := l.endTurn(tx, r); err != nil {
		return err
	}
	r.Said = ""
	if len(rc.Attempts) == 0 { // a call tells its own story
		r.Said = head(rc.Text, maxSaid)
	}
	r.Spent = max(r.Spent+rc.Next.Spends, 0)
	r.Doubt = rc.Next.Doubt
	if !r.Doubt {
		r.OpenRev, r.Elsewhere, r.NotBefore = false, false, 0
	}
	if len(rc.Attempts) > 0 {
		r.Elsewhere = false // what is open now is a known call's, and costs an attempt when it proves absent
	}
	r.Risk = false
	early, called := r.rejection(), len(rc.Attempts) > 0
	if early != nil && called && r.Awaiting.Turn != rc.Turn {
		early = nil // it speaks of an earlier call than this one
	}
	// Which of two calls a rejection speaks of may not be known.
	again := called && r.awaits()
	l.setAwaiting(r, r.awaitingAfter(rc, now))
	if endsEarly(early, rc) {
		return l.reject(tx, r, early, now, r.Doubt && again, continueAfterDead(l.row(r.Route).Name))
	}
	if l.stoodStill(r, rc, now) {
		r.HeldTurned, r.Said = l.peek(r.Route).by(now.UnixNano()), "its clock stood still while the route was held: it has not expired"
		return l.again(tx, r, now)
	}
	if rc.Next.Do == ferry.DoDeadLetter {
		reason := rc.Next.Reason
		if !reason.Valid() {
			reason = ferry.ReasonRejected
		}
		dead := &ferry.DeadLetter{Reason: reason, Code: rc.Code, Description: rc.Text, At: now}
		if reason == ferry.ReasonAttemptsExhausted {
			l.rejectedInTheEnd(tx, r, dead)
		}
		if reason == ferry.ReasonAlreadyExists {
			dead.Reference = rc.Reference
		}
		return l.setAside(tx, r, dead, continueAfterDead(l.row(r.Route).Name))
	}
	at := now.Add(min(max(rc.Next.After, 0), maxRetryDelay))
	if r.Doubt {
		r.NotBefore = nsOf(at)
	}
	return l.again(tx, r, at)
}

// again makes the record's next turn ready at a time.
func (l *Ledger) again(tx *bbolt.Tx, r *record, at time.Time) error {
	r.nextTurn()
	if err := l.move(tx, r, ferry.StateRetrying); err != nil {
		return err
	}
	return l.makeReady(tx, r, at)
}

// rejectedInTheEnd gives a dead letter the reason that it has: a message that was
// rejected while an earlier outcome was open uses up its attempts, so that the
// destination is asked before it is given up. Where the attempts cannot be read, the
// reason stays as it was told: one damaged entry must not hold up all receipts.
func (l *Ledger) rejectedInTheEnd(tx *bbolt.Tx, r *record, dead *ferry.DeadLetter) {
	list, err := attempts(tx, r.ID)
	if err != nil {
		l.log.Error("the attempts of a message cannot be read: its dead letter may have a better reason", "message", r.ID, "error", err)
	}
	if len(list) == 0 {
		return
	}
	last := list[len(list)-1]
	if last.Verdict == ferry.Rejected && last.Generation == r.Generation {
		dead.Reason, dead.Code, dead.Description = ferry.ReasonRejected, last.Code, last.Text
	}
}

// complete ends a message: the destination has it.
func (l *Ledger) complete(tx *bbolt.Tx, r *record, reference string, result []byte, rev int) error {
	if err := l.endTurn(tx, r); err != nil {
		return err
	}
	if err := l.forgetDead(tx, r); err != nil {
		return err
	}
	if err := l.move(tx, r, ferry.StateCompleted); err != nil {
		return err
	}
	r.Dead, r.Awaiting, r.Said = nil, nil, ""
	r.Reference, r.Result, r.DoneRev = reference, result, rev
	r.Doubt, r.OpenRev, r.Risk, r.Elsewhere, r.NotBefore = false, false, false, false, 0
	return l.leaveOrder(tx, r)
}

// addAttempts keeps the calls of the receipt's turn, once: a turn has at most
// one call, so the turn is its key.
func (l *Ledger) addAttempts(tx *bbolt.Tx, r *record, rc *ferry.Receipt) (added bool, err error) {
	b := appending(tx, bAttempts)
	for _, a := range rc.Attempts {
		key := attemptKey(r.ID, a.Turn)
		if b.Get(key) != nil {
			continue
		}
		if r.Attempts >= ferry.MaxAttemptsKept && bytes.Compare(key, oldestDroppable(b, r.ID)) < 0 {
			continue // it was counted, and dropped since
		}
		r.Attempts++
		a.Number = r.Attempts
		a.Worker = rc.Worker
		text, err := json.Marshal(a)
		if err != nil {
			return added, err
		}
		if err := b.Put(key, text); err != nil {
			return added, err
		}
		added = true
		if r.Attempts > ferry.MaxAttemptsKept {
			if err := b.Delete(oldestDroppable(b, r.ID)); err != nil {
				return added, err
			}
		}
	}
	return added, nil
}

func attemptKey(id ferry.ID, turn uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 24), id[:]...), turn)
}

// oldestDroppable is the key of the oldest attempt behind the first ones, which
// tell how it began and stay; nil when there are no more than those.
func oldestDroppable(b *bbolt.Bucket, id ferry.ID) []byte {
	c := b.Cursor()
	k, _ := c.Seek(id[:])
	for i := 0; i < ferry.AttemptsKeptFirst && k != nil; i++ {
		k, _ = c.Next()
	}
	if !bytes.HasPrefix(k, id[:]) {
		return nil
	}
	return bytes.Clone(k)
}

func attempts(tx *bbolt.Tx, id ferry.ID) ([]ferry.Attempt, error) {
	list := []ferry.Attempt{}
	c := tx.Bucket(bAttempts).Cursor()
	for k, v := c.Seek(id[:]); len(k) == 24 && ferry.ID(k[:16]) == id; k, v = c.Next() {
		var a ferry.Attempt
		if err := json.Unmarshal(v, &a); err != nil {
			return nil, fmt.Errorf("attempts of message %s: %w: %w", id, errDamaged, err)
		}
		list = append(list, a)
	}
	return list, nil
}
