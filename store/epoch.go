package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/rules"
)

// A ledger that goes on from a copy, a backup that was restored, does not know
// what became of its messages since. It begins another epoch: every message that
// has not been completed counts as begun elsewhere, under a turn that no worker
// can have seen.

const (
	// epochStep is how many messages one commit of a new epoch looks at.
	epochStep = 1000
	// epochBound is how long workers of which nothing is known may still write.
	epochBound = 5 * time.Minute
	// epochShift makes room for the turns of one second. Turns of an epoch stay
	// below 2^53, which JSON's readers take exactly, until the year 2242.
	epochShift = 20
)

// epochTurn is a turn above all that the time before now can have used.
func epochTurn(now time.Time) uint64 {
	return min(uint64(max(now.Unix(), 0)), 1<<(62-epochShift))<<epochShift + 1
}

// begin names this opening, after beginning another epoch where the ledger lies
// in another file than the last time.
func (l *Ledger) begin() error {
	file, err := l.fileID(l.db.Path())
	if err != nil {
		return fmt.Errorf("tell the ledger's file: %w", err)
	}
	restored := false
	var note *restoreNote // of a restore, wherever the file lies
	err = l.db.View(func(tx *bbolt.Tx) error {
		was := tx.Bucket(bMeta).Get(metaFile)
		note = restoreIn(tx)
		restored = (note != nil || len(was) == 8 && file != 0 && binary.BigEndian.Uint64(was) != 0 && !bytes.Equal(was, u64(file))) && rules.On(rules.Epoch)
		return nil
	})
	if err != nil {
		return err
	}
	var audit *ferry.AuditEntry
	if restored {
		if audit, err = l.newEpoch(); err != nil {
			return err
		}
	}
	return l.setUp(func(tx *bbolt.Tx) error {
		meta := tx.Bucket(bMeta)
		if audit != nil {
			epoch := uint64(0)
			if v := meta.Get(metaEpoch); len(v) == 8 {
				epoch = binary.BigEndian.Uint64(v)
			}
			// Two restores of one backup must not be alike.
			if err := meta.Put(metaEpoch, u64(max(epoch+1, uint64(audit.At.UnixMilli())))); err != nil {
				return err
			}
			if err := l.audit(noContext, tx, *audit); err != nil {
				return err
			}
			if err := l.haltRestored(tx); err != nil {
				return err
			}
		}
		if note != nil {
			if err := l.keepRestore(tx, note); err != nil {
				return err
			}
		}
		// The file's number last: a new epoch that was cut short begins anew.
		if err := meta.Put(metaFile, u64(file)); err != nil {
			return err
		}
		start, err := nextStart(tx)
		l.start = start
		return err
	})
}

// newEpoch goes through all messages, in small commits.
func (l *Ledger) newEpoch() (*ferry.AuditEntry, error) {
	now := time.Now().UTC()
	turn, n := epochTurn(now), 0
	if err := l.renumberBindings(turn); err != nil {
		return nil, err
	}
	for from := (ferry.ID{}); ; {
		ids, next, err := l.unfinished(from)
		if err != nil {
			return nil, err
		}
		err = l.setUp(func(tx *bbolt.Tx) error {
			for _, id := range ids {
				if err := l.beginAgain(tx, id, turn, now); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		n += len(ids)
		if next.IsZero() {
			break
		}
		from = next
	}
	l.log.Warn("ledger.restored", "messages", n, "turn", turn,
		"error", "the ledger lies in another file than before: it was copied, or restored from a backup",
		"hint", "what was accepted after the backup is not in it; everything else that is not completed is looked up before it is sent again")
	return &ferry.AuditEntry{
		At: now, By: "broker", Act: "new epoch", Target: "ledger",
		Note: fmt.Sprintf("the ledger was copied or restored: %d messages that are not completed count as begun elsewhere", n),
	}, nil
}

// renumberBindings lifts the numbers of bindings above those that a worker can
// have heard: what it holds of before is of an earlier binding.
func (l *Ledger) renumberBindings(turn uint64) error {
	return l.setUp(func(*bbolt.Tx) error {
		for no := range l.routes {
			row := l.row(no)
			row.Bindings = max(row.Bindings+1, turn)
			if row.Binding != nil {
				b := *row.Binding
				b.No = row.Bindings
				row.Binding = &b
			}
		}
		return nil
	})
}

// restoredWhy is why an operation of a restored ledger waits for a person.
const restoredWhy = "the ledger was restored: what was done since the backup is not known here"

// haltRestored stops the operations that ran when the ledger was copied. They may have
// gone on, or been cancelled, since; the yes to send unknown outcomes again was given
// of the time before. A person says whether they go on.
func (l *Ledger) haltRestored(tx *bbolt.Tx) error {
	for _, id := range l.OperationsIn(ferry.OperationRunning) {
		op := l.operationOf(tx, id)
		if op == nil || op.Left() == 0 {
			continue // it has nothing more to do
		}
		op.State, op.Stopped = ferry.OperationStopped, restoredWhy
		if err := l.auditStop(tx, op); err != nil {
			return err
		}
	}
	return nil
}

// unfinished lists some messages, from an id on, that are not completed.
func (l *Ledger) unfinished(from ferry.ID) (ids []ferry.ID, next ferry.ID, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bMessages).Cursor()
		seen := 0
		for k, v := c.Seek(from[:]); k != nil; k, v = c.Next() {
			if seen++; len(ids) == epochStep || seen > 20*epochStep {
				next = ferry.ID(k)
				return nil
			}
			r, err := decodeRecord(ferry.ID(k), v)
			if err != nil {
				l.log.Error("a message cannot be read: it keeps its turn", "message", ferry.ID(k), "error", err)
			} else if r.State != ferry.StateCompleted {
				ids = append(ids, r.ID)
			}
		}
		return nil
	})
	return ids, next, err
}

// beginAgain takes a message over into the epoch.
func (l *Ledger) beginAgain(tx *bbolt.Tx, id ferry.ID, turn uint64, now time.Time) error {
	r, err := get(tx, id)
	if err != nil || r == nil {
		return err
	}
	row := l.peek(r.Route)
	bound := row.Bound
	if row.Binding != nil {
		bound = max(bound, row.Binding.Bound)
	}
	if bound <= 0 {
		bound = epochBound
	}
	calm := now.Add(bound).UnixNano()
	if r.Holder != nil {
		calm = max(calm, r.Holder.calm())
	}
	// takeOverOne, and any act later, adds one.
	r.Turn = max(r.Turn, turn)
	switch {
	case !r.State.Pending():
		// Somebody may have sent it again, or edited it, after the backup.
		r.Doubt, r.OpenRev, r.Elsewhere, r.Risk = true, true, true, false
		r.NotBefore = max(r.NotBefore, calm)
	case r.Parked:
		r.nextTurn()
		r.Doubt, r.Elsewhere, r.Risk = true, true, false
		r.NotBefore = max(r.NotBefore, calm)
		r.Due = max(r.Due, r.NotBefore) // once it is the head
	default:
		r.NotBefore = max(r.NotBefore, r.Due) // a due time of its own still holds
		return l.takeOverOne(tx, r, calm)
	}
	return put(tx, r)
}

// keepFile says that a copy which the ledger made of itself is the ledger, unless
// the original was a copy of which nobody knows yet.
func (l *Ledger) keepFile(tx *bbolt.Tx, from, to string) error {
	meta := tx.Bucket(bMeta)
	if meta == nil {
		return nil
	}
	was, errWas := l.fileID(from)
	is, errIs := l.fileID(to)
	if err := errors.Join(errWas, errIs); err != nil {
		return err
	}
	if !bytes.Equal(meta.Get(metaFile), u64(was)) {
		return nil
	}
	return meta.Put(metaFile, u64(is))
}
