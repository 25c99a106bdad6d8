package store

import (
	"bytes"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

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

// overdueStep is how many messages one look for overdue ones returns.
const overdueStep = 500

// Overdue lists pending messages of a route whose time to live has ended and
// that no worker can hold; parked ones excepted, which end with their heads. It
// looks at up to bound entries of the due index behind the key after (nil: from
// the start), returns at most overdueStep ids, how many entries it looked at, and
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
			if looked == bound || len(ids) == overdueStep {
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
