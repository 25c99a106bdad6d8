package httpauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/httpcall"
	"ferry/httpauth"
	"ferry/secret"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

type pair struct{ cert, key string }

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, _ := ecKey(t, elliptic.P256())
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	a := &authority{key: key, pem: pemOf(t, "CERTIFICATE", der, err)}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

func (a *authority) issue(t *testing.T, name string, change ...func(*x509.Certificate)) pair {
	t.Helper()
	key, text := ecKey(t, elliptic.P256())
	template := a.template(name)
	for _, f := range change {
		f(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	return pair{pemOf(t, "CERTIFICATE", der, err), text}
}

func (a *authority) issueRSA(t *testing.T, name string) pair {
	t.Helper()
	key, text := rsaKey(t, 2048)
	der, err := x509.CreateCertificate(rand.Reader, a.template(name), a.cert, &key.PublicKey, a.key)
	return pair{pemOf(t, "CERTIFICATE", der, err), text}
}

// guarded is a destination that lets clients of one authority in.
type guarded struct {
	srv   *httptest.Server
	names atomic.Value // of the clients: the last one
	calls atomic.Int64
	user  atomic.Value
}

func newGuarded(t *testing.T, server pair, clients *authority) *guarded {
	t.Helper()
	g := &guarded{}
	g.srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.calls.Add(1)
		g.names.Store(r.TLS.PeerCertificates[0].Subject.CommonName)
		user, _, _ := r.BasicAuth()
		g.user.Store(user)
		w.WriteHeader(http.StatusCreated)
	}))
	certificate, err := tls.X509KeyPair([]byte(server.cert), []byte(server.key))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(clients.cert)
	g.srv.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}
	g.srv.StartTLS()
	t.Cleanup(g.srv.Close)
	return g
}

// call makes one request as adapters do; an error is one of Apply.
func call(t *testing.T, auth httpauth.Authenticator, rt http.RoundTripper, url string) (*httpcall.Answer, error) {
	t.Helper()
	req, err := httpcall.NewRequest(t.Context(), http.MethodPost, url, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.Apply(req); err != nil {
		return nil, err
	}
	return httpcall.Do(rt, req), nil
}

// A certificate goes beside any kind of logon, and files that change are used
// without a restart.
func TestClientCertificate(t *testing.T) {
	theirs, ours := newAuthority(t), newAuthority(t)
	g := newGuarded(t, theirs.issue(t, "erp"), ours)
	dir := t.TempDir()
	cert, key, ca := filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key"), filepath.Join(dir, "ca.pem")
	first := ours.issue(t, "worker-1")
	writeFile(t, cert, first.cert)
	writeFile(t, key, first.key)
	writeFile(t, ca, theirs.pem)
	options := httpauth.Options{URL: g.srv.URL, TLS: httpauth.TLS{Cert: cert, Key: secret.Ref("file:" + key), CA: ca}}
	password := filepath.Join(dir, "password")
	writeFile(t, password, "pass-word")
	auth, err := options.Open(httpauth.Config{Type: "basic", Username: "me", Password: secret.Ref("file:" + password)}, secret.Resolver{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = auth.(io.Closer).Close() })
	if _, ok := auth.(httpauth.Credentials); !ok {
		t.Error("basic beside a certificate has no credentials to give")
	}
	refused := httptest.NewRequest(http.MethodGet, g.srv.URL, nil)
	refused.SetBasicAuth("me", "pass-word")
	if auth.(httpauth.Renewer).Refused(refused) {
		t.Error("a password that is the same can be had anew")
	}
	if refused.SetBasicAuth("me", "the one before"); !auth.(httpauth.Renewer).Refused(refused) {
		t.Error("a password that was replaced since the request cannot be had anew")
	}
	rt := auth.Wrap(httpcall.NewTransport(nil))
	want := func(name string) {
		t.Helper()
		a, err := call(t, auth, rt, g.srv.URL)
		if err != nil || a.Status != http.StatusCreated || g.names.Load() != name {
			t.Fatalf("%v %+v as %v, want %s", err, a, g.names.Load(), name)
		}
	}
	want("worker-1")
	if g.user.Load() != "me" {
		t.Errorf("user %v", g.user.Load())
	}
	before := auth.Fingerprint()
	second := ours.issue(t, "worker-2")
	writeFile(t, cert, second.cert)
	// In between the files do not go together: the ones before stay in use.
	want("worker-1")
	writeFile(t, key, second.key)
	if auth.Fingerprint() == before {
		t.Error("the fingerprint does not cover the certificate")
	}
	want("worker-2")
}

// Certificates that do not fit are told before, or as a failure of TLS, without
// effect.
func TestCertificatesThatDoNotFit(t *testing.T) {
	theirs, ours, others := newAuthority(t), newAuthority(t), newAuthority(t)
	g := newGuarded(t, theirs.issue(t, "erp"), ours)
	good, wrong := ours.issue(t, "worker-1"), others.issue(t, "worker-1")
	ended := ours.issue(t, "worker-1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	for name, c := range map[string]struct {
		cert, key, ca string
		serverName    string
		says          string // by Apply; "": the call fails
		without       bool   // a certificate
	}{
		"of another authority":     {cert: wrong.cert, key: wrong.key, ca: theirs.pem},
		"none":                     {ca: theirs.pem, without: true},
		"theirs is not trusted":    {cert: good.cert, key: good.key, ca: ours.pem},
		"theirs is for a name":     {cert: good.cert, key: good.key, ca: theirs.pem, serverName: "other"},
		"they do not go together":  {cert: good.cert, key: wrong.key, ca: theirs.pem, says: "do not go together"},
		"ended":                    {cert: ended.cert, key: ended.key, ca: theirs.pem, says: "ended at"},
		"no certificate":           {cert: "x", key: good.key, ca: theirs.pem, says: "do not go together"},
		"no authority's either":    {cert: good.cert, key: good.key, ca: "x", says: "no certificate"},
		"the system's are no help": {cert: good.cert, key: good.key},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			settings := httpauth.TLS{Cert: filepath.Join(dir, "client.pem"), Key: secret.Ref("file:" + filepath.Join(dir, "client.key")), ServerName: c.serverName}
			writeFile(t, settings.Cert, c.cert)
			writeFile(t, filepath.Join(dir, "client.key"), c.key)
			if c.ca != "" {
				settings.CA = filepath.Join(dir, "ca.pem")
				writeFile(t, settings.CA, c.ca)
			}
			if c.without {
				settings.Cert, settings.Key = "", ""
			}
			auth, err := httpauth.Options{URL: g.srv.URL, TLS: settings}.Open(httpauth.Config{}, secret.Resolver{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = auth.(io.Closer).Close() })
			a, err := call(t, auth, auth.Wrap(httpcall.NewTransport(nil)), g.srv.URL)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "PRIVATE") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil || a.Failure != httpcall.FailureTLS || a.Effect != ferry.EffectNone {
				t.Errorf("%v %+v", err, a)
			}
		})
	}
	if n := g.calls.Load(); n != 0 {
		t.Errorf("%d calls reached the destination", n)
	}
}

func TestServerName(t *testing.T) {
	theirs, ours := newAuthority(t), newAuthority(t)
	g := newGuarded(t, theirs.issue(t, "erp.corp.example", func(c *x509.Certificate) { c.IPAddresses = nil }), ours)
	dir := t.TempDir()
	mine := ours.issue(t, "worker-1")
	settings := httpauth.TLS{
		Cert: filepath.Join(dir, "client.pem"), Key: secret.Ref("file:" + filepath.Join(dir, "client.key")),
		CA: filepath.Join(dir, "ca.pem"), ServerName: "erp.corp.example",
	}
	writeFile(t, settings.Cert, mine.cert)
	writeFile(t, filepath.Join(dir, "client.key"), mine.key)
	writeFile(t, settings.CA, theirs.pem)
	auth, err := httpauth.Options{URL: g.srv.URL, TLS: settings}.Open(httpauth.Config{}, secret.Resolver{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = auth.(io.Closer).Close() })
	if a, err := call(t, auth, auth.Wrap(httpcall.NewTransport(nil)), g.srv.URL); err != nil || a.Status != http.StatusCreated {
		t.Errorf("%v %+v", err, a)
	}
}

func TestValidateTLS(t *testing.T) {
	for name, c := range map[string]struct {
		url string
		tls httpauth.TLS
	}{
		"no key":      {"https://e", httpauth.TLS{Cert: "c"}},
		"literal key": {"https://e", httpauth.TLS{Cert: "c", Key: hush}},
		"without TLS": {"http://e", httpauth.TLS{CA: "c"}},
	} {
		if _, err := (httpauth.Options{URL: c.url, TLS: c.tls}).Open(httpauth.Config{}, vault{}); ferry.CodeOf(err) != ferry.CodeBadConfig || strings.Contains(err.Error(), hush) {
			t.Errorf("%s: %v", name, err)
		}
	}
	both := httpauth.TLS{Key: "env:K"} // the secret holds the certificate, too
	good := httpauth.TLS{Cert: "c", Key: "env:K", CA: "a"}
	if err := both.Validate(); err != nil {
		t.Error(err)
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if refs := good.Secrets(); len(refs) != 1 || refs[0] != "env:K" {
		t.Errorf("%v", refs)
	}
	if files := good.Files(); files["cert"] != "c" || files["ca"] != "a" || len(files) != 2 {
		t.Errorf("%v", files)
	}
}

// A part that is not given is not one that cannot be read.
func TestFingerprintOfPartsOfTLS(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, newAuthority(t).pem)
	for name, cfg := range map[string]httpauth.TLS{"ca": {CA: ca}, "server name": {ServerName: "erp.example"}} {
		auth, err := httpauth.Options{URL: "https://erp.example", TLS: cfg}.Open(httpauth.Config{}, secret.Resolver{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if print := auth.Fingerprint(); strings.Contains(print, httpauth.Unreadable) {
			t.Errorf("%s: %s", name, print)
		}
	}
}
