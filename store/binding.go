package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/rules"
)

// A route is bound to one inbox. Another takes over by Bind; what the old one may
// have begun waits until its calls can have no effect any more. How long that is
// depends on the word that it may still go by: Grant notes it before it is given,
// and Heard, once the old inbox has taken a later one, cuts the wait short.

// Binding says whose inbox delivers a route.
type Binding struct {
	Worker string        `json:"worker"`
	Inbox  string        `json:"inbox"`
	Bound  time.Duration `json:"bound"` // how long after the broker's last word a call may still write, where words are short
	At     time.Time     `json:"at"`
	No     uint64        `json:"no,omitempty"` // of the route's bindings: rises with each inbox that takes over
	// Until: calls may begin until then, on words that are good for long. Zero: all
	// words were short. Run names the run of the worker that was given the last.
	Until time.Time `json:"until,omitzero"`
	Run   string    `json:"run,omitempty"`
}

// Leaving is an inbox that lost a route and may not know yet: until its words end
// it may begin calls for what was handed out to it.
type Leaving struct {
	Worker string        `json:"worker"`
	Inbox  string        `json:"inbox"`
	No     uint64        `json:"no"` // of the binding that ended
	Run    string        `json:"run,omitempty"`
	Bound  time.Duration `json:"bound"`
	// Until and Calm go by the system's clock, as due times do: see DueAt.
	Until time.Time `json:"until"` // it begins nothing after it
	Calm  int64     `json:"calm"`  // Unix ns: what it may have begun is due then
	Held  int       `json:"held"`  // messages that wait for it
}

// CalmAt is when what the inbox may have begun is handed out to the new one.
func (e *Leaving) CalmAt() time.Time { return timeOf(e.Calm) }

// maxLeaving bounds how many inboxes of a route are waited for at a time.
const maxLeaving = 50

// Now is the ledger's clock: that of its opening, gone on since then.
func (l *Ledger) Now() time.Time { return l.clock() }

// Bind names the inbox that delivers a route. A first binding only names it.
// Another inbox takes over with force: what may be in the hands of the old one
// gets its next turn, begun elsewhere, after the time in which the old one may
// begin calls and these may take effect.
//
// While a hello is answered for the route, the caller must not bind it: a word
// that is on its way counts from before.
func (l *Ledger) Bind(ctx context.Context, route string, b Binding, force bool, note, by string) error {
	now := l.clock().UTC()
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
			row.Bindings++
		case old.Inbox == b.Inbox:
			if old.Worker == b.Worker && old.Bound == b.Bound {
				return nil
			}
			b.No, b.Until, b.Run = old.No, old.Until, old.Run
			row.Binding = &b
			if old.Worker == b.Worker {
				return nil // the same inbox under other settings: nothing worth an audit entry
			}
			return l.audit(ctx, tx, ferry.AuditEntry{At: now, By: by, Act: "workers bind", Target: "route " + route + " to worker " + b.Worker, Detail: "its inbox was that of worker " + old.Worker, Note: note})
		case !force:
			return ferry.Errorf(ferry.CodeConflict, "route %s is bound to the inbox of worker %s", route, old.Worker).
				WithHint("when that inbox is lost for good: broker workers bind %s %s", b.Worker, route)
		default:
			if err := l.leave(tx, row, now, b.Bound); err != nil {
				return err
			}
		}
		b.No, b.Until, b.Run = row.Bindings, time.Time{}, ""
		row.Binding = &b
		return l.audit(ctx, tx, ferry.AuditEntry{At: now, By: by, Act: "workers bind", Target: "route " + route + " to worker " + b.Worker, Note: note})
	})
}

// leave ends the route's binding: what its inbox may hold is taken over, after
// the time that the inbox may still begin calls, and then bound.
func (l *Ledger) leave(tx *bbolt.Tx, row *routeRow, now time.Time, bound time.Duration) error {
	old := row.Binding
	e := Leaving{Worker: old.Worker, Inbox: old.Inbox, No: old.No, Run: old.Run, Bound: max(old.Bound, bound), Until: now}
	if old.Until.After(now) && rules.On(rules.Word) {
		e.Until = old.Until
	}
	lead := l.lead()
	now, e.Until = now.Add(lead), e.Until.Add(lead)
	if e.Until.After(now) && row.waitedFor(now) >= maxLeaving {
		return ferry.Errorf(ferry.CodeLimitReached, "%d workers that had route %s may still be at work", maxLeaving, row.Name).
			WithHint("of machines that are off for good: broker workers bind WORKER %s --gone --note …", row.Name)
	}
	row.Bindings++
	row.Binding = nil
	if !rules.On(rules.TakeOver) {
		return nil
	}
	if err := l.forgetLeft(tx, row, now); err != nil {
		return err
	}
	e.Calm = e.Until.Add(e.Bound).UnixNano()
	held, err := l.takeOver(tx, row, e.Calm)
	if err != nil || len(held) == 0 || !e.Until.After(now) {
		return err
	}
	e.Held = len(held)
	for _, id := range held {
		if err := tx.Bucket(bLeft).Put(leftKey(row.No, e.No, id), nil); err != nil {
			return err
		}
	}
	row.Leaving = append(slices.Clone(row.Leaving), e)
	return nil
}

// waitedFor counts the inboxes that left and are still waited for.
func (row *routeRow) waitedFor(now time.Time) (n int) {
	for _, e := range row.Leaving {
		if e.Calm >= now.UnixNano() {
			n++
		}
	}
	return n
}

// takeOver gives the next turn to everything of the route that another inbox
// may have begun: it was handed out in this turn or an earlier one.
func (l *Ledger) takeOver(tx *bbolt.Tx, row *routeRow, notBefore int64) ([]ferry.ID, error) {
	var due, held []ferry.ID
	c := tx.Bucket(bDue).Cursor()
	for k := seekBehind(c, row.No, nil); k != nil && bytes.Compare(k, row.Horizon) <= 0; k = nextOf(c, row.No) {
		_, id := splitDueKey(k)
		due = append(due, id)
	}
	for _, id := range due {
		r, err := get(tx, id)
		if err != nil {
			l.log.Error("a message cannot be read: it keeps its turn", "message", id, "error", err)
			continue
		}
		if r == nil || !row.mayBeHeld(r) {
			continue
		}
		if err := l.takeOverOne(tx, r, notBefore); err != nil {
			return nil, err
		}
		held = append(held, id)
	}
	return held, nil
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

// Grant notes until when a word of the broker lets a run of the worker whose inbox
// has the binding begin calls: on disk before the word is given. conflict: the
// route has another binding by now.
func (l *Ledger) Grant(ctx context.Context, route string, no uint64, run string, until time.Time) error {
	return l.updateRoute(ctx, route, nil, func(tx *bbolt.Tx, row *routeRow) error {
		if row.Binding == nil || row.Binding.No != no {
			return ferry.Errorf(ferry.CodeConflict, "route %s has been bound anew", route).WithHint("the next hello is told")
		}
		b := *row.Binding
		if !b.Until.Before(until) && b.Run == run {
			return nil
		}
		b.Until, b.Run = later(b.Until, until.UTC()), run
		row.Binding = &b
		return l.forgetLeft(tx, row, l.DueAt(l.clock()))
	})
}

// Heard notes that a worker's inbox has taken the word of a binding, of whomever:
// it begins nothing any more that was handed out to it under an earlier one. It
// returns how many messages need not wait for the end of its words.
func (l *Ledger) Heard(ctx context.Context, route, worker, inbox string, no uint64) (released int, err error) {
	late := func(e *Leaving) bool { return e.Worker == worker && e.Inbox == inbox && e.No < no }
	return l.cutShort(ctx, route, late, nil)
}

// Left notes that a run of a worker has ended in good order: it begins nothing any
// more, of the route that it has or of what it was handed out under an earlier
// binding. Another run of it needs another word.
func (l *Ledger) Left(ctx context.Context, route, inbox, run string) error {
	row, err := l.published(route)
	if err != nil || run == "" {
		return err
	}
	now := l.clock().UTC()
	its := func(b *Binding) bool { return b != nil && b.Inbox == inbox && b.Run == run && b.Until.After(now) }
	if its(row.Binding) {
		err = l.updateRoute(ctx, route, nil, func(_ *bbolt.Tx, row *routeRow) error {
			if its(row.Binding) {
				b := *row.Binding
				b.Until = now
				row.Binding = &b
			}
			return nil
		})
	}
	if err == nil {
		_, err = l.cutShort(ctx, route, func(e *Leaving) bool { return e.Inbox == inbox && e.Run == run }, nil)
	}
	return err
}

// Gone says of the inboxes that had the route before, those that keep names not,
// that they begin nothing any more: their machines are off, a person says.
func (l *Ledger) Gone(ctx context.Context, route string, keep func(inbox string) bool, note, by string) (released int, err error) {
	gone := func(e *Leaving) bool { return !keep(e.Inbox) }
	return l.cutShort(ctx, route, gone, &ferry.AuditEntry{At: time.Now().UTC(), By: by, Act: "workers gone", Target: "route " + route, Note: note})
}

// cutShort ends the words of the inboxes that left and that which names.
func (l *Ledger) cutShort(ctx context.Context, route string, which func(*Leaving) bool, audit *ferry.AuditEntry) (released int, err error) {
	row, err := l.published(route)
	if err != nil {
		return 0, err
	}
	wanted := func(e *Leaving) bool { return which(e) && e.Until.After(l.DueAt(l.clock())) }
	if audit == nil && !slices.ContainsFunc(row.Leaving, func(e Leaving) bool { return wanted(&e) }) {
		return 0, nil
	}
	err = l.updateRoute(ctx, route, audit, func(tx *bbolt.Tx, row *routeRow) error {
		released = 0
		row.Leaving = slices.Clone(row.Leaving)
		for i := range row.Leaving {
			e := &row.Leaving[i]
			if !wanted(e) {
				continue
			}
			n, err := l.release(tx, row, e)
			if err != nil {
				return err
			}
			released += n
		}
		return nil
	})
	return released, err
}

// release has what waits for an inbox that left wait for its calls only, which
// began before now.
func (l *Ledger) release(tx *bbolt.Tx, row *routeRow, e *Leaving) (n int, err error) {
	now := l.DueAt(l.clock())
	calm := now.Add(e.Bound).UnixNano()
	if calm >= e.Calm {
		return 0, nil
	}
	for _, id := range leftIDs(tx, row.No, e.No) {
		r, err := get(tx, id)
		if err != nil {
			l.log.Error("a message cannot be read: it waits longer than it had to", "message", id, "error", err)
			continue
		}
		if r == nil || r.NotBefore != e.Calm {
			continue // it has another reason to wait, or ended
		}
		r.NotBefore = calm
		if r.State.Pending() && !r.Parked && r.Due != 0 && r.Holder == nil && !row.wasHandedOut(r) {
			if err := l.endTurn(tx, r); err != nil {
				return n, err
			}
			if err := l.makeReady(tx, r, timeOf(calm)); err != nil {
				return n, err
			}
			n++
		}
		if err := put(tx, r); err != nil {
			return n, err
		}
	}
	e.Until, e.Calm = now.UTC(), calm
	return n, nil
}

// forgetLeft forgets the inboxes that are waited for no longer.
func (l *Ledger) forgetLeft(tx *bbolt.Tx, row *routeRow, now time.Time) error {
	var still []Leaving
	for _, e := range row.Leaving {
		if e.Calm >= now.UnixNano() {
			still = append(still, e)
			continue
		}
		for _, id := range leftIDs(tx, row.No, e.No) {
			if err := tx.Bucket(bLeft).Delete(leftKey(row.No, e.No, id)); err != nil {
				return err
			}
		}
	}
	row.Leaving = still
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func leftKey(route uint32, binding uint64, id ferry.ID) []byte {
	k := binary.BigEndian.AppendUint64(u32(route), binding)
	return append(k, id[:]...)
}

func leftIDs(tx *bbolt.Tx, route uint32, binding uint64) []ferry.ID {
	var ids []ferry.ID
	prefix := binary.BigEndian.AppendUint64(u32(route), binding)
	c := tx.Bucket(bLeft).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		ids = append(ids, ferry.ID(k[len(prefix):]))
	}
	return ids
}
