package store

import (
	"encoding/binary"
	"fmt"
	"sort"

	"go.etcd.io/bbolt"

	"ferry"
)

// maxRuns bounds the runs of missing numbers of one route that are named with
// their neighbours.
const maxRuns = 200

// number notes the accept number of a record.
func (p *proving) number(row *routeRow, r *record) {
	set := p.numbers[r.Route]
	switch {
	case row == nil || set == nil:
		if p.rows[r.Route].No == 0 && row == nil {
			p.findOf(r, ferry.FindingRecord, "the record names a route that the ledger does not have (number %d)", r.Route)
		}
	case r.Seq == 0 || r.Seq > row.Seq:
		p.findOf(r, ferry.FindingNumber, "its accept number %d cannot be: the route has given out 1 to %d", r.Seq, row.Seq)
	case r.Seq <= set.base:
		p.findOf(r, ferry.FindingNumber, "its accept number %d is noted as removed by retention, and the record is there", r.Seq)
	case !set.add(r.Seq):
		p.findOf(r, ferry.FindingTwice, "its accept number %d is another record's, too", r.Seq)
	}
}

// accountForNumbers finds the accept numbers that no record has and that retention
// did not remove, and holds the sums of all days against the routes.
func (p *proving) accountForNumbers() error {
	sums := map[uint32]*tally{}
	starts := map[uint32]uint64{} // the number that the check begins behind
	now := map[uint32]routeRow{}
	err := p.l.db.View(func(tx *bbolt.Tx) error {
		if err := eachJSON(tx, bRoutes, func(row *routeRow) { now[row.No], sums[row.No] = *row, &tally{} }); err != nil {
			return err
		}
		if err := p.sumTallies(tx, sums, starts); err != nil {
			return err
		}
		return tx.Bucket(bPurged).ForEach(func(k, v []byte) error {
			if set := p.numbers[binary.BigEndian.Uint32(k)]; set != nil {
				set.addMarks(binary.BigEndian.Uint64(k[4:]), v)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for no, row := range now {
		set := p.numbers[no]
		if set == nil {
			continue
		}
		set.base = max(set.base, row.PurgedTo)
		p.compareRoute(&row, sums[no])
		from, ok := starts[no]
		if p.from > 0 && (!ok || from == 0) {
			continue // nothing since then, or days whose first number is not known
		}
		var runs []run
		set.gaps(from, p.rows[no].Seq, func(first, last uint64) { runs = append(runs, run{first: first, last: last}) })
		if err := p.nameRuns(no, runs); err != nil {
			return err
		}
	}
	return nil
}

func (p *proving) sumTallies(tx *bbolt.Tx, sums map[uint32]*tally, starts map[uint32]uint64) error {
	return tx.Bucket(bTallies).ForEach(func(k, v []byte) error {
		no, day := binary.BigEndian.Uint32(k), int64(binary.BigEndian.Uint64(k[4:]))
		t, err := decodeJSON[tally](v)
		sum := sums[no]
		if err != nil || sum == nil {
			return nil //nolint:nilerr // a finding of its day
		}
		sum.Accepted += t.Accepted
		sum.Pending += t.Pending
		sum.Completed += t.Completed
		sum.Dead += t.Dead
		sum.Discarded += t.Discarded
		if p.from > 0 && day >= p.from && t.Accepted > 0 {
			if before, ok := starts[no]; !ok || t.First == 0 || t.First-1 < before {
				starts[no] = max(t.First, 1) - 1
			}
		}
		return nil
	})
}

// compareRoute holds a route's own counts against the sums of its days.
func (p *proving) compareRoute(row *routeRow, sum *tally) {
	dead := int64(0)
	for _, n := range row.Dead {
		dead += n
	}
	if sum.Accepted != int64(row.Seq) {
		p.find(row.No, -1, ferry.Finding{Kind: ferry.FindingTally, Text: fmt.Sprintf("the route has given out the accept numbers 1 to %d, and its days count %d accepts", row.Seq, sum.Accepted)})
	}
	if row.Pending != sum.Pending || dead != sum.Dead || row.Completed != sum.Completed || row.Discarded != sum.Discarded {
		p.find(row.No, -1, ferry.Finding{Kind: ferry.FindingTally, Text: fmt.Sprintf(
			"the route counts %d pending, %d completed, %d dead-lettered, %d discarded; its days %d, %d, %d, %d",
			row.Pending, row.Completed, dead, row.Discarded, sum.Pending, sum.Completed, sum.Dead, sum.Discarded)})
	}
}

// run is a run of missing accept numbers and the records beside it.
type run struct {
	first, last   uint64
	before, after neighbour
}

type neighbour struct {
	number uint64
	id     ferry.ID
	day    int64
}

// nameRuns says of each run of missing numbers between which messages it lies. It
// reads the route's records once more, since it is rare.
func (p *proving) nameRuns(no uint32, runs []run) error {
	if len(runs) == 0 {
		return nil
	}
	named := runs[:min(len(runs), maxRuns)]
	if err := p.eachOf(no, func(n neighbour) {
		// The first run that ends at or after the number.
		i := sort.Search(len(named), func(i int) bool { return named[i].last >= n.number })
		if i > 0 && (named[i-1].after.number == 0 || n.number < named[i-1].after.number) {
			named[i-1].after = n
		}
		if i < len(named) && n.number < named[i].first && n.number > named[i].before.number {
			named[i].before = n
		}
	}); err != nil {
		return err
	}
	days, err := p.daysOf(no)
	if err != nil {
		return err
	}
	for _, r := range runs {
		p.findRun(no, r, days)
	}
	return nil
}

// findRun adds one finding per missing number, or one for a long run.
func (p *proving) findRun(no uint32, r run, days []dayNumbers) {
	const each = 20
	day := int64(-1)
	switch {
	case r.before.id != ferry.ID{} && r.after.id != ferry.ID{} && r.before.day == r.after.day:
		day = r.before.day
	default:
		for _, d := range days {
			if d.first <= r.first && r.first <= d.last {
				day = d.day
				break
			}
		}
	}
	where := "no record is beside it"
	switch {
	case r.before.number > 0 && r.after.number > 0:
		where = fmt.Sprintf("it lies between %d (%s) and %d (%s)", r.before.number, r.before.id, r.after.number, r.after.id)
	case r.before.number > 0:
		where = fmt.Sprintf("it comes after %d (%s)", r.before.number, r.before.id)
	case r.after.number > 0:
		where = fmt.Sprintf("it comes before %d (%s)", r.after.number, r.after.id)
	}
	if r.last-r.first >= each {
		p.find(no, day, ferry.Finding{Kind: ferry.FindingMissing, Number: r.first, Text: fmt.Sprintf(
			"the accept numbers %d to %d have no record, and retention did not remove them: %s", r.first, r.last, where)})
		return
	}
	for n := r.first; n <= r.last; n++ {
		p.find(no, day, ferry.Finding{Kind: ferry.FindingMissing, Number: n, Text: fmt.Sprintf(
			"accept number %d has no record, and retention did not remove it: %s", n, where)})
	}
}

// eachOf reads the numbers of a route's records, in small reads.
func (p *proving) eachOf(no uint32, see func(neighbour)) error {
	return p.inSteps(bMessages, nil, func(_ *bbolt.Tx, k, v []byte) {
		if routeIn(v) != no {
			return
		}
		if r, err := decodeRecord(ferry.ID(k), v); err == nil && r.Seq > 0 {
			see(neighbour{number: r.Seq, id: r.ID, day: dayOf(r.CreatedAt)})
		}
	})
}

type dayNumbers struct {
	day         int64
	first, last uint64
}

func (p *proving) daysOf(no uint32) (days []dayNumbers, err error) {
	err = p.inSteps(bTallies, u32(no), func(_ *bbolt.Tx, k, v []byte) {
		if t, err := decodeJSON[tally](v); err == nil {
			days = append(days, dayNumbers{int64(binary.BigEndian.Uint64(k[4:])), t.First, t.Last})
		}
	})
	return days, err
}
