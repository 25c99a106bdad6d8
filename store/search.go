package store

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// Lists with filters have no index on disk for what they look for: it would be
// written at random places with every accept. They look at the records, newest
// first, as long as a page may take, and give a cursor to go on from. What cannot
// match is passed over without being decoded.

// Bounds of one page of a list. A page that reaches one comes back short, or empty,
// with a cursor to go on from.
const (
	scanBound = 200_000               // entries that it looks at
	scanTime  = 50 * time.Millisecond // and for how long
)

// budget is what one page may still look at.
type budget struct {
	left int
	end  time.Time
}

func newBudget(entries int) *budget { return &budget{left: entries, end: time.Now().Add(scanTime)} }

// spend takes one entry of it, and says whether there was one. A nil budget never
// ends.
func (b *budget) spend() bool {
	if b == nil {
		return true
	}
	if b.left == 0 || b.left%128 == 0 && time.Now().After(b.end) {
		return false
	}
	b.left--
	return true
}

// quickly tells which records cannot match a filter. What it lets through is
// decoded and looked at.
type quickly struct {
	states uint64 // of stored states, by bit; 0: any
	routes map[uint32]bool
	some   bool     // only these routes
	texts  [][]byte // each stands in the record
	q      string   // is in the record, or the beginning of its id
}

// plain says whether a text stands in a record as it is: JSON has others in a form of
// its own.
func plain(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool {
		return c < ' ' || c > '~' || strings.ContainsRune(`"\<>&`, c)
	})
}

func (l *Ledger) quicklyOf(f *ferry.MessageFilter) *quickly {
	s := l.quicklyNamed(f.Sender, f.Flow, f.Q)
	switch f.State {
	case "":
	case ferry.StateAccepted, ferry.StateRetrying:
		s.states = 1 << stateCode(f.State)
	case ferry.StateQueued:
		s.states = 1<<stateCode(ferry.StateAccepted) | 1<<stateCode(ferry.StateRetrying)
	default:
		s.states = 1 << stateCode(f.State)
	}
	names := f.Routes
	if f.Route != "" {
		names = []string{f.Route}
	}
	if s.some = f.Route != "" || f.Routes != nil; s.some {
		s.routes = map[uint32]bool{}
		for _, name := range names {
			if no, ok := l.routeNo(name); ok {
				s.routes[no] = true
			}
		}
	}
	return s
}

func (*Ledger) quicklyNamed(sender, flow, q string) *quickly {
	s := &quickly{}
	for _, text := range [...]string{sender, flow} {
		if text != "" && plain(text) {
			s.texts = append(s.texts, []byte(text))
		}
	}
	if plain(q) {
		s.q = q
	}
	return s
}

// may says whether the record may match.
func (s *quickly) may(id ferry.ID, v []byte) bool {
	if s.some || s.states != 0 {
		route, state := peekRouteState(v)
		if s.some && !s.routes[route] || s.states != 0 && s.states&(1<<state) == 0 {
			return false
		}
	}
	for _, text := range s.texts {
		if !bytes.Contains(v, text) {
			return false
		}
	}
	return s.q == "" || bytes.Contains(v, []byte(s.q)) || strings.HasPrefix(id.String(), s.q)
}

// peekRouteState reads the two of a record's first fields.
func peekRouteState(b []byte) (route uint32, state uint64) {
	for len(b) > 1 && b[0]%2 == 0 {
		tag := b[0]
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			break
		}
		switch b = b[1+n:]; tag {
		case tRoute:
			route = uint32(v)
		case tState:
			return route, min(v, 63)
		}
	}
	return route, 0
}

// none says whether the counts rule out that a message of the filter's state exists.
func (l *Ledger) none(f *ferry.MessageFilter) bool {
	if f.State == "" {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, row := range l.routes {
		if f.Route != "" && row.Name != f.Route || f.Routes != nil && !slices.Contains(f.Routes, row.Name) {
			continue
		}
		n := row.Pending
		switch f.State {
		case ferry.StateCompleted, ferry.StateDiscarded:
			if n = row.Completed + row.Discarded - row.Purged; n > 0 {
				n = row.Completed
				if f.State == ferry.StateDiscarded {
					n = row.Discarded
				}
			}
		case ferry.StateDeadLettered:
			n = int64(len(row.Dead))
		}
		if n > 0 {
			return false
		}
	}
	return true
}

// byKey finds the messages whose idempotency key is q, newest first, in the index in
// memory: of the idempotency window, as far as the index has room.
func (l *Ledger) byKey(tx *bbolt.Tx, f *ferry.MessageFilter) (found []*record) {
	if f.Q == "" {
		return nil
	}
	l.mu.RLock()
	var ids []ferry.ID
	for no, row := range l.routes {
		if f.Route != "" && row.Name != f.Route || f.Routes != nil && !slices.Contains(f.Routes, row.Name) {
			continue
		}
		if id, ok := l.idem.find(idemKeyOf(no, f.Q), time.Now()); ok {
			ids = append(ids, id)
		}
	}
	l.mu.RUnlock()
	slices.SortFunc(ids, func(a, b ferry.ID) int { return bytes.Compare(b[:], a[:]) })
	for _, id := range ids {
		if r, err := get(tx, id); err == nil && r != nil && r.Key == f.Q {
			found = append(found, r)
		}
	}
	return found
}
