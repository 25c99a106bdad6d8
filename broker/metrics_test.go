package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"ferry"
	"ferry/queue"
)

// exposed is what a scrape shows: values by name and labels, histograms by their count.
func (w *world) exposed() map[string]float64 {
	w.t.Helper()
	families, err := w.b.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	seen := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetValue())
			}
			seen[strings.TrimPrefix(f.GetName(), "ferry_")+"{"+strings.Join(labels, ",")+"}"] = valueOf(m)
		}
	}
	return seen
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	default:
		return float64(m.Histogram.GetSampleCount())
	}
}

// changed is what is not zero and differs from before, of what the test is about.
func changed(before, now map[string]float64, about ...string) []string {
	var list []string
	for name, v := range now {
		of, _, _ := strings.Cut(name, "{")
		if v != before[name] && slices.Contains(about, of) {
			list = append(list, fmt.Sprintf("%s %+g", name, v-before[name]))
		}
	}
	slices.Sort(list)
	return list
}

// TestMetricsBeginAtZero: whatever can happen to a route is there from the first
// scrape, or its first event would be no increase.
func TestMetricsBeginAtZero(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		seen := w.exposed()
		for _, route := range []string{orders, notes, "pulled", "many"} {
			want := []string{
				"messages_accepted_total{%s}", "messages_completed_total{%s}", "messages_discarded_total{%s}", "duplicates_total{%s}",
				"messages_pending{%s}", "messages_parked{%s}", "oldest_pending_age_seconds{%s}", "delivery_duration_seconds{%s}",
			}
			for _, reason := range ferry.Reasons() {
				want = append(want, "messages_dead_lettered_total{"+string(reason)+",%s}", "dead_letters{"+string(reason)+",%s}")
			}
			for _, state := range ferry.RouteStates() {
				if state != ferry.RouteNoWorker {
					want = append(want, "route_condition{"+string(state)+",%s}")
				}
			}
			for _, kind := range calledAs() {
				want = append(want, "attempts_total{%s,"+string(kind)+"}")
			}
			for _, code := range watchedCodes() {
				want = append(want, "requests_refused_total{"+string(code)+",%s}")
			}
			for _, name := range want {
				if v, ok := seen[fmt.Sprintf(name, route)]; !ok || v != 0 {
					t.Errorf("%s: %v, %v", fmt.Sprintf(name, route), v, ok)
				}
			}
			if seen["route_condition{noWorker,"+route+"}"] != 1 {
				t.Errorf("nobody delivers %s yet", route)
			}
		}
		for _, name := range []string{
			"accept_duration_seconds{}", "relay_lag_seconds{}", "callbacks_total{told}", "callbacks_total{givenUp}", "notices_total{lost}",
			"claims_total{takenOver,many}", "locks_total{lapsed,pulled}", "operator_events_total{workerLost}", "connections_closed_total{full}",
		} {
			if v, ok := seen[name]; !ok || v != 0 {
				t.Errorf("%s: %v, %v", name, v, ok)
			}
		}
		for _, name := range []string{"ledger_size_bytes{}", "disk_free_bytes{}", "ledger_writable{}", "queue_reachable{}", "clock_timestamp_seconds{}"} {
			if seen[name] <= 0 {
				t.Errorf("%s: %v", name, seen[name])
			}
		}
		if _, ok := seen["go_goroutines{}"]; !ok {
			t.Error("nothing of the process itself")
		}
		problems, err := promlint.NewWithMetricFamilies(must(w.b.metrics.Gather())).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
	}, func(o *Options) {
		o.Routes = append(o.Routes, ferry.Route{Name: "pulled", Pull: true}, ferry.Route{Name: "many", Several: true})
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestMetricsOfEveryStep drives a broker through all that can become of a message,
// and holds the counters to it.
func TestMetricsOfEveryStep(t *testing.T) {
	counters := []string{
		"messages_accepted_total", "messages_completed_total", "messages_dead_lettered_total", "messages_discarded_total", "duplicates_total",
		"attempts_total", "dead_letters", "messages_pending", "messages_parked", "delivery_duration_seconds", "requests_refused_total",
	}
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("erp", orders)
		h.hello(orders)
		var id, other ferry.ID
		set := func(m *ferry.Message) { m.IdempotencyKey = "k1" }
		kill := func() {
			id = w.send(`{}`)
			h.hello(orders)
			h.report(h.takeOne(orders), ferry.Rejected, rejected())
		}
		var receipt ferry.Receipt
		steps := []struct {
			name string
			do   func()
			want []string
		}{
			{"accepted", func() { id = w.send(`{}`, set) }, []string{"messages_accepted_total{orders} +1", "messages_pending{orders} +1"}},
			{"a repeat", func() { w.send(`{}`, set) }, []string{"duplicates_total{orders} +1"}},
			{"an attempt that failed", func() { h.report(h.takeOne(orders), ferry.Failed, retryAfter(time.Second)) }, []string{"attempts_total{orders,failed} +1"}},
			{"completed", func() {
				time.Sleep(2 * time.Second)
				h.hello(orders)
				d := h.takeOne(orders)
				receipt = h.receipt(d, ferry.Delivered, done())
				h.report(d, ferry.Delivered, done())
			}, []string{"attempts_total{orders,delivered} +1", "delivery_duration_seconds{orders} +1", "messages_completed_total{orders} +1", "messages_pending{orders} -1"}},
			{"its receipt once more", func() { h.tell(receipt) }, nil},
			{"dead-lettered", kill, []string{
				"attempts_total{orders,rejected} +1", "dead_letters{Rejected,orders} +1", "messages_accepted_total{orders} +1", "messages_dead_lettered_total{Rejected,orders} +1",
			}},
			{"discarded", func() { must(w.b.Discard(t.Context(), id, "gone", "ada")) }, []string{"dead_letters{Rejected,orders} -1", "messages_discarded_total{orders} +1"}},
			{"restored", func() { must(w.b.Restore(t.Context(), id, "after all", "ada")) }, []string{"dead_letters{Rejected,orders} +1", "messages_dead_lettered_total{Rejected,orders} +1"}},
			{"accepted as there", func() { must(w.b.AcceptDeadLetter(t.Context(), id, "INV-1", "seen", "ada")) }, []string{
				"dead_letters{Rejected,orders} -1", "delivery_duration_seconds{orders} +1", "messages_completed_total{orders} +1",
			}},
			{"one more", kill, []string{
				"attempts_total{orders,rejected} +1", "dead_letters{Rejected,orders} +1", "messages_accepted_total{orders} +1", "messages_dead_lettered_total{Rejected,orders} +1",
			}},
			{"replayed in bulk, and dead again", func() {
				must(w.b.Bulk(t.Context(), "replay", ferry.BulkRequest{IDs: []ferry.ID{id}}, "ada"))
				time.Sleep(time.Second)
				h.hello(orders)
				h.report(h.takeOne(orders), ferry.Rejected, rejected())
			}, []string{"attempts_total{orders,rejected} +1", "messages_dead_lettered_total{Rejected,orders} +1"}},
			{"discarded in bulk", func() {
				must(w.b.Bulk(t.Context(), "discard", ferry.BulkRequest{IDs: []ferry.ID{id}, Note: "gone"}, "ada"))
				time.Sleep(time.Second)
			}, []string{"dead_letters{Rejected,orders} -1", "messages_discarded_total{orders} +1"}},
			{"expired", func() {
				h.hello(orders)
				w.send(`{}`, func(m *ferry.Message) { m.DeliverAt, m.TimeToLive = time.Now().Add(time.Hour), time.Minute })
				time.Sleep(3 * time.Minute)
			}, []string{"dead_letters{Expired,orders} +1", "messages_accepted_total{orders} +1", "messages_dead_lettered_total{Expired,orders} +1"}},
			{"confirmed by its destination", func() {
				id = w.send(`{}`)
				h.hello(orders)
				h.report(h.takeOne(orders), ferry.InProgress, ferry.Next{Do: ferry.DoRetry, Awaits: true, After: time.Hour}, func(rc *ferry.Receipt) { rc.Effect = ferry.EffectMaybe })
				if _, _, err := w.b.Confirm(t.Context(), id, ferry.CallOf{}, ferry.Confirmation{Delivered: true, Reference: "INV-2"}, "erp", false); err != nil {
					t.Fatal(err)
				}
			}, []string{"attempts_total{orders,inProgress} +1", "delivery_duration_seconds{orders} +1", "messages_accepted_total{orders} +1", "messages_completed_total{orders} +1"}},
			{"pulled and completed", func() {
				w.send(`{}`, func(m *ferry.Message) { m.Route = "pulled" })
				got := must(w.b.Receive(t.Context(), "pulled", "till", 0, false))
				_ = got.Body.Close()
				must(w.b.SettleLock(t.Context(), ferry.LockSettle{Route: "pulled", Message: got.ID.String(), Lock: got.Lock, Do: ferry.LockComplete, By: "till"}))
			}, []string{"attempts_total{pulled,delivered} +1", "delivery_duration_seconds{pulled} +1", "messages_accepted_total{pulled} +1", "messages_completed_total{pulled} +1"}},
			{"parked behind another", func() {
				key := func(m *ferry.Message) { m.Route, m.OrderingKey = notes, "a" }
				id, other = w.send(`{}`, key), w.send(`{}`, key)
			}, []string{"messages_accepted_total{notes} +2", "messages_parked{notes} +1", "messages_pending{notes} +2"}},
			{"refused, on a route and on none", func() {
				w.b.RequestRefused(orders, ferry.CodeTooLarge)
				w.b.RequestRefused("made-up", ferry.CodeTooLarge)
			}, []string{"requests_refused_total{tooLarge,orders} +1", "requests_refused_total{tooLarge,} +1"}},
		}
		for _, s := range steps {
			before := w.exposed()
			s.do()
			synctest.Wait()
			now := w.exposed()
			if diff := cmp.Diff(s.want, changed(before, now, counters...)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", s.name, diff)
			}
			for name, v := range before {
				if of, _, _ := strings.Cut(name, "{"); strings.HasSuffix(of, "_total") && now[name] < v {
					t.Errorf("%s: %s fell from %v to %v", s.name, name, v, now[name])
				}
			}
		}
		_ = other
		w.balanced()
	}, func(o *Options) { o.Routes = append(o.Routes, ferry.Route{Name: "pulled", Pull: true}) })
}

// TestMetricsOfRemovedRoutes: a route that was taken out of the configuration is shown
// while it holds something, and then no more.
func TestMetricsOfRemovedRoutes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("erp", orders)
		h.hello(orders)
		id := w.send(`{}`)
		if seen := w.exposed(); seen["messages_accepted_total{orders}"] != 1 || seen["messages_pending{orders}"] != 1 {
			t.Fatalf("%v", seen)
		}
		hidden := func(what string) {
			t.Helper()
			w.b.RequestRefused(orders, ferry.CodeRouteRetired)
			for name := range w.exposed() {
				if strings.Contains(name, orders) {
					t.Errorf("%s: %s is shown", what, name)
				}
			}
		}
		w.reconfigure(only(notes))
		if seen := w.exposed(); seen["messages_pending{orders}"] != 1 || seen["messages_accepted_total{orders}"] != 1 {
			t.Errorf("it holds a message: %v", seen)
		}
		h.report(h.takeOne(orders), ferry.Rejected, rejected())
		if seen := w.exposed(); seen["messages_dead_lettered_total{Rejected,orders}"] != 1 || seen["dead_letters{Rejected,orders}"] != 1 {
			t.Errorf("it holds a dead letter: %v", seen)
		}
		must(w.b.Discard(t.Context(), id, "gone", "ada"))
		hidden("it holds nothing")
		must(w.b.Restore(t.Context(), id, "after all", "ada"))
		if seen := w.exposed(); seen["dead_letters{Rejected,orders}"] != 1 {
			t.Errorf("its dead letter came back: %v", seen)
		}
		if v, ok := w.exposed()["messages_accepted_total{orders}"]; !ok || v != 0 {
			t.Errorf("its counters begin again: %v, %v", v, ok)
		}
		must(w.b.Discard(t.Context(), id, "gone", "ada"))
		time.Sleep(retiredFor)
		w.reconfigure(only(notes))
		hidden("long ago")
		w.reconfigure(only(notes, orders))
		if v, ok := w.exposed()["messages_accepted_total{orders}"]; !ok || v != 0 {
			t.Errorf("it is back: %v, %v", v, ok)
		}
	})
}

// TestWorkersThatAreMissed: a worker that was stopped in order is not shown as silent;
// one that a route waits for is, also when the broker restarted since.
func TestWorkersThatAreMissed(t *testing.T) {
	const erp, idle = "worker_last_seen_timestamp_seconds{erp}", "worker_last_seen_timestamp_seconds{idle}"
	for name, change := range map[string]func(*Options){
		"nobody is told": func(*Options) {}, "operators are told": (&pager{ids: map[string]int{}, free: 1 << 40}).options,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				seen := func(what string, want time.Time) {
					t.Helper()
					now := w.exposed()
					if v, ok := now[erp]; ok == want.IsZero() || ok && v != float64(want.Unix()) {
						t.Errorf("%s: seen at %v (%v), want %s", what, v, ok, want)
					}
					if v, ok := now[idle]; ok {
						t.Errorf("%s: a worker that no route waits for, and that was never heard, was seen at %v", what, v)
					}
				}
				h := w.worker("erp", orders)
				w.worker("idle", notes)
				seen("never heard", time.Time{})
				h.hello(orders)
				at := time.Now()
				time.Sleep(time.Hour)
				seen("silent", at)
				w.restart(change)
				h = w.worker("erp", orders)
				at = time.Now()
				time.Sleep(time.Hour)
				seen("silent since before the start", at)
				h.hello(orders)
				seen("back", time.Now())
				if _, err := h.q.Hello(t.Context(), queue.Hello{Worker: "erp", Inbox: h.inbox, Leaving: true}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Hour)
				seen("stopped", time.Time{})
				w.restart(change)
				at = time.Now()
				time.Sleep(time.Hour)
				if name == "operators are told" {
					at = time.Time{} // who watches for them has noted it
				}
				seen("stopped before the start", at)
				if _, err := w.b.RevokeWorker(t.Context(), "erp", "gone", "test"); err != nil {
					t.Fatal(err)
				}
				seen("revoked", time.Time{})
			}, change)
		})
	}
}

// TestRelayLag: what is due and held by nothing, from when it was due.
func TestRelayLag(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		lag := func(want time.Duration) {
			t.Helper()
			synctest.Wait()
			if got := w.exposed()["relay_lag_seconds{}"]; got != want.Seconds() {
				t.Errorf("a lag of %v s, want %s", got, want)
			}
		}
		w.send(`{}`)
		time.Sleep(time.Minute)
		lag(0) // nobody delivers it
		h := w.worker("erp", orders)
		h.hello(orders)
		lag(0)
		for range 5 { // more than the window
			w.send(`{}`)
		}
		w.send(`{}`, func(m *ferry.Message) { m.DeliverAt = time.Now().Add(time.Hour) })
		time.Sleep(20 * time.Second)
		lag(0) // the queue has as many as it may
		if _, err := w.b.Pause(t.Context(), orders, "month end", time.Time{}, "ada"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		h.hello(orders)
		for _, d := range h.take(orders, 10) {
			h.report(d, ferry.Delivered, done())
		}
		lag(0) // paused
		if _, err := w.b.Resume(t.Context(), orders, "", "ada"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		lag(0)
		r, _ := w.b.route(orders)
		r.relay.mu.Lock()
		clear(r.relay.out) // as if the queue took nothing
		r.relay.mu.Unlock()
		time.Sleep(7 * time.Second)
		h.hello(orders)
		if got := w.exposed()["relay_lag_seconds{}"]; got < 30 || got > 60 { // since the first of those that were not handed out
			t.Errorf("a lag of %v s", got)
		}
	})
}
