package broker

// table is which routes there are, never changed in place: a new configuration
// brings another one. What holds a *route goes on with it until it looks again.
type table struct {
	routes map[string]*route
	names  []string // as configured
}

// route is the route of that name, as it is configured now.
func (b *Broker) route(name string) (*route, bool) {
	r, ok := b.table.Load().routes[name]
	return r, ok
}

// names lists the routes as they are configured now. Callers do not change it.
func (b *Broker) names() []string { return b.table.Load().names }

// nudgeRelay has the relay of a route look again, where there is one.
func (b *Broker) nudgeRelay(name string) {
	if r, ok := b.route(name); ok {
		r.relay.nudge()
	}
}
