package httpauth_test

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/httpauth"
	"ferry/secret"
)

// good is one whole configuration of each kind and form.
func good() map[string]httpauth.Config {
	return map[string]httpauth.Config{
		"ntlm":             {Type: "ntlm", Username: "svc", Domain: "CORP", Password: "env:K"},
		"ntlm, one name":   {Type: "ntlm", Username: `CORP\svc`, Password: "env:K"},
		"kerberos":         {Type: "kerberos", Username: "svc", Realm: "CORP.EXAMPLE", Password: "env:K"},
		"kerberos, keytab": {Type: "kerberos", Username: "svc", Realm: "CORP.EXAMPLE", Keytab: "k", KDC: []string{"dc1", "dc2:88"}, SPN: "HTTP/erp"},
		"kerberos, file":   {Type: "kerberos", Username: "svc", Realm: "CORP.EXAMPLE", Password: "env:K", Krb5Conf: "/etc/krb5.conf"},
		"assertion":        {Type: "oauth2", TokenURL: "https://t", ClientID: "c", ClientAuth: "privateKeyJwt", SigningKey: "file:k", KeyID: "1", Algorithm: "ES256", Certificate: "c", TokenCA: "a", Resource: "r"},
		"entra, secret":    {Type: "entraId", TenantID: "t", ClientID: "c", ClientSecret: "env:K", Scopes: []string{"api://a/.default"}, Authority: "https://login.microsoftonline.us"},
		"entra, cert":      {Type: "entraId", TenantID: "t", ClientID: "c", Certificate: "f", Password: "env:K", TokenCA: "a", Scopes: []string{"s"}},
		"entra, machine":   {Type: "entraId", Credential: "managedIdentity", ClientID: "c", Scopes: []string{"s"}},
		"entra, pod":       {Type: "entraId", Credential: "workloadIdentity", TokenFile: "f", Scopes: []string{"s"}},
	}
}

func TestValidateTakes(t *testing.T) {
	for name, cfg := range good() {
		auth, err := httpauth.Open(cfg, vault{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c, ok := auth.(io.Closer); ok {
			if err := c.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestValidateRefusesKinds(t *testing.T) {
	for name, c := range map[string]struct {
		of     string
		change func(*httpauth.Config)
		says   string
	}{
		"no user":               {"ntlm", func(c *httpauth.Config) { c.Username = "" }, "username is missing"},
		"two domains":           {"ntlm, one name", func(c *httpauth.Config) { c.Domain = "CORP" }, "names a domain"},
		"a realm":               {"ntlm", func(c *httpauth.Config) { c.Realm = "R" }, "realm is not used with type ntlm"},
		"no realm":              {"kerberos", func(c *httpauth.Config) { c.Realm = "" }, "realm is missing"},
		"no proof":              {"kerberos", func(c *httpauth.Config) { c.Password = "" }, "password and keytab"},
		"two proofs":            {"kerberos", func(c *httpauth.Config) { c.Keytab = "k" }, "password and keytab"},
		"two ways to the KDC":   {"kerberos, file", func(c *httpauth.Config) { c.KDC = []string{"dc"} }, "kdc and krb5Conf"},
		"a domain in the name":  {"kerberos", func(c *httpauth.Config) { c.Username = "svc@CORP" }, "domain"},
		"no service":            {"kerberos", func(c *httpauth.Config) { c.SPN = "erp" }, "spn"},
		"no KDC":                {"kerberos", func(c *httpauth.Config) { c.KDC = []string{"dc/1"} }, "kdc"},
		"too many KDCs":         {"kerberos", func(c *httpauth.Config) { c.KDC = make([]string, 21) }, "kdc"},
		"no key":                {"assertion", func(c *httpauth.Config) { c.SigningKey = "" }, "signingKey is missing"},
		"literal key":           {"assertion", func(c *httpauth.Config) { c.SigningKey = hush }, "signingKey: a secret stands here literally"},
		"key and secret":        {"assertion", func(c *httpauth.Config) { c.ClientSecret = "env:K" }, "clientSecret is not used with type oauth2 and clientAuth privateKeyJwt"},
		"key without assertion": {"assertion", func(c *httpauth.Config) { c.ClientAuth = "" }, "is not used with type oauth2"},
		"algorithm":             {"assertion", func(c *httpauth.Config) { c.Algorithm = "HS256" }, "algorithm"},
		"authority without TLS": {"assertion", func(c *httpauth.Config) { c.TokenURL = "http://localhost/t" }, "tokenCa"},
		"nobody asks":           {"entra, secret", func(c *httpauth.Config) { c.ClientSecret = "" }, "nothing says who asks"},
		"no tenant":             {"entra, cert", func(c *httpauth.Config) { c.TenantID = "" }, "tenantId is missing"},
		"unknown credential":    {"entra, machine", func(c *httpauth.Config) { c.Credential = "azureCli" }, "no kind"},
		"secret of a machine":   {"entra, machine", func(c *httpauth.Config) { c.ClientSecret = "env:K" }, "clientSecret is not used"},
		"two APIs":              {"entra, secret", func(c *httpauth.Config) { c.Scopes = []string{"a", "b"} }, "one API"},
		"a bad scope":           {"entra, secret", func(c *httpauth.Config) { c.Scopes = []string{"a b"} }, "scope"},
		"a plain authority":     {"entra, secret", func(c *httpauth.Config) { c.Authority = "http://login" }, "authority"},
		"a token's address":     {"entra, secret", func(c *httpauth.Config) { c.TokenURL = "https://t" }, "tokenUrl is not used"},
	} {
		cfg := good()[c.of]
		c.change(&cfg)
		_, err := httpauth.Open(cfg, vault{})
		if ferry.CodeOf(err) != ferry.CodeBadConfig || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), hush) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A program says before it starts which secrets and files are missing.
func TestWhatASettingNeeds(t *testing.T) {
	cfg := good()["assertion"]
	if diff := cmp.Diff([]secret.Ref{"file:k"}, cfg.Secrets()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"certificate": "c", "tokenCa": "a"}, cfg.Files()); diff != "" {
		t.Error(diff)
	}
	cfg = good()["kerberos, keytab"]
	if diff := cmp.Diff(map[string]string{"keytab": "k"}, cfg.Files()); diff != "" || len(cfg.Secrets()) != 0 {
		t.Error(diff, cfg.Secrets())
	}
}
