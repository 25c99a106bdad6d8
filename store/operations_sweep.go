package store

import (
	"bytes"
	"context"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// Bounds of operations.
const (
	maxOperations = 1000 // ended ones that are kept
	maxDiscards   = 5000 // ended discards that are kept beside them while they can be taken back
	sweepStep     = 2000 // rows of selections that one commit removes
)

// HasLeftovers says whether an operation that just ended left rows of its selection.
func (l *Ledger) HasLeftovers() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.leftovers
}

// SweepOperations removes what is left of selections that nobody needs any more, and
// the oldest of the ended operations beyond those that are kept. What was discarded
// before a time can no longer be restored as a whole; what was discarded since is not
// forgotten for operations that came later.
func (l *Ledger) SweepOperations(ctx context.Context, discardedBefore time.Time) error {
	l.mu.Lock()
	l.leftovers = false
	l.mu.Unlock()
	others, discards := 0, 0
	for _, id := range slices.Backward(l.OperationsIn(ferry.OperationDone, ferry.OperationCancelled)) {
		op, err := l.endedOperation(id)
		if err != nil {
			return err
		}
		if op == nil {
			continue
		}
		forget, swept := false, op.Swept
		if op.takenBackSince(discardedBefore) {
			discards++
			forget, swept = discards > maxDiscards, true
		} else {
			others++
			forget = others > maxOperations
		}
		if swept && !forget {
			continue
		}
		if err := l.sweepOperation(ctx, id, forget); err != nil {
			return err
		}
	}
	for _, id := range l.OperationsIn(operationSelecting) {
		l.mu.RLock()
		begun := l.begun[id]
		l.mu.RUnlock()
		if begun {
			continue
		}
		if err := l.sweepOperation(ctx, id, true); err != nil { // a kill came between
			return err
		}
	}
	return nil
}

// takenBackSince says whether it is a discard that ended since and can be taken back
// as a whole.
func (op *operationRow) takenBackSince(since time.Time) bool {
	return op.Act == ferry.ActDiscard && !op.Swept && op.FinishedAt != nil && op.FinishedAt.After(since)
}

// endedOperation reads an operation for the sweep; nil when it is gone, or cannot be
// read: then it stays.
func (l *Ledger) endedOperation(id string) (op *operationRow, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bOperations).Get([]byte(id)); v != nil {
			if read, err := decodeOperation(v); err == nil {
				op = read
			}
		}
		return nil
	})
	return op, err
}

// sweepOperation removes what is left of a selection in small commits, and with it the
// operation that is to be forgotten.
func (l *Ledger) sweepOperation(ctx context.Context, id string, forget bool) error {
	for more := true; more; {
		more = false
		if err := l.update(ctx, 0, func(tx *bbolt.Tx) error {
			op := l.operationOf(tx, id)
			if op == nil {
				return nil
			}
			n, err := removeRows(tx, bSelected, id, sweepStep)
			if err == nil && n < sweepStep && forget {
				var groups int
				groups, err = removeRows(tx, bOpGroups, id, sweepStep-n)
				n += groups
			}
			if more = n >= sweepStep; err != nil || more {
				return err
			}
			op.Swept = true
			if !forget {
				return nil
			}
			op.State = ""
			return tx.Bucket(bOperations).Delete([]byte(id))
		}); err != nil {
			return err
		}
	}
	return nil
}

// removeRows removes rows of an operation, at most so many, and says how many.
func removeRows(tx *bbolt.Tx, bucket []byte, id string, most int) (int, error) {
	b := tx.Bucket(bucket)
	var keys [][]byte
	c := b.Cursor()
	for k, _ := c.Seek([]byte(id)); bytes.HasPrefix(k, []byte(id)) && len(keys) < most; k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return 0, err
		}
	}
	return len(keys), nil
}
