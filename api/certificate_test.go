package api_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"ferry"
	"ferry/api"
)

// authority makes certificates of clients.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	n    int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t}
	c := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.cert, a.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

func (a *authority) sign(template *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.n++
	template.SerialNumber = big.NewInt(a.n)
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// client is a certificate for clients.
func (a *authority) client(name string, change func(*x509.Certificate)) tls.Certificate {
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: []string{"Contoso"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(c)
	}
	return a.sign(c)
}

// A certificate stands for a key where the handshake verified it and the
// configuration knows it; what the request itself brings comes first.
func TestClientCertificates(t *testing.T) {
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	pinned := ours.client("pinned", nil)
	sum := sha256.Sum256(pinned.Leaf.Raw)
	who := func(name string, role ferry.Role, routes ...string) ferry.Identity {
		return ferry.Identity{Name: "cert:" + name, KeyID: "cert:" + name, Role: role, Routes: routes}
	}
	f := newFake()
	server := httptest.NewUnstartedServer(api.New(f, api.Options{Log: slog.New(slog.DiscardHandler), Certificates: []api.Certificate{
		{Who: who("flow-host", ferry.RoleSender, "orders"), Subject: "CN=flow-host,O=Contoso"},
		{Who: who("by-name", ferry.RoleOperator), SAN: "erp.contoso.example"},
		{Who: who("by-uri", ferry.RoleSender), SAN: "spiffe://contoso/flow"},
		{Who: who("pinned", ferry.RoleAdmin), Thumbprint: hex.EncodeToString(sum[:])},
	}}))
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	server.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	defer server.Close()

	named := func(host, uri string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			if host != "" {
				c.DNSNames = []string{"other.example", host}
			}
			if uri != "" {
				u, err := url.Parse(uri)
				if err != nil {
					t.Fatal(err)
				}
				c.URIs = []*url.URL{u}
			}
		}
	}
	for name, c := range map[string]struct {
		cert   *tls.Certificate
		header string
		want   string // name, or status
	}{
		"by its subject":            {ptr(ours.client("flow-host", nil)), "", "cert:flow-host"},
		"by a host":                 {ptr(ours.client("x", named("ERP.contoso.example", ""))), "", "cert:by-name"},
		"by a URI":                  {ptr(ours.client("x", named("", "spiffe://contoso/flow"))), "", "cert:by-uri"},
		"by its thumbprint":         {&pinned, "", "cert:pinned"},
		"none":                      {nil, "", "401"},
		"none, and a key":           {nil, "Bearer sender-key", "flow"},
		"a key comes first":         {&pinned, "Bearer sender-key", "flow"},
		"a bad key is not mended":   {&pinned, "Bearer bad", "401"},
		"the name of another":       {ptr(ours.client("pinned", nil)), "", "401"},
		"the subject, less":         {ptr(ours.client("flow-host", func(c *x509.Certificate) { c.Subject.Organization = nil })), "", "401"},
		"the subject, more":         {ptr(ours.client("flow-host", func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"x"} })), "", "401"},
		"a name that holds another": {ptr(ours.client("flow-host,O=Contoso", func(c *x509.Certificate) { c.Subject.Organization = nil })), "", "401"},
		"another authority":         {ptr(theirs.client("flow-host", nil)), "", "no connection"},
		"for servers":               {ptr(ours.client("flow-host", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), "", "no connection"},
		"expired": {ptr(ours.client("flow-host", func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		})), "", "no connection"},
	} {
		if got := certified(t, server, c.cert, c.header); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// certified is whom the server takes the client for, else what it answers.
func certified(t *testing.T, server *httptest.Server, cert *tls.Certificate, authorization string) string {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	cfg := &tls.Config{RootCAs: roots}
	if cert != nil {
		// Whatever the server asks for: a client may send what it was not asked.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: cfg}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, server.URL+"/v1/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "no connection"
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	var me struct{ Name, KeyID string }
	if resp.StatusCode != 200 {
		return resp.Status[:3]
	}
	if err := json.Unmarshal(body, &me); err != nil {
		t.Fatal(err)
	}
	return me.Name
}

// On a connection that outlives its certificate, requests are refused from then on.
func TestCertificateExpiresDuringTheConnection(t *testing.T) {
	a := newAuthority(t, "ours")
	cert := a.client("flow-host", nil)
	h := api.New(newFake(), api.Options{Log: slog.New(slog.DiscardHandler), Certificates: []api.Certificate{
		{Who: ferry.Identity{Name: "cert:x", Role: ferry.RoleSender}, Subject: "CN=flow-host,O=Contoso"},
	}})
	for name, c := range map[string]struct {
		state *tls.ConnectionState
		want  int
	}{
		"verified":     {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}, VerifiedChains: [][]*x509.Certificate{{cert.Leaf, a.cert}}}, 200},
		"not verified": {&tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}}, 401},
		"expired": {&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{a.client("flow-host", func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Second)
		}).Leaf, a.cert}}}, 401},
		"no TLS": {nil, 401},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://b/v1/me", nil)
		r.TLS = c.state
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d: %s", name, w.Code, c.want, w.Body)
		}
	}
}

func ptr[T any](v T) *T { return &v }
