package erp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/httpauth"
	"ferry/internal/apispec"
	"ferry/privacy"
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

// Settings lists the keys of destinations and routes that a dialect takes beside
// those of every dialect, in order; none of one that is not known.
func Settings(name string) []string {
	dialect, ok := dialects()[name]
	if !ok {
		return nil
	}
	return slices.Sorted(slices.Values(dialect().settings))
}

// dialects is the list of all dialects. A new one is one line here, and one file.
// Each is made when it is asked for: its table of errors is long.
func dialects() map[string]func() dialect {
	return map[string]func() dialect{
		"openapi":      openapi,
		"rest":         rest,
		"acumatica":    acumatica,
		"frappe":       frappe,
		"netsuite":     netsuite,
		"bc":           bc,
		"d365fo":       d365fo,
		"dataverse":    dataverse,
		"odata":        odata,
		"odata-sap":    odataSAP,
		"odoo-json2":   odooJSON2,
		"odoo-jsonrpc": odooJSONRPC,
		"tryton":       tryton,
	}
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
	session   session           // nil: the dialect has none
	spec      *apispec.Document // of dialect openapi
	signed    signed
	resolver  httpauth.Resolver
}

func open(cfg adapters.DestinationConfig, resolver httpauth.Resolver, transport http.RoundTripper) (*destination, error) {
	d := &destination{cfg: cfg, resolver: resolver}
	if cfg.Dialect == "" {
		cfg.Dialect = "rest"
	}
	d.cfg.Dialect = cfg.Dialect
	known, ok := dialects()[cfg.Dialect]
	if !ok {
		return nil, d.bad("there is no dialect %q", cfg.Dialect).WithHint("known dialects: %s", strings.Join(Dialects(), ", "))
	}
	d.dialect = known()
	if err := d.dialect.refuseSettings(cfg.Dialect, destinationSettings(&cfg)); err != nil {
		return nil, d.wrap(err)
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
	for name, value := range cfg.Headers {
		if strings.Contains(value, "{=") {
			return nil, d.bad("headers: %s has a program: the destination's headers are sent without a message, too", name).
				WithHint("put it into headers of the route")
		}
	}
	if _, err := privacy.NewFieldMask(cfg.Mask); err != nil {
		return nil, d.wrap(err)
	}
	if cfg.Health == nil && d.dialect.health != "" {
		cfg.Health = &adapters.HealthConfig{URL: d.dialect.health}
	}
	if cfg.Health != nil {
		if d.health, err = parseTemplate("health.url", cfg.Health.URL); err != nil {
			return nil, d.wrap(err)
		}
		if len(d.health.names()) > 0 || d.health.hasPrograms() {
			return nil, d.bad("health.url has a placeholder or a program: it is asked without a message")
		}
	}
	for i, r := range cfg.Verdicts {
		rule, err := httpcall.ParseRule(r.Status, r.Code, r.Says, r.When, r.Verdict, r.Effect)
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
	if d.dialect.open != nil {
		if err := d.dialect.open(d); err != nil {
			return nil, d.wrap(err)
		}
	}
	if d.dialect.session != nil {
		d.session = d.dialect.session(d)
	}
	return d, nil
}

// Fingerprint changes when a secret of the destination does.
func (d *destination) Fingerprint() string { return d.auth.Fingerprint() }

// Reread has the secrets read anew that the destination refused.
func (d *destination) Reread() {
	httpauth.Reread(d.resolver, append(d.cfg.Auth.Secrets(), d.cfg.TLS.Secrets()...))
}

// closeTime bounds logging out.
const closeTime = 5 * time.Second

// Close logs out where the dialect logs on, and closes idle connections and what
// the credentials keep.
func (d *destination) Close() error {
	if d.session != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTime)
		defer cancel()
		d.session.close(ctx)
	}
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
	if d.health == nil && d.dialect.probe == nil {
		return adapters.ErrNoProbe
	}
	a, err := d.ask(ctx)
	switch {
	case errors.Is(err, httpauth.ErrRefused):
		return fmt.Errorf("%w: %w", adapters.ErrRefused, err)
	case err != nil:
		return err
	case a.Err != nil:
		return fmt.Errorf("%s: %w", a.Failure, a.Err)
	}
	kind, text := d.judgeHealth(ctx, a)
	switch {
	case kind == ferry.Unauthorized:
		return fmt.Errorf("%w: the health request is answered with %s", adapters.ErrRefused, text)
	case kind == ferry.Unavailable, kind == ferry.Throttled:
		return fmt.Errorf("the destination answers the health request with %s", text)
	}
	return nil
}

// Check reads the secrets and asks the health address, or the destination's own
// address, with them.
func (d *destination) Check(ctx context.Context) error {
	_, err := d.Prove(ctx)
	return err
}

// Prove is Check; it says what was asked, and whether the answer needed the
// credentials: an address that answers 404 may not have looked at them.
func (d *destination) Prove(ctx context.Context) (string, error) {
	a, err := d.ask(ctx)
	switch {
	case err != nil:
		return "", d.wrap(err)
	case a.Err != nil:
		return "", d.bad("it cannot be reached (%s): %w", a.Failure, a.Err).WithHint("check url, proxy and certificates")
	}
	ownQuestion := d.cfg.Health == nil && d.dialect.probe != nil // whose answers are known
	switch kind, text := d.judgeHealth(ctx, a); {
	case kind == ferry.Unauthorized:
		return "", d.bad("it refuses the credentials: %s", text).WithHint("check auth, and the secret that it refers to")
	case kind == ferry.Unavailable, kind == ferry.Throttled, kind == ferry.Failed && ownQuestion:
		return "", d.bad("it answers with %s", text)
	}
	return d.proven(a.Status), nil
}

func (d *destination) proven(status int) string {
	said := fmt.Sprintf("it is reached and answers %d", status)
	switch auth := d.cfg.Auth.Type; {
	case auth == "" || auth == "none":
		return said + "; no credentials are configured"
	case status >= 200 && status <= 299 && (d.cfg.Health != nil || d.dialect.health != "" || d.dialect.probe != nil):
		return said + ", with the credentials"
	default:
		return said + "; whether it takes the credentials is not proven: health.url of an address that needs them proves it"
	}
}

// judgeHealth says what an answer to the health request comes to; "" for well.
func (d *destination) judgeHealth(ctx context.Context, a *httpcall.Answer) (ferry.VerdictKind, string) {
	text := fmt.Sprintf("status %d", a.Status)
	switch {
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden, a.Status == http.StatusProxyAuthRequired:
		return ferry.Unauthorized, text
	case a.Status >= 500:
		return ferry.Unavailable, text
	case a.Status == http.StatusTooManyRequests:
		return ferry.Throttled, text
	case !d.dialect.lookups.LooksInside(a.Status):
		return "", text
	}
	// Some systems refuse with a status that says all is well.
	problem := d.dialect.problemOf(a)
	rule, ok := httpcall.Judge(context.WithoutCancel(ctx), a, problem, d.dialect.lookups)
	if !ok || rule.Kind == absent {
		return "", text
	}
	return rule.Kind, d.redact(cut(sentences(text, rule.Text, problem.Text), ferry.MaxAttemptText))
}

// ask makes the health request, once more where it was refused for its token or
// session alone.
func (d *destination) ask(ctx context.Context) (*httpcall.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	req, a, err := d.askOnce(ctx)
	if err == nil && a.Err == nil && d.renews(req, a, d.dialect.problemOf(a)) {
		_, a, err = d.askOnce(ctx)
	}
	return a, err
}

func (d *destination) askOnce(ctx context.Context) (*http.Request, *httpcall.Answer, error) {
	op, err := d.healthRequest()
	if err != nil {
		return nil, nil, err
	}
	req, err := newRequest(ctx, op)
	if err != nil {
		return nil, nil, err
	}
	setAll(req.Header, d.cfg.Headers)
	standardHeaders(req.Header)
	overrule(req.Header, op.header)
	a, err := d.send(req)
	return req, a, err
}

func (d *destination) healthRequest() (*operation, error) {
	if d.cfg.Health == nil && d.dialect.probe != nil {
		return d.dialect.probe(d)
	}
	address := d.health
	if address == nil {
		address = &template{}
	}
	url, err := d.base.join(address, values{})
	if err != nil {
		return nil, err
	}
	return &operation{method: http.MethodGet, url: url}, nil
}

// send makes a call with the credentials, and what the session wants. An error
// says that one of the two cannot be had: nothing was sent.
func (d *destination) send(req *http.Request) (*httpcall.Answer, error) {
	if err := d.ready(req); err != nil {
		return nil, err
	}
	return httpcall.Do(d.transport, req), nil
}

// ready gives a request what it is let in with; after an error its body is closed.
func (d *destination) ready(req *http.Request) error {
	if !d.dialect.ownLogon {
		if err := d.auth.Apply(req); err != nil {
			closeBody(req)
			return err
		}
	}
	if d.session != nil {
		if err := d.session.prepare(req.Context(), req); err != nil {
			closeBody(req)
			return err
		}
	}
	return nil
}

// renews says whether what a request was refused for, its token or its session,
// can be had anew.
func (d *destination) renews(req *http.Request, a *httpcall.Answer, problem httpcall.Problem) bool {
	if r, ok := d.auth.(httpauth.Renewer); ok && a.Status == http.StatusUnauthorized && r.Refused(req) {
		return true
	}
	return d.session != nil && d.session.ended(req, a, problem)
}

// show puts a mask where credentials would be.
func (d *destination) show(req *http.Request) {
	if !d.dialect.ownLogon {
		d.auth.Show(req)
	}
	if d.session != nil {
		d.session.show(req)
	}
}

// redact takes what would log on out of what the destination said: some quote it.
func (d *destination) redact(text string) string {
	text = d.auth.Redact(text)
	if d.session != nil {
		text = d.session.redact(text)
	}
	return text
}

func (d *destination) bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, "destination %s: %w", d.cfg.Name, fmt.Errorf(format, args...))
}

func (d *destination) wrap(err error) *ferry.Error {
	return withContext("destination "+d.cfg.Name, err)
}
