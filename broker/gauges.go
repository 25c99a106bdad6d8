package broker

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ferry"
	"ferry/internal/disk"
	"ferry/store"
)

// gauges are read from the ledger when somebody asks.
type gauges struct {
	b *Broker

	pending, parked, awaiting, dead, oldest, condition, concurrency, intake, waiting *prometheus.Desc // of routes
	lag, lastSeen, certificate, unused, writable, queue, size, free, clock, build    *prometheus.Desc
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ferry_"+name, help, labels, nil)
}

func newGauges(b *Broker) *gauges {
	return &gauges{
		b:           b,
		pending:     desc("messages_pending", "Messages that wait for their end.", "route"),
		parked:      desc("messages_parked", "Messages that wait behind another of their ordering key.", "route"),
		awaiting:    desc("messages_awaiting", "Messages that the destination took, to say later what became of them.", "route"),
		dead:        desc("dead_letters", "Messages set aside now.", "route", "reason"),
		oldest:      desc("oldest_pending_age_seconds", "For how long the message has waited that has waited longest, since it was to be delivered first.", "route"),
		condition:   desc("route_condition", "1 while the condition holds.", "route", "condition"),
		concurrency: desc("route_concurrency", "Calls at a time that the route's destination is given now, as its worker last told.", "route"),
		intake:      desc("intake_running", "1 while messages are taken in from the route's queue elsewhere.", "route"),
		waiting:     desc("notices_waiting", "Ends of messages that wait to be told to who asked.", "route"),
		lag:         desc("relay_lag_seconds", "For how long the message has been due that should have been handed out and was not, though nothing holds it."),
		lastSeen:    desc("worker_last_seen_timestamp_seconds", "When the worker was last heard, or the broker started since, of workers that should be heard.", "worker"),
		certificate: desc("certificate_expiry_timestamp_seconds", "When the certificate of the listener ends."),
		unused:      desc("certificate_reload_failed", "1 while the files of the certificate changed and cannot be used."),
		writable:    desc("ledger_writable", "1 while the ledger can write; 0: senders are refused."),
		queue:       desc("queue_reachable", "1 while the queue answers; 0: messages are accepted and wait."),
		size:        desc("ledger_size_bytes", "Length of the ledger's file."),
		free:        desc("disk_free_bytes", "Free bytes on the ledger's disk."),
		clock:       desc("clock_timestamp_seconds", "What the broker's clock says now, to be held against that of who asks."),
		build:       desc("build_info", "1; what runs.", "version", "schema"),
	}
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
	now := time.Now()
	var lag time.Duration
	for _, name := range b.names() {
		info, err := b.routeInfo(name)
		if err != nil || info.Retired && info.Pending+info.DeadLetters == 0 {
			continue // nothing is left to tell of it
		}
		g.route(&info, now, give)
		lag = max(lag, b.relayLag(&info, now))
	}
	give(g.lag, lag.Seconds())
	for name, at := range b.expected() {
		give(g.lastSeen, float64(at.UnixMilli())/1000, name)
	}
	if c := b.certificate(); c != nil {
		give(g.certificate, float64(c.NotAfter.Unix()))
		give(g.unused, one(c.Problem != ""))
	}
	give(g.writable, one(b.ledger.Err() == nil && !b.ledger.Full()))
	give(g.queue, one(b.away.problem() == ""))
	give(g.size, float64(b.ledger.Size()))
	if free, err := disk.Free(b.opts.DataDir); err == nil {
		give(g.free, float64(free))
	}
	give(g.clock, float64(now.UnixMilli())/1000)
	give(g.build, 1, b.opts.Version, strconv.Itoa(store.SchemaVersion()))
}

// route gives what is known of one.
func (g *gauges) route(info *ferry.RouteInfo, now time.Time, give func(*prometheus.Desc, float64, ...string)) {
	name := info.Name
	give(g.pending, float64(info.Pending), name)
	give(g.parked, float64(info.Parked), name)
	give(g.awaiting, float64(info.Awaiting), name)
	for _, reason := range ferry.Reasons() {
		give(g.dead, float64(info.ByReason[reason]), name, string(reason))
	}
	age := 0.0
	if info.OldestPending != nil {
		age = max(now.Sub(*info.OldestPending).Seconds(), 0)
	}
	give(g.oldest, age, name)
	for _, state := range ferry.RouteStates() {
		holds := state == ferry.RouteRunning && info.State == state
		for _, c := range info.Conditions {
			// What only some of several workers say is no alarm.
			holds = holds || c.Type == state && (!info.Several || c.Worker == "" || info.State == state)
		}
		give(g.condition, one(holds), name, string(state))
	}
	if info.Calls != nil {
		give(g.concurrency, float64(info.Calls.Limit), name)
	}
	if info.Intake != nil {
		give(g.intake, one(info.Intake.State == ferry.IntakeRunning), name)
	}
	give(g.waiting, float64(info.Replies), name)
}

func one(holds bool) float64 {
	if holds {
		return 1
	}
	return 0
}

// expected are the workers that should be heard, and when they were heard last; or
// when the broker started, of those that were not heard since then and that a route is
// bound to. Who said goodbye is not missed.
func (b *Broker) expected() map[string]time.Time {
	bound := b.boundWorkers()
	seen := map[string]time.Time{}
	for _, w := range b.ledger.Workers() {
		switch s := b.fleet.get(w.Name); {
		case w.RevokedAt != nil || s != nil && s.left:
		case s != nil:
			seen[w.Name] = s.at
		case bound[w.Name]:
			seen[w.Name] = b.startedAt
		}
	}
	return seen
}

// boundWorkers are those that a route waits for, without those of which operators were
// to know that they had been stopped before this start.
func (b *Broker) boundWorkers() map[string]bool {
	bound := map[string]bool{}
	for name, r := range b.table.Load().routes {
		if in, err := b.ledger.Route(name); err == nil && in.Binding != nil && !in.Pull && !in.Several && !b.isOver(r) {
			bound[in.Binding.Worker] = true
		}
	}
	if b.operatorsListen() { // else it is not kept
		told, _ := b.ledger.Told()
		for _, t := range told {
			if name, ok := strings.CutPrefix(t.What, "worker/"); ok && t.State == stateLeft {
				delete(bound, name)
			}
		}
	}
	return bound
}

// relayLag is for how long the first message of a route has been due that the relay
// should have handed out: neither a pause, a window or a missing worker holds it, nor
// is the queue full of the route's messages.
func (b *Broker) relayLag(info *ferry.RouteInfo, now time.Time) time.Duration {
	r, ok := b.route(info.Name)
	if !ok || info.Pull || info.Pending == 0 { // receivers come when they are ready
		return 0
	}
	for _, c := range info.Conditions {
		switch c.Type {
		case ferry.RoutePaused, ferry.RouteWindow:
			return 0
		case ferry.RouteNoWorker:
			if !info.Several || info.State == ferry.RouteNoWorker {
				return 0
			}
		}
	}
	if r.relay.full() {
		return 0
	}
	due, err := b.ledger.OldestDue(info.Name, now, r.relay.isOut)
	if err != nil || due.IsZero() {
		return 0
	}
	return now.Sub(due)
}
