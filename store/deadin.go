package store

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"

	"ferry"
)

// deadIn holds the dead letters of each group by time, so that the newest of a
// group, and the oldest, are found without those of others.

// deadInWhole is kept in meta once deadIn has what was there before it.
var deadInWhole = []byte("whole")

func deadInKey(r *record) []byte {
	k := append(groupKey(r.Route, r.Dead.Group), 0)
	k = binary.BigEndian.AppendUint64(k, uint64(r.Dead.At.UnixNano()))
	return append(k, r.ID[:]...)
}

// fillDeadIn fills the index of a ledger of before it, in small commits.
func (l *Ledger) fillDeadIn() error {
	for more := true; more; {
		err := l.db.View(func(tx *bbolt.Tx) error {
			more = !bytes.Equal(tx.Bucket(bMeta).Get(metaDeadIn), deadInWhole)
			return nil
		})
		if err != nil || !more {
			return err
		}
		if err := l.setUp(l.fillSomeDeadIn); err != nil {
			return err
		}
	}
	return nil
}

const fillStep = 5000

func (l *Ledger) fillSomeDeadIn(tx *bbolt.Tx) error {
	done := tx.Bucket(bMeta).Get(metaDeadIn)
	c := tx.Bucket(bDead).Cursor()
	k, _ := c.Seek(done)
	if done != nil && bytes.Equal(k, done) {
		k, _ = c.Next()
	}
	var last []byte
	for n := 0; k != nil && n < fillStep; k, _ = c.Next() {
		n++
		last = bytes.Clone(k)
		r, err := get(tx, ferry.ID(k[8:24]))
		if err != nil || r == nil || r.State != ferry.StateDeadLettered {
			l.log.Error("a dead letter cannot be read: it is found by its id alone", "message", ferry.ID(k[8:24]), "error", err)
			continue
		}
		if err := tx.Bucket(bDeadIn).Put(deadInKey(r), nil); err != nil {
			return err
		}
	}
	if k == nil {
		last = deadInWhole
	}
	return tx.Bucket(bMeta).Put(metaDeadIn, last)
}
