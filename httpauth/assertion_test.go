package httpauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"ferry/httpauth"
)

// assertedIssuer takes assertions in the place of secrets, by its own clock.
type assertedIssuer struct {
	key     crypto.PublicKey
	ahead   time.Duration // how far its clock is ahead
	forms   []map[string][]string
	headers []map[string]any
	claims  []jwt.MapClaims
	faults  []string
}

func (i *assertedIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	now := time.Now().Add(i.ahead)
	w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
	w.Header().Set("Content-Type", "application/json")
	i.forms = append(i.forms, r.PostForm)
	token, err := jwt.Parse(r.PostForm.Get("client_assertion"), func(*jwt.Token) (any, error) { return i.key, nil },
		jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithIssuedAt(), jwt.WithExpirationRequired(), jwt.WithLeeway(5*time.Second))
	if err != nil {
		i.faults = append(i.faults, err.Error())
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, `{"error":"invalid_client"}`)
		return
	}
	i.headers, i.claims = append(i.headers, token.Header), append(i.claims, token.Claims.(jwt.MapClaims))
	_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":3600}`, len(i.claims))
}

func pemOf(t *testing.T, kind string, der []byte, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func rsaKey(t *testing.T, bits int) (*rsa.PrivateKey, string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return key, pemOf(t, "PRIVATE KEY", der, err)
}

func ecKey(t *testing.T, curve elliptic.Curve) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	return key, pemOf(t, "EC PRIVATE KEY", der, err)
}

func openAsserted(t *testing.T, i *assertedIssuer, key string, change ...func(*httpauth.Config)) httpauth.Authenticator {
	t.Helper()
	srv := httptest.NewServer(i)
	t.Cleanup(srv.Close)
	cfg := httpauth.Config{
		Type: "oauth2", TokenURL: srv.URL + "/services/rest/auth/oauth2/v1/token", ClientID: "ferry", ClientAuth: "privateKeyJwt",
		SigningKey: "env:S", KeyID: "certificate-1", Scopes: []string{"rest_webservices", "restlets"},
	}
	for _, f := range change {
		f(&cfg)
	}
	return openAuth(t, cfg, vault{"env:S": key})
}

// What NetSuite wants of an assertion (Oracle's help, "The Request Token
// Structure"): PS256 or ES256, the certificate's id as kid, the client as iss,
// the scopes in it, the token's address as aud, an end within 60 minutes.
func TestAssertion(t *testing.T) {
	private, text := rsaKey(t, 2048)
	i := &assertedIssuer{key: &private.PublicKey}
	auth := openAsserted(t, i, text)
	wantBearer(t, auth, "token-1")
	if len(i.claims) != 1 {
		t.Fatalf("refused: %v", i.faults)
	}
	if diff := cmp.Diff(map[string]any{"alg": "PS256", "typ": "JWT", "kid": "certificate-1"}, i.headers[0]); diff != "" {
		t.Error(diff)
	}
	c := i.claims[0]
	if aud, _ := c.GetAudience(); len(aud) != 1 || !strings.HasSuffix(aud[0], "/oauth2/v1/token") {
		t.Errorf("aud %v", aud)
	}
	if c["iss"] != "ferry" || c["sub"] != "ferry" || fmt.Sprint(c["scope"]) != "[rest_webservices restlets]" || len(fmt.Sprint(c["jti"])) < 16 {
		t.Errorf("claims %v", c)
	}
	issued, _ := c.GetIssuedAt()
	if end, _ := c.GetExpirationTime(); end.Sub(issued.Time) <= 0 || end.Sub(issued.Time) >= time.Hour {
		t.Errorf("from %s to %s", issued, end)
	}
	form := i.forms[0]
	if form["grant_type"][0] != "client_credentials" || form["client_assertion_type"][0] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form["client_secret"] != nil {
		t.Errorf("form %v", form)
	}
	req := wantBearer(t, auth, "token-1")
	if !auth.(httpauth.Renewer).Refused(req) {
		t.Error("a token can be had anew")
	}
	wantBearer(t, auth, "token-2")
	if i.claims[0]["jti"] == i.claims[1]["jti"] {
		t.Error("two assertions have the same id")
	}
}

func TestAssertionAlgorithms(t *testing.T) {
	rsaPrivate, rsaText := rsaKey(t, 2048)
	p256, p256Text := ecKey(t, elliptic.P256())
	p384, p384Text := ecKey(t, elliptic.P384())
	pkcs1 := pemOf(t, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaPrivate), nil)
	for name, c := range map[string]struct {
		key       crypto.PublicKey
		text      string
		algorithm string
		want      string
	}{
		"RSA":         {&rsaPrivate.PublicKey, rsaText, "", "PS256"},
		"RSA, PKCS 1": {&rsaPrivate.PublicKey, pkcs1, "PS512", "PS512"},
		"RS256":       {&rsaPrivate.PublicKey, rsaText, "RS256", "RS256"},
		"P-256":       {&p256.PublicKey, p256Text, "", "ES256"},
		"P-384":       {&p384.PublicKey, p384Text, "ES384", "ES384"},
	} {
		i := &assertedIssuer{key: c.key}
		wantBearer(t, openAsserted(t, i, c.text, func(cfg *httpauth.Config) { cfg.Algorithm = c.algorithm }), "token-1")
		if got := i.headers[0]["alg"]; got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A clock that is ten minutes off does not keep anybody out: the endpoint's own
// date tells, and the assertion is signed once more.
func TestAssertionByTheEndpointsClock(t *testing.T) {
	private, text := ecKey(t, elliptic.P256())
	for _, ahead := range []time.Duration{-10 * time.Minute, 10 * time.Minute} {
		i := &assertedIssuer{key: &private.PublicKey, ahead: ahead}
		auth := openAsserted(t, i, text)
		req := wantBearer(t, auth, "token-1")
		if len(i.faults) != 1 {
			t.Errorf("%s ahead: %d refusals, want one that taught", ahead, len(i.faults))
		}
		auth.(httpauth.Renewer).Refused(req)
		wantBearer(t, auth, "token-2")
		if len(i.faults) != 1 {
			t.Errorf("%s ahead: refused again: %v", ahead, i.faults)
		}
	}
	// With the clocks alike there is nothing to learn, and one try.
	other, _ := ecKey(t, elliptic.P256())
	i := &assertedIssuer{key: &other.PublicKey}
	if _, err := bearer(t, openAsserted(t, i, text)); !errors.Is(err, httpauth.ErrRefused) || len(i.faults) != 1 {
		t.Errorf("another key: %v after %d tries", err, len(i.faults))
	}
}

// Entra ID finds the certificate by its hash.
func TestAssertionNamesTheCertificate(t *testing.T) {
	private, text := rsaKey(t, 2048)
	ca := newAuthority(t)
	certificate := ca.issue(t, "ferry")
	block, _ := pem.Decode([]byte(certificate.cert))
	sum := sha256.Sum256(block.Bytes)
	i := &assertedIssuer{key: &private.PublicKey}
	file := filepath.Join(t.TempDir(), "client.pem")
	writeFile(t, file, certificate.cert)
	wantBearer(t, openAsserted(t, i, text, func(c *httpauth.Config) { c.Certificate, c.KeyID = file, "" }), "token-1")
	if got := i.headers[0]["x5t#S256"]; got != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("x5t#S256 %v", got)
	}
}

func TestAssertionKeysThatCannotSign(t *testing.T) {
	_, good := rsaKey(t, 2048)
	_, small := rsaKey(t, 1024)
	_, p256 := ecKey(t, elliptic.P256())
	_, p224 := ecKey(t, elliptic.P224())
	for name, c := range map[string]struct{ text, algorithm, want string }{
		"no PEM":      {"hunter2", "", "PEM"},
		"small":       {small, "", "2048"},
		"curve":       {p224, "", "P-256"},
		"other curve": {p256, "ES384", "ES256"},
		"RSA with EC": {good, "ES256", "PS256"},
		"EC with RSA": {p256, "PS256", "ES256"},
		"certificate": {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "", "no private key"},
		"encrypted":   {string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})), "", "encrypted"},
		"broken":      {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")})), "", "cannot be read"},
	} {
		i := &assertedIssuer{}
		_, err := bearer(t, openAsserted(t, i, c.text, func(cfg *httpauth.Config) { cfg.Algorithm = c.algorithm }))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") || len(i.forms) != 0 {
			t.Errorf("%s: %v after %d calls", name, err, len(i.forms))
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
