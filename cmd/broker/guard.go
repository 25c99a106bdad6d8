package main

import (
	"ferry"
	"ferry/api"
	"ferry/config"
)

// limitsOf are the limits of the file in the words of the surface: of each route
// its own, else those of every route.
func limitsOf(cfg *config.Broker) api.Limits {
	l := api.Limits{
		PerKey: cfg.Limits.PerKey.Limit(), Reads: cfg.Limits.PerKey.Reads,
		Routes: map[string]ferry.Limit{}, FailedLogins: cfg.Limits.FailedLogins,
	}
	for i := range cfg.Routes {
		r := &cfg.Routes[i]
		limit := r.Limit()
		if limit.IsZero() {
			limit = cfg.Limits.PerRoute.Limit()
		}
		if !limit.IsZero() {
			l.Routes[r.Name] = limit
		}
	}
	return l
}
