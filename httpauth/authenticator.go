package httpauth

import (
	"errors"
	"net/http"

	"ferry/secret"
)

// Mask stands where a credential would.
const Mask = "***"

// Authenticator logs requests on. It may be used concurrently. One that is an
// io.Closer too keeps something beside the connections: it is closed at the end.
type Authenticator interface {
	// Apply puts the credentials on the request, or ready for [Authenticator.Wrap].
	// The secret is read for this request; an error says that it cannot be read,
	// sent or taken (ErrUnavailable, ErrRefused), without repeating it.
	Apply(req *http.Request) error
	// Show puts Mask where Apply puts credentials. It reads no secret.
	Show(req *http.Request)
	// Redact takes the secrets out of text that came back from the destination.
	Redact(text string) string
	// Fingerprint changes when a secret does; it cannot be turned back into one.
	// A secret that cannot be read has a fingerprint of its own, with [Unreadable] in it.
	Fingerprint() string
	// Wrap is the seam for ways to log on that are more than a header: a
	// conversation bound to the connection, a client certificate. base is then an
	// *http.Transport, which is cloned. What Wrap gives may have a method
	// CloseIdleConnections, as http.Client looks for.
	Wrap(base http.RoundTripper) http.RoundTripper
}

// Resolver reads secrets.
type Resolver interface {
	Resolve(ref secret.Ref) (secret.Value, error)
}

// Options say where the credentials go, and how the way there is secured.
type Options struct {
	URL string // the destination's; entraId takes its scope from it, and tls needs https there
	TLS TLS
}

// Open checks cfg and makes its Authenticator. The secrets are not read yet.
func Open(cfg Config, resolver Resolver) (Authenticator, error) {
	return Options{}.Open(cfg, resolver)
}

// Open checks the options and cfg, and makes the Authenticator of both. Secrets
// and files are not read yet.
func (o Options) Open(cfg Config, resolver Resolver) (Authenticator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	auth, err := o.open(cfg, resolver)
	if err != nil || o.TLS.IsZero() {
		return auth, err
	}
	return secure(auth, o, resolver)
}

func (o Options) open(cfg Config, resolver Resolver) (Authenticator, error) {
	switch cfg.Type {
	case TypeAPIKey:
		return apiKey{cfg: cfg, source: source{ref: cfg.Key, resolver: resolver}}, nil
	case TypeBasic:
		return basic{cfg: cfg, source: source{ref: cfg.Password, resolver: resolver}}, nil
	case TypeOAuth2:
		return newBearer(newClientCredentials(cfg, resolver)), nil
	case TypeOAuth1:
		return oauth1{cfg: cfg, resolver: resolver}, nil
	case TypeEntraID:
		source, err := newEntra(cfg, o.URL, resolver)
		if err != nil {
			return nil, err
		}
		return newBearer(source), nil
	case TypeNTLM:
		return &ntlm{cfg: cfg, source: source{ref: cfg.Password, resolver: resolver}}, nil
	case TypeKerberos:
		return newKerberos(cfg, resolver), nil
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
	// ErrUnavailable: what hands out the credentials (a token endpoint, Entra ID, a
	// KDC) cannot be reached, or is down.
	ErrUnavailable = errors.New("no credentials can be had")
	// ErrRefused: it refuses the client.
	ErrRefused = errors.New("the credentials are refused")
)
