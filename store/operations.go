package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// operationSelecting is the state of an operation whose selection is being written:
// nobody was told of it yet, and it is shown to nobody.
const operationSelecting = "selecting"

// operationRow is what the ledger keeps of an operation. Acts, rows of the selection
// and counts change in one commit, so that an act is neither forgotten nor repeated.
type operationRow struct {
	ferry.Operation
	// Rows of the selection: their layout, and the number of the first that was not
	// looked at. What had its turn is gone from the selection, or marked; rows that
	// were passed over, of groups that wait, are looked at again from 0.
	Layout int    `json:"layout"`
	Next   uint32 `json:"next"`
	// Idle: all rows were looked at, and what is left waits for the end of a canary.
	Idle bool `json:"idle,omitempty"`
	// Full: so many are on their way that their ends come first.
	Full bool `json:"full,omitempty"`
	// Of the rate: the tick that it has come to, and when (see pace).
	Tick   int64     `json:"tick,omitempty"`
	TickAt time.Time `json:"tickAt,omitzero"`
	// TickLeft is what is left of the tick's share.
	TickLeft int `json:"tickLeft,omitempty"`
	// Of the speed: since when it has been going on, and what was done before.
	GoesOnSince time.Time `json:"goesOnSince,omitzero"`
	DoneBefore  int       `json:"doneBefore,omitempty"`

	GroupRows int    `json:"groupRows,omitempty"`
	Testing   int    `json:"testing,omitempty"` // groups whose canary has not ended
	Passed    int    `json:"passed,omitempty"`  // groups whose canary came through
	Halted    int    `json:"halted,omitempty"`  // groups that are stopped
	Rest      string `json:"rest,omitempty"`    // state of the groups without a canary
	Swept     bool   `json:"swept,omitempty"`   // nothing of its selection is left

	groups map[uint32]*operationGroup // the committer's, that this commit has read
}

// layoutFrozen is the layout of selections with group and generation. Earlier ones
// had ids alone, and counted how far they had come.
const layoutFrozen = 1

func decodeOperation(v []byte) (*operationRow, error) {
	op, err := decodeJSON[operationRow](v)
	if err != nil {
		return nil, err
	}
	if op.Layout == 0 {
		op.Layout, op.Next = layoutFrozen, uint32(op.Done+op.Skipped)
		if op.State != ferry.OperationRunning {
			op.Swept = true // it took its selection with it
		}
		if op.Skipped > 0 {
			op.SkippedBy = map[ferry.SkipReason]int{ferry.SkipUnspecified: op.Skipped}
		}
	}
	return &op, nil
}

// operationOf is the committer's copy of an operation; nil when there is none.
func (l *Ledger) operationOf(tx *bbolt.Tx, id string) *operationRow {
	if op, ok := l.group.ops[id]; ok {
		return op
	}
	v := tx.Bucket(bOperations).Get([]byte(id))
	if v == nil {
		return nil
	}
	op, err := decodeOperation(v)
	if err != nil {
		l.log.Error("an operation cannot be read", "operation", id, "error", err)
		return nil
	}
	l.keepOperation(op)
	return op
}

func (l *Ledger) keepOperation(op *operationRow) {
	if l.group.ops == nil {
		l.group.ops = map[string]*operationRow{}
	}
	l.group.ops[op.ID] = op
}

// flushOperations writes what the group changed in operations, once each.
func (l *Ledger) flushOperations(tx *bbolt.Tx) error {
	for id, op := range l.group.ops {
		if op.State == "" { // removed
			continue
		}
		for no, g := range op.groups {
			if err := putJSON(tx, bOpGroups, rowKey(id, no), g); err != nil {
				return err
			}
		}
		if err := putJSON(tx, bOperations, []byte(id), op); err != nil {
			return err
		}
	}
	return nil
}

// publishOperation runs under l.mu.
func (l *Ledger) publishOperation(id string, op *operationRow) {
	if op.State == "" {
		delete(l.ops, id)
		return
	}
	l.ops[id] = op.State
	l.leftovers = l.leftovers || op.State == ferry.OperationCancelled && !op.Swept || op.State == ferry.OperationDone && len(l.ops) > maxOperations
}

func (l *Ledger) readOperations(tx *bbolt.Tx) error {
	return tx.Bucket(bOperations).ForEach(func(k, v []byte) error {
		var head struct{ State string }
		if err := json.Unmarshal(v, &head); err != nil {
			return fmt.Errorf("operation %s: %w: %w", k, errDamaged, err)
		}
		l.ops[string(k)] = head.State
		return nil
	})
}

// OperationsIn lists the ids of operations in one of the states, the oldest first.
func (l *Ledger) OperationsIn(states ...string) []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var ids []string
	for id, state := range l.ops {
		if slices.Contains(states, state) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids) // they are time-ordered
	return ids
}

// Operation returns one operation.
func (l *Ledger) Operation(id string) (op ferry.Operation, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		row, err := operation(tx, id)
		if err != nil {
			return err
		}
		op = row.shown(time.Now())
		op.Groups, err = row.shownGroups(tx)
		return err
	})
	return op, err
}

func operation(tx *bbolt.Tx, id string) (*operationRow, error) {
	if v := tx.Bucket(bOperations).Get([]byte(id)); v != nil {
		op, err := decodeOperation(v)
		if err != nil {
			return nil, damaged(err)
		}
		if op.State != operationSelecting {
			return op, nil
		}
	}
	return nil, noOperation(id)
}

func noOperation(id string) error {
	return ferry.Errorf(ferry.CodeNotFound, "there is no operation %.64q", id).WithHint("broker operations list shows them")
}

// Operations lists all that are kept, the newest first, without their groups.
func (l *Ledger) Operations() ([]ferry.Operation, error) {
	list, now := []ferry.Operation{}, time.Now()
	err := l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bOperations).Cursor()
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			op, err := decodeOperation(v)
			if err != nil {
				return damaged(err)
			}
			if op.State == operationSelecting {
				continue
			}
			shown := op.shown(now)
			if shown.Canary != nil {
				canary := *shown.Canary
				canary.Messages = nil
				shown.Canary = &canary
			}
			list = append(list, shown)
		}
		return nil
	})
	return list, err
}

// shown is the operation as people see it, with its speed and expected end.
func (op *operationRow) shown(now time.Time) ferry.Operation {
	o := op.Operation
	if o.State != ferry.OperationRunning || op.GoesOnSince.IsZero() {
		return o
	}
	took, done := now.Sub(op.GoesOnSince).Seconds(), o.Done+o.Skipped-op.DoneBefore
	if took >= 1 && done > 0 {
		o.PerSecond = float64(done) / took
	}
	speed := o.PerSecond
	if configured := o.Rate.PerSecond(); configured > 0 && (speed == 0 || speed > configured) {
		speed = configured
	}
	if speed > 0 && op.Testing == 0 && !op.Idle {
		end := now.Add(time.Duration(float64(o.Left()) / speed * float64(time.Second))).UTC()
		o.ExpectedEnd = &end
	}
	return o
}

// shownGroups are those that are shown: stopped ones first, then the largest.
func (op *operationRow) shownGroups(tx *bbolt.Tx) ([]ferry.OperationGroup, error) {
	var list []ferry.OperationGroup
	err := op.eachGroup(tx, func(_ uint32, g *operationGroup) error {
		shown := g.OperationGroup
		shown.State = op.stateOf(g)
		list = append(list, shown)
		return nil
	})
	stopped := func(g ferry.OperationGroup) int {
		if g.State == ferry.GroupStopped {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(list, func(a, b ferry.OperationGroup) int {
		return cmp.Or(cmp.Compare(stopped(a), stopped(b)), cmp.Compare(b.Total, a.Total))
	})
	return list[:min(len(list), ferry.OperationGroupsShown)], err
}

// change is an operator's act on an operation, with its audit entry.
func (l *Ledger) changeOperation(ctx context.Context, id string, entry ferry.AuditEntry, change func(tx *bbolt.Tx, op *operationRow) (detail string, err error)) (ferry.Operation, error) {
	err := l.update(ctx, 0, func(tx *bbolt.Tx) error {
		op := l.operationOf(tx, id)
		if op == nil || op.State == operationSelecting {
			return noOperation(id)
		}
		detail, err := change(tx, op)
		if err != nil {
			return err
		}
		entry.At, entry.Target, entry.Detail = time.Now().UTC(), "operation "+id, detail
		return l.audit(ctx, tx, entry)
	})
	if err != nil {
		return ferry.Operation{}, err
	}
	return l.Operation(id)
}

// CancelOperation ends a running or stopped operation; what was done stays done.
func (l *Ledger) CancelOperation(ctx context.Context, id, note, by string) (ferry.Operation, error) {
	entry := ferry.AuditEntry{By: by, Act: "operations cancel", Note: note}
	return l.changeOperation(ctx, id, entry, func(_ *bbolt.Tx, op *operationRow) (string, error) {
		if op.State != ferry.OperationRunning && op.State != ferry.OperationStopped {
			return "", ferry.Errorf(ferry.CodeConflict, "operation %s is %s", id, op.State)
		}
		op.end(ferry.OperationCancelled)
		return fmt.Sprintf("%d of %d done", op.Done, op.Total), nil
	})
}

// ContinueOperation has an operation go on that was stopped, with all of its groups:
// somebody mended what they failed of. They are stopped again when many fail alike in
// a row.
func (l *Ledger) ContinueOperation(ctx context.Context, id, note, by string) (ferry.Operation, error) {
	entry := ferry.AuditEntry{By: by, Act: "operations continue", Note: note}
	return l.changeOperation(ctx, id, entry, func(tx *bbolt.Tx, op *operationRow) (string, error) {
		if op.State != ferry.OperationStopped && (op.State != ferry.OperationRunning || op.Halted == 0) {
			return "", ferry.Errorf(ferry.CodeConflict, "operation %s is %s, and nothing of it was stopped", id, op.State)
		}
		if err := l.goOn(tx, op); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d of %d left", op.Left(), op.Total), nil
	})
}

// HaltOperation stops a running operation that the ledger cannot carry on, until a
// person has it go on.
func (l *Ledger) HaltOperation(ctx context.Context, id, why string) error {
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		op := l.operationOf(tx, id)
		if op == nil || op.State != ferry.OperationRunning {
			return nil
		}
		op.State, op.Stopped = ferry.OperationStopped, why
		return l.auditStop(tx, op)
	})
}

// auditStop notes that the broker stopped an operation.
func (l *Ledger) auditStop(tx *bbolt.Tx, op *operationRow) error {
	return l.auditOwn(tx, ferry.AuditEntry{
		At: time.Now().UTC(), By: byBroker, Act: "operations stop", Target: "operation " + op.ID,
		Detail: fmt.Sprintf("%d of %d left", op.Left(), op.Total), Note: head(op.Stopped, ferry.MaxNoteLength),
	})
}

// end is the operation's end; its rows are removed later, in small commits.
func (op *operationRow) end(state string) {
	now := time.Now().UTC()
	op.State, op.FinishedAt, op.Idle = state, &now, false
}

// rowKey is the key of an operation's n-th row.
func rowKey(id string, n uint32) []byte { return append([]byte(id), u32(n)...) }
