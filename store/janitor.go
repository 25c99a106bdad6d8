package store

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// purgeStep is how many messages one commit removes: small, so that accepts
// between the steps wait for little.
const purgeStep = 500

// Purge removes completed and discarded messages that ended before a time and
// were accepted before it too. Dead letters stay: they wait for a person. Day
// tallies keep counting what was removed. It returns how many were removed.
func (l *Ledger) Purge(ctx context.Context, before time.Time) (int, error) {
	total := 0
	for from := (ferry.ID{}); ; {
		ids, next, err := l.purgeable(from, before)
		if err != nil {
			return total, err
		}
		if len(ids) > 0 {
			n, err := l.purge(ctx, ids, before)
			if err != nil {
				return total, err
			}
			total += n
		}
		if next.IsZero() {
			return total, nil
		}
		from = next
	}
}

func (l *Ledger) purgeable(from ferry.ID, before time.Time) (ids []ferry.ID, next ferry.ID, err error) {
	limit := ferry.FirstID(before)
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bMessages).Cursor()
		n := 0
		for k, v := c.Seek(from[:]); k != nil && string(k) < string(limit[:]); k, v = c.Next() {
			if len(ids) == purgeStep || n == 20*purgeStep {
				next = ferry.ID(k)
				return nil
			}
			n++
			r, err := decodeRecord(ferry.ID(k), v)
			if err == nil && ended(r, before) {
				ids = append(ids, r.ID)
			}
		}
		return nil
	})
	return ids, next, err
}

func ended(r *record, before time.Time) bool {
	return (r.State == ferry.StateCompleted || r.State == ferry.StateDiscarded) && r.UpdatedAt < before.UnixNano()
}

func (l *Ledger) purge(ctx context.Context, ids []ferry.ID, before time.Time) (n int, err error) {
	var files []string
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		for _, id := range ids {
			r, err := get(tx, id)
			if err != nil || r == nil || !ended(r, before) {
				continue // changed since it was selected
			}
			t := l.tally(tx, r)
			if r.State == ferry.StateCompleted {
				t.PurgedCompleted++
			} else {
				t.PurgedDiscarded++
			}
			if err := l.markPurged(tx, r); err != nil {
				return err
			}
			removed, err := l.removeBodies(tx, r)
			if err != nil {
				return err
			}
			if r.Size > ferry.InlineBody || r.Revision > 1 {
				files = append(files, removed...)
			}
			if err := errors.Join(removeAttempts(tx, id), removeLocks(tx, r)); err != nil {
				return err
			}
			if err := tx.Bucket(bMessages).Delete(id[:]); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	l.removeFiles(files)
	return n, nil
}

func removeAttempts(tx *bbolt.Tx, id ferry.ID) error {
	b := tx.Bucket(bAttempts)
	var keys [][]byte // a cursor may pass over keys while others are deleted
	c := b.Cursor()
	for k, _ := c.Seek(id[:]); bytes.HasPrefix(k, id[:]); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// Overdue lists pending messages of a route whose time to live has ended and
// that no worker can hold; parked ones excepted, which end with their heads. It
// looks at up to bound entries of the due index behind the key after (nil: from
// the start), returns at most purgeStep ids, how many entries it looked at, and
// the key to go on from: nil at the end.
func (l *Ledger) Overdue(route string, after []byte, now time.Time, bound int) (ids []ferry.ID, looked int, next []byte, err error) {
	row, err := l.published(route)
	if err != nil || row.Pending == 0 {
		return nil, 0, nil, err
	}
	if len(row.Horizon) == 28 && bytes.Compare(after, row.Horizon) < 0 {
		after = row.Horizon // what lies up to it a worker may hold
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bDue).Cursor()
		for k := seekBehind(c, row.No, after); k != nil; k = nextOf(c, row.No) {
			if looked == bound || len(ids) == purgeStep {
				next = bytes.Clone(after)
				return nil
			}
			looked++
			after = k
			_, id := splitDueKey(k)
			r, err := get(tx, id)
			if err == nil && r != nil && row.expired(r, now.UnixNano()) && !row.looksFirst(r) && !row.mayBeHeld(r) {
				ids = append(ids, id)
			}
		}
		return nil
	})
	return ids, looked, next, err
}
