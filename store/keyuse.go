package store

import (
	"context"
	"encoding/binary"

	"go.etcd.io/bbolt"
)

// bKeyUse holds when keys were last used: key id -> Unix ns of primary and
// secondary. It stands apart from the keys, so that it never undoes a change of
// one, and is made when it is first written: an older broker does without.
const bKeyUse = "keyuse"

// KeepKeyUse writes down when keys were last used, in one commit, if any was used
// since the last time. A crash loses what was not kept.
func (l *Ledger) KeepKeyUse(ctx context.Context) error {
	kept := map[string][]byte{}
	if err := l.db.View(func(tx *bbolt.Tx) error {
		return eachKeyUse(tx, func(id string, v []byte) { kept[id] = append([]byte(nil), v...) })
	}); err != nil {
		return err
	}
	changed := map[string][]byte{}
	l.mu.RLock()
	for id, row := range l.keys {
		v := row.use()
		if before, ok := kept[id]; string(before) != string(v) && (ok || row.used[0].Load()+row.used[1].Load() != 0) {
			changed[id] = v
		}
		delete(kept, id)
	}
	l.mu.RUnlock()
	if len(changed)+len(kept) == 0 {
		return nil
	}
	return l.update(ctx, 32*len(changed), func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bKeyUse))
		if err != nil {
			return err
		}
		for id := range kept { // the key is gone
			if err := b.Delete([]byte(id)); err != nil {
				return err
			}
		}
		for id, v := range changed {
			if err := b.Put([]byte(id), v); err != nil {
				return err
			}
		}
		return nil
	})
}

func (row *keyRow) use() []byte {
	return append(u64(uint64(row.used[0].Load())), u64(uint64(row.used[1].Load()))...)
}

func eachKeyUse(tx *bbolt.Tx, see func(id string, v []byte)) error {
	b := tx.Bucket([]byte(bKeyUse))
	if b == nil {
		return nil
	}
	return b.ForEach(func(k, v []byte) error {
		if len(v) == 16 {
			see(string(k), v)
		}
		return nil
	})
}

// readKeyUse gives the keys that were read the times of their last use.
func (l *Ledger) readKeyUse(tx *bbolt.Tx) error {
	return eachKeyUse(tx, func(id string, v []byte) {
		if row := l.keys[id]; row != nil {
			row.used[0].Store(int64(binary.BigEndian.Uint64(v)))
			row.used[1].Store(int64(binary.BigEndian.Uint64(v[8:])))
		}
	})
}
