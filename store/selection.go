package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// Bounds of selecting: what is read in one look at the ledger, which keeps pages from
// being used again, and what one commit writes.
const (
	selectRead   = 2_000
	selectWrite  = 2_000
	mostOpGroups = 1_000 // groups that one operation tells apart; then one for the rest
)

// Selection is what a bulk act is to touch: chosen once, with what each message was
// then, and frozen by StartOperation. It holds about 40 bytes per message.
type Selection struct {
	list    []chosen
	groups  []operationGroup
	byName  map[failureKey]uint32
	ByRoute map[string]map[ferry.Reason]int
	// MayExist counts those that may exist at the destination already.
	MayExist int
	// Gone counts messages of an operation that is to be undone which are no longer
	// there, or no longer as it left them.
	Gone int
}

// chosen is one message of a selection.
type chosen struct {
	id         ferry.ID
	seq        uint64 // of the route's accepts
	route      uint32
	generation uint32
	group      uint32
}

type failureKey struct {
	route uint32
	name  string
}

func newSelection() *Selection {
	return &Selection{byName: map[failureKey]uint32{}, ByRoute: map[string]map[ferry.Reason]int{}}
}

// Len is how many messages were selected.
func (s *Selection) Len() int { return len(s.list) }

// Groups is how many groups of errors alike they are of.
func (s *Selection) Groups() int { return len(s.groups) }

// add takes a message in. route is the name of its route.
func (s *Selection) add(route string, r *record) error {
	if len(s.list) == ferry.MaxSelection {
		return ferry.Errorf(ferry.CodeBatchTooLarge, "more than %d messages are selected", ferry.MaxSelection).
			WithHint("narrow the filter, by route, group or time, and act in several operations")
	}
	dead := r.Dead
	if dead == nil { // discarded while it waited
		dead = &ferry.DeadLetter{}
	}
	if s.ByRoute[route] == nil {
		s.ByRoute[route] = map[ferry.Reason]int{}
	}
	s.ByRoute[route][dead.Reason]++
	if dead.MayExist() {
		s.MayExist++
	}
	s.list = append(s.list, chosen{r.ID, r.Seq, r.Route, uint32(r.Generation), s.group(route, r.Route, dead)})
	return nil
}

// group is the number of the message's group. Its failure is worked out once for each
// group: masking words is most of what selecting would cost.
func (s *Selection) group(route string, no uint32, dead *ferry.DeadLetter) uint32 {
	key := failureKey{no, dead.Group}
	var name, words string
	if dead.Group == ferry.GroupOther || dead.Group == "" { // of several failures
		name, words = failureOf(dead)
		key.name = name
	}
	if n, ok := s.byName[key]; ok {
		s.groups[n].Total++
		return n
	}
	if name == "" {
		name, words = failureOf(dead)
	}
	g := operationGroup{Failure: name, OperationGroup: ferry.OperationGroup{Group: dead.Group, Route: route, Reason: dead.Reason, Code: dead.Code, Description: words}}
	if len(s.byName) >= mostOpGroups {
		key = failureKey{}
		g = operationGroup{OperationGroup: ferry.OperationGroup{Group: ferry.GroupOther, Description: otherErrors}}
	}
	n, ok := s.byName[key]
	if !ok {
		n = uint32(len(s.groups))
		s.byName[key] = n
		s.groups = append(s.groups, g)
	}
	s.groups[n].Total++
	return n
}

// SelectDead selects the dead letters of a filter that keep allows. What becomes a
// dead letter meanwhile is not selected. Limit and Cursor of the filter are not looked at.
func (l *Ledger) SelectDead(ctx context.Context, f ferry.DeadLetterFilter, owner func(string) string, keep func(*ferry.DeadLetter) bool) (*Selection, error) {
	s := newSelection()
	var last []byte
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		next, err := l.eachDead(f, last, owner, selectRead, func(_ *bbolt.Tx, r *record) (bool, error) {
			if !keep(r.Dead) {
				return true, nil
			}
			return true, s.add(l.nameOf(r.Route), r)
		})
		if err != nil || next == nil {
			return s, err
		}
		last = next
	}
}

// SelectDiscarded selects discarded messages: times of the filter are those of the
// discard, the rest of it is what they were as dead letters. It looks at every message.
func (l *Ledger) SelectDiscarded(ctx context.Context, f ferry.DeadLetterFilter, owner func(string) string) (*Selection, error) {
	s := newSelection()
	var from []byte
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		more = false
		err := l.db.View(func(tx *bbolt.Tx) error {
			c, n := tx.Bucket(bMessages).Cursor(), 0
			for k, v := c.Seek(from); k != nil; k, v = c.Next() {
				if n == selectRead {
					from, more = slices.Clone(k), true
					return nil
				}
				n++
				r, err := decodeRecord(ferry.ID(k), v)
				if err != nil || r.State != ferry.StateDiscarded || !l.matchesDiscarded(r, f, owner) {
					continue
				}
				if err := s.add(l.nameOf(r.Route), r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (l *Ledger) matchesDiscarded(r *record, f ferry.DeadLetterFilter, owner func(string) string) bool {
	at := r.Discarded
	if at == nil || !f.Since.IsZero() && at.At.Before(f.Since) || !f.Until.IsZero() && !at.At.Before(f.Until) {
		return false
	}
	f.Since, f.Until = time.Time{}, time.Time{}
	if r.Dead != nil {
		return l.matchesDead(r, &f, owner)
	}
	waiting := *r // it was no dead letter: only filters of dead letters do not match
	waiting.Dead = &ferry.DeadLetter{}
	return l.matchesDead(&waiting, &f, owner)
}

// SelectIDs selects the messages that are named, once each. One that is not there is
// an error; leave says which are left out.
func (l *Ledger) SelectIDs(ids []ferry.ID, leave func(ferry.State, *ferry.DeadLetter) bool) (*Selection, error) {
	s, seen := newSelection(), map[ferry.ID]bool{}
	err := l.db.View(func(tx *bbolt.Tx) error {
		for _, id := range ids {
			if seen[id] {
				continue
			}
			seen[id] = true
			r, err := must(tx, id)
			if err != nil {
				return err
			}
			if leave(r.State, r.Dead) {
				continue
			}
			if err := s.add(l.nameOf(r.Route), r); err != nil {
				return err
			}
		}
		return nil
	})
	return s, err
}

// SelectOperation selects what an operation discarded and nobody has touched since.
func (l *Ledger) SelectOperation(ctx context.Context, id string) (*Selection, error) {
	s := newSelection()
	for from, more := uint32(0), true; more; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		more = false
		err := l.db.View(func(tx *bbolt.Tx) error {
			op, err := operation(tx, id)
			if err != nil {
				return err
			}
			if op.Act != ferry.ActDiscard {
				return ferry.Errorf(ferry.CodeBadFilter, "operation %s is a %s, and not a discard", id, op.Act).
					WithHint("only a discard can be taken back")
			}
			if op.Swept {
				s.Gone = op.Done
				return nil
			}
			c, n := tx.Bucket(bSelected).Cursor(), 0
			for k, v := c.Seek(rowKey(id, from)); isRow(k, id); k, v = c.Next() {
				no := rowNumber(k)
				if n == selectRead {
					from, more = no, true
					return nil
				}
				n++
				row, ok := decodeRow(v)
				if !ok || !row.done {
					continue
				}
				r, err := get(tx, row.id)
				if err != nil || r == nil || r.State != ferry.StateDiscarded || r.Handled.Operation.String() != id {
					s.Gone++
					continue
				}
				if err := s.add(l.nameOf(r.Route), r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// StartOperation freezes a selection on disk, in small commits that others' writes
// come between, and sets the operation going with the last. The ledger owns the
// selection from then on.
func (l *Ledger) StartOperation(ctx context.Context, op ferry.Operation, s *Selection) error {
	row := &operationRow{Operation: op, Layout: layoutFrozen}
	row.State, row.Total = operationSelecting, s.Len()
	l.mu.Lock()
	l.begun[op.ID] = true
	l.mu.Unlock()
	forget := sync.OnceFunc(func() {
		l.mu.Lock()
		delete(l.begun, op.ID)
		l.mu.Unlock()
	})
	defer forget()
	err := l.update(ctx, 0, func(*bbolt.Tx) error {
		if err := l.roomForOperation(); err != nil {
			return err
		}
		l.keepOperation(row.copy())
		return nil
	})
	if err != nil {
		return err
	}
	if err = l.writeSelection(ctx, row, s); err == nil {
		err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
			row.State = ferry.OperationRunning
			l.keepOperation(row.copy())
			return l.audit(ctx, tx, ferry.AuditEntry{At: op.CreatedAt, By: op.By, Act: op.Act + " in bulk", Target: "operation " + op.ID, Detail: operationDetail(&row.Operation), Note: op.Note})
		})
	}
	if err != nil {
		forget()
		if sweep := l.sweepOperation(context.WithoutCancel(ctx), op.ID, true); sweep != nil {
			l.log.Warn("a selection that was not finished stays until the next start", "operation", op.ID, "error", sweep)
		}
	}
	return err
}

func (op *operationRow) copy() *operationRow {
	c := *op
	return &c
}

// roomForOperation is the committer's.
func (l *Ledger) roomForOperation() error {
	live := 0
	for id, state := range l.ops { // only the committer changes it
		if op, ok := l.group.ops[id]; ok {
			state = op.State
		}
		if state == ferry.OperationRunning || state == ferry.OperationStopped || state == operationSelecting {
			live++
		}
	}
	for id, op := range l.group.ops {
		if _, known := l.ops[id]; !known && op.State != "" {
			live++
		}
	}
	if live >= ferry.MaxOperations {
		return ferry.Errorf(ferry.CodeLimitReached, "%d operations run or are stopped already", live).
			WithHint("wait for one, or end one: broker operations list, broker operations cancel ID")
	}
	return nil
}

func (l *Ledger) writeSelection(ctx context.Context, op *operationRow, s *Selection) error {
	order := s.arrange(op)
	// Within a route in the order of acceptance, so that messages of one ordering key
	// come back in theirs.
	slices.SortFunc(s.list, func(a, b chosen) int {
		return cmp.Or(cmp.Compare(a.route, b.route), cmp.Compare(a.seq, b.seq))
	})
	for from := 0; from < len(s.groups) && op.GroupRows > 0; from += selectWrite {
		part := s.groups[from:min(from+selectWrite, len(s.groups))]
		if err := l.update(ctx, 0, func(tx *bbolt.Tx) error {
			for i := range part {
				if err := putJSON(tx, bOpGroups, rowKey(op.ID, uint32(from+i)), &part[i]); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	for from := 0; from < len(s.list); from += selectWrite {
		part := s.list[from:min(from+selectWrite, len(s.list))]
		if err := l.update(ctx, 64*len(part), func(tx *bbolt.Tx) error {
			b := appending(tx, bSelected)
			for i, one := range part {
				if err := b.Put(rowKey(op.ID, uint32(from+i)), one.encode(order)); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// operationDetail is what a bulk act selects.
func operationDetail(op *ferry.Operation) string {
	text := fmt.Sprintf("%d messages", op.Total)
	if op.Filter != (ferry.DeadLetterFilter{}) {
		filter, _ := json.Marshal(op.Filter) // texts and times: it cannot fail
		text += " of " + string(filter)
	}
	if op.Undoes != "" {
		text += ", discarded by operation " + op.Undoes
	}
	if op.Canary != nil {
		text += fmt.Sprintf(", %d of them first", op.Canary.Size)
	}
	if !op.Rate.IsZero() {
		text += ", at most " + op.Rate.String()
	}
	return text
}

// A row of a selection is the id, the number of the group, the generation plus one
// (0: not known) and whether it was done; rows of earlier versions are the id alone.

const rowLength = 16 + 4 + 4 + 1

type selectedRow struct {
	id         ferry.ID
	group      uint32
	generation int // -1: not known
	done       bool
}

// encode writes the row; order gives groups their new numbers.
func (one *chosen) encode(order []uint32) []byte {
	b := append(make([]byte, 0, rowLength), one.id[:]...)
	b = binary.BigEndian.AppendUint32(b, order[one.group])
	b = binary.BigEndian.AppendUint32(b, one.generation+1)
	return append(b, 0)
}

func decodeRow(v []byte) (row selectedRow, ok bool) {
	switch len(v) {
	case len(row.id):
		return selectedRow{id: ferry.ID(v), generation: -1}, true
	case rowLength:
		return selectedRow{
			id: ferry.ID(v[:16]), group: binary.BigEndian.Uint32(v[16:]),
			generation: int(binary.BigEndian.Uint32(v[20:])) - 1, done: v[24] == 1,
		}, true
	}
	return row, false
}

func isRow(k []byte, id string) bool { return len(k) == len(id)+4 && string(k[:len(id)]) == id }

func rowNumber(k []byte) uint32 { return binary.BigEndian.Uint32(k[len(k)-4:]) }
