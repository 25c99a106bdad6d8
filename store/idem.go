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

// idemIndex finds messages by idempotency key, and repeats of flows by what they
// are known by, in memory: an index on disk would be written at random places with
// every accept. Its truth are the records, from which it is rebuilt at start.
//
// It is bounded twice: by the windows, and by memory. Entries are forgotten oldest
// first, in buckets of time. Repeats of flows take room from keys up to a share;
// beyond it they take each other's.
type idemIndex struct {
	most int // entries, of both kinds

	ids     map[idemKey]ferry.ID
	keys    idemAges
	repeats idemAges
}

// idemAges are the entries of one kind by their age.
type idemAges struct {
	window  time.Duration
	n       int          // keys in the buckets
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
	repeatShare     = 4  // one entry in so many may be a flow's, when memory is short
)

func newIdemIndex(window time.Duration, bytes int) *idemIndex {
	return &idemIndex{
		most: max(bytes/idemEntryBytes, 1000), ids: map[idemKey]ferry.ID{},
		keys: idemAges{window: window}, repeats: idemAges{window: ferry.RepeatWindow},
	}
}

// find returns the newest message of the key inside the window.
func (x *idemIndex) find(key idemKey, now time.Time) (ferry.ID, bool) {
	return x.findIn(&x.keys, key, now)
}

// findRepeat is find for what a flow sent without a key.
func (x *idemIndex) findRepeat(key idemKey, now time.Time) (ferry.ID, bool) {
	return x.findIn(&x.repeats, key, now)
}

func (x *idemIndex) findIn(a *idemAges, key idemKey, now time.Time) (ferry.ID, bool) {
	id, ok := x.ids[key]
	if !ok || now.Sub(id.Time()) > a.window {
		return ferry.ID{}, false
	}
	return id, true
}

func (x *idemIndex) add(key idemKey, id ferry.ID) { x.addTo(&x.keys, key, id) }

func (x *idemIndex) addRepeat(key idemKey, id ferry.ID) { x.addTo(&x.repeats, key, id) }

func (x *idemIndex) addTo(a *idemAges, key idemKey, id ferry.ID) {
	at := id.Time()
	width := a.window / idemBucketCount
	if n := len(a.buckets); n == 0 || at.Sub(a.buckets[n-1].start) > width {
		a.buckets = append(a.buckets, idemBucket{start: at})
		x.forget(a, at.Add(-a.window-width))
	}
	last := &a.buckets[len(a.buckets)-1]
	if before, ok := x.ids[key]; !ok || before.Time().Before(last.start) {
		last.keys = append(last.keys, key) // else it stands there
		a.n++
	}
	x.ids[key] = id
	if at.After(last.end) {
		last.end = at
	}
	for x.keys.n+x.repeats.n > x.most {
		x.makeRoom(at)
	}
}

// makeRoom forgets the oldest bucket, or of a single one the first half.
func (x *idemIndex) makeRoom(at time.Time) {
	a := &x.keys
	if x.repeats.n > x.most/repeatShare || a.n == 0 {
		a = &x.repeats
	}
	if len(a.buckets) == 1 {
		whole := a.buckets[0]
		half := (len(whole.keys) + 1) / 2
		a.buckets = []idemBucket{
			{start: whole.start, end: whole.end, keys: slices.Clone(whole.keys[:half])},
			{start: at, end: whole.end, keys: slices.Clone(whole.keys[half:])},
		}
	}
	x.forgetOldest(a)
}

// forget drops buckets that started before t.
func (x *idemIndex) forget(a *idemAges, t time.Time) {
	for len(a.buckets) > 1 && a.buckets[0].start.Before(t) {
		x.forgetOldest(a)
	}
}

func (x *idemIndex) forgetOldest(a *idemAges) {
	oldest := a.buckets[0]
	a.buckets = slices.Clone(a.buckets[1:])
	a.n -= len(oldest.keys)
	for _, key := range oldest.keys {
		// The key may have been used again since.
		if id, ok := x.ids[key]; ok && !id.Time().After(oldest.end) {
			delete(x.ids, key)
		}
	}
}

// rebuild reads the keys of the window from the records, and what flows sent
// without a key within theirs.
func (x *idemIndex) rebuild(tx *bbolt.Tx, now time.Time) error {
	first := ferry.FirstID(now.Add(-max(x.keys.window, x.repeats.window)))
	repeats := now.Add(-x.repeats.window)
	c := tx.Bucket(bMessages).Cursor()
	for k, v := c.Seek(first[:]); k != nil; k, v = c.Next() {
		id := ferry.ID(k)
		switch route, key, flow := peekKey(v); {
		case key != "":
			x.add(idemKeyOf(route, key), id)
		case flow && !id.Time().Before(repeats):
			if r, err := decodeRecord(id, v); err == nil { // else others say so
				x.addRepeatsOf(r)
			}
		}
	}
	return nil
}

// peekKey reads the fields of a record that the rebuild needs, without the cost of
// the rest: route, key, and whether a flow sent it, which is looked for only when
// there is no key.
func peekKey(b []byte) (route uint32, key string, flow bool) {
	for len(b) > 1 {
		tag := b[0]
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return 0, "", false
		}
		b = b[1+n:]
		if tag == tRoute {
			route = uint32(v)
		}
		if tag%2 == 0 {
			continue
		}
		if v > uint64(len(b)) {
			return 0, "", false
		}
		switch tag {
		case tKey:
			return route, string(b[:v]), false
		case tFlow:
			flow = true
		}
		b = b[v:]
	}
	return route, "", flow
}
