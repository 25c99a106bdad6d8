package store

import (
	"bytes"
	"sort"

	"go.etcd.io/bbolt"

	"ferry"
)

// Bounds of groups that are read.
const (
	groupRead   = 5_000  // dead letters in one look at the ledger
	sampleBound = 20_000 // dead letters that are looked at for samples, the latest first
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
	sort.Slice(groups, func(i, j int) bool {
		if groups[i].Count != groups[j].Count {
			return groups[i].Count > groups[j].Count
		}
		return groups[i].Last.After(groups[j].Last)
	})
	if f.Limit > 0 && len(groups) > f.Limit {
		groups = groups[:f.Limit]
	}
	if kept {
		err = l.freshSamples(groups)
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

// freshSamples gives groups another sample whose own is no longer a dead letter of
// theirs: somebody sent it again, say. It looks at the latest dead letters only.
func (l *Ledger) freshSamples(groups []ferry.Group) error {
	return l.db.View(func(tx *bbolt.Tx) error {
		stale := map[string]*ferry.Group{}
		for i := range groups {
			g := &groups[i]
			r, err := get(tx, g.Sample)
			if err != nil || r == nil || r.State != ferry.StateDeadLettered || r.Dead.Group != g.ID {
				no, _ := l.routeNo(g.Route)
				stale[string(groupKey(no, g.ID))] = g
			}
		}
		c := tx.Bucket(bDead).Cursor()
		n := 0
		for k, _ := c.Last(); k != nil && len(stale) > 0 && n < sampleBound; k, _ = c.Prev() {
			n++
			r, err := get(tx, ferry.ID(k[8:24]))
			if err != nil || r == nil || r.Dead == nil {
				continue
			}
			key := string(groupKey(r.Route, r.Dead.Group))
			if g := stale[key]; g != nil {
				g.Sample, g.Last = r.ID, r.Dead.At
				delete(stale, key)
			}
		}
		return nil
	})
}
