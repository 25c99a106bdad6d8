package worker

import (
	"bytes"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/queue"
)

// Results are sent again while nobody confirms them: first after resendAfter,
// then at doubling intervals up to resendMost.
const (
	resendAfter = 30 * time.Second
	resendMost  = 10 * time.Minute
	resendBatch = 256
)

// due picks results to send again, at most resendBatch, and counts them as sent
// now, the oldest message first. With all set it picks those not sent since then,
// due or not.
func (b *inbox) due(now time.Time, all time.Time) []ferry.ID {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ids []ferry.ID
	for id, u := range b.open {
		if len(ids) == resendBatch {
			break
		}
		wait := min(resendAfter<<min(max(u.sends-1, 0), 6), resendMost)
		if u.sentAt.Before(all) || now.Sub(u.sentAt) >= wait {
			u.sentAt, u.sends = now, u.sends+1
			b.open[id] = u
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y ferry.ID) int { return bytes.Compare(x[:], y[:]) })
	return ids
}

// tellLater counts every unconfirmed result as sent now, for the first time.
func (b *inbox) tellLater(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, u := range b.open {
		u.sentAt, u.sends = now, 1
		b.open[id] = u
	}
}

// receipts reads the receipts of results from disk. A record that has moved on
// or cannot be read is left out.
func (b *inbox) receipts(ids []ferry.ID) ([]ferry.Receipt, error) {
	list := make([]ferry.Receipt, 0, len(ids))
	err := b.db.View(func(tx *bbolt.Tx) error {
		records := tx.Bucket(bucketRecords)
		for _, id := range ids {
			data := records.Get(id[:])
			if data == nil {
				continue
			}
			r, err := decodeRecord(data)
			if err != nil || r.state != result {
				continue
			}
			receipt, err := queue.DecodeReceipt(r.receipt)
			if err != nil {
				b.log.Error("inbox.receipt", "message", id, "error", err.Error())
				continue
			}
			list = append(list, receipt)
		}
		return nil
	})
	return list, err
}
