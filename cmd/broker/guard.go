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

// limitFlags say what a key may send, as a whole.
type limitFlags struct {
	Rate  string `placeholder:"N/m" help:"How many messages it may send, such as 600/m; in the place of limits.perKey."`
	Burst int    `placeholder:"N" help:"With --rate: how many of them at once."`
	Quota string `placeholder:"N/d" help:"How many messages it may send in a UTC day, or another window, such as 10000/d."`
}

func (k limitFlags) limit() (l ferry.Limit, err error) {
	l.Burst = k.Burst
	if l.Rate, err = ferry.ParseRate(k.Rate); err != nil {
		return l, usagef("--rate: %v", err).withHint("such as 600/m")
	}
	if l.Quota, err = ferry.ParseRate(k.Quota); err != nil {
		return l, usagef("--quota: %v", err).withHint("such as 10000/d")
	}
	if fault := l.Check(); fault != nil {
		return l, usagef("%s", fault.Message).withHint("%s", fault.Hint)
	}
	return l, nil
}
