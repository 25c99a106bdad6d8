package broker

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"ferry"
	"ferry/store"
)

// metrics are the broker's, in a registry of its own: counters, which are counted
// where something happens, and gauges, which are read when somebody asks.
type metrics struct {
	b        *Broker
	registry *prometheus.Registry
	counters

	mu    sync.Mutex
	knows *table          // whose routes have their counters
	shown map[string]bool // by route: those that have
}

func newMetrics(b *Broker) *metrics {
	m := &metrics{b: b, registry: prometheus.NewRegistry(), counters: newCounters()}
	m.registry.MustRegister(m.all()...)
	m.registry.MustRegister(newGauges(b), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(b.opts.Collectors...)
	return m
}

// Gather gives all metrics. Every route that is configured has its counters, from
// zero, so that the first event of a kind is an increase; a removed one has none, once
// it holds nothing.
func (m *metrics) Gather() ([]*dto.MetricFamily, error) {
	m.mu.Lock()
	now := m.b.table.Load()
	shown := map[string]bool{}
	var gone []string
	for name, r := range now.routes {
		if m.b.isOver(r) { // and its last messages were counted meanwhile
			gone = append(gone, name)
			continue
		}
		shown[name] = true
		if now != m.knows || !m.shown[name] {
			m.begin(&r.Route, m.b.opts.Intake(name) != nil)
		}
	}
	for name := range m.shown {
		if _, ok := now.routes[name]; !ok {
			gone = append(gone, name)
		}
	}
	m.forget(gone)
	m.knows, m.shown = now, shown
	m.mu.Unlock()
	return m.registry.Gather()
}

// isOver says of a route that was taken out of the configuration that it holds nothing
// that somebody must look after.
func (b *Broker) isOver(r *route) bool {
	if !r.Retired {
		return false
	}
	in, err := b.ledger.Route(r.Name)
	return err == nil && waitsOrDead(&in) == 0
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m, promhttp.HandlerOpts{})
}

func (m *metrics) accepted(a ferry.Accepted) {
	if a.Duplicate {
		m.duplicatesTotal.WithLabelValues(a.Route).Inc()
		return
	}
	if a.Revision == 0 {
		m.acceptedTotal.WithLabelValues(a.Route).Inc()
	}
}

// ended counts the ends of messages, whatever brought them about: the ledger tells
// of each once, after its commit.
func (m *metrics) ended(ends []store.End) {
	for i := range ends {
		switch e := &ends[i]; e.State {
		case ferry.StateCompleted:
			m.completedTotal.WithLabelValues(e.Route).Inc()
			m.deliverySeconds.WithLabelValues(e.Route).Observe(time.Since(e.Created).Seconds())
		case ferry.StateDeadLettered:
			m.deadTotal.WithLabelValues(e.Route, string(e.Reason)).Inc()
		case ferry.StateDiscarded:
			m.discardedTotal.WithLabelValues(e.Route).Inc()
		}
	}
}

// receipt counts the call that a receipt tells of, the first time that it does.
func (m *metrics) receipt(rc *ferry.Receipt, out *store.Outcome) {
	if !out.Called || len(rc.Attempts) == 0 {
		return
	}
	m.attemptsTotal.WithLabelValues(out.Route, verdictLabel(rc.Attempts[0].Verdict)).Inc()
}

func (m *metrics) claim(route, answer string) { m.claimsTotal.WithLabelValues(route, answer).Inc() }

func (m *metrics) lock(route, outcome string) { m.locksTotal.WithLabelValues(route, outcome).Inc() }

func (m *metrics) notices(outcome string, n int) {
	m.noticesTotal.WithLabelValues(outcome).Add(float64(n))
}

func (m *metrics) callbacks(outcome string, n int) {
	m.callbacksTotal.WithLabelValues(outcome).Add(float64(n))
}

func (m *metrics) commit(took time.Duration, writes int) {
	m.commitSeconds.Observe(took.Seconds())
	m.commitWrites.Observe(float64(writes))
}

// RequestRefused counts a refused request; route is "" when it named none.
func (b *Broker) RequestRefused(route string, code ferry.Code) {
	if r, ok := b.route(route); !ok || b.isOver(r) {
		route = "" // names that senders invent must not become series
	}
	b.metrics.refusedTotal.WithLabelValues(route, string(code)).Inc()
}

// ConnectionClosed counts a connection that was closed to keep within the bounds of
// connections.
func (b *Broker) ConnectionClosed(reason string) { b.metrics.closedTotal.WithLabelValues(reason).Inc() }

// IntakeDone counts messages of a queue elsewhere by what became of them.
func (b *Broker) IntakeDone(route, outcome string, n int) {
	b.metrics.intakeTotal.WithLabelValues(route, outcome).Add(float64(n))
}

// ObserveAccept notes how long a request took that was accepted.
func (b *Broker) ObserveAccept(d time.Duration) { b.metrics.acceptSeconds.Observe(d.Seconds()) }
