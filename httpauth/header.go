package httpauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"

	"ferry/secret"
)

// none sends no credentials.
type none struct{}

func (none) Apply(*http.Request) error                     { return nil }
func (none) Show(*http.Request)                            {}
func (none) Redact(text string) string                     { return text }
func (none) Fingerprint() string                           { return "" }
func (none) Wrap(base http.RoundTripper) http.RoundTripper { return base }

// apiKey sends a key in a header or in the query.
type apiKey struct {
	cfg Config
	source
}

func (a apiKey) Apply(req *http.Request) error {
	key, err := a.resolver.Resolve(a.ref)
	if err != nil {
		return err
	}
	if a.cfg.Header != "" {
		if !isHeaderValue(key.Reveal()) {
			return bad("the key of %s has characters that a header cannot carry, such as a line end", a.ref)
		}
		req.Header.Set(a.cfg.Header, a.cfg.Prefix+key.Reveal())
		return nil
	}
	a.setQuery(req, key.Reveal())
	return nil
}

func (a apiKey) Show(req *http.Request) {
	if a.cfg.Header != "" {
		req.Header.Set(a.cfg.Header, a.cfg.Prefix+Mask)
		return
	}
	a.setQuery(req, Mask)
}

// setQuery appends to the query as it stands: parsing and encoding it anew
// would turn %20 into +, which some destinations do not take for a space.
func (a apiKey) setQuery(req *http.Request, value string) {
	u := *req.URL
	pair := escapeQuery(a.cfg.Query) + "=" + escapeQuery(value)
	if value == Mask {
		pair = escapeQuery(a.cfg.Query) + "=" + Mask
	}
	if u.RawQuery != "" {
		pair = u.RawQuery + "&" + pair
	}
	u.RawQuery = pair
	req.URL = &u
}

func (a apiKey) Redact(text string) string {
	for _, key := range a.known() {
		text = redact(text, key, escapeQuery(key), url.QueryEscape(key))
	}
	return text
}

func (a apiKey) Wrap(base http.RoundTripper) http.RoundTripper { return base }

// basic sends a user name and a password.
type basic struct {
	cfg Config
	source
}

func (b basic) Apply(req *http.Request) error {
	password, err := b.resolver.Resolve(b.ref)
	if err != nil {
		return err
	}
	req.SetBasicAuth(b.cfg.Username, password.Reveal())
	return nil
}

// Credentials gives user name and password for a body.
func (b basic) Credentials() (string, secret.Value, error) {
	password, err := b.resolver.Resolve(b.ref)
	return b.cfg.Username, password, err
}

func (b basic) Show(req *http.Request) { req.Header.Set("Authorization", "Basic "+Mask) }

func (b basic) Redact(text string) string {
	for _, password := range b.known() {
		token := base64.StdEncoding.EncodeToString([]byte(b.cfg.Username + ":" + password))
		text = redact(text, token, password)
	}
	return text
}

func (b basic) Wrap(base http.RoundTripper) http.RoundTripper { return base }

// source is one secret and how to read it.
type source struct {
	ref      secret.Ref
	resolver Resolver
}

// Fingerprint is a hash over the reference and the secret: the same secret
// behind another reference counts as changed, which is harmless.
func (s source) Fingerprint() string { return fingerprint(s.resolver, []secret.Ref{s.ref}, nil) }

// redact takes the secret out of text, as it is and as a query has it.
func (s source) redact(text string) string {
	for _, value := range s.known() {
		text = redact(text, value, url.QueryEscape(value))
	}
	return text
}

// Unreadable stands in a fingerprint for which a secret or a file could not be read.
const Unreadable = "?"

// fingerprint is a hash over secrets and files, and what names them. What cannot
// be read counts as a content of its own, and is told by [Unreadable]; a file without
// a name is none.
func fingerprint(resolver Resolver, refs []secret.Ref, files []string) string {
	h, unread := sha256.New(), ""
	write := func(name, content string, err error) {
		if err != nil {
			content, unread = "unreadable", Unreadable
		} else {
			content = "\x01" + content
		}
		_, _ = h.Write([]byte("ferry credentials\x00" + name + "\x00" + content))
	}
	for _, ref := range refs {
		value, err := resolver.Resolve(ref)
		write(string(ref), value.Reveal(), err)
	}
	for _, file := range files {
		if file == "" {
			continue
		}
		data, err := readFile(file)
		write(file, string(data), err)
	}
	return hex.EncodeToString(h.Sum(nil)[:16]) + unread
}

// shortest is the length from which a secret is taken out of text: a shorter
// one would match by chance and garble the text without protecting anything.
const shortest = 4

func redact(text string, secrets ...string) string {
	for _, s := range secrets {
		if len(s) >= shortest {
			text = strings.ReplaceAll(text, s, Mask)
		}
	}
	return text
}

// escapeQuery escapes for a query, a space as %20.
func escapeQuery(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
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
