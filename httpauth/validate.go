package httpauth

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"ferry"
	"ferry/secret"
)

// Validate checks everything but the secrets and the files, which it does not
// read. The error is a *ferry.Error that names the setting.
func (c Config) Validate() error {
	if !slices.Contains(Types(), c.kind()) {
		return bad("type: there is no kind of authentication %q", c.Type).WithHint("known kinds: %s", strings.Join(Types(), ", "))
	}
	if err := c.checkCredential(); err != nil {
		return err
	}
	needs, takes := c.keys()
	known := append(slices.Clone(needs), takes...)
	for _, s := range c.settings() {
		if s.value != "" && !slices.Contains(known, s.name) {
			// Left in place it looks as if it worked.
			return bad("%s is not used with %s", s.name, c.described()).WithHint("known with it: %s", orNothing(known))
		}
	}
	for _, s := range c.settings() {
		if s.value == "" && slices.Contains(needs, s.name) {
			return bad("%s is missing", s.name).WithHint("%s", c.hintOf(s.name))
		}
	}
	for _, ref := range []struct {
		name string
		ref  secret.Ref
	}{{"key", c.Key}, {"password", c.Password}, {"clientSecret", c.ClientSecret}, {"signingKey", c.SigningKey}, {"tokenSecret", c.TokenSecret}} {
		if ref.ref.IsZero() {
			continue
		}
		if _, err := secret.ParseRef(string(ref.ref)); err != nil {
			return wrap(ref.name, err)
		}
	}
	return c.checkKind()
}

// described names the type, and what chooses among its forms.
func (c Config) described() string {
	switch {
	case c.kind() == TypeEntraID:
		return fmt.Sprintf("type %s and credential %s", c.Type, c.credential())
	case c.kind() == TypeOAuth2 && c.ClientAuth != "":
		return fmt.Sprintf("type %s and clientAuth %s", c.Type, c.ClientAuth)
	}
	return "type " + c.kind()
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

func (c Config) hintOf(name string) string {
	switch name {
	case "key", "password", "clientSecret", "signingKey", "tokenSecret":
		return name + ": env:NAME or file:PATH"
	case "tokenUrl":
		return "tokenUrl: the address of the token endpoint"
	case "realm":
		return "realm: the name of the Active Directory domain in capitals, such as CORP.EXAMPLE"
	}
	needs, _ := c.keys()
	return c.described() + " needs " + strings.Join(needs, ", ")
}

func (c Config) checkCredential() error {
	if c.kind() != TypeEntraID {
		return nil
	}
	kinds := []string{CredentialSecret, CredentialCertificate, CredentialManaged, CredentialWorkload}
	switch kind := c.credential(); {
	case kind == "":
		return bad("nothing says who asks Entra ID for a token").
			WithHint("add clientSecret or certificate, or credential: %s or %s", CredentialManaged, CredentialWorkload)
	case !slices.Contains(kinds, kind):
		return bad("credential: there is no kind %q", c.Credential).WithHint("known kinds: %s", strings.Join(kinds, ", "))
	}
	return nil
}

// checkKind checks what the settings of the type say.
func (c Config) checkKind() error {
	switch c.kind() {
	case TypeAPIKey:
		return c.checkAPIKey()
	case TypeBasic:
		if strings.Contains(c.Username, ":") {
			return bad("username has a colon, which basic authentication cannot carry")
		}
	case TypeNTLM:
		if c.Domain != "" && strings.ContainsAny(c.Username, `\@`) {
			return bad("username names a domain, and so does domain").WithHint("take one of the two out")
		}
	case TypeKerberos:
		return c.checkKerberos()
	case TypeOAuth1:
		if strings.ContainsAny(c.Realm, "\"\\") || !isHeaderValue(c.Realm) {
			return bad("realm: %q cannot be a realm", c.Realm).WithHint("of NetSuite: the account's id, such as 1234567_SB1")
		}
	case TypeOAuth2:
		return c.checkOAuth2()
	case TypeEntraID:
		if len(c.Scopes) > 1 {
			return bad("scopes: Entra ID gives a token for one API at a time").WithHint("such as scopes: [https://contoso.crm4.dynamics.com/.default]")
		}
		if err := checkScopes(c.Scopes); err != nil {
			return err
		}
		if u, err := url.Parse(c.Authority); c.Authority != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
			return bad("authority is no https address").WithHint("such as https://login.microsoftonline.us")
		}
	}
	return nil
}

func (c Config) checkAPIKey() error {
	switch {
	case c.Header == "" && c.Query == "":
		return bad("neither header nor query says where the key goes").WithHint("such as header: x-api-key")
	case c.Header != "" && c.Query != "":
		return bad("header and query exclude each other").WithHint("a header is safer: addresses are logged on the way")
	case c.Header != "" && !IsHeaderName(c.Header):
		return bad("header: %q cannot be the name of a header", c.Header)
	case c.Header != "" && IsConnectionHeader(c.Header):
		return bad("header: %q belongs to the connection and cannot carry a key", c.Header)
	case c.Prefix != "" && c.Header == "":
		return bad("prefix goes with header only")
	case !isHeaderValue(c.Prefix):
		return bad("prefix has characters that a header cannot carry")
	}
	return nil
}

func (c Config) checkKerberos() error {
	switch {
	case c.Password.IsZero() == (c.Keytab == ""):
		return bad("one of password and keytab proves who asks for tickets").WithHint("password: env:NAME or file:PATH, or keytab: FILE")
	case len(c.KDC) > 0 && c.Krb5Conf != "":
		return bad("kdc and krb5Conf exclude each other").WithHint("krb5Conf names the KDCs too")
	case len(c.KDC) > maxKDCs:
		return bad("kdc: %d at most", maxKDCs)
	case strings.ContainsAny(c.Username, `\@`):
		return bad("username names a domain").WithHint("write the name alone: realm says the rest")
	case c.SPN != "" && (!strings.Contains(c.SPN, "/") || strings.ContainsAny(c.SPN, " @")):
		return bad("spn: %q cannot be the name of a service", c.SPN).WithHint("such as HTTP/erp.corp.example")
	}
	for _, kdc := range c.KDC {
		if kdc == "" || strings.ContainsAny(kdc, " /@#;={}\"") {
			return bad("kdc: %q cannot be an address", kdc).WithHint("write HOST or HOST:PORT")
		}
	}
	return nil
}

func (c Config) checkOAuth2() error {
	u, err := url.Parse(c.TokenURL)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return bad("tokenUrl is no address of a token endpoint").WithHint("such as https://login.example/oauth2/token")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return bad("tokenUrl: the client's secret may not travel without TLS").WithHint("use https, except on loopback")
	case u.Scheme == "http" && c.TokenCA != "":
		return bad("tokenCa goes with an https tokenUrl")
	case c.ClientAuth != "" && c.ClientAuth != ClientAuthHeader && c.ClientAuth != ClientAuthBody && c.ClientAuth != ClientAuthJWT:
		return bad("clientAuth: %q is not known", c.ClientAuth).WithHint("%s, %s or %s", ClientAuthHeader, ClientAuthBody, ClientAuthJWT)
	case c.Algorithm != "" && !slices.Contains(algorithms(), c.Algorithm):
		return bad("algorithm: %q is not known", c.Algorithm).WithHint("one of %s", strings.Join(algorithms(), ", "))
	case len(c.Scopes) > maxScopes:
		return bad("scopes: %d at most", maxScopes)
	}
	return checkScopes(c.Scopes)
}

func checkScopes(scopes []string) error {
	for _, scope := range scopes {
		if scope == "" || strings.ContainsAny(scope, " \t\r\n\"\\") {
			return bad("scopes: %q cannot be a scope", scope).WithHint("one entry for each, without spaces")
		}
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, "auth: "+format, args...)
}

func wrap(setting string, err error) error {
	if err == nil {
		return nil
	}
	out := bad("%s: %w", setting, err)
	if e, ok := err.(*ferry.Error); ok { //nolint:errorlint // ParseRef gives it unwrapped
		out.Hint = e.Hint
	}
	return out
}
