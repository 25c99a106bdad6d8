package store

import (
	"bytes"
	"sort"

	"go.etcd.io/bbolt"

	"ferry"
)

// Groups lists the groups of dead letters, the largest first. A filter that
// names more than route and reason counts them anew from the dead letters.
func (l *Ledger) Groups(f ferry.DeadLetterFilter, owner func(route string) string) ([]ferry.Group, error) {
	plain := ferry.DeadLetterFilter{Route: f.Route, Reason: f.Reason, Group: f.Group, Limit: f.Limit}
	var groups []ferry.Group
	var err error
	if f == plain {
		groups, err = l.storedGroups(f)
	} else {
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
	return groups, nil
}

func (l *Ledger) storedGroups(f ferry.DeadLetterFilter) ([]ferry.Group, error) {
	groups := []ferry.Group{}
	var prefix []byte
	if f.Route != "" {
		no, ok := l.routeNo(f.Route)
		if !ok {
			return groups, nil
		}
		prefix = u32(no)
	}
	err := l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bGroups).Cursor()
		for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix) && k != nil; k, v = c.Next() {
			g, err := decodeJSON[ferry.Group](v)
			if err != nil {
				return err
			}
			if (f.Reason == "" || g.Reason == f.Reason) && (f.Group == "" || g.ID == f.Group) {
				groups = append(groups, g)
			}
		}
		return nil
	})
	return groups, err
}

func (l *Ledger) countGroups(f ferry.DeadLetterFilter, owner func(string) string) ([]ferry.Group, error) {
	byKey := map[string]*ferry.Group{}
	_, err := l.eachDead(f, nil, owner, 0, func(tx *bbolt.Tx, r *record) (bool, error) {
		key := string(groupKey(r.Route, r.Dead.Group))
		g, ok := byKey[key]
		if !ok {
			g = &ferry.Group{ID: r.Dead.Group, Route: l.nameOf(r.Route), Reason: r.Dead.Reason, Code: r.Dead.Code, Description: maskError(r.Dead.Description), Last: r.Dead.At, Sample: r.ID}
			byKey[key] = g
		}
		g.Count++
		g.First = r.Dead.At // the latest come first
		return true, nil
	})
	groups := make([]ferry.Group, 0, len(byKey))
	for _, g := range byKey {
		groups = append(groups, *g)
	}
	return groups, err
}
