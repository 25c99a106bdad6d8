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
	calls    *callsGauge
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
	}
	m.calls = &callsGauge{desc: prometheus.NewDesc(concurrencyName, "Calls at a time that the destination is given now.", []string{"destination"}, nil)}
	for _, c := range []prometheus.Collector{m.attempts, m.duration, m.calls} {
		if err := into.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

const concurrencyName = "ferry_destination_concurrency"

// callsGauge tells, when somebody asks, how many calls at a time the
// destinations are given.
type callsGauge struct {
	desc *prometheus.Desc

	mu    sync.Mutex
	dests []*Dest
}

// Describe gives the one metric.
func (g *callsGauge) Describe(out chan<- *prometheus.Desc) { out <- g.desc }

// Collect reads the limit of every destination.
func (g *callsGauge) Collect(out chan<- prometheus.Metric) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range g.dests {
		out <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(d.calls().Limit), d.opts.Name)
	}
}

// watch adds a destination to what is measured.
func (m *Metrics) watch(d *Dest) {
	if m == nil {
		return
	}
	m.calls.mu.Lock()
	defer m.calls.mu.Unlock()
	m.calls.dests = append(m.calls.dests, d)
}

// routeMeter holds the metrics of one route, looked up once.
type routeMeter struct {
	duration prometheus.Observer
	attempts func(verdict string) prometheus.Counter

	mu       sync.Mutex
	counters map[ferry.VerdictKind]prometheus.Counter
}

func (m *Metrics) of(route string) *routeMeter {
	if m == nil {
		return nil
	}
	return &routeMeter{
		duration: m.duration.WithLabelValues(route),
		attempts: func(verdict string) prometheus.Counter { return m.attempts.WithLabelValues(route, verdict) },
		counters: map[ferry.VerdictKind]prometheus.Counter{},
	}
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
