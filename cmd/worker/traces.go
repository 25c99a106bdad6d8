package main

import (
	"context"
	"os"
	"time"

	"ferry"
	"ferry/config"
	"ferry/trace"
	"ferry/trace/otlp"
)

// flushTime bounds how long spans may take to leave when the worker stops.
const flushTime = 3 * time.Second

// openTraces makes what spans go through; nil when the file wants none.
func (a *app) openTraces(cfg *config.Worker) (*trace.Tracer, error) {
	if cfg.Traces == nil {
		return nil, nil
	}
	opts := otlp.Options{Endpoint: cfg.Traces.OTLP.Endpoint, Headers: cfg.Traces.OTLP.Headers, Resolve: a.resolver().Resolve}
	if path := cfg.Traces.OTLP.CA; path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, ferry.Errorf(ferry.CodeBadConfig, "traces.otlp.ca cannot be read: %w", err).WithHint("a file of certificates in PEM")
		}
		opts.CA = pem
	}
	exporter, err := otlp.New(a.ctx, opts)
	if err != nil {
		return nil, err
	}
	return trace.New(trace.Options{
		Service: "ferry-worker", Version: version(), Instance: cfg.Name, Sample: cfg.Traces.Share(), Exporter: exporter, Log: a.log,
	}), nil
}

// closeTraces gives the last spans a moment to leave.
func (a *app) closeTraces(t *trace.Tracer) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), flushTime)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		a.log.Warn("traces.close", "error", err.Error(), "next", "the last spans may be missing")
	}
}
