package httpauth_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"ferry/httpauth"
	"ferry/internal/windowsauth"
)

// sink is a destination behind apache: it counts the bodies that reach it.
type sink struct {
	mu     sync.Mutex
	bodies []string
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.bodies = append(s.bodies, r.Method+" "+string(body))
	s.mu.Unlock()
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = io.WriteString(w, `{"id":"7"}`)
}

func (s *sink) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.bodies...)
}

func openAuth(t *testing.T, cfg httpauth.Config, secrets vault) httpauth.Authenticator {
	t.Helper()
	auth, err := httpauth.Open(cfg, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := auth.(io.Closer); ok {
		t.Cleanup(func() { _ = c.Close() })
	}
	return auth
}

// once is a body that cannot be read again.
type once struct{ io.Reader }

func (once) Close() error { return nil }

// exchange makes one request as an adapter does, and gives its status.
func exchange(t *testing.T, auth httpauth.Authenticator, rt http.RoundTripper, method, url, body string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Body, req.ContentLength = once{strings.NewReader(body)}, int64(len(body))
	}
	if err := auth.Apply(req); err != nil {
		return 0, err
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// apache verifies NTLM by gss-ntlmssp.
func TestNTLMAtApache(t *testing.T) {
	windowsauth.Skip(t)
	backend := &sink{}
	srv := httptest.NewServer(backend)
	t.Cleanup(srv.Close)
	apache := windowsauth.StartNTLM(t, srv.URL, map[string]string{"svc-ferry": "right-password"})
	secrets := vault{"env:P": "right-password"}
	auth := openAuth(t, httpauth.Config{Type: "ntlm", Username: "svc-ferry", Domain: windowsauth.Domain, Password: "env:P"}, secrets)
	rt := auth.Wrap(&http.Transport{})
	body := `{"number":"1"}` + strings.Repeat(" ", 300_000)
	for range 3 {
		if status, err := exchange(t, auth, rt, http.MethodPost, apache.URL+"/invoices", body); err != nil || status != http.StatusCreated {
			t.Fatalf("%d, %v; %v", status, err, apache.Requests())
		}
	}
	if status, err := exchange(t, auth, rt, http.MethodGet, apache.URL+"/invoices", ""); err != nil || status != http.StatusOK {
		t.Fatalf("%d, %v", status, err)
	}
	t.Log(apache.Requests())
	secrets["env:P"] = "wrong-password"
	if status, err := exchange(t, auth, rt, http.MethodPost, apache.URL+"/invoices", body); err != nil || status != http.StatusUnauthorized {
		t.Fatalf("%d, %v", status, err)
	}
	t.Log(apache.Requests())
	_ = bytes.MinRead
	_ = errors.New
}

func TestKerberosAtApache(t *testing.T) {
	kdc := windowsauth.StartKDC(t)
	kdc.User("svc-ferry", "right-password")
	backend := &sink{}
	srv := httptest.NewServer(backend)
	t.Cleanup(srv.Close)
	apache := windowsauth.StartKerberos(t, srv.URL, kdc, kdc.Service("HTTP/127.0.0.1"))
	secrets := vault{"env:P": "right-password"}
	auth := openAuth(t, httpauth.Config{Type: "kerberos", Username: "svc-ferry", Realm: windowsauth.Realm, Password: "env:P", KDC: []string{kdc.Address}}, secrets)
	rt := auth.Wrap(&http.Transport{})
	for range 3 {
		if status, err := exchange(t, auth, rt, http.MethodPost, apache.URL+"/invoices", `{"number":"1"}`); err != nil || status != http.StatusCreated {
			t.Fatalf("%d, %v; %v", status, err, apache.Requests())
		}
	}
	t.Log(apache.Requests(), kdc.Count("AS_REQ"), kdc.Count("TGS_REQ"))
	secrets["env:P"] = "wrong-password"
	_, err := exchange(t, auth, rt, http.MethodPost, apache.URL+"/invoices", `{"number":"1"}`)
	t.Log(err, kdc.Count("PREAUTH_FAILED"))
	kdc.Stop()
	secrets["env:P"] = "right-password"
	_, err = exchange(t, auth, rt, http.MethodPost, apache.URL+"/invoices", `{"number":"1"}`)
	t.Log(err)
}
