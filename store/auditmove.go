package store

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/disk"
)

// Entries of the audit log that are older than their retention are moved out of the
// ledger, into files beside it in the form of an export: nothing of the log is ever
// removed by the broker. The chain goes on over them: the first entry that is left
// is chained to the last one of the last file, and the entry that tells of the move
// names that one's hash.

const (
	// auditSlack is how much older than the retention the oldest entry must be before
	// entries are moved: else the entry that tells of it would soon be as many as
	// those that it tells of.
	auditSlack = 30 * 24 * time.Hour
	auditStep  = 5000 // entries of one file and one commit
	// maxAuditFile bounds a file of moved entries, bytes: it is far above what so many
	// entries take.
	maxAuditFile = 1 << 30
)

// auditDir is the folder of what was moved.
func (l *Ledger) auditDir() string { return filepath.Join(l.dir, "audit") }

// parseAuditFile says which entries a file has by its name; ok is false for any
// other file.
func parseAuditFile(name string) (first, last uint64, ok bool) {
	n, err := fmt.Sscanf(name, "audit-%d-%d.jsonl", &first, &last)
	return first, last, err == nil && n == 2 && first > 0 && first <= last && name == auditName(first, last)
}

// MoveAudit moves entries from before a time into files, once the oldest is a month
// older than that. A file is on disk before its entries leave the ledger. It returns
// how many were moved.
func (l *Ledger) MoveAudit(ctx context.Context, before time.Time) (int, error) {
	oldest, err := l.oldAudit(before, 1)
	if err != nil || len(oldest) == 0 || !oldest[0].At.Before(before.Add(-auditSlack)) {
		return 0, err
	}
	if err := l.removeCutShort(oldest[0].Seq); err != nil {
		return 0, fmt.Errorf("remove files of a move of the audit log that was cut short: %w", err)
	}
	total := 0
	for ctx.Err() == nil {
		list, err := l.oldAudit(before, auditStep)
		if err != nil || len(list) == 0 {
			return total, err
		}
		file, err := l.writeAudit(list)
		if err != nil {
			return total, fmt.Errorf("move entries of the audit log: %w", err)
		}
		if err := l.update(ctx, 0, func(tx *bbolt.Tx) error { return l.dropAudit(ctx, tx, list, file) }); err != nil {
			return total, err
		}
		total += len(list)
	}
	return total, ctx.Err()
}

// oldAudit reads the oldest entries, as far as they are from before a time.
func (l *Ledger) oldAudit(before time.Time, most int) (list []ferry.AuditEntry, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bAudit).Cursor()
		for k, v := c.First(); k != nil && len(list) < most; k, v = c.Next() {
			e, err := decodeJSON[ferry.AuditEntry](v)
			if err != nil {
				return damaged(err)
			}
			if e.Seq = binary.BigEndian.Uint64(k); !e.At.Before(before) {
				return nil
			}
			list = append(list, e)
		}
		return nil
	})
	return list, err
}

// writeAudit writes entries as broker audit export does, synced with the name.
func (l *Ledger) writeAudit(list []ferry.AuditEntry) (name string, err error) {
	dir := l.auditDir()
	if err := disk.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	name = auditName(list[0].Seq, list[len(list)-1].Seq)
	f, err := os.OpenFile(filepath.Join(dir, name+".new"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	buffer := bufio.NewWriter(f)
	err = encodeAudit(buffer, list)
	if err = errors.Join(err, buffer.Flush(), f.Sync(), f.Close()); err != nil {
		return "", err
	}
	return name, errors.Join(os.Rename(filepath.Join(dir, name+".new"), filepath.Join(dir, name)), disk.SyncDir(dir))
}

func auditName(first, last uint64) string { return fmt.Sprintf("audit-%09d-%09d.jsonl", first, last) }

func encodeAudit(w io.Writer, list []ferry.AuditEntry) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for i := range list {
		if err := encoder.Encode(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// removeCutShort removes files of entries that the ledger still has, of which oldest is
// the first: a move was cut short before its commit, and the next one would write some
// of them once more. What is not as the ledger has it is of another one, and stays.
func (l *Ledger) removeCutShort(oldest uint64) error {
	files, err := os.ReadDir(l.auditDir())
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	for _, file := range files {
		var first, last uint64
		if n, _ := fmt.Sscanf(file.Name(), "audit-%d-%d.jsonl", &first, &last); n != 2 || first < oldest || last < first {
			continue
		}
		path, name := filepath.Join(l.auditDir(), file.Name()), auditName(first, last)
		switch file.Name() {
		default:
			continue
		case name + ".new": // it was never whole
		case name:
			same, err := l.sameAudit(path, first, last)
			if err != nil {
				return err
			}
			if !same {
				l.log.Warn("a file of moved entries of the audit log is not what the ledger has of them", "file", path, "hint", "it is of another ledger, or was changed: keep it elsewhere")
				continue
			}
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// sameAudit says whether a file holds what the ledger has.
func (l *Ledger) sameAudit(path string, first, last uint64) (bool, error) {
	if last-first >= auditStep {
		return false, nil
	}
	list, err := l.Audit(first-1, time.Time{}, int(last-first)+1)
	if err != nil {
		return false, err
	}
	var want bytes.Buffer
	if err := encodeAudit(&want, list); err != nil {
		return false, err
	}
	got, err := os.ReadFile(path)
	return bytes.Equal(got, want.Bytes()), err
}

func (l *Ledger) dropAudit(ctx context.Context, tx *bbolt.Tx, list []ferry.AuditEntry, file string) error {
	last := list[len(list)-1]
	// First, so that the log is never empty: the next entry is chained to the last.
	if err := l.audit(ctx, tx, ferry.AuditEntry{
		At: time.Now(), By: byBroker, Act: "move audit log", Target: "entries " + fmt.Sprint(list[0].Seq) + " to " + fmt.Sprint(last.Seq),
		Detail: fmt.Sprintf("to audit/%s; the last has the hash %s", file, last.Hash), Note: "retention.audit",
	}); err != nil {
		return err
	}
	b := tx.Bucket(bAudit)
	for i := range list {
		if err := b.Delete(u64(list[i].Seq)); err != nil {
			return err
		}
	}
	return nil
}
