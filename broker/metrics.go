package broker

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"ferry"
	"ferry/internal/disk"
	"ferry/store"
)

// metrics are the broker's, in a registry of its own.
type metrics struct {
	registry *prometheus.Registry

	acceptedTotal   *prometheus.CounterVec
	completedTotal  *prometheus.CounterVec
	deadTotal       *prometheus.CounterVec
	discardedTotal  *prometheus.CounterVec
	duplicatesTotal *prometheus.CounterVec
	refusedTotal    *prometheus.CounterVec
	closedTotal     *prometheus.CounterVec
	attemptsTotal   *prometheus.CounterVec
	claimsTotal     *prometheus.CounterVec
	locksTotal      *prometheus.CounterVec
	intakeTotal     *prometheus.CounterVec
	noticesTotal    *prometheus.CounterVec
	callbacksTotal  *prometheus.CounterVec
	acceptSeconds   prometheus.Histogram
	deliverySeconds *prometheus.HistogramVec
	commitSeconds   prometheus.Histogram
	commitWrites    prometheus.Histogram
}

func newMetrics(b *Broker) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ferry_" + name, Help: help}, labels)
	}
	fast := prometheus.ExponentialBuckets(0.00025, 2, 16) // 0.25 ms to 8 s
	m := &metrics{
		registry:        prometheus.NewRegistry(),
		acceptedTotal:   counter("messages_accepted_total", "Messages accepted, repeats not counted.", "route"),
		completedTotal:  counter("messages_completed_total", "Messages that the destination has.", "route"),
		deadTotal:       counter("messages_dead_lettered_total", "Messages set aside for a person.", "route", "reason"),
		discardedTotal:  counter("messages_discarded_total", "Messages ended by a person.", "route"),
		duplicatesTotal: counter("duplicates_total", "Repeats recognised, by their key or as a flow's.", "route"),
		refusedTotal:    counter("requests_refused_total", "Requests that were refused.", "route", "code"),
		closedTotal:     counter("connections_closed_total", "Connections that were closed to keep within their bounds, by why.", "reason"),
		attemptsTotal:   counter("attempts_total", "Calls of destinations, as receipts told them.", "route", "verdict"),
		claimsTotal:     counter("claims_total", "Claims of routes with several workers, by what became of them.", "route", "answer"),
		locksTotal:      counter("locks_total", "Messages that receivers pulled and locked, by what became of the locks.", "route", "outcome"),
		intakeTotal:     counter("intake_messages_total", "Messages of queues elsewhere, by what became of them.", "route", "outcome"),
		noticesTotal:    counter("notices_total", "Ends of messages for who asked to be told, by what became of them.", "outcome"),
		callbacksTotal:  counter("callbacks_total", "Callbacks, by what became of each try.", "outcome"),
		acceptSeconds:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ferry_accept_duration_seconds", Help: "From the request to its answer, on disk.", Buckets: fast}),
		deliverySeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ferry_delivery_duration_seconds", Help: "From acceptance to completion.", Buckets: prometheus.ExponentialBuckets(0.005, 4, 12)}, []string{"route"}),
		commitSeconds:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ferry_ledger_commit_duration_seconds", Help: "Of one group commit.", Buckets: fast}),
		commitWrites:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ferry_ledger_commit_writes", Help: "Writes that shared one group commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
	}
	m.registry.MustRegister(m.acceptedTotal, m.completedTotal, m.deadTotal, m.discardedTotal, m.duplicatesTotal, m.refusedTotal,
		m.closedTotal, m.attemptsTotal, m.claimsTotal, m.locksTotal, m.intakeTotal, m.noticesTotal, m.callbacksTotal, m.acceptSeconds, m.deliverySeconds, m.commitSeconds, m.commitWrites, &gauges{b})
	m.registry.MustRegister(b.opts.Collectors...)
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
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

func (m *metrics) receipt(rc *ferry.Receipt, out *store.Outcome) {
	for range rc.Attempts {
		m.attemptsTotal.WithLabelValues(out.Route, string(rc.Verdict)).Inc()
	}
	if !out.Applied {
		return
	}
	switch out.State {
	case ferry.StateCompleted:
		m.completedTotal.WithLabelValues(out.Route).Inc()
		m.deliverySeconds.WithLabelValues(out.Route).Observe(time.Since(out.Created).Seconds())
	case ferry.StateDeadLettered:
		m.deadTotal.WithLabelValues(out.Route, string(out.Reason)).Inc()
	}
}

func (m *metrics) acted(e *ferry.Envelope) {
	switch e.State {
	case ferry.StateCompleted:
		m.completedTotal.WithLabelValues(e.Route).Inc()
	case ferry.StateDiscarded:
		m.discardedTotal.WithLabelValues(e.Route).Inc()
	}
}

func (m *metrics) expired(route string, n int) {
	m.deadTotal.WithLabelValues(route, string(ferry.ReasonExpired)).Add(float64(n))
}

// RequestRefused counts a refused request; route is "" when it named none.
func (b *Broker) RequestRefused(route string, code ferry.Code) {
	if _, ok := b.route(route); !ok {
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

// gauges are read from the ledger when somebody asks.
type gauges struct{ b *Broker }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ferry_"+name, help, labels, nil)
}

// Describe leaves the collector unchecked: what it gives depends on the routes.
func (g *gauges) Describe(chan<- *prometheus.Desc) {}

// Collect reads the state of every route, the workers and the disk.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	b := g.b
	if b.ledger == nil {
		return
	}
	give := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	var lag float64
	for _, name := range b.names() {
		info, err := b.routeInfo(name)
		if err != nil {
			continue
		}
		give(desc("messages_pending", "Messages that wait for their end.", "route"), float64(info.Pending), name)
		give(desc("messages_parked", "Messages that wait behind another of their ordering key.", "route"), float64(info.Parked), name)
		give(desc("messages_awaiting", "Messages that the destination took, to say later what became of them.", "route"), float64(info.Awaiting), name)
		for reason, n := range info.ByReason {
			give(desc("dead_letters", "Messages set aside now.", "route", "reason"), float64(n), name, string(reason))
		}
		age := 0.0
		if info.OldestPending != nil {
			age = time.Since(*info.OldestPending).Seconds()
		}
		give(desc("oldest_pending_age_seconds", "Age of the oldest pending message.", "route"), age, name)
		for _, state := range ferry.RouteStates() {
			holds := 0.0
			for _, c := range info.Conditions {
				// What only some of several workers say is no alarm.
				if c.Type == state && (!info.Several || c.Worker == "" || info.State == state) {
					holds = 1
				}
			}
			give(desc("route_condition", "1 while the condition holds.", "route", "condition"), holds, name, string(state))
		}
		if info.Calls != nil {
			give(desc("route_concurrency", "Calls at a time that the route's destination is given now, as its worker last told.", "route"), float64(info.Calls.Limit), name)
		}
		if info.Intake != nil {
			runs := 0.0
			if info.Intake.State == ferry.IntakeRunning {
				runs = 1
			}
			give(desc("intake_running", "1 while messages are taken in from the route's queue elsewhere.", "route"), runs, name)
		}
		give(desc("notices_waiting", "Ends of messages that wait to be told to who asked.", "route"), float64(info.Replies), name)
		if info.Pending > int64(info.InQueue) && info.State == ferry.RouteRunning && !info.Pull { // receivers come when they are ready
			lag = max(lag, age)
		}
	}
	give(desc("relay_lag_seconds", "Age of the oldest message that a running route has not handed out."), lag)
	for _, w := range b.workerInfos() {
		if w.LastSeen != nil {
			give(desc("worker_last_seen_timestamp_seconds", "When the worker was last heard.", "worker"), float64(w.LastSeen.UnixMilli())/1000, w.Name)
		}
	}
	if c := b.certificate(); c != nil {
		give(desc("certificate_expiry_timestamp_seconds", "When the certificate of the listener ends."), float64(c.NotAfter.Unix()))
		unused := 0.0
		if c.Problem != "" {
			unused = 1
		}
		give(desc("certificate_reload_failed", "1 while the files of the certificate changed and cannot be used."), unused)
	}
	give(desc("ledger_size_bytes", "Length of the ledger's file."), float64(b.ledger.Size()))
	if free, err := disk.Free(b.opts.DataDir); err == nil {
		give(desc("disk_free_bytes", "Free bytes on the ledger's disk."), float64(free))
	}
	give(desc("build_info", "1; what runs.", "version", "schema"), 1, b.opts.Version, strconv.Itoa(store.SchemaVersion()))
}
