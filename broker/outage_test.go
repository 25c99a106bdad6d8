package broker

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/queue"
)

// says is a hello with what holds on a route's destination.
func (h *hand) says(route string, nextProbe *time.Time, calls *ferry.Calls, conditions ...ferry.Condition) {
	h.w.t.Helper()
	_, err := h.q.Hello(h.w.t.Context(), queue.Hello{
		Worker: h.name, Inbox: h.inbox, Version: "test",
		Routes: []queue.RouteHello{{Name: route, Bound: 90 * time.Second, Conditions: conditions, NextProbe: nextProbe, Calls: calls}},
	})
	if err != nil {
		h.w.t.Fatal(err)
	}
}

func (w *world) route(name string) ferry.RouteInfo {
	w.t.Helper()
	info, err := w.b.routeInfo(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

// What a worker says of a destination is seen by everybody who asks.
func TestConditionsAreSeen(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send("x")
		since, until := time.Now().UTC(), time.Now().UTC().Add(10*time.Minute)
		unavailable := ferry.Condition{Type: ferry.RouteUnavailable, Since: since, Reason: "3 messages in a row failed alike: 500 SQL_DEADLOCK"}
		throttled := ferry.Condition{Type: ferry.RouteThrottled, Since: since, Until: &until, Reason: "the destination asked for a pause"}
		unauthorized := ferry.Condition{Type: ferry.RouteUnauthorized, Since: since, Until: &until, Reason: "the destination refuses the credentials"}
		for _, c := range []struct {
			conditions []ferry.Condition
			state      ferry.RouteState
			waits      string
			until      bool
			hint       string
		}{
			{[]ferry.Condition{unavailable}, ferry.RouteUnavailable, "unavailable", false, "by itself"},
			{[]ferry.Condition{throttled}, ferry.RouteThrottled, "throttled", true, "rate"},
			{[]ferry.Condition{unauthorized, unavailable}, ferry.RouteUnauthorized, "unauthorized", true, "mend the secret"},
			{nil, ferry.RouteRunning, "turn", false, ""},
		} {
			h.says(orders, &until, &ferry.Calls{Now: 1, Limit: 3, Most: 8}, c.conditions...)
			info := w.route(orders)
			if info.State != c.state || len(info.Conditions) != len(c.conditions) || info.NextProbe == nil || *info.Calls != (ferry.Calls{Now: 1, Limit: 3, Most: 8}) {
				t.Fatalf("%s: %+v", c.state, info)
			}
			if !strings.Contains(info.Hint, c.hint) || (info.Hint == "") != (c.hint == "") {
				t.Errorf("%s: hint %q", c.state, info.Hint)
			}
			for i := range info.Conditions {
				if got := info.Conditions[i]; got.Worker != "one" || got.Reason != c.conditions[i].Reason || !got.Since.Equal(since) {
					t.Errorf("%s: condition %+v", c.state, got)
				}
			}
			e := w.message(id)
			if e.WaitingFor == nil || e.WaitingFor.Reason != c.waits && c.waits != "turn" || (e.WaitingFor.Until != nil) != c.until {
				t.Errorf("%s: waiting for %+v", c.state, e.WaitingFor)
			}
			if m := w.metricsText(); !strings.Contains(m, `ferry_route_concurrency{route="orders"} 3`) ||
				c.state != ferry.RouteRunning && !strings.Contains(m, `ferry_route_condition{condition="`+string(c.state)+`",route="orders"} 1`) {
				t.Errorf("%s: metrics\n%s", c.state, m)
			}
		}
	})
}

func (w *world) metricsText() string {
	r := httptest.NewRecorder()
	w.b.metrics.handler().ServeHTTP(r, httptest.NewRequest("GET", "/metrics", nil))
	return r.Body.String()
}

// A worker that is not heard, and one that says goodbye: since when and why.
func TestWorkerIsGone(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		h := w.worker("one", orders)
		h.hello(orders)
		id := w.send("x")
		heard := time.Now()
		gone := func(reason string, since time.Time) {
			t.Helper()
			synctest.Wait()
			c := w.route(orders).Conditions
			if len(c) != 1 || c[0].Type != ferry.RouteNoWorker || c[0].Reason != reason || !c[0].Since.Equal(since) || c[0].Worker != "one" {
				t.Fatalf("conditions %+v", c)
			}
			if e := w.message(id); e.WaitingFor == nil || e.WaitingFor.Reason != "noWorker" {
				t.Fatalf("waiting for %+v", e.WaitingFor)
			}
			if w.route(orders).Calls != nil || !strings.Contains(w.route(orders).Hint, "machine of one") {
				t.Fatalf("route %+v", w.route(orders))
			}
		}
		time.Sleep(31 * time.Second)
		gone("its worker is silent", heard)

		h.hello(orders)
		if s := w.route(orders).State; s != ferry.RouteRunning {
			t.Fatalf("the route is %s", s)
		}
		goodbye := queue.Hello{Worker: "one", Inbox: "another inbox", Leaving: true}
		if _, err := h.q.Hello(t.Context(), goodbye); err != nil {
			t.Fatal(err)
		}
		if s := w.route(orders).State; s != ferry.RouteRunning {
			t.Fatalf("another inbox said goodbye, and the route is %s", s)
		}
		time.Sleep(time.Second)
		goodbye.Inbox = h.inbox
		if _, err := h.q.Hello(t.Context(), goodbye); err != nil {
			t.Fatal(err)
		}
		gone("its worker was stopped", time.Now())
		h.hello(orders)
		if s := w.route(orders).State; s != ferry.RouteRunning {
			t.Fatalf("it is back, and the route is %s", s)
		}
	})
}
