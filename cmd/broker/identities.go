package main

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"os"
	"time"

	"ferry"
	"ferry/api"
	"ferry/config"
	"ferry/jwtauth"
)

// openIssuers makes what judges the tokens of the configured issuers; nil where
// there are none. No issuer is reached yet.
func openIssuers(cfg *config.Broker, log *slog.Logger) (*jwtauth.Verifier, error) {
	if len(cfg.Issuers) == 0 {
		return nil, nil
	}
	list := make([]jwtauth.Issuer, len(cfg.Issuers))
	for i, s := range cfg.Issuers {
		transport, err := issuerTransport(&s)
		if err != nil {
			return nil, err
		}
		list[i] = jwtauth.Issuer{
			Name: s.Name, URL: s.Issuer, Tenants: s.Tenants, Audiences: s.Audiences, NameClaim: s.NameClaim,
			Skew: s.ClockSkew, Algorithms: s.Algorithms, Transport: transport,
		}
		for _, r := range s.Roles {
			list[i].Rules = append(list[i].Rules, jwtauth.Rule{
				Claim: r.Claim, Value: r.Value, Role: ferry.Role(r.Role), Routes: r.Routes, Environment: r.EnvironmentID,
			})
		}
	}
	return jwtauth.New(jwtauth.Options{Issuers: list, Log: log}), nil
}

// issuerTransport reaches an issuer, through the proxy of the environment if there
// is one.
func issuerTransport(s *config.Issuer) (http.RoundTripper, error) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConns: 4, IdleConnTimeout: time.Minute,
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 5 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if s.CA == "" {
		return t, nil
	}
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "the ca of the issuer %s cannot be read: %w", s.Name, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // some systems have none
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "%s, the ca of the issuer %s, has no certificate", s.CA, s.Name).WithHint("it is a PEM file: -----BEGIN CERTIFICATE-----")
	}
	t.TLSClientConfig.RootCAs = pool
	return t, nil
}

// certificates are the client certificates that stand for keys.
func certificates(cfg *config.Broker) []api.Certificate {
	list := make([]api.Certificate, len(cfg.ClientCertificates))
	for i, c := range cfg.ClientCertificates {
		list[i] = api.Certificate{
			Subject: c.Subject, SAN: c.SAN, Thumbprint: c.Thumbprint,
			Who: ferry.Identity{
				Name: "cert:" + c.Name, KeyID: "cert:" + c.Name, Role: ferry.Role(c.Role), Routes: c.Routes, Environment: c.EnvironmentID,
			},
		}
	}
	return list
}
