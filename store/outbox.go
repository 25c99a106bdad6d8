package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// The outbox holds a notice for every end of a message that somebody asked to be
// told, from the commit that ended the message until it was told. Its keys begin
// with their target's hash, so that one target's notices are read without those
// of others, in the order of the ends.

// outbox counts the notices that wait. What is published is guarded by Ledger.mu.
type outbox struct {
	waiting map[ferry.NoticeTarget]int // never changed in place
	total   int
	full    map[ferry.NoticeTarget]bool // notices were lost since it was last below its bound
}

// noticeDelta is what the current group has changed of it.
type noticeDelta struct {
	by          map[ferry.NoticeTarget]int
	full        map[ferry.NoticeTarget]bool
	added, lost int
}

func (d *noticeDelta) add(to ferry.NoticeTarget, by int) {
	if d.by == nil {
		d.by = map[ferry.NoticeTarget]int{}
	}
	d.by[to] += by
}

func (d *noticeDelta) sum() (n int) {
	for _, by := range d.by {
		n += by
	}
	return n
}

// read counts what lies in the bucket.
func (o *outbox) read(tx *bbolt.Tx) error {
	o.waiting, o.total = map[ferry.NoticeTarget]int{}, 0
	return tx.Bucket(bOutbox).ForEach(func(_, v []byte) error {
		n, err := decodeJSON[ferry.Notice](v)
		if err != nil {
			return nil //nolint:nilerr // GiveUpNotices removes it; nobody can say whom it was for
		}
		o.waiting[n.To]++
		o.total++
		return nil
	})
}

// publish takes over what a group changed, under Ledger.mu.
func (o *outbox) publish(d *noticeDelta) {
	if len(d.by) > 0 {
		waiting := maps.Clone(o.waiting)
		for to, by := range d.by {
			if waiting[to] += by; waiting[to] <= 0 {
				delete(waiting, to)
			}
			if by < 0 {
				delete(o.full, to)
			}
			o.total += by
		}
		o.waiting = waiting
	}
	for to := range d.full {
		if o.full == nil {
			o.full = map[ferry.NoticeTarget]bool{}
		}
		o.full[to] = true
	}
}

func noticePrefix(to ferry.NoticeTarget) []byte {
	h := sha256.Sum256([]byte(to.Kind + "\x00" + to.Route + "\x00" + to.Target))
	return h[:16]
}

func noticeKey(to ferry.NoticeTarget, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(noticePrefix(to), seq)
}

// putNotice writes the notice of an end that the record has just come to, if
// somebody asked to be told. Too many that wait must not keep messages from
// ending: what there is no room for is lost, and the audit log says so once.
func (l *Ledger) putNotice(tx *bbolt.Tx, r *record) error {
	if r.ReplyTo == nil || !r.State.Terminal() {
		return nil
	}
	now := time.Now().UTC()
	n := ferry.Notice{
		To: ferry.NoticeTarget{Kind: r.ReplyTo.Kind, Route: l.peek(r.Route).Name, Target: r.ReplyTo.Target},
		ID: r.ID, Generation: r.Generation, State: r.State, At: now, ReplyTo: *r.ReplyTo,
	}
	if r.State == ferry.StateDeadLettered {
		n.Dead = r.Dead
	}
	d := &l.group.notices
	if l.outbox.waiting[n.To]+d.by[n.To] >= ferry.MaxNoticesPerTarget || l.outbox.total+d.sum() >= ferry.MaxNotices {
		return l.loseNotice(tx, n.To, now)
	}
	b := tx.Bucket(bOutbox)
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	d.add(n.To, +1)
	d.added++
	return putJSON(tx, bOutbox, noticeKey(n.To, seq), n)
}

// askAgain is for a message that was sent once more, by somebody who asks to be
// told its end: he is told from now on in the place of who asked before, and at once
// when it has ended.
func (l *Ledger) askAgain(tx *bbolt.Tx, id ferry.ID, to *ferry.ReplyTo) error {
	if to == nil {
		return nil
	}
	r, err := get(tx, id)
	if err != nil || r == nil {
		return nil //nolint:nilerr // it was read a moment ago: nothing is wrong with the repeat
	}
	if r.ReplyTo == nil || *r.ReplyTo != *to {
		r.ReplyTo = to
		if err := put(tx, r); err != nil {
			return err
		}
	}
	return l.putNotice(tx, r)
}

func (l *Ledger) loseNotice(tx *bbolt.Tx, to ferry.NoticeTarget, now time.Time) error {
	d := &l.group.notices
	d.lost++
	if l.outbox.full[to] || d.full[to] {
		return nil
	}
	if d.full == nil {
		d.full = map[ferry.NoticeTarget]bool{}
	}
	d.full[to] = true
	return l.audit(noContext, tx, ferry.AuditEntry{
		At: now, By: "broker", Act: "lose notices", Target: nameOfTarget(to),
		Note: fmt.Sprintf("too many wait (%d per target, %d in all): ends of messages are told to nobody until there is room", ferry.MaxNoticesPerTarget, ferry.MaxNotices),
	})
}

func nameOfTarget(to ferry.NoticeTarget) string {
	return "replies to " + to.Target + " on route " + to.Route
}

// NoticeTargets says for whom notices wait, and how many. The caller must not
// change the map.
func (l *Ledger) NoticeTargets() map[ferry.NoticeTarget]int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.outbox.waiting
}

// Notices returns at most most of the target's notices behind the number after,
// oldest first.
func (l *Ledger) Notices(to ferry.NoticeTarget, after uint64, most int) (list []ferry.Notice, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		prefix := noticePrefix(to)
		c := tx.Bucket(bOutbox).Cursor()
		for k, v := c.Seek(noticeKey(to, after+1)); bytes.HasPrefix(k, prefix) && len(list) < most; k, v = c.Next() {
			n, err := decodeJSON[ferry.Notice](v)
			if err != nil || len(k) != 24 {
				l.log.Error("a notice cannot be read: it is given up in time", "target", to.Target, "error", err)
				continue
			}
			n.Seq = binary.BigEndian.Uint64(k[16:])
			list = append(list, n)
		}
		return nil
	})
	return list, err
}

// Ending is what a notice tells: the message as it ended, also when it was sent
// again since. ok is false when the ledger no longer has the message.
func (l *Ledger) Ending(n ferry.Notice) (e ferry.Ending, ok bool, err error) {
	e = ferry.Ending{Notice: n}
	err = l.db.View(func(tx *bbolt.Tx) error {
		r, err := get(tx, n.ID)
		if err != nil || r == nil {
			return err
		}
		ok = true
		if e.Envelope, err = l.envelope(tx, r); err != nil {
			return err
		}
		e.Envelope.Attempts, err = attempts(tx, n.ID)
		return err
	})
	if err != nil || !ok {
		return e, false, err
	}
	if is := &e.Envelope; is.State != n.State || is.Generation != n.Generation {
		asItEnded(is, n)
	}
	return e, true, nil
}

// asItEnded takes an envelope back to the end that a notice tells.
func asItEnded(e *ferry.Envelope, n ferry.Notice) {
	e.State, e.Generation, e.UpdatedAt, e.DeadLetter = n.State, n.Generation, n.At, n.Dead
	e.WaitingFor, e.Awaiting = nil, nil
	if n.State != ferry.StateCompleted {
		e.Reference, e.Result = "", nil
	}
	if n.State != ferry.StateDiscarded {
		e.Discarded = nil
	}
	known := e.Attempts
	e.Attempts = []ferry.Attempt{}
	for _, a := range known {
		if a.Generation <= n.Generation {
			e.Attempts = append(e.Attempts, a)
		}
	}
	e.AttemptsTotal -= len(known) - len(e.Attempts)
}

// DropNotices takes notices out of the outbox: they were told, or with an audit
// entry, given up.
func (l *Ledger) DropNotices(ctx context.Context, list []ferry.Notice, audit *ferry.AuditEntry) error {
	if len(list) == 0 {
		return nil
	}
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bOutbox)
		for _, n := range list {
			key := noticeKey(n.To, n.Seq)
			if b.Get(key) == nil {
				continue // by somebody else
			}
			if err := b.Delete(key); err != nil {
				return err
			}
			l.group.notices.add(n.To, -1)
		}
		if audit == nil {
			return nil
		}
		return l.audit(ctx, tx, *audit)
	})
}

// giveUpStep is how many notices one commit gives up.
const giveUpStep = 1000

// GiveUpNotices removes notices of ends before a time, and says how many per
// target. The audit log has an entry for each target.
func (l *Ledger) GiveUpNotices(ctx context.Context, before time.Time) (map[ferry.NoticeTarget]int, error) {
	given := map[ferry.NoticeTarget]int{}
	for {
		keys, err := l.oldNotices(before)
		if err != nil || len(keys) == 0 {
			return given, err
		}
		err = l.update(ctx, 0, func(tx *bbolt.Tx) error { return l.giveUp(tx, keys, given) })
		if err != nil || len(keys) < giveUpStep {
			return given, err
		}
	}
}

func (l *Ledger) oldNotices(before time.Time) (keys [][]byte, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bOutbox).Cursor()
		for k, v := c.First(); k != nil && len(keys) < giveUpStep; k, v = c.Next() {
			if n, err := decodeJSON[ferry.Notice](v); err != nil || n.At.Before(before) {
				keys = append(keys, bytes.Clone(k))
			}
		}
		return nil
	})
	return keys, err
}

func (l *Ledger) giveUp(tx *bbolt.Tx, keys [][]byte, given map[ferry.NoticeTarget]int) error {
	b := tx.Bucket(bOutbox)
	now, by := time.Now().UTC(), map[ferry.NoticeTarget]int{}
	for _, key := range keys {
		v := b.Get(key)
		if v == nil {
			continue // told meanwhile
		}
		if n, err := decodeJSON[ferry.Notice](v); err == nil {
			by[n.To]++
			l.group.notices.add(n.To, -1)
		}
		if err := b.Delete(key); err != nil {
			return err
		}
	}
	for to, n := range by {
		given[to] += n
		if err := l.audit(noContext, tx, ferry.AuditEntry{
			At: now, By: "broker", Act: "give up notices", Target: nameOfTarget(to),
			Note: fmt.Sprintf("%d ends of messages could not be told in time", n),
		}); err != nil {
			return err
		}
	}
	return nil
}
