package httpauth

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"ferry"
	"ferry/secret"
)

// TLS says how the connections to a destination are secured, beside any kind of
// logon. Files are read anew when they change.
type TLS struct {
	// Cert is a PEM file: the client's certificate, and what is between it and its
	// root. It goes with Key; default: Key holds the certificates as well.
	Cert string     `yaml:"cert"`
	Key  secret.Ref `yaml:"key"` // its private key, PEM, not encrypted
	// CA is a PEM file: what the destination's certificate is checked against, in
	// the place of the system's certificates.
	CA         string `yaml:"ca"`
	ServerName string `yaml:"serverName"` // the name in the destination's certificate; default the URL's host
}

// IsZero says whether nothing is set.
func (t TLS) IsZero() bool { return t == TLS{} }

// Validate checks everything but the secret and the files.
func (t TLS) Validate() error {
	switch {
	case t.Cert != "" && t.Key.IsZero():
		return badTLS("cert is there and key is not").WithHint("key: file:PATH, or @Microsoft.KeyVault(…)")
	case t.Key.IsZero():
		return nil
	}
	if _, err := secret.ParseRef(string(t.Key)); err != nil {
		out := badTLS("key: %w", err)
		if e, ok := err.(*ferry.Error); ok { //nolint:errorlint // ParseRef gives it unwrapped
			out.Hint = e.Hint
		}
		return out
	}
	return nil
}

// Secrets are the references that the settings hold.
func (t TLS) Secrets() []secret.Ref { return present(t.Key) }

// Files are the files that the settings name, by the name of the setting.
func (t TLS) Files() map[string]string { return named(setting{"cert", t.Cert}, setting{"ca", t.CA}) }

// secured is an Authenticator over connections that TLS settings secure.
type secured struct {
	Authenticator
	cfg      TLS
	resolver Resolver

	mu   sync.Mutex
	base *http.Transport // what Wrap was given; nil: something else
	now  *generation
}

// securedCredentials is secured over an Authenticator with a user name and a password.
type securedCredentials struct {
	*secured
	login Credentials
}

// Credentials gives user name and password for a body.
func (s securedCredentials) Credentials() (string, secret.Value, error) { return s.login.Credentials() }

// generation is one reading of the files, and the connections made with it.
type generation struct {
	mark      string
	transport *http.Transport
	rt        http.RoundTripper // what the logon makes of transport
}

func secure(auth Authenticator, o Options, resolver Resolver) (Authenticator, error) {
	if err := o.TLS.Validate(); err != nil {
		return nil, err
	}
	if u, err := url.Parse(o.URL); err != nil || u.Scheme != "https" {
		return nil, badTLS("it goes with an https url")
	}
	s := &secured{Authenticator: auth, cfg: o.TLS, resolver: resolver}
	if c, ok := auth.(Credentials); ok {
		return securedCredentials{s, c}, nil
	}
	return s, nil
}

// Apply sees to it that the certificates can be read before anything is called.
func (s *secured) Apply(req *http.Request) error {
	if _, err := s.current(); err != nil {
		return err
	}
	return s.Authenticator.Apply(req)
}

// Wrap puts the certificates onto clones of base, an *http.Transport; anything
// else stands in for the network, and is left alone.
func (s *secured) Wrap(base http.RoundTripper) http.RoundTripper {
	transport, ok := base.(*http.Transport)
	if !ok {
		return s.Authenticator.Wrap(base)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.base, s.now = transport, nil
	return rotating{s}
}

// Fingerprint covers the files and the key, and what the logon holds.
func (s *secured) Fingerprint() string {
	return s.Authenticator.Fingerprint() + fingerprint(s.resolver, s.cfg.Secrets(), []string{s.cfg.Cert, s.cfg.CA})
}

// Refused asks the logon, if it can have fresh credentials.
func (s *secured) Refused(req *http.Request) bool {
	r, ok := s.Authenticator.(Renewer)
	return ok && r.Refused(req)
}

// Close closes what the logon keeps.
func (s *secured) Close() error {
	rotating{s}.CloseIdleConnections()
	if c, ok := s.Authenticator.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// current gives the connections of the files as they are. Files that cannot be
// used leave the ones before in use: they are written one after the other.
func (s *secured) current() (*generation, error) {
	mark := s.mark()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil && s.now.mark == mark {
		return s.now, nil
	}
	config, err := s.load()
	switch {
	case err != nil && s.now != nil:
		return s.now, nil
	case err != nil || s.base == nil:
		return nil, err
	}
	transport := s.base.Clone()
	transport.TLSClientConfig = config // of connections through a proxy
	transport.DialTLSContext = settledDial(transport, config)
	before := s.now
	s.now = &generation{mark: mark, transport: transport, rt: s.Authenticator.Wrap(transport)}
	if before != nil {
		before.closeIdle()
	}
	return s.now, nil
}

// mark changes when a file or the key does, and costs little.
func (s *secured) mark() string {
	text := fingerprint(s.resolver, s.cfg.Secrets(), nil)
	for _, file := range []string{s.cfg.Cert, s.cfg.CA} {
		if info, err := os.Stat(file); err == nil {
			text += fmt.Sprint(" ", info.ModTime().UnixNano(), " ", info.Size())
		}
	}
	return text
}

// load reads the files.
func (s *secured) load() (*tls.Config, error) {
	config := tlsConfig(nil)
	if s.base != nil && s.base.TLSClientConfig != nil {
		config = s.base.TLSClientConfig.Clone()
	}
	config.ServerName = s.cfg.ServerName
	if s.cfg.CA != "" {
		roots, err := readRoots("ca", s.cfg.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = roots
	}
	if s.cfg.Key.IsZero() {
		return config, nil
	}
	key, err := s.resolver.Resolve(s.cfg.Key)
	if err != nil {
		return nil, err
	}
	cert, from := []byte(key.Reveal()), s.cfg.Key.String()
	if s.cfg.Cert != "" {
		from = s.cfg.Cert
		if cert, err = readFile(s.cfg.Cert); err != nil {
			return nil, wrapFile("cert", s.cfg.Cert, err)
		}
	}
	pair, err := tls.X509KeyPair(cert, []byte(key.Reveal()))
	switch {
	case err != nil && s.cfg.Cert == "":
		return nil, badTLS("key %s does not hold a key and its certificate: %w", s.cfg.Key, err).
			WithHint("name the certificate's file as cert, or let the secret hold both, as that of a vault's certificate does")
	case err != nil:
		return nil, badTLS("cert %s and key %s do not go together: %w", s.cfg.Cert, s.cfg.Key, err)
	case time.Now().After(pair.Leaf.NotAfter):
		return nil, badTLS("the certificate in %s ended at %s", from, pair.Leaf.NotAfter.UTC().Format(time.RFC3339)).
			WithHint("write a new one there: it is seen without a restart")
	}
	// Sent whatever roots the destination says that it takes: its refusal tells more
	// than a missing certificate.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return config, nil
}

// rotating makes requests over the connections of the files as they are.
type rotating struct{ s *secured }

func (r rotating) RoundTrip(req *http.Request) (*http.Response, error) {
	g, err := r.s.current()
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // as a RoundTripper has to
		}
		return nil, err
	}
	return g.rt.RoundTrip(req)
}

// CloseIdleConnections closes the idle connections.
func (r rotating) CloseIdleConnections() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.now != nil {
		r.s.now.closeIdle()
	}
}

func (g *generation) closeIdle() {
	closeIdle(g.rt)
	g.transport.CloseIdleConnections()
}

// closeIdle closes the idle connections of what has some.
func closeIdle(rt http.RoundTripper) {
	if c, ok := rt.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

var errNoCertificate = errors.New("it holds no certificate in PEM, -----BEGIN CERTIFICATE-----")

func readRoots(name, file string) (*x509.CertPool, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, wrapFile(name, file, err)
	}
	pool := x509.NewCertPool()
	if block, _ := pem.Decode(data); block == nil || !pool.AppendCertsFromPEM(data) {
		return nil, wrapFile(name, file, errNoCertificate)
	}
	return pool, nil
}

// maxFile bounds a file of certificates or keys, in bytes.
const maxFile = 4 << 20

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only: nothing to lose
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return data, err
}

// wrapFile is the error of a file that a setting names.
func wrapFile(name, file string, err error) *ferry.Error {
	var path *os.PathError
	if errors.As(err, &path) {
		err = path.Err // the path is named already
	}
	return ferry.Errorf(ferry.CodeBadConfig, "%s: %s: %w", name, file, err)
}

// isCertificate says whether a connection failed for the other side's certificate.
func isCertificate(err error) bool {
	var verify *tls.CertificateVerificationError
	return errors.As(err, &verify)
}

// tokenID is a name that is used once.
func tokenID() (string, error) {
	var b [16]byte
	_, err := rand.Read(b[:])
	return hex.EncodeToString(b[:]), err
}

func badTLS(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, "tls: "+format, args...)
}
