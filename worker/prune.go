package worker

import (
	"bytes"
	"context"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// prune deletes confirmed records whose turn ended longer than keepFor ago, and, while
// there are more than most, the oldest ids of those that ended longer than keepAtLeast
// ago: a copy of what ended just now may still lie in the queue, however old its id.
// Each call does one bounded round, and says whether the next one has more to do.
func (b *inbox) prune(ctx context.Context, now time.Time, most uint64) (deleted int, more bool, err error) {
	victims, next, err := b.victims(now, most)
	if err != nil {
		return 0, false, err
	}
	b.pruneFrom = next
	for len(victims) > 0 {
		batch := victims[:min(pruneBatch, len(victims))]
		victims = victims[len(batch):]
		err := b.db.Update(ctx, func(tx *bbolt.Tx) error {
			records, open := tx.Bucket(bucketRecords), tx.Bucket(bucketOpen)
			gone := uint64(0)
			for _, id := range batch {
				// Meanwhile a later turn may have begun.
				if open.Get(id[:]) != nil || !prunable(records.Get(id[:])) {
					continue
				}
				if err := records.Delete(id[:]); err != nil {
					return commit.Abort(err)
				}
				gone++
			}
			deleted += int(gone)
			return commit.Abort(records.SetSequence(records.Sequence() - min(gone, records.Sequence())))
		})
		if err != nil {
			return deleted, false, err
		}
	}
	return deleted, next != nil, nil
}

// victims looks at a bounded number of records from where the last round ended.
func (b *inbox) victims(now time.Time, most uint64) (ids []ferry.ID, next []byte, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		records, open := tx.Bucket(bucketRecords), tx.Bucket(bucketOpen)
		surplus := int64(records.Sequence()) - int64(most)
		c := records.Cursor()
		k, v := c.Seek(b.pruneFrom)
		for seen := 0; k != nil; k, v = c.Next() {
			if seen++; seen > pruneScan {
				next = bytes.Clone(k)
				return nil
			}
			ended := now.Add(-keepFor)
			if surplus > 0 {
				ended = now.Add(-keepAtLeast)
			}
			if !ferry.ID(k).Time().Before(ended) {
				return nil // ids are ordered by time: none after it has ended by then
			}
			if open.Get(k) != nil || !prunable(v) || !endedBefore(v, ended) {
				continue
			}
			ids = append(ids, ferry.ID(k))
			surplus--
		}
		return nil
	})
	return ids, next, err
}

// prunable: a begun turn is never forgotten. The open outcome of an ended one
// may be, once confirmed: the ledger then tells of it in the next hand-out.
func prunable(data []byte) bool {
	r, err := decodeRecord(data)
	return err == nil && r.state == result
}

func endedBefore(data []byte, t time.Time) bool {
	r, err := decodeRecord(data)
	return err == nil && r.callEnded.Before(t) && r.begunAt.Before(t)
}

// count is the number of records.
func (b *inbox) count() (n uint64) {
	_ = b.db.View(func(tx *bbolt.Tx) error {
		n = tx.Bucket(bucketRecords).Sequence()
		return nil
	})
	return n
}
