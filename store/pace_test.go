package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

func TestARateIsKeptAlsoOverARestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l, err := Open(dir, Options{MinFree: -1})
		must0(t, err)
		must0(t, l.EnsureRoute(t.Context(), testRoute))
		ids := deadOf(t, l, 120, "field 7 is missing")
		id := startOperation(t, l, ferry.ActReplay, ids, withRate(17, time.Second))
		var acted []time.Time
		began, state := time.Now(), ""
		for n := 0; state != ferry.OperationDone; n++ {
			plan, err := l.PlanOperation(id)
			must0(t, err)
			if state = plan.State; plan.Wait > 0 {
				time.Sleep(plan.Wait)
				continue
			}
			if n%7 == 3 { // a restart, and a stall of two seconds
				must0(t, l.Close())
				time.Sleep(2 * time.Second)
				l, err = Open(dir, Options{MinFree: -1})
				must0(t, err)
			}
			step, err := l.StepOperation(t.Context(), id)
			must0(t, err)
			for range step.Acts {
				acted = append(acted, time.Now())
			}
			state = step.State
		}
		defer func() { _ = l.Close() }()
		if len(acted) != len(ids) {
			t.Fatalf("%d acts", len(acted))
		}
		for i := range acted {
			if i+17 < len(acted) && acted[i+17].Sub(acted[i]) < time.Second {
				t.Errorf("18 acts within %s", acted[i+17].Sub(acted[i]))
			}
		}
		if took := time.Since(began); took < 6*time.Second {
			t.Errorf("120 acts at 17/s took %s", took)
		}
	})
}

func TestPaces(t *testing.T) {
	for _, test := range []struct {
		rate string
		most int
		per  time.Duration
	}{{"1/s", 1, time.Second}, {"10/s", 10, time.Second}, {"997/s", 997, time.Second}, {"7/m", 7, time.Minute}, {"600/m", 600, time.Minute}, {"90/h", 90, time.Hour}, {"5/d", 5, 24 * time.Hour}} {
		rate, err := ferry.ParseRate(test.rate)
		if err != nil {
			t.Fatal(err)
		}
		op := &operationRow{Operation: ferry.Operation{Rate: rate}}
		now, acts := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), []time.Time(nil)
		for len(acts) < 4*test.most {
			now = now.Add(op.due(now))
			n := op.allowed()
			op.spend(now, n)
			for range n {
				acts = append(acts, now)
			}
		}
		for i := 0; i+test.most < len(acts); i++ {
			if apart := acts[i+test.most].Sub(acts[i]); apart < test.per {
				t.Fatalf("%s: %d within %s", test.rate, test.most+1, apart)
			}
		}
		if got, want := acts[len(acts)-1].Sub(acts[0]), 4*test.per; got > want {
			t.Errorf("%s: %d took %s, slower than asked for", test.rate, len(acts), got)
		}
	}
}

func TestShares(t *testing.T) {
	for _, test := range []struct {
		n     int
		sizes []int
		want  []int
	}{
		{5, []int{30, 20, 10}, []int{2, 2, 1}},
		{5, []int{39_000, 900, 100}, []int{3, 1, 1}},
		{2, []int{5, 4, 3}, []int{1, 1, 0}},
		{10, []int{2, 1}, []int{2, 1}},
		{1, []int{7}, []int{1}},
		{100, []int{1000}, []int{100}},
	} {
		groups := make([]operationGroup, len(test.sizes))
		for i, n := range test.sizes {
			groups[i].Total = n
		}
		if diff := cmp.Diff(test.want, shares(test.n, groups)); diff != "" {
			t.Errorf("%d of %v (-want +got):\n%s", test.n, test.sizes, diff)
		}
	}
}

// deadMany makes many dead letters that failed alike, in few commits.
func deadMany(t testing.TB, l *Ledger, n int) (ids []ferry.ID) {
	t.Helper()
	for len(ids) < n {
		messages := make([]ferry.Message, min(ferry.MaxBatch, n-len(ids)))
		receipts := make([]ferry.Receipt, len(messages))
		for i := range messages {
			messages[i] = message(`{}`)
			ids = append(ids, messages[i].ID)
			receipts[i] = ferry.Receipt{ID: messages[i].ID, Route: testRoute, Turn: 1, Revision: 1, Verdict: ferry.Rejected, Text: "field 7 is missing", Next: setAside(ferry.ReasonRejected), Attempts: []ferry.Attempt{{Turn: 1}}}
		}
		_, _, err := l.AcceptBatch(t.Context(), messages, false)
		must0(t, err)
		_, err = l.ApplyReceipts(t.Context(), receipts, park)
		must0(t, err)
	}
	return ids
}

// BenchmarkBulkAct replays 40,000 dead letters while others send: how many a second,
// and the longest that an accept waited, of the selection and of the acts.
func BenchmarkBulkAct(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l := openIn(b, b.TempDir(), Options{})
		deadMany(b, l, 40_000)
		longest := func(what string, do func()) {
			stop, worst := make(chan struct{}), make(chan time.Duration)
			go func() {
				most := time.Duration(0)
				for {
					select {
					case <-stop:
						worst <- most
						return
					default:
					}
					began := time.Now()
					if _, err := l.Accept(b.Context(), message(`{}`)); err != nil {
						b.Error(err)
					}
					most = max(most, time.Since(began))
				}
			}()
			began := time.Now()
			b.StartTimer()
			do()
			b.StopTimer()
			took := time.Since(began)
			close(stop)
			b.ReportMetric(float64((<-worst).Milliseconds()), what+"-accept-ms")
			b.ReportMetric(40_000/took.Seconds(), what+"/s")
		}
		op := ferry.Operation{ID: ferry.NewID(time.Now()).String(), Act: ferry.ActReplay, CreatedAt: time.Now()}
		longest("select", func() {
			s, err := l.SelectDead(b.Context(), ferry.DeadLetterFilter{}, func(string) string { return "" }, func(*ferry.DeadLetter) bool { return true })
			must0(b, err)
			must0(b, l.StartOperation(b.Context(), op, s))
		})
		longest("replay", func() { carryOn(b, l, op.ID) })
		must0(b, l.Close())
		b.StartTimer()
	}
}
