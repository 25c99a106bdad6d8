package broker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
	"ferry/store"
)

const (
	usageEvery  = 10 * time.Second // how often counts go to the ledger
	usageFirst  = 250              // upper bound of the first bucket of latencies, microseconds; each is twice the one before
	usageLast   = store.UsageBuckets - 1
	daySeconds  = 24 * 60 * 60
	usageLinger = 2 // days that a cell stays without counts, so that no request that is under way loses its own
)

// usage counts in memory who used the broker. Counting takes no lock: cells are
// found in a map that is replaced when one is added, and hold atomic counters.
type usage struct {
	known func(route string) bool // names that callers invent must not become cells

	cells   atomic.Pointer[map[store.UsageOf]*useCell]
	growing sync.Mutex
	// flushing is held while counts are on their way from the cells to the ledger, so
	// that who reads both sees each once.
	flushing sync.RWMutex
}

// useCell is what one key did on one route on one day since it was last written.
type useCell struct {
	name                                                         string
	requests, accepted, repeats, replaced, in, out, sum, slowest atomic.Int64
	buckets                                                      [store.UsageBuckets]atomic.Int64

	mu      sync.Mutex // refusals are rare
	refused map[ferry.Code]int64
}

func newUsage(known func(route string) bool) *usage {
	u := &usage{known: known}
	u.cells.Store(&map[store.UsageOf]*useCell{})
	return u
}

func dayOf(t time.Time) int32 { return int32(t.Unix() / daySeconds) }

// cell finds or makes the cell of a key, a route and a day.
func (u *usage) cell(key, name, route string, at time.Time) *useCell {
	if !u.known(route) {
		route = ""
	}
	of := store.UsageOf{Day: dayOf(at), Key: key, Route: route}
	if c, ok := (*u.cells.Load())[of]; ok {
		return c
	}
	u.growing.Lock()
	defer u.growing.Unlock()
	cells := *u.cells.Load()
	sameDay := 0
	for other := range cells {
		if other.Day == of.Day {
			sameDay++
		}
	}
	if sameDay >= ferry.MaxUsageRows {
		of.Key, name = ferry.UsageOther, ""
	}
	if c, ok := cells[of]; ok {
		return c
	}
	grown := maps.Clone(cells)
	c := &useCell{name: name}
	grown[of] = c
	u.cells.Store(&grown)
	return c
}

// accepted counts messages that the ledger took, or knew.
func (u *usage) accepted(m *ferry.Message, a *ferry.Accepted) {
	c := u.cell(cmp.Or(m.Sender.KeyID, m.Sender.Name, ferry.UsageNone), m.Sender.Name, m.Route, m.CreatedAt)
	switch {
	case a.Duplicate:
		c.repeats.Add(1)
	case a.Revision != 0:
		c.replaced.Add(1)
	default:
		c.accepted.Add(1)
	}
}

// Used counts a request that ended.
func (b *Broker) Used(r *ferry.Use) {
	c := b.usage.cell(cmp.Or(r.Key, ferry.UsageNone), r.Name, r.Route, r.At)
	c.requests.Add(1)
	if r.BytesIn > 0 {
		c.in.Add(r.BytesIn)
	}
	if r.BytesOut > 0 {
		c.out.Add(r.BytesOut)
	}
	if r.Sent {
		c.observe(r.Took.Microseconds())
	}
	if r.Code != "" {
		c.refuse(r.Code)
	}
	for _, code := range r.Items {
		c.refuse(code)
	}
}

func (c *useCell) observe(us int64) {
	i, bound := 0, int64(usageFirst)
	for i < usageLast && us > bound {
		i++
		bound *= 2
	}
	c.buckets[i].Add(1)
	c.sum.Add(us)
	for {
		slowest := c.slowest.Load()
		if us <= slowest || c.slowest.CompareAndSwap(slowest, us) {
			return
		}
	}
}

func (c *useCell) refuse(code ferry.Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = map[ferry.Code]int64{}
	}
	c.refused[code]++
}

// read gives the counts of the cell; take: it begins anew.
func (c *useCell) read(take bool) *store.UsageCounts {
	get := func(n *atomic.Int64) int64 {
		if take {
			return n.Swap(0)
		}
		return n.Load()
	}
	out := &store.UsageCounts{
		Name: c.name, Requests: get(&c.requests), Accepted: get(&c.accepted), Repeats: get(&c.repeats), Replaced: get(&c.replaced),
		BytesIn: get(&c.in), BytesOut: get(&c.out), Sum: get(&c.sum), Max: get(&c.slowest),
	}
	for i := range c.buckets {
		out.Buckets[i] = get(&c.buckets[i])
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out.Refused = maps.Clone(c.refused)
	if take {
		c.refused = nil
	}
	return out
}

// add gives back counts that could not be written.
func (c *useCell) add(u *store.UsageCounts) {
	for n, v := range map[*atomic.Int64]int64{
		&c.requests: u.Requests, &c.accepted: u.Accepted, &c.repeats: u.Repeats, &c.replaced: u.Replaced,
		&c.in: u.BytesIn, &c.out: u.BytesOut, &c.sum: u.Sum,
	} {
		n.Add(v)
	}
	for i, v := range u.Buckets {
		c.buckets[i].Add(v)
	}
	if slowest := c.slowest.Load(); u.Max > slowest {
		c.slowest.CompareAndSwap(slowest, u.Max) // a request in between may be slower: one maximum less
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for code, n := range u.Refused {
		if c.refused == nil {
			c.refused = map[ferry.Code]int64{}
		}
		c.refused[code] += n
	}
}

func isNothing(u *store.UsageCounts) bool {
	return u.Requests == 0 && u.Accepted == 0 && u.Repeats == 0 && u.Replaced == 0 && len(u.Refused) == 0
}

// writeUsage writes what was counted, in one commit. What cannot be written is
// counted on in memory.
func (b *Broker) writeUsage(ctx context.Context) error {
	u := b.usage
	u.flushing.Lock()
	defer u.flushing.Unlock()
	counts := map[store.UsageOf]*store.UsageCounts{}
	cells := *u.cells.Load()
	for of, c := range cells {
		if n := c.read(true); !isNothing(n) {
			counts[of] = n
		}
	}
	today := dayOf(time.Now())
	u.forget(today - usageLinger)
	if len(counts) == 0 {
		return nil
	}
	err := b.ledger.AddUsage(ctx, counts, today-ferry.UsageDays)
	if err != nil {
		for of, n := range counts {
			u.cell(of.Key, n.Name, of.Route, time.Unix(int64(of.Day)*daySeconds, 0)).add(n)
		}
	}
	return err
}

// forget removes the cells of days before day, which hold nothing any more.
func (u *usage) forget(day int32) {
	u.growing.Lock()
	defer u.growing.Unlock()
	kept := maps.Clone(*u.cells.Load())
	before := len(kept)
	maps.DeleteFunc(kept, func(of store.UsageOf, _ *useCell) bool { return of.Day < day })
	if len(kept) < before {
		u.cells.Store(&kept)
	}
}

// keepUsage writes the counts now and then, until ctx ends.
func (b *Broker) keepUsage(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, usageEvery)
		if err := b.writeUsage(ctx); err != nil && ctx.Err() == nil {
			b.log.Debug("usage.write", "error", err.Error(), "next", "it is counted on, and written later")
		}
	}
}

// Usage lists what was counted, the unwritten included.
func (b *Broker) Usage(_ context.Context, f ferry.UsageFilter) ([]ferry.UsageRow, error) {
	from, to := int32(0), int32(1<<31-1)
	for _, bound := range []struct {
		name, text string
		to         *int32
	}{{"since", f.Since, &from}, {"until", f.Until, &to}} {
		if bound.text == "" {
			continue
		}
		day, err := time.Parse(time.DateOnly, bound.text)
		if err != nil {
			return nil, ferry.Errorf(ferry.CodeBadTime, "%s=%q is not a day", bound.name, bound.text).WithHint("such as 2026-11-23, of UTC")
		}
		*bound.to = dayOf(day)
	}
	groups := map[group]*store.UsageCounts{}
	see := func(of store.UsageOf, n *store.UsageCounts) {
		if of.Day < from || of.Day > to || f.Route != "" && of.Route != f.Route || f.Own != "" && of.Key != f.Own ||
			f.Key != "" && of.Key != f.Key && n.Name != f.Key || isNothing(n) {
			return
		}
		g := groupOf(of, f.By)
		if groups[g] == nil {
			groups[g] = &store.UsageCounts{}
		}
		groups[g].Add(n)
	}
	u := b.usage
	u.flushing.RLock()
	err := b.ledger.Usage(from, to, see)
	for of, c := range *u.cells.Load() {
		see(of, c.read(false))
	}
	u.flushing.RUnlock()
	if err != nil {
		return nil, err
	}
	rows := make([]ferry.UsageRow, 0, len(groups))
	for g, n := range groups {
		rows = append(rows, rowOf(g, n, slices.Contains(f.By, ferry.UsageByKey)))
	}
	slices.SortFunc(rows, func(a, b ferry.UsageRow) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Route, b.Route))
	})
	return rows, nil
}

// group is what the rows of an answer have in common.
type group struct{ day, key, route string }

func groupOf(of store.UsageOf, by []string) group {
	var g group
	for _, what := range by {
		switch what {
		case ferry.UsageByDay:
			g.day = time.Unix(int64(of.Day)*daySeconds, 0).UTC().Format(time.DateOnly)
		case ferry.UsageByKey:
			g.key = of.Key
		case ferry.UsageByRoute:
			g.route = of.Route
		}
	}
	return g
}

func rowOf(g group, n *store.UsageCounts, named bool) ferry.UsageRow {
	r := ferry.UsageRow{
		Day: g.day, Key: g.key, Route: g.route, Requests: n.Requests, Accepted: n.Accepted, Repeats: n.Repeats, Replaced: n.Replaced,
		ByCode: n.Refused, BytesIn: n.BytesIn, BytesOut: n.BytesOut,
	}
	if named {
		r.Name = n.Name
	}
	for _, k := range n.Refused {
		r.Refused += k
	}
	var count int64
	for _, k := range n.Buckets {
		count += k
	}
	if count == 0 {
		return r
	}
	ms := func(us int64) float64 { return float64(us) / 1000 }
	part := func(per int64) float64 {
		rank, seen, bound := (count*per+99)/100, int64(0), int64(usageFirst)
		for i := range usageLast {
			if seen += n.Buckets[i]; seen >= rank {
				return ms(min(bound, n.Max))
			}
			bound *= 2
		}
		return ms(n.Max)
	}
	r.Latency = &ferry.Latency{Count: count, Mean: ms(n.Sum / count), P50: part(50), P95: part(95), P99: part(99), Max: ms(n.Max)}
	return r
}
