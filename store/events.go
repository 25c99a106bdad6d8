package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// An event is written in the commit of each end, under an id that is larger than
// those of all ends before. It refers to the message; what is shown of it is made
// when somebody asks. Events are numbered, so that they are counted without being
// read: oldest and newest tell how many there are.

const (
	maxEventPage = 4 << 20 // bytes of a page, about; one event always fits
	dropStep     = 2000    // events that one commit drops
)

// storedEvent is the value of an event: its number, route, generation, revision,
// state and message as written here, and of a dead letter, also one that is
// discarded, what was said of it, as JSON, since a replay takes it out of the record.
type storedEvent struct {
	no         uint64
	route      uint32
	generation int
	revision   int
	state      ferry.State
	id         ferry.ID
	dead       []byte
}

func (e *storedEvent) encode() []byte {
	b := make([]byte, 0, 32+len(e.dead))
	for _, v := range [...]uint64{e.no, uint64(e.route), uint64(e.generation), uint64(e.revision), stateCode(e.state)} {
		b = binary.AppendUvarint(b, v)
	}
	return append(append(b, e.id[:]...), e.dead...)
}

func decodeEvent(b []byte) (e storedEvent, err error) {
	var state uint64
	var route, generation, revision uint64
	for _, into := range [...]*uint64{&e.no, &route, &generation, &revision, &state} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return e, errDamaged
		}
		*into, b = v, b[n:]
	}
	if state == 0 || state >= uint64(len(storedStates)) || !storedStates[state].Terminal() || len(b) < len(e.id) ||
		route > 1<<32-1 || generation > 1<<31 || revision > 1<<31 {
		return e, errDamaged
	}
	e.route, e.generation, e.revision, e.state = uint32(route), int(generation), int(revision), storedStates[state]
	e.id, e.dead = ferry.ID(b[:len(e.id)]), b[len(e.id):]
	return e, nil
}

// tellEnd writes what tells of an end that the record has just come to.
func (l *Ledger) tellEnd(tx *bbolt.Tx, r *record) error {
	if !r.State.Terminal() {
		return nil
	}
	end := End{Route: l.peek(r.Route).Name, State: r.State, Created: timeOf(r.CreatedAt)}
	if r.State == ferry.StateDeadLettered && r.Dead != nil {
		end.Reason = r.Dead.Reason
	}
	l.group.ends = append(l.group.ends, end)
	if err := l.putEvent(tx, r); err != nil {
		return err
	}
	return l.putNotices(tx, r, l.lastEvent)
}

func (l *Ledger) putEvent(tx *bbolt.Tx, r *record) error {
	e := storedEvent{route: r.Route, generation: r.Generation, revision: r.Revision, state: r.State, id: r.ID}
	if r.Dead != nil && r.State != ferry.StateCompleted {
		text, err := json.Marshal(r.Dead)
		if err != nil {
			return err
		}
		e.dead = text
	}
	b := appending(tx, bEvents)
	no, err := b.NextSequence()
	if err != nil {
		return err
	}
	e.no = no
	l.lastEvent = eventID(time.Now(), l.lastEvent)
	return b.Put(l.lastEvent[:], e.encode())
}

// eventID is an id of now that is larger than last, also when the clock stands
// still or went back.
func eventID(now time.Time, last ferry.ID) ferry.ID {
	id := ferry.NewID(now)
	if bytes.Compare(id[:], last[:]) > 0 {
		return id
	}
	for i := len(last) - 1; i >= 0; i-- {
		if last[i]++; last[i] != 0 {
			break
		}
	}
	return last
}

// beginEvents makes the bucket. Of a ledger that has messages already, what ended
// before is missing.
func beginEvents(tx *bbolt.Tx, now time.Time) error {
	if _, err := tx.CreateBucketIfNotExists(bEvents); err != nil {
		return err
	}
	if k, _ := tx.Bucket(bMessages).Cursor().First(); k == nil {
		return nil
	}
	gone := ferry.NewID(now)
	return tx.Bucket(bMeta).Put(metaEvents, gone[:])
}

// Events lists events. Behind After come the next ones, up to the limit, or to
// what a page may hold; without After, newest first, the latest.
func (l *Ledger) Events(f ferry.EventFilter) (page ferry.EventPage, err error) {
	page.Items = []ferry.Event{}
	routes, some := l.eventRoutes(&f)
	err = l.db.View(func(tx *bbolt.Tx) error {
		if gone := tx.Bucket(bMeta).Get(metaEvents); len(gone) == len(f.After) && !f.After.IsZero() && bytes.Compare(f.After[:], gone) < 0 {
			until := ferry.ID(gone).Time()
			page.GapUntil = &until
		}
		latest := f.Newest && f.After.IsZero()
		c := tx.Bucket(bEvents).Cursor()
		k, v := eventAfter(c, f.After)
		step := c.Next
		if latest {
			k, v = c.Last()
			step = c.Prev
		}
		next := f.After
		for size, n := 0, 0; k != nil && n < scanBound && len(page.Items) < f.Limit && size < maxEventPage; k, v = step() {
			n++
			if id := ferry.ID(k); bytes.Compare(id[:], next[:]) > 0 {
				next = id
			}
			stored, err := decodeEvent(v)
			if err != nil {
				l.log.Error("an event cannot be read: it is passed over", "event", ferry.ID(k), "error", err)
				continue
			}
			if f.Type != "" && f.Type != ferry.EventType(stored.state) || some && !slices.Contains(routes, stored.route) {
				continue
			}
			e, bytes, err := l.event(tx, ferry.ID(k), &stored)
			if err != nil {
				return err
			}
			page.Items = append(page.Items, e)
			size += bytes
		}
		if !next.IsZero() {
			page.NextAfter = next.String()
		}
		if f.Newest && !latest {
			slices.Reverse(page.Items)
		}
		return nil
	})
	return page, err
}

// eventRoutes are the numbers of the routes that the filter names; some is false
// when it names none.
func (l *Ledger) eventRoutes(f *ferry.EventFilter) (list []uint32, some bool) {
	names := f.Routes
	if f.Route != "" {
		if names != nil && !slices.Contains(names, f.Route) {
			return nil, true
		}
		names = []string{f.Route}
	}
	for _, name := range names {
		if no, ok := l.routeNo(name); ok {
			list = append(list, no)
		}
	}
	return list, names != nil
}

// eventAfter places the cursor on the first event behind one.
func eventAfter(c *bbolt.Cursor, after ferry.ID) (k, v []byte) {
	k, v = c.Seek(after[:])
	if bytes.Equal(k, after[:]) {
		k, v = c.Next()
	}
	return k, v
}

// event is a stored event with its message as it ended, and about how long that
// is, in bytes.
func (l *Ledger) event(tx *bbolt.Tx, id ferry.ID, e *storedEvent) (ferry.Event, int, error) {
	out := ferry.Event{ID: id, Type: ferry.EventType(e.state), Time: id.Time()}
	end := ferry.Notice{ID: e.id, Generation: e.generation, State: e.state, At: out.Time}
	if len(e.dead) > 0 {
		dead, err := decodeJSON[ferry.DeadLetter](e.dead)
		if err != nil {
			return out, 0, damaged(err)
		}
		end.Dead = &dead
	}
	r, err := get(tx, e.id)
	if err != nil {
		l.log.Error("the message of an event cannot be read", "message", e.id, "error", err)
	}
	if err != nil || r == nil {
		out.Message = ferry.Envelope{
			ID: e.id, Route: l.nameOf(e.route), State: e.state, Revision: e.revision, Generation: e.generation,
			CreatedAt: e.id.Time(), UpdatedAt: out.Time, DeadLetter: end.Dead, Attempts: []ferry.Attempt{},
		}
		return out, 512, nil
	}
	if out.Message, err = l.envelope(tx, r); err != nil {
		return out, 0, err
	}
	m := &out.Message
	if m.Attempts, err = attempts(tx, e.id); err != nil {
		return out, 0, damaged(err)
	}
	switch {
	case m.State != e.state || m.Generation != e.generation:
		asItEnded(m, end)
	case end.Dead != nil:
		m.DeadLetter = end.Dead // the destination may have said later why: that is no end of its own
	}
	if e.state == ferry.StateDiscarded && m.Discarded == nil {
		m.Discarded = discardOf(m.Acts, out.Time)
	}
	m.Revision = e.revision
	size := 1024 + len(m.Result)
	for i := range m.Attempts {
		size += 512 + len(m.Attempts[i].Text)
	}
	return out, size, nil
}

// discardOf finds the act that discarded a message at a time, where it is no longer
// discarded.
func discardOf(acts []ferry.Act, at time.Time) (discard *ferry.Act) {
	for i := range acts {
		if acts[i].Act == "discard" && !acts[i].At.Truncate(time.Millisecond).After(at) {
			discard = &acts[i]
		}
	}
	return discard
}

// DropEvents removes the events from before a time, and the oldest of more than
// most. It returns how many.
func (l *Ledger) DropEvents(ctx context.Context, before time.Time, most uint64) (int, error) {
	total := 0
	for {
		n := 0
		old, err := l.hasOldEvents(before, most)
		if err != nil || !old {
			return total, err
		}
		err = l.update(ctx, 0, func(tx *bbolt.Tx) (err error) {
			n, err = dropEvents(tx, before, most)
			return err
		})
		if total += n; err != nil || n < dropStep {
			return total, err
		}
	}
}

func (l *Ledger) hasOldEvents(before time.Time, most uint64) (old bool, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bEvents)
		k, v := b.Cursor().First()
		old = k != nil && tooOld(b, k, v, before, most)
		return nil
	})
	return old, err
}

// tooOld says whether an event is to be dropped. One that cannot be read is.
func tooOld(b *bbolt.Bucket, k, v []byte, before time.Time, most uint64) bool {
	first := ferry.FirstID(before)
	no, n := binary.Uvarint(v)
	return bytes.Compare(k, first[:]) < 0 || n <= 0 || b.Sequence()-no >= most
}

func dropEvents(tx *bbolt.Tx, before time.Time, most uint64) (int, error) {
	b := tx.Bucket(bEvents)
	var keys [][]byte // a cursor may pass over keys while others are deleted
	c := b.Cursor()
	for k, v := c.First(); k != nil && len(keys) < dropStep && tooOld(b, k, v, before, most); k, v = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return 0, err
		}
	}
	if len(keys) == 0 {
		return 0, nil
	}
	return len(keys), tx.Bucket(bMeta).Put(metaEvents, keys[len(keys)-1])
}
