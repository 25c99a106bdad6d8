package httpauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"ferry/secret"
)

// Mask stands where a credential would.
const Mask = "***"

// Authenticator logs requests on. It may be used concurrently.
type Authenticator interface {
	// Apply puts the credentials on the request. The secret is read for this
	// request; an error says that it cannot be read or sent, without repeating it.
	Apply(req *http.Request) error
	// Show puts Mask where Apply puts credentials. It reads no secret.
	Show(req *http.Request)
	// Redact takes the secrets out of text that came back from the destination.
	Redact(text string) string
	// Fingerprint changes when a secret does; it cannot be turned back into one.
	// A secret that cannot be read has a fingerprint of its own.
	Fingerprint() string
	// Wrap is the seam for ways to log on that are more than a header: a
	// conversation bound to the connection, a token fetched anew after a
	// refusal, a client certificate (base is then an *http.Transport to clone).
	Wrap(base http.RoundTripper) http.RoundTripper
}

// Resolver reads secrets.
type Resolver interface {
	Resolve(ref secret.Ref) (secret.Value, error)
}

// Open checks cfg and makes its Authenticator. The secrets are not read yet.
func Open(cfg Config, resolver Resolver) (Authenticator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	switch cfg.Type {
	case TypeAPIKey:
		return apiKey{cfg: cfg, source: source{ref: cfg.Key, resolver: resolver}}, nil
	case TypeBasic:
		return basic{cfg: cfg, source: source{ref: cfg.Password, resolver: resolver}}, nil
	case TypeOAuth2:
		return newOAuth2(cfg, resolver), nil
	default:
		return none{}, nil
	}
}

// Renewer is an Authenticator whose credentials can be had anew, such as tokens.
type Renewer interface {
	// Refused tells that the destination answered a request that Apply prepared
	// with 401. True: the next Apply puts fresh credentials on a request, so that
	// one repeat makes sense.
	Refused(req *http.Request) bool
}

// Credentials is an Authenticator that has a user name and a password, for
// destinations that want them in the body, such as JSON-RPC.
type Credentials interface {
	// Credentials reads the password for one request. What puts it into a body
	// masks it in previews itself; Redact takes it out of answers.
	Credentials() (username string, password secret.Value, err error)
}

// What keeps Apply from putting credentials on a request, beside a secret that
// cannot be read.
var (
	// ErrUnavailable: what hands out the credentials cannot be reached, or is down.
	ErrUnavailable = errors.New("the token endpoint cannot be reached, or is down")
	// ErrRefused: it refuses the client.
	ErrRefused = errors.New("the token endpoint refuses the client")
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
	key, err := a.resolver.Resolve(a.ref)
	if err != nil {
		return text
	}
	return redact(text, key.Reveal(), escapeQuery(key.Reveal()), url.QueryEscape(key.Reveal()))
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
	password, err := b.resolver.Resolve(b.ref)
	if err != nil {
		return text
	}
	token := base64.StdEncoding.EncodeToString([]byte(b.cfg.Username + ":" + password.Reveal()))
	return redact(text, token, password.Reveal())
}

func (b basic) Wrap(base http.RoundTripper) http.RoundTripper { return base }

// source is one secret and how to read it.
type source struct {
	ref      secret.Ref
	resolver Resolver
}

// Fingerprint is a hash over the reference and the secret: the same secret
// behind another reference counts as changed, which is harmless.
func (s source) Fingerprint() string {
	h := sha256.New()
	_, _ = h.Write([]byte("ferry credentials\x00" + string(s.ref) + "\x00"))
	value, err := s.resolver.Resolve(s.ref)
	if err != nil {
		_, _ = h.Write([]byte("unreadable"))
	} else {
		_, _ = h.Write([]byte("\x01" + value.Reveal()))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
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
