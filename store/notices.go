package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// Who is told the end of a message: who asked with it, by a queue to reply to or
// an address to call back, and who subscribed. Each gets a notice in the commit
// that ends the message.

// callback is an address that is told how the message ends.
type callback struct {
	URL string `json:"url"`           // often a secret
	Key string `json:"key,omitempty"` // the id of the key that asked: its secret signs
}

// ask notes whom a message, or a repeat of it, asks to be told. It says whether
// anything is new, and whether an address is.
func (r *record) ask(m *ferry.Message) (changed, fresh bool) {
	if to := m.ReplyTo; to != nil && (r.ReplyTo == nil || *r.ReplyTo != *to) {
		r.ReplyTo, changed = to, true
	}
	if m.CallbackURL == "" || slices.ContainsFunc(r.Callbacks, func(c callback) bool { return c.URL == m.CallbackURL }) {
		return changed, false
	}
	if n := len(r.Callbacks); n >= ferry.MaxCallbacksPerMessage {
		r.Callbacks = slices.Clone(r.Callbacks[n-ferry.MaxCallbacksPerMessage+1:])
	}
	r.Callbacks = append(r.Callbacks, callback{URL: m.CallbackURL, Key: m.Sender.KeyID})
	return true, true
}

// calls says whether nothing is left to be done for who asks to be told at the
// address: none, or one that was or will be told.
func (r *record) calls(url string) bool {
	return url == "" || !r.Untold && slices.ContainsFunc(r.Callbacks, func(c callback) bool { return c.URL == url })
}

// noticeOf is the notice of the record's end, for nobody yet.
func noticeOf(r *record, event ferry.ID) ferry.Notice {
	n := ferry.Notice{Event: event, ID: r.ID, Generation: r.Generation, State: r.State, At: time.Now().UTC()}
	if r.State == ferry.StateDeadLettered {
		n.Dead = r.Dead
	}
	return n
}

// putNotices writes the notices of an end that the record has just come to, which
// is known by the event. The caller writes the record.
func (l *Ledger) putNotices(tx *bbolt.Tx, r *record, event ferry.ID) error {
	r.Untold = false
	if r.ReplyTo == nil && len(r.Callbacks) == 0 && len(l.subs.byEvent[ferry.EventOf(r.State)]) == 0 {
		return nil
	}
	n := noticeOf(r, event)
	if err := l.putReply(tx, r, n); err != nil {
		return err
	}
	for _, c := range r.Callbacks {
		if err := l.putCallback(tx, r, n, c); err != nil {
			return err
		}
	}
	return l.putSubscribed(tx, r, n)
}

func (l *Ledger) putReply(tx *bbolt.Tx, r *record, n ferry.Notice) error {
	if r.ReplyTo == nil {
		return nil
	}
	n.To = ferry.NoticeTarget{Kind: r.ReplyTo.Kind, Route: l.peek(r.Route).Name, Target: r.ReplyTo.Target}
	n.ReplyTo = *r.ReplyTo
	_, err := l.writeNotice(tx, n)
	return err
}

func (l *Ledger) putCallback(tx *bbolt.Tx, r *record, n ferry.Notice, c callback) error {
	n.To = ferry.NoticeTarget{Kind: ferry.ReplyCallback, Route: l.peek(r.Route).Name, Target: ferry.MaskURL(c.URL)}
	n.URL, n.Asker = c.URL, c.Key
	written, err := l.writeNotice(tx, n)
	r.Untold = r.Untold || !written
	return err
}

// putSubscribed writes a notice for each subscription that the end is told to.
func (l *Ledger) putSubscribed(tx *bbolt.Tx, r *record, n ferry.Notice) error {
	route := l.peek(r.Route).Name
	for _, s := range l.subs.byEvent[ferry.EventOf(r.State)] {
		if !l.hears(s, route, n.At) {
			continue
		}
		n.To, n.Route = s.target(), route
		if _, err := l.writeNotice(tx, n); err != nil {
			return err
		}
	}
	return nil
}

// writeNotice writes a notice, if there is room. Too many that wait must not keep messages
// from ending: what there is no room for is lost, and the audit log says so once.
func (l *Ledger) writeNotice(tx *bbolt.Tx, n ferry.Notice) (bool, error) {
	if !l.roomFor(&n) {
		return false, l.loseNotice(tx, &n)
	}
	b := tx.Bucket(bOutbox)
	seq, err := b.NextSequence()
	if err != nil {
		return false, err
	}
	d := &l.group.notices
	d.count(&n, +1)
	d.fresh = append(d.fresh, n.To)
	return true, putJSON(tx, bOutbox, noticeKey(n.To, seq), n)
}

// askAgain is for a message that was sent once more, by somebody who asks to be
// told its end. A queue to reply to takes the place of who asked before; an address
// is told beside those of before, and the same one only once. At once when the
// message has ended.
func (l *Ledger) askAgain(tx *bbolt.Tx, id ferry.ID, m *ferry.Message) error {
	if m.ReplyTo == nil && m.CallbackURL == "" {
		return nil
	}
	r, err := get(tx, id)
	if err != nil || r == nil {
		return nil //nolint:nilerr // it was read a moment ago: nothing is wrong with the repeat
	}
	changed, fresh := r.ask(m)
	if r.State.Terminal() {
		n := noticeOf(r, ferry.NewID(time.Now()))
		if m.ReplyTo != nil {
			if err := l.putReply(tx, r, n); err != nil {
				return err
			}
		}
		if m.CallbackURL != "" && (fresh || r.Untold) {
			r.Untold, changed = false, true
			if err := l.putCallback(tx, r, n, callback{URL: m.CallbackURL, Key: m.Sender.KeyID}); err != nil {
				return err
			}
		}
	}
	if !changed {
		return nil
	}
	return put(tx, r)
}

// markUntold notes that a callback was given up, so that who asks once more is
// told once more.
func (l *Ledger) markUntold(tx *bbolt.Tx, n *ferry.Notice) error {
	if n.To.Kind != ferry.ReplyCallback {
		return nil
	}
	r, err := get(tx, n.ID)
	if err != nil || r == nil || r.Untold || r.State != n.State || r.Generation != n.Generation {
		return nil //nolint:nilerr // the notice goes all the same
	}
	r.Untold = true
	return put(tx, r)
}

func (l *Ledger) loseNotice(tx *bbolt.Tx, n *ferry.Notice) error {
	d, share := &l.group.notices, shareOf(n)
	d.lost++
	if l.outbox.full[share] || d.full[share] {
		return nil
	}
	if d.full == nil {
		d.full = map[ferry.NoticeTarget]bool{}
	}
	d.full[share] = true
	return l.auditOwn(tx, ferry.AuditEntry{
		At: n.At, By: "broker", Act: "lose notices", Target: nameOfTarget(share),
		Note: fmt.Sprintf("too many wait (at most %d per target, %d in all, and none may have more than is left for the others): ends of messages are told to nobody until there is room", ferry.MaxNoticesPerTarget, ferry.MaxNotices),
	})
}

func nameOfTarget(to ferry.NoticeTarget) string {
	switch to.Kind {
	case ferry.ReplyCallback:
		return "callbacks that " + to.Target + " asked for"
	case ferry.ReplySubscription:
		return "subscription " + to.Target
	case ferry.ReplyOperator:
		return "operators at " + to.Target
	default:
		return "replies to " + to.Target + " on route " + to.Route
	}
}

// TellAgain writes notices of a message's end once more, for who asked to be
// called back and who subscribes. It says how many.
func (l *Ledger) TellAgain(ctx context.Context, id ferry.ID, by string) (told int, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		r, err := must(tx, id)
		if err != nil {
			return err
		}
		if !r.State.Terminal() {
			return ferry.Errorf(ferry.CodeConflict, "message %s has not ended", id).WithHint("its end is told when it comes")
		}
		before := len(l.group.notices.fresh)
		n := noticeOf(r, ferry.NewID(time.Now()))
		for _, c := range r.Callbacks {
			if err := l.putCallback(tx, r, n, c); err != nil {
				return err
			}
		}
		if err := l.putSubscribed(tx, r, n); err != nil {
			return err
		}
		told = len(l.group.notices.fresh) - before
		return l.audit(ctx, tx, ferry.AuditEntry{At: n.At, By: by, Act: "callbacks retry", Target: "message " + id.String()})
	})
	return told, err
}
