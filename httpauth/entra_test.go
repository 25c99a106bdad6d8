package httpauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ferry"
	"ferry/httpauth"
)

// entraID is Entra ID as far as the SDK asks it: a tenant's metadata, and tokens.
type entraID struct {
	status  atomic.Int64 // 0: a token
	body    atomic.Value // of any other status
	fetches atomic.Int64
	form    atomic.Value // url.Values of the last fetch
	srv     *httptest.Server
	ca      string // a file with its certificate
}

func newEntraID(t *testing.T) *entraID {
	t.Helper()
	e := &entraID{}
	e.srv = httptest.NewTLSServer(e)
	t.Cleanup(e.srv.Close)
	e.ca = filepath.Join(t.TempDir(), "entra.pem")
	writeFile(t, e.ca, pemOf(t, "CERTIFICATE", e.srv.Certificate().Raw, nil))
	return e
}

func (e *entraID) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration") {
		base := e.srv.URL + "/contoso"
		_, _ = fmt.Fprintf(w, `{"token_endpoint":"%s/oauth2/v2.0/token","authorization_endpoint":"%s/oauth2/v2.0/authorize","issuer":"%s/v2.0"}`, base, base, base)
		return
	}
	_ = r.ParseForm()
	e.form.Store(r.PostForm)
	n := e.fetches.Add(1)
	if status := e.status.Load(); status != 0 {
		w.WriteHeader(int(status))
		_, _ = fmt.Fprint(w, e.body.Load())
		return
	}
	_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600,"ext_expires_in":3600}`, n)
}

func (e *entraID) open(t *testing.T, change ...func(*httpauth.Config)) (httpauth.Authenticator, vault) {
	t.Helper()
	cfg := httpauth.Config{
		Type: "entraId", TenantID: "contoso", ClientID: "00000000-0000-0000-0000-000000000001", ClientSecret: "env:S",
		Authority: e.srv.URL, TokenCA: e.ca,
	}
	for _, f := range change {
		f(&cfg)
	}
	secrets := vault{"env:S": clientSecret}
	auth, err := httpauth.Options{URL: "https://contoso.crm4.dynamics.com/api/data/v9.2"}.Open(cfg, secrets)
	if err != nil {
		t.Fatal(err)
	}
	return auth, secrets
}

// One token serves until it is refused; then a fresh one is fetched, past the
// SDK's own cache, with the secret as it is by then.
func TestEntraToken(t *testing.T) {
	e := newEntraID(t)
	auth, secrets := e.open(t)
	wantBearer(t, auth, "token-1")
	req := wantBearer(t, auth, "token-1")
	form := e.form.Load().(url.Values)
	if !strings.Contains(form.Get("scope"), "https://contoso.crm4.dynamics.com/.default") || form.Get("client_secret") != clientSecret {
		t.Errorf("form %v", form)
	}
	before := auth.Fingerprint()
	secrets["env:S"] = "rotated-secret"
	if auth.Fingerprint() == before {
		t.Error("the fingerprint stays the same")
	}
	if !auth.(httpauth.Renewer).Refused(req) {
		t.Error("a token can be had anew")
	}
	wantBearer(t, auth, "token-2")
	if form := e.form.Load().(url.Values); form.Get("client_secret") != "rotated-secret" {
		t.Errorf("form %v", form)
	}
}

// A certificate signs an assertion; Entra ID never sees its key.
func TestEntraCertificate(t *testing.T) {
	e := newEntraID(t)
	file := filepath.Join(t.TempDir(), "client.pem")
	pair := newAuthority(t).issueRSA(t, "ferry")
	writeFile(t, file, pair.cert+pair.key)
	auth, _ := e.open(t, func(c *httpauth.Config) { c.ClientSecret, c.Certificate = "", file })
	wantBearer(t, auth, "token-1")
	form := e.form.Load().(url.Values)
	if form.Get("client_assertion") == "" || form.Get("client_secret") != "" {
		t.Errorf("form %v", form)
	}
	before := auth.Fingerprint()
	other := newAuthority(t).issueRSA(t, "ferry")
	writeFile(t, file, other.cert+other.key)
	if auth.Fingerprint() == before {
		t.Error("the fingerprint does not cover the certificate")
	}
}

// A refusal is told from an outage, and neither quotes what Entra ID said.
func TestEntraFaults(t *testing.T) {
	const refused = `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret 'client-secret&1' provided.","error_codes":[7000215]}`
	for name, c := range map[string]struct {
		status int64
		body   string
		want   error
		says   string
	}{
		"wrong secret":   {401, refused, httpauth.ErrRefused, "invalid_client, AADSTS7000215"},
		"unknown client": {400, `{"error":"unauthorized_client","error_codes":[700016]}`, httpauth.ErrRefused, "AADSTS700016"},
		"throttled":      {429, `{"error":"too_many_requests"}`, httpauth.ErrUnavailable, "429"},
		"down":           {503, `<html>`, httpauth.ErrUnavailable, "503"},
		"for a moment":   {400, `{"error":"temporarily_unavailable"}`, httpauth.ErrUnavailable, "temporarily_unavailable"},
	} {
		e := newEntraID(t)
		auth, _ := e.open(t)
		e.body.Store(c.body)
		e.status.Store(c.status)
		_, err := bearer(t, auth)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "client-secret") {
			t.Errorf("%s: %v", name, err)
		}
		if n := e.fetches.Load(); n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
		e.status.Store(0)
		if _, err := bearer(t, auth); err != nil {
			t.Errorf("%s, and well again: %v", name, err)
		}
	}
	e := newEntraID(t)
	auth, _ := e.open(t)
	e.srv.Close()
	if _, err := bearer(t, auth); !errors.Is(err, httpauth.ErrUnavailable) {
		t.Errorf("away: %v", err)
	}
	e = newEntraID(t)
	auth, _ = e.open(t, func(c *httpauth.Config) { c.TokenCA = "" })
	if _, err := bearer(t, auth); !errors.Is(err, httpauth.ErrUnavailable) || e.fetches.Load() != 0 {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
}

// The machine's identity is asked for on the machine; here as App Service offers
// it. A refused token is fetched anew although the SDK keeps it.
func TestEntraManagedIdentity(t *testing.T) {
	var fetches atomic.Int64
	var last atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		last.Store(r.URL.RawQuery + " " + r.Header.Get("X-Identity-Header"))
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","expires_on":"4102444800","resource":"api://erp","token_type":"Bearer"}`, fetches.Add(1))
	}))
	t.Cleanup(srv.Close)
	t.Setenv("IDENTITY_ENDPOINT", srv.URL)
	t.Setenv("IDENTITY_HEADER", "this-machine")
	auth, err := httpauth.Open(httpauth.Config{Type: "entraId", Credential: "managedIdentity", Scopes: []string{"api://erp/.default"}}, vault{})
	if err != nil {
		t.Fatal(err)
	}
	req := wantBearer(t, auth, "token-1")
	if got := last.Load().(string); !strings.Contains(got, "resource=api") || !strings.HasSuffix(got, " this-machine") {
		t.Errorf("asked with %s", got)
	}
	auth.(httpauth.Renewer).Refused(req)
	wantBearer(t, auth, "token-2")
}

// Dynamics 365 and Dataverse give tokens for their own address; for anything
// else the scope has to be said.
func TestEntraScope(t *testing.T) {
	cfg := httpauth.Config{Type: "entraId", Credential: "managedIdentity"}
	for _, address := range []string{
		"https://contoso.crm4.dynamics.com/api/data/v9.2", "https://contoso.operations.dynamics.com/data", "https://api.businesscentral.dynamics.com/v2.0/x",
		"https://contoso.crm.microsoftdynamics.us",
	} {
		if _, err := (httpauth.Options{URL: address}).Open(cfg, vault{}); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"", "https://erp.example", "https://dynamics.com.example/x", "http://contoso.crm4.dynamics.com"} {
		if _, err := (httpauth.Options{URL: address}).Open(cfg, vault{}); ferry.CodeOf(err) != ferry.CodeBadConfig || !strings.Contains(err.Error(), "scopes") {
			t.Errorf("%s: %v", address, err)
		}
	}
}
