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

// outbox counts the notices that wait. It is guarded by Ledger.mu; only the
// committer changes it.
type outbox struct {
	waiting map[ferry.NoticeTarget]int
	shares  map[ferry.NoticeTarget]int // of what shares the room: see shareOf
	routes  map[string]int             // of the messages
	ends    map[ferry.ID]int           // of each message
	total   int
	full    map[ferry.NoticeTarget]bool // shares of which notices were lost since they were last below their bound
}

func newOutbox() outbox {
	return outbox{waiting: map[ferry.NoticeTarget]int{}, shares: map[ferry.NoticeTarget]int{}, routes: map[string]int{}, ends: map[ferry.ID]int{}}
}

// noticeDelta is what the current group has changed of it.
type noticeDelta struct {
	outbox
	fresh []ferry.NoticeTarget // that got a notice, some of them more than once
	lost  int
}

// count counts a notice in, or out with -1.
func (o *outbox) count(n *ferry.Notice, by int) {
	if o.waiting == nil {
		full := o.full
		*o = newOutbox()
		o.full = full
	}
	o.waiting[n.To] += by
	o.shares[shareOf(n)] += by
	o.routes[routeOf(n)] += by
	o.total += by
	if n.Operator == nil {
		o.ends[n.ID] += by
	}
}

// owed says whether somebody is still to be told an end of the message, which must
// be there until then. It is the committer's.
func (l *Ledger) owed(id ferry.ID) bool { return l.outbox.ends[id]+l.group.notices.ends[id] > 0 }

// shareOf is with whom a notice shares the room: with those of its target, and a
// callback with all that the same key asked for. Each run of a flow has an address
// of its own, and many of them may be dead.
func shareOf(n *ferry.Notice) ferry.NoticeTarget {
	if n.To.Kind == ferry.ReplyCallback {
		return ferry.NoticeTarget{Kind: n.To.Kind, Target: "key " + n.Asker}
	}
	return n.To
}

func routeOf(n *ferry.Notice) string {
	if n.Route != "" {
		return n.Route
	}
	return n.To.Route
}

// roomFor says whether one more notice may wait. What few targets do not take must
// leave room for the others: nobody may have more than there is left for all.
func (l *Ledger) roomFor(n *ferry.Notice) bool {
	d, o := &l.group.notices, &l.outbox
	share := shareOf(n)
	mine := o.shares[share] + d.shares[share]
	return o.waiting[n.To]+d.waiting[n.To] < ferry.MaxNoticesPerTarget && mine < ferry.MaxNotices-o.total-d.total
}

// read counts what lies in the bucket.
func (o *outbox) read(tx *bbolt.Tx) error {
	*o = newOutbox()
	return tx.Bucket(bOutbox).ForEach(func(_, v []byte) error {
		n, err := decodeJSON[ferry.Notice](v)
		if err != nil {
			return nil //nolint:nilerr // GiveUpNotices removes it; nobody can say whom it was for
		}
		o.count(&n, +1)
		return nil
	})
}

// publish takes over what a group changed, under Ledger.mu.
func (o *outbox) publish(d *noticeDelta) {
	merge(o.waiting, d.waiting, nil)
	merge(o.shares, d.shares, func(share ferry.NoticeTarget) { delete(o.full, share) })
	merge(o.routes, d.routes, nil)
	merge(o.ends, d.ends, nil)
	o.total += d.total
	for share := range d.full {
		if o.full == nil {
			o.full = map[ferry.NoticeTarget]bool{}
		}
		o.full[share] = true
	}
}

// merge adds counts, and calls less for those that fell.
func merge[K comparable](into, by map[K]int, less func(K)) {
	for k, n := range by {
		if into[k] += n; into[k] <= 0 {
			delete(into, k)
		}
		if n < 0 && less != nil {
			less(k)
		}
	}
}

func noticePrefix(to ferry.NoticeTarget) []byte {
	h := sha256.Sum256([]byte(to.Kind + "\x00" + to.Route + "\x00" + to.Target))
	return h[:16]
}

func noticeKey(to ferry.NoticeTarget, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(noticePrefix(to), seq)
}

// NoticeTargets says for whom notices wait, and how many.
func (l *Ledger) NoticeTargets() map[ferry.NoticeTarget]int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return maps.Clone(l.outbox.waiting)
}

// NoticesFor is how many notices wait for a target.
func (l *Ledger) NoticesFor(to ferry.NoticeTarget) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.outbox.waiting[to]
}

// NoticesOf is how many notices of a route's messages wait.
func (l *Ledger) NoticesOf(route string) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.outbox.routes[route]
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
	if n.Operator != nil { // it tells of no message
		return e, true, nil
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		r, err := get(tx, n.ID)
		if err != nil || r == nil {
			return err
		}
		ok, e.Traceparent, e.Tracestate = true, r.Traceparent, r.Tracestate
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
		e.Reference, e.Result, e.ResultNote = "", nil, ""
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
		for i := range list {
			n := &list[i]
			key := noticeKey(n.To, n.Seq)
			if b.Get(key) == nil {
				continue // by somebody else
			}
			if err := b.Delete(key); err != nil {
				return err
			}
			l.group.notices.count(n, -1)
			if audit == nil {
				continue
			}
			if err := l.markUntold(tx, n); err != nil {
				return err
			}
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
// target. Callbacks that one key asked for count as one. The audit log has an entry
// for each.
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
			by[shareOf(&n)]++
			l.group.notices.count(&n, -1)
			if err := l.markUntold(tx, &n); err != nil {
				return err
			}
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
