package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// byBroker is who acts when nobody asked for it.
const byBroker = "broker"

// oldDead are dead letters of a route whose time is over.
type oldDead struct {
	route  string
	no     uint32
	before int64
	kept   time.Duration
}

// DiscardOldDead discards dead letters for which nobody came in time, at most about
// bound, in the name of the broker. Discarded, and not removed: who is to be told is
// told, and until the retention of discarded messages is over, too, restore takes
// them back. The audit log has an entry for some hundred of a route: it is to be called
// now and then, and again while it says that there are more.
func (l *Ledger) DiscardOldDead(ctx context.Context, now time.Time, keep Keep, bound int) (n int, more bool, err error) {
	l.mu.RLock()
	var list []oldDead
	for name, no := range l.byName {
		if k := keep(name); k.DeadLettered != ferry.KeepForever && len(l.routes[no].Dead) > 0 {
			list = append(list, oldDead{route: name, no: no, before: now.UnixNano() - int64(k.DeadLettered), kept: k.DeadLettered})
		}
	}
	l.mu.RUnlock()
	for _, old := range list {
		for ctx.Err() == nil {
			ids, err := l.oldestDead(old)
			if err != nil || len(ids) == 0 {
				if err != nil {
					return n, false, err
				}
				break
			}
			if n >= bound {
				return n, true, nil
			}
			done, err := l.discardOld(ctx, old, ids)
			if n += done; err != nil {
				return n, false, err
			}
			if done == 0 {
				break // what is there cannot be read, or changed: the next round looks again
			}
		}
	}
	return n, false, ctx.Err()
}

// oldestDead reads the oldest of each group of a route, as far as they are over.
func (l *Ledger) oldestDead(old oldDead) (ids []ferry.ID, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bDeadIn).Cursor()
		prefix := u32(old.no)
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(ids) < purgeStep; {
			if int64(binary.BigEndian.Uint64(k[len(k)-24:])) < old.before {
				ids = append(ids, ferry.ID(k[len(k)-16:]))
				k, _ = c.Next()
				continue
			}
			behind := append(bytes.Clone(k[:len(k)-25]), 1) // behind the group: its name ends in 0
			k, _ = c.Seek(behind)
		}
		return nil
	})
	return ids, err
}

func (l *Ledger) discardOld(ctx context.Context, old oldDead, ids []ferry.ID) (n int, err error) {
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		n = 0
		act := ferry.Act{Act: "discard", By: byBroker, At: time.Now().UTC(), Note: "nobody came for it: the retention of dead letters was over"}
		for _, id := range ids {
			r, err := get(tx, id)
			if err != nil || r == nil || r.State != ferry.StateDeadLettered || r.Dead.At.UnixNano() >= old.before {
				continue // changed since, or it cannot be read: others say so
			}
			if err := l.discard(tx, r, act, handled{}); err != nil {
				return err
			}
			n++
		}
		if n == 0 {
			return nil
		}
		return l.audit(ctx, tx, ferry.AuditEntry{
			At: act.At, By: act.By, Act: "discard by retention", Target: "route " + old.route,
			Detail: fmt.Sprintf("%d dead letters that were older than %s", n, shownDays(old.kept)),
			Note:   "retention.deadLettered; broker dlq restore takes them back until retention.discarded is over",
		})
	})
	return n, err
}

func shownDays(d time.Duration) string {
	if d >= 24*time.Hour && d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}
