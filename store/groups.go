package store

import (
	"bytes"
	"cmp"
	"slices"

	"go.etcd.io/bbolt"

	"ferry"
)

// Bounds of groups that are read.
const (
	groupRead   = 5_000 // dead letters in one look at the ledger
	sampleBound = 100   // dead letters of a group that are looked at for one that can be read
)

// Groups lists the groups of dead letters, the largest first. A filter that
// names more than route, reason and group counts them anew from the dead letters.
func (l *Ledger) Groups(f ferry.DeadLetterFilter, owner func(route string) string) ([]ferry.Group, error) {
	plain := ferry.DeadLetterFilter{Route: f.Route, Reason: f.Reason, Group: f.Group, Limit: f.Limit}
	groups, kept, err := []ferry.Group(nil), f == plain, error(nil)
	if kept {
		groups, kept, err = l.storedGroups(f)
	}
	if err == nil && !kept {
		groups, err = l.countGroups(f, owner)
	}
	if err != nil {
		return nil, err
	}
	largest := func(a, b ferry.Group) int { return cmp.Or(cmp.Compare(b.Count, a.Count), b.Last.Compare(a.Last)) }
	slices.SortFunc(groups, largest)
	if f.Limit > 0 && len(groups) > f.Limit {
		groups = groups[:f.Limit]
	}
	if kept {
		err = l.freshen(groups)
		slices.SortFunc(groups, largest)
	}
	return groups, err
}

// storedGroups reads the groups as they are kept. They cannot tell of a reason where
// there is a group of the rest, which is of several.
func (l *Ledger) storedGroups(f ferry.DeadLetterFilter) (groups []ferry.Group, kept bool, err error) {
	groups, kept = []ferry.Group{}, true
	var prefix []byte
	if f.Route != "" {
		no, ok := l.routeNo(f.Route)
		if !ok {
			return groups, true, nil
		}
		prefix = u32(no)
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bGroups).Cursor()
		for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix) && k != nil; k, v = c.Next() {
			g, err := decodeJSON[ferry.Group](v)
			if err != nil {
				return err
			}
			if g.ID == ferry.GroupOther && f.Reason != "" {
				kept = false
				return nil
			}
			if (f.Reason == "" || g.Reason == f.Reason) && (f.Group == "" || g.ID == f.Group) {
				groups = append(groups, g)
			}
		}
		return nil
	})
	return groups, kept, err
}

func (l *Ledger) countGroups(f ferry.DeadLetterFilter, owner func(string) string) ([]ferry.Group, error) {
	byKey := map[string]*ferry.Group{}
	var last []byte
	for {
		next, err := l.eachDead(f, last, owner, groupRead, func(_ *bbolt.Tx, r *record) (bool, error) {
			key := string(groupKey(r.Route, r.Dead.Group))
			g, ok := byKey[key]
			if !ok {
				g = &ferry.Group{ID: r.Dead.Group, Route: l.nameOf(r.Route), Reason: r.Dead.Reason, Code: r.Dead.Code, Last: r.Dead.At, Sample: r.ID}
				if _, g.Description = failureOf(r.Dead); g.ID == ferry.GroupOther {
					g.Reason, g.Code, g.Description = f.Reason, "", otherErrors
				}
				byKey[key] = g
			}
			g.Count++
			g.First = r.Dead.At // the latest come first
			return true, nil
		})
		if err != nil {
			return nil, err
		}
		if last = next; next == nil {
			break
		}
	}
	groups := make([]ferry.Group, 0, len(byKey))
	for _, g := range byKey {
		groups = append(groups, *g)
	}
	return groups, nil
}

// freshen takes from the dead letters that groups have now which is the oldest, and
// which the newest: acts on others took them away, or brought them back.
func (l *Ledger) freshen(groups []ferry.Group) error {
	return l.db.View(func(tx *bbolt.Tx) error {
		for i := range groups {
			g := &groups[i]
			no, _ := l.routeNo(g.Route)
			name := groupKey(no, g.ID)
			walk := &groupWalk{c: tx.Bucket(bDeadIn).Cursor(), prefix: append(bytes.Clone(name), 0)}
			if k, _ := walk.c.Seek(walk.prefix); !walk.at(k) {
				continue // gone meanwhile
			}
			g.First = walk.time()
			k, _ := seekBefore(walk.c, append(bytes.Clone(name), 1))
			for n := 0; walk.at(k) && n < sampleBound; k, _ = walk.c.Prev() {
				if n++; n == 1 {
					g.Last, g.Sample = walk.time(), walk.id()
				}
				if r, err := get(tx, walk.id()); err == nil && r != nil {
					g.Sample = r.ID
					break
				}
			}
		}
		return nil
	})
}
