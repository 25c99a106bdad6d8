package httpauth

import (
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"

	"ferry"
	"ferry/secret"
)

// The types of Config.
const (
	TypeNone   = "none"
	TypeAPIKey = "apiKey"
	TypeBasic  = "basic"
	TypeOAuth2 = "oauth2"
)

// How the client's secret travels to the token endpoint.
const (
	ClientAuthHeader = "header" // HTTP basic, which every server must take (RFC 6749, 2.3.1)
	ClientAuthBody   = "body"   // parameters of the form
)

// Config says how to log on.
type Config struct {
	Type     string     `yaml:"type"`     // none (default), apiKey, basic, oauth2
	Header   string     `yaml:"header"`   // apiKey: the header that carries the key
	Prefix   string     `yaml:"prefix"`   // apiKey in a header: what stands before the key, such as "Bearer "
	Query    string     `yaml:"query"`    // apiKey: or the query parameter that carries it
	Key      secret.Ref `yaml:"key"`      // apiKey
	Username string     `yaml:"username"` // basic
	Password secret.Ref `yaml:"password"` // basic

	// oauth2: client credentials (RFC 6749, 4.4).
	TokenURL     string     `yaml:"tokenUrl"` // https, or http on loopback
	ClientID     string     `yaml:"clientId"`
	ClientSecret secret.Ref `yaml:"clientSecret"`
	ClientAuth   string     `yaml:"clientAuth"` // header (default) or body
	Scopes       []string   `yaml:"scopes"`     // at most maxScopes
	Audience     string     `yaml:"audience"`   // a parameter that some servers want
}

const maxScopes = 50

// Validate checks everything but the secrets, which it does not read. The
// error is a *ferry.Error that names the setting.
func (c Config) Validate() error {
	switch c.Type {
	case "", TypeNone:
		return c.unused(TypeNone)
	case TypeAPIKey:
		return c.validateAPIKey()
	case TypeBasic:
		return c.validateBasic()
	case TypeOAuth2:
		return c.validateOAuth2()
	default:
		return bad("type: there is no kind of authentication %q", c.Type).
			WithHint("known kinds: %s, %s, %s, %s", TypeNone, TypeAPIKey, TypeBasic, TypeOAuth2)
	}
}

func (c Config) validateAPIKey() error {
	if err := c.unused(TypeAPIKey); err != nil {
		return err
	}
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
	case c.Key.IsZero():
		return bad("key is missing").WithHint("key: env:NAME or file:PATH")
	}
	_, err := secret.ParseRef(string(c.Key))
	return wrap("key", err)
}

func (c Config) validateBasic() error {
	if err := c.unused(TypeBasic); err != nil {
		return err
	}
	switch {
	case c.Username == "":
		return bad("username is missing")
	case strings.Contains(c.Username, ":"):
		return bad("username has a colon, which basic authentication cannot carry")
	case c.Password.IsZero():
		return bad("password is missing").WithHint("password: env:NAME or file:PATH")
	}
	_, err := secret.ParseRef(string(c.Password))
	return wrap("password", err)
}

func (c Config) validateOAuth2() error {
	if err := c.unused(TypeOAuth2); err != nil {
		return err
	}
	u, err := url.Parse(c.TokenURL)
	switch {
	case c.TokenURL == "":
		return bad("tokenUrl is missing").WithHint("tokenUrl: the address of the token endpoint")
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return bad("tokenUrl is no address of a token endpoint").WithHint("such as https://login.example/oauth2/token")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return bad("tokenUrl: the client's secret may not travel without TLS").WithHint("use https, except on loopback")
	case c.ClientID == "":
		return bad("clientId is missing")
	case c.ClientSecret.IsZero():
		return bad("clientSecret is missing").WithHint("clientSecret: env:NAME or file:PATH")
	case c.ClientAuth != "" && c.ClientAuth != ClientAuthHeader && c.ClientAuth != ClientAuthBody:
		return bad("clientAuth: %q is not known", c.ClientAuth).WithHint("%s or %s", ClientAuthHeader, ClientAuthBody)
	case len(c.Scopes) > maxScopes:
		return bad("scopes: %d at most", maxScopes)
	}
	for _, scope := range c.Scopes {
		if scope == "" || strings.ContainsAny(scope, " \t\r\n\"\\") {
			return bad("scopes: %q cannot be a scope", scope).WithHint("one entry for each, without spaces")
		}
	}
	_, err = secret.ParseRef(string(c.ClientSecret))
	return wrap("clientSecret", err)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// Secrets are the references that the settings hold, so that a program can tell
// before it starts that one cannot be resolved.
func (c Config) Secrets() []secret.Ref {
	var refs []secret.Ref
	for _, ref := range []secret.Ref{c.Key, c.Password, c.ClientSecret} {
		if !ref.IsZero() {
			refs = append(refs, ref)
		}
	}
	return refs
}

// unused refuses settings of another type: left in place they look as if they worked.
func (c Config) unused(kind string) error {
	of := map[string][]string{
		TypeAPIKey: {c.Header, c.Prefix, c.Query, string(c.Key)},
		TypeBasic:  {c.Username, string(c.Password)},
		TypeOAuth2: {c.TokenURL, c.ClientID, string(c.ClientSecret), c.ClientAuth, strings.Join(c.Scopes, ""), c.Audience},
	}
	for owner, settings := range of {
		if owner != kind && strings.Join(settings, "") != "" {
			return bad("a setting stands there that type %s does not use", kind).
				WithHint("%s takes header or query, prefix and key; %s takes username and password; %s takes tokenUrl, clientId, clientSecret, clientAuth, scopes and audience",
					TypeAPIKey, TypeBasic, TypeOAuth2)
		}
	}
	return nil
}

// IsHeaderName says whether name can name an HTTP header (a token of RFC 9110).
func IsHeaderName(name string) bool {
	if name == "" {
		return false
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return true
}

// IsConnectionHeader says whether the header frames or routes the request and
// is not for configurations to set.
func IsConnectionHeader(name string) bool {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Te", "Trailer", "Upgrade",
		"Expect", "Proxy-Connection":
		return true
	}
	return false
}

// isHeaderValue says whether a header can carry s: no control characters but tab.
func isHeaderValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
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
