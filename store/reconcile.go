package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/internal/commit"
)

// The proof of promise 2: every accept number of every route is a record, or was
// removed by retention; the records of each day are as many, and in the states,
// that the day's tally says; and every index agrees with the records.
//
// One read of a day of acceptance sees the day's tallies and all its records at one
// moment, so that the counts agree to the unit under any load, while no read lasts
// longer than a day's records take.

const (
	oneDay = int64(24 * time.Hour)
	// dayMargin is how far the time in an id may lie from the time of the accept.
	dayMargin = 2 * time.Second
	// proofStep is how many entries of an index one read looks at.
	proofStep = 20_000
)

// Prove holds the ledger against itself. It only reads, next to any other work.
func (l *Ledger) Prove(ctx context.Context, req ferry.ProofRequest) (ferry.Proof, error) {
	p, err := l.prove(ctx, req, false)
	if err == nil && p.odd {
		// Records whose ids tell another day than they were accepted on: all at once.
		p, err = l.prove(ctx, req, true)
	}
	if err != nil {
		return ferry.Proof{}, err
	}
	return p.result(), nil
}

// Reconcile is the part of Prove that counts, per route and UTC day of acceptance.
func (l *Ledger) Reconcile() ([]ferry.Reconciliation, error) {
	p, err := l.Prove(noContext, ferry.ProofRequest{})
	return p.Items, err
}

// proving is a proof under way.
type proving struct {
	l     *Ledger
	ctx   context.Context
	req   ferry.ProofRequest
	route uint32 // 0: all
	from  int64  // the first day that is shown

	walked int // records that were looked at

	proof    ferry.Proof
	rows     map[uint32]routeRow // as they were first
	numbers  map[uint32]*numberSet
	items    map[tallyKey]ferry.Reconciliation
	bad      map[tallyKey]bool
	badRoute map[uint32]bool
	bodies   []suspect
	odd      bool
}

func (l *Ledger) prove(ctx context.Context, req ferry.ProofRequest, atOnce bool) (*proving, error) {
	p := &proving{
		l: l, ctx: ctx, req: req, rows: map[uint32]routeRow{}, numbers: map[uint32]*numberSet{},
		items: map[tallyKey]ferry.Reconciliation{}, bad: map[tallyKey]bool{}, badRoute: map[uint32]bool{},
		proof: ferry.Proof{At: time.Now().UTC(), Findings: []ferry.Finding{}},
	}
	if req.Route != "" {
		no, ok := l.routeNo(req.Route)
		if !ok {
			return nil, ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", req.Route).WithHint("broker routes list shows them")
		}
		p.route = no
	}
	if !req.Since.IsZero() {
		p.from = dayOf(nsOf(req.Since))
	}
	if err := l.db.View(p.begin); err != nil {
		return nil, err
	}
	var err error
	if atOnce {
		err = l.db.View(func(tx *bbolt.Tx) error { return p.days(tx, 0, 1<<40) })
	} else {
		err = p.dayByDay()
	}
	for _, step := range []func() error{p.accountForNumbers, p.walkIndexes, p.lookAtBodies} {
		if err == nil {
			err = step()
		}
	}
	return p, err
}

// begin notes how far each route's numbers went: what is accepted later is left to
// the next proof.
func (p *proving) begin(tx *bbolt.Tx) error {
	return eachJSON(tx, bRoutes, func(row *routeRow) {
		p.rows[row.No] = *row
		if p.wants(row.No) {
			p.numbers[row.No] = newNumberSet(row.PurgedTo)
		}
	})
}

func (p *proving) wants(route uint32) bool { return p.route == 0 || p.route == route }

// dayByDay goes through the days that have records or tallies, each in a read of
// its own. Numbers cross midnight, so that it begins a day early.
func (p *proving) dayByDay() error {
	for day := max(p.from-1, 0); ; day++ {
		err := p.ctx.Err()
		if err == nil {
			err = p.l.db.View(func(tx *bbolt.Tx) (err error) {
				if day, err = nextDay(tx, day); err != nil || day < 0 {
					return err
				}
				return p.days(tx, day, day)
			})
		}
		if err != nil || day < 0 {
			return err
		}
	}
}

// nextDay is the first day at or after one that a record was accepted on or a
// tally is of; -1: there is none.
func nextDay(tx *bbolt.Tx, day int64) (int64, error) {
	next := int64(-1)
	from := ferry.FirstID(time.Unix(0, day*oneDay).Add(-dayMargin))
	if k, _ := tx.Bucket(bMessages).Cursor().Seek(from[:]); k != nil {
		next = max(dayOf(ferry.ID(k).Time().UnixNano()), day)
	}
	c := tx.Bucket(bTallies).Cursor()
	for k, _ := c.First(); k != nil; {
		route, of := binary.BigEndian.Uint32(k), int64(binary.BigEndian.Uint64(k[4:]))
		if of < day {
			k, _ = c.Seek(tallyKey{route, day}.bytes())
			continue
		}
		if next < 0 || of < next {
			next = of
		}
		k, _ = c.Seek(u32(route + 1))
	}
	return next, nil
}

// days counts the records that were accepted from one day to another and holds
// them against the tallies of these days.
func (p *proving) days(tx *bbolt.Tx, from, to int64) error {
	rows := map[uint32]*routeRow{}
	if err := eachJSON(tx, bRoutes, func(row *routeRow) { rows[row.No] = row }); err != nil {
		return err
	}
	counted := map[tallyKey]*tally{}
	first := ferry.FirstID(time.Unix(0, from*oneDay).Add(-dayMargin))
	last := ferry.LastID(time.Unix(0, min(to, 1<<16)*oneDay+oneDay).Add(dayMargin))
	c, in := tx.Bucket(bMessages).Cursor(), listsOf(tx)
	for k, v := c.Seek(first[:]); k != nil && bytes.Compare(k, last[:]) <= 0; k, v = c.Next() {
		if p.walked++; p.walked%givenBackEvery == 0 {
			commit.GiveBack(tx)
		}
		if p.proof.Records%1000 == 999 && p.ctx.Err() != nil {
			return p.ctx.Err()
		}
		if !p.wants(routeIn(v)) && routeIn(v) != 0 {
			continue
		}
		id := ferry.ID(k)
		r, err := decodeRecord(id, v)
		if err != nil {
			if of := dayOf(id.Time().UnixNano()); of >= from && of <= to {
				p.find(routeIn(v), of, ferry.Finding{Kind: ferry.FindingRecord, ID: id, Text: "the record cannot be read: " + err.Error()})
			}
			continue
		}
		day := dayOf(r.CreatedAt)
		if day < from || day > to {
			p.odd = p.odd || r.CreatedAt-id.Time().UnixNano() > int64(dayMargin) || id.Time().UnixNano()-r.CreatedAt > int64(dayMargin)
			continue
		}
		p.proof.Records++
		p.count(counted, r)
		p.number(rows[r.Route], r)
		if day >= p.from {
			p.record(in, r)
		}
	}
	return p.compare(tx, rows, counted, from, to)
}

// count counts a record on its day.
func (p *proving) count(counts map[tallyKey]*tally, r *record) {
	key := tallyKey{r.Route, dayOf(r.CreatedAt)}
	c := counts[key]
	if c == nil {
		c = &tally{}
		counts[key] = c
	}
	switch {
	case r.State.Pending():
		c.Pending++
	case r.State == ferry.StateCompleted:
		c.Completed++
	case r.State == ferry.StateDeadLettered:
		c.Dead++
	default:
		c.Discarded++
	}
}

// compare holds what was counted against the tallies.
func (p *proving) compare(tx *bbolt.Tx, rows map[uint32]*routeRow, counts map[tallyKey]*tally, from, to int64) error {
	for no := range rows {
		if !p.wants(no) {
			continue
		}
		c := tx.Bucket(bTallies).Cursor()
		for k, v := c.Seek(tallyKey{no, from}.bytes()); len(k) == 12 && binary.BigEndian.Uint32(k) == no; k, v = c.Next() {
			key := tallyKey{no, int64(binary.BigEndian.Uint64(k[4:]))}
			if key.day > to {
				break
			}
			t, err := decodeJSON[tally](v)
			if err != nil {
				p.find(no, key.day, ferry.Finding{Kind: ferry.FindingTally, Text: "the day's tally cannot be read: " + err.Error()})
			}
			is := counts[key]
			if is == nil {
				is = &tally{}
			}
			delete(counts, key)
			p.compareDay(rows[no].Name, key, t, *is)
		}
	}
	for key, is := range counts { // days whose tally is gone
		name := fmt.Sprintf("lost-route-%d", key.route)
		if row := rows[key.route]; row != nil {
			name = row.Name
		}
		p.compareDay(name, key, tally{}, *is)
	}
	return nil
}

func (p *proving) compareDay(route string, key tallyKey, t, is tally) {
	if key.day < p.from {
		return
	}
	purged := t.PurgedCompleted + t.PurgedDiscarded
	is.Completed += t.PurgedCompleted
	is.Discarded += t.PurgedDiscarded
	p.items[key] = ferry.Reconciliation{
		Route: route, Day: dayText(key.day), Accepted: t.Accepted, Pending: is.Pending, Completed: is.Completed,
		DeadLetters: is.Dead, Discarded: is.Discarded, Balanced: true, First: t.First, Last: t.Last, Purged: purged,
	}
	sum := is.Pending + is.Completed + is.Dead + is.Discarded
	if t.Accepted == sum && t.Pending == is.Pending && t.Completed == is.Completed && t.Dead == is.Dead && t.Discarded == is.Discarded {
		return
	}
	p.find(key.route, key.day, ferry.Finding{Kind: ferry.FindingTally, Text: fmt.Sprintf(
		"the day's tally says %d accepted, %d pending, %d completed, %d dead-lettered, %d discarded; there are %d, of them %d pending, %d completed, %d dead-lettered, %d discarded",
		t.Accepted, t.Pending, t.Completed, t.Dead, t.Discarded, sum, is.Pending, is.Completed, is.Dead, is.Discarded)})
}

// find adds a finding of a route and a day (-1: of none).
func (p *proving) find(route uint32, day int64, f ferry.Finding) {
	if row, ok := p.rows[route]; ok {
		f.Route = row.Name
	}
	if day >= 0 {
		f.Day = dayText(day)
		// A message whose body is gone is counted all the same, and will end.
		p.bad[tallyKey{route, day}] = p.bad[tallyKey{route, day}] || f.Kind != ferry.FindingBody
	} else {
		p.badRoute[route] = true
	}
	p.proof.Add(f)
}

// findOf adds a finding about a record.
func (p *proving) findOf(r *record, kind ferry.FindingKind, format string, args ...any) {
	p.find(r.Route, dayOf(r.CreatedAt), ferry.Finding{Kind: kind, ID: r.ID, Number: r.Seq, Text: fmt.Sprintf(format, args...)})
}

func dayText(day int64) string { return time.Unix(day*86400, 0).UTC().Format(time.DateOnly) }

// result is the proof, in the order of routes and days.
func (p *proving) result() ferry.Proof {
	keys := make([]tallyKey, 0, len(p.items))
	for key := range p.items {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b tallyKey) int { return bytes.Compare(a.bytes(), b.bytes()) })
	p.proof.Items = make([]ferry.Reconciliation, 0, len(keys))
	for _, key := range keys {
		item := p.items[key]
		item.Balanced = !p.bad[key] && !p.badRoute[key.route]
		p.proof.Items = append(p.proof.Items, item)
	}
	return p.proof
}
