package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// maxOperations bounds what is kept of ended operations.
const maxOperations = 1000

// StartOperation freezes a bulk act's selection on disk.
func (l *Ledger) StartOperation(ctx context.Context, op ferry.Operation, ids []ferry.ID) error {
	return l.update(ctx, 16*len(ids), func(tx *bbolt.Tx) error {
		if err := dropOldOperations(tx); err != nil {
			return err
		}
		selected := tx.Bucket(bSelected)
		for i, id := range ids {
			if err := selected.Put(append([]byte(op.ID), u32(uint32(i))...), id[:]); err != nil {
				return err
			}
		}
		if err := putJSON(tx, bOperations, []byte(op.ID), op); err != nil {
			return err
		}
		return l.audit(ctx, tx, ferry.AuditEntry{At: op.CreatedAt, By: op.By, Act: op.Act + " in bulk", Target: "operation " + op.ID, Detail: operationDetail(&op), Note: op.Note})
	})
}

// operationDetail is what a bulk act selects.
func operationDetail(op *ferry.Operation) string {
	text := fmt.Sprintf("%d messages", op.Total)
	if op.Filter != (ferry.DeadLetterFilter{}) {
		filter, _ := json.Marshal(op.Filter) // texts and times: it cannot fail
		text += " of " + string(filter)
	}
	return text
}

// dropOldOperations forgets the oldest ended ones; ids are time-ordered.
func dropOldOperations(tx *bbolt.Tx) error {
	b := tx.Bucket(bOperations)
	excess := b.Stats().KeyN - maxOperations + 1
	var old [][]byte
	c := b.Cursor()
	for k, v := c.First(); k != nil && len(old) < excess; k, v = c.Next() {
		op, err := decodeJSON[ferry.Operation](v)
		if err == nil && op.State != OperationRunning {
			old = append(old, bytes.Clone(k))
		}
	}
	for _, k := range old {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// The states of an operation.
const (
	OperationRunning   = "running"
	OperationDone      = "done"
	OperationCancelled = "cancelled"
)

// Operation returns one operation.
func (l *Ledger) Operation(id string) (op ferry.Operation, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		op, err = operation(tx, id)
		return err
	})
	return op, err
}

func operation(tx *bbolt.Tx, id string) (ferry.Operation, error) {
	v := tx.Bucket(bOperations).Get([]byte(id))
	if v == nil {
		return ferry.Operation{}, ferry.Errorf(ferry.CodeNotFound, "there is no operation %.64q", id).WithHint("broker operations list shows them")
	}
	op, err := decodeJSON[ferry.Operation](v)
	if err != nil {
		return op, damaged(err)
	}
	return op, nil
}

// Operations lists all that are kept, the newest first.
func (l *Ledger) Operations() ([]ferry.Operation, error) {
	list := []ferry.Operation{}
	err := l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bOperations).Cursor()
		for k, v := c.Last(); k != nil; k, v = c.Prev() {
			op, err := decodeJSON[ferry.Operation](v)
			if err != nil {
				return damaged(err)
			}
			list = append(list, op)
		}
		return nil
	})
	return list, err
}

// Selected returns messages of an operation's frozen selection, from the n-th on.
func (l *Ledger) Selected(id string, n, most int) (ids []ferry.ID, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bSelected).Cursor()
		from := append([]byte(id), u32(uint32(n))...)
		for k, v := c.Seek(from); len(k) == len(from) && string(k[:len(id)]) == id && len(ids) < most; k, v = c.Next() {
			ids = append(ids, ferry.ID(v))
		}
		return nil
	})
	return ids, err
}

// StepOperation counts what was done of a running operation, and ends it with
// the last one. On an operation that was cancelled it changes nothing.
func (l *Ledger) StepOperation(ctx context.Context, id string, done, skipped int) (op ferry.Operation, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		if op, err = operation(tx, id); err != nil || op.State != OperationRunning {
			return err
		}
		op.Done += done
		op.Skipped += skipped
		if op.Done+op.Skipped >= op.Total {
			return endOperation(tx, &op, OperationDone)
		}
		return putJSON(tx, bOperations, []byte(id), op)
	})
	return op, err
}

// CancelOperation stops a running operation; what was done stays done.
func (l *Ledger) CancelOperation(ctx context.Context, id, note, by string) (op ferry.Operation, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		if op, err = operation(tx, id); err != nil {
			return err
		}
		if op.State != OperationRunning {
			return ferry.Errorf(ferry.CodeConflict, "operation %s is %s", id, op.State)
		}
		if err := endOperation(tx, &op, OperationCancelled); err != nil {
			return err
		}
		return l.audit(ctx, tx, ferry.AuditEntry{At: *op.FinishedAt, By: by, Act: "operations cancel", Target: "operation " + id, Detail: fmt.Sprintf("%d of %d done", op.Done, op.Total), Note: note})
	})
	return op, err
}

func endOperation(tx *bbolt.Tx, op *ferry.Operation, state string) error {
	now := time.Now().UTC()
	op.State, op.FinishedAt = state, &now
	if err := putJSON(tx, bOperations, []byte(op.ID), op); err != nil {
		return err
	}
	selected := tx.Bucket(bSelected)
	for i := 0; i < op.Total; i++ {
		if err := selected.Delete(append([]byte(op.ID), u32(uint32(i))...)); err != nil {
			return err
		}
	}
	return nil
}
