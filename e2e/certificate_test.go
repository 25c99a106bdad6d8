package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// mint makes a certificate and its key; parent nil: signed by itself.
func mint(t *testing.T, template *x509.Certificate, parent *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	by, signer := template, any(key)
	if parent != nil {
		by, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// writePair writes certificate and key as PEM.
func (w *world) writePair(name string, c tls.Certificate) {
	w.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})))
	w.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

// Through the program, with its own TLS: a certificate of the configured authority
// sends as who it is configured to be, and nowhere else; one of nobody is 401, one
// of another authority gets no connection.
func TestClientCertificatesThroughTheProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{routes: []string{invoices, "other-route"}})
	authority := mint(t, &x509.Certificate{Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	w.writePair("clients", authority)
	w.writePair("broker", mint(t, &x509.Certificate{Subject: pkix.Name{CommonName: "broker"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}, nil))
	text, err := os.ReadFile(w.path("broker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("broker.yaml", string(text)+`
publicUrl: https://`+w.api+`
tls: {cert: ./broker.pem, key: ./broker.key, clientCa: ./clients.pem}
clientCertificates:
  - {name: flow-host, role: sender, routes: [`+invoices+`], subject: "CN=flow-host,O=Contoso"}
`)
	w.launchBroker()
	client := func(name string, parent *tls.Certificate) *http.Client {
		cfg := &tls.Config{RootCAs: x509.NewCertPool()}
		pemText, err := os.ReadFile(w.path("broker.pem"))
		if err != nil || !cfg.RootCAs.AppendCertsFromPEM(pemText) {
			t.Fatal(err)
		}
		if name != "" {
			c := mint(t, &x509.Certificate{Subject: pkix.Name{CommonName: name, Organization: []string{"Contoso"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, parent)
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
		}
		transport := &http.Transport{TLSClientConfig: cfg}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport, Timeout: 10 * time.Second}
	}
	send := func(c *http.Client, route string) (status int, body []byte) {
		resp, err := c.Post("https://"+w.api+"/v1/routes/"+route+"/messages", "application/json", strings.NewReader(`{"n":1}`))
		if err != nil {
			return 0, []byte(err.Error())
		}
		defer func() { _ = resp.Body.Close() }()
		body, err = io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, body
	}
	eventually(t, 30*time.Second, func() string {
		if status, body := send(client("", nil), invoices); status != http.StatusUnauthorized {
			return fmt.Sprintf("without a certificate: %d %s", status, body)
		}
		return ""
	})
	flow := client("flow-host", &authority)
	status, body := send(flow, invoices)
	var made struct{ StatusURL string }
	if err := json.Unmarshal(body, &made); err != nil || status != http.StatusCreated {
		t.Fatalf("%d %v %s", status, err, body)
	}
	resp, err := flow.Get(made.StatusURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if shown, err := io.ReadAll(resp.Body); err != nil || !bytes.Contains(shown, []byte(`"name":"cert:flow-host"`)) {
		t.Errorf("%v: %s", err, shown)
	}
	stranger := mint(t, &x509.Certificate{Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	for name, c := range map[string]struct {
		client *http.Client
		route  string
		want   int
	}{
		"another route":     {flow, "other-route", http.StatusForbidden},
		"somebody else":     {client("nobody", &authority), invoices, http.StatusUnauthorized},
		"another authority": {client("flow-host", &stranger), invoices, 0},
	} {
		if status, body := send(c.client, c.route); status != c.want {
			t.Errorf("%s: %d, want %d: %s", name, status, c.want, body)
		}
	}
}
