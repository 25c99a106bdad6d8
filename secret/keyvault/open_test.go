package keyvault_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/config"
	"ferry/internal/vaultdouble"
	"ferry/secret"
	"ferry/secret/keyvault"
)

const clientSecret = "client-secret-7f3a"

// world is a Store on a double, with a secret that opens it.
type world struct {
	*vaultdouble.Double
	store  *keyvault.Store
	opener string // the client's secret, as the environment has it
	cfg    config.KeyVault
}

func newWorld(t *testing.T, change func(*config.KeyVault)) *world {
	t.Helper()
	double, err := vaultdouble.Start(t.TempDir(), clientSecret)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(double.Close)
	w := &world{Double: double, opener: clientSecret, cfg: config.KeyVault{
		Credential: config.Credential{Type: "clientSecret", TenantID: vaultdouble.Tenant, ClientID: vaultdouble.ClientID, ClientSecret: "env:OPENER"},
		Refresh:    time.Minute, Suffix: "vault.azure.net", Authority: double.Authority(), Endpoint: double.Endpoint(), CA: double.CAFile,
	}}
	if change != nil {
		change(&w.cfg)
	}
	w.store = keyvault.Open(w.cfg, secret.Resolver{LookupEnv: func(string) (string, bool) { return w.opener, true }}, nil)
	t.Cleanup(w.store.Close)
	return w
}

func (w *world) resolve(text string) (secret.Value, error) {
	return secret.Resolver{Vault: w.store}.Resolve(secret.Ref(text))
}

func (w *world) wants(t *testing.T, text, want string) {
	t.Helper()
	if v, err := w.resolve(text); err != nil || v.Reveal() != want {
		t.Errorf("%s: %q, %v, want %q", text, v.Reveal(), err, want)
	}
}

// Both forms, with and without a version, after one challenge and one token.
func TestForms(t *testing.T) {
	w := newWorld(t, nil)
	first := w.Set("erp", "one")
	w.Set("erp", "two")
	for text, want := range map[string]string{
		"@Microsoft.KeyVault(VaultName=contoso;SecretName=erp)":                                                  "two",
		"@Microsoft.KeyVault(VaultName=contoso;SecretName=erp;SecretVersion=" + first + ")":                      "one",
		"@Microsoft.KeyVault(SecretName=ERP;VaultName=Contoso)":                                                  "two",
		"@Microsoft.KeyVault(SecretUri=https://contoso.vault.azure.net/secrets/erp)":                             "two",
		"@Microsoft.KeyVault(SecretUri=https://contoso.vault.azure.net/secrets/erp/)":                            "two",
		"@Microsoft.KeyVault(SecretUri=https://contoso.vault.azure.net:443/secrets/erp/" + first + ")":           "one",
		"@microsoft.keyvault(VaultName=contoso;SecretName=erp)":                                                  "", // App Service is strict here, too
		"@Microsoft.KeyVault( vaultname = contoso ; secretname = erp )":                                          "two",
		"@Microsoft.KeyVault(SecretUri=https://contoso.vault.azure.net/secrets/erp;SecretVersion=" + first + ")": "",
	} {
		if want == "" {
			if _, err := w.resolve(text); ferry.CodeOf(err) != ferry.CodeBadConfig {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		w.wants(t, text, want)
	}
	if n := w.Tokens(); n > 2 { // one per host of a vault: by name, and by address with a port
		t.Errorf("%d tokens", n)
	}
}

// A new version is seen by the refusal of the old one.
func TestRefusedReadsTheVault(t *testing.T) {
	w := newWorld(t, nil)
	w.Set("erp", "one")
	const erp = "@Microsoft.KeyVault(VaultName=contoso;SecretName=erp)"
	w.wants(t, erp, "one")
	w.Set("erp", "two")
	w.wants(t, erp, "one")
	resolver := secret.Resolver{Vault: w.store}
	if !resolver.Refused(erp, secret.NewValue("one")) || w.Reads("erp") != 2 {
		t.Errorf("not seen after %d reads", w.Reads("erp"))
	}
	w.wants(t, erp, "two")
	if past := resolver.Past(erp); len(past) != 1 || past[0].Reveal() != "one" {
		t.Errorf("%d values of before", len(past))
	}
}

// What opens the vault is read anew, too: its rotation needs no restart.
func TestClientSecretRotates(t *testing.T) {
	w := newWorld(t, nil)
	w.Set("a", "va")
	w.Set("b", "vb")
	w.wants(t, "@Microsoft.KeyVault(VaultName=contoso;SecretName=a)", "va")
	w.RotateClientSecret("another-one")
	if _, err := w.resolve("@Microsoft.KeyVault(VaultName=contoso;SecretName=b)"); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Fatalf("with the old secret: %v", err)
	}
	w.opener = "another-one"
	w.store.Refused(secret.VaultRef{Vault: "contoso", Name: "b"}, secret.Value{}) // instead of the schedule
	w.wants(t, "@Microsoft.KeyVault(VaultName=contoso;SecretName=b)", "vb")
}

// Each thing that can be wrong is told by what it is, with what to do, whether it
// passes by itself, and without a secret in it.
func TestFaults(t *testing.T) {
	const bad, away = ferry.CodeBadConfig, ferry.CodeSecretUnavailable
	const erp = "@Microsoft.KeyVault(VaultName=contoso;SecretName=erp)"
	for name, c := range map[string]struct {
		set  func(*world)
		cfg  func(*config.KeyVault)
		ref  string
		code ferry.Code
		says string
		hint string
	}{
		"not found":       {ref: "@Microsoft.KeyVault(VaultName=contoso;SecretName=none)", code: bad, says: "no such secret", hint: "recover"},
		"no such version": {ref: "@Microsoft.KeyVault(VaultName=contoso;SecretName=erp;SecretVersion=0123456789abcdef)", code: bad, says: "not in this version", hint: "current"},
		"disabled":        {set: func(w *world) { w.Put("erp", vaultdouble.Secret{Value: "hush", Disabled: true}) }, code: bad, says: "disabled", hint: "enable"},
		"rbac":            {set: func(w *world) { w.Fail(&vaultdouble.Fault{Status: 403, Code: "Forbidden", Inner: "ForbiddenByRbac"}) }, code: bad, says: "ForbiddenByRbac", hint: "Key Vault Secrets User"},
		"access policy":   {set: func(w *world) { w.Fail(&vaultdouble.Fault{Status: 403, Code: "Forbidden", Inner: "AccessDenied"}) }, code: bad, says: "AccessDenied", hint: "permission Get"},
		"firewall": {set: func(w *world) {
			w.Fail(&vaultdouble.Fault{Status: 403, Code: "Forbidden", Inner: "ForbiddenByFirewall"})
		}, code: bad, says: "firewall", hint: "networking"},
		"throttled":       {set: func(w *world) { w.Fail(&vaultdouble.Fault{Status: 429, Code: "Throttled", RetryAfter: 40}) }, code: away, says: "too often", hint: "by itself"},
		"vault is ill":    {set: func(w *world) { w.Fail(&vaultdouble.Fault{Status: 503, Code: "ServiceUnavailable", RetryAfter: 9}) }, code: away, says: "503"},
		"connection cut":  {set: func(w *world) { w.Fail(&vaultdouble.Fault{Cut: true}) }, code: away, says: "cannot be read now"},
		"empty":           {set: func(w *world) { w.Set("erp", "") }, code: bad, says: "empty"},
		"too large":       {set: func(w *world) { w.Set("erp", strings.Repeat("x", secret.MaxSize+1)) }, code: bad, says: "larger"},
		"wrong secret":    {set: func(w *world) { w.opener = "wrong-secret" }, code: bad, says: "invalid_client, AADSTS7000215", hint: "credential"},
		"Entra ID is ill": {set: func(w *world) { w.FailTokens(&vaultdouble.Fault{Status: 500, Code: "x"}) }, code: away, says: "no token"},
		"another tenant":  {cfg: func(c *config.KeyVault) { c.Credential.TenantID = "99999999-2222-3333-4444-555555555555" }, code: bad, says: "another tenant", hint: "tenantId"},
		"another domain": {set: func(w *world) {
			w.Challenge(`Bearer authorization="https://login.microsoftonline.com/t", resource="https://evil.example"`)
		}, code: bad, says: "own domain", hint: "address"},
		"no challenge":     {set: func(w *world) { w.Challenge(`Basic realm="x"`) }, code: bad, says: "does not ask for a token", hint: "address"},
		"broken challenge": {set: func(w *world) { w.Challenge(`Bearer authorization="x", resource="https://vault.azure.net"`) }, code: bad, says: "does not ask for a token", hint: "address"},
		"not that host":    {ref: "@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/erp)", code: bad, says: "own domain"},
		"no certificate":   {cfg: func(c *config.KeyVault) { c.CA = "" }, code: away, says: "certificate"},
		"no such vault": {
			cfg: func(c *config.KeyVault) { c.Endpoint = "" }, ref: "@Microsoft.KeyVault(SecretUri=https://nobody.vault.invalid/secrets/erp)",
			code: away, says: "cannot be read now",
		},
		"damaged pfx": {set: func(w *world) {
			w.Put("erp", vaultdouble.Secret{Value: "aHVzaA==", ContentType: "application/x-pkcs12"})
		}, code: bad, says: "PKCS#12"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.cfg)
			w.Set("erp", "hush-hush")
			if c.set != nil {
				c.set(w)
			}
			if c.ref == "" {
				c.ref = erp
			}
			_, err := w.resolve(c.ref)
			var e *ferry.Error
			if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(e.Message, c.says) || !strings.Contains(e.Hint, c.hint) || e.Hint == "" {
				t.Fatalf("%v (%+v)", err, e)
			}
			if !strings.Contains(e.Message, "@Microsoft.KeyVault(") {
				t.Errorf("it does not name the reference: %v", e)
			}
			for _, leak := range []string{"hush", clientSecret, "wrong-secret", "Bearer "} {
				if strings.Contains(e.Message+e.Hint, leak) {
					t.Errorf("%q in %v", leak, e)
				}
			}
		})
	}
}

// Passing faults of one request are tried again before anybody hears of them.
func TestPassingFault(t *testing.T) {
	w := newWorld(t, nil)
	w.Set("erp", "one")
	w.Fail(&vaultdouble.Fault{Status: http.StatusServiceUnavailable, Code: "x"})
	mended := make(chan struct{})
	go func() {
		defer close(mended)
		for w.Reads("erp") == 0 {
			time.Sleep(time.Millisecond)
		}
		w.Fail(nil)
	}()
	w.wants(t, "@Microsoft.KeyVault(VaultName=contoso;SecretName=erp)", "one")
	<-mended
}

// An emulator's challenge is not for its domain: only the configuration lets it pass.
func TestEmulator(t *testing.T) {
	off := false
	w := newWorld(t, func(c *config.KeyVault) { c.VerifyChallenge = &off })
	w.Set("erp", "one")
	_, port, err := net.SplitHostPort(w.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	w.wants(t, "@Microsoft.KeyVault(SecretUri=https://localhost:"+port+"/secrets/erp)", "one")
}

// The secret of a certificate holds its key and itself, in PEM or as PKCS#12.
func TestCertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ferry"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	w := newWorld(t, nil)
	w.Put("pem", vaultdouble.Secret{Value: text, ContentType: "application/x-pem-file"})
	w.wants(t, "@Microsoft.KeyVault(VaultName=contoso;SecretName=pem)", text)
	w.Put("pfx", vaultdouble.Secret{Value: pfx, ContentType: "application/x-pkcs12"})
	v, err := w.resolve("@Microsoft.KeyVault(VaultName=contoso;SecretName=pfx)")
	if err != nil || strings.Count(v.Reveal(), "-----BEGIN") != 2 || !strings.HasPrefix(v.Reveal(), "-----BEGIN PRIVATE KEY-----") {
		t.Errorf("%d characters, %v", len(v.Reveal()), err)
	}
}

// A credential that cannot be made, or whose secret is not there, is told as such.
func TestCredential(t *testing.T) {
	w := newWorld(t, func(c *config.KeyVault) {
		c.Credential = config.Credential{Type: "certificate", TenantID: vaultdouble.Tenant, ClientID: vaultdouble.ClientID, Certificate: filepath.Join(t.TempDir(), "none.pem")}
	})
	if _, err := w.resolve("@Microsoft.KeyVault(VaultName=contoso;SecretName=erp)"); ferry.CodeOf(err) != ferry.CodeBadConfig || !strings.Contains(err.Error(), "none.pem") {
		t.Error(err)
	}
	w = newWorld(t, func(c *config.KeyVault) {
		c.Credential.ClientSecret = "@Microsoft.KeyVault(VaultName=contoso;SecretName=erp)"
	})
	if _, err := w.resolve("@Microsoft.KeyVault(VaultName=contoso;SecretName=erp)"); ferry.CodeOf(err) != ferry.CodeBadConfig || !strings.Contains(err.Error(), "credential") {
		t.Errorf("a vault that opens itself: %v", err)
	}
}
