package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// routeRow is what the ledger keeps of a route: its numbers, its counts and
// what operators did to it. A published row is never changed in place.
type routeRow struct {
	No       uint32 `json:"no"`
	Name     string `json:"name"`
	Seq      uint64 `json:"seq"`      // of the last accept
	OrderSeq uint64 `json:"orderSeq"` // of the last entry in the order index
	LastDue  int64  `json:"lastDue"`  // of the last that was ready at once, Unix ns

	Pending   int64                  `json:"pending"`
	Parked    int64                  `json:"parked"`
	Awaiting  int64                  `json:"awaiting,omitempty"` // pending, taken by the destination
	Completed int64                  `json:"completed"`
	Dead      map[ferry.Reason]int64 `json:"dead,omitempty"`
	Discarded int64                  `json:"discarded"`
	Purged    int64                  `json:"purged"` // ended messages that retention removed
	Groups    int                    `json:"groups"`
	// Every accept number up to PurgedTo was removed (see numbers.go); LastPurged is
	// the last id that was.
	PurgedTo   uint64   `json:"purgedTo,omitempty"`
	LastPurged ferry.ID `json:"lastPurged,omitzero"`

	Paused    *ferry.Condition `json:"paused,omitempty"`
	ResumedAt time.Time        `json:"resumedAt,omitzero"`
	holds

	Binding  *Binding  `json:"binding,omitempty"`
	Bindings uint64    `json:"bindings,omitempty"` // the number of the last
	Leaving  []Leaving `json:"leaving,omitempty"`  // inboxes that are still waited for; never changed in place
	// Several workers deliver the route and claim its turns; none is bound. Bound is
	// the longest that they may still write after the broker's last word.
	Several bool `json:"several,omitempty"`
	// Pull: receivers ask for the route's messages and lock them, which is a claim of
	// its own kind: Several is set, too. Locked counts them.
	Pull     bool          `json:"pull,omitempty"`
	Locked   int64         `json:"locked,omitempty"`
	Received *Received     `json:"received,omitempty"`
	Bound    time.Duration `json:"bound,omitempty"`
	// Horizon is the key in the due index up to which messages may have been
	// handed out: what lies behind it no worker can hold.
	Horizon []byte `json:"horizon,omitempty"`
}

// Received says who received a message of a route last, where receivers pull.
type Received struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// tally is promise 2 for the messages that one route accepted on one UTC day.
// It outlives retention: ended messages that were removed stay counted.
type tally struct {
	Accepted, Pending, Completed, Dead, Discarded int64
	// Of these, no longer in the ledger.
	PurgedCompleted, PurgedDiscarded int64
	// The lowest and the highest accept number of the day; 0: not known.
	First, Last uint64 `json:",omitempty"`
}

// accept counts an accept under its number, which rises.
func (t *tally) accept(number uint64) {
	if t.Accepted++; t.Accepted == 1 {
		t.First = number
	}
	t.Last = number
}

type tallyKey struct {
	route uint32
	day   int64 // since 1970-01-01 UTC
}

func (k tallyKey) bytes() []byte {
	return binary.BigEndian.AppendUint64(u32(k.route), uint64(k.day))
}

func dayOf(ns int64) int64 { return ns / int64(24*time.Hour) }

// group is what the writes of the current group have changed in memory. It is
// published after the commit, or dropped with it.
type group struct {
	routes  map[uint32]*routeRow
	tallies map[tallyKey]*tally
	idem    map[idemKey]ferry.ID
	repeats map[idemKey]ferry.ID
	changes []Change
	ends    []End
	after   []func() // under l.mu
	notices noticeDelta
	quotas  map[string]*quotaRow
	subs    []*Subscription // made or changed
	ops     map[string]*operationRow
}

// row is the committer's copy of a route's row.
func (l *Ledger) row(no uint32) *routeRow {
	if row, ok := l.group.routes[no]; ok {
		return row
	}
	known := l.routes[no] // only the committer replaces rows: no lock needed to read here
	if known == nil {
		l.log.Error("a record names a route that the ledger does not have", "number", no)
		known = &routeRow{No: no, Name: fmt.Sprintf("lost-route-%d", no)}
	}
	row := *known
	row.Dead = maps.Clone(row.Dead)
	if row.Dead == nil {
		row.Dead = map[ferry.Reason]int64{}
	}
	if l.group.routes == nil {
		l.group.routes = map[uint32]*routeRow{}
	}
	l.group.routes[no] = &row
	return &row
}

func (l *Ledger) tally(tx *bbolt.Tx, r *record) *tally {
	key := tallyKey{r.Route, dayOf(r.CreatedAt)}
	if t, ok := l.group.tallies[key]; ok {
		return t
	}
	t := &tally{}
	if v := tx.Bucket(bTallies).Get(key.bytes()); v != nil {
		if err := json.Unmarshal(v, t); err != nil {
			l.log.Error("a damaged tally is counted anew", "route", l.row(r.Route).Name, "error", err)
		}
	}
	if l.group.tallies == nil {
		l.group.tallies = map[tallyKey]*tally{}
	}
	l.group.tallies[key] = t
	return t
}

// move changes a record's state and every count with it. It is the only place
// that does either.
func (l *Ledger) move(tx *bbolt.Tx, r *record, to ferry.State) error {
	if !r.State.CanBecome(to) {
		return fmt.Errorf("message %s cannot go from %s to %s", r.ID, r.State, to)
	}
	from := r.State
	l.count(tx, r, -1)
	r.State = to
	l.count(tx, r, +1)
	l.tellOperation(tx, r, from)
	l.fixExpiry(r, from)
	if err := noteEnded(tx, r, time.Now()); err != nil {
		return err
	}
	return l.tellEnd(tx, r)
}

func (l *Ledger) count(tx *bbolt.Tx, r *record, by int64) {
	row, t := l.row(r.Route), l.tally(tx, r)
	switch {
	case r.State.Pending():
		row.Pending += by
		if r.awaits() {
			row.Awaiting += by
		}
		t.Pending += by
	case r.State == ferry.StateCompleted:
		row.Completed += by
		t.Completed += by
	case r.State == ferry.StateDeadLettered:
		if row.Dead[r.Dead.Reason] += by; row.Dead[r.Dead.Reason] == 0 {
			delete(row.Dead, r.Dead.Reason)
		}
		t.Dead += by
	case r.State == ferry.StateDiscarded:
		row.Discarded += by
		t.Discarded += by
	}
}

// flush writes what the group's writes changed in rows and tallies: once each.
func (l *Ledger) flush(tx *bbolt.Tx) error {
	for no, row := range l.group.routes {
		if err := putJSON(tx, bRoutes, u32(no), row); err != nil {
			return err
		}
	}
	for name, row := range l.group.quotas {
		if err := putJSON(tx, bQuotas, []byte(name), row); err != nil {
			return err
		}
	}
	for key, t := range l.group.tallies {
		if err := putJSON(tx, bTallies, key.bytes(), t); err != nil {
			return err
		}
	}
	return l.flushOperations(tx)
}

// finish publishes the group, or drops it.
func (l *Ledger) finish(committed bool) {
	g := l.group
	l.group = group{changes: g.changes[:0], ends: g.ends[:0]}
	if !committed {
		return
	}
	l.mu.Lock()
	for no, row := range g.routes {
		l.routes[no] = row
		l.byName[row.Name] = no
	}
	for key, id := range g.idem {
		l.idem.add(key, id)
	}
	for key, id := range g.repeats {
		l.idem.addRepeat(key, id)
	}
	for id, op := range g.ops {
		l.publishOperation(id, op)
	}
	for _, f := range g.after {
		f()
	}
	l.outbox.publish(&g.notices)
	l.mu.Unlock()
	if len(g.changes) > 0 {
		l.notify(g.changes)
	}
	if len(g.ops) > 0 {
		l.operated()
	}
	if len(g.ends) > 0 {
		l.ended(g.ends)
	}
	if len(g.notices.fresh)+g.notices.lost > 0 {
		l.noted(g.notices.fresh, g.notices.lost)
	}
}

// EnsureRoute gives the route its number, if it has none.
func (l *Ledger) EnsureRoute(ctx context.Context, name string) error {
	if _, ok := l.routeNo(name); ok {
		return nil
	}
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		if _, ok := l.byName[name]; ok {
			return nil // made since this was asked
		}
		no := uint32(1)
		if k, _ := tx.Bucket(bRoutes).Cursor().Last(); k != nil {
			no = binary.BigEndian.Uint32(k) + 1
		}
		for _, row := range l.group.routes {
			no = max(no, row.No+1)
			if row.Name == name {
				return nil
			}
		}
		row := &routeRow{No: no, Name: name, Dead: map[ferry.Reason]int64{}}
		if err := putJSON(tx, bRoutes, u32(no), row); err != nil {
			return err
		}
		if l.group.routes == nil {
			l.group.routes = map[uint32]*routeRow{}
		}
		l.group.routes[no] = row
		return nil
	})
}

func (l *Ledger) routeNo(name string) (uint32, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	no, ok := l.byName[name]
	return no, ok
}

func (l *Ledger) published(name string) (*routeRow, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if no, ok := l.byName[name]; ok {
		return l.routes[no], nil
	}
	return nil, ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", name).
		WithHint("broker routes list shows them")
}

func (l *Ledger) nameOf(no uint32) string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if row, ok := l.routes[no]; ok {
		return row.Name
	}
	return ""
}

// RouteLedger is what the ledger knows of a route, at one moment.
type RouteLedger struct {
	Name      string
	Accepted  int64
	Pending   int64
	Parked    int64
	Awaiting  int64
	Completed int64
	Dead      map[ferry.Reason]int64
	Discarded int64
	Purged    int64 // of the completed and discarded, those that retention removed
	Paused    *ferry.Condition
	ResumedAt time.Time
	Binding   *Binding
	Bindings  uint64    // the number of the last binding
	Leaving   []Leaving // inboxes that lost the route and are still waited for
	Several   bool
	Pull      bool
	Locked    int64
	Received  *Received

	holds holds
}

// Route tells what the ledger knows of a route.
func (l *Ledger) Route(name string) (RouteLedger, error) {
	row, err := l.published(name)
	if err != nil {
		return RouteLedger{}, err
	}
	return RouteLedger{
		Name: row.Name, Accepted: int64(row.Seq), Pending: row.Pending, Parked: row.Parked, Awaiting: row.Awaiting,
		Completed: row.Completed, Dead: maps.Clone(row.Dead), Discarded: row.Discarded, Purged: row.Purged,
		Paused: row.Paused, ResumedAt: row.ResumedAt, Binding: row.Binding, Bindings: row.Bindings, Leaving: row.Leaving, Several: row.Several,
		Pull: row.Pull, Locked: row.Locked, Received: row.Received, holds: row.holds,
	}, nil
}

// updateRoute changes a route's row in a commit, with an audit entry when act
// is not empty.
func (l *Ledger) updateRoute(ctx context.Context, name string, audit *ferry.AuditEntry, change func(tx *bbolt.Tx, row *routeRow) error) error {
	if _, err := l.published(name); err != nil {
		return err
	}
	return l.update(ctx, 0, func(tx *bbolt.Tx) error {
		if err := change(tx, l.row(l.byName[name])); err != nil {
			return err
		}
		if audit == nil {
			return nil
		}
		return l.audit(ctx, tx, *audit)
	})
}

// Pause stops hand-outs of a route until it is resumed, or until a time.
func (l *Ledger) Pause(ctx context.Context, route, note string, until time.Time, by string) error {
	now := time.Now().UTC()
	entry := ferry.AuditEntry{At: now, By: by, Act: "pause", Target: "route " + route, Detail: untilDetail(until), Note: note}
	return l.updateRoute(ctx, route, &entry, func(_ *bbolt.Tx, row *routeRow) error {
		row.Paused = &ferry.Condition{Type: ferry.RoutePaused, Since: now, Reason: note, By: by}
		if !until.IsZero() {
			row.Paused.Until = &until
		}
		l.hold(row, now)
		return nil
	})
}

func untilDetail(until time.Time) string {
	if until.IsZero() {
		return "until it is resumed"
	}
	return "until " + until.UTC().Format(time.RFC3339)
}

// Resume ends a pause; on a route that is not paused it only notes the time,
// which lifts a worker's stop for refused credentials.
func (l *Ledger) Resume(ctx context.Context, route, note, by string) error {
	now := time.Now().UTC()
	entry := ferry.AuditEntry{At: now, By: by, Act: "resume", Target: "route " + route, Note: note}
	return l.updateRoute(ctx, route, &entry, func(_ *bbolt.Tx, row *routeRow) error {
		row.Paused, row.ResumedAt = nil, now
		l.hold(row, now)
		return nil
	})
}

// EndPause ends a pause whose end has come. It is no resume: a pause that was set
// meanwhile stays, and nobody said that the credentials are right by now.
func (l *Ledger) EndPause(ctx context.Context, route string) error {
	return l.updateRoute(ctx, route, nil, func(tx *bbolt.Tx, row *routeRow) error {
		now := time.Now().UTC()
		if row.Paused == nil || row.Paused.Until == nil || row.Paused.Until.After(now) {
			return nil
		}
		row.Paused = nil
		l.hold(row, now)
		return l.audit(ctx, tx, ferry.AuditEntry{At: now, By: "broker", Act: "resume", Target: "route " + route, Note: "the pause has ended"})
	})
}
