package worker

import (
	"errors"
	"maps"
	"slices"

	"ferry"
	"ferry/adapters"
	"ferry/config"
)

// Setup is what a worker.yaml makes: its routes, and the destinations behind
// them. Close it after the worker has stopped.
type Setup struct {
	Routes       []Route
	Destinations map[string]adapters.Destination
}

// NewSetup opens the destinations of cfg by the registry and makes the routes.
// All faults are told at once; then nothing stays open.
func NewSetup(cfg *config.Worker, registry adapters.Registry) (*Setup, error) {
	s := &Setup{Destinations: map[string]adapters.Destination{}}
	dests := map[string]*Dest{}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(cfg.Destinations)) {
		c := cfg.Destinations[name]
		opened, err := registry.Open(c.DestinationConfig)
		if err != nil {
			faults = append(faults, named("destination "+name, err))
			continue
		}
		s.Destinations[name] = opened
		dests[name] = NewDest(DestOptions{
			Name: name, Destination: opened, Concurrency: c.Concurrency,
			Rate: c.Rate.PerSecond(), Burst: max(c.Concurrency, 1),
		})
	}
	for i := range cfg.Routes {
		c := &cfg.Routes[i]
		name := c.Destination.Name
		opened, ok := s.Destinations[name]
		if !ok {
			continue // its destination is a fault already
		}
		adapter, err := opened.Route(c.RouteConfig)
		if err != nil {
			faults = append(faults, named("route "+c.Name, err))
			continue
		}
		versions := map[string]adapters.Adapter{}
		for _, version := range slices.Sorted(maps.Keys(c.Versions)) {
			if versions[version], err = opened.Route(c.Versions[version].RouteConfig); err != nil {
				faults = append(faults, named("version "+version, err))
			}
		}
		s.Routes = append(s.Routes, Route{
			Name: c.Name, Adapter: adapters.ByVersion(adapter, versions), Destination: dests[name], Retry: c.Retry,
			OnUnknown: OnUnknown(c.OnUnknown), Timeout: cfg.Destinations[name].Timeout, SettleTime: c.SettleTime,
			Confirm: Confirm(c.Confirm), ConfirmWithin: c.ConfirmWithin, PollInterval: c.PollInterval(),
		})
	}
	if len(faults) > 0 {
		return nil, errors.Join(edge(faults), s.Close())
	}
	return s, nil
}

// Close closes the destinations.
func (s *Setup) Close() error {
	var faults []error
	for _, d := range s.Destinations {
		faults = append(faults, d.Close())
	}
	return errors.Join(faults...)
}

// named says whose fault it is, and keeps the hint.
func named(what string, err error) error {
	var e *ferry.Error
	if !errors.As(err, &e) {
		return ferry.Errorf(ferry.CodeBadConfig, "%s: %w", what, err)
	}
	n := ferry.Errorf(e.Code, "%s: %w", what, err)
	n.Hint = e.Hint
	return n
}

func edge(faults []error) error {
	if len(faults) == 1 {
		return faults[0]
	}
	return ferry.Errorf(ferry.CodeBadConfig, "%w", errors.Join(faults...))
}
