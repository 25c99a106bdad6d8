package worker

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ferry"
)

// Metrics are a worker's own.
type Metrics struct {
	attempts *prometheus.CounterVec
	duration *prometheus.HistogramVec
	gauges   *gauges
}

// NewMetrics makes the metrics and registers them.
func NewMetrics(into prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ferry_attempts_total",
			Help: "Turns that ended, by what they came to.",
		}, []string{"route", "verdict"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "ferry_delivery_duration_seconds",
			Help:    "How long calls of the destination took.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route"}),
		gauges: newGauges(),
	}
	for _, c := range []prometheus.Collector{m.attempts, m.duration, m.gauges} {
		if err := into.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// watch has the worker's gauges told when somebody asks.
func (m *Metrics) watch(w *Worker) {
	if m != nil {
		m.gauges.worker.Store(w)
	}
}

// verdicts are what turns come to.
func verdicts() []ferry.VerdictKind {
	return []ferry.VerdictKind{
		ferry.Delivered, ferry.Duplicate, ferry.Rejected, ferry.Failed, ferry.Throttled, ferry.Unavailable, ferry.Unauthorized, ferry.Unknown,
		ferry.InProgress, ferry.NotTried, ferry.AlreadyExists, ferry.Expired,
	}
}

// routeMeter holds the metrics of one route, looked up once.
type routeMeter struct {
	duration prometheus.Observer
	attempts func(verdict string) prometheus.Counter

	mu       sync.Mutex
	counters map[ferry.VerdictKind]prometheus.Counter
}

// of makes a route's metrics: each begins at zero, so that its first event is an
// increase.
func (m *Metrics) of(route string) *routeMeter {
	if m == nil {
		return nil
	}
	r := &routeMeter{
		duration: m.duration.WithLabelValues(route),
		attempts: func(verdict string) prometheus.Counter { return m.attempts.WithLabelValues(route, verdict) },
		counters: map[ferry.VerdictKind]prometheus.Counter{},
	}
	for _, kind := range verdicts() {
		r.counters[kind] = r.attempts(string(kind))
	}
	return r
}

func (m *routeMeter) took(d time.Duration) {
	if m != nil {
		m.duration.Observe(d.Seconds())
	}
}

func (m *routeMeter) verdict(kind ferry.VerdictKind) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.counters[kind]
	if !ok {
		c = m.attempts(string(kind))
		m.counters[kind] = c
	}
	c.Inc()
}
