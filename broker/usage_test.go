package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"ferry"
)

// by asks for the counts of everything, by what is named.
func (w *world) usage(f ferry.UsageFilter) []ferry.UsageRow {
	w.t.Helper()
	rows, err := w.b.Usage(w.t.Context(), f)
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// What usage counts as accepted is what the ledger's own tallies have, per route and
// day, before and after a restart; over singles, batches, repeats and midnights.
func TestUsageReconciles(t *testing.T) {
	days(t)
	bubble(t, func(t *testing.T, w *world) {
		random := rand.New(rand.NewPCG(1, 2))
		sum := func() map[string]int64 {
			out := map[string]int64{}
			for _, r := range w.usage(ferry.UsageFilter{By: []string{ferry.UsageByDay, ferry.UsageByRoute}}) {
				if r.Accepted > 0 {
					out[r.Day+" "+r.Route] = r.Accepted
				}
			}
			return out
		}
		check := func(when string) {
			t.Helper()
			have := sum()
			lines, err := w.b.Reconcile(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, l := range lines {
				if l.Accepted == 0 {
					continue
				}
				n++
				if got := have[l.Day+" "+l.Route]; got != l.Accepted {
					t.Errorf("%s: %s %s: usage has %d accepted, the ledger %d", when, l.Day, l.Route, got, l.Accepted)
				}
			}
			if n != len(have) || n < 3 {
				t.Errorf("%s: %d rows, the ledger has %d", when, len(have), n)
			}
		}
		repeats := int64(0)
		for i := range 120 {
			who := ferry.Sender{Name: "flow", KeyID: fmt.Sprint("k", random.IntN(3))}
			m := ferry.Message{Route: []string{orders, notes}[random.IntN(2)], Body: []byte("x"), IdempotencyKey: fmt.Sprint(i), Sender: who}
			switch random.IntN(3) {
			case 0:
				batch := []ferry.Message{m, m, m}
				batch[1].IdempotencyKey = fmt.Sprint(i, "b")
				repeats++ // the third repeats the first
				if _, _, err := w.b.AcceptBatch(t.Context(), batch, random.IntN(2) == 0); err != nil {
					t.Fatal(err)
				}
			default:
				if _, err := w.b.Accept(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				if random.IntN(4) == 0 {
					repeats++
					if _, err := w.b.Accept(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
			}
			if i == 60 {
				time.Sleep(24 * time.Hour) // over midnight
			}
		}
		check("before the stop")
		w.restart()
		check("after it")
		if rows := w.usage(ferry.UsageFilter{}); len(rows) != 1 || rows[0].Repeats != repeats {
			t.Errorf("%+v, want %d repeats", rows, repeats)
		}
	})
}

// Many at once lose no count, whether it is written meanwhile or not.
func TestUsageConcurrently(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		const senders, each = 64, 200
		done := make(chan struct{})
		var writer sync.WaitGroup
		writer.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if err := w.b.writeUsage(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
		var group sync.WaitGroup
		for s := range senders {
			group.Go(func() {
				for range each {
					w.b.Used(&ferry.Use{Key: fmt.Sprint("k", s%4), Route: orders, At: time.Now(), Took: time.Millisecond, Sent: true, BytesIn: 10, BytesOut: 3, Code: ferry.CodeEmptyBody})
				}
			})
		}
		group.Wait()
		close(done)
		writer.Wait()
		rows := w.usage(ferry.UsageFilter{By: []string{ferry.UsageByKey}})
		if len(rows) != 4 {
			t.Fatalf("%d rows", len(rows))
		}
		for _, r := range rows {
			const n = senders / 4 * each
			if r.Requests != n || r.BytesIn != 10*n || r.BytesOut != 3*n || r.ByCode[ferry.CodeEmptyBody] != n || r.Refused != n || r.Latency == nil || r.Latency.Count != n {
				t.Errorf("%+v, want %d", r, n)
			}
		}
	})
}

// Names without end, as subjects of tokens may be, become one row; nothing that they
// did is lost. That holds over restarts, which forget what is in memory.
func TestUsageIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		total := int64(0)
		for round := range 3 {
			for i := range 1500 {
				total++
				w.b.Used(&ferry.Use{Key: fmt.Sprintf("jwt:entra/%d-%d", round, i), Name: "n", Route: "invented-" + fmt.Sprint(i), At: time.Now()})
			}
			w.restart()
		}
		rows := w.usage(ferry.UsageFilter{By: []string{ferry.UsageByKey, ferry.UsageByRoute}})
		sum, other := int64(0), int64(0)
		for _, r := range rows {
			sum += r.Requests
			if r.Route != "" {
				t.Fatalf("an invented route became a row: %+v", r)
			}
			if r.Key == ferry.UsageOther {
				other += r.Requests
			}
		}
		if len(rows) != ferry.MaxUsageRows+1 || sum != total || other != total-ferry.MaxUsageRows {
			t.Errorf("%d rows, %d requests of %d, %d of them of others", len(rows), sum, total, other)
		}
	})
}

// Days are kept for a while and go by themselves; filters choose.
func TestUsageDays(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		now := time.Now()
		for days, key := range map[int]string{0: "k0", 1: "k1", ferry.UsageDays - 1: "kept", ferry.UsageDays + 1: "old"} {
			w.b.Used(&ferry.Use{Key: key, Name: "name of " + key, Route: orders, At: now.AddDate(0, 0, -days), Code: ferry.CodeForbidden})
		}
		if err := w.b.writeUsage(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.b.Used(&ferry.Use{Key: "k0", Route: orders, At: now}) // a second write sees the day that is too old
		if err := w.b.writeUsage(t.Context()); err != nil {
			t.Fatal(err)
		}
		names := func(f ferry.UsageFilter) (list []string) {
			f.By = []string{ferry.UsageByKey, ferry.UsageByDay}
			for _, r := range w.usage(f) {
				list = append(list, r.Key)
			}
			slices.Sort(list)
			return list
		}
		day := func(back int) string { return now.UTC().AddDate(0, 0, -back).Format(time.DateOnly) }
		for what, c := range map[string]struct {
			filter ferry.UsageFilter
			want   []string
		}{
			"all":     {ferry.UsageFilter{}, []string{"k0", "k1", "kept"}},
			"since":   {ferry.UsageFilter{Since: day(1)}, []string{"k0", "k1"}},
			"until":   {ferry.UsageFilter{Until: day(1)}, []string{"k1", "kept"}},
			"one day": {ferry.UsageFilter{Since: day(1), Until: day(1)}, []string{"k1"}},
			"key":     {ferry.UsageFilter{Key: "k0"}, []string{"k0"}},
			"name":    {ferry.UsageFilter{Key: "name of k1"}, []string{"k1"}},
			"route":   {ferry.UsageFilter{Route: notes}, nil},
			"own":     {ferry.UsageFilter{Own: "k1"}, []string{"k1"}},
			"others'": {ferry.UsageFilter{Own: "k1", Key: "k0"}, nil},
		} {
			if got := names(c.filter); !slices.Equal(got, c.want) {
				t.Errorf("%s: %v, want %v", what, got, c.want)
			}
		}
		if _, err := w.b.Usage(t.Context(), ferry.UsageFilter{Since: "yesterday"}); ferry.CodeOf(err) != ferry.CodeBadTime {
			t.Error(err)
		}
	})
}

// Percentiles are true to the buckets, and never above what was seen.
func TestUsageLatency(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 100 {
			took := time.Millisecond
			if i >= 90 {
				took = 100 * time.Millisecond
			}
			if i == 99 {
				took = 90 * time.Second
			}
			w.b.Used(&ferry.Use{Key: "k", Route: orders, At: time.Now(), Took: took, Sent: true})
		}
		w.b.Used(&ferry.Use{Key: "k", Route: orders, At: time.Now(), Took: time.Hour}) // it sent nothing
		l := w.usage(ferry.UsageFilter{})[0].Latency
		if l == nil || l.Count != 100 || l.P50 != 1 || l.P95 != 128 || l.P99 != 128 || l.Max != 90_000 || l.Mean < 900 || l.Mean > 920 {
			t.Errorf("%+v", l)
		}
	})
}

// What cannot be written is counted on, and written later.
func TestUsageSurvivesALedgerThatRefuses(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.b.Used(&ferry.Use{Key: "k", Route: orders, At: time.Now(), Sent: true, Took: time.Second, Code: ferry.CodeForbidden, BytesIn: 5})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.b.writeUsage(ended); err == nil {
			t.Fatal("written, though the time was over")
		}
		w.restart()
		rows := w.usage(ferry.UsageFilter{By: []string{ferry.UsageByKey}})
		if len(rows) != 1 || rows[0].Requests != 1 || rows[0].BytesIn != 5 || rows[0].ByCode[ferry.CodeForbidden] != 1 || rows[0].Latency == nil || rows[0].Latency.Max != 1000 {
			t.Errorf("%+v", rows)
		}
	})
}

// Counting neither allocates nor locks once the cell is there.
func TestUsageCostsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		use := &ferry.Use{Key: "k", Route: orders, At: time.Now(), Took: time.Millisecond, Sent: true}
		message, answer := &ferry.Message{Route: orders, CreatedAt: time.Now(), Sender: ferry.Sender{KeyID: "k"}}, &ferry.Accepted{Route: orders}
		w.b.Used(use)
		if n := testing.AllocsPerRun(100, func() {
			w.b.Used(use)
			w.b.usage.accepted(message, answer)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
