package store

import (
	"context"
	"encoding/binary"
	"sort"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// audit appends an entry to the audit log, in the act's own commit. It is never
// changed there; each entry is chained to the one before it. The act may have been
// written already: where there can be no entry, all of the commit is rolled back.
func (l *Ledger) audit(ctx context.Context, tx *bbolt.Tx, e ferry.AuditEntry) error {
	caller := ferry.CallerOf(ctx)
	e.KeyID, e.RequestID = caller.KeyID, caller.RequestID
	b := appending(tx, bAudit)
	var chain ferry.AuditChain
	switch last, err := lastEntry(tx); {
	case err != nil:
		return commit.Abort(ferry.Errorf(ferry.CodeLedgerUnavailable, "nothing was done: the last entry of the audit log cannot be read, so that there can be no next one: %w", err).
			WithHint("keep a copy of the data folder, and restore the last backup into another folder"))
	case last != nil:
		chain.Follow(*last)
	}
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	e.Seq, e.At = seq, e.At.UTC().Truncate(time.Millisecond) // as it is shown
	e.Hash = chain.Next(e)
	return putJSON(tx, bAudit, u64(seq), e)
}

// auditOwn is audit of what the broker does because it must, such as to stop an
// operation that cannot go on: that is done also where there can be no entry.
func (l *Ledger) auditOwn(tx *bbolt.Tx, e ferry.AuditEntry) error {
	if _, err := lastEntry(tx); err != nil {
		l.log.Error("what the broker does is not in the audit log, whose last entry cannot be read", "act", e.Act, "target", e.Target, "note", e.Note, "error", err)
		return nil
	}
	return l.audit(noContext, tx, e)
}

// lastEntry is the end of the audit log; nil when it has none.
func lastEntry(tx *bbolt.Tx) (*ferry.AuditEntry, error) {
	_, v := tx.Bucket(bAudit).Cursor().Last()
	if v == nil {
		return nil, nil
	}
	last, err := decodeJSON[ferry.AuditEntry](v)
	return &last, err
}

// NoteAct appends an act that changes nothing in the ledger itself.
func (l *Ledger) NoteAct(ctx context.Context, e ferry.AuditEntry) error {
	e.At = time.Now().UTC()
	return l.update(ctx, 0, func(tx *bbolt.Tx) error { return l.audit(ctx, tx, e) })
}

// Audit lists entries behind the sequence number after, at or after a time (zero:
// any), oldest first.
func (l *Ledger) Audit(after uint64, since time.Time, limit int) ([]ferry.AuditEntry, error) {
	list := []ferry.AuditEntry{}
	err := l.db.View(func(tx *bbolt.Tx) error {
		if !since.IsZero() {
			before, err := auditBefore(tx, since)
			if err != nil {
				return err
			}
			after = max(after, before)
		}
		c := tx.Bucket(bAudit).Cursor()
		for k, v := c.Seek(u64(after + 1)); k != nil && len(list) < limit; k, v = c.Next() {
			e, err := decodeJSON[ferry.AuditEntry](v)
			if err != nil {
				return err
			}
			e.Seq = binary.BigEndian.Uint64(k)
			list = append(list, e)
		}
		return nil
	})
	return list, err
}

// auditBefore is the number of the last entry before a time. Entries are numbered
// without a gap, in the order of time.
func auditBefore(tx *bbolt.Tx, at time.Time) (uint64, error) {
	b := tx.Bucket(bAudit)
	oldest, _ := b.Cursor().First()
	k, _ := b.Cursor().Last()
	if k == nil {
		return 0, nil
	}
	first := binary.BigEndian.Uint64(oldest) // what was before it was moved: see MoveAudit
	var fault error
	n := sort.Search(int(binary.BigEndian.Uint64(k)-first+1), func(i int) bool {
		e, err := decodeJSON[ferry.AuditEntry](b.Get(u64(first + uint64(i))))
		if err != nil {
			fault = err
		}
		return !e.At.Before(at)
	})
	return first - 1 + uint64(n), fault
}
