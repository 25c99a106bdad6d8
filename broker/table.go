package broker

import (
	"context"
	"io"
	"slices"
	"time"

	"ferry"
)

// Settings is what Reconfigure changes while the broker runs. Each field is as in
// Options.
type Settings struct {
	Routes    []ferry.Route
	Retention time.Duration
	BodyRefs  BodyRefs
	Tellers   map[string]Teller
	Caller    Caller
	Intake    func(route string) *ferry.IntakeInfo
}

func (o *Options) settings() Settings {
	return Settings{Routes: o.Routes, Retention: o.Retention, BodyRefs: o.BodyRefs, Tellers: o.Tellers, Caller: o.Caller, Intake: o.Intake}
}

// table is one configuration: which routes there are, and whom the broker tells and
// asks. It is never changed in place: a new configuration brings another one. What
// holds a *route goes on with it until it looks again.
type table struct {
	Settings
	routes map[string]*route // the retired ones, too
	names  []string          // as configured; then the retired ones
	claims bool              // turns of some route are claimed
}

// compileAll makes the table of a configuration. Routes that were there before go
// on with their windows, and with who waits for them.
func (b *Broker) compileAll(s Settings, before *table) (*table, error) {
	if s.Intake == nil {
		s.Intake = func(string) *ferry.IntakeInfo { return nil }
	}
	if s.Retention == 0 {
		s.Retention = ferry.DefaultRetention
	}
	// A record that the idempotency index needs must not be removed before it.
	s.Retention = max(s.Retention, b.opts.IdempotencyWindow)
	t := &table{Settings: s, routes: map[string]*route{}}
	for i := range s.Routes {
		compiled, err := b.compile(s.Routes[i])
		if err != nil {
			return nil, err
		}
		if was := before.of(compiled.Name); was != nil {
			compiled.relay, compiled.words, compiled.receivers = was.relay, was.words, was.receivers
		}
		t.add(compiled)
	}
	return t, nil
}

func (t *table) add(r *route) {
	t.routes[r.Name] = r
	t.names = append(t.names, r.Name)
	t.claims = t.claims || r.Several || r.Pull
}

// of is the route of that name, nil when there is none.
func (t *table) of(name string) *route {
	if t == nil {
		return nil
	}
	return t.routes[name]
}

// configured are the routes that the configuration has.
func (t *table) configured() []ferry.Route {
	var list []ferry.Route
	for _, name := range t.names {
		if r := t.routes[name]; !r.Retired {
			list = append(list, r.Route)
		}
	}
	return list
}

// route is the route of that name, as it is configured now.
func (b *Broker) route(name string) (*route, bool) {
	r, ok := b.table.Load().routes[name]
	return r, ok
}

// names lists the routes as they are configured now, then those that retire.
// Callers do not change it.
func (b *Broker) names() []string { return b.table.Load().names }

// nudgeRelay has the relay of a route look again, where there is one.
func (b *Broker) nudgeRelay(name string) {
	if r, ok := b.route(name); ok {
		r.relay.nudge()
	}
}

// View is the broker under one configuration: what takes messages in goes by it to
// the end, also when the broker has got another one meanwhile.
type View struct {
	*Broker
	table *table
}

// View is the broker as it is configured now.
func (b *Broker) View() View { return View{b, b.table.Load()} }

// Route returns a route of the view's configuration.
func (v View) Route(name string) (ferry.Route, bool) {
	r := v.table.of(name)
	if r == nil {
		return ferry.Route{}, false
	}
	return r.Route, true
}

// StageBody reads a large body into a file of the ledger's folder. See api.Intake.
func (v View) StageBody(ctx context.Context, route string, r io.Reader, limit int64) (ferry.StagedBody, error) {
	at := v.table.of(route)
	if at == nil {
		return ferry.StagedBody{}, noRoute(route)
	}
	if at.Retired {
		return ferry.StagedBody{}, retired(route)
	}
	return v.ledger.StageBody(ctx, r, limit)
}

// OpenBodyRef opens the blob that a sender named in place of a body.
func (v View) OpenBodyRef(ctx context.Context, url string) (io.ReadCloser, string, error) {
	return v.table.openBodyRef(ctx, url)
}

// Accept puts a message on disk and says under which id. See api.Intake.
func (v View) Accept(ctx context.Context, m ferry.Message) (ferry.Accepted, error) {
	return v.accept(ctx, v.table, m)
}

// AcceptBatch puts several messages on disk in one commit. See api.Intake.
func (v View) AcceptBatch(ctx context.Context, msgs []ferry.Message, partial bool) ([]ferry.Accepted, []error, error) {
	return v.acceptBatch(ctx, v.table, msgs, partial)
}

func retired(name string) error {
	return ferry.Errorf(ferry.CodeRouteRetired, "the route %s was taken out of the configuration: nothing is accepted any more", name).
		WithHint("what was accepted before is still delivered; ask the operators which route takes its place")
}

// sortedNames lists the names of m in order.
func sortedNames(m map[string]*route) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
