package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"ferry"
	"ferry/config"
	"ferry/secret"
	"ferry/trace"
	"ferry/trace/otlp"
)

// flushTime bounds how long spans may take to leave when a program stops.
const flushTime = 3 * time.Second

// openTraces makes what spans go through; nil when the file wants none.
func openTraces(ctx context.Context, cfg *config.Broker, resolver secret.Resolver, log *slog.Logger) (*trace.Tracer, error) {
	if cfg.Traces == nil {
		return nil, nil
	}
	opts := otlp.Options{Endpoint: cfg.Traces.OTLP.Endpoint, Headers: cfg.Traces.OTLP.Headers, Resolve: resolver.Resolve}
	if path := cfg.Traces.OTLP.CA; path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, ferry.Errorf(ferry.CodeBadConfig, "traces.otlp.ca cannot be read: %w", err).WithHint("a file of certificates in PEM")
		}
		opts.CA = pem
	}
	exporter, err := otlp.New(ctx, opts)
	if err != nil {
		return nil, err
	}
	return trace.New(trace.Options{
		Service: "ferry-broker", Version: version(), Environment: cfg.Environment, Sample: cfg.Traces.Share(), Exporter: exporter, Log: log,
	}), nil
}

// closeTraces gives the last spans a moment to leave.
func closeTraces(t *trace.Tracer, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	if err := t.Close(ctx); err != nil {
		log.Warn("traces.close", "error", err.Error(), "next", "the last spans may be missing")
	}
}
