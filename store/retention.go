package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// Retention must not read the whole ledger again and again, and must cost the way of
// a message nothing. So each record is looked at once, in the order of acceptance,
// when it is as old as the shortest retention: the sieve. What is over goes at once;
// what has ended and is to be kept longer gets an entry in ended, by class, route and
// time. A message that the sieve passed while it waited gets its entry in the commit
// of its end. Behind the sieve only entries whose time has come are looked at, and it
// does not matter when a retention changes: entries say when something ended, not
// when it goes.

// The classes of ended: what goes when a retention is over.
const (
	endedCompleted byte = 1 // a completed message
	endedDiscarded byte = 2 // a discarded one
	endedBody      byte = 3 // the bodies of a completed one
)

// purgeStep is how many records one commit looks at: few, so that accepts between
// the steps wait for little.
const purgeStep = 500

// Keep is the retention of a route, whole: a time for each of its fields, or
// ferry.KeepForever. Of a route that is not configured any more, too.
type Keep func(route string) ferry.Retention

// Purged is what one round of Purge did.
type Purged struct {
	Completed, Discarded int // messages that were removed
	Bodies               int // completed messages whose bodies were removed
	Looked               int // records and entries that were looked at
	More                 bool
}

func (p *Purged) add(more Purged) {
	p.Completed += more.Completed
	p.Discarded += more.Discarded
	p.Bodies += more.Bodies
	p.Looked += more.Looked
}

// Purge removes what retention no longer keeps: completed and discarded messages with
// all that hangs on them, and bodies of completed ones. Day tallies keep counting what
// was removed. A message stays while somebody is to be told its end. Of dead letters
// see DiscardOldDead.
//
// It looks at about bound records and entries; More says that there is more to do
// now. It looks at nothing twice that is not over.
func (l *Ledger) Purge(ctx context.Context, now time.Time, keep Keep, bound int) (Purged, error) {
	var done Purged
	step := func(part func(tx *bbolt.Tx, now time.Time, keep Keep, p *purging) (bool, error)) error {
		for ctx.Err() == nil {
			if done.Looked >= bound {
				done.More = true
				return nil
			}
			var p purging
			more := false
			err := l.update(ctx, 0, func(tx *bbolt.Tx) (err error) {
				p = purging{}
				more, err = part(tx, now, keep, &p)
				return err
			})
			if err != nil {
				return err
			}
			l.removeFiles(p.files)
			if done.add(p.Purged); !more {
				return nil
			}
		}
		return ctx.Err()
	}
	if !l.sieveIsThrough(now, keep) {
		if err := step(l.sieve); err != nil {
			return done, err
		}
	}
	for _, class := range [...]byte{endedCompleted, endedDiscarded, endedBody} {
		for _, due := range l.overIn(class, now, keep) {
			if err := step(func(tx *bbolt.Tx, now time.Time, keep Keep, p *purging) (bool, error) {
				return l.purgeEnded(tx, due, p)
			}); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// purging is what one commit of Purge does.
type purging struct {
	Purged
	files []string // to be removed after the commit
}

// endedKey is the entry of an end.
func endedKey(class byte, route uint32, at int64, id ferry.ID) []byte {
	k := binary.BigEndian.AppendUint32(append(make([]byte, 0, 29), class), route)
	return append(binary.BigEndian.AppendUint64(k, uint64(at)), id[:]...)
}

// noteEnded writes the entry of an end that the record has just come to, where the
// sieve has passed it.
func noteEnded(tx *bbolt.Tx, r *record, now time.Time) error {
	if r.State != ferry.StateCompleted && r.State != ferry.StateDiscarded {
		return nil
	}
	if passed := tx.Bucket(bMeta).Get(metaSieved); bytes.Compare(r.ID[:], passed) > 0 {
		return nil
	}
	return putEnded(tx, r, now.UnixNano())
}

func putEnded(tx *bbolt.Tx, r *record, at int64) error {
	b := tx.Bucket(bEnded)
	if r.State == ferry.StateDiscarded {
		return b.Put(endedKey(endedDiscarded, r.Route, at, r.ID), nil)
	}
	err := b.Put(endedKey(endedCompleted, r.Route, at, r.ID), nil)
	if r.hasBodies() {
		err = errors.Join(err, b.Put(endedKey(endedBody, r.Route, at, r.ID), nil))
	}
	return err
}

// hasBodies says whether there is a body to be removed.
func (r *record) hasBodies() bool { return r.BodiesGone == 0 && (r.Size > 0 || r.Revision > 1) }

// sieveAge is the shortest retention of all: younger messages are not looked at.
func (l *Ledger) sieveAge(keep Keep) time.Duration {
	l.mu.RLock()
	names := make([]string, 0, len(l.byName))
	for name := range l.byName {
		names = append(names, name)
	}
	l.mu.RUnlock()
	age := time.Duration(1<<63 - 1)
	for _, name := range names {
		k := keep(name)
		for _, d := range [...]time.Duration{k.Completed, k.Discarded, k.Bodies} {
			if d != ferry.KeepForever {
				age = min(age, d)
			}
		}
	}
	return age
}

// sieveEnd is the id before which messages are old enough for the sieve.
func (l *Ledger) sieveEnd(now time.Time, keep Keep) ferry.ID {
	age := l.sieveAge(keep)
	if age > time.Duration(now.UnixNano()) {
		return ferry.ID{}
	}
	return ferry.FirstID(now.Add(-age))
}

// sieveIsThrough says, without a commit, whether the sieve has nothing to look at.
func (l *Ledger) sieveIsThrough(now time.Time, keep Keep) (through bool) {
	end := l.sieveEnd(now, keep)
	err := l.db.View(func(tx *bbolt.Tx) error {
		k, _ := afterSieve(tx)
		through = k == nil || bytes.Compare(k, end[:]) >= 0
		return nil
	})
	return err == nil && through
}

// afterSieve places a cursor on the first message that the sieve has not passed.
func afterSieve(tx *bbolt.Tx) (k []byte, c *bbolt.Cursor) {
	c = tx.Bucket(bMessages).Cursor()
	passed := tx.Bucket(bMeta).Get(metaSieved)
	if k, _ = c.Seek(passed); k != nil && bytes.Equal(k, passed) {
		k, _ = c.Next()
	}
	return k, c
}

// sieve looks at the next messages. It does so inside the commit that moves it on: a
// message that ends meanwhile is either seen ended, or finds the sieve behind it.
func (l *Ledger) sieve(tx *bbolt.Tx, now time.Time, keep Keep, p *purging) (more bool, err error) {
	end := l.sieveEnd(now, keep)
	var last []byte
	var over []*record // a cursor may pass over keys while others are deleted
	k, c := afterSieve(tx)
	for v := tx.Bucket(bMessages).Get(k); k != nil && bytes.Compare(k, end[:]) < 0; k, v = c.Next() {
		if p.Looked == purgeStep {
			more = true
			break
		}
		p.Looked++
		last = k
		r, err := decodeRecord(ferry.ID(k), v)
		if err != nil {
			l.log.Error("a record cannot be read: retention leaves it", "message", ferry.ID(k), "error", err)
			continue
		}
		if r.State == ferry.StateCompleted || r.State == ferry.StateDiscarded {
			over = append(over, r)
		}
	}
	if last == nil {
		return false, nil
	}
	passed := bytes.Clone(last)
	for _, r := range over {
		if err := l.sift(tx, r, now, keep(l.row(r.Route).Name), p); err != nil {
			return false, err
		}
	}
	return more, tx.Bucket(bMeta).Put(metaSieved, passed)
}

// sift removes what is over of a record, and notes what is to be kept longer.
func (l *Ledger) sift(tx *bbolt.Tx, r *record, now time.Time, keep ferry.Retention, p *purging) error {
	kept := keep.Completed
	if r.State == ferry.StateDiscarded {
		kept = keep.Discarded
	}
	age := now.UnixNano() - r.UpdatedAt
	if age > int64(kept) && !l.owed(r.ID) {
		return l.purgeMessage(tx, r, p)
	}
	if r.State == ferry.StateCompleted && r.hasBodies() && keep.Bodies != ferry.KeepForever && age > int64(keep.Bodies) {
		if err := errors.Join(l.purgeBodies(tx, r, now, p), put(tx, r)); err != nil {
			return err
		}
	}
	return putEnded(tx, r, r.UpdatedAt)
}

// over is what retention no longer keeps of a class and a route: entries of ends
// before a time.
type over struct {
	class  byte
	route  uint32
	before int64
	now    time.Time
}

// overIn lists the routes of a class of which the oldest entry is over. It reads one
// entry of each.
func (l *Ledger) overIn(class byte, now time.Time, keep Keep) (list []over) {
	l.mu.RLock()
	names := make(map[uint32]string, len(l.byName))
	for name, no := range l.byName {
		names[no] = name
	}
	l.mu.RUnlock()
	_ = l.db.View(func(tx *bbolt.Tx) error { // what cannot be read now can be the next time
		c := tx.Bucket(bEnded).Cursor()
		for no, name := range names {
			k, kept := keep(name), time.Duration(0)
			switch class {
			case endedCompleted:
				kept = k.Completed
			case endedDiscarded:
				kept = k.Discarded
			default:
				kept = k.Bodies
			}
			if kept == ferry.KeepForever {
				kept = k.Completed + 24*time.Hour // of entries whose messages are gone
			}
			o := over{class: class, route: no, before: now.UnixNano() - int64(kept), now: now}
			if k, _ := c.Seek(o.prefix()); o.has(k) {
				list = append(list, o)
			}
		}
		return nil
	})
	return list
}

// state is that of the messages whose entries these are.
func (o *over) state() ferry.State {
	if o.class == endedDiscarded {
		return ferry.StateDiscarded
	}
	return ferry.StateCompleted
}

func (o *over) prefix() []byte { return binary.BigEndian.AppendUint32([]byte{o.class}, o.route) }

// has says whether an entry is one of these.
func (o *over) has(k []byte) bool {
	return len(k) == 29 && bytes.HasPrefix(k, o.prefix()) && int64(binary.BigEndian.Uint64(k[5:])) < o.before
}

// purgeEnded removes what the next entries are of.
func (l *Ledger) purgeEnded(tx *bbolt.Tx, o over, p *purging) (more bool, err error) {
	var keys [][]byte // a cursor may pass over keys while others are deleted
	c := tx.Bucket(bEnded).Cursor()
	for k, _ := c.Seek(o.prefix()); o.has(k); k, _ = c.Next() {
		if o.class != endedBody && l.owed(ferry.ID(k[13:])) {
			continue // its entry stays until it is told
		}
		if len(keys) == purgeStep {
			more = true
			break
		}
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		p.Looked++
		if err := tx.Bucket(bEnded).Delete(k); err != nil {
			return false, err
		}
		at, id := int64(binary.BigEndian.Uint64(k[5:])), ferry.ID(k[13:])
		r, err := get(tx, id)
		if err != nil {
			l.log.Error("a record cannot be read: retention leaves it", "message", id, "error", err)
			continue
		}
		if r == nil || r.State != o.state() {
			continue // restored since
		}
		if err := l.purgeOne(tx, r, at, o, p); err != nil {
			return false, err
		}
	}
	return more, nil
}

// purgeOne removes what is over of a record, or notes it anew where something became
// of it since it ended.
func (l *Ledger) purgeOne(tx *bbolt.Tx, r *record, at int64, o over, p *purging) error {
	if o.class == endedBody {
		switch {
		case !r.hasBodies():
			return nil
		case r.UpdatedAt >= o.before:
			return tx.Bucket(bEnded).Put(endedKey(endedBody, r.Route, r.UpdatedAt, r.ID), nil)
		}
		return errors.Join(l.purgeBodies(tx, r, o.now, p), put(tx, r))
	}
	if o.class == endedCompleted { // its other entry
		if err := tx.Bucket(bEnded).Delete(endedKey(endedBody, r.Route, at, r.ID)); err != nil {
			return err
		}
	}
	if r.UpdatedAt >= o.before {
		return putEnded(tx, r, r.UpdatedAt)
	}
	return l.purgeMessage(tx, r, p)
}

// purgeMessage removes a message with all that hangs on it. Its day's tally keeps
// counting it.
func (l *Ledger) purgeMessage(tx *bbolt.Tx, r *record, p *purging) error {
	t := l.tally(tx, r)
	if r.State == ferry.StateCompleted {
		t.PurgedCompleted++
		p.Completed++
	} else {
		t.PurgedDiscarded++
		p.Discarded++
	}
	return errors.Join(l.markPurged(tx, r), l.dropBodies(tx, r, p), removeAttempts(tx, r.ID), removeLocks(tx, r), tx.Bucket(bMessages).Delete(r.ID[:]))
}

// purgeBodies removes the bodies of a completed message. The caller puts the record.
func (l *Ledger) purgeBodies(tx *bbolt.Tx, r *record, now time.Time, p *purging) error {
	err := l.dropBodies(tx, r, p)
	r.BodiesGone = now.UnixNano()
	p.Bodies++
	return err
}

func (l *Ledger) dropBodies(tx *bbolt.Tx, r *record, p *purging) error {
	if r.BodiesGone != 0 {
		return nil
	}
	files, err := l.removeBodies(tx, r)
	if r.Size > ferry.InlineBody || r.Revision > 1 {
		p.files = append(p.files, files...)
	}
	return err
}
