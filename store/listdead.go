package store

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// DeadLetters lists dead letters, the latest first. owner tells a route's owner.
func (l *Ledger) DeadLetters(f ferry.DeadLetterFilter, owner func(route string) string) (ferry.Page, error) {
	page := ferry.Page{Items: []ferry.Envelope{}}
	last, err := l.readCursor(f.Cursor, 24)
	if err != nil {
		return page, err
	}
	next, err := l.eachDead(f, last, owner, l.pageBound, func(tx *bbolt.Tx, r *record) (bool, error) {
		if len(page.Items) == f.Limit {
			return false, nil
		}
		e, err := l.envelope(tx, r)
		page.Items = append(page.Items, e)
		return true, err
	})
	if next != nil {
		page.NextCursor = l.writeCursor(next)
	}
	return page, err
}

// DeadIDs selects every dead letter of a filter, for a bulk act.
func (l *Ledger) DeadIDs(f ferry.DeadLetterFilter, owner func(string) string, keep func(route string, dead *ferry.DeadLetter, id ferry.ID)) error {
	_, err := l.eachDead(f, nil, owner, 0, func(_ *bbolt.Tx, r *record) (bool, error) {
		keep(l.nameOf(r.Route), r.Dead, r.ID)
		return true, nil
	})
	return err
}

// eachDead calls see for every dead letter of the filter, the latest first,
// until it says stop, and returns where to go on (nil: at the end).
func (l *Ledger) eachDead(f ferry.DeadLetterFilter, last []byte, owner func(string) string, bound int, see func(*bbolt.Tx, *record) (bool, error)) (next []byte, err error) {
	var left *budget
	if bound > 0 {
		left = newBudget(bound)
	}
	may := l.quicklyNamed(f.Sender, f.Flow, f.Q)
	err = l.db.View(func(tx *bbolt.Tx) error {
		walk, err := l.deadWalk(tx, &f, owner)
		if err != nil {
			return err
		}
		place := last
		if place == nil && !f.Until.IsZero() {
			place = u64(uint64(nsOf(f.Until)))
		}
		for k := walk.before(place); k != nil; k = walk.next() {
			if !f.Since.IsZero() && int64(binary.BigEndian.Uint64(k)) < nsOf(f.Since) {
				return nil
			}
			if !left.spend() {
				next = last
				return nil
			}
			id := ferry.ID(k[8:24])
			var r *record
			if v := tx.Bucket(bMessages).Get(id[:]); v != nil && may.may(id, v) {
				if r, err = decodeRecord(id, v); err != nil {
					l.log.Error("a dead letter cannot be read", "error", err)
					r = nil
				}
			}
			if r != nil && l.matchesDead(r, &f, owner) {
				more, err := see(tx, r)
				if err != nil {
					return err
				}
				if !more {
					next = last
					return nil
				}
			}
			last = bytes.Clone(k)
		}
		return nil
	})
	return next, err
}

func (l *Ledger) matchesDead(r *record, f *ferry.DeadLetterFilter, owner func(string) string) bool {
	d := r.Dead
	if d == nil ||
		f.Reason != "" && d.Reason != f.Reason ||
		f.Group != "" && d.Group != f.Group ||
		f.Code != "" && d.Code != f.Code ||
		f.Sender != "" && r.SenderName != f.Sender ||
		f.Q != "" && !r.answersTo(f.Q) {
		return false
	}
	if f.Flow != "" && !r.ofFlow(f.Flow) {
		return false
	}
	if f.Route == "" && f.Owner == "" {
		return true
	}
	name := l.nameOf(r.Route)
	return (f.Route == "" || name == f.Route) && (f.Owner == "" || strings.EqualFold(owner(name), f.Owner))
}

// deadWalk goes through dead letters, the latest first: through all of them, or
// through those of some groups alone.
type deadWalk struct {
	all    *bbolt.Cursor // nil: the groups
	groups groupHeap
}

// mostGroups is how many groups a walk goes through side by side. Beyond them it goes
// through all dead letters.
const mostGroups = 4 * ferry.MaxGroups

// deadWalk finds the groups that a filter is about. Route, reason, code and owner are
// the same for all of a group, except for those of ferry.GroupOther.
func (l *Ledger) deadWalk(tx *bbolt.Tx, f *ferry.DeadLetterFilter, owner func(string) string) (*deadWalk, error) {
	whole := &deadWalk{all: tx.Bucket(bDead).Cursor()}
	if f.Route == "" && f.Reason == "" && f.Group == "" && f.Code == "" && f.Owner == "" {
		return whole, nil
	}
	walk := &deadWalk{}
	var prefix []byte
	if f.Route != "" {
		no, ok := l.routeNo(f.Route)
		if !ok {
			return walk, nil
		}
		prefix = u32(no)
	}
	c := tx.Bucket(bGroups).Cursor()
	for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		g, err := decodeJSON[ferry.Group](v)
		other := err != nil || string(k[4:]) == ferry.GroupOther
		if f.Group != "" && string(k[4:]) != f.Group ||
			!other && (f.Reason != "" && g.Reason != f.Reason || f.Code != "" && g.Code != f.Code) ||
			f.Owner != "" && !strings.EqualFold(owner(l.nameOf(binary.BigEndian.Uint32(k))), f.Owner) {
			continue
		}
		if len(walk.groups) == mostGroups {
			return whole, nil
		}
		walk.groups = append(walk.groups, &groupWalk{c: tx.Bucket(bDeadIn).Cursor(), prefix: append(bytes.Clone(k), 0)})
	}
	return walk, nil
}

// before goes to the last one before a place, nil: the latest of all, and returns its
// time and id; nil when there is none.
func (w *deadWalk) before(place []byte) []byte {
	if w.all != nil {
		k, _ := w.all.Last()
		if place != nil {
			k, _ = seekBefore(w.all, place)
		}
		return k
	}
	if place == nil {
		place = bytes.Repeat([]byte{0xff}, 25)
	}
	some := w.groups[:0]
	for _, g := range w.groups {
		k, _ := seekBefore(g.c, append(bytes.Clone(g.prefix), place...))
		if g.at(k) {
			some = append(some, g)
		}
	}
	w.groups = some
	heap.Init(&w.groups)
	return w.groups.top()
}

// next goes to the one before.
func (w *deadWalk) next() []byte {
	if w.all != nil {
		k, _ := w.all.Prev()
		return k
	}
	k, _ := w.groups[0].c.Prev()
	if w.groups[0].at(k) {
		heap.Fix(&w.groups, 0)
	} else {
		heap.Pop(&w.groups)
	}
	return w.groups.top()
}

// groupWalk is how far a walk is in one group.
type groupWalk struct {
	c      *bbolt.Cursor
	prefix []byte
	key    []byte // time and id
}

// at notes where the cursor is, and says whether that is in the group.
func (g *groupWalk) at(k []byte) bool {
	if len(k) != len(g.prefix)+24 || !bytes.HasPrefix(k, g.prefix) {
		return false
	}
	g.key = k[len(g.prefix):]
	return true
}

// time and id are of the dead letter that the cursor is at.
func (g *groupWalk) time() time.Time { return timeOf(int64(binary.BigEndian.Uint64(g.key))) }

func (g *groupWalk) id() ferry.ID { return ferry.ID(g.key[8:24]) }

// groupHeap has the group with the latest on top.
type groupHeap []*groupWalk

func (h groupHeap) top() []byte {
	if len(h) == 0 {
		return nil
	}
	return h[0].key
}

func (h groupHeap) Len() int           { return len(h) }
func (h groupHeap) Less(i, j int) bool { return bytes.Compare(h[i].key, h[j].key) > 0 }
func (h groupHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *groupHeap) Push(x any) { *h = append(*h, x.(*groupWalk)) }

// Pop is for container/heap.
func (h *groupHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
