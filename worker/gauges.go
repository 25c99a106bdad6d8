package worker

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ferry/breaker"
)

// gauges are read from the worker when somebody asks.
type gauges struct {
	worker atomic.Pointer[Worker] // nil before there is one

	inHand, concurrency, running, breaker, refused              *prometheus.Desc
	inboxSize, unconfirmed, writable, spool, spooled, connected *prometheus.Desc
	heard, build                                                *prometheus.Desc
}

func newGauges() *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("ferry_"+name, help, labels, nil)
	}
	return &gauges{
		inHand:      desc("deliveries_in_hand", "Messages of the route that the worker has in hand.", "route"),
		concurrency: desc("destination_concurrency", "Calls at a time that the destination is given now.", "destination"),
		running:     desc("destination_calls", "Calls and probes of the destination that are out now.", "destination"),
		breaker:     desc("destination_breaker", "1 for the state that the destination's breaker is in.", "destination", "state"),
		refused:     desc("destination_credentials_refused", "1 while the destination is not called because it refused the credentials.", "destination"),
		inboxSize:   desc("inbox_size_bytes", "Length of the inbox's file."),
		unconfirmed: desc("inbox_unconfirmed", "Results of which the broker has not confirmed that they are on its disk."),
		writable:    desc("inbox_writable", "1 while the inbox can be written; 0: nothing is delivered."),
		spool:       desc("spool_bytes", "Bytes of large bodies that lie on the worker's disk for their calls."),
		spooled:     desc("spool_bodies", "Large bodies that lie on the worker's disk for their calls."),
		connected:   desc("queue_connected", "1 while the connection to the queue stands."),
		heard:       desc("broker_last_heard_timestamp_seconds", "When the broker last answered; 0: not since the worker started."),
		build:       desc("build_info", "1; what runs.", "version"),
	}
}

// Describe leaves the collector unchecked: what it gives depends on the routes.
func (g *gauges) Describe(chan<- *prometheus.Desc) {}

// Collect reads the state of routes, destinations, inbox and connection.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	w := g.worker.Load()
	if w == nil {
		return
	}
	give := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, r := range w.routes {
		give(g.inHand, float64(r.inHand.Load()), r.Name)
	}
	for _, d := range w.dests {
		calls, name := d.calls(), d.opts.Name
		give(g.concurrency, float64(calls.Limit), name)
		give(g.running, float64(calls.Now), name)
		for _, state := range []breaker.State{breaker.Closed, breaker.Open, breaker.HalfOpen} {
			give(g.breaker, one(d.breaker.Snapshot().State == state), name, string(state))
		}
		give(g.refused, one(d.refuses()), name)
	}
	give(g.inboxSize, float64(w.inbox.db.Size()))
	give(g.unconfirmed, float64(w.inbox.unconfirmed()))
	give(g.writable, one(w.inbox.works()))
	files, bytes := w.spool.holds()
	give(g.spooled, float64(files))
	give(g.spool, float64(bytes))
	if connected, known := w.queue.Connected(); known {
		give(g.connected, one(connected))
	}
	w.mu.Lock()
	heard := w.answered
	w.mu.Unlock()
	give(g.heard, unixSeconds(heard))
	give(g.build, 1, w.opts.Version)
}

func one(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// refuses says whether the destination is held because it refused the credentials.
func (d *Dest) refuses() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refusal.holds
}

// works says whether the inbox was written when it last was to be.
func (b *inbox) works() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failing.IsZero() && b.db.Err() == nil
}
