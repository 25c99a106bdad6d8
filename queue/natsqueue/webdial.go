package natsqueue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"ferry"
)

// Proxy is how a worker finds the HTTP proxy on its way to the broker.
type Proxy struct {
	// Find names the proxy to a URL; nil, or a nil URL: none.
	Find func(*url.URL) (*url.URL, error)
	// Login is asked for at each connection; nil: what the proxy's URL says.
	Login func() (user, password string, err error)
}

const (
	webTimeout  = 10 * time.Second // of an attempt through a proxy, TLS and the upgrade
	webMessage  = 64 << 10         // what is written is cut into messages of at most this
	maxCAFile   = 1 << 20
	maxWebReply = 64 << 10 // header of an answer
)

// webDialer makes connections to the broker's /queue: through a proxy, with TLS, as
// a WebSocket. What the client library sees of it is a connection like any other.
type webDialer struct {
	ctx     context.Context // of every attempt
	abort   context.CancelFunc
	url     *url.URL
	proxy   Proxy
	ca      string
	agent   string
	timeout time.Duration

	mu   sync.Mutex
	last error    // of the last attempt
	conn net.Conn // that it made; the library leaves some open that were refused
}

// Dial makes a connection; where to is the dialer's to know. Errors are *ReachError.
func (d *webDialer) Dial(string, string) (net.Conn, error) {
	d.drop()
	conn, err := d.dial()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last, d.conn = err, conn
	return conn, err
}

// drop closes the connection that was made last.
func (d *webDialer) drop() {
	d.mu.Lock()
	conn := d.conn
	d.conn = nil
	d.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// failed is why the last attempt failed; nil: it did not.
func (d *webDialer) failed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

func (d *webDialer) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.ctx, d.timeout)
	defer cancel()
	way := &way{to: d.url, ca: d.ca}
	transport, err := d.transport(way)
	if err != nil {
		return nil, err
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ws, answer, err := websocket.Dial(ctx, d.url.String(), &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"User-Agent": {d.agent}}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, way.fault(answer, err)
	}
	// The library itself bounds reading and writing where it wants to.
	return &webConn{Conn: websocket.NetConn(context.Background(), ws, websocket.MessageBinary), ws: ws}, nil
}

// transport is made for one attempt: a file of authorities, or a password, that was
// replaced counts from the next one on.
func (d *webDialer) transport(w *way) (*http.Transport, error) {
	roots, err := authorities(d.ca)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		DialContext:            (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
		TLSHandshakeTimeout:    d.timeout,
		MaxResponseHeaderBytes: maxWebReply,
	}
	if d.proxy.Find == nil || d.url.Scheme != "wss" {
		return t, nil
	}
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		found, err := d.proxy.Find(r.URL)
		if found != nil && found.User != nil && d.proxy.Login != nil && strings.HasPrefix(found.Scheme, "http") {
			bare := *found // net/http would let who is in the URL overrule the login
			bare.User = nil
			found = &bare
		}
		w.through = found
		return found, err
	}
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, answer *http.Response) error {
		if answer.StatusCode == http.StatusOK {
			return nil
		}
		return &proxyRefusal{status: answer.StatusCode, schemes: answer.Header["Proxy-Authenticate"]}
	}
	t.GetProxyConnectHeader = func(context.Context, *url.URL, string) (http.Header, error) {
		header := http.Header{"User-Agent": {d.agent}}
		if d.proxy.Login == nil {
			w.showed = w.through != nil && w.through.User != nil
			return header, nil
		}
		user, password, err := d.proxy.Login()
		if err != nil {
			return nil, &proxyLogin{err}
		}
		w.showed = true
		header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
		return header, nil
	}
	return t, nil
}

// authorities are those of this machine, and those of the file; nil without a file:
// those of this machine.
func authorities(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	info, err := os.Stat(file)
	var text []byte
	switch {
	case err != nil:
	case info.IsDir() || info.Size() > maxCAFile:
		err = fmt.Errorf("%s is not a PEM file", file)
	default:
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, unreachable("the file of queue.nats.ca cannot be read: %w", err).hint("check the path, and that this process may read the file")
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(text) {
		return nil, unreachable("the file of queue.nats.ca, %s, holds no certificate", file).hint("PEM: -----BEGIN CERTIFICATE-----")
	}
	return roots, nil
}

// webConn is a WebSocket as a connection.
type webConn struct {
	net.Conn
	ws *websocket.Conn
}

// Write sends p in messages that the other side takes.
func (c *webConn) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), webMessage)]
		m, err := c.Conn.Write(part)
		n += m
		if err != nil {
			return n, err
		}
		p = p[len(part):]
	}
	return n, nil
}

// Close ends the connection at once. Whoever wants to know that everything arrived
// has asked before.
func (c *webConn) Close() error {
	err := c.ws.CloseNow()
	_ = c.Conn.Close() // ends its timers
	return err
}

// ReachError says why the queue cannot be reached. It is queue.ErrUnavailable, and
// has a *ferry.Error with the sentence and the hint.
type ReachError struct{ fault *ferry.Error }

func unreachable(format string, args ...any) *ReachError {
	return &ReachError{ferry.Errorf(ferry.CodeQueueUnreachable, format, args...)}
}

func (e *ReachError) hint(format string, args ...any) *ReachError {
	e.fault.Hint = fmt.Sprintf(format, args...)
	return e
}

func (e *ReachError) Error() string { return e.fault.Error() }

// shownURL is a URL for people: where to, and nothing that could be a secret.
func shownURL(u *url.URL) string { return u.Scheme + "://" + u.Host + strings.TrimSuffix(u.Path, "/") }
