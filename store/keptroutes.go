package store

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"ferry"
)

// keptRoute begins the keys of meta that hold routes as they were configured last:
// a route that the configuration lacks, and that has messages, goes on with what
// was said of it, its mask above all.
const keptRoute = "route/"

// KeepRoutes notes how routes are configured. It writes only what changed.
func (l *Ledger) KeepRoutes(ctx context.Context, routes []ferry.Route) error {
	return l.keepRoutes(ctx, routes, nil)
}

// Reconfigured notes how routes are configured from now on, and what changed, in
// one commit, which also changes who delivers them (see SetSeveral). Meanwhile the
// caller lets nobody answer for the bindings of those, and has their relays begin
// anew afterwards.
func (l *Ledger) Reconfigured(ctx context.Context, routes []ferry.Route, entry ferry.AuditEntry) error {
	return l.keepRoutes(ctx, routes, &entry)
}

func (l *Ledger) keepRoutes(ctx context.Context, routes []ferry.Route, entry *ferry.AuditEntry) error {
	texts := map[string][]byte{}
	for i := range routes {
		text, err := json.Marshal(keepable(routes[i]))
		if err != nil {
			return err
		}
		texts[keptRoute+routes[i].Name] = text
	}
	same := entry == nil
	if err := l.db.View(func(tx *bbolt.Tx) error {
		for key, text := range texts {
			same = same && bytes.Equal(tx.Bucket(bMeta).Get([]byte(key)), text)
		}
		return nil
	}); err != nil || same {
		return err
	}
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		for key, text := range texts {
			if err := tx.Bucket(bMeta).Put([]byte(key), text); err != nil {
				return err
			}
		}
		if entry == nil {
			return nil
		}
		for i := range routes {
			r := &routes[i]
			no, ok := l.byName[r.Name]
			if !ok {
				continue
			}
			if row := l.peek(no); row.Several == (r.Several || r.Pull) && row.Pull == r.Pull {
				continue
			}
			if err := l.switchMode(ctx, tx, l.row(no), r.Several || r.Pull, r.Pull); err != nil {
				return err
			}
		}
		return l.audit(ctx, tx, *entry)
	})
}

// keepable is what a route needs that accepts nothing any more: no schemas, which may
// be large.
func keepable(r ferry.Route) *ferry.Route {
	r.Schema = nil
	r.Versions = slices.Clone(r.Versions)
	for i := range r.Versions {
		r.Versions[i].Schema = nil
	}
	return &r
}

// KeptRoutes are the routes as they were configured last, by name.
func (l *Ledger) KeptRoutes() (map[string]ferry.Route, error) {
	kept := map[string]ferry.Route{}
	err := l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bMeta).Cursor()
		for k, v := c.Seek([]byte(keptRoute)); k != nil && bytes.HasPrefix(k, []byte(keptRoute)); k, v = c.Next() {
			var r ferry.Route
			name := strings.TrimPrefix(string(k), keptRoute)
			if err := json.Unmarshal(v, &r); err != nil {
				l.log.Warn("how a route was configured cannot be read", "route", name, "error", err)
				continue
			}
			kept[name] = *keepable(r) // a schema that was left out reads as null, which is none
		}
		return nil
	})
	return kept, err
}

// RouteNames lists every route that the ledger has a number for, in order.
func (l *Ledger) RouteNames() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	names := make([]string, 0, len(l.byName))
	for name := range l.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
