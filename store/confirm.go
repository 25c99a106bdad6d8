package store

import (
	"bytes"
	"context"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// awaiting is what a message waits for whose destination took it and says later
// what became of it.
type awaiting struct {
	StatusURL string `json:"statusUrl,omitempty"` // where to ask; empty: it calls back
	Since     int64  `json:"since"`               // Unix ns; 0: nothing is awaited, only Early is kept
	// What the last poll came to, for people.
	Asked int64  `json:"asked,omitempty"` // Unix ns
	Said  string `json:"said,omitempty"`
	// Early is a rejection that came while a worker could hold the message: it takes
	// effect with the receipt of the turn. It stays when it ended the message, so
	// that a repeat is known.
	Early *ferry.Confirmation `json:"early,omitempty"`
	Turn  uint64              `json:"turn,omitempty"` // in which Early came
}

// awaits says whether the destination took the record's message, or may have,
// and is to say later what became of it.
func (r *record) awaits() bool { return r.Awaiting != nil && r.Awaiting.Since != 0 }

// rejection is what the destination said by itself of a message that it does not
// take, nil when it did not.
func (r *record) rejection() *ferry.Confirmation {
	if r.Awaiting == nil {
		return nil
	}
	return r.Awaiting.Early
}

// setAwaiting replaces what the record waits for, and counts it.
func (l *Ledger) setAwaiting(r *record, a *awaiting) {
	before := r.awaits()
	r.Awaiting = a
	if !r.State.Pending() || before == r.awaits() {
		return
	}
	if before {
		l.row(r.Route).Awaiting--
	} else {
		l.row(r.Route).Awaiting++
	}
}

// awaitingAfter is what the record waits for after a receipt: anew from a call,
// still the same after a poll.
func (r *record) awaitingAfter(rc *ferry.Receipt, now time.Time) *awaiting {
	if !rc.Next.Awaits || rc.Next.Do != ferry.DoRetry {
		return nil
	}
	a := &awaiting{StatusURL: rc.Next.StatusURL, Since: nsOf(now)}
	if r.awaits() && len(rc.Attempts) == 0 {
		a.Since, a.Asked, a.Said = r.Awaiting.Since, nsOf(now), head(rc.Text, maxSaid)
	}
	return a
}

// Confirmed is what the ledger made of a confirmation.
type Confirmed struct {
	Outcome
	// Kept: a worker may hold the message, so that the rejection takes effect with
	// the receipt of its turn.
	Kept bool
}

// Confirm commits what a destination says of a message that it took. Delivered
// is a fact and counts whatever the turn. Rejected counts while nobody can be at
// work on the message; else it is kept for the receipt of the turn. call
// fences a rejection that was meant for an earlier one; zero does not. A repeat
// changes nothing; another outcome than the one before is a conflict. audited:
// it is an operator's act.
func (l *Ledger) Confirm(ctx context.Context, id ferry.ID, call ferry.CallOf, c ferry.Confirmation, by string, audited bool, continueAfterDead func(string) bool) (Confirmed, error) {
	var out Confirmed
	act := ferry.Act{Act: "confirm", By: by, At: time.Now().UTC(), Note: noteOf(c)}
	err := l.update(ctx, 1024, func(tx *bbolt.Tx) error {
		r, err := must(tx, id)
		if err != nil {
			return err
		}
		out = Confirmed{Outcome: Outcome{ID: id, Turn: r.Turn, Route: l.row(r.Route).Name, State: r.State, Created: timeOf(r.CreatedAt)}}
		repeated, err := l.repeated(tx, r, call, c)
		if err != nil || repeated {
			return err
		}
		addAct(r, act)
		if c.Delivered {
			err = l.confirmDelivered(tx, r, c, &out, continueAfterDead)
		} else {
			err = l.confirmRejected(tx, r, call, c, &out, act.At, continueAfterDead)
		}
		if err != nil || !audited {
			return err
		}
		return l.audit(ctx, tx, ferry.AuditEntry{At: act.At, By: by, Act: act.Act, Target: "message " + id.String(), Detail: l.actDetail(r, act.Act), Note: act.Note})
	})
	return out, err
}

func noteOf(c ferry.Confirmation) string {
	parts := []string{"rejected", c.Code, c.Text}
	if c.Delivered {
		parts = []string{"delivered", c.Reference, c.Text}
	}
	note := strings.Join(parts, " ")
	if len(note) > ferry.MaxNoteLength {
		note = strings.ToValidUTF8(note[:ferry.MaxNoteLength], "")
	}
	return strings.TrimSpace(note)
}

// repeated says whether the message has ended so already, or will; an error says
// that the confirmation contradicts what is known. Nothing is written here.
func (l *Ledger) repeated(tx *bbolt.Tx, r *record, call ferry.CallOf, c ferry.Confirmation) (bool, error) {
	if c.Delivered {
		// While another call than the rejected one is open, it is about that one.
		if r.rejection() != nil && r.State != ferry.StateDiscarded && !r.Doubt {
			return false, conflicting(r, "the destination rejected it before")
		}
		return r.State == ferry.StateCompleted, nil
	}
	switch {
	case r.State == ferry.StateCompleted, r.State == ferry.StateDiscarded:
		return false, conflicting(r, "it is "+string(r.State))
	case r.rejection() != nil:
		return true, nil
	case call.Generation != 0 && call.Generation != r.Generation, call.Turn != 0 && calledAfter(tx, r.ID, call.Turn):
		return false, conflicting(r, "it was sent again since")
	case r.State == ferry.StateDeadLettered && r.Dead.Reason == ferry.ReasonRejected:
		return true, nil
	case r.State == ferry.StateDeadLettered && !r.Doubt,
		r.State.Pending() && !r.awaits() && !r.Doubt && !l.row(r.Route).mayBeHeld(r):
		return false, conflicting(r, "no answer of the destination is outstanding")
	}
	return false, nil
}

// calledAfter says whether a call of a later turn is known.
func calledAfter(tx *bbolt.Tx, id ferry.ID, turn uint64) bool {
	c := tx.Bucket(bAttempts).Cursor()
	k, _ := c.Seek(attemptKey(id, turn+1))
	return bytes.HasPrefix(k, id[:])
}

func conflicting(r *record, why string) *ferry.Error {
	return ferry.Errorf(ferry.CodeConflict, "message %s cannot be confirmed so: %s", r.ID, why).
		WithHint("GET /v1/messages/%s shows what became of it", r.ID)
}

func (l *Ledger) confirmDelivered(tx *bbolt.Tx, r *record, c ferry.Confirmation, out *Confirmed, continueAfterDead func(string) bool) error {
	if err := put(tx, r); err != nil { // with the act
		return err
	}
	revision := 0 // which one it has, it does not say
	if r.Revision == 1 {
		revision = 1
	}
	var err error
	out.Outcome, err = l.apply(tx, &ferry.Receipt{
		ID: r.ID, Route: out.Route, Turn: r.Turn, Revision: revision, Generation: r.Generation,
		Verdict: ferry.Delivered, Effect: ferry.EffectDone, Reference: c.Reference, Text: c.Text,
		Next: ferry.Next{Do: ferry.DoComplete},
	}, continueAfterDead)
	return err
}

func (l *Ledger) confirmRejected(tx *bbolt.Tx, r *record, call ferry.CallOf, c ferry.Confirmation, out *Confirmed, now time.Time, continueAfterDead func(string) bool) error {
	var err error
	switch {
	case r.State == ferry.StateDeadLettered:
		err = l.refile(tx, r, &c, now)
	case l.row(r.Route).mayBeHeld(r):
		a := awaiting{}
		if r.Awaiting != nil {
			a = *r.Awaiting
		}
		a.Early, a.Turn, out.Kept = &c, r.Turn, true
		if call.Turn != 0 {
			a.Turn = call.Turn
		}
		l.setAwaiting(r, &a)
	default:
		if err = l.endTurn(tx, r); err == nil {
			err = l.reject(tx, r, &c, now, false, continueAfterDead(out.Route))
		}
	}
	if err != nil {
		return err
	}
	out.Applied, out.State = !out.Kept, r.State
	if r.Dead != nil {
		out.Reason = r.Dead.Reason
	}
	return put(tx, r)
}

// reject ends a pending message whose turn has ended: the destination said that
// it does not take it. doubt: another call than the one it speaks of is open.
func (l *Ledger) reject(tx *bbolt.Tx, r *record, c *ferry.Confirmation, now time.Time, doubt, onward bool) error {
	l.setAwaiting(r, &awaiting{Early: c})
	r.settleDoubt(doubt)
	return l.setAside(tx, r, rejectedBy(c, now), onward)
}

// refile gives a dead letter of which the outcome was open another reason.
func (l *Ledger) refile(tx *bbolt.Tx, r *record, c *ferry.Confirmation, now time.Time) error {
	if err := l.forgetDead(tx, r); err != nil {
		return err
	}
	dead := rejectedBy(c, now)
	if err := l.joinGroup(tx, r, dead); err != nil {
		return err
	}
	l.count(tx, r, -1) // the counts go by reason
	r.Dead = dead
	l.count(tx, r, +1)
	l.setAwaiting(r, &awaiting{Early: c})
	r.settleDoubt(false)
	return listDead(tx, r)
}

// settleDoubt closes the outcome that a rejection speaks of; that of an earlier
// revision stays open.
func (r *record) settleDoubt(doubt bool) {
	r.Doubt = doubt || r.OpenRev
	r.Risk = false
	if !r.Doubt {
		r.Elsewhere, r.NotBefore = false, 0
	}
}

func rejectedBy(c *ferry.Confirmation, now time.Time) *ferry.DeadLetter {
	text := c.Text
	if text == "" {
		text = "the destination said later that it does not take it"
	}
	return &ferry.DeadLetter{Reason: ferry.ReasonRejected, Code: c.Code, Description: text, At: now}
}

// endsEarly says whether a rejection that came before the receipt rc ends it.
// It gives way where the receipt sets the message aside for another reason.
func endsEarly(early *ferry.Confirmation, rc *ferry.Receipt) bool {
	return early != nil && (rc.Next.Do == ferry.DoRetry || rc.Next.Reason == ferry.ReasonOutcomeUnknown)
}

// shownAwaiting is what people see of it.
func (r *record) shownAwaiting() *ferry.Awaiting {
	if !r.awaits() || !r.State.Pending() {
		return nil
	}
	a := &ferry.Awaiting{Since: timeOf(r.Awaiting.Since), StatusURL: r.Awaiting.StatusURL, Said: r.Awaiting.Said}
	if r.Awaiting.Asked != 0 {
		t := timeOf(r.Awaiting.Asked)
		a.AskedAt = &t
	}
	return a
}
