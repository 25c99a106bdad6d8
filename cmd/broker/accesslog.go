package main

import (
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"ferry/accesslog"
	"ferry/api"
	"ferry/broker"
	"ferry/config"
)

// access is the access log of a server; nil: there is none.
type access struct{ *accesslog.Log }

// openAccessLog opens the log that the configuration asks for.
func openAccessLog(cfg *config.AccessLog, stdout io.Writer, log *slog.Logger) (*access, error) {
	if cfg == nil {
		return nil, nil
	}
	opened, err := accesslog.Open(accesslog.Options{
		Path: cfg.Path, Stdout: stdout, MaxSize: int64(cfg.MaxSize), Keep: *cfg.Keep, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return &access{opened}, nil
}

// options are those of a broker with the log.
func (a *access) options(o *broker.Options) {
	if a == nil {
		return
	}
	o.Collectors = append(o.Collectors, prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "ferry_access_log_dropped_total", Help: "Lines of the access log that were not written.",
	}, func() float64 { return float64(a.Dropped()) }))
}

// log is what the surface adds to; an interface that holds a nil pointer is not nil.
func (a *access) log() api.AccessLog {
	if a == nil {
		return nil
	}
	return a.Log
}

func (a *access) close() error {
	if a == nil {
		return nil
	}
	return a.Close()
}
