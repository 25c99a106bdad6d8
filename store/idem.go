package store

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// idemKey is a route's idempotency key, hashed to 128 bits: collisions are out
// of reach, and what it finds is compared with the record anyway.
type idemKey [16]byte

func idemKeyOf(route uint32, key string) idemKey {
	h := sha256.Sum256(append(u32(route), key...))
	return idemKey(h[:16])
}

// idemIndex finds messages by idempotency key, in memory: an index on disk
// would be written at random places with every accept. Its truth are the
// records, from which it is rebuilt at start.
//
// It is bounded twice: by the window, and by memory. Entries are forgotten
// oldest first, in buckets of time.
type idemIndex struct {
	window time.Duration
	most   int // entries

	ids     map[idemKey]ferry.ID
	buckets []idemBucket // oldest first
}

type idemBucket struct {
	start, end time.Time // of the ids behind its keys
	keys       []idemKey
}

const (
	// idemEntryBytes is what one entry costs: 32 bytes in the map at a load of one
	// half to seven eighths, and 16 in its bucket.
	idemEntryBytes  = 96
	idemBucketCount = 56 // buckets per window: three hours each in seven days
)

func newIdemIndex(window time.Duration, bytes int) *idemIndex {
	return &idemIndex{window: window, most: max(bytes/idemEntryBytes, 1000), ids: map[idemKey]ferry.ID{}}
}

// find returns the newest message of the key inside the window.
func (x *idemIndex) find(key idemKey, now time.Time) (ferry.ID, bool) {
	id, ok := x.ids[key]
	if !ok || now.Sub(id.Time()) > x.window {
		return ferry.ID{}, false
	}
	return id, true
}

func (x *idemIndex) add(key idemKey, id ferry.ID) {
	x.ids[key] = id
	at := id.Time()
	width := x.window / idemBucketCount
	if n := len(x.buckets); n == 0 || at.Sub(x.buckets[n-1].start) > width {
		x.buckets = append(x.buckets, idemBucket{start: at})
		x.forget(at.Add(-x.window - width))
	}
	last := &x.buckets[len(x.buckets)-1]
	last.keys = append(last.keys, key)
	if at.After(last.end) {
		last.end = at
	}
	for len(x.ids) > x.most && len(x.buckets) > 1 {
		x.forgetOldest()
	}
	if len(x.ids) > x.most {
		// All in one bucket: split it, so that the next add can forget a half.
		whole := x.buckets[0]
		half := len(whole.keys) / 2
		x.buckets = []idemBucket{
			{start: whole.start, end: whole.end, keys: slices.Clone(whole.keys[:half])},
			{start: at, end: whole.end, keys: slices.Clone(whole.keys[half:])},
		}
	}
}

// forget drops buckets that started before t.
func (x *idemIndex) forget(t time.Time) {
	for len(x.buckets) > 1 && x.buckets[0].start.Before(t) {
		x.forgetOldest()
	}
}

func (x *idemIndex) forgetOldest() {
	oldest := x.buckets[0]
	x.buckets = slices.Clone(x.buckets[1:])
	for _, key := range oldest.keys {
		// The key may have been used again since.
		if id, ok := x.ids[key]; ok && !id.Time().After(oldest.end) {
			delete(x.ids, key)
		}
	}
}

// rebuild reads the keys of the window from the records.
func (x *idemIndex) rebuild(tx *bbolt.Tx, now time.Time) error {
	first := ferry.FirstID(now.Add(-x.window))
	c := tx.Bucket(bMessages).Cursor()
	for k, v := c.Seek(first[:]); k != nil; k, v = c.Next() {
		route, key := peekKey(v)
		if key != "" {
			x.add(idemKeyOf(route, key), ferry.ID(k))
		}
	}
	return nil
}

// peekKey reads the two fields of a record that the rebuild needs, without the
// cost of the rest.
func peekKey(b []byte) (route uint32, key string) {
	for len(b) > 1 {
		tag := b[0]
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return 0, ""
		}
		b = b[1+n:]
		if tag == tRoute {
			route = uint32(v)
		}
		if tag%2 == 0 {
			continue
		}
		if v > uint64(len(b)) {
			return 0, ""
		}
		if tag == tKey {
			return route, string(b[:v])
		}
		b = b[v:]
	}
	return route, ""
}
