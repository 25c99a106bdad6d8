package erp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sort"
	"strings"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/httpauth"
)

// DefaultTimeout bounds one call where the destination sets none.
const DefaultTimeout = 30 * time.Second

// New makes the opener of ERP destinations. resolver reads secrets. transport
// stands in for the network, in tests; nil makes one per destination, which is
// what tells whether a request has left.
func New(resolver httpauth.Resolver, transport http.RoundTripper) adapters.Opener {
	return func(cfg adapters.DestinationConfig) (adapters.Destination, error) {
		return open(cfg, resolver, transport)
	}
}

// Dialects lists the names of the dialects.
func Dialects() []string {
	names := make([]string, 0, 1)
	for name := range dialects() {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// dialect is how one kind of ERP answers.
type dialect struct {
	verdicts httpcall.Table // of calls that write
	lookups  httpcall.Table // of lookups: only kinds that say why there is no answer
}

func dialects() map[string]dialect {
	return map[string]dialect{"rest": rest()}
}

// destination is one ERP: connections, credentials, rules.
type destination struct {
	cfg       adapters.DestinationConfig
	base      base
	auth      httpauth.Authenticator
	transport http.RoundTripper
	own       *http.Transport // nil when the transport was given
	dialect   dialect
	rules     httpcall.Table // the destination's own, asked first
	health    *template
	signed    signed
}

func open(cfg adapters.DestinationConfig, resolver httpauth.Resolver, transport http.RoundTripper) (*destination, error) {
	d := &destination{cfg: cfg}
	if cfg.Dialect == "" {
		cfg.Dialect = "rest"
	}
	var ok bool
	if d.dialect, ok = dialects()[cfg.Dialect]; !ok {
		return nil, d.bad("there is no dialect %q", cfg.Dialect).WithHint("known dialects: %s", strings.Join(Dialects(), ", "))
	}
	var err error
	if d.base, err = parseBase(cfg.URL); err != nil {
		return nil, d.wrap(err)
	}
	secured := httpauth.Options{URL: cfg.URL, TLS: cfg.TLS}
	if d.auth, err = secured.Open(cfg.Auth, resolver); err != nil {
		return nil, d.wrap(err)
	}
	if cfg.Timeout < 0 {
		return nil, d.bad("timeout is negative")
	}
	if d.cfg.Timeout == 0 {
		d.cfg.Timeout = DefaultTimeout
	}
	if err := checkHeaders(cfg.Headers); err != nil {
		return nil, d.wrap(err)
	}
	if cfg.Health != nil {
		if d.health, err = parseTemplate("health.url", cfg.Health.URL); err != nil {
			return nil, d.wrap(err)
		}
		if len(d.health.names()) > 0 {
			return nil, d.bad("health.url has a placeholder: it is asked without a message")
		}
	}
	for i, r := range cfg.Verdicts {
		rule, err := httpcall.ParseRule(r.Status, r.Code, r.When, r.Verdict, r.Effect)
		if err != nil {
			return nil, d.wrap(fmt.Errorf("verdicts, rule %d: %w", i+1, err))
		}
		d.rules = append(d.rules, rule)
	}
	if transport == nil {
		d.own = httpcall.NewTransport(nil)
		transport = d.own
	}
	d.transport = d.auth.Wrap(transport)
	return d, nil
}

// Fingerprint changes when a secret of the destination does.
func (d *destination) Fingerprint() string { return d.auth.Fingerprint() }

// Close closes idle connections, and what the log-on keeps.
func (d *destination) Close() error {
	if c, ok := d.transport.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
	if d.own != nil {
		d.own.CloseIdleConnections()
	}
	if c, ok := d.auth.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Probe asks the health address. Any answer but a server error, a throttle or a
// refusal of the credentials means up: wrong paths are found, and said better, by
// deliveries.
func (d *destination) Probe(ctx context.Context) error {
	if d.health == nil {
		return adapters.ErrNoProbe
	}
	a, err := d.ask(ctx, d.health)
	switch {
	case errors.Is(err, httpauth.ErrRefused):
		return fmt.Errorf("%w: %w", adapters.ErrRefused, err)
	case err != nil:
		return err
	case a.Err != nil:
		return fmt.Errorf("%s: %w", a.Failure, a.Err)
	case refusesLogon(a.Status):
		return fmt.Errorf("%w: the health request is answered with status %d", adapters.ErrRefused, a.Status)
	case a.Status >= 500, a.Status == http.StatusTooManyRequests:
		return fmt.Errorf("the destination answers the health request with status %d", a.Status)
	}
	return nil
}

func refusesLogon(status int) bool {
	return status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired
}

// renews says whether fresh credentials can be had after a request was answered
// with 401.
func (d *destination) renews(req *http.Request, status int) bool {
	r, ok := d.auth.(httpauth.Renewer)
	return ok && status == http.StatusUnauthorized && r.Refused(req)
}

// Check reads the secrets and asks the health address, or the destination's own
// address, with them.
func (d *destination) Check(ctx context.Context) error {
	address := d.health
	if address == nil {
		address = &template{}
	}
	a, err := d.ask(ctx, address)
	switch {
	case err != nil:
		return d.wrap(err)
	case a.Err != nil:
		return d.bad("it cannot be reached (%s): %w", a.Failure, a.Err).WithHint("check url, proxy and certificates")
	case refusesLogon(a.Status):
		return d.bad("it refuses the credentials: status %d", a.Status).WithHint("check auth, and the secret that it refers to")
	case a.Status >= 500:
		return d.bad("it answers with status %d", a.Status)
	}
	return nil
}

// ask makes a GET of an address without placeholders, once more where a fresh
// token may help.
func (d *destination) ask(ctx context.Context, address *template) (*httpcall.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	req, a, err := d.askOnce(ctx, address)
	if err == nil && d.renews(req, a.Status) {
		_, a, err = d.askOnce(ctx, address)
	}
	return a, err
}

func (d *destination) askOnce(ctx context.Context, address *template) (*http.Request, *httpcall.Answer, error) {
	url, err := d.base.join(address, values{})
	if err != nil {
		return nil, nil, err
	}
	req, err := httpcall.NewRequest(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	setAll(req.Header, d.cfg.Headers)
	standardHeaders(req.Header)
	if err := d.auth.Apply(req); err != nil {
		return nil, nil, err
	}
	return req, httpcall.Do(d.transport, req), nil
}

func (d *destination) bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, "destination %s: %w", d.cfg.Name, fmt.Errorf(format, args...))
}

func (d *destination) wrap(err error) *ferry.Error {
	return withContext("destination "+d.cfg.Name, err)
}
