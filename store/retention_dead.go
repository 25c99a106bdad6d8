package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// byBroker is who acts when nobody asked for it.
const byBroker = "broker"

// oldRead is how many dead letters are looked at in one look at the ledger.
const oldRead = 5_000

// oldDead are dead letters of a route whose time is over.
type oldDead struct {
	route  string
	no     uint32
	before int64
	kept   time.Duration
}

// DiscardOldDead discards dead letters for which nobody came in time, at most about
// bound, in the name of the broker. Discarded, and not removed: who is to be told is
// told, and until the retention of discarded messages is over, too, restore takes
// them back. The audit log has an entry for some hundred of a route: it is to be called
// now and then, and again while it says that there are more.
func (l *Ledger) DiscardOldDead(ctx context.Context, now time.Time, keep Keep, bound int) (n int, more bool, err error) {
	l.mu.RLock()
	var list []oldDead
	taken := takenOn{}
	for name, no := range l.byName {
		if k := keep(name); k.DeadLettered != ferry.KeepForever && len(l.routes[no].Dead) > 0 {
			list = append(list, oldDead{route: name, no: no, before: now.UnixNano() - int64(k.DeadLettered), kept: k.DeadLettered})
		}
	}
	l.mu.RUnlock()
	for _, old := range list {
		if before := time.Unix(0, old.before); before.After(taken.before) {
			taken.before = before
		}
	}
	for _, old := range list {
		// What stays behind, since it cannot be read, changed, or is being acted on, is
		// looked at again in the next round.
		for from := u32(old.no); from != nil && ctx.Err() == nil; {
			if err := l.readTaken(&taken); err != nil {
				return n, false, err
			}
			ids, next, err := l.oldestDead(old, from, &taken)
			if err != nil {
				return n, false, err
			}
			if from = next; len(ids) == 0 {
				continue
			}
			if n >= bound {
				return n, true, nil
			}
			done, err := l.discardOld(ctx, old, ids)
			if n += done; err != nil {
				return n, false, err
			}
		}
	}
	return n, false, ctx.Err()
}

// takenOn are the messages, accepted before a time, that operations have yet to act on:
// somebody came for them, however slowly they have their turns, or long an operation
// that was stopped waits for a word.
type takenOn struct {
	before time.Time
	by     []string   // the operations
	ids    []ferry.ID // in order
}

func (t *takenOn) has(id ferry.ID) bool {
	_, is := slices.BinarySearchFunc(t.ids, id, compareIDs)
	return is
}

func compareIDs(a, b ferry.ID) int { return bytes.Compare(a[:], b[:]) }

// readTaken reads the selections of the operations that have not ended, unless they are
// those that were read before. What had its turn since only stays a little longer.
func (l *Ledger) readTaken(t *takenOn) error {
	by := l.OperationsIn(ferry.OperationRunning, ferry.OperationStopped)
	if slices.Equal(by, t.by) {
		return nil
	}
	t.by, t.ids = by, nil
	defer func() { slices.SortFunc(t.ids, compareIDs) }()
	return l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bSelected).Cursor()
		for _, id := range by {
			for k, v := c.Seek(rowKey(id, 0)); isRow(k, id); k, v = c.Next() {
				if row, ok := decodeRow(v); ok && !row.done && row.id.Time().Before(t.before) {
					t.ids = append(t.ids, row.id)
				}
			}
		}
		return nil
	})
}

// oldestDead reads the oldest of each group of a route, as far as they are over and
// nobody acts on them, from a key on. next is where to go on; nil: there are no more.
func (l *Ledger) oldestDead(old oldDead, from []byte, taken *takenOn) (ids []ferry.ID, next []byte, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bDeadIn).Cursor()
		prefix, looked := u32(old.no), 0
		for k, _ := c.Seek(from); bytes.HasPrefix(k, prefix); {
			if len(ids) == purgeStep || looked == oldRead {
				next = bytes.Clone(k)
				return nil
			}
			looked++
			if int64(binary.BigEndian.Uint64(k[len(k)-24:])) < old.before {
				id := ferry.ID(k[len(k)-16:])
				if !taken.has(id) {
					ids = append(ids, id)
				}
				k, _ = c.Next()
				continue
			}
			behind := append(bytes.Clone(k[:len(k)-25]), 1) // behind the group: its name ends in 0
			k, _ = c.Seek(behind)
		}
		return nil
	})
	return ids, next, err
}

func (l *Ledger) discardOld(ctx context.Context, old oldDead, ids []ferry.ID) (n int, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		n = 0
		act := ferry.Act{Act: "discard", By: byBroker, At: time.Now().UTC(), Note: "nobody came for it: the retention of dead letters was over"}
		for _, id := range ids {
			r, err := get(tx, id)
			if err != nil || r == nil || r.State != ferry.StateDeadLettered || r.Dead.At.UnixNano() >= old.before {
				continue // changed since, or it cannot be read: others say so
			}
			if err := l.discard(tx, r, act, handled{}); err != nil {
				return err
			}
			n++
		}
		if n == 0 {
			return nil
		}
		return l.audit(ctx, tx, ferry.AuditEntry{
			At: act.At, By: act.By, Act: "discard by retention", Target: "route " + old.route,
			Detail: fmt.Sprintf("%d dead letters that were older than %s", n, shownDays(old.kept)),
			Note:   "retention.deadLettered; broker dlq restore takes them back until retention.discarded is over",
		})
	})
	return n, err
}

func shownDays(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}
