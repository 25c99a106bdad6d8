package broker

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"ferry"
)

// counters are what is counted where it happens.
type counters struct {
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
	toldTotal       *prometheus.CounterVec
	acceptSeconds   prometheus.Histogram
	deliverySeconds *prometheus.HistogramVec
	commitSeconds   prometheus.Histogram
	commitWrites    prometheus.Histogram
}

func newCounters() counters {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ferry_" + name, Help: help}, labels)
	}
	fast := prometheus.ExponentialBuckets(0.00025, 2, 16) // 0.25 ms to 8 s
	c := counters{
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
		toldTotal:       counter("operator_events_total", "What operators were told of, by event; one for each event, however many hear it.", "event"),
		acceptSeconds:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ferry_accept_duration_seconds", Help: "From the request to its answer, on disk.", Buckets: fast}),
		deliverySeconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ferry_delivery_duration_seconds", Help: "From acceptance to completion.", Buckets: prometheus.ExponentialBuckets(0.005, 4, 12)}, []string{"route"}),
		commitSeconds:   prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ferry_ledger_commit_duration_seconds", Help: "Of one group commit.", Buckets: fast}),
		commitWrites:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ferry_ledger_commit_writes", Help: "Writes that shared one group commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 11)}),
	}
	for _, outcome := range []string{"told", "failed", "givenUp", "dropped"} {
		c.callbacksTotal.WithLabelValues(outcome)
	}
	for _, outcome := range []string{"told", "failed", "givenUp", "lost"} {
		c.noticesTotal.WithLabelValues(outcome)
	}
	for _, reason := range []string{"idle", "full", "address"} {
		c.closedTotal.WithLabelValues(reason)
	}
	for _, event := range ferry.OperatorEventTypes() {
		c.toldTotal.WithLabelValues(string(event))
	}
	for _, code := range watchedCodes() {
		c.refusedTotal.WithLabelValues("", string(code))
	}
	return c
}

// all lists them for the registry.
func (c *counters) all() []prometheus.Collector {
	list := []prometheus.Collector{c.acceptSeconds, c.deliverySeconds, c.commitSeconds, c.commitWrites}
	for _, vec := range c.vectors() {
		list = append(list, vec)
	}
	return list
}

func (c *counters) vectors() []*prometheus.CounterVec {
	return []*prometheus.CounterVec{
		c.acceptedTotal, c.completedTotal, c.deadTotal, c.discardedTotal, c.duplicatesTotal, c.refusedTotal, c.closedTotal,
		c.attemptsTotal, c.claimsTotal, c.locksTotal, c.intakeTotal, c.noticesTotal, c.callbacksTotal, c.toldTotal,
	}
}

// watchedCodes are the refusals that somebody may have an alert for: these begin at
// zero. The others, some ninety, come with the first of their kind.
func watchedCodes() []ferry.Code {
	return []ferry.Code{
		ferry.CodeUnauthenticated, ferry.CodeForbidden, ferry.CodeInvalid, ferry.CodeTooLarge, ferry.CodeKeyReused,
		ferry.CodeTooManyRequests, ferry.CodeQuotaExceeded, ferry.CodeNoSpace, ferry.CodeLedgerUnavailable,
	}
}

// calledAs are the verdicts that a call can end with.
func calledAs() []ferry.VerdictKind {
	return []ferry.VerdictKind{
		ferry.Delivered, ferry.Duplicate, ferry.Rejected, ferry.Failed, ferry.Throttled, ferry.Unavailable, ferry.Unauthorized, ferry.Unknown, ferry.InProgress,
	}
}

// verdictLabel holds a verdict to those that there are: a worker says it.
func verdictLabel(kind ferry.VerdictKind) string {
	if slices.Contains(calledAs(), kind) {
		return string(kind)
	}
	return string(ferry.Unknown)
}

// begin makes the counters of a route, at zero.
func (c *counters) begin(r *ferry.Route, intake bool) {
	name := r.Name
	for _, vec := range []*prometheus.CounterVec{c.acceptedTotal, c.completedTotal, c.discardedTotal, c.duplicatesTotal} {
		vec.WithLabelValues(name)
	}
	c.deliverySeconds.WithLabelValues(name)
	for _, reason := range ferry.Reasons() {
		c.deadTotal.WithLabelValues(name, string(reason))
	}
	for _, code := range watchedCodes() {
		c.refusedTotal.WithLabelValues(name, string(code))
	}
	for _, kind := range calledAs() {
		c.attemptsTotal.WithLabelValues(name, string(kind))
	}
	if r.Several {
		for _, answer := range []string{"granted", "held", "refused", "takenOver"} {
			c.claimsTotal.WithLabelValues(name, answer)
		}
	}
	if r.Pull {
		for _, outcome := range []string{"received", "completed", "rejected", "unlocked", "renewed", "lapsed"} {
			c.locksTotal.WithLabelValues(name, outcome)
		}
	}
	if intake {
		for _, outcome := range []string{"accepted", "duplicate", "deadLettered", "returned"} {
			c.intakeTotal.WithLabelValues(name, outcome)
		}
	}
}

// forget removes the counters of routes that are no longer configured.
func (c *counters) forget(routes []string) {
	for _, name := range routes {
		route := prometheus.Labels{"route": name}
		for _, vec := range c.vectors() {
			vec.DeletePartialMatch(route)
		}
		c.deliverySeconds.DeletePartialMatch(route)
	}
}
