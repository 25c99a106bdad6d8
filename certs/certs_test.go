package certs_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ferry"
	"ferry/certs"
)

// authority signs certificates of tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	last int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

func (a *authority) sign(template *x509.Certificate, by *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.last++
	template.SerialNumber = big.NewInt(a.last)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(90*24*time.Hour)
	}
	parent, signer := template, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// pair makes certificate and key in PEM.
func (a *authority) pair(name string, change ...func(*x509.Certificate)) (certPEM, keyPEM []byte) {
	a.t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(template)
	}
	cert, key := a.sign(template, a)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// place is a folder with the files of a certificate.
type place struct {
	t    *testing.T
	opts certs.Options
	log  bytes.Buffer
}

func newPlace(t *testing.T, certPEM, keyPEM []byte) *place {
	t.Helper()
	dir := t.TempDir()
	p := &place{t: t, opts: certs.Options{Cert: filepath.Join(dir, "broker.pem"), Key: filepath.Join(dir, "broker.key")}}
	p.opts.Log = slog.New(slog.NewTextHandler(&p.log, nil))
	p.write(certPEM, keyPEM)
	return p
}

func (p *place) write(certPEM, keyPEM []byte) {
	p.t.Helper()
	for path, data := range map[string][]byte{p.opts.Cert: certPEM, p.opts.Key: keyPEM} {
		if data == nil {
			continue
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			p.t.Fatal(err)
		}
	}
}

func (p *place) load() *certs.Certificate {
	p.t.Helper()
	c, err := certs.Load(p.opts)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	a := newAuthority(t)
	certPEM, keyPEM := a.pair("broker.test")
	_, otherKey := a.pair("broker.test")
	for name, c := range map[string]struct {
		cert, key, ca []byte
		says          string
	}{
		"not a pair":     {certPEM, otherKey, nil, "are not a pair"},
		"no certificate": {[]byte("-----BEGIN"), keyPEM, nil, "holds no certificate"},
		"a pfx":          {[]byte{0x30, 0x82, 1, 2}, keyPEM, nil, "holds no certificate"},
		"swapped":        {keyPEM, certPEM, nil, "holds no private key"},
		"no key":         {certPEM, []byte("nothing"), nil, "holds no private key"},
		"encrypted":      {certPEM, []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"), nil, "is encrypted"},
		"no authority":   {certPEM, keyPEM, []byte("nothing"), "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, c.cert, c.key)
			if c.ca != nil {
				p.opts.ClientCA = filepath.Join(t.TempDir(), "ca.pem")
				if err := os.WriteFile(p.opts.ClientCA, c.ca, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := certs.Load(p.opts)
			if ferry.CodeOf(err) != ferry.CodeBadConfig || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "PRIVATE KEY-----") {
				t.Errorf("the error shows the key: %v", err)
			}
		})
	}
	p := newPlace(t, certPEM, keyPEM)
	p.opts.Key += ".absent"
	if _, err := certs.Load(p.opts); ferry.CodeOf(err) != ferry.CodeBadConfig || !strings.Contains(err.Error(), "tls.key") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	a := newAuthority(t)
	for name, c := range map[string]struct {
		change func(*x509.Certificate)
		public string
		mode   os.FileMode
		says   string
	}{
		"good": {public: "https://broker.test/ferry", mode: 0o600},
		"ended": {change: func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}, mode: 0o600, says: "ended at"},
		"begins": {change: func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		}, mode: 0o600, says: "begins at"},
		"other host":  {public: "https://other.test", mode: 0o600, says: "not for other.test"},
		"others read": {mode: 0o644, says: "every user"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.mode != 0o600 && runtime.GOOS == "windows" {
				t.Skip("no modes")
			}
			change := c.change
			if change == nil {
				change = func(*x509.Certificate) {}
			}
			certPEM, keyPEM := a.pair("broker.test", change)
			p := newPlace(t, certPEM, keyPEM)
			p.opts.PublicURL = c.public
			if err := os.Chmod(p.opts.Key, c.mode); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(p.load().Warnings(), "; ")
			if c.says == "" && got != "" || !strings.Contains(got, c.says) {
				t.Errorf("warned of %q, want %q", got, c.says)
			}
		})
	}
}

// served is a server under the certificate, and a client that trusts the authority.
type served struct {
	address string
	seen    chan *tls.ConnectionState
}

func serve(t *testing.T, c *certs.Certificate) *served {
	t.Helper()
	s := &served{seen: make(chan *tls.ConnectionState, 100)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	server := &http.Server{TLSConfig: c.Config(), Protocols: protocols, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.seen <- r.TLS
		_, _ = io.WriteString(w, r.Proto)
	})}
	go func() { _ = server.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = server.Close() })
	s.address = l.Addr().String()
	return s
}

func (s *served) client(a *authority, change ...func(*tls.Config)) *http.Client {
	cfg := &tls.Config{RootCAs: a.pool(), ServerName: "broker.test"}
	for _, f := range change {
		f(cfg)
	}
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}}
}

// serial is the serial number of the certificate that a call is served with.
func (s *served) serial(t *testing.T, c *http.Client) string {
	t.Helper()
	resp, err := c.Get("https://" + s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "HTTP/1.1" {
		t.Fatalf("%q, %v", text, err)
	}
	return resp.TLS.PeerCertificates[0].SerialNumber.String()
}

// TestReload: new connections get the new certificate, open ones go on, and a pair
// that cannot be used changes nothing but what is told.
func TestReload(t *testing.T) {
	a := newAuthority(t)
	firstCert, firstKey := a.pair("broker.test")
	p := newPlace(t, firstCert, firstKey)
	c := p.load()
	s := serve(t, c)
	kept := s.client(a)
	first := s.serial(t, kept)
	if c.Look() {
		t.Error("nothing changed, and it was taken over")
	}

	secondCert, secondKey := a.pair("broker.test")
	p.write(secondCert, nil) // between the two writes of a renewal
	if c.Look() {
		t.Error("half a pair is taken over")
	}
	if info := c.Info(); !strings.Contains(info.Problem, "are not a pair") || !strings.Contains(p.log.String(), "cannot be used") {
		t.Errorf("told %q, log %s", info.Problem, p.log.String())
	}
	if got := s.serial(t, s.client(a)); got != first {
		t.Errorf("with half a pair in the files a new connection gets certificate %s, want %s", got, first)
	}
	lines := strings.Count(p.log.String(), "\n")
	c.Look()
	if strings.Count(p.log.String(), "\n") != lines {
		t.Error("the same problem is logged at every look")
	}

	p.write(nil, secondKey)
	if !c.Look() {
		t.Error("the whole pair is not taken over")
	}
	if info := c.Info(); info.Problem != "" {
		t.Errorf("still told: %q", info.Problem)
	}
	second := s.serial(t, s.client(a))
	if second == first {
		t.Error("a new connection gets the old certificate")
	}
	if got := s.serial(t, kept); got != first {
		t.Error("the open connection was not kept")
	}

	// A file that is away for a moment.
	if err := os.Rename(p.opts.Cert, p.opts.Cert+".away"); err != nil {
		t.Fatal(err)
	}
	if c.Look() || c.Info().Problem == "" {
		t.Errorf("a file that is away: %q", c.Info().Problem)
	}
	if err := os.Rename(p.opts.Cert+".away", p.opts.Cert); err != nil {
		t.Fatal(err)
	}
	if c.Look() || c.Info().Problem != "" {
		t.Errorf("the file is there again: %q", c.Info().Problem)
	}
	if got := s.serial(t, s.client(a)); got != second {
		t.Errorf("certificate %s, want %s", got, second)
	}
	if strings.Contains(p.log.String(), "PRIVATE") {
		t.Error("a key in the log")
	}
}

// TestWatch: it takes no longer than Every until a change is seen.
// A key that lies elsewhere is asked for at each look; without a file of
// certificates its text holds them as well.
func TestKeyFromElsewhere(t *testing.T) {
	a := newAuthority(t)
	one, oneKey := a.pair("one.example")
	two, twoKey := a.pair("two.example")
	text, fault := string(oneKey)+string(one), error(nil)
	c, err := certs.Load(certs.Options{Key: "@Microsoft.KeyVault(VaultName=v;SecretName=c)", KeyText: func() (string, error) { return text, fault }})
	if err != nil {
		t.Fatal(err)
	}
	is := func(name, problem string) {
		t.Helper()
		if info := c.Info(); len(info.Names) != 1 || info.Names[0] != name || !strings.Contains(info.Problem, problem) || problem == "" && info.Problem != "" {
			t.Errorf("%+v, want %s, %q", info, name, problem)
		}
	}
	is("one.example", "")
	if text = string(twoKey) + string(two); !c.Look() {
		t.Error("another certificate is not seen")
	}
	is("two.example", "")
	fault = errors.New("the vault is away")
	if c.Look() {
		t.Error("taken over without a key")
	}
	is("two.example", "the vault is away")
	fault = nil
	c.Look()
	is("two.example", "")
	text = string(oneKey) // without its certificate
	c.Look()
	is("two.example", "are not a pair")
	if strings.Contains(c.Info().Problem, "PRIVATE") {
		t.Error(c.Info().Problem)
	}
}

func TestWatch(t *testing.T) {
	a := newAuthority(t)
	firstCert, firstKey := a.pair("broker.test")
	secondCert, secondKey := a.pair("second.test")
	p := newPlace(t, firstCert, firstKey)
	synctest.Test(t, func(t *testing.T) {
		c := p.load()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { c.Watch(ctx); close(ended) }()
		p.write(secondCert, secondKey)
		time.Sleep(certs.Every + time.Millisecond)
		synctest.Wait()
		if got := c.Info().Names; len(got) != 1 || got[0] != "second.test" {
			t.Errorf("after %s the certificate is for %v", certs.Every, got)
		}
		stop()
		<-ended
	})
}

func TestClientCertificates(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	certPEM, keyPEM := a.pair("broker.test")
	p := newPlace(t, certPEM, keyPEM)
	p.opts.ClientCA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(p.opts.ClientCA, a.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	c := p.load()
	s := serve(t, c)
	with := func(by *authority) func(*tls.Config) {
		pair, err := tls.X509KeyPair(by.pair("flow.test"))
		if err != nil {
			t.Fatal(err)
		}
		return func(cfg *tls.Config) {
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
	}
	s.serial(t, s.client(a)) // none is needed
	if seen := <-s.seen; len(seen.PeerCertificates) != 0 {
		t.Error("a certificate of who showed none")
	}
	s.serial(t, s.client(a, with(a)))
	if seen := <-s.seen; len(seen.VerifiedChains) == 0 || seen.PeerCertificates[0].Subject.CommonName != "flow.test" {
		t.Error("a certificate of the authority was not verified")
	}
	if resp, err := s.client(a, with(other)).Get("https://" + s.address); err == nil {
		_ = resp.Body.Close()
		t.Error("a certificate of another authority is let in")
	}
	// Who is trusted is read anew too.
	if err := os.WriteFile(p.opts.ClientCA, other.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	if !c.Look() {
		t.Fatal("the change of clientCa was not seen")
	}
	s.serial(t, s.client(a, with(other)))
	if resp, err := s.client(a, with(a)).Get("https://" + s.address); err == nil {
		_ = resp.Body.Close()
		t.Error("a certificate of the authority that was taken out is let in")
	}
}

func TestMinVersion(t *testing.T) {
	a := newAuthority(t)
	certPEM, keyPEM := a.pair("broker.test")
	p := newPlace(t, certPEM, keyPEM)
	at := func(version uint16) func(*tls.Config) {
		return func(cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion = version, version }
	}
	for _, c := range []struct {
		least, speaks uint16
		good          bool
	}{
		{0, tls.VersionTLS11, false},
		{0, tls.VersionTLS12, true},
		{0, tls.VersionTLS13, true},
		{tls.VersionTLS13, tls.VersionTLS12, false},
		{tls.VersionTLS13, tls.VersionTLS13, true},
	} {
		p.opts.MinVersion = c.least
		s := serve(t, p.load())
		resp, err := s.client(a, at(c.speaks)).Get("https://" + s.address)
		if err == nil {
			_ = resp.Body.Close()
		}
		if (err == nil) != c.good {
			t.Errorf("least %x, a caller with %x: %v", c.least, c.speaks, err)
		}
	}
}

// TestPlainHTTPIsTold: who forgets the s is told, instead of a cut connection.
func TestPlainHTTPIsTold(t *testing.T) {
	a := newAuthority(t)
	p := newPlace(t, nil, nil)
	p.write(a.pair("broker.test"))
	s := serve(t, p.load())
	resp, err := http.Get("http://" + s.address + "/v1/me")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "HTTP request to an HTTPS server") {
		t.Errorf("%d %q, %v", resp.StatusCode, text, err)
	}
}
