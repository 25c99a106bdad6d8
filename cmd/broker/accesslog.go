package main

import (
	"io"
	"log/slog"

	"ferry/accesslog"
	"ferry/api"
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
