package httpauth

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// maxLanes bounds the connections that are kept for the next call; as many as
// calls that a destination may have at a time, by default.
const maxLanes = 64

// lanes are connections, each for one call at a time.
type lanes struct {
	ntlm *ntlm
	base *http.Transport

	mu   sync.Mutex
	idle []*lane // the one used last at the end
}

// lane is one connection at most: its transport dials when it is allowed to.
type lane struct {
	rt       *http.Transport
	dials    atomic.Bool // a new connection may be made
	loggedOn string      // fingerprint of the password that the connection is logged on with
}

// errOtherConnection: the request would have gone over a new connection.
var errOtherConnection = errors.New("the connection was closed")

func (p *lanes) take() *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		l := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return l
	}
	l := &lane{rt: p.base.Clone()}
	l.rt.MaxConnsPerHost, l.rt.MaxIdleConnsPerHost = 1, 1
	// HTTP/2 mixes requests on a connection; IIS refuses NTLM there.
	l.rt.Protocols = new(http.Protocols)
	l.rt.Protocols.SetHTTP1(true)
	dial := p.base.DialContext
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	l.rt.DialContext = l.allowed(dial)
	if p.base.DialTLSContext != nil {
		l.rt.DialTLSContext = l.allowed(p.base.DialTLSContext)
	}
	return l
}

type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// allowed dials once for each time that it is allowed.
func (l *lane) allowed(dial dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !l.dials.Swap(false) {
			return nil, errOtherConnection
		}
		return dial(ctx, network, address)
	}
}

func (p *lanes) put(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) < maxLanes {
		p.idle = append(p.idle, l)
		return
	}
	l.rt.CloseIdleConnections()
}

// RoundTrip makes one call over a connection that nobody else uses until the
// answer's body is closed.
func (p *lanes) RoundTrip(req *http.Request) (*http.Response, error) {
	l, ok := req.Context().Value(logonKey{}).(*logon)
	if !ok {
		return p.base.RoundTrip(req) // nobody asked for a logon
	}
	lookingForConnection(req)
	lane := p.take()
	resp, err := p.ntlm.send(lane, req, l)
	if err != nil {
		lane.rt.CloseIdleConnections() // nobody knows what became of its connection
		return nil, err
	}
	resp.Body = &laneBody{ReadCloser: resp.Body, done: func() { p.put(lane) }}
	return resp, nil
}

// CloseIdleConnections closes the connections that no call uses.
func (p *lanes) CloseIdleConnections() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, l := range idle {
		l.rt.CloseIdleConnections()
	}
	p.base.CloseIdleConnections()
}

// again makes a request over the connection that is there, or fails with
// errOtherConnection before anything of it is sent.
func (l *lane) again(req *http.Request) (*http.Response, error) {
	l.dials.Store(false)
	return l.rt.RoundTrip(req)
}

// laneBody gives the lane back when the answer was read.
type laneBody struct {
	io.ReadCloser
	once sync.Once
	done func()
}

func (b *laneBody) Close() error {
	err := b.ReadCloser.Close()
	b.once.Do(b.done)
	return err
}

// heldBody is a request's body that outlives an attempt of which nothing was
// sent: a transport closes the body of what it could not send.
type heldBody struct {
	io.ReadCloser
	read atomic.Bool
}

// hold puts a heldBody into the request; nil when it has no body.
func hold(req *http.Request) *heldBody {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	b := &heldBody{ReadCloser: req.Body}
	req.Body = b
	return b
}

func (b *heldBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.ReadCloser.Read(p)
}

func (b *heldBody) Close() error {
	if b.read.Load() {
		return b.ReadCloser.Close()
	}
	return nil
}

// release closes a body that was never read.
func (b *heldBody) release() {
	if b != nil && !b.read.Load() {
		_ = b.ReadCloser.Close() // nothing was read of it
	}
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // it was not read
	}
}
