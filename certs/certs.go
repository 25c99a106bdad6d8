// Package certs holds the certificate of the broker's listener, and takes over
// another one when its files change: connections that are open stay so, new ones
// get the new certificate. A pair that cannot be used leaves the one before in
// place, and says why.
package certs

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
)

// Every is how often the files are looked at.
const Every = 10 * time.Second

// maxFile bounds a file of certificates, bytes.
const maxFile = 1 << 20

// Options of Load.
type Options struct {
	Cert, Key string // PEM files
	// KeyText reads the key from elsewhere; Key then only names it. Without a Cert, it
	// holds the certificates as well. Nil: Key is a file.
	KeyText  func() (string, error)
	ClientCA string // PEM file: whose certificates callers may show; empty: none are asked for
	// MinVersion is tls.VersionTLS12, the default, or tls.VersionTLS13.
	MinVersion uint16
	// PublicURL is what callers call: a certificate that is not for its host is
	// warned of. Empty: not checked.
	PublicURL string
	Log       *slog.Logger // nil: none
}

// Certificate is a certificate that follows its files.
type Certificate struct {
	opts    Options
	both    bool // the key's text holds the certificates
	current atomic.Pointer[loaded]

	mu      sync.Mutex // around a look
	seen    [sha256.Size]byte
	good    bool                   // what was seen is used
	problem atomic.Pointer[string] // why the files as they are now are not used
}

// loaded is one state of the files.
type loaded struct {
	config   *tls.Config
	leaf     *x509.Certificate
	warnings []string
	at       time.Time
}

// Load reads the files. An error is a *ferry.Error of the code badConfiguration.
func Load(opts Options) (*Certificate, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.MinVersion == 0 {
		opts.MinVersion = tls.VersionTLS12
	}
	c := &Certificate{opts: opts, both: opts.Cert == "" && opts.KeyText != nil}
	if c.both {
		c.opts.Cert = opts.Key // what sentences call it
	}
	f, err := c.read()
	if err != nil {
		return nil, err
	}
	l, err := c.use(f)
	if err != nil {
		return nil, err
	}
	c.seen, c.good = f.sum(), true
	c.current.Store(l)
	return c, nil
}

// Config is what a listener needs. It offers HTTP/1.1 only: every limit of the
// surface is one of connections, each with one request at a time.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{
		MinVersion: c.opts.MinVersion,
		NextProtos: []string{"http/1.1"},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current.Load().config, nil
		},
	}
}

// Warnings say what is amiss with the certificate that is used, in sentences.
func (c *Certificate) Warnings() []string { return c.current.Load().warnings }

// Info tells of the certificate that is used.
func (c *Certificate) Info() *ferry.CertificateInfo {
	l := c.current.Load()
	info := &ferry.CertificateInfo{
		Names: names(l.leaf), Issuer: l.leaf.Issuer.String(),
		NotBefore: l.leaf.NotBefore.UTC(), NotAfter: l.leaf.NotAfter.UTC(), LoadedAt: l.at,
	}
	if p := c.problem.Load(); p != nil {
		info.Problem = *p
	}
	return info
}

// Watch looks at the files now and then until ctx ends.
func (c *Certificate) Watch(ctx context.Context) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.Look()
		}
	}
}

// Look takes over the files if they changed, and says whether it did.
func (c *Certificate) Look() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := c.read()
	if err != nil {
		c.keep(err)
		return false
	}
	sum := f.sum()
	if sum == c.seen {
		if c.good {
			c.problem.Store(nil) // a file that could not be read is there again, as it was
		}
		return false
	}
	l, err := c.use(f)
	c.seen, c.good = sum, err == nil
	if err != nil {
		c.keep(err)
		return false
	}
	c.current.Store(l)
	c.problem.Store(nil)
	c.opts.Log.Info("another certificate is used from now on", "names", names(l.leaf), "notAfter", l.leaf.NotAfter.UTC())
	for _, w := range l.warnings {
		c.opts.Log.Warn("the new certificate: " + w)
	}
	return true
}

// keep stays with what is used, and says why: once for each reason.
func (c *Certificate) keep(err error) {
	why := err.Error()
	if old := c.problem.Load(); old != nil && *old == why {
		return
	}
	c.problem.Store(&why)
	c.opts.Log.Error("the certificate's files changed and cannot be used: the one before stays",
		"error", why, "notAfter", c.current.Load().leaf.NotAfter.UTC())
}

// files are the contents of the three files.
type files struct{ cert, key, clientCA []byte }

func (f files) sum() [sha256.Size]byte {
	h := sha256.New()
	for _, data := range [][]byte{f.cert, f.key, f.clientCA} {
		one := sha256.Sum256(data)
		h.Write(one[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func (c *Certificate) read() (f files, err error) {
	for _, one := range []struct {
		what, path string
		into       *[]byte
	}{{"tls.cert", c.opts.Cert, &f.cert}, {"tls.key", c.opts.Key, &f.key}, {"tls.clientCa", c.opts.ClientCA, &f.clientCA}} {
		if one.path == "" || one.into == &f.key && c.opts.KeyText != nil || one.into == &f.cert && c.both {
			continue
		}
		info, err := os.Stat(one.path)
		if err != nil {
			return f, bad("%s: %w", one.what, err).WithHint("check the path, and that this process may read the file")
		}
		if info.IsDir() || info.Size() > maxFile {
			return f, bad("%s: %s is not a PEM file", one.what, one.path)
		}
		if *one.into, err = os.ReadFile(one.path); err != nil {
			return f, bad("%s: %w", one.what, err).WithHint("check that this process may read the file")
		}
	}
	if c.opts.KeyText == nil {
		return f, nil
	}
	text, err := c.opts.KeyText()
	if err != nil {
		return f, bad("tls.key: %w", err).WithHint("the secret holds the key in PEM, and without tls.cert the certificate, too")
	}
	f.key = []byte(text)
	if c.both {
		f.cert = f.key
	}
	return f, nil
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, format, args...)
}

// use makes a configuration of the files.
func (c *Certificate) use(f files) (*loaded, error) {
	if err := checkPEM(c.opts, f); err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, bad("%s and %s are not a pair: %w", c.opts.Cert, c.opts.Key, err).
			WithHint("the key must be the one that the first certificate of the file was made with")
	}
	leaf := pair.Leaf
	if leaf == nil {
		if leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return nil, bad("%s: %w", c.opts.Cert, err)
		}
	}
	l := &loaded{leaf: leaf, at: time.Now().UTC()}
	l.config = &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: c.opts.MinVersion, NextProtos: []string{"http/1.1"},
	}
	if c.opts.ClientCA != "" {
		l.config.ClientCAs = x509.NewCertPool()
		if !l.config.ClientCAs.AppendCertsFromPEM(f.clientCA) {
			return nil, bad("%s holds no certificate", c.opts.ClientCA).WithHint("PEM: -----BEGIN CERTIFICATE-----")
		}
		l.config.ClientAuth = tls.VerifyClientCertIfGiven
		// A session that is resumed shows no certificate again: one that the files no
		// longer vouch for would stay good.
		l.config.SessionTicketsDisabled = true
	}
	l.warnings = c.warnings(leaf, l.at)
	return l, nil
}

// checkPEM tells the mistakes that are made most from each other.
func checkPEM(opts Options, f files) error {
	block, _ := pem.Decode(f.cert)
	if block == nil {
		return bad("%s holds no certificate", opts.Cert).WithHint("PEM: -----BEGIN CERTIFICATE-----; a .pfx is turned into PEM by: openssl pkcs12 -in FILE -nodes")
	}
	found := false
	for rest := f.key; ; {
		var key *pem.Block
		if key, rest = pem.Decode(rest); key == nil {
			break
		}
		switch {
		case key.Type == "ENCRYPTED PRIVATE KEY" || key.Headers["DEK-Info"] != "":
			return bad("the key in %s is encrypted", opts.Key).WithHint("openssl pkey -in FILE -out KEY takes the password off; let only the broker read it")
		case key.Type == "PRIVATE KEY" || key.Type == "RSA PRIVATE KEY" || key.Type == "EC PRIVATE KEY":
			found = true
		}
	}
	if !found {
		return bad("%s holds no private key", opts.Key).WithHint("PEM: -----BEGIN PRIVATE KEY-----")
	}
	return nil
}

// warnings say what a certificate that can be used is amiss.
func (c *Certificate) warnings(leaf *x509.Certificate, now time.Time) []string {
	var list []string
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	switch {
	case now.After(leaf.NotAfter):
		warn("the certificate in %s ended at %s: callers refuse it", c.opts.Cert, leaf.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(leaf.NotBefore):
		warn("the certificate in %s begins at %s: callers refuse it until then", c.opts.Cert, leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if u, err := url.Parse(c.opts.PublicURL); err == nil && u.Scheme == "https" && leaf.VerifyHostname(u.Hostname()) != nil {
		warn("the certificate in %s is not for %s, the host of publicUrl, but for %v", c.opts.Cert, u.Hostname(), names(leaf))
	}
	if info, err := os.Stat(c.opts.Key); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o004 != 0 {
		warn("the key in %s can be read by every user of this machine: chmod 600 %s", c.opts.Key, c.opts.Key)
	}
	return list
}

// names are what a certificate is for.
func names(leaf *x509.Certificate) []string {
	list := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 && leaf.Subject.CommonName != "" {
		list = append(list, leaf.Subject.CommonName)
	}
	return list
}
