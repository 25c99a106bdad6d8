package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// quotaRow is what was used of a quota in its latest window.
type quotaRow struct {
	Until time.Time `json:"until"` // the end of the window
	Used  int64     `json:"used"`
}

// useQuotas counts a message in its quotas, in the commit that accepts it. A window
// that began after the row's makes it anew; the one before it, since the clock went
// back, counts in the later one. When the row is further on, the clock was wrong that
// made it, and it begins anew too.
func (l *Ledger) useQuotas(tx *bbolt.Tx, uses []ferry.QuotaUse) {
	for i := range uses {
		row := l.quota(tx, uses[i].Name)
		if !row.holds(uses[i].Until, uses[i].Per) {
			*row = quotaRow{Until: uses[i].Until}
		}
		row.Used++
	}
}

// holds says whether the row counts for the window that ends at until and is per long.
func (r *quotaRow) holds(until time.Time, per time.Duration) bool {
	return !until.After(r.Until) && r.Until.Sub(until) <= per
}

func (l *Ledger) quota(tx *bbolt.Tx, name string) *quotaRow {
	if row, ok := l.group.quotas[name]; ok {
		return row
	}
	row := &quotaRow{}
	if v := tx.Bucket(bQuotas).Get([]byte(name)); v != nil {
		if err := json.Unmarshal(v, row); err != nil {
			l.log.Error("a damaged quota is counted anew", "quota", name, "error", err)
			*row = quotaRow{}
		}
	}
	if l.group.quotas == nil {
		l.group.quotas = map[string]*quotaRow{}
	}
	l.group.quotas[name] = row
	return row
}

// QuotaUsed is how many accepted messages were counted in the window of a quota
// that ends at until and is per long, or in the one after it.
func (l *Ledger) QuotaUsed(name string, until time.Time, per time.Duration) (int64, error) {
	var row quotaRow
	err := l.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bQuotas).Get([]byte(name))
		if v == nil {
			return nil
		}
		if err := json.Unmarshal(v, &row); err != nil {
			return damaged(fmt.Errorf("quota %s: %w: %w", name, errDamaged, err))
		}
		return nil
	})
	if err != nil || !row.holds(until, per) {
		return 0, err
	}
	return row.Used, nil
}

// PurgeQuotas removes what windows used that ended before a time.
func (l *Ledger) PurgeQuotas(ctx context.Context, before time.Time) error {
	for {
		var ended [][]byte
		err := l.db.View(func(tx *bbolt.Tx) error {
			c := tx.Bucket(bQuotas).Cursor()
			for k, v := c.First(); k != nil && len(ended) < purgeStep; k, v = c.Next() {
				var row quotaRow
				if json.Unmarshal(v, &row) != nil || row.Until.Before(before) {
					ended = append(ended, append([]byte(nil), k...))
				}
			}
			return nil
		})
		if err != nil || len(ended) == 0 {
			return err
		}
		err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
			for _, name := range ended {
				if row := l.quota(tx, string(name)); !row.Until.Before(before) {
					continue // used again meanwhile
				}
				delete(l.group.quotas, string(name))
				if err := tx.Bucket(bQuotas).Delete(name); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}
