package store

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// A flow's action may be sent twice by its engine, also where its settings say
// never, and the run history does not show it. A message without a key is known by
// what the engine tells of itself.

// repeatKeys are the names of a message that a flow sent without a key. One that is
// zero is none.
type repeatKeys struct {
	exact idemKey // by run, action, tracking id and body
	alike idemKey // without the tracking id
	nth   int     // among the equal messages of its batch, from 0
}

func (k *repeatKeys) none() bool { return k.alike == idemKey{} }

// repeatKeysOf gives none where the run or the action is not known.
func repeatKeysOf(route uint32, f *ferry.Flow, nth int, hash []byte) repeatKeys {
	if f == nil || f.RunID == "" || f.Operation == "" {
		return repeatKeys{}
	}
	k := repeatKeys{nth: nth}
	k.alike = repeatKey(route, f, "", nth, hash)
	if f.TrackingID != "" {
		k.exact = repeatKey(route, f, f.TrackingID, nth, hash)
	}
	return k
}

// repeatKey is none of idemKeyOf's: an idempotency key does not begin with a zero.
func repeatKey(route uint32, f *ferry.Flow, tracking string, nth int, hash []byte) idemKey {
	b := append(make([]byte, 0, 512), u32(route)...)
	b = append(b, 0)
	for _, s := range [...]string{f.RunID, f.Operation, tracking} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	b = append(binary.AppendUvarint(b, uint64(nth)), hash...)
	h := sha256.Sum256(b)
	return idemKey(h[:16])
}

// addRepeatsOf gives the names of a record that a flow sent without a key to add.
func (*idemIndex) addRepeatsOf(r *record, add func(idemKey, ferry.ID)) {
	if len(r.BodyHash) < sha256.Size {
		return
	}
	k := repeatKeysOf(r.Route, r.Flow, r.Nth, r.sentHashOf(1))
	for _, key := range [...]idemKey{k.exact, k.alike} {
		if key != (idemKey{}) {
			add(key, r.ID)
		}
	}
}

// asRepeat prepares a message without a key to be known again, and as one.
func (p *prepared) asRepeat(nth int) {
	if p.keyed || p.msg.Duplicates == ferry.DuplicatesOff {
		return
	}
	p.repeat = repeatKeysOf(p.route, p.msg.Sender.Flow, nth, p.sent[:])
}

// tellApart numbers the equal messages of one batch. They are as many documents;
// when the batch comes again, each is the repeat of its own.
func tellApart(ps []prepared) {
	var seen map[idemKey]int
	for i := range ps {
		p := &ps[i]
		if p.repeat.none() {
			continue
		}
		if seen == nil {
			seen = make(map[idemKey]int, len(ps))
		}
		key := p.repeat.exact
		if key == (idemKey{}) {
			key = p.repeat.alike
		}
		if n := seen[key]; n > 0 {
			p.asRepeat(n)
		}
		seen[key]++
	}
}

// wanted is the name that the message's route asks for, and whether it settles that
// a message is a repeat.
func (p *prepared) wanted() (key idemKey, certain bool) {
	switch {
	case p.msg.Duplicates == ferry.DuplicatesRun:
		return p.repeat.alike, true
	case p.repeat.exact != idemKey{}:
		return p.repeat.exact, true
	default:
		return p.repeat.alike, false
	}
}

// isRepeat holds what the index found against the record.
func (p *prepared) isRepeat(r *record) bool {
	key, _ := p.wanted()
	if r.Key != "" || len(r.BodyHash) < sha256.Size {
		return false
	}
	k := repeatKeysOf(r.Route, r.Flow, r.Nth, r.sentHashOf(1))
	return key == k.exact || key == k.alike
}

// decideRepeat is decide for a message without a key.
func (l *Ledger) decideRepeat(tx *bbolt.Tx, p *prepared, fresh decision) (decision, error) {
	if p.repeat.none() {
		return fresh, nil
	}
	key, certain := p.wanted()
	id, found := l.group.repeats[key]
	if !found {
		id, found = l.idem.findRepeat(key, time.Now()) // the committer alone changes the index
	}
	if !found {
		return fresh, nil
	}
	r, err := get(tx, id)
	if err != nil {
		return decision{}, damaged(err)
	}
	switch {
	case r == nil || !p.isRepeat(r): // removed meanwhile
	case certain:
		return decision{answer: l.repeatOf(r)}, nil
	default:
		fresh.answer.PossibleRepeatOf = r.ID
	}
	return fresh, nil
}

// noteRepeat lets later messages of the group, and after its commit all, find the
// message.
func (l *Ledger) noteRepeat(p *prepared, id ferry.ID) {
	if p.repeat.none() {
		return
	}
	if l.group.repeats == nil {
		l.group.repeats = map[idemKey]ferry.ID{}
	}
	l.group.repeats[p.repeat.alike] = id
	if p.repeat.exact != (idemKey{}) {
		l.group.repeats[p.repeat.exact] = id
	}
}
