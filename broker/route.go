package broker

import (
	"time"

	"ferry"
	"ferry/calendar"
	"ferry/mapping"
	"ferry/privacy"
	"ferry/shape"
)

// route is a configured route with what was compiled for it.
type route struct {
	ferry.Route
	orderBy  *mapping.Program
	search   []*mapping.Program
	mask     *privacy.FieldMask // nil: nothing is masked
	door     *shape.Door        // nil: messages pass as they are
	relay    *relay
	calendar *calendar.Calendar // nil: it is delivered at any time
	words    chan struct{}      // has room while nobody answers for, or changes, the route's binding

	receivers *receivers // where they pull
	retiredAt time.Time  // of a retired one: when it was taken out
}

// compile makes what a route needs of its configuration.
func (b *Broker) compile(r ferry.Route) (*route, error) {
	if r.Window == 0 {
		r.Window = ferry.DefaultWindow
	}
	if r.MaxBytes == 0 {
		r.MaxBytes = ferry.DefaultMaxBody
	}
	if r.TimeToLive == 0 {
		r.TimeToLive = ferry.DefaultTimeToLive
	}
	setDefault(&r.Lock, ferry.DefaultReceiveLock)
	if r.MaxDeliveries == 0 {
		r.MaxDeliveries = ferry.DefaultMaxDeliveries
	}
	setDefault(&r.WorkAway, ferry.DefaultWorkAway)
	compiled := &route{Route: r, relay: newRelay(b, r.Name), words: make(chan struct{}, 1), receivers: &receivers{}}
	var err error
	if compiled.mask, err = privacy.NewFieldMask(r.Mask); err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "route %s: %w", r.Name, err)
	}
	if compiled.door, err = shape.New(&compiled.Route); err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "route %s: %w", r.Name, err)
	}
	if compiled.calendar, err = calendar.Compile(r.Windows); err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "route %s: %w", r.Name, err)
	}
	if r.OrderBy != "" {
		if compiled.orderBy, err = mapping.Compile(r.OrderBy); err != nil {
			return nil, ferry.Errorf(ferry.CodeBadConfig, "route %s: orderBy: %w", r.Name, err)
		}
	}
	for _, src := range r.SearchKeys {
		p, err := mapping.Compile(src)
		if err != nil {
			return nil, ferry.Errorf(ferry.CodeBadConfig, "route %s: searchKeys: %w", r.Name, err)
		}
		compiled.search = append(compiled.search, p)
	}
	return compiled, nil
}
