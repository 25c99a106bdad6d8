package main

import (
	"crypto/tls"
	"log/slog"

	"ferry"
	"ferry/api"
	"ferry/certs"
	"ferry/config"
	"ferry/secret"
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

// certificateOf is the listener's certificate; nil without TLS.
func certificateOf(cfg *config.Broker, resolver secret.Resolver, log *slog.Logger) (*certs.Certificate, error) {
	if cfg.TLS == nil {
		return nil, nil
	}
	opts := certs.Options{Cert: cfg.TLS.Cert, Key: string(cfg.TLS.Key), ClientCA: cfg.TLS.ClientCA, PublicURL: cfg.PublicURL, Log: log}
	if opts.Key = cfg.TLS.Key.Path(); opts.Key == "" {
		opts.Key = cfg.TLS.Key.Ref().String()
		opts.KeyText = func() (string, error) {
			value, err := resolver.Resolve(cfg.TLS.Key.Ref())
			return value.Reveal(), err
		}
	}
	if cfg.TLS.MinVersion == "1.3" {
		opts.MinVersion = tls.VersionTLS13
	}
	c, err := certs.Load(opts)
	if err != nil {
		return nil, err
	}
	for _, w := range c.Warnings() {
		log.Warn(w)
	}
	return c, nil
}

// scheme is what the listener speaks.
func (s *server) scheme() string {
	if s.certificate != nil {
		return "https"
	}
	return "http"
}
