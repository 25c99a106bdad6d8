package config

import (
	"time"

	"ferry"
)

// Limits bound what callers may do.
type Limits struct {
	// PerKey holds for each key by itself that has no limit of its own; default none.
	PerKey KeyLimit `yaml:"perKey"`
	// PerRoute holds for each route that has none of its own, all its senders
	// together; default none.
	PerRoute RouteLimit `yaml:"perRoute"`
	// FailedLogins is how many requests of one address may fail for their key;
	// beyond it they are told to wait. Default 120/m.
	FailedLogins ferry.Rate `yaml:"failedLogins"`
	// Connections is how many may be open at a time, of one address
	// ConnectionsPerAddress; default 4,096 and 2,048.
	Connections           int `yaml:"connections" reload:"start"`
	ConnectionsPerAddress int `yaml:"connectionsPerAddress" reload:"start"`
}

// RouteLimit bounds the messages that are sent.
type RouteLimit struct {
	Rate  ferry.Rate `yaml:"rate"`
	Burst int        `yaml:"burst"` // how many at once; default those of two seconds, at least 10
	Quota ferry.Rate `yaml:"quota"`
}

// Limit is the limit in the words of the broker.
func (l RouteLimit) Limit() ferry.Limit {
	return ferry.Limit{Rate: l.Rate, Burst: l.Burst, Quota: l.Quota}
}

// KeyLimit is what holds for a key.
type KeyLimit struct {
	RouteLimit `yaml:",inline"`
	// Reads bounds the calls that send nothing; default no bound.
	Reads ferry.Rate `yaml:"reads"`
}

// The bounds of connections.
const (
	defaultConnections           = 4096
	defaultConnectionsPerAddress = 2048
	maxConnections               = 100_000
)

func (l *Limits) complete() {
	setDefault(&l.FailedLogins, ferry.Rate{Calls: 120, Per: time.Minute})
	setDefault(&l.Connections, defaultConnections)
	setDefault(&l.ConnectionsPerAddress, min(defaultConnectionsPerAddress, l.Connections))
}

func (l *Limits) check(d *decoder) {
	l.PerKey.check(d, "limits.perKey")
	l.PerRoute.check(d, "limits.perRoute")
	d.checkSpan("limits.connections", int64(l.Connections), 1, maxConnections, showCount)
	d.checkSpan("limits.connectionsPerAddress", int64(l.ConnectionsPerAddress), 1, maxConnections, showCount)
}

func (l *RouteLimit) check(d *decoder, path string) {
	if err := l.Limit().Check(); err != nil {
		d.at(path, err.Hint, "%s: %s", path, err.Message)
	}
}
