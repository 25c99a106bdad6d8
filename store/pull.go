package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// Where receivers pull a route's messages, a receive is a claim that the ledger
// itself makes: it takes the first message that is due, and locks it under a
// token. While it is locked its place in the due index is the lock's end, so that
// the next receive need not pass over it. The bucket locks finds the message of a
// token for as long as the message is kept: what a receiver did is a fact, also
// when it says so late.

const (
	// lockScan is how many entries of the due index one receive looks at.
	lockScan = 1000
	// expireStep is how many expired messages one receive sets aside.
	expireStep = 64
	// maxLocks bounds the tokens that are remembered per message.
	maxLocks = 32
)

// LockRequest asks for a message of a route.
type LockRequest struct {
	Route  string
	Token  ferry.ID // names the lock; new for every receive
	By     string   // the receiver
	For    time.Duration
	Most   int // after how many locks without a word the message is set aside
	Window int // how many messages of the route may be locked at a time
	// Span names the span of the delivery, in 16 hexadecimal digits; empty: none is
	// made.
	Span string
}

// Locked is what a receive came to.
type Locked struct {
	// Got is the message, nil when there was none.
	Got *ferry.Received
	// Next is when to look again, as far as it is known: zero when nothing is due,
	// and past when there was more to look at than one commit does.
	Next time.Time
	// Expired are messages that the receive found past their time to live, and set
	// aside.
	Expired []Expired
}

// Lock gives a receiver the first message that is due, and locks it; on disk
// before it returns. The body is read by Body.
func (l *Ledger) Lock(ctx context.Context, q LockRequest, continueAfterDead func(route string) bool) (Locked, error) {
	row, err := l.published(q.Route)
	if err != nil {
		return Locked{}, err
	}
	if !row.Pull {
		return Locked{}, ferry.Errorf(ferry.CodeConflict, "route %s is delivered by workers, nobody can receive its messages", q.Route).
			WithHint("workers: pull, in broker.yaml, gives its messages to receivers")
	}
	// A look before the commit: most receives of an empty route end here.
	now := time.Now()
	if open, next := row.mayLock(q.Window, now); !open {
		return Locked{Next: next}, nil
	}
	upTo, next, err := l.Look(q.Route, nil, now, 1, func(ferry.ID) bool { return false })
	if err != nil || upTo == nil {
		return Locked{Next: next}, err
	}
	var out Locked
	err = l.update(ctx, 0, func(tx *bbolt.Tx) (err error) {
		out, err = l.lock(ctx, tx, row.No, &q, continueAfterDead)
		return err
	})
	return out, err
}

// mayLock says whether a receiver may be given another message, and when to ask
// again, as far as it is known.
func (row *routeRow) mayLock(window int, now time.Time) (bool, time.Time) {
	if until, held := row.heldAt(now); held {
		return false, until
	}
	return row.Pull && row.Locked < int64(window), time.Time{}
}

func (l *Ledger) lock(ctx context.Context, tx *bbolt.Tx, no uint32, q *LockRequest, continueAfterDead func(string) bool) (Locked, error) {
	now := time.Now().UTC()
	// Who went away while the commit waited is given nothing.
	if open, next := l.peek(no).mayLock(q.Window, now); !open || ctx.Err() != nil {
		return Locked{Next: next}, nil
	}
	r, expired, next := l.firstDue(tx, l.peek(no), now)
	out := Locked{Next: next}
	for _, e := range expired {
		if err := l.expire(tx, e, now, continueAfterDead); err != nil {
			return Locked{}, err
		}
		out.Expired = append(out.Expired, expiredOf(l.peek(no), e))
	}
	if r == nil {
		return out, nil
	}
	until := l.clock().Add(q.For)
	if err := l.holdUntil(tx, r, &holder{
		Worker: q.By, Inbox: q.Token.String(), Nonce: q.Token.String(), Until: until.UnixNano(), Pull: true, Most: q.Most,
		Span: r.spanNamed(q.Span),
	}); err != nil {
		return Locked{}, err
	}
	r.Deliveries++
	if err := l.remember(tx, r, q.Token); err != nil {
		return Locked{}, err
	}
	row := l.row(no)
	row.Locked++
	row.Received = &Received{By: q.By, At: now}
	out.Got = received(row, r, q.Token, l.DueAt(until))
	return out, put(tx, r)
}

// firstDue finds the first message of the route that is due and not locked, and
// what it passes over because its time to live has ended.
func (l *Ledger) firstDue(tx *bbolt.Tx, row *routeRow, now time.Time) (r *record, expired []*record, next time.Time) {
	limit := row.dueBy(now)
	c := tx.Bucket(bDue).Cursor()
	looked := 0
	for k := seekBehind(c, row.No, nil); k != nil; k = nextOf(c, row.No) {
		due, id := splitDueKey(k)
		if due > limit {
			return nil, expired, timeOf(due)
		}
		if looked++; looked > lockScan || len(expired) == expireStep {
			return nil, expired, now
		}
		r, err := get(tx, id)
		switch {
		case err != nil:
			l.log.Error("a message that is due cannot be read", "route", row.Name, "message", id, "error", err)
		case r == nil || r.Holder != nil:
		case row.expired(r, now.UnixNano()):
			expired = append(expired, r)
		default:
			return r, expired, time.Time{}
		}
	}
	return nil, expired, time.Time{}
}

// holdUntil gives the record a holder, or the same one for longer, and moves its
// place in the due index to the end of the lock.
func (l *Ledger) holdUntil(tx *bbolt.Tx, r *record, h *holder) error {
	if r.Holder != nil {
		if err := tx.Bucket(bClaims).Delete(claimKey(r)); err != nil {
			return err
		}
	}
	due := tx.Bucket(bDue)
	if err := due.Delete(dueKey(r.Route, r.Due, r.ID)); err != nil {
		return err
	}
	r.Holder, r.Due = h, h.Until
	if err := due.Put(dueKey(r.Route, r.Due, r.ID), nil); err != nil {
		return err
	}
	return appending(tx, bClaims).Put(claimKey(r), u64(r.Turn))
}

// remember keeps which delivery a token names.
func (l *Ledger) remember(tx *bbolt.Tx, r *record, token ferry.ID) error {
	r.Locks = append(r.Locks, token)
	if len(r.Locks) > maxLocks {
		if err := tx.Bucket(bLocks).Delete(r.Locks[0][:]); err != nil {
			return err
		}
		r.Locks = r.Locks[1:]
	}
	v := append(make([]byte, 0, 32), r.ID[:]...)
	v = binary.BigEndian.AppendUint64(v, r.Turn)
	v = binary.BigEndian.AppendUint32(v, uint32(r.Revision))
	v = binary.BigEndian.AppendUint32(v, uint32(r.Generation))
	return appending(tx, bLocks).Put(token[:], v)
}

func (l *Ledger) forget(tx *bbolt.Tx, r *record, token ferry.ID) error {
	r.Locks = slices.DeleteFunc(r.Locks, func(id ferry.ID) bool { return id == token })
	return tx.Bucket(bLocks).Delete(token[:])
}

func removeLocks(tx *bbolt.Tx, r *record) error {
	for _, token := range r.Locks {
		if err := tx.Bucket(bLocks).Delete(token[:]); err != nil {
			return err
		}
	}
	return nil
}

func received(row *routeRow, r *record, token ferry.ID, until time.Time) *ferry.Received {
	return &ferry.Received{
		ID: r.ID, Route: row.Name, Sequence: r.Seq, Turn: r.Turn, Revision: r.Revision, Generation: r.Generation,
		IdempotencyKey: r.Key, CorrelationID: r.CorrelationID, OrderingKey: r.OrderingKey, ContentType: r.ContentType, Properties: r.Properties,
		CreatedAt: timeOf(r.CreatedAt), DeliverAt: timeOf(r.DeliverAt), ExpiresAt: timeOf(row.expiry(r, time.Now().UnixNano())),
		Deliveries: r.Deliveries, Doubt: r.Doubt, Lock: token, LockedUntil: until.UTC(),
		Traceparent: cmp.Or(r.Holder.Span, r.Traceparent), Tracestate: r.Tracestate,
	}
}

// spanNamed is the traceparent of a span in the message's trace; empty when it has
// none, or the span no name.
func (r *record) spanNamed(span string) string {
	p := r.Traceparent // version, trace, span and flags
	if len(p) != maxTraceparent || len(span) != 16 {
		return ""
	}
	return p[:36] + span + p[52:]
}

// delivery is what a token names.
type delivery struct {
	token      ferry.ID
	turn       uint64
	revision   int
	generation int
}

// heldBy says whether the record is locked under the token now.
func (r *record) heldBy(token ferry.ID) bool {
	return r.Holder != nil && r.Holder.Pull && r.Holder.Nonce == token.String()
}

// delivered finds the message of a token, as its receiver names it: by its id,
// its number, or the sender's key.
func (l *Ledger) delivered(tx *bbolt.Tx, s *ferry.LockSettle) (*record, delivery, error) {
	v := tx.Bucket(bLocks).Get(s.Lock[:])
	if len(v) != 32 {
		return nil, delivery{}, lockLost("there is no such lock")
	}
	r, err := get(tx, ferry.ID(v[:16]))
	if err != nil {
		return nil, delivery{}, damaged(err)
	}
	if r == nil || l.peek(r.Route).Name != s.Route ||
		s.Message != r.Key && !strings.EqualFold(s.Message, r.ID.String()) && s.Message != strconv.FormatUint(r.Seq, 10) {
		return nil, delivery{}, lockLost("the lock is not one of this message")
	}
	return r, delivery{
		token: s.Lock, turn: binary.BigEndian.Uint64(v[16:]),
		revision: int(binary.BigEndian.Uint32(v[24:])), generation: int(binary.BigEndian.Uint32(v[28:])),
	}, nil
}

func lockLost(why string) *ferry.Error {
	return ferry.Errorf(ferry.CodeLockLost, "the message is not locked so: %s", why).
		WithHint("receive it again: what was not completed comes again when its lock ends")
}
