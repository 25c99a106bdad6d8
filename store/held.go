package store

import (
	"context"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// A message's time to live stands still while its route is held: paused by an
// operator, or inside a window. The row of the route keeps how long it has been
// held in all, and the record what that was when the message was accepted; its
// clock is that much behind. So neither a pause nor its end touches a message.
//
// What is kept is exact at every moment without a write at that moment: the row
// has the hold that is now, or comes next, with its begin and its end. Somebody
// looks (Hold) before the one after that begins; after a time in which nobody
// could, the calendar tells what was missed.

// WindowsOf finds the first window of a route that ends after a moment; false: it
// has none. It must be quick and not touch the ledger.
type WindowsOf func(route string, after time.Time) (from, to time.Time, ok bool)

// holds are the row's times of holding, Unix ns and ns.
type holds struct {
	Held   int64 `json:"held,omitempty"`     // in all, up to HeldAt
	HeldAt int64 `json:"heldAt,omitempty"`   // up to when that counts
	From   int64 `json:"heldFrom,omitempty"` // of the hold that is, or comes next
	To     int64 `json:"heldTo,omitempty"`   // of that; 0, with From: no end is known
}

// by is how long the route has been held up to t, in all. It never goes back while
// the clock does not.
func (h *holds) by(t int64) int64 {
	if h.From == 0 {
		return h.Held
	}
	if h.To != 0 {
		t = min(t, h.To)
	}
	return h.Held + max(t-max(h.From, h.HeldAt), 0)
}

// settle counts what was held up to now.
func (h *holds) settle(route string, now int64, windows WindowsOf) {
	held := h.by(now)
	if h.From != 0 && h.To != 0 && h.To < now && windows != nil {
		// Nobody looked when the hold ended. The clock may have been set far ahead: the
		// rest of very many windows is left out.
		at := h.To
		for range maxMissed {
			from, to, ok := windows(route, timeOf(at))
			if !ok || from.UnixNano() >= now {
				break
			}
			held += min(to.UnixNano(), now) - max(from.UnixNano(), at)
			at = min(to.UnixNano(), now)
			if at == now {
				break
			}
		}
	}
	h.Held, h.HeldAt = held, now
}

// maxMissed bounds how many windows are made up for.
const maxMissed = 20_000

// plan sets the hold that is now, or comes next: of a pause, and of windows that
// it touches.
func (h *holds) plan(route string, pause *ferry.Condition, now int64, windows WindowsOf) {
	h.From, h.To = 0, 0
	if pause != nil && (pause.Until == nil || pause.Until.UnixNano() > now) {
		h.From = now
		if pause.Until == nil {
			return
		}
		h.To = pause.Until.UnixNano()
	}
	for range maxMissed {
		if windows == nil {
			return
		}
		after := now
		if h.From != 0 {
			after = h.To
		}
		from, to, ok := windows(route, timeOf(after))
		switch {
		case !ok || h.From != 0 && from.UnixNano() > h.To:
			return
		case h.From == 0:
			h.From, h.To = max(from.UnixNano(), now), to.UnixNano()
		default:
			h.To = to.UnixNano()
		}
	}
}

// hold brings a row's holds up to date, in the commit at hand.
func (l *Ledger) hold(row *routeRow, now time.Time) {
	row.settle(row.Name, now.UnixNano(), l.windows)
	row.plan(row.Name, row.Paused, now.UnixNano(), l.windows)
}

// Hold brings what the ledger knows of a route's holds up to date, where it is
// not: the hold that it knew is over, the windows are others than they were, or
// the clock went back. next is when to look again; zero: when something changes.
func (l *Ledger) Hold(ctx context.Context, route string) (next time.Time, err error) {
	row, err := l.published(route)
	if err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	if row.upToDate(now.UnixNano(), l.windows) {
		return timeOf(row.To), nil
	}
	err = l.updateRoute(ctx, route, nil, func(_ *bbolt.Tx, row *routeRow) error {
		l.hold(row, time.Now())
		return nil
	})
	if err == nil {
		row, err = l.published(route)
	}
	if err != nil {
		return time.Time{}, err
	}
	return timeOf(row.To), nil
}

// upToDate says whether the row knows the hold that is, or comes next.
func (row *routeRow) upToDate(now int64, windows WindowsOf) bool {
	is := row.holds
	is.plan(row.Name, row.Paused, now, windows)
	if now < row.HeldAt {
		return row.From == 0 && is.From == 0 // without a hold nothing depends on the time of the count
	}
	if row.From != 0 && row.From <= now && is.From == now {
		is.From = row.From // it began before
	}
	return is == row.holds
}

// expiry is when the record's time to live ends, as things stand at now; 0: never.
func (row *routeRow) expiry(r *record, now int64) int64 {
	if r.ExpiresAt == 0 {
		return 0
	}
	return r.ExpiresAt + max(row.by(now)-r.HeldThen, 0)
}

// expired says whether the record's time to live has ended.
func (row *routeRow) expired(r *record, now int64) bool {
	at := row.expiry(r, now)
	return at != 0 && at <= now
}

// fixExpiry keeps in a record that was pending and has ended when its time to live
// ends, as things stand now. It goes on from there should it be pending again.
func (l *Ledger) fixExpiry(r *record, from ferry.State) {
	if r.ExpiresAt == 0 || !from.Pending() || r.State.Pending() {
		return
	}
	row, now := l.peek(r.Route), time.Now().UnixNano()
	r.ExpiresAt, r.HeldThen = row.expiry(r, now), row.by(now)
}

// stoodStill says whether a worker took a message for expired whose clock stood
// still, by what it was told when the message was handed out. Nothing is open, and
// no call was made. When nothing was held since the last time, the worker was told
// as things are: its clock goes otherwise, and it is believed.
func (l *Ledger) stoodStill(r *record, rc *ferry.Receipt, now time.Time) bool {
	row, at := l.peek(r.Route), now.UnixNano()
	return rc.Verdict == ferry.Expired && rc.Effect == ferry.EffectNone && len(rc.Attempts) == 0 && !rc.Next.Doubt &&
		rc.Next.Do == ferry.DoDeadLetter && rc.Next.Reason == ferry.ReasonExpired &&
		row.by(at) > max(r.HeldThen, r.HeldTurned) && !row.expired(r, at)
}

// HeldBy is how long the route has been held in all, as things stood when the
// row was read.
func (r *RouteLedger) HeldBy(now time.Time) time.Duration {
	return time.Duration(r.holds.by(now.UnixNano()))
}

// Held says whether the route is held at now, and until when (zero: until
// somebody resumes it), as far as the ledger knows.
func (r *RouteLedger) Held(now time.Time) (until time.Time, held bool) {
	return r.holds.heldAt(now)
}

// NextHold is the hold that the route is in at now, else the next one that is
// known: from when until when (zero: until somebody resumes it).
func (r *RouteLedger) NextHold(now time.Time) (from, to time.Time, ok bool) {
	h := &r.holds
	if h.From == 0 || h.To != 0 && now.UnixNano() >= h.To {
		return from, to, false
	}
	return timeOf(h.From), timeOf(h.To), true
}

func (h *holds) heldAt(now time.Time) (until time.Time, held bool) {
	t := now.UnixNano()
	if h.From == 0 || t < h.From || h.To != 0 && t >= h.To {
		return time.Time{}, false
	}
	return timeOf(h.To), true
}

// shownExpiry is when a record's time to live ends, for people: of one that has
// ended, as things stood then.
func (l *Ledger) shownExpiry(r *record) int64 {
	l.mu.RLock()
	row := l.routes[r.Route]
	l.mu.RUnlock()
	if row == nil || !r.State.Pending() {
		return r.ExpiresAt
	}
	return row.expiry(r, time.Now().UnixNano())
}
