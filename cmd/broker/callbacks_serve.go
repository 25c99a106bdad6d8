package main

import (
	"os"

	"ferry"
	"ferry/api"
	"ferry/config"
	"ferry/notify"
	"ferry/shape"
	"ferry/trace"
)

// callbacks tell the ends of messages over HTTP.
type callbacks struct{ *notify.Notifier }

// openCallbacks makes them; nothing is called yet.
func openCallbacks(cfg *config.Broker, tracer *trace.Tracer) (callbacks, error) {
	opts := notify.Options{
		Allow: cfg.Callbacks.Allow, Timeout: cfg.Callbacks.Timeout, Version: version(), Tracer: tracer,
		Operator: api.OperatorEventBody,
		Encode:   func(e ferry.Envelope) []byte { return api.EnvelopeJSON(e, cfg.PublicURL) },
	}
	if cfg.Callbacks.Format == config.FormatCloudEvents {
		opts.Encode, opts.ContentType = func(e ferry.Envelope) []byte { return api.EnvelopeEvent(e, cfg.PublicURL) }, shape.EventType
	}
	if path := cfg.Callbacks.CA; path != "" {
		pem, err := os.ReadFile(path)
		if err != nil {
			return callbacks{}, ferry.Errorf(ferry.CodeBadConfig, "callbacks.ca cannot be read: %w", err).WithHint("a file of certificates in PEM")
		}
		opts.CA = pem
	}
	n, err := notify.New(opts)
	return callbacks{n}, err
}
