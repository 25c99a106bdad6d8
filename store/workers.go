package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// workerRow is a worker that may log in to the queue.
type workerRow struct {
	ferry.WorkerInfo
}

func decodeJSON[T any](v []byte) (T, error) {
	var t T
	if err := json.Unmarshal(v, &t); err != nil {
		return t, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return t, nil
}

// Workers lists all workers by name, with the routes that are bound to them.
func (l *Ledger) Workers() []ferry.WorkerInfo {
	l.mu.RLock()
	defer l.mu.RUnlock()
	list := make([]ferry.WorkerInfo, 0, len(l.workers))
	for _, row := range l.workers {
		w := row.WorkerInfo
		for _, r := range l.routes {
			if r.Binding != nil && r.Binding.Worker == w.Name {
				w.Bound = append(w.Bound, r.Name)
				w.Inbox = r.Binding.Inbox
			}
		}
		slices.Sort(w.Bound)
		list = append(list, w)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// Worker finds a worker by name, revoked or not, without what is bound to it.
func (l *Ledger) Worker(name string) (ferry.WorkerInfo, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	row, ok := l.workers[name]
	if !ok {
		return ferry.WorkerInfo{}, false
	}
	return row.WorkerInfo, true
}

// SaveWorker writes a worker that AddWorker, a rotation or a revocation made.
// With fresh, a name that is taken is an error; else a worker that was revoked, or
// let in anew, since w was read.
func (l *Ledger) SaveWorker(ctx context.Context, w ferry.WorkerInfo, fresh bool, act, note, by string) error {
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		known := tx.Bucket(bWorkers).Get([]byte(w.Name))
		if known != nil {
			old, err := decodeJSON[workerRow](known)
			switch {
			case fresh && (err != nil || old.RevokedAt == nil):
				return ferry.Errorf(ferry.CodeExists, "there is a worker %q already", w.Name).
					WithHint("give it a new login with: broker workers rotate %s --out FILE", w.Name)
			case fresh || err != nil: // what cannot be read is written anew
			case old.RevokedAt != nil:
				return noWorker(w.Name)
			case !old.CreatedAt.Equal(w.CreatedAt):
				return ferry.Errorf(ferry.CodeConflict, "worker %q was revoked and added again meanwhile", w.Name).
					WithHint("look at what it may deliver now: broker workers list")
			}
		}
		if known == nil && !fresh {
			return noWorker(w.Name)
		}
		if known == nil && tx.Bucket(bWorkers).Stats().KeyN >= ferry.MaxWorkers {
			return ferry.Errorf(ferry.CodeLimitReached, "there are %d workers already", ferry.MaxWorkers)
		}
		row := &workerRow{WorkerInfo: w}
		if err := putJSON(tx, bWorkers, []byte(w.Name), row); err != nil {
			return err
		}
		l.group.after = append(l.group.after, func() { l.workers[w.Name] = row })
		return l.audit(ctx, tx, ferry.AuditEntry{At: time.Now().UTC(), By: by, Act: act, Target: "worker " + w.Name, Detail: "routes " + strings.Join(w.Routes, ","), Note: note})
	})
}

func noWorker(name string) error {
	return ferry.Errorf(ferry.CodeNotFound, "there is no worker %q", name).WithHint("broker workers list shows them")
}
