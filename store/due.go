package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// The due index holds every message that may be handed out, by route and time:
// at once for a fresh one, later for a retry. A message's entry stands there
// from the commit that makes a turn ready to the commit that ends the turn.

func dueKey(route uint32, due int64, id ferry.ID) []byte {
	k := make([]byte, 0, 28)
	k = binary.BigEndian.AppendUint32(k, route)
	k = binary.BigEndian.AppendUint64(k, uint64(due))
	return append(k, id[:]...)
}

func splitDueKey(k []byte) (due int64, id ferry.ID) {
	return int64(binary.BigEndian.Uint64(k[4:12])), ferry.ID(k[12:28])
}

// makeReady puts the record's turn into the due index at a time (zero: now), or
// parks it behind the head of its ordering key. The caller puts the record.
func (l *Ledger) makeReady(tx *bbolt.Tx, r *record, at time.Time) error {
	if r.OrderingKey != "" {
		head, err := l.joinOrder(tx, r)
		if err != nil {
			return err
		}
		if !head {
			l.park(r, true)
			r.Due = nsOf(at)
			return nil
		}
	}
	return l.makeDue(tx, r, at)
}

func (l *Ledger) makeDue(tx *bbolt.Tx, r *record, at time.Time) error {
	row := l.row(r.Route)
	now := time.Now().UnixNano()
	due := nsOf(at)
	// What becomes ready lies behind the horizon, also when the clock went back:
	// otherwise it would look as if it had been handed out.
	first := row.handedOut() + 1
	if due <= now {
		// Each that is ready at once comes behind the one before, on a coarse clock
		// too: they are handed out in the order of their acceptance.
		due = max(now, first, row.LastDue+1)
		row.LastDue = due
	} else if due < first {
		due = first + (due - now) // it still waits as long as it was to
	}
	l.park(r, false)
	r.Due = due
	key := dueKey(r.Route, due, r.ID)
	if err := tx.Bucket(bDue).Put(key, nil); err != nil {
		return err
	}
	l.group.changes = append(l.group.changes, Change{Route: row.Name, ID: r.ID, Ready: true, Key: key})
	return nil
}

// endTurn takes the record's turn out of the due index: it was reported on, or
// its message ended.
func (l *Ledger) endTurn(tx *bbolt.Tx, r *record) error {
	if err := l.endClaim(tx, r); err != nil {
		return err
	}
	if r.Parked {
		l.park(r, false)
		r.Due = 0 // when it was to be ready, had it become the head
		return nil
	}
	if r.Due == 0 {
		return nil
	}
	if err := tx.Bucket(bDue).Delete(dueKey(r.Route, r.Due, r.ID)); err != nil {
		return err
	}
	r.Due = 0
	l.group.changes = append(l.group.changes, Change{Route: l.row(r.Route).Name, ID: r.ID, Left: true})
	return nil
}

// park sets whether the record waits behind another, and counts it.
func (l *Ledger) park(r *record, parked bool) {
	if r.Parked == parked {
		return
	}
	r.Parked = parked
	if parked {
		l.row(r.Route).Parked++
	} else {
		l.row(r.Route).Parked--
	}
}

// handedOut is the due time of the horizon, Unix ns; 0 before the first hand-out.
func (row *routeRow) handedOut() int64 {
	if len(row.Horizon) != 28 {
		return 0
	}
	due, _ := splitDueKey(row.Horizon)
	return due
}

// mayBeHeld says whether a worker may be about to call for the pending record:
// it was handed out, or where turns are claimed, it is claimed.
func (row *routeRow) mayBeHeld(r *record) bool {
	if row.Several {
		return r.Holder != nil
	}
	return row.wasHandedOut(r)
}

// wasHandedOut says whether the pending record may have been handed out: its
// entry lies at or before the horizon.
func (row *routeRow) wasHandedOut(r *record) bool {
	if r.Parked || r.Due == 0 {
		return false
	}
	return len(row.Horizon) == 28 && bytes.Compare(dueKey(r.Route, r.Due, r.ID), row.Horizon) <= 0
}

// shownState is the state as people see it: queued, once handed out.
func (l *Ledger) shownState(r *record) ferry.State {
	if !r.State.Pending() {
		return r.State
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if row, ok := l.routes[r.Route]; ok && (row.Pull && r.Holder != nil || !row.Pull && row.wasHandedOut(r)) {
		return ferry.StateQueued
	}
	return r.State
}

// Ready is a message that may be handed out, with its place in the due index.
type Ready struct {
	ferry.HandOut
	Key     []byte
	Missing bool // its body is gone
}

// Look says up to which key of the due index the next hand-out may go: at most
// most messages that are due at now, from behind the key after (nil: from the
// start), passing over those that skip names. A nil last means that nothing is
// due; next is when the first one will be, as far as it is known.
func (l *Ledger) Look(route string, after []byte, now time.Time, most int, skip func(ferry.ID) bool) (last []byte, next time.Time, err error) {
	row, err := l.published(route)
	if err != nil {
		return nil, time.Time{}, err
	}
	limit, n := row.dueBy(now), 0
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bDue).Cursor()
		for k := seekBehind(c, row.No, after); k != nil; k = nextOf(c, row.No) {
			due, id := splitDueKey(k)
			if due > limit || n == most {
				next = timeOf(due)
				return nil
			}
			if !skip(id) {
				last = bytes.Clone(k)
				n++
			}
		}
		return nil
	})
	return last, next, err
}

// dueBy is up to when what stands in the due index is due. The clock may have been
// set back: what was handed out was due, and so is what became ready at once since
// then.
func (row *routeRow) dueBy(now time.Time) int64 {
	return max(now.UnixNano(), row.handedOut()+1, row.LastDue)
}

func (l *Ledger) dueBy(route uint32) int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if row := l.routes[route]; row != nil {
		return row.dueBy(time.Now())
	}
	return time.Now().UnixNano()
}

func seekBehind(c *bbolt.Cursor, route uint32, after []byte) []byte {
	from := u32(route)
	if after != nil {
		from = append(bytes.Clone(after), 0)
	}
	k, _ := c.Seek(from)
	return ofRoute(k, route)
}

func nextOf(c *bbolt.Cursor, route uint32) []byte {
	k, _ := c.Next()
	return ofRoute(k, route)
}

func ofRoute(k []byte, route uint32) []byte {
	if len(k) != 28 || binary.BigEndian.Uint32(k) != route {
		return nil
	}
	return k
}

// Due returns the route's messages in the due index behind the key after and up
// to the key upTo, in order, without those that skip names. Bodies of up to
// inline bytes come with them; it stops after about mostBytes of them. reached
// is the last key that was looked at, nil when there was none.
//
// The relay looks first, moves the horizon (Advance), and only then reads what
// it hands out: from then on no act can touch it.
func (l *Ledger) Due(route string, after, upTo []byte, mostBytes, inline int, skip func(ferry.ID) bool) (ready []Ready, reached []byte, err error) {
	row, err := l.published(route)
	if err != nil {
		return nil, nil, err
	}
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bDue).Cursor()
		for k := seekBehind(c, row.No, after); k != nil && bytes.Compare(k, upTo) <= 0 && mostBytes > 0; k = nextOf(c, row.No) {
			_, id := splitDueKey(k)
			reached = append(reached[:0], k...)
			if skip(id) {
				continue
			}
			r, err := get(tx, id)
			if err != nil {
				l.log.Error("a message that is due cannot be read", "route", route, "message", id, "error", err)
				continue
			}
			if r == nil || r.Holder != nil {
				continue // what is claimed, the claim looks after
			}
			one := Ready{HandOut: l.handOut(row, r), Key: bytes.Clone(k)}
			if r.Size > 0 && r.Size <= int64(inline) {
				one.Body, err = l.body(tx, r, r.Revision)
				if one.Missing = errors.Is(err, ErrBodyMissing); err != nil && !one.Missing {
					return err
				}
			}
			mostBytes -= len(one.Body) + 512
			ready = append(ready, one)
		}
		return nil
	})
	return ready, reached, err
}

func (l *Ledger) handOut(row *routeRow, r *record) ferry.HandOut {
	h := ferry.HandOut{
		ID: r.ID, Route: row.Name, Turn: r.Turn, Revision: r.Revision, Generation: r.Generation,
		Spent: r.Spent, Attempt: r.Attempts + 1,
		Doubt: r.Doubt, Elsewhere: r.Elsewhere, NotBefore: timeOf(r.NotBefore), OpenRevision: r.OpenRev, RiskAccepted: r.Risk,
		ExternalKey: ferry.ExternalKey(r.ID, r.Key), IdempotencyKey: r.Key, CorrelationID: r.CorrelationID,
		OrderingKey: r.OrderingKey, ContentType: r.ContentType, Version: r.toldVersion(), Properties: r.Properties, Traceparent: r.Traceparent, Tracestate: r.Tracestate, LastTraceparent: r.LastSpan,
		CreatedAt: timeOf(r.CreatedAt), Size: r.Size, SHA256: r.hashOf(r.Revision),
	}
	if r.ExpiresAt != 0 {
		now := time.Now().UnixNano()
		h.ExpiresAt, h.Held = timeOf(row.expiry(r, now)), time.Duration(max(row.by(now), 1))
	}
	if r.awaits() {
		h.Awaiting, h.StatusURL, h.AwaitedAt = true, r.Awaiting.StatusURL, timeOf(r.Awaiting.Since)
	}
	if h.Claims, h.TakenOver = row.Several, r.TakenOver; !h.Claims && row.Binding != nil {
		h.Inbox, h.Binding = row.Binding.Inbox, row.Binding.No
	}
	return h
}

// Advance moves the horizon of a route to key, on disk, before what lies up to
// it is handed out. It never goes back.
func (l *Ledger) Advance(ctx context.Context, route string, key []byte) error {
	row, err := l.published(route)
	if err != nil {
		return err
	}
	if bytes.Compare(key, row.Horizon) <= 0 {
		return nil
	}
	return l.updateRoute(ctx, route, nil, func(_ *bbolt.Tx, row *routeRow) error {
		if bytes.Compare(key, row.Horizon) > 0 {
			row.Horizon = bytes.Clone(key)
		}
		return nil
	})
}

// Ahead counts the messages of its route that come before a pending one in the
// due index and were not handed out, most at the most.
func (l *Ledger) Ahead(id ferry.ID, most int) (n int, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		r, err := must(tx, id)
		if err != nil || r.Parked || r.Due == 0 {
			return err
		}
		l.mu.RLock()
		row := l.routes[r.Route]
		l.mu.RUnlock()
		if row == nil {
			return nil
		}
		end, c := dueKey(r.Route, r.Due, r.ID), tx.Bucket(bDue).Cursor()
		for k := seekBehind(c, r.Route, row.Horizon); k != nil && n < most && bytes.Compare(k, end) < 0; k = nextOf(c, r.Route) {
			n++
		}
		return nil
	})
	return n, err
}

// OldestDue is since when the first message of a route is due that is not out;
// zero when there is none. It passes over those that are out, so over no more than a
// window, and reads no message.
func (l *Ledger) OldestDue(route string, now time.Time, isOut func(ferry.ID) bool) (due time.Time, err error) {
	row, err := l.published(route)
	if err != nil || row.Pending == 0 {
		return time.Time{}, err
	}
	prefix := u32(row.No)
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bDue).Cursor()
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			at, id := splitDueKey(k)
			if at > now.UnixNano() {
				return nil
			}
			if !isOut(id) {
				due = time.Unix(0, at)
				return nil
			}
		}
		return nil
	})
	return due, err
}

// Bounds of what OldestPending reads.
const (
	oldestEntries = 1000
	oldestRecords = 100
	atOnce        = time.Second // what is due so soon after its acceptance waits since then
)

// OldestPending is since when the pending message of a route waits that has waited
// longest, as far as the due index tells; zero when none is to be delivered yet. It
// waits since it was accepted or, where that was later, since the time it was to be
// delivered at, or since somebody had it sent again; failed attempts change nothing.
func (l *Ledger) OldestPending(route string) (time.Time, error) {
	row, err := l.published(route)
	if err != nil || row.Pending == 0 {
		return time.Time{}, err
	}
	var oldest time.Time
	prefix, now := u32(row.No), time.Now()
	err = l.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bDue).Cursor()
		entries, records := 0, 0
		for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && entries < oldestEntries; k, _ = c.Next() {
			entries++
			due, id := splitDueKey(k)
			since := id.Time()
			if !oldest.IsZero() && !since.Before(oldest) {
				continue
			}
			if later := timeOf(due); later.Sub(since) > atOnce {
				since = later
				if records < oldestRecords {
					records++
					r, err := get(tx, id)
					if err != nil || r == nil {
						continue // the checks of the ledger tell
					}
					since = timeOf(r.waitsSince())
				}
			}
			if !since.After(now) && (oldest.IsZero() || since.Before(oldest)) {
				oldest = since
			}
		}
		return nil
	})
	return oldest, err
}

// waitsSince is since when somebody waits for the end of a pending message, Unix ns.
func (r *record) waitsSince() int64 {
	since := max(r.CreatedAt, r.DeliverAt)
	for i := range r.Acts {
		switch r.Acts[i].Act {
		case "replay", "edit", "replace", "restore":
			since = max(since, nsOf(r.Acts[i].At))
		}
	}
	return min(since, r.Due)
}
