package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/rules"
)

// Where several workers deliver a route, none is bound to it: the ledger gives
// each turn to the delivery that claims it first. The bucket claims lists what is
// claimed by the time at which the ledger takes it over, should nobody report.

// Bounds of claims.
const (
	// maxClaim is the longest claim: a lookup and a call of the longest time-out
	// that a worker can be given, half an hour each, and a little more.
	maxClaim = 2 * time.Hour
	// maxClaimBound is the longest that a destination may go on writing.
	maxClaimBound = 32 * 24 * time.Hour
)

// clock is the time for claims: that of the opening, gone on since then whatever
// happens to the system's clock. A claim must not be over before its time because
// somebody set the clock.
func (l *Ledger) clock() time.Time { return l.opened.Add(time.Since(l.opened)) }

// lead is by how much the system's clock is ahead of the ledger's: it was set forward
// since the opening, or the machine slept. Due times go by the system's clock, so that
// a time of the ledger's would be due too early by that much. Less than a millisecond
// is only that the two are not read at once.
func (l *Ledger) lead() time.Duration {
	return max(l.wall().Round(0).Sub(l.clock().Round(0)), 0).Truncate(time.Millisecond)
}

// DueAt is a time of the ledger's clock as a due time, and as people are told it:
// later by what the system's clock is ahead.
func (l *Ledger) DueAt(t time.Time) time.Time { return t.Add(l.lead()) }

// holder is who has claimed the current turn of a message, where several
// workers deliver a route.
type holder struct {
	Worker string `json:"worker"`
	Inbox  string `json:"inbox"` // its inbox's identity
	Nonce  string `json:"nonce"` // of the delivery: the same one asks again and gets the same grant
	Until  int64  `json:"until"` // Unix ns by the ledger's clock: no call of the claim runs longer
	Bound  int64  `json:"bound"` // ns after Until during which the destination may still write
	// Pull: a receiver holds it; Inbox and Nonce are its lock. Most is after how many
	// locks without a word the message is set aside.
	Pull bool `json:"pull,omitempty"`
	Most int  `json:"most,omitempty"`
	// Span is the traceparent of a receiver's delivery, where traces are made.
	Span string `json:"span,omitempty"`
}

// Claim asks for a turn.
type Claim struct {
	ID     ferry.ID
	Route  string
	Turn   uint64
	Worker string
	Inbox  string
	Nonce  string        // of the delivery
	For    time.Duration // until the last call of the claim has ended
	Bound  time.Duration // how long after that the destination may still write
}

// ClaimState is what became of a claim.
type ClaimState string

// What becomes of a claim.
const (
	ClaimGranted ClaimState = "granted" // to this delivery, now or when it asked before
	ClaimHeld    ClaimState = "held"    // by another delivery; the ledger looks after the turn
	ClaimRefused ClaimState = "refused" // the turn is over, or nothing is claimed here
)

// Claim gives a turn to the delivery that asks first, on disk before it
// returns. left is what is left of a grant: of the whole time when it is fresh.
func (l *Ledger) Claim(ctx context.Context, c Claim) (state ClaimState, left time.Duration, err error) {
	c.For, c.Bound = min(max(c.For, 0), maxClaim), min(max(c.Bound, 0), maxClaimBound)
	err = l.update(ctx, 0, func(tx *bbolt.Tx) (err error) {
		state, left, err = l.claim(tx, &c, l.clock())
		return err
	})
	return state, left, err
}

func (l *Ledger) claim(tx *bbolt.Tx, c *Claim, now time.Time) (ClaimState, time.Duration, error) {
	r, err := get(tx, c.ID)
	if err != nil {
		return "", 0, damaged(err)
	}
	if r == nil || !r.State.Pending() || r.Parked || r.Turn != c.Turn {
		return ClaimRefused, 0, nil
	}
	if row := l.peek(r.Route); !row.Several || row.Pull || row.Name != c.Route {
		return ClaimRefused, 0, nil
	}
	if h := r.Holder; h != nil {
		if h.Nonce == c.Nonce && h.Inbox == c.Inbox && h.Worker == c.Worker {
			return ClaimGranted, max(time.Duration(h.Until-now.UnixNano()), 0), nil
		}
		if rules.On(rules.Claim) {
			return ClaimHeld, 0, nil
		}
	}
	if _, held := l.peek(r.Route).heldAt(time.Now()); held {
		return ClaimRefused, 0, nil // whoever had it in hand leaves it: it is handed out again
	}
	if err := l.endClaim(tx, r); err != nil {
		return "", 0, err
	}
	r.Holder = &holder{Worker: c.Worker, Inbox: c.Inbox, Nonce: c.Nonce, Until: now.Add(c.For).UnixNano(), Bound: int64(c.Bound)}
	if err := appending(tx, bClaims).Put(claimKey(r), u64(r.Turn)); err != nil {
		return "", 0, err
	}
	return ClaimGranted, c.For, put(tx, r)
}

// peek is a route's row as the group has it, to read only: row would have it
// written.
func (l *Ledger) peek(no uint32) *routeRow {
	if row, ok := l.group.routes[no]; ok {
		return row
	}
	if row := l.routes[no]; row != nil {
		return row
	}
	return l.row(no)
}

// calm is when the destination has surely stopped writing what a call of the
// claim left. Until then its holder is heard; from then on the claim is taken over.
func (h *holder) calm() int64 { return h.Until + h.Bound }

func claimKey(r *record) []byte {
	return append(binary.BigEndian.AppendUint64(make([]byte, 0, 24), uint64(r.Holder.calm())), r.ID[:]...)
}

// endClaim ends the claim on the record's turn, if there is one.
func (l *Ledger) endClaim(tx *bbolt.Tx, r *record) error {
	if r.Holder == nil {
		return nil
	}
	key := claimKey(r)
	if r.Holder.Pull {
		l.row(r.Route).Locked--
	}
	r.Holder = nil
	return tx.Bucket(bClaims).Delete(key)
}

// mayReport says whether a receipt of the current turn is heard: where turns are
// claimed only from the inbox that holds the claim, and without any, the broker's
// own, while nobody does.
func (row *routeRow) mayReport(r *record, rc *ferry.Receipt) bool {
	switch {
	case !row.Several || !rules.On(rules.Holder):
		return true
	case rc.Inbox == "":
		return r.Holder == nil
	default:
		return r.Holder != nil && r.Holder.Inbox == rc.Inbox && r.Holder.Worker == rc.Worker
	}
}

// TakenOver is a claim whose holder never reported.
type TakenOver struct {
	ID     ferry.ID
	Route  string
	Worker string
	Turn   uint64 // that was claimed
	Times  int    // in this generation, with this one
	// Lapsed is of a receiver's lock: the receipt that its end amounts to, and what
	// the ledger made of it. Nil for a worker's claim.
	Lapsed *Lapsed
}

// Lapsed is a lock that ended without a word.
type Lapsed struct {
	Receipt  ferry.Receipt
	Outcome  Outcome
	Delivery ferry.HandOut // what was received, for its span
}

// TakeOverClaims gives the next turn, begun elsewhere, to messages whose claims
// are over without a receipt and whose destination has surely stopped writing: at
// most most of them. next is when the next claim is over, as far as it
// is known now; zero when nothing is claimed.
func (l *Ledger) TakeOverClaims(ctx context.Context, most int, continueAfterDead func(route string) bool) (list []TakenOver, next time.Time, err error) {
	if next, err = l.nextCalm(); err != nil || next.IsZero() || l.clock().Before(next) {
		return nil, next, err
	}
	err = l.update(ctx, 0, func(tx *bbolt.Tx) error {
		list = list[:0]
		limit := u64(uint64(l.clock().UnixNano()) + 1)
		var keys [][]byte
		c := tx.Bucket(bClaims).Cursor()
		for k, _ := c.First(); k != nil && len(keys) < most && bytes.Compare(k, limit) < 0; k, _ = c.Next() {
			keys = append(keys, bytes.Clone(k))
		}
		for _, k := range keys {
			taken, err := l.takeOverClaim(tx, k, continueAfterDead)
			if err != nil {
				return err
			}
			if taken != nil {
				list = append(list, *taken)
			}
		}
		return nil
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	next, err = l.nextCalm()
	return list, next, err
}

func (l *Ledger) nextCalm() (next time.Time, err error) {
	err = l.db.View(func(tx *bbolt.Tx) error {
		if k, _ := tx.Bucket(bClaims).Cursor().First(); len(k) == 24 {
			next = timeOf(int64(binary.BigEndian.Uint64(k)))
		}
		return nil
	})
	return next, err
}

func (l *Ledger) takeOverClaim(tx *bbolt.Tx, key []byte, continueAfterDead func(string) bool) (*TakenOver, error) {
	id := ferry.ID(key[8:24])
	r, err := get(tx, id)
	if err != nil || r == nil || r.Holder == nil || !bytes.Equal(claimKey(r), key) {
		l.log.Error("an entry of a claim that is none: it is dropped", "message", id, "error", err)
		return nil, tx.Bucket(bClaims).Delete(key)
	}
	r.TakenOver++
	taken := &TakenOver{ID: id, Route: l.peek(r.Route).Name, Worker: r.Holder.Worker, Turn: r.Turn, Times: r.TakenOver}
	if r.Holder.Pull {
		taken.Lapsed, err = l.lapse(tx, r, continueAfterDead)
		return taken, err
	}
	return taken, l.takeOverOne(tx, r, r.Holder.calm())
}

// SetSeveral says whether several workers deliver the route. When that changes,
// what a worker may hold under the old way gets its next turn, begun elsewhere.
// It is called before anything is handed out; while the broker runs, see
// Reconfigured.
func (l *Ledger) SetSeveral(ctx context.Context, route string, several bool) error {
	return l.setMode(ctx, route, several, false)
}

// SetPull says that receivers pull the route's messages; SetSeveral ends it.
func (l *Ledger) SetPull(ctx context.Context, route string) error {
	return l.setMode(ctx, route, true, true)
}

func (l *Ledger) setMode(ctx context.Context, route string, several, pull bool) error {
	row, err := l.published(route)
	if err != nil || row.Several == several && row.Pull == pull {
		return err
	}
	return l.updateRoute(ctx, route, nil, func(tx *bbolt.Tx, row *routeRow) error {
		return l.switchMode(ctx, tx, row, several, pull)
	})
}

// switchMode is setMode inside a commit.
func (l *Ledger) switchMode(ctx context.Context, tx *bbolt.Tx, row *routeRow, several, pull bool) error {
	now := l.clock().UTC()
	act := "workers one"
	switch {
	case pull:
		act = "workers pull"
	case several:
		act = "workers several"
	}
	if row.Several {
		if err := l.endClaims(tx, row); err != nil {
			return err
		}
	} else if row.Binding != nil {
		row.Bound = max(row.Bound, row.Binding.Bound)
		if err := l.leave(tx, row, now, 0); err != nil {
			return err
		}
	}
	if pull {
		row.Horizon = nil // what lay in the queue is refused from now on: no worker can hold it
	}
	row.Several, row.Pull = several, pull
	if row.Seq == 0 {
		return nil // a new route: nothing changed for anybody
	}
	return l.audit(ctx, tx, ferry.AuditEntry{At: now, By: "broker", Act: act, Target: "route " + row.Name, Note: "as the configuration says"})
}

// endClaims takes over every claim of a route.
func (l *Ledger) endClaims(tx *bbolt.Tx, row *routeRow) error {
	var ids []ferry.ID
	if err := tx.Bucket(bClaims).ForEach(func(k, _ []byte) error {
		ids = append(ids, ferry.ID(k[8:24]))
		return nil
	}); err != nil {
		return err
	}
	for _, id := range ids {
		r, err := get(tx, id)
		if err != nil || r == nil || r.Holder == nil || r.Route != row.No {
			continue
		}
		if err := l.takeOverOne(tx, r, l.DueAt(timeOf(r.Holder.calm())).UnixNano()); err != nil {
			return err
		}
	}
	return nil
}

// NoteBound remembers the longest time that a worker of the route, none of them
// bound to it, may still write after the broker's last word.
func (l *Ledger) NoteBound(ctx context.Context, route string, bound time.Duration) error {
	row, err := l.published(route)
	bound = min(bound, maxClaim+maxClaimBound)
	if err != nil || row.Bound >= bound {
		return err
	}
	return l.updateRoute(ctx, route, nil, func(_ *bbolt.Tx, row *routeRow) error {
		row.Bound = max(row.Bound, bound)
		return nil
	})
}

// WorkerMay says whether a worker may deliver a route: it was added for it and
// not revoked.
func (l *Ledger) WorkerMay(worker, route string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	row := l.workers[worker]
	if row == nil || row.RevokedAt != nil {
		return false
	}
	for _, name := range row.Routes {
		if name == route {
			return true
		}
	}
	return false
}
