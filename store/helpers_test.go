package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

const (
	testRoute  = "orders"
	otherRoute = "notes"
)

// openIn opens a ledger with the two routes of the tests; it is closed at the end.
func openIn(t testing.TB, dir string, opts Options) *Ledger {
	t.Helper()
	opts.MinFree = -1
	l, err := Open(dir, opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = l.Close() })
	for _, name := range []string{testRoute, otherRoute} {
		if err := l.EnsureRoute(context.Background(), name); err != nil {
			t.Fatalf("EnsureRoute: %v", err)
		}
	}
	return l
}

func newLedger(t testing.TB) *Ledger {
	t.Helper()
	return openIn(t, t.TempDir(), Options{})
}

// reopen closes the ledger and opens it again.
func reopen(t testing.TB, l *Ledger) *Ledger {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	return openIn(t, l.dir, Options{})
}

func message(body string, change ...func(*ferry.Message)) ferry.Message {
	now := time.Now().UTC()
	m := ferry.Message{
		ID: ferry.NewID(now), Route: testRoute, Body: []byte(body), ContentType: "application/json",
		TimeToLive: 30 * 24 * time.Hour, CreatedAt: now, Sender: ferry.Sender{Name: "flow"},
	}
	for _, f := range change {
		f(&m)
	}
	return m
}

func withKey(key string) func(*ferry.Message) {
	return func(m *ferry.Message) { m.IdempotencyKey = key }
}

func withOrder(key string) func(*ferry.Message) {
	return func(m *ferry.Message) { m.OrderingKey = key }
}

func replacing(m *ferry.Message) { m.OnConflict = ferry.OnConflictReplace }

func accept(t testing.TB, l *Ledger, body string, change ...func(*ferry.Message)) ferry.ID {
	t.Helper()
	answer, err := l.Accept(context.Background(), message(body, change...))
	if err != nil {
		t.Fatalf("Accept: %v", err)
	}
	return answer.ID
}

func show(t testing.TB, l *Ledger, id ferry.ID) ferry.Envelope {
	t.Helper()
	e, err := l.Message(id)
	if err != nil {
		t.Fatalf("Message(%s): %v", id, err)
	}
	return e
}

// rec reads the record itself.
func rec(t testing.TB, l *Ledger, id ferry.ID) *record {
	t.Helper()
	var r *record
	if err := l.db.View(func(tx *bbolt.Tx) (err error) {
		r, err = get(tx, id)
		return err
	}); err != nil || r == nil {
		t.Fatalf("record of %s: %v, %v", id, r, err)
	}
	return r
}

func skipNone(ferry.ID) bool { return false }

// handOut does what a relay does: look, advance, read.
func handOut(t testing.TB, l *Ledger, route string, most int) []Ready {
	t.Helper()
	upTo, _, err := l.Look(route, nil, time.Now(), most, skipNone)
	if err != nil {
		t.Fatalf("Look: %v", err)
	}
	if upTo == nil {
		return nil
	}
	if err := l.Advance(context.Background(), route, upTo); err != nil {
		t.Fatalf("Advance: %v", err)
	}
	ready, _, err := l.Due(route, nil, upTo, 1<<30, ferry.InlineBody, skipNone)
	if err != nil {
		t.Fatalf("Due: %v", err)
	}
	return ready
}

func idsOf(ready []Ready) []ferry.ID {
	ids := []ferry.ID{}
	for _, r := range ready {
		ids = append(ids, r.ID)
	}
	return ids
}

func park(string) bool   { return false }
func onward(string) bool { return true }

// report applies one receipt for the message's current turn.
func report(t testing.TB, l *Ledger, id ferry.ID, verdict ferry.VerdictKind, next ferry.Next, change ...func(*ferry.Receipt)) Outcome {
	t.Helper()
	r := rec(t, l, id)
	rc := ferry.Receipt{
		ID: id, Route: l.nameOf(r.Route), Turn: r.Turn, Revision: r.Revision, Worker: "erp-worker-1",
		Verdict: verdict, Effect: ferry.EffectNone, Text: "the answer", Next: next,
		Attempts: []ferry.Attempt{{Turn: r.Turn, Verdict: verdict}},
	}
	if verdict.HasIt() {
		rc.Reference = "INV-1"
	}
	for _, f := range change {
		f(&rc)
	}
	out, err := l.ApplyReceipts(context.Background(), []ferry.Receipt{rc}, park)
	if err != nil {
		t.Fatalf("ApplyReceipts: %v", err)
	}
	return out[0]
}

func setAside(reason ferry.Reason) ferry.Next {
	return ferry.Next{Do: ferry.DoDeadLetter, Reason: reason}
}

func retryIn(d time.Duration) ferry.Next { return ferry.Next{Do: ferry.DoRetry, After: d, Spends: 1} }

// deadLetter accepts a message and has it rejected.
func deadLetter(t testing.TB, l *Ledger, body string, change ...func(*ferry.Message)) ferry.ID {
	t.Helper()
	id := accept(t, l, body, change...)
	report(t, l, id, ferry.Rejected, setAside(ferry.ReasonRejected))
	return id
}

func wantCode(t testing.TB, err error, code ferry.Code) {
	t.Helper()
	if got := ferry.CodeOf(err); got != code {
		t.Fatalf("error %v: code %q, want %q", err, got, code)
	}
}

func wantState(t testing.TB, l *Ledger, id ferry.ID, want ferry.State) {
	t.Helper()
	if got := show(t, l, id).State; got != want {
		t.Fatalf("message %s is %s, want %s", id.Short(), got, want)
	}
}

func must0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// purgeBefore removes completed and discarded messages that ended before a time.
func purgeBefore(ctx context.Context, l *Ledger, before time.Time) (int, error) {
	all := func(string) ferry.Retention {
		return ferry.Retention{DeadLettered: ferry.KeepForever, Bodies: ferry.KeepForever}
	}
	p, err := l.Purge(ctx, before, all, 1<<30)
	return p.Completed + p.Discarded, err
}

// sound holds every index and count of the ledger against its records, and
// returns the first thing that is wrong.
func (l *Ledger) sound() error {
	lists, err := l.Reconcile()
	if err != nil {
		return err
	}
	for _, day := range lists {
		if !day.Balanced {
			return fmt.Errorf("reconcile: %+v", day)
		}
	}
	return l.db.View(func(tx *bbolt.Tx) error {
		want := newExpected()
		if err := tx.Bucket(bMessages).ForEach(func(k, v []byte) error {
			r, err := decodeRecord(ferry.ID(k), v)
			if err != nil {
				return err
			}
			return want.add(l, tx, r)
		}); err != nil {
			return err
		}
		if err := want.compare(l, tx); err != nil {
			return err
		}
		return errors.Join(l.soundOutbox(tx), l.soundEvents(tx))
	})
}

// expected is what the indexes must hold, worked out from the records alone.
type expected struct {
	due, order, dead, deadIn map[string]ferry.ID
	claims, locks            map[string]ferry.ID
	heads                    map[string]*record // per ordering key the first of its list
	members                  map[string][]*record
	groups                   map[string]int
	rows                     map[uint32]*routeRow
	seqs                     map[uint32]map[uint64]bool
}

func newExpected() *expected {
	return &expected{
		due: map[string]ferry.ID{}, order: map[string]ferry.ID{}, dead: map[string]ferry.ID{}, deadIn: map[string]ferry.ID{}, claims: map[string]ferry.ID{}, locks: map[string]ferry.ID{},
		heads: map[string]*record{}, members: map[string][]*record{},
		groups: map[string]int{}, rows: map[uint32]*routeRow{}, seqs: map[uint32]map[uint64]bool{},
	}
}

func (x *expected) add(l *Ledger, tx *bbolt.Tx, r *record) error {
	row := x.rows[r.Route]
	if row == nil {
		row = &routeRow{Dead: map[ferry.Reason]int64{}}
		x.rows[r.Route], x.seqs[r.Route] = row, map[uint64]bool{}
	}
	if r.Seq == 0 || x.seqs[r.Route][r.Seq] {
		return fmt.Errorf("message %s: accept number %d is zero or not alone", r.ID, r.Seq)
	}
	x.seqs[r.Route][r.Seq] = true
	for rev := 1; rev <= r.Revision && r.BodiesGone == 0; rev++ {
		if err := l.holdsBody(tx, r, rev); err != nil {
			return err
		}
	}
	if r.Holder != nil {
		x.claims[string(claimKey(r))] = r.ID
		if !r.State.Pending() || r.Parked || !l.routes[r.Route].Several {
			return fmt.Errorf("message %s is claimed, and may not be: %+v", r.ID, r)
		}
	}
	if r.Holder != nil && r.Holder.Pull {
		row.Locked++
		if !l.routes[r.Route].Pull || r.Due != r.Holder.Until || len(r.Locks) == 0 || r.Locks[len(r.Locks)-1].String() != r.Holder.Nonce {
			return fmt.Errorf("message %s is locked, and should not be so: %+v, %+v", r.ID, r, r.Holder)
		}
	}
	for _, token := range r.Locks {
		x.locks[string(token[:])] = r.ID
	}
	if len(r.Locks) > maxLocks {
		return fmt.Errorf("message %s remembers %d locks", r.ID, len(r.Locks))
	}
	switch {
	case r.State.Pending():
		row.Pending++
		if r.awaits() {
			row.Awaiting++
		}
		if r.Parked {
			row.Parked++
		} else {
			x.due[string(dueKey(r.Route, r.Due, r.ID))] = r.ID
		}
		if r.OrderingKey != "" && r.OrderSeq == 0 {
			return fmt.Errorf("pending message %s is not in its ordering key's list", r.ID)
		}
	case r.Parked || r.Due != 0:
		return fmt.Errorf("ended message %s is parked or due: %+v", r.ID, r)
	case r.State == ferry.StateCompleted:
		row.Completed++
	case r.State == ferry.StateDiscarded:
		row.Discarded++
	default:
		row.Dead[r.Dead.Reason]++
		x.dead[string(deadKey(r))], x.deadIn[string(deadInKey(r))] = r.ID, r.ID
		x.groups[string(groupKey(r.Route, r.Dead.Group))]++
	}
	if r.OrderSeq != 0 {
		if !r.State.Pending() && r.State != ferry.StateDeadLettered {
			return fmt.Errorf("ended message %s is in its ordering key's list", r.ID)
		}
		x.order[string(orderKey(r))] = r.ID
		key := string(orderPrefix(r.Route, r.OrderingKey))
		x.members[key] = append(x.members[key], r)
		if head := x.heads[key]; head == nil || r.OrderSeq < head.OrderSeq {
			x.heads[key] = r
		}
	}
	return nil
}

func (x *expected) compare(l *Ledger, tx *bbolt.Tx) error {
	for _, list := range x.members {
		for _, r := range list {
			head := x.heads[string(orderPrefix(r.Route, r.OrderingKey))]
			if r.State.Pending() && r.Parked == (r == head) {
				return fmt.Errorf("message %s: parked %v, head %v", r.ID, r.Parked, r == head)
			}
		}
	}
	for name, want := range map[string]map[string]ferry.ID{string(bDue): x.due, string(bOrder): x.order, string(bDead): x.dead, string(bDeadIn): x.deadIn, string(bClaims): x.claims, string(bLocks): x.locks} {
		n := 0
		if err := tx.Bucket([]byte(name)).ForEach(func(k, v []byte) error {
			n++
			id, ok := want[string(k)]
			if !ok || name == string(bOrder) && !bytes.Equal(v, id[:]) || name == string(bLocks) && !bytes.Equal(v[:16], id[:]) {
				return fmt.Errorf("index %s: a stray entry %x -> %x", name, k, v)
			}
			return nil
		}); err != nil {
			return err
		}
		if n != len(want) {
			return fmt.Errorf("index %s: %d entries, want %d", name, n, len(want))
		}
	}
	if err := tx.Bucket(bLeft).ForEach(func(k, _ []byte) error {
		row := l.routes[binary.BigEndian.Uint32(k)]
		for _, e := range row.Leaving {
			if e.No == binary.BigEndian.Uint64(k[4:]) {
				return nil
			}
		}
		return fmt.Errorf("index %s: %x is of an inbox that is not waited for", bLeft, k)
	}); err != nil {
		return err
	}
	groupRows := map[uint32]int{}
	if err := tx.Bucket(bGroups).ForEach(func(k, v []byte) error {
		g, err := decodeJSON[ferry.Group](v)
		if err != nil || g.Count != x.groups[string(k)] {
			return fmt.Errorf("group %x: %+v, want %d: %w", k, g, x.groups[string(k)], err)
		}
		no, _ := l.routeNo(g.Route)
		groupRows[no]++
		delete(x.groups, string(k))
		return nil
	}); err != nil {
		return err
	}
	if len(x.groups) > 0 {
		return fmt.Errorf("groups that are missing: %v", x.groups)
	}
	return tx.Bucket(bRoutes).ForEach(func(_, v []byte) error {
		row, err := decodeJSON[routeRow](v)
		if err != nil {
			return err
		}
		want := x.rows[row.No]
		if want == nil {
			want = &routeRow{}
		}
		published := l.routes[row.No]
		got := fmt.Sprint(row.Pending, row.Parked, row.Discarded, row.Dead, row.Completed+row.Discarded, row.Groups)
		if got != fmt.Sprint(published.Pending, published.Parked, published.Discarded, published.Dead, published.Completed+published.Discarded, published.Groups) {
			return fmt.Errorf("route %s: %+v on disk, %+v in memory", row.Name, row, published)
		}
		if row.Pending != want.Pending || row.Parked != want.Parked || fmt.Sprint(row.Dead) != fmt.Sprint(want.Dead) && len(want.Dead)+len(row.Dead) > 0 ||
			row.Completed+row.Discarded-row.Purged != want.Completed+want.Discarded || row.Groups != groupRows[row.No] || row.Awaiting != want.Awaiting || row.Locked != want.Locked {
			return fmt.Errorf("route %s: counts %+v, recounted %+v, %d groups", row.Name, row, want, groupRows[row.No])
		}
		for seq := range x.seqs[row.No] {
			if seq > row.Seq {
				return fmt.Errorf("route %s: accept number %d is beyond %d", row.Name, seq, row.Seq)
			}
		}
		return nil
	})
}

// readBody reads a body whole, as its reader gets it.
func readBody(l *Ledger, id ferry.ID, revision int) ([]byte, string, error) {
	b, err := l.OpenBody(id, revision)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(b)
	return body, b.ContentType, errors.Join(err, b.Close())
}

// holdsBody says whether a body is there as it was accepted, wherever it lies.
func (l *Ledger) holdsBody(tx *bbolt.Tx, r *record, revision int) error {
	body, err := l.inline(tx, r, revision)
	if err != nil || body != nil {
		return err
	}
	f, err := os.Open(l.bodyPath(r.ID, revision))
	if err != nil {
		return missing(r.ID, revision, err)
	}
	_, err = l.verify(f, r.hashOf(revision))
	return errors.Join(err, f.Close())
}
