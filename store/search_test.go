package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
)

// shelf is a ledger with messages of every kind for lists to find.
func shelf(t *testing.T) *Ledger {
	l := newLedger(t)
	for i := range 120 {
		m := func(m *ferry.Message) {
			m.Route = []string{testRoute, otherRoute}[i%2]
			m.CorrelationID = fmt.Sprintf("corr-%d", i%7)
			m.SearchTerms = []string{fmt.Sprintf("INV-%d", i), `a "quoted" <term>`}
			m.Sender = ferry.Sender{Name: []string{"flow", "Größe & Co"}[i%3/2], Flow: &ferry.Flow{RunID: fmt.Sprintf("run%d", i%11), Name: "n"}}
			if i%2 == 0 {
				m.IdempotencyKey = fmt.Sprintf("key-%d", i)
			}
		}
		id := accept(t, l, "x", m)
		switch i % 5 {
		case 0:
			report(t, l, id, ferry.Delivered, ferry.Next{Do: ferry.DoComplete}, func(rc *ferry.Receipt) { rc.Reference = fmt.Sprintf("DOC-%d", i) })
		case 1, 2:
			report(t, l, id, ferry.Rejected, setAside([]ferry.Reason{ferry.ReasonRejected, ferry.ReasonExpired}[i%2]), func(rc *ferry.Receipt) {
				rc.Code, rc.Text = fmt.Sprintf("E%d", i%4), "the group "+string(rune('a'+i%6))
			})
		case 3:
			if i%2 == 0 {
				must0(t, l.Discard(t.Context(), id, "no", "ann"))
			}
		}
	}
	return l
}

// TestListsFindWhatMatches: whatever is looked for, the pages together have just what
// a look at each record finds, once, however little a page may look at.
func TestListsFindWhatMatches(t *testing.T) {
	l := shelf(t)
	owner := func(route string) string { return "owner of " + route }
	var all []*record
	must0(t, l.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bMessages).ForEach(func(k, v []byte) error {
			r, err := decodeRecord(ferry.ID(k), v)
			all = append(all, r)
			return err
		})
	}))
	pick := func(from ...string) string { return from[rand.IntN(len(from))] }
	texts := []string{"", "", "key-2", "key-24", "corr-3", "DOC-", "INV-11", "run1", "flow", "Größe & Co", `a "quoted" <`, "nothing", all[17].ID.String(), all[30].ID.String()[:20]}
	for range 400 {
		l.pageBound = 1 + rand.IntN(50)
		mf := ferry.MessageFilter{
			Route: pick("", "", testRoute, otherRoute, "none"), State: ferry.State(pick("", "", "accepted", "completed", "deadLettered", "discarded", "retrying", "queued")),
			Sender: pick("", "", "flow", "Größe & Co", "x"), Flow: pick("", "", "run3", "n", "y"), Q: pick(texts...), Limit: 1 + rand.IntN(40),
		}
		if rand.IntN(4) == 0 {
			mf.Routes = []string{testRoute}
		}
		var want, got []string
		for _, r := range slices.Backward(all) {
			if l.matches(r, &mf) {
				want = append(want, r.ID.String())
			}
		}
		for pages := 0; ; pages++ {
			page, err := l.Messages(mf)
			must0(t, err)
			for _, e := range page.Items {
				got = append(got, e.ID.String())
			}
			if len(page.Items) > mf.Limit || pages > 200 {
				t.Fatalf("%+v: a page of %d", mf, len(page.Items))
			}
			if mf.Cursor = page.NextCursor; mf.Cursor == "" {
				break
			}
		}
		if mf.Q != "" { // what is found by its key may come behind its place
			slices.Sort(want)
			slices.Sort(got)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v with pages of %d: %d listed, %d match", mf, l.pageBound, len(got), len(want))
		}

		df := ferry.DeadLetterFilter{
			Route: pick("", "", testRoute, otherRoute, "none"), Reason: ferry.Reason(pick("", "", "Rejected", "Expired", "Undeliverable")),
			Code: pick("", "", "E1", "E2", "E9"), Owner: pick("", "", "owner of orders", "x"), Sender: pick("", "", "flow", "Größe & Co"), Flow: pick("", "", "run3"),
			Q: pick(texts...), Limit: 1 + rand.IntN(40),
		}
		want, got = nil, nil
		var dead []*record
		for _, r := range all {
			if rand.IntN(30) == 0 && r.Dead != nil {
				df.Group = r.Dead.Group
			}
			if r.Dead != nil && r.State == ferry.StateDeadLettered {
				dead = append(dead, r)
			}
		}
		slices.SortFunc(dead, func(a, b *record) int { return b.Dead.At.Compare(a.Dead.At) })
		for _, r := range dead {
			if l.matchesDead(r, &df, owner) {
				want = append(want, r.ID.String())
			}
		}
		for pages := 0; ; pages++ {
			page, err := l.DeadLetters(df, owner)
			must0(t, err)
			for _, e := range page.Items {
				got = append(got, e.ID.String())
			}
			if pages > 200 {
				t.Fatalf("%+v does not end", df)
			}
			if df.Cursor = page.NextCursor; df.Cursor == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%+v with pages of %d: listed\n%v\nmatch\n%v", df, l.pageBound, got, want)
		}
	}
}

// TestAKeyIsFoundAtOnce: on the first page, however far back it lies.
func TestAKeyIsFoundAtOnce(t *testing.T) {
	l := shelf(t)
	l.pageBound = 5
	page, err := l.Messages(ferry.MessageFilter{Q: "key-2", Limit: 10})
	if err != nil || len(page.Items) != 1 || page.Items[0].IdempotencyKey != "key-2" || page.NextCursor == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	// Not one that the caller may not see.
	page, err = l.Messages(ferry.MessageFilter{Q: "key-2", Routes: []string{otherRoute}, Limit: 10})
	if err != nil || len(page.Items) != 0 {
		t.Fatalf("%+v, %v", page, err)
	}
}

// TestAStartReadsWhatTheIndexHolds: not the whole window; and what it holds are the
// newest.
func TestAStartReadsWhatTheIndexHolds(t *testing.T) {
	l := openIn(t, t.TempDir(), Options{})
	const messages = 2600
	var batch []ferry.Message
	for i := range messages {
		batch = append(batch, message("x", withKey(fmt.Sprint("k", i))))
		if len(batch) == 100 {
			_, _, err := l.AcceptBatch(t.Context(), batch, false)
			must0(t, err)
			batch = nil
		}
	}
	x := newIdemIndex(ferry.IdempotencyWindow, 1) // the least: 1,000 entries
	must0(t, l.db.View(func(tx *bbolt.Tx) error {
		if looked := x.rebuild(tx, time.Now(), func() {}); looked > x.most {
			t.Errorf("looked at %d records for %d entries", looked, x.most)
		}
		return nil
	}))
	no, _ := l.routeNo(testRoute)
	for i := range messages {
		_, known := x.find(idemKeyOf(no, fmt.Sprint("k", i)), time.Now())
		if known != (i >= messages-x.most) {
			t.Fatalf("key %d of %d: known %v", i, messages, known)
		}
	}
	if n := len(x.keys.generations); n > idemGenerations+1 {
		t.Errorf("%d generations", n)
	}
	// It goes on as if it had been filled in order: full, it forgets the oldest.
	x.add(idemKeyOf(no, "new"), ferry.NewID(time.Now()))
	if _, known := x.find(idemKeyOf(no, fmt.Sprint("k", messages-1)), time.Now()); !known || x.keys.n > x.most {
		t.Errorf("the newest known %v, %d entries", known, x.keys.n)
	}
}
