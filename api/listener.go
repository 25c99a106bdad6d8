package api

import (
	"net/http"
	"slices"

	"ferry"
)

// Listener is one of the addresses that a broker listens on.
type Listener string

// The listeners. With the zero Listener there is one, and it answers everything.
const (
	PublicListener Listener = "public" // of senders, receivers and workers
	AdminListener  Listener = "admin"  // of operators
	bothListeners  Listener = "both"
)

// listener is where an endpoint is when there are two: where its row says, else
// where those are who may call it. What only operators and admins may is not on the
// public one, as if it were not there.
func (ep *endpoint) listener() Listener {
	operates := slices.Contains(ep.roles, ferry.RoleOperator)
	sends := slices.Contains(ep.roles, ferry.RoleSender) || slices.Contains(ep.roles, ferry.RoleReceiver)
	switch {
	case ep.on != "":
		return ep.on
	case ep.open || ep.byToken || sends && !operates:
		return PublicListener
	case sends:
		return bothListeners
	default:
		return AdminListener
	}
}

// of are those of the endpoints that the listener answers.
func (l Listener) of(endpoints []endpoint) []endpoint {
	if l == "" {
		return endpoints
	}
	return slices.DeleteFunc(endpoints, func(ep endpoint) bool {
		on := ep.listener()
		return on != l && on != bothListeners
	})
}

// Next makes the surface of another configuration, or of another listener, which
// goes on where before is: callers' rates and quotas, failed logins, and the memory
// for bodies count on, and a stop is one of both.
func Next(before http.Handler, svc Service, opts Options) http.Handler {
	a := newAPI(svc, opts)
	if was, ok := before.(*api); ok {
		a.bodies, a.leaving, a.draining, a.drain = was.bodies, was.leaving, was.draining, was.drain
		a.guard.takeOver(was.guard)
	}
	return a
}

// takeOver goes on with what another guard has counted.
func (g *guard) takeOver(was *guard) {
	g.began, g.keys, g.readers, g.addresses, g.quotas = was.began, was.keys, was.readers, was.addresses, was.quotas
	for name := range g.routes {
		if bucket, ok := was.routes[name]; ok {
			g.routes[name] = bucket
		}
	}
}
