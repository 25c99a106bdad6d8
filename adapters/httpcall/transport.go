package httpcall

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
)

// DialTimeout bounds connecting and the TLS handshake, each.
const DialTimeout = 10 * time.Second

// NewTransport makes the transport of one destination: HTTP/1.1, the proxy of
// the environment, connections kept for 90 s, every byte that is written
// counted. dial stands in for the network; nil dials TCP.
func NewTransport(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Transport {
	if dial == nil {
		dial = (&net.Dialer{Timeout: DialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &countedConn{Conn: conn}, nil
		},
		TLSHandshakeTimeout: DialTimeout,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12},
		Protocols:           &protocols,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     90 * time.Second,
		// The bound on answers must count what came, not what it unpacks to.
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// countedConn counts what was written.
type countedConn struct {
	net.Conn
	written atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// watch follows one request through the transport.
type watch struct {
	trace httptrace.ClientTrace

	mu     sync.Mutex
	asked  bool // the transport looked for a connection: it is one that reports
	opaque bool // a connection that does not count
	used   []usedConn
	first  [1]usedConn // of used: there is hardly ever another
}

type usedConn struct {
	conn   *countedConn
	before int64 // bytes written before this request got it
}

func newWatch() *watch {
	w := &watch{}
	w.used = w.first[:0]
	w.trace = httptrace.ClientTrace{GetConn: w.getConn, GotConn: w.gotConn}
	return w
}

func (w *watch) getConn(string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = true
}

func (w *watch) gotConn(info httptrace.GotConnInfo) {
	w.mu.Lock()
	defer w.mu.Unlock()
	conn := info.Conn
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn() // the handshake is over: what follows is the request
	}
	counted, ok := conn.(*countedConn)
	if !ok {
		w.opaque = true
		return
	}
	w.used = append(w.used, usedConn{conn: counted, before: counted.written.Load()})
}

// effect says what a request without an answer may have done. The transport
// has stopped writing when it reports an error.
func (w *watch) effect() ferry.Effect {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.asked || w.opaque {
		return ferry.EffectMaybe
	}
	for _, u := range w.used {
		if u.conn.written.Load() > u.before {
			return ferry.EffectMaybe
		}
	}
	return ferry.EffectNone
}
