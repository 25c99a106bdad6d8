package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/rules"
)

// maxActs bounds what is kept of a message's acts; the audit log has all.
const maxActs = 20

// revision is a new body for a message.
type revision struct {
	body        []byte // of one that the ledger itself holds
	size        int64
	hash        [sha256.Size]byte
	contentType string
	from        *prepared // has the file of a large one
	bySender    bool      // it came as a message: see record.Version and SentHash

	// Of one that its sender sent.
	deliverAt time.Time
	expiresAt int64 // Unix ns; 0: as it is
}

// Replay makes a dead letter ready again: same id, next generation. With a
// body it becomes the next revision; earlier ones are kept.
func (l *Ledger) Replay(ctx context.Context, id ferry.ID, body []byte, contentType, note, by string) error {
	act := ferry.Act{Act: "replay", By: by, At: time.Now().UTC(), Note: note}
	if body == nil {
		return l.replay(ctx, id, nil, act)
	}
	act.Act = "edit"
	p := prepared{msg: ferry.Message{ID: ferry.NewID(act.At), Body: body}}
	rev := &revision{body: body, size: int64(len(body)), hash: sha256.Sum256(body), contentType: contentType, from: &p}
	err := l.placeBody(&p)
	if err == nil {
		err = l.replay(ctx, id, rev, act)
	}
	l.leaveBody(&p, err == nil, err)
	return err
}

func (l *Ledger) replay(ctx context.Context, id ferry.ID, rev *revision, act ferry.Act) error {
	size := 0
	if rev != nil {
		size = len(rev.body)
	}
	return l.act(ctx, id, size, act, func(tx *bbolt.Tx, r *record) error {
		if r.State != ferry.StateDeadLettered {
			return notDeadLettered(l, r)
		}
		if rev != nil && r.Revision >= maxRevisions {
			return ferry.Errorf(ferry.CodeConflict, "message %s has %d revisions already", r.ID, r.Revision).
				WithHint("discard it and send the corrected body as a new message")
		}
		return l.revive(tx, r, rev, act, handled{})
	})
}

func notDeadLettered(l *Ledger, r *record) error {
	state := l.shownState(r)
	hint := "only dead letters can be replayed, edited or accepted"
	if state == ferry.StateDiscarded {
		hint = "restore it first: broker dlq restore " + r.ID.Short()
	}
	return ferry.Errorf(ferry.CodeNotDeadLettered, "message %s is %s, not dead-lettered", r.ID, state).WithHint("%s", hint)
}

// act runs one operator's act on one message, with its audit entry.
func (l *Ledger) act(ctx context.Context, id ferry.ID, size int, act ferry.Act, do func(tx *bbolt.Tx, r *record) error) error {
	return l.update(ctx, size+1024, func(tx *bbolt.Tx) error {
		r, err := must(tx, id)
		if err != nil {
			return err
		}
		if err := do(tx, r); err != nil {
			return err
		}
		return l.audit(ctx, tx, ferry.AuditEntry{At: act.At, By: act.By, Act: act.Act, Target: "message " + id.String(), Detail: l.actDetail(r, act.Act), Note: act.Note})
	})
}

// actDetail is what the audit log says of an act beside its name: the message may
// be gone long before the entry is read.
func (l *Ledger) actDetail(r *record, act string) string {
	text := "route " + l.row(r.Route).Name
	switch act {
	case "edit":
		text += fmt.Sprintf(", revision %d", r.Revision)
	case "accept":
		text += ", reference " + r.Reference
	}
	return text
}

// revive makes a dead letter (or, for onConflict=replace, a discarded message)
// ready as its next turn and generation.
func (l *Ledger) revive(tx *bbolt.Tx, r *record, rev *revision, act ferry.Act, by handled) error {
	dead := r.Dead
	r.Handled = handled{} // what an operation made of it before is over, and counted
	if err := l.forgetDead(tx, r); err != nil {
		return err
	}
	if err := l.move(tx, r, ferry.StateAccepted); err != nil {
		return err
	}
	if rev != nil {
		if err := l.revise(tx, r, rev); err != nil {
			return err
		}
	}
	r.nextTurn()
	r.Generation++
	r.Spent, r.TakenOver, r.Deliveries = 0, 0, 0
	// A person who replays an unknown outcome has been told that it may already
	// exist, and answers for this one turn.
	r.Risk = dead != nil && dead.Reason == ferry.ReasonOutcomeUnknown
	if dead != nil && dead.Reason == ferry.ReasonExpired || l.peek(r.Route).expired(r, time.Now().UnixNano()) {
		r.ExpiresAt = 0 // somebody wants it delivered, however late
	}
	if rev != nil && rev.expiresAt != 0 {
		r.ExpiresAt, r.HeldThen = rev.expiresAt, l.peek(r.Route).by(act.At.UnixNano())
	}
	r.Dead, r.Discarded, r.Conflict = nil, nil, ""
	r.Handled = by
	l.setAwaiting(r, nil) // whatever it was: it is sent again
	addAct(r, act)
	if err := l.makeReady(tx, r, rev.ready()); err != nil {
		return err
	}
	return put(tx, r)
}

// revise gives the record another body. An open outcome is then that of an
// earlier revision: a document that a lookup finds may not be this one.
func (l *Ledger) revise(tx *bbolt.Tx, r *record, rev *revision) error {
	r.Revision++
	r.BodyHash = append(r.BodyHash, rev.hash[:]...)
	r.Size = rev.size
	r.OpenRev = r.OpenRev || r.Doubt
	if rev.contentType != "" {
		r.ContentType = rev.contentType
	}
	if rev.bySender { // another form than the one before may have been sent
		r.Version, r.As = rev.from.msg.Version, rev.from.msg.As
		r.noteSent(rev.from.msg.SentHash)
	}
	if rev.size <= ferry.InlineBody {
		return l.putBody(tx, r.ID, r.Revision, rev.body)
	}
	rev.from.renamed = l.bodyPath(r.ID, r.Revision)
	l.naming.Lock()
	defer l.naming.Unlock()
	l.placed.add(rev.from.renamed, 0)
	if err := l.moveBody(rev.from.file, rev.from.renamed); err != nil {
		return fmt.Errorf("place a body: %w", err)
	}
	return nil
}

func addAct(r *record, act ferry.Act) {
	r.Acts = append(r.Acts, act)
	if len(r.Acts) > maxActs {
		r.Acts = r.Acts[len(r.Acts)-maxActs:]
	}
	r.UpdatedAt = nsOf(act.At)
}

// AcceptDead ends a dead letter as completed: a person found it at the
// destination, under reference.
func (l *Ledger) AcceptDead(ctx context.Context, id ferry.ID, reference, note, by string) error {
	act := ferry.Act{Act: "accept", By: by, At: time.Now().UTC(), Note: note}
	return l.act(ctx, id, 0, act, func(tx *bbolt.Tx, r *record) error {
		if r.State != ferry.StateDeadLettered {
			return notDeadLettered(l, r)
		}
		addAct(r, act)
		if err := l.complete(tx, r, reference, nil, 0); err != nil {
			return err
		}
		return put(tx, r)
	})
}

// mayHaveIt is shown of a message that was discarded while an outcome was open.
const mayHaveIt = "an earlier call may have been written: the destination may have it, although it was discarded"

// Discard ends a dead letter, or a pending message that no worker can hold,
// without delivering it. Restore takes it back.
func (l *Ledger) Discard(ctx context.Context, id ferry.ID, note, by string) error {
	act := ferry.Act{Act: "discard", By: by, At: time.Now().UTC(), Note: note}
	return l.act(ctx, id, 0, act, func(tx *bbolt.Tx, r *record) error {
		if err := l.mayDiscard(r); err != nil {
			return err
		}
		return l.discard(tx, r, act, handled{})
	})
}

func (l *Ledger) mayDiscard(r *record) error {
	switch {
	case r.State == ferry.StateDeadLettered:
	case !r.State.Pending():
		return ferry.Errorf(ferry.CodeConflict, "message %s is %s", r.ID, r.State).
			WithHint("only dead letters and waiting messages can be discarded")
	case l.peek(r.Route).mayBeHeld(r) && rules.On(rules.Acts):
		return ferry.Errorf(ferry.CodeInDelivery, "message %s is in delivery: a worker may be posting it now", r.ID).
			WithHint("try again when it is a dead letter, or waits for its next attempt")
	}
	return nil
}

// discard ends a message that mayDiscard allows.
func (l *Ledger) discard(tx *bbolt.Tx, r *record, act ferry.Act, by handled) error {
	if err := l.forgetDead(tx, r); err != nil {
		return err
	}
	if r.State.Pending() && r.Doubt {
		r.Conflict = mayHaveIt // its receipt may have come after the person looked
	}
	if err := l.endTurn(tx, r); err != nil {
		return err
	}
	if err := l.move(tx, r, ferry.StateDiscarded); err != nil {
		return err
	}
	if !by.Operation.IsZero() {
		r.Handled = by
	}
	r.Discarded, r.Ordered = &act, r.OrderSeq != 0
	addAct(r, act)
	if err := l.leaveOrder(tx, r); err != nil {
		return err
	}
	return put(tx, r)
}

// Restore undoes a discard: a dead letter is one again, a waiting message waits again.
func (l *Ledger) Restore(ctx context.Context, id ferry.ID, note, by string) error {
	act := ferry.Act{Act: "restore", By: by, At: time.Now().UTC(), Note: note}
	err := l.act(ctx, id, 0, act, func(tx *bbolt.Tx, r *record) error {
		if err := l.mayRestore(r); err != nil {
			return err
		}
		return l.restore(tx, r, act)
	})
	if ferry.CodeOf(err) == ferry.CodeMessageNotFound {
		return ferry.Errorf(ferry.CodeMessageNotFound, "there is no message %s: what was discarded can be restored until its retention ends, then it is gone", id).
			WithHint("broker audit has who discarded it and why; the sender may send it again")
	}
	return err
}

func (l *Ledger) mayRestore(r *record) error {
	if r.State != ferry.StateDiscarded {
		return ferry.Errorf(ferry.CodeNotDiscarded, "message %s is %s, not discarded", r.ID, l.shownState(r))
	}
	return nil
}

// restore takes back the discard of a message that mayRestore allows.
func (l *Ledger) restore(tx *bbolt.Tx, r *record, act ferry.Act) error {
	r.Discarded = nil
	if r.Conflict == mayHaveIt {
		r.Conflict = "" // it is looked up
	}
	addAct(r, act)
	if r.Dead != nil {
		dead := *r.Dead
		dead.At = act.At // it waits anew, else retention might take it at once
		if err := l.setAside(tx, r, &dead, false); err != nil {
			return err
		}
		if r.Ordered {
			if _, err := l.joinOrder(tx, r); err != nil {
				return err
			}
		}
		return put(tx, r)
	}
	if err := l.move(tx, r, ferry.StateAccepted); err != nil {
		return err
	}
	r.nextTurn()
	if err := l.makeReady(tx, r, timeOf(r.DeliverAt)); err != nil {
		return err
	}
	return put(tx, r)
}

// Expired is a message whose time to live ended in the ledger.
type Expired struct {
	ID                      ferry.ID
	Route                   string
	Traceparent, Tracestate string // of the message
}

func expiredOf(row *routeRow, r *record) Expired {
	return Expired{ID: r.ID, Route: row.Name, Traceparent: r.Traceparent, Tracestate: r.Tracestate}
}

// Expire sets aside messages whose time to live ended while no worker could
// hold them and no outcome is open. It returns which.
func (l *Ledger) Expire(ctx context.Context, ids []ferry.ID, continueAfterDead func(string) bool) ([]Expired, error) {
	var list []Expired
	err := l.update(ctx, 0, func(tx *bbolt.Tx) error {
		list = list[:0]
		now := time.Now().UTC()
		for _, id := range ids {
			r, err := get(tx, id)
			if err != nil {
				l.log.Error("a message cannot be read: it cannot expire", "message", id, "error", err)
				continue
			}
			if r == nil {
				continue // removed meanwhile
			}
			if row := l.row(r.Route); !r.State.Pending() || !row.expired(r, now.UnixNano()) || row.looksFirst(r) || row.mayBeHeld(r) && rules.On(rules.Acts) {
				continue
			}
			if err := l.expire(tx, r, now, continueAfterDead); err != nil {
				return err
			}
			list = append(list, expiredOf(l.peek(r.Route), r))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// looksFirst says whether the destination is asked before the record ends: an
// outcome is open. Receivers are not asked.
func (row *routeRow) looksFirst(r *record) bool { return r.Doubt && !row.Pull }

// expire sets aside a record whose time to live has ended and that nobody holds.
func (l *Ledger) expire(tx *bbolt.Tx, r *record, now time.Time, continueAfterDead func(string) bool) error {
	if err := l.endTurn(tx, r); err != nil {
		return err
	}
	ended := "its time to live ended at " + timeOf(l.peek(r.Route).expiry(r, now.UnixNano())).Format(time.RFC3339)
	dead := &ferry.DeadLetter{Reason: ferry.ReasonExpired, At: now, Description: ended + ", before it could be delivered"}
	if r.Doubt {
		dead.Description = ended + "; an earlier receiver may have done it, and never said so"
	}
	if err := l.setAside(tx, r, dead, continueAfterDead(l.row(r.Route).Name)); err != nil {
		return err
	}
	r.UpdatedAt = nsOf(now)
	return put(tx, r)
}
