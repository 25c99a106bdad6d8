package broker

import (
	"time"

	"ferry"
	"ferry/store"
)

// Every pending message says what it waits for. The ledger knows of its place: due
// later, parked behind another, handed out, or up. What keeps a message that is up,
// or was handed out, from being delivered is a matter of its route, and looked up
// once for a whole list. docs/http.md lists the reasons.

// viewer completes envelopes with what the ledger does not know of them.
type viewer struct {
	b      *Broker
	routes map[string]*routeView
}

// routeView is a route as its messages see it.
type routeView struct {
	*route
	in     store.RouteLedger
	err    error
	known  bool             // whether the rest was looked up: many messages wait for nothing
	held   *ferry.Condition // it is paused, or a window holds it
	worker bool             // somebody is there to deliver it
	state  ferry.Condition  // what keeps its destination from being called; running: nothing
	full   bool             // no more is handed out before something ends
}

func (b *Broker) viewer() *viewer { return &viewer{b: b, routes: map[string]*routeView{}} }

// decorate adds to one envelope what the ledger does not know.
func (b *Broker) decorate(e *ferry.Envelope) { b.viewer().decorate(e) }

func (v *viewer) decorate(e *ferry.Envelope) {
	e.Environment = v.b.opts.Environment
	r := v.route(e.Route)
	if r == nil {
		return
	}
	e.Owner, e.Mask = r.Owner, r.Mask
	w := e.WaitingFor
	if w == nil || w.Reason != ferry.WaitsForTurn && w.Reason != ferry.WaitsForDelivery || w.Worker != "" {
		return // what somebody has claimed or locked, he has in his hands whatever holds for the route
	}
	v.look(r)
	if r.err != nil {
		return
	}
	handedOut := w.Reason == ferry.WaitsForDelivery
	if handedOut && r.in.Binding != nil {
		w.Worker = r.in.Binding.Worker
		w.Since = r.relay.handedAt(e.ID)
	}
	switch {
	case r.held != nil:
		w.Because(r.held)
	case !r.worker:
		w.Reason, w.Since = ferry.WaitsForWorker, nil
		if r.state.Type == ferry.RouteNoWorker {
			w.Because(&r.state)
		}
	case r.state.Type != ferry.RouteRunning:
		w.Because(&r.state)
	case !handedOut && r.full:
		w.Reason = ferry.WaitsForBacklog
	}
}

func (v *viewer) route(name string) *routeView {
	r, ok := v.routes[name]
	if !ok {
		if is, configured := v.b.route(name); configured {
			r = &routeView{route: is}
		}
		v.routes[name] = r
	}
	return r
}

func (v *viewer) look(r *routeView) {
	if r.known {
		return
	}
	r.known = true
	if r.in, r.err = v.b.ledger.Route(r.Name); r.err != nil {
		return
	}
	r.held, r.worker = v.b.holdOf(&r.in, time.Now()), v.b.hasWorker(&r.in)
	r.state = v.b.destinationOf(&r.in)
	if r.in.Pull {
		r.full = r.in.Locked >= int64(min(r.Window, ferry.MaxWindow))
	} else {
		r.full = r.relay.inQueue() >= r.relay.window()
	}
}

// destinationOf is the gravest of what the workers of a route say of its
// destination; of several, what the one says that is best off.
func (b *Broker) destinationOf(in *store.RouteLedger) ferry.Condition {
	conditions := b.conditions(in)
	for i := range conditions {
		if conditions[i].Type == ferry.RoutePaused || conditions[i].Type == ferry.RouteWindow {
			conditions[i].Type = ferry.RouteRunning // told otherwise
		}
	}
	state := gravest(conditions)
	if in.Several && !in.Pull {
		info := ferry.RouteInfo{Name: in.Name, Conditions: conditions}
		b.describeSeveral(&info)
		state = info.State
	}
	for _, c := range conditions {
		if c.Type == state && state != ferry.RouteRunning {
			return c
		}
	}
	return ferry.Condition{Type: ferry.RouteRunning}
}

// handedAt is when the queue took the message's turn; nil when that is not known.
func (r *relay) handedAt(id ferry.ID) *time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.out[id]
	if !ok || e.at.IsZero() {
		return nil
	}
	at := e.at.UTC()
	return &at
}

// ahead adds how many messages of the route come before one that waits its turn.
func (b *Broker) ahead(e *ferry.Envelope) {
	if w := e.WaitingFor; w != nil && w.Reason == ferry.WaitsForBacklog {
		if n, err := b.ledger.Ahead(e.ID, ferry.MaxAhead); err == nil {
			w.Ahead = &n
		}
	}
}
