package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/rules"
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
// With fresh, a name that is taken is an error.
func (l *Ledger) SaveWorker(ctx context.Context, w ferry.WorkerInfo, fresh bool, act, by string) error {
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		known := tx.Bucket(bWorkers).Get([]byte(w.Name))
		if fresh && known != nil {
			old, err := decodeJSON[workerRow](known)
			if err != nil || old.RevokedAt == nil {
				return ferry.Errorf(ferry.CodeExists, "there is a worker %q already", w.Name).
					WithHint("give it a new login with: broker workers rotate %s --out FILE", w.Name)
			}
		}
		if known == nil && !fresh {
			return ferry.Errorf(ferry.CodeNotFound, "there is no worker %q", w.Name).WithHint("broker workers list shows them")
		}
		if known == nil && tx.Bucket(bWorkers).Stats().KeyN >= ferry.MaxWorkers {
			return ferry.Errorf(ferry.CodeLimitReached, "there are %d workers already", ferry.MaxWorkers)
		}
		row := &workerRow{WorkerInfo: w}
		if err := putJSON(tx, bWorkers, []byte(w.Name), row); err != nil {
			return err
		}
		l.group.after = append(l.group.after, func() { l.workers[w.Name] = row })
		return l.audit(tx, ferry.AuditEntry{At: time.Now().UTC(), By: by, Act: act, Target: "worker " + w.Name})
	})
}

// Bind names the inbox that delivers a route. A first binding only names it.
// Another inbox takes over with force: what may be in the hands of the old one
// gets its next turn, begun elsewhere, after the time that the old one's calls
// may still take effect.
func (l *Ledger) Bind(ctx context.Context, route string, b Binding, force bool, note, by string) error {
	now := time.Now().UTC()
	b.At = now
	return l.updateRoute(ctx, route, nil, func(tx *bbolt.Tx, row *routeRow) error {
		old := row.Binding
		switch {
		case row.Pull:
			return ferry.Errorf(ferry.CodeConflict, "receivers pull the messages of route %s: no worker delivers it", route).
				WithHint("workers: one, in broker.yaml, has one worker deliver it")
		case row.Several:
			return ferry.Errorf(ferry.CodeConflict, "several workers deliver route %s: none is bound to it", route).
				WithHint("workers: one, in broker.yaml, has one worker deliver it")
		case old == nil:
		case old.Inbox == b.Inbox:
			if old.Worker == b.Worker && old.Bound == b.Bound {
				return nil
			}
		case !force:
			return ferry.Errorf(ferry.CodeConflict, "route %s is bound to the inbox of worker %s", route, old.Worker).
				WithHint("when that inbox is lost for good: broker workers bind %s %s", b.Worker, route)
		case !rules.On(rules.TakeOver):
		default:
			if err := l.takeOver(tx, row, now.Add(max(old.Bound, b.Bound))); err != nil {
				return err
			}
		}
		row.Binding = &b
		if old != nil && old.Inbox == b.Inbox {
			return nil // the same inbox under other settings: nothing worth an audit entry
		}
		return l.audit(tx, ferry.AuditEntry{At: now, By: by, Act: "workers bind", Target: "route " + route + " to worker " + b.Worker, Note: note})
	})
}

// takeOver gives the next turn to everything of the route that another inbox
// may have begun: it was handed out in this turn or an earlier one.
func (l *Ledger) takeOver(tx *bbolt.Tx, row *routeRow, notBefore time.Time) error {
	var held []ferry.ID
	c := tx.Bucket(bDue).Cursor()
	for k := seekBehind(c, row.No, nil); k != nil && bytes.Compare(k, row.Horizon) <= 0; k = nextOf(c, row.No) {
		_, id := splitDueKey(k)
		held = append(held, id)
	}
	for _, id := range held {
		r, err := get(tx, id)
		if err != nil {
			l.log.Error("a message cannot be read: it keeps its turn", "message", id, "error", err)
			continue
		}
		if r == nil || !row.mayBeHeld(r) {
			continue
		}
		if err := l.takeOverOne(tx, r, notBefore.UnixNano()); err != nil {
			return err
		}
	}
	return nil
}

// takeOverOne gives the next turn to a message that another inbox, or another
// life of the ledger, may have begun. A risk that a person took was for the turn
// that ends here.
func (l *Ledger) takeOverOne(tx *bbolt.Tx, r *record, notBefore int64) error {
	if err := l.endTurn(tx, r); err != nil {
		return err
	}
	r.nextTurn()
	r.Doubt, r.Elsewhere, r.Risk = true, true, false
	r.NotBefore = max(r.NotBefore, notBefore)
	if err := l.makeReady(tx, r, timeOf(r.NotBefore)); err != nil {
		return err
	}
	return put(tx, r)
}
