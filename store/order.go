package store

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"

	"ferry"
)

// The order index lists, per ordering key, the messages that have not ended, in
// the order in which they were accepted. Only the head of a key is in the due
// index; the others are parked. A dead-lettered head stays, so that what
// follows waits for it, unless the route says "continue".

func orderPrefix(route uint32, key string) []byte {
	k := u32(route)
	k = append(k, byte(len(key))) // at most 128
	return append(k, key...)
}

func orderKey(r *record) []byte {
	return binary.BigEndian.AppendUint64(orderPrefix(r.Route, r.OrderingKey), r.OrderSeq)
}

// joinOrder puts the record into its key's list, at the end unless it stands
// there, and says whether it is the head.
func (l *Ledger) joinOrder(tx *bbolt.Tx, r *record) (head bool, err error) {
	b := tx.Bucket(bOrder)
	if r.OrderSeq == 0 {
		row := l.row(r.Route)
		row.OrderSeq++
		r.OrderSeq = row.OrderSeq
		if err := b.Put(orderKey(r), r.ID[:]); err != nil {
			return false, err
		}
	}
	k, _ := b.Cursor().Seek(orderPrefix(r.Route, r.OrderingKey))
	return bytes.Equal(k, orderKey(r)), nil
}

// leaveOrder takes the record out of its key's list and makes the next one
// ready, in the same commit.
func (l *Ledger) leaveOrder(tx *bbolt.Tx, r *record) error {
	if r.OrderingKey == "" || r.OrderSeq == 0 {
		return nil
	}
	b := tx.Bucket(bOrder)
	if err := b.Delete(orderKey(r)); err != nil {
		return err
	}
	r.OrderSeq = 0
	id, ok := headOf(tx, r.Route, r.OrderingKey)
	if !ok {
		return nil
	}
	next, err := get(tx, id)
	if err != nil {
		l.log.Error("the next message of an ordering key cannot be read: the key stands still", "message", id, "error", err)
		return nil
	}
	if next == nil || !next.Parked {
		return nil
	}
	if err := l.makeDue(tx, next, timeOf(next.Due)); err != nil {
		return err
	}
	return put(tx, next)
}

func headOf(tx *bbolt.Tx, route uint32, key string) (ferry.ID, bool) {
	prefix := orderPrefix(route, key)
	k, v := tx.Bucket(bOrder).Cursor().Seek(prefix)
	if !bytes.HasPrefix(k, prefix) || len(k) != len(prefix)+8 {
		return ferry.ID{}, false
	}
	return ferry.ID(v), true
}
