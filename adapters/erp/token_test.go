package erp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/erp"
	"ferry/httpauth"
	"ferry/secret"
)

// tokenERP is an ERP and its token endpoint, which counts what it is asked.
type tokenERP struct {
	goodFrom atomic.Int64 // the first token that the ERP takes
	down     atomic.Bool  // the token endpoint
	refuses  atomic.Bool  // the client
	writes   atomic.Bool  // the ERP's refusal comes after it wrote: 500
	tokens   atomic.Int64
	calls    atomic.Int64
	bodies   atomic.Value
}

func (e *tokenERP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/token" {
		switch {
		case e.down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case e.refuses.Load():
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, `{"error":"invalid_client","error_description":"hush-hush is wrong"}`)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"access_token":"secret-token-%d","expires_in":3600}`, e.tokens.Add(1))
		}
		return
	}
	e.calls.Add(1)
	var n int64
	_, _ = fmt.Sscanf(r.Header.Get("Authorization"), "Bearer secret-token-%d", &n)
	switch {
	case n < e.goodFrom.Load() && e.writes.Load():
		w.WriteHeader(http.StatusInternalServerError)
	case n < e.goodFrom.Load():
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"title":"no","detail":"secret-token-%d has ended"}`, n)
	case r.Method == http.MethodGet:
		_, _ = fmt.Fprint(w, `{"id":"7"}`)
	default:
		body := make([]byte, r.ContentLength)
		_, _ = io.ReadFull(r.Body, body)
		e.bodies.Store(string(body))
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprint(w, `{"id":"7"}`)
	}
}

func openTokenERP(t *testing.T) (*tokenERP, adapters.Destination, adapters.Adapter) {
	t.Helper()
	e := &tokenERP{}
	srv := httptest.NewServer(e)
	t.Cleanup(srv.Close)
	t.Setenv("FERRY_TEST_CLIENT_SECRET", "hush-hush")
	d, err := erp.New(secret.Resolver{}, nil)(adapters.DestinationConfig{
		Name: "erp", URL: srv.URL, Health: &adapters.HealthConfig{URL: "/ping"},
		Auth: httpauth.Config{Type: "oauth2", TokenURL: srv.URL + "/token", ClientID: "ferry", ClientSecret: "env:FERRY_TEST_CLIENT_SECRET"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	a, err := d.Route(adapters.RouteConfig{URL: "/in", Reference: ".id", Lookup: &adapters.LookupConfig{URL: "/in/{externalKey}", Reference: ".id"}})
	if err != nil {
		t.Fatal(err)
	}
	return e, d, a
}

// A token that the ERP refuses is fetched anew once, and the call repeated once,
// whole; when that is refused too, it is the credentials.
func TestOneFreshToken(t *testing.T) {
	e, d, a := openTokenERP(t)
	wantCounts := func(what string, tokens, calls int64) {
		t.Helper()
		if got, asked := e.tokens.Load(), e.calls.Load(); got != tokens || asked != calls {
			t.Errorf("%s: %d tokens and %d calls, want %d and %d", what, got, asked, tokens, calls)
		}
	}
	if v := a.Deliver(t.Context(), call()); v.Kind != ferry.Delivered {
		t.Fatalf("%+v", v)
	}
	wantCounts("first call", 1, 1)

	e.goodFrom.Store(2)
	if v := a.Deliver(t.Context(), call()); v.Kind != ferry.Delivered || v.Reference != "7" {
		t.Fatalf("after a fresh token: %+v", v)
	}
	if body := e.bodies.Load(); body != string(call().Body) {
		t.Errorf("the repeat bears %q", body)
	}
	wantCounts("fresh token", 2, 3)

	e.goodFrom.Store(3)
	if r := a.Lookup(t.Context(), call()); r.State != adapters.Found {
		t.Fatalf("lookup after a fresh token: %+v", r)
	}
	wantCounts("lookup", 3, 5)
	e.goodFrom.Store(4)
	if err := d.Probe(t.Context()); err != nil {
		t.Fatalf("probe after a fresh token: %v", err)
	}
	wantCounts("probe", 4, 7)

	e.goodFrom.Store(100)
	v := a.Deliver(t.Context(), call())
	if v.Kind != ferry.Unauthorized || v.Effect != ferry.EffectNone || v.Status != 401 {
		t.Fatalf("refused twice: %+v", v)
	}
	wantCounts("refused twice", 5, 9)
	if text := fmt.Sprintf("%+v", v); strings.Contains(text, "secret-token") {
		t.Errorf("the token is told: %s", text)
	}
}

// What may have been written is never repeated for a token's sake.
func TestNoRepeatAfterAnEffect(t *testing.T) {
	e, _, a := openTokenERP(t)
	e.goodFrom.Store(100)
	e.writes.Store(true)
	if v := a.Deliver(t.Context(), call()); v.Kind != ferry.Unknown || v.Effect != ferry.EffectMaybe {
		t.Fatalf("%+v", v)
	}
	if e.calls.Load() != 1 || e.tokens.Load() != 1 {
		t.Errorf("%d calls with %d tokens", e.calls.Load(), e.tokens.Load())
	}
}

func TestTokenEndpointFaults(t *testing.T) {
	e, d, a := openTokenERP(t)
	e.down.Store(true)
	if v := a.Deliver(t.Context(), call()); v.Kind != ferry.Unavailable || v.Effect != ferry.EffectNone || v.Code != "tokenUnavailable" {
		t.Errorf("down: %+v", v)
	}
	if r := a.Lookup(t.Context(), call()); r.State != adapters.Unanswered || r.Verdict.Kind != ferry.Unavailable {
		t.Errorf("down, lookup: %+v", r)
	}
	if err := d.Probe(t.Context()); err == nil {
		t.Error("down, probe: no error")
	}
	e.down.Store(false)
	e.refuses.Store(true)
	v := a.Deliver(t.Context(), call())
	if v.Kind != ferry.Unauthorized || v.Effect != ferry.EffectNone || strings.Contains(v.Text, "hush") {
		t.Errorf("refused: %+v", v)
	}
	if err := d.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), adapters.ErrRefused.Error()) {
		t.Errorf("refused, probe: %v", err)
	}
	if e.calls.Load() != 0 {
		t.Errorf("%d calls without a token", e.calls.Load())
	}
}
