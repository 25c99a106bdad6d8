package sbemu

import (
	"bufio"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"ferry/internal/sbemu/atom"
)

// webSocketPath is where the service speaks AMQP over WebSockets.
const webSocketPath = "/$servicebus/websocket"

// peeked is a connection whose first bytes were looked at.
type peeked struct {
	net.Conn
	r *bufio.Reader
}

// Read reads what was looked at first.
func (p peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// serve finds out by the first bytes what a connection speaks. It returns when the
// connection is over, or when HTTP has it.
func (s *Server) serve(raw net.Conn) {
	expire := time.AfterFunc(s.o.Limits.Handshake, func() { _ = raw.Close() })
	defer expire.Stop()
	p := peeked{raw, bufio.NewReaderSize(raw, 32<<10)}
	first, err := p.r.Peek(1)
	if err != nil {
		return
	}
	if first[0] == 0x16 { // a TLS handshake
		if s.o.TLS == nil {
			return
		}
		secure := tls.Server(p, s.o.TLS)
		if err := secure.Handshake(); err != nil {
			s.log.Debug("TLS handshake", "error", err)
			return
		}
		p = peeked{secure, bufio.NewReaderSize(secure, 32<<10)}
	}
	if first, err = p.r.Peek(4); err != nil {
		return
	}
	if string(first) == "AMQP" {
		s.amqp(p, p.r, expire)
		return
	}
	expire.Stop()
	h := handed{peeked: p, over: make(chan struct{}), once: &sync.Once{}}
	select {
	case s.httpc <- h:
		<-h.over
	case <-s.done:
	}
}

// handed is a connection that HTTP has, and says when it is done with it.
type handed struct {
	peeked
	over chan struct{}
	once *sync.Once
}

// Close tells the one who waits.
func (h handed) Close() error {
	err := h.Conn.Close()
	h.once.Do(func() { close(h.over) })
	return err
}

// httpListener gives the HTTP server its share of the port.
type httpListener struct{ s *Server }

// Accept waits for the next connection that speaks HTTP.
func (l httpListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.s.httpc:
		return c, nil
	case <-l.s.done:
		return nil, net.ErrClosed
	}
}

// Close does nothing: the port is closed by the double.
func (l httpListener) Close() error { return nil }

// Addr is the double's.
func (l httpListener) Addr() net.Addr { return l.s.ln.Addr() }

// routes serves AMQP over WebSockets, and the administration.
func (s *Server) routes() http.Handler {
	rest := atom.New(s.ns, atom.Options{Check: s.auth.manages, Name: "double"})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.URL.Path, webSocketPath) {
			s.webSocket(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	})
}

func (s *Server) webSocket(w http.ResponseWriter, r *http.Request) {
	s.wg.Add(1) // while the connection's own goroutine is still counted
	defer s.wg.Done()
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{"amqp", "AMQPWSB10"}, CompressionMode: websocket.CompressionDisabled, // the name now, and the one that the JavaScript SDK has
	})
	if err != nil {
		s.log.Debug("open a WebSocket", "error", err)
		return
	}
	if ws.Subprotocol() == "" {
		_ = ws.Close(websocket.StatusProtocolError, "the subprotocol is amqp")
		return
	}
	ws.SetReadLimit(int64(s.o.Limits.PartialBytes)) // frames are bounded below
	c := websocket.NetConn(r.Context(), ws, websocket.MessageBinary)
	defer func() { _ = c.Close() }()
	expire := time.AfterFunc(s.o.Limits.Handshake, func() { _ = ws.CloseNow() })
	defer expire.Stop()
	s.amqp(c, bufio.NewReaderSize(c, 32<<10), expire)
}
