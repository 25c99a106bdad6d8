package store

import (
	"bytes"
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
// first, a generation at a time. Repeats of flows take room from keys up to a
// share; beyond it they take each other's.
type idemIndex struct {
	most    int // entries, of both kinds
	keys    idemAges
	repeats idemAges
}

// idemAges are the entries of one kind by their age. A generation is filled and
// then dropped whole: a map whose entries come and go one by one takes up to twice
// the room.
type idemAges struct {
	window      time.Duration
	room        int // entries; those of a generation are a part of it
	n           int // entries
	generations []idemGeneration
}

type idemGeneration struct {
	start, end time.Time // of its ids
	ids        map[idemKey]ferry.ID
}

const (
	// idemEntryBytes is what one entry costs at the most: 33 bytes at a load of 0.44
	// to 0.875, and what maps have beside their entries.
	idemEntryBytes  = 96
	idemGenerations = 4 // per window, and of the room: each is asked for each key
	repeatShare     = 4 // one entry in so many may be a flow's, when memory is short
)

func newIdemIndex(window time.Duration, bytes int) *idemIndex {
	most := max(bytes/idemEntryBytes, 1000)
	return &idemIndex{
		most: most, keys: idemAges{window: window, room: most}, repeats: idemAges{window: ferry.RepeatWindow, room: most / repeatShare},
	}
}

// find returns the newest message of the key inside the window.
func (x *idemIndex) find(key idemKey, now time.Time) (ferry.ID, bool) {
	return x.keys.find(key, now)
}

// findRepeat is find for what a flow sent without a key.
func (x *idemIndex) findRepeat(key idemKey, now time.Time) (ferry.ID, bool) {
	return x.repeats.find(key, now)
}

func (a *idemAges) find(key idemKey, now time.Time) (ferry.ID, bool) {
	for i := len(a.generations) - 1; i >= 0; i-- {
		if id, ok := a.generations[i].ids[key]; ok {
			return id, now.Sub(id.Time()) <= a.window
		}
	}
	return ferry.ID{}, false
}

func (x *idemIndex) add(key idemKey, id ferry.ID) { x.addTo(&x.keys, key, id) }

func (x *idemIndex) addRepeat(key idemKey, id ferry.ID) { x.addTo(&x.repeats, key, id) }

func (x *idemIndex) addTo(a *idemAges, key idemKey, id ferry.ID) {
	at := id.Time()
	n := len(a.generations)
	if n == 0 || at.Sub(a.generations[n-1].start) > a.window/idemGenerations || len(a.generations[n-1].ids) >= a.room/idemGenerations {
		a.generations = append(a.generations, idemGeneration{start: at, ids: map[idemKey]ferry.ID{}})
		for len(a.generations) > 1 && a.generations[0].end.Before(at.Add(-a.window)) {
			a.forgetOldest()
		}
	}
	last := &a.generations[len(a.generations)-1]
	before := len(last.ids)
	last.ids[key] = id
	a.n += len(last.ids) - before
	if at.After(last.end) {
		last.end = at
	}
	if x.keys.n+x.repeats.n <= x.most {
		return
	}
	if x.repeats.n > x.repeats.room {
		x.repeats.forgetOldest()
	} else {
		x.keys.forgetOldest()
	}
}

func (a *idemAges) forgetOldest() {
	a.n -= len(a.generations[0].ids)
	a.generations = slices.Clone(a.generations[1:]) // what it no longer holds is collected
}

// rebuild reads the keys of the window from the records, and what flows sent
// without a key within theirs: the newest first, until there is no more room, so
// that a start costs what the index holds and not what the window does. It calls see now
// and then, and says how many records it looked at.
func (x *idemIndex) rebuild(tx *bbolt.Tx, now time.Time, see func()) (looked int) {
	first := ferry.FirstID(now.Add(-max(x.keys.window, x.repeats.window)))
	keysFrom, repeatsFrom := now.Add(-x.keys.window), now.Add(-x.repeats.window)
	c := tx.Bucket(bMessages).Cursor()
	k, v := c.Last()
	for ; k != nil && bytes.Compare(k, first[:]) >= 0 && x.keys.n+x.repeats.n < x.most; k, v = c.Prev() {
		if looked++; looked%givenBackEvery == 0 {
			see()
		}
		id := ferry.ID(k)
		switch route, key, flow := peekKey(v); {
		case key != "":
			if !id.Time().Before(keysFrom) {
				x.keys.addOlder(idemKeyOf(route, key), id)
			}
		case flow && !id.Time().Before(repeatsFrom) && x.repeats.n < x.repeats.room:
			if r, err := decodeRecord(id, v); err == nil { // else others say so
				x.addRepeatsOf(r, x.repeats.addOlder)
			}
		}
	}
	return looked
}

// addOlder adds an entry that is older than all there are: a generation grows
// downwards. What a newer one knows the key of is not needed.
func (a *idemAges) addOlder(key idemKey, id ferry.ID) {
	at := id.Time()
	if n := len(a.generations); n == 0 || a.generations[0].end.Sub(at) > a.window/idemGenerations || len(a.generations[0].ids) >= a.room/idemGenerations {
		a.generations = slices.Insert(a.generations, 0, idemGeneration{start: at, end: at, ids: map[idemKey]ferry.ID{}})
	}
	oldest := &a.generations[0]
	if at.Before(oldest.start) {
		oldest.start = at
	}
	if _, known := oldest.ids[key]; !known {
		oldest.ids[key] = id
		a.n++
	}
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
