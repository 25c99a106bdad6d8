package httpauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/httpauth"
)

// issuer hands out tokens, or what it is told to answer.
type issuer struct {
	status    atomic.Int64 // 0: a token
	body      atomic.Value // of any other status, or in the place of the token's
	expiresIn atomic.Int64 // seconds; 0: it does not say
	slow      atomic.Int64 // milliseconds
	fetches   atomic.Int64
	last      atomic.Value // the form, and the user and password of basic
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := i.fetches.Add(1)
	_ = r.ParseForm()
	user, password, _ := r.BasicAuth()
	i.last.Store(fmt.Sprint(r.PostForm, " ", user, ":", password))
	time.Sleep(time.Duration(i.slow.Load()) * time.Millisecond) // a server that takes its time
	w.Header().Set("Content-Type", "application/json")
	if body, _ := i.body.Load().(string); body != "" || i.status.Load() != 0 {
		w.WriteHeader(max(int(i.status.Load()), 200))
		_, _ = fmt.Fprint(w, body)
		return
	}
	expires := ""
	if s := i.expiresIn.Load(); s != 0 {
		expires = fmt.Sprintf(`,"expires_in":%d`, s)
	}
	_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer"%s}`, n, expires)
}

const clientSecret = "client-secret&1"

func openOAuth2(t *testing.T, i *issuer, change ...func(*httpauth.Config)) (httpauth.Authenticator, vault) {
	t.Helper()
	srv := httptest.NewServer(i)
	t.Cleanup(srv.Close)
	cfg := httpauth.Config{Type: "oauth2", TokenURL: srv.URL + "/token", ClientID: "ferry", ClientSecret: "env:S", Scopes: []string{"a", "b"}}
	for _, f := range change {
		f(&cfg)
	}
	secrets := vault{"env:S": clientSecret}
	auth, err := httpauth.Open(cfg, secrets)
	if err != nil {
		t.Fatal(err)
	}
	return auth, secrets
}

func bearer(t *testing.T, auth httpauth.Authenticator) (*http.Request, error) {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, "http://erp.example/", nil)
	return req, auth.Apply(req)
}

func wantBearer(t *testing.T, auth httpauth.Authenticator, want string) *http.Request {
	t.Helper()
	req, err := bearer(t, auth)
	if got := req.Header.Get("Authorization"); err != nil || got != "Bearer "+want {
		t.Fatalf("%q instead of %s, %v", got, want, err)
	}
	return req
}

func TestTokenIsFetchedOnceAndKept(t *testing.T) {
	i := &issuer{}
	i.slow.Store(50)
	auth, _ := openOAuth2(t, i, func(c *httpauth.Config) { c.Audience = "erp" })
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() { wantBearer(t, auth, "token-1") })
	}
	group.Wait()
	wantBearer(t, auth, "token-1")
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	if got, want := i.last.Load(), "map[audience:[erp] grant_type:[client_credentials] scope:[a b]] ferry:client-secret%261"; got != want {
		t.Errorf("asked with %s\nwant       %s", got, want)
	}
}

func TestClientAuthInTheBody(t *testing.T) {
	i := &issuer{}
	auth, _ := openOAuth2(t, i, func(c *httpauth.Config) { c.ClientAuth, c.Scopes = "body", nil })
	wantBearer(t, auth, "token-1")
	if got, want := i.last.Load(), "map[client_id:[ferry] client_secret:[client-secret&1] grant_type:[client_credentials]] :"; got != want {
		t.Errorf("asked with %s", got)
	}
}

// A token is not used in the last minute of its life, or the second half of a
// short one.
func TestTokenEndsEarly(t *testing.T) {
	for seconds, fetches := range map[int64]int64{0: 1, 3600: 1, 2: 2} {
		i := &issuer{}
		i.expiresIn.Store(seconds)
		auth, _ := openOAuth2(t, i)
		wantBearer(t, auth, "token-1")
		if seconds == 2 {
			time.Sleep(1050 * time.Millisecond) // the half of its life
		}
		wantBearer(t, auth, fmt.Sprint("token-", fetches))
		if n := i.fetches.Load(); n != fetches {
			t.Errorf("expires in %d: %d fetches", seconds, n)
		}
	}
}

// A refused token is dropped once: who comes later with the same old one does not
// drop the fresh one.
func TestRefusedTokenIsDroppedOnce(t *testing.T) {
	i := &issuer{}
	auth, _ := openOAuth2(t, i)
	renewer := auth.(httpauth.Renewer)
	first, second := wantBearer(t, auth, "token-1"), wantBearer(t, auth, "token-1")
	if !renewer.Refused(first) {
		t.Fatal("no fresh token is promised")
	}
	wantBearer(t, auth, "token-2")
	if !renewer.Refused(second) {
		t.Fatal("no fresh token is promised to the second")
	}
	wantBearer(t, auth, "token-2")
	if n := i.fetches.Load(); n != 2 {
		t.Errorf("%d fetches", n)
	}
	if renewer.Refused(httptest.NewRequest(http.MethodGet, "http://erp.example/", nil)) {
		t.Error("a request without a token leads to a fresh one")
	}
}

func TestTokenFaults(t *testing.T) {
	for name, c := range map[string]struct {
		status int64
		body   string
		want   error
		says   string
	}{
		"refused":           {401, `{"error":"invalid_client","error_description":"` + clientSecret + `"}`, httpauth.ErrRefused, "invalid_client"},
		"bad scope":         {400, `{"error":"invalid_scope"}`, httpauth.ErrRefused, "invalid_scope"},
		"quotes the secret": {400, `{"error":"` + clientSecret + `"}`, httpauth.ErrRefused, "status 400"},
		"wrong address":     {404, `<html>`, httpauth.ErrRefused, "404"},
		"down":              {503, ``, httpauth.ErrUnavailable, "503"},
		"busy":              {429, `{}`, httpauth.ErrUnavailable, "429"},
		"moved":             {302, ``, httpauth.ErrUnavailable, ""},
		"no token":          {200, `{"token_type":"Bearer"}`, httpauth.ErrUnavailable, "no token"},
		"no JSON":           {200, `<html>welcome</html>`, httpauth.ErrUnavailable, ""},
		"a broken token":    {200, `{"access_token":"a\nb"}`, httpauth.ErrUnavailable, "header"},
		"no end":            {200, `{"access_token":"` + strings.Repeat("x", 2<<20) + `"}`, httpauth.ErrUnavailable, ""},
	} {
		i := &issuer{}
		i.status.Store(c.status)
		i.body.Store(c.body)
		auth, _ := openOAuth2(t, i)
		req, err := bearer(t, auth)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), clientSecret) {
			t.Errorf("%s: %v", name, err)
		}
		if req.Header.Get("Authorization") != "" {
			t.Errorf("%s: something was put on the request", name)
		}
		if n := i.fetches.Load(); n != 1 {
			t.Errorf("%s: %d logons", name, n)
		}
	}
	t.Run("nobody there", func(t *testing.T) {
		auth, _ := openOAuth2(t, &issuer{}, func(c *httpauth.Config) { c.TokenURL = "http://127.0.0.1:1/token" })
		if _, err := bearer(t, auth); !errors.Is(err, httpauth.ErrUnavailable) || strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%v", err)
		}
	})
	t.Run("the caller does not wait for ever", func(t *testing.T) {
		i := &issuer{}
		i.slow.Store(500)
		auth, _ := openOAuth2(t, i)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		err := auth.Apply(httptest.NewRequestWithContext(ctx, http.MethodPost, "http://erp.example/", nil))
		if !errors.Is(err, httpauth.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		wantBearer(t, auth, "token-1") // the fetch went on
	})
	t.Run("no secret", func(t *testing.T) {
		i := &issuer{}
		auth, secrets := openOAuth2(t, i)
		delete(secrets, "env:S")
		if _, err := bearer(t, auth); err == nil || i.fetches.Load() != 0 {
			t.Errorf("%v after %d logons", err, i.fetches.Load())
		}
	})
}

func TestTokenIsRedacted(t *testing.T) {
	auth, _ := openOAuth2(t, &issuer{})
	req := wantBearer(t, auth, "token-1")
	if got := auth.Redact("token-1, " + clientSecret + ", client-secret%261"); got != "***, ***, ***" {
		t.Errorf("%q", got)
	}
	auth.Show(req)
	if got := req.Header.Get("Authorization"); got != "Bearer ***" {
		t.Errorf("%q", got)
	}
}

func TestValidateOAuth2(t *testing.T) {
	good := httpauth.Config{Type: "oauth2", TokenURL: "https://login.example/token", ClientID: "ferry", ClientSecret: "env:S", ClientAuth: "body", Scopes: []string{"api://erp/.default"}, Audience: "erp"}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	if refs := good.Secrets(); len(refs) != 1 || refs[0] != "env:S" {
		t.Errorf("secrets %v", refs)
	}
	for name, change := range map[string]func(*httpauth.Config){
		"no token URL":       func(c *httpauth.Config) { c.TokenURL = "" },
		"no URL":             func(c *httpauth.Config) { c.TokenURL = "login.example/token" },
		"without TLS":        func(c *httpauth.Config) { c.TokenURL = "http://login.example/token" },
		"a user in the URL":  func(c *httpauth.Config) { c.TokenURL = "https://a:" + hush + "@login.example/token" },
		"no client":          func(c *httpauth.Config) { c.ClientID = "" },
		"no secret":          func(c *httpauth.Config) { c.ClientSecret = "" },
		"literal secret":     func(c *httpauth.Config) { c.ClientSecret = hush },
		"unknown clientAuth": func(c *httpauth.Config) { c.ClientAuth = "jwt" },
		"two scopes in one":  func(c *httpauth.Config) { c.Scopes = []string{"a b"} },
		"too many scopes":    func(c *httpauth.Config) { c.Scopes = make([]string, 51) },
		"a password":         func(c *httpauth.Config) { c.Password = "env:K" },
		"another type":       func(c *httpauth.Config) { c.Type = "basic" },
	} {
		cfg := good
		change(&cfg)
		if err := cfg.Validate(); ferry.CodeOf(err) != ferry.CodeBadConfig || strings.Contains(err.Error(), hush) || !strings.HasPrefix(err.Error(), "auth: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
