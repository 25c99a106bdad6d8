package worker

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"ferry"
)

// TestWorkerMetrics: what there is from the first scrape, and what a delivery and a
// destination that is down change.
func TestWorkerMetrics(t *testing.T) {
	inWorld(t, func(w *world) {
		registry := prometheus.NewPedanticRegistry()
		m, err := NewMetrics(registry)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := testutil.GatherAndCount(registry); err != nil || n != 0 {
			t.Errorf("%d metrics before there is a worker, %v", n, err)
		}
		w.metrics = m
		w.run()
		value := func(name string, labels ...string) float64 {
			t.Helper()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				for _, one := range f.Metric {
					var have []string
					for _, l := range one.Label {
						have = append(have, l.GetValue())
					}
					if f.GetName() == name && strings.Join(have, ",") == strings.Join(labels, ",") {
						if one.Counter != nil {
							return one.Counter.GetValue()
						}
						return one.Gauge.GetValue()
					}
				}
			}
			t.Errorf("there is no %s %v", name, labels)
			return -1
		}
		for _, kind := range verdicts() {
			if v := value("ferry_attempts_total", testRoute, string(kind)); v != 0 {
				t.Errorf("%s: %v", kind, v)
			}
		}
		if value("ferry_destination_breaker", "erp", "closed") != 1 || value("ferry_inbox_writable") != 1 || value("ferry_destination_credentials_refused", "erp") != 0 {
			t.Error("all is well, and the metrics say otherwise")
		}
		w.publish(w.handOut())
		w.wantSettled()
		if value("ferry_attempts_total", testRoute, string(ferry.Delivered)) != 1 || value("ferry_deliveries_in_hand", testRoute) != 0 ||
			value("ferry_broker_last_heard_timestamp_seconds") < float64(time.Now().Add(-time.Minute).Unix()) || value("ferry_inbox_size_bytes") <= 0 {
			t.Error("one message was delivered, and the metrics say otherwise")
		}
		problems, err := testutil.GatherAndLint(registry)
		if err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
	})
}
