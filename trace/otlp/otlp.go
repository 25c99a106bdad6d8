// Package otlp takes spans to a collector by OTLP over HTTP.
package otlp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"

	"ferry"
	"ferry/secret"
	"ferry/trace"
)

// Options of New.
type Options struct {
	// Endpoint is the address of the collector: https, or http to one on this machine
	// or in a network that is trusted. Without a path: /v1/traces.
	Endpoint string
	// Headers are sent along, such as a token; read anew for each export.
	Headers map[string]secret.Ref
	// Resolve reads them.
	Resolve func(secret.Ref) (secret.Value, error)
	// CA are certificates in PEM that are trusted beside the system's; nil: none.
	CA []byte
}

// Bounds of one export; the exporter tries again what a collector wants to have
// again.
const (
	exportTime  = 10 * time.Second
	retryFirst  = 500 * time.Millisecond
	retryMost   = 4 * time.Second
	retryWithin = 8 * time.Second
)

// New makes an exporter. Nothing is sent yet. An error is a *ferry.Error.
func New(ctx context.Context, opts Options) (trace.Exporter, error) {
	u, err := url.Parse(opts.Endpoint)
	if err != nil || u.Host == "" {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "traces.otlp.endpoint is no address").WithHint("such as http://127.0.0.1:4318")
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	to, err := transport(opts.CA)
	if err != nil {
		return nil, err
	}
	headers := &headers{to: to, opts: opts}
	e, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(u.String()),
		otlptracehttp.WithHeaders(nil), // those of the environment are not ours
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
		otlptracehttp.WithTimeout(exportTime),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{Enabled: true, InitialInterval: retryFirst, MaxInterval: retryMost, MaxElapsedTime: retryWithin}),
		otlptracehttp.WithHTTPClient(&http.Client{Transport: headers, Timeout: exportTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}),
	)
	if err != nil {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "traces.otlp: %w", err).WithHint("such as endpoint: http://127.0.0.1:4318")
	}
	return &exporter{Exporter: e, headers: headers}, nil
}

func transport(ca []byte) (*http.Transport, error) {
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: exportTime, MaxIdleConns: 2, IdleConnTimeout: 90 * time.Second,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, MaxResponseHeaderBytes: 64 << 10,
	}
	if ca == nil {
		return t, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(ca) {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "traces.otlp.ca holds no certificate").WithHint("a file of certificates in PEM")
	}
	t.TLSClientConfig.RootCAs = roots
	return t, nil
}

// exporter closes its connections when it is shut down.
type exporter struct {
	trace.Exporter
	headers *headers
}

// Shutdown ends the exporter.
func (e *exporter) Shutdown(ctx context.Context) error {
	err := e.Exporter.Shutdown(ctx)
	e.headers.to.CloseIdleConnections()
	return err
}

// headers adds the secret headers to each export, as they are then.
type headers struct {
	to   *http.Transport
	opts Options
}

// RoundTrip sends one export.
func (h *headers) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	for name, ref := range h.opts.Headers {
		v, err := h.opts.Resolve(ref)
		if err != nil {
			if req.Body != nil {
				_ = req.Body.Close() // as a RoundTripper has to
			}
			return nil, fmt.Errorf("traces.otlp.headers.%s: %w", name, err)
		}
		req.Header.Set(name, v.Reveal())
	}
	return h.to.RoundTrip(req)
}
