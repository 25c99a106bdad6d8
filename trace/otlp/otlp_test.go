package otlp_test

import (
	"context"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/secret"
	"ferry/trace"
	"ferry/trace/otlp"
)

// collected is what a collector was sent: paths and tokens.
type collected struct {
	mu   sync.Mutex
	got  []string
	fail int
}

func (c *collected) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, r.URL.Path+" "+r.Header.Get("Authorization"))
	if c.fail > 0 {
		c.fail--
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (c *collected) list() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.got, ", ")
}

func send(t *testing.T, opts otlp.Options) error {
	t.Helper()
	e, err := otlp.New(t.Context(), opts)
	if err != nil {
		return err
	}
	tr := trace.New(trace.Options{Exporter: e, Sample: 1})
	s := tr.Accept(t.Context(), "orders", trace.Context{}, time.Time{})
	s.Accepted(&ferry.Message{}, &ferry.Accepted{}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return tr.Close(ctx)
}

// TestHeadersAreReadForEachExport: a token that changed is used, and what the
// environment says of other exporters is not.
func TestHeadersAreReadForEachExport(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=of-somebody-else")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	c := &collected{fail: 1} // and tried again
	server := httptest.NewServer(c)
	defer server.Close()
	tokens := []string{"one", "two"}
	opts := otlp.Options{
		Endpoint: server.URL, Headers: map[string]secret.Ref{"authorization": "env:TOKEN"},
		Resolve: func(secret.Ref) (secret.Value, error) {
			v := secret.NewValue(tokens[0])
			if len(tokens) > 1 {
				tokens = tokens[1:]
			}
			return v, nil
		},
	}
	if err := send(t, opts); err != nil {
		t.Fatal(err)
	}
	if got := c.list(); got != "/v1/traces one, /v1/traces two" {
		t.Errorf("sent: %s", got)
	}
}

func TestOwnPathAndAuthority(t *testing.T) {
	c := &collected{}
	server := httptest.NewTLSServer(c)
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := send(t, otlp.Options{Endpoint: server.URL + "/tenant/traces", CA: ca}); err != nil {
		t.Fatal(err)
	}
	if got := c.list(); got != "/tenant/traces " {
		t.Errorf("sent: %s", got)
	}
}

func TestRefusedOptions(t *testing.T) {
	for _, opts := range []otlp.Options{{}, {Endpoint: "collector"}, {Endpoint: "https://otlp.example", CA: []byte("no certificate")}} {
		if err := send(t, opts); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("%+v: %v", opts, err)
		}
	}
}

// TestAnUnreadableHeaderSendsNothing: without the token nothing is sent, and the
// error has no secret in it.
func TestAnUnreadableHeaderSendsNothing(t *testing.T) {
	c := &collected{}
	server := httptest.NewServer(c)
	defer server.Close()
	_ = send(t, otlp.Options{
		Endpoint: server.URL, Headers: map[string]secret.Ref{"authorization": "env:TOKEN"},
		Resolve: func(secret.Ref) (secret.Value, error) {
			return secret.Value{}, ferry.Errorf(ferry.CodeSecretUnavailable, "it is not set")
		},
	})
	if got := c.list(); got != "" {
		t.Errorf("sent: %s", got)
	}
}
