package worker

import (
	"bytes"
	"context"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// prune deletes confirmed records that are older than keepFor, and the oldest
// confirmed ones beyond keepMost. Ids are ordered by time, so the oldest come
// first. Each call does one bounded round and says whether it deleted anything.
func (b *inbox) prune(ctx context.Context, now time.Time, most uint64) (int, error) {
	victims, next, err := b.victims(now, most)
	if err != nil {
		return 0, err
	}
	b.pruneFrom = next
	deleted := 0
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
			return deleted, err
		}
	}
	return deleted, nil
}

// victims looks at a bounded number of records from where the last round ended.
func (b *inbox) victims(now time.Time, most uint64) (ids []ferry.ID, next []byte, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		records, open := tx.Bucket(bucketRecords), tx.Bucket(bucketOpen)
		surplus := int64(records.Sequence()) - int64(most)
		c := records.Cursor()
		k, v := c.Seek(b.pruneFrom)
		if surplus > 0 {
			k, v = c.First()
		}
		for seen := 0; k != nil; k, v = c.Next() {
			if seen++; seen > pruneScan {
				next = bytes.Clone(k)
				return nil
			}
			old := ferry.ID(k).Time().Add(keepFor).Before(now)
			if !old && surplus <= 0 {
				return nil // ids are ordered by time: none after it is old
			}
			if open.Get(k) != nil || !prunable(v) {
				continue
			}
			if surplus <= 0 && !endedBefore(v, now.Add(-keepFor)) {
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
