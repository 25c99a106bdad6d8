package httpauth_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"ferry"
	"ferry/httpauth"
	"ferry/secret"
)

const hush = "hunter2&hunter 2"

// vault resolves from a map that tests change.
type vault map[secret.Ref]string

func (v vault) Resolve(ref secret.Ref) (secret.Value, error) {
	text, ok := v[ref]
	if !ok {
		return secret.Value{}, errors.New("there is none")
	}
	return secret.NewValue(text), nil
}

func TestApplyAndShow(t *testing.T) {
	for name, c := range map[string]struct {
		cfg           httpauth.Config
		applied, seen string // header and query, written as "Name: value" or "?query"
	}{
		"none":   {httpauth.Config{}, "?a=b%20c", "?a=b%20c"},
		"header": {httpauth.Config{Type: "apiKey", Header: "x-api-key", Key: "env:K"}, "X-Api-Key: " + hush, "X-Api-Key: ***"},
		"prefix": {httpauth.Config{Type: "apiKey", Header: "Authorization", Prefix: "Bearer ", Key: "env:K"}, "Authorization: Bearer " + hush, "Authorization: Bearer ***"},
		"query":  {httpauth.Config{Type: "apiKey", Query: "code", Key: "env:K"}, "?a=b%20c&code=hunter2%26hunter%202", "?a=b%20c&code=***"},
		"basic":  {httpauth.Config{Type: "basic", Username: "me", Password: "env:K"}, "Authorization: Basic bWU6aHVudGVyMiZodW50ZXIgMg==", "Authorization: Basic ***"},
	} {
		secrets := vault{"env:K": hush}
		auth, err := httpauth.Open(c.cfg, secrets)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for want, act := range map[string]func(*http.Request) error{
			c.applied: auth.Apply,
			c.seen:    func(r *http.Request) error { auth.Show(r); return nil },
		} {
			req := httptest.NewRequest(http.MethodPost, "http://erp.example/x?a=b%20c", nil)
			if err := act(req); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got := "?" + req.URL.RawQuery
			if header, _, ok := strings.Cut(want, ": "); ok {
				got = header + ": " + req.Header.Get(header)
			}
			if got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		base := http.RoundTripper(&http.Transport{})
		if auth.Wrap(base) != base {
			t.Errorf("%s: the transport is wrapped", name)
		}
	}
}

func TestSecretsAreReadPerRequest(t *testing.T) {
	for _, cfg := range []httpauth.Config{
		{Type: "apiKey", Header: "x-api-key", Key: "env:K"}, {Type: "basic", Username: "me", Password: "env:K"},
	} {
		secrets := vault{}
		auth, err := httpauth.Open(cfg, secrets)
		if err != nil {
			t.Fatal(err)
		}
		apply := func() (string, error) {
			req := httptest.NewRequest(http.MethodPost, "http://erp.example/", nil)
			err := auth.Apply(req)
			return req.Header.Get("X-Api-Key") + req.Header.Get("Authorization"), err
		}
		if _, err := apply(); err == nil {
			t.Error("no error without the secret")
		}
		if fp := auth.Fingerprint(); !strings.Contains(fp, httpauth.Unreadable) {
			t.Errorf("fingerprint without the secret: %s", fp)
		}
		seen := map[string]bool{auth.Fingerprint(): true}
		sent := map[string]bool{}
		for _, text := range []string{"one-secret", "two-secret"} {
			secrets["env:K"] = text
			header, err := apply()
			if err != nil {
				t.Fatal(err)
			}
			sent[header], seen[auth.Fingerprint()] = true, true
			if fp := auth.Fingerprint(); strings.Contains(fp, text) || strings.Contains(fp, httpauth.Unreadable) || fp != auth.Fingerprint() {
				t.Errorf("fingerprint %s", fp)
			}
		}
		if len(sent) != 2 || len(seen) != 3 {
			t.Errorf("headers %v, fingerprints %v", sent, seen)
		}
	}
}

func TestRedact(t *testing.T) {
	secrets := vault{"env:K": hush}
	for name, c := range map[string]struct {
		cfg  httpauth.Config
		in   string
		want string
	}{
		"key":            {httpauth.Config{Type: "apiKey", Header: "x", Key: "env:K"}, "bad key " + hush + "!", "bad key ***!"},
		"escaped":        {httpauth.Config{Type: "apiKey", Query: "x", Key: "env:K"}, "GET ?x=hunter2%26hunter%202 or hunter2%26hunter+2", "GET ?x=*** or ***"},
		"basic token":    {httpauth.Config{Type: "basic", Username: "me", Password: "env:K"}, "Basic bWU6aHVudGVyMiZodW50ZXIgMg== / " + hush, "Basic *** / ***"},
		"nothing to say": {httpauth.Config{}, "text", "text"},
	} {
		auth, err := httpauth.Open(c.cfg, secrets)
		if err != nil {
			t.Fatal(err)
		}
		if got := auth.Redact(c.in); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
	auth, _ := httpauth.Open(httpauth.Config{Type: "apiKey", Header: "x", Key: "env:S"}, vault{"env:S": "a"})
	if got := auth.Redact("a plain banana"); got != "a plain banana" {
		t.Errorf("a short secret garbles text: %q", got)
	}
}

func TestUnsendableKey(t *testing.T) {
	auth, err := httpauth.Open(httpauth.Config{Type: "apiKey", Header: "x", Key: "env:K"}, vault{"env:K": "line\nline-" + hush})
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodGet, "http://erp.example/", nil)
	if err := auth.Apply(req); err == nil || strings.Contains(err.Error(), hush) || req.Header.Get("x") != "" {
		t.Errorf("%v", err)
	}
}

func TestValidateRefuses(t *testing.T) {
	for name, cfg := range map[string]httpauth.Config{
		"unknown type":       {Type: "digest"},
		"none with settings": {Username: "me"},
		"nowhere to put it":  {Type: "apiKey", Key: "env:K"},
		"two places":         {Type: "apiKey", Header: "a", Query: "b", Key: "env:K"},
		"no key":             {Type: "apiKey", Header: "a"},
		"literal key":        {Type: "apiKey", Header: "a", Key: hush},
		"bad header":         {Type: "apiKey", Header: "a b", Key: "env:K"},
		"connection header":  {Type: "apiKey", Header: "content-length", Key: "env:K"},
		"prefix in a query":  {Type: "apiKey", Query: "a", Prefix: "b", Key: "env:K"},
		"bad prefix":         {Type: "apiKey", Header: "a", Prefix: "b\n", Key: "env:K"},
		"key with a name":    {Type: "apiKey", Header: "a", Key: "env:K", Username: "me"},
		"no username":        {Type: "basic", Password: "env:K"},
		"colon in username":  {Type: "basic", Username: "a:b", Password: "env:K"},
		"no password":        {Type: "basic", Username: "a"},
		"literal password":   {Type: "basic", Username: "a", Password: hush},
		"basic with a key":   {Type: "basic", Username: "a", Password: "env:K", Key: "env:K"},
	} {
		_, err := httpauth.Open(cfg, vault{})
		if ferry.CodeOf(err) != ferry.CodeBadConfig || strings.Contains(err.Error(), hush) || !strings.HasPrefix(err.Error(), "auth: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Some destinations want user name and password in the body.
func TestBasicGivesItsCredentials(t *testing.T) {
	secrets := vault{"env:P": "pass-word"}
	auth, err := httpauth.Open(httpauth.Config{Type: "basic", Username: "ferry", Password: "env:P"}, secrets)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := auth.(httpauth.Credentials)
	if !ok {
		t.Fatal("basic has no credentials to give")
	}
	if user, password, err := c.Credentials(); err != nil || user != "ferry" || password.Reveal() != "pass-word" {
		t.Errorf("%q, %v", user, err)
	}
	delete(secrets, "env:P")
	if _, password, err := c.Credentials(); err == nil || !password.IsZero() {
		t.Error("a missing password is no error")
	}
	if none, err := httpauth.Open(httpauth.Config{}, secrets); err != nil {
		t.Fatal(err)
	} else if _, ok := none.(httpauth.Credentials); ok {
		t.Error("none has credentials to give")
	}
}
