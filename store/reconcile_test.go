package store

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// provable is a ledger that has a message in every state that the indexes know.
// readLater is the one of two ids that is read later: of messages of one millisecond it may
// be either.
func readLater(a, b ferry.ID) ferry.ID {
	if string(a[:]) > string(b[:]) {
		return a
	}
	return b
}

type provable struct {
	*Ledger
	pending, done, dead, gone, head, parked, claimed, large ferry.ID
}

const severalRoute = "several-route"

func newProvable(t *testing.T) *provable {
	t.Helper()
	l := newLedger(t)
	p := &provable{Ledger: l}
	accept(t, l, `{"n":0}`)
	p.pending = accept(t, l, `{"n":1}`)
	p.done = accept(t, l, `{"n":2}`)
	report(t, l, p.done, ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
	p.dead = deadLetter(t, l, `{"n":3}`)
	p.gone = deadLetter(t, l, `{"n":4}`)
	if err := l.Discard(t.Context(), p.gone, "no", "ada"); err != nil {
		t.Fatal(err)
	}
	p.head = accept(t, l, `{"n":5}`, withOrder("k"))
	p.parked = accept(t, l, `{"n":6}`, withOrder("k"))
	p.large = accept(t, l, strings.Repeat("x", ferry.InlineBody+1))
	must0(t, l.EnsureRoute(t.Context(), severalRoute))
	must0(t, l.SetSeveral(t.Context(), severalRoute, true))
	p.claimed = accept(t, l, `{"n":7}`, func(m *ferry.Message) { m.Route = severalRoute })
	if state, _, err := l.Claim(t.Context(), Claim{ID: p.claimed, Route: severalRoute, Turn: 1, Worker: "w", Inbox: "i", Nonce: "n", For: time.Minute}); err != nil || state != ClaimGranted {
		t.Fatalf("Claim: %v, %v", state, err)
	}
	return p
}

// change writes a record as it never would be written.
func (p *provable) change(t *testing.T, id ferry.ID, change func(r *record)) {
	t.Helper()
	r := rec(t, p.Ledger, id)
	change(r)
	p.hurt(t, func(tx *bbolt.Tx) error { return put(tx, r) })
}

func (p *provable) hurt(t *testing.T, hurt func(tx *bbolt.Tx) error) {
	t.Helper()
	must0(t, p.db.Update(t.Context(), hurt))
}

func (p *provable) prove(t testing.TB, req ferry.ProofRequest) ferry.Proof {
	t.Helper()
	proof, err := p.Prove(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}

// Whatever is broken in a ledger is found, and named.
func TestEveryBreakIsNamed(t *testing.T) {
	type want struct {
		kind   ferry.FindingKind
		id     func(p *provable) ferry.ID // nil: it has none
		number uint64
		text   string
	}
	drop := func(bucket []byte, key func(t *testing.T, p *provable) []byte) func(*testing.T, *provable) {
		return func(t *testing.T, p *provable) {
			k := key(t, p)
			p.hurt(t, func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete(k) })
		}
	}
	pending := func(p *provable) ferry.ID { return p.pending }
	for name, c := range map[string]struct {
		hurt func(t *testing.T, p *provable)
		deep bool
		want want
	}{
		"a record is gone": {
			drop(bMessages, func(_ *testing.T, p *provable) []byte { return p.done[:] }), false,
			want{ferry.FindingMissing, nil, 3, "it lies between 2 ("},
		},
		"a pending record is gone": {
			drop(bMessages, func(_ *testing.T, p *provable) []byte { return p.pending[:] }), false,
			want{ferry.FindingStray, pending, 0, "is not there"},
		},
		"a due entry is gone": {drop(bDue, func(t *testing.T, p *provable) []byte {
			r := rec(t, p.Ledger, p.pending)
			return dueKey(r.Route, r.Due, r.ID)
		}), false, want{ferry.FindingDue, pending, 2, "nothing would ever hand it out"}},
		"a dead entry is gone": {
			drop(bDead, func(t *testing.T, p *provable) []byte { return deadKey(rec(t, p.Ledger, p.dead)) }), false,
			want{ferry.FindingDead, func(p *provable) ferry.ID { return p.dead }, 4, "the list of dead letters does not have it"},
		},
		"an order entry is gone": {
			drop(bOrder, func(t *testing.T, p *provable) []byte { return orderKey(rec(t, p.Ledger, p.parked)) }), false,
			want{ferry.FindingOrder, func(p *provable) ferry.ID { return p.parked }, 7, "does not stand in the order"},
		},
		"the head of a key is gone from it": {
			drop(bOrder, func(t *testing.T, p *provable) []byte { return orderKey(rec(t, p.Ledger, p.head)) }), false,
			want{ferry.FindingDue, func(p *provable) ferry.ID { return p.parked }, 7, "and there is none"},
		},
		"a claim is gone": {
			drop(bClaims, func(t *testing.T, p *provable) []byte { return claimKey(rec(t, p.Ledger, p.claimed)) }), false,
			want{ferry.FindingClaim, func(p *provable) ferry.ID { return p.claimed }, 1, "is claimed by w"},
		},
		"an inline body is gone": {
			drop(bBodies, func(_ *testing.T, p *provable) []byte { return bodyKey(p.pending, 1) }), false,
			want{ferry.FindingBody, pending, 2, "is gone"},
		},
		"an inline body is shorter": {func(t *testing.T, p *provable) {
			p.hurt(t, func(tx *bbolt.Tx) error { return tx.Bucket(bBodies).Put(bodyKey(p.pending, 1), []byte("{}")) })
		}, false, want{ferry.FindingBody, pending, 2, "2 bytes instead of 7"}},
		"an inline body is another one": {func(t *testing.T, p *provable) {
			p.hurt(t, func(tx *bbolt.Tx) error { return tx.Bucket(bBodies).Put(bodyKey(p.pending, 1), []byte(`{"n":9}`)) })
		}, true, want{ferry.FindingBody, pending, 2, "was altered"}},
		"a body's file is gone": {
			func(t *testing.T, p *provable) { must0(t, os.Remove(p.bodyPath(p.large, 1))) }, false,
			want{ferry.FindingBody, func(p *provable) ferry.ID { return p.large }, 8, "gone or was altered"},
		},
		"a body's file is another one": {func(t *testing.T, p *provable) {
			must0(t, os.WriteFile(p.bodyPath(p.large, 1), []byte(strings.Repeat("y", ferry.InlineBody+1)), 0o600))
		}, true, want{ferry.FindingBody, func(p *provable) ferry.ID { return p.large }, 8, "gone or was altered"}},
		"completed becomes pending": {func(t *testing.T, p *provable) {
			p.change(t, p.done, func(r *record) { r.State = ferry.StateAccepted })
		}, false, want{ferry.FindingDue, func(p *provable) ferry.ID { return p.done }, 3, "nothing would ever hand it out"}},
		"pending becomes completed": {func(t *testing.T, p *provable) {
			p.change(t, p.pending, func(r *record) { r.State, r.Due = ferry.StateCompleted, 0 })
		}, false, want{ferry.FindingStray, pending, 0, "is not to be handed out then (it is completed)"}},
		"a dead letter becomes discarded": {func(t *testing.T, p *provable) {
			p.change(t, p.dead, func(r *record) { r.State = ferry.StateDiscarded })
		}, false, want{ferry.FindingStray, func(p *provable) ferry.ID { return p.dead }, 0, "is no dead letter of that time"}},
		"a number stands twice": {func(t *testing.T, p *provable) {
			p.change(t, p.done, func(r *record) { r.Seq = 2 })
		}, false, want{ferry.FindingTwice, func(p *provable) ferry.ID { return readLater(p.pending, p.done) }, 2, "another record's, too"}},
		"a number is too high": {func(t *testing.T, p *provable) {
			p.change(t, p.done, func(r *record) { r.Seq = 99 })
		}, false, want{ferry.FindingNumber, func(p *provable) ferry.ID { return p.done }, 99, "the route has given out 1 to 8"}},
		"a record cannot be read": {func(t *testing.T, p *provable) {
			p.hurt(t, func(tx *bbolt.Tx) error { return tx.Bucket(bMessages).Put(p.done[:], []byte{tRoute, 1, 99}) })
		}, false, want{ferry.FindingRecord, func(p *provable) ferry.ID { return p.done }, 0, "cannot be read"}},
		"a tally is forged": {func(t *testing.T, p *provable) {
			p.hurt(t, func(tx *bbolt.Tx) error {
				k, v := tx.Bucket(bTallies).Cursor().First()
				of, err := decodeJSON[tally](v)
				of.Completed, of.Pending = of.Completed+1, of.Pending-1
				must0(t, err)
				return putJSON(tx, bTallies, k, of)
			})
		}, false, want{ferry.FindingTally, nil, 0, "the day's tally says 8 accepted, 4 pending, 2 completed"}},
		"a tally is gone": {func(t *testing.T, p *provable) {
			p.hurt(t, func(tx *bbolt.Tx) error {
				k, _ := tx.Bucket(bTallies).Cursor().First()
				return tx.Bucket(bTallies).Delete(k)
			})
		}, false, want{ferry.FindingTally, nil, 0, "the day's tally says 0 accepted"}},
		"the last number is set back": {func(t *testing.T, p *provable) {
			p.hurt(t, func(tx *bbolt.Tx) error {
				row, err := decodeJSON[routeRow](tx.Bucket(bRoutes).Get(u32(1)))
				must0(t, err)
				row.Seq = 7
				return putJSON(tx, bRoutes, u32(1), row)
			})
		}, false, want{ferry.FindingNumber, func(p *provable) ferry.ID { return p.large }, 8, "1 to 7"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvable(t)
			whole := p.prove(t, ferry.ProofRequest{Deep: true})
			if !whole.Balanced() || whole.Records != 9 {
				t.Fatalf("before: %d records, %+v", whole.Records, whole.Findings)
			}
			c.hurt(t, p)
			proof := p.prove(t, ferry.ProofRequest{Deep: c.deep})
			if proof.Balanced() {
				t.Fatal("nothing was found")
			}
			for _, f := range proof.Findings {
				if f.Kind == c.want.kind && strings.Contains(f.Text, c.want.text) && (c.want.number == 0 || f.Number == c.want.number) &&
					(c.want.id == nil || f.ID == c.want.id(p)) && f.Day != "" {
					if row := rowOf(proof, f.Route, f.Day); row == nil || row.Balanced != (f.Kind == ferry.FindingBody) {
						t.Errorf("the day of %+v counts as balanced: %+v", f, row)
					}
					return
				}
			}
			text, _ := json.MarshalIndent(proof.Findings, "", "  ")
			t.Fatalf("want %+v among %s", c.want, text)
		})
	}
}

func rowOf(p ferry.Proof, route, day string) *ferry.Reconciliation {
	for i := range p.Items {
		if p.Items[i].Route == route && p.Items[i].Day == day {
			return &p.Items[i]
		}
	}
	return nil
}

// A record that is missing is told from those that retention removed, on the same
// day, before it and behind it.
func TestAMissingRecordAmongRemovedOnes(t *testing.T) {
	l := newLedger(t)
	p := &provable{Ledger: l}
	var ids []ferry.ID
	for i := range 12 {
		id := accept(t, l, `{}`)
		ids = append(ids, id)
		if i != 5 {
			report(t, l, id, ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
		}
	}
	if n, err := purgeBefore(t.Context(), l, time.Now().Add(time.Second)); err != nil || n != 11 {
		t.Fatalf("Purge: %d, %v", n, err)
	}
	if proof := p.prove(t, ferry.ProofRequest{}); !proof.Balanced() || proof.Items[0].Purged != 11 || proof.Items[0].First != 1 || proof.Items[0].Last != 12 {
		t.Fatalf("after retention: %+v", proof)
	}
	p.hurt(t, func(tx *bbolt.Tx) error { return tx.Bucket(bMessages).Delete(ids[5][:]) })
	proof := p.prove(t, ferry.ProofRequest{})
	for _, f := range proof.Findings {
		if f.Kind == ferry.FindingMissing {
			if f.Number != 6 || f.Day == "" {
				t.Errorf("%+v", f)
			}
			return
		}
	}
	t.Fatalf("%+v", proof)
}

// A ledger of before removed numbers were marked still balances, and goes on.
func TestNumbersOfAnEarlierLedger(t *testing.T) {
	l := newLedger(t)
	for range 7 {
		report(t, l, accept(t, l, `{}`), ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
	}
	kept := accept(t, l, `{}`)
	if n, err := purgeBefore(t.Context(), l, time.Now().Add(time.Second)); err != nil || n != 7 {
		t.Fatalf("Purge: %d, %v", n, err)
	}
	must0(t, l.db.Update(t.Context(), func(tx *bbolt.Tx) error {
		must0(t, tx.DeleteBucket(bPurged))
		return tx.Bucket(bMeta).Put(metaSchema, u64(uint64(SchemaVersion()-1)))
	}))
	l = reopen(t, l)
	p := &provable{Ledger: l}
	if proof := p.prove(t, ferry.ProofRequest{}); !proof.Balanced() {
		t.Fatalf("%+v", proof.Findings)
	}
	p.hurt(t, func(tx *bbolt.Tx) error { return tx.Bucket(bMessages).Delete(kept[:]) })
	if proof := p.prove(t, ferry.ProofRequest{}); proof.Balanced() || proof.Findings[0].Kind != ferry.FindingTally && proof.Findings[0].Number != 8 {
		t.Fatalf("%+v", proof.Findings)
	}
}

// Proofs that run beside accepts, receipts and retention find nothing.
func TestProofUnderLoad(t *testing.T) {
	l := newLedger(t)
	p := &provable{Ledger: l}
	ctx, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer stop()
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for ctx.Err() == nil {
				answer, err := l.Accept(context.Background(), message(`{"n":1}`))
				if err != nil {
					t.Error(err)
					return
				}
				rc := ferry.Receipt{ID: answer.ID, Route: testRoute, Turn: 1, Revision: 1, Worker: "w", Verdict: ferry.Delivered, Reference: "R", Next: ferry.Next{Do: ferry.DoComplete}}
				if _, err := l.ApplyReceipts(context.Background(), []ferry.Receipt{rc}, park); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	load.Go(func() {
		for ctx.Err() == nil {
			if _, err := purgeBefore(context.Background(), l, time.Now().Add(-50*time.Millisecond)); err != nil {
				t.Error(err)
			}
		}
	})
	proofs := 0
	for ; ctx.Err() == nil; proofs++ {
		if proof := p.prove(t, ferry.ProofRequest{}); !proof.Balanced() {
			t.Errorf("%+v", proof.Findings[:min(3, len(proof.Findings))])
			break
		}
	}
	load.Wait()
	proof := p.prove(t, ferry.ProofRequest{Deep: true})
	if !proof.Balanced() || proof.Items[0].Purged == 0 || proofs == 0 {
		t.Fatalf("%d proofs, %+v", proofs, proof)
	}
}

// Retention may take a body between the proof's look at the record and that at the
// file: before the file is opened, or after that failed.
func TestABodyThatRetentionTakesMeanwhile(t *testing.T) {
	l := newLedger(t)
	id := accept(t, l, strings.Repeat("x", ferry.InlineBody+1))
	report(t, l, id, ferry.Delivered, ferry.Next{Do: ferry.DoComplete})
	p := &proving{l: l, ctx: t.Context(), bodies: []suspect{{id, 1}}, bad: map[tallyKey]bool{}}
	purgeBodies(t, l, 1)
	if err := p.lookAtBodies(); err != nil || len(p.proof.Findings) > 0 {
		t.Errorf("taken before the file was opened: %v, %+v", err, p.proof.Findings)
	}
	if err := p.bodyGone(p.bodies[0]); err != nil || len(p.proof.Findings) > 0 {
		t.Errorf("taken after the file was looked for: %v, %+v", err, p.proof.Findings)
	}
}

func TestProofOfARouteSince(t *testing.T) {
	p := newProvable(t)
	if proof := p.prove(t, ferry.ProofRequest{Route: severalRoute}); len(proof.Items) != 1 || proof.Items[0].Accepted != 1 || !proof.Balanced() {
		t.Errorf("one route: %+v", proof)
	}
	if proof := p.prove(t, ferry.ProofRequest{Since: time.Now().Add(-time.Hour)}); len(proof.Items) < 2 || !proof.Balanced() {
		t.Errorf("since an hour ago: %+v", proof)
	}
	if proof := p.prove(t, ferry.ProofRequest{Since: time.Now().Add(48 * time.Hour)}); len(proof.Items) != 0 || !proof.Balanced() {
		t.Errorf("since tomorrow: %+v", proof)
	}
	if _, err := p.Prove(t.Context(), ferry.ProofRequest{Route: "nowhere"}); ferry.CodeOf(err) != ferry.CodeRouteNotFound {
		t.Errorf("a route that is not there: %v", err)
	}
}
