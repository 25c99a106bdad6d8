package httpauth_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ferry"
	"ferry/adapters/httpcall"
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
	s.bodies = append(s.bodies, r.Method+" "+itoa(len(body)))
	s.mu.Unlock()
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = io.WriteString(w, `{"id":"7"}`)
}

func (s *sink) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.bodies, "; ")
}

func newSink(t *testing.T) (*sink, string) {
	t.Helper()
	s := &sink{}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	return s, srv.URL
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

// apache verifies NTLM by gss-ntlmssp: a POST arrives whole and once, a wrong
// password is one logon.
func TestNTLMAtApache(t *testing.T) {
	windowsauth.Skip(t)
	backend, url := newSink(t)
	apache := windowsauth.StartNTLM(t, url, map[string]string{"svc-ferry": "right-password"})
	secrets := vault{"env:P": "right-password"}
	auth := openAuth(t, httpauth.Config{Type: "ntlm", Username: "svc-ferry", Domain: windowsauth.Domain, Password: "env:P"}, secrets)
	rt := auth.Wrap(httpcall.NewTransport(nil))
	t.Cleanup(rt.(interface{ CloseIdleConnections() }).CloseIdleConnections)
	for range 2 {
		a, _ := deliver(t, t.Context(), auth, rt, http.MethodPost, apache.URL+"/invoices", large)
		wantStatus(t, a, http.StatusCreated)
	}
	a, _ := deliver(t, t.Context(), auth, rt, http.MethodGet, apache.URL+"/invoices", "")
	wantStatus(t, a, http.StatusOK)
	if got := backend.seen(); got != "POST large; POST large; GET 0" {
		t.Errorf("behind apache: %s", got)
	}
	secrets["env:P"] = "wrong-password"
	for range 3 {
		a, repeats := deliver(t, t.Context(), auth, rt, http.MethodPost, apache.URL+"/refused", "x")
		if wantStatus(t, a, http.StatusUnauthorized); repeats != 0 {
			t.Errorf("%d repeats", repeats)
		}
	}
	eventuallyTrue(t, func() bool { return apache.Count("POST /refused 401") > 0 })
	if n := apache.Count("POST /refused 401"); n != 1 {
		t.Errorf("%d logons with the wrong password", n)
	}
	if got := backend.seen(); got != "POST large; POST large; GET 0" {
		t.Errorf("behind apache: %s", got)
	}
}

// kerberized is apache behind a KDC.
func kerberized(t *testing.T) (*windowsauth.KDC, *windowsauth.Apache, *sink) {
	t.Helper()
	kdc := windowsauth.StartKDC(t)
	kdc.User("svc-ferry", "right-password")
	backend, url := newSink(t)
	return kdc, windowsauth.StartKerberos(t, url, kdc, kdc.Service("HTTP/127.0.0.1")), backend
}

// post makes one request as adapters do; an error is one of Apply.
func post(t *testing.T, auth httpauth.Authenticator, url, body string) (*httpcall.Answer, error) {
	t.Helper()
	transport := httpcall.NewTransport(nil)
	defer transport.CloseIdleConnections()
	req, err := httpcall.NewStream(t.Context(), http.MethodPost, url, once{strings.NewReader(body)}, int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.Apply(req); err != nil {
		return nil, err
	}
	a := httpcall.Do(auth.Wrap(transport), req)
	if r, ok := auth.(httpauth.Renewer); ok && a.Status == http.StatusUnauthorized && !r.Refused(req) {
		t.Error("a ticket can be had anew")
	}
	return a, nil
}

func wantPosted(t *testing.T, auth httpauth.Authenticator, url, body string) {
	t.Helper()
	a, err := post(t, auth, url, body)
	if err != nil || a.Status != http.StatusCreated {
		t.Fatalf("%v %+v", err, a)
	}
}

func TestKerberosAtApache(t *testing.T) {
	kdc, apache, backend := kerberized(t)
	keytab := kdc.Keytab("svc-ferry", false)
	base := httpauth.Config{Type: "kerberos", Username: "svc-ferry", Realm: windowsauth.Realm}
	for name, change := range map[string]func(*httpauth.Config){
		"password": func(c *httpauth.Config) { c.Password, c.KDC = "env:P", []string{kdc.Address} },
		"keytab":   func(c *httpauth.Config) { c.Keytab, c.KDC = keytab, []string{kdc.Address} },
		"krb5Conf": func(c *httpauth.Config) { c.Password, c.Krb5Conf = "env:P", kdc.Krb5Conf },
		"spn": func(c *httpauth.Config) {
			c.Password, c.KDC, c.SPN = "env:P", []string{kdc.Address}, "HTTP/127.0.0.1"
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			asked := kdc.Count("AS_REQ")
			cfg := base
			change(&cfg)
			auth, err := httpauth.Open(cfg, vault{"env:P": "right-password"})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				wantPosted(t, auth, apache.URL+"/invoices", large)
			}
			// One logon: asked for a proof, and given one.
			if n := kdc.Count("AS_REQ") - asked; n != 2 {
				t.Errorf("%d requests for a ticket of the realm", n)
			}
			if err := auth.(io.Closer).Close(); err != nil {
				t.Error(err)
			}
			goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*conn).serve"))
		})
	}
	if got := backend.seen(); got != strings.TrimSuffix(strings.Repeat("POST large; ", 12), "; ") {
		t.Errorf("behind apache: %s", got)
	}
}

// A wrong password is found out at the KDC, once, and nothing is sent to the
// destination; put right, it works. A KDC that is away is another matter.
func TestKerberosWrongPassword(t *testing.T) {
	kdc, apache, backend := kerberized(t)
	secrets := vault{"env:P": "wrong-password"}
	auth := openAuth(t, httpauth.Config{Type: "kerberos", Username: "svc-ferry", Realm: windowsauth.Realm, Password: "env:P", KDC: []string{kdc.Address}}, secrets)
	for range 3 {
		if _, err := post(t, auth, apache.URL, "x"); !errors.Is(err, httpauth.ErrRefused) || strings.Contains(err.Error(), "wrong-password") {
			t.Fatalf("%v", err)
		}
	}
	if n := kdc.Count("PREAUTH_FAILED"); n != 1 {
		t.Errorf("%d logons with the wrong password", n)
	}
	before := auth.Fingerprint()
	secrets["env:P"] = "right-password"
	if auth.Fingerprint() == before {
		t.Error("the fingerprint stays the same")
	}
	wantPosted(t, auth, apache.URL, "x")
	kdc.Stop()
	wantPosted(t, auth, apache.URL, "x") // the tickets are there
	other := openAuth(t, httpauth.Config{Type: "kerberos", Username: "svc-ferry", Realm: windowsauth.Realm, Password: "env:P", KDC: []string{kdc.Address}}, secrets)
	if _, err := post(t, other, apache.URL, "x"); !errors.Is(err, httpauth.ErrUnavailable) {
		t.Errorf("the KDC is away: %v", err)
	}
	kdc.Start()
	wantPosted(t, other, apache.URL, "x")
	if got := backend.seen(); got != "POST small; POST small; POST small" {
		t.Errorf("behind apache: %s", got)
	}
	for what, c := range map[string]httpauth.Config{
		"an unknown service": {Type: "kerberos", Username: "svc-ferry", Realm: windowsauth.Realm, Password: "env:P", KDC: []string{kdc.Address}, SPN: "HTTP/nowhere"},
		"an unknown user":    {Type: "kerberos", Username: "nobody", Realm: windowsauth.Realm, Password: "env:P", KDC: []string{kdc.Address}},
	} {
		if _, err := post(t, openAuth(t, c, secrets), apache.URL, "x"); !errors.Is(err, httpauth.ErrRefused) || what == "an unknown service" && !strings.Contains(err.Error(), "HTTP/nowhere") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Tickets end, and a service gets a new key: a new logon is all that it takes.
func TestKerberosFreshTickets(t *testing.T) {
	kdc, apache, _ := kerberized(t)
	kdc.Lifetime("svc-ferry", "4 seconds")
	auth := openAuth(t, httpauth.Config{Type: "kerberos", Username: "svc-ferry", Realm: windowsauth.Realm, Password: "env:P", KDC: []string{kdc.Address}}, vault{"env:P": "right-password"})
	wantPosted(t, auth, apache.URL, "x")
	time.Sleep(4500 * time.Millisecond) // the ticket's life, by the KDC's clock
	wantPosted(t, auth, apache.URL, "x")
	kdc.Lifetime("svc-ferry", "1 hour")
	auth = openAuth(t, httpauth.Config{Type: "kerberos", Username: "svc-ferry", Realm: windowsauth.Realm, Password: "env:P", KDC: []string{kdc.Address}}, vault{"env:P": "right-password"})
	wantPosted(t, auth, apache.URL, "x")
	kdc.Keytab("HTTP/127.0.0.1", true) // a new key, in the file that apache reads
	if a, err := post(t, auth, apache.URL, "x"); err != nil || a.Status != http.StatusUnauthorized || a.Effect == ferry.EffectMaybe {
		t.Fatalf("with a ticket of the key before: %v %+v", err, a)
	}
	wantPosted(t, auth, apache.URL, "x")
}

// Without a KDC: nobody listens, or who listens says nothing that makes sense.
func TestKerberosWithoutKDC(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	cfg := httpauth.Config{Type: "kerberos", Username: "me", Realm: "FERRY.TEST", Password: "env:P", KDC: []string{address}}
	auth, err := httpauth.Open(cfg, vault{"env:P": "pass-word"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := post(t, auth, "http://127.0.0.1:1", "x"); !errors.Is(err, httpauth.ErrUnavailable) {
		t.Errorf("nobody listens: %v", err)
	}
	if err := auth.(io.Closer).Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("net/http.(*conn).serve"))

	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "keytab"), "\x05\x02\xff\xff\xff\xf0 no keytab at all")
	writeFile(t, filepath.Join(dir, "krb5.conf"), "[libdefaults]\n nonsense\n")
	for what, c := range map[string]httpauth.Config{
		"no keytab":      {Type: "kerberos", Username: "me", Realm: "FERRY.TEST", Keytab: filepath.Join(dir, "keytab"), KDC: []string{address}},
		"nowhere":        {Type: "kerberos", Username: "me", Realm: "FERRY.TEST", Keytab: filepath.Join(dir, "nowhere"), KDC: []string{address}},
		"no krb5.conf":   {Type: "kerberos", Username: "me", Realm: "FERRY.TEST", Password: "env:P", Krb5Conf: filepath.Join(dir, "krb5.conf")},
		"missing secret": {Type: "kerberos", Username: "me", Realm: "FERRY.TEST", Password: "env:OTHER", KDC: []string{address}},
	} {
		if _, err := post(t, openAuth(t, c, vault{"env:P": "pass-word"}), "http://127.0.0.1:1", "x"); err == nil || errors.Is(err, httpauth.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	req := httptest.NewRequest(http.MethodPost, "http://erp", nil)
	auth.Show(req)
	if got := req.Header.Get("Authorization") + auth.Redact(" pass-word"); got != "Negotiate *** ***" {
		t.Errorf("%q", got)
	}
}
