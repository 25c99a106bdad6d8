package sbemu

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"ferry/internal/sbemu/entity"
)

// Server is a running double.
type Server struct {
	o          Options
	log        *slog.Logger
	ns         *entity.Namespace
	ln         net.Listener
	web        *http.Server
	httpc      chan net.Conn // connections that speak HTTP
	done       chan struct{} // closed when Close begins
	wg         sync.WaitGroup
	auth       *authority
	hooks      hooks
	operations map[string]operation

	mu     sync.Mutex
	raw    map[net.Conn]struct{} // everything accepted
	conns  map[*conn]struct{}    // what speaks AMQP
	away   bool
	closed bool
}

// Start listens and serves until Close.
func Start(o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{
		o: o, log: o.Log, ns: entity.New(entity.Options{}), httpc: make(chan net.Conn), done: make(chan struct{}),
		raw: map[net.Conn]struct{}{}, conns: map[*conn]struct{}{},
		auth: newAuthority(o), operations: operations(),
	}
	for _, q := range o.Queues {
		if _, err := s.ns.Create(q); err != nil {
			s.ns.Close()
			return nil, fmt.Errorf("queue %s: %w", q.Name, err)
		}
	}
	if s.ln, err = net.Listen("tcp", o.Listen); err != nil {
		s.ns.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	s.web = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: o.Limits.Handshake, ReadTimeout: 2 * o.Limits.Handshake, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	s.wg.Go(s.accept)
	s.wg.Go(func() { _ = s.web.Serve(httpListener{s}) }) // ends with ErrServerClosed
	return s, nil
}

// Namespace is what the double serves.
func (s *Server) Namespace() *entity.Namespace { return s.ns }

// Addr is the HOST:PORT that the double listens on. With TLS it is what a client's
// custom endpoint must be.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Host is the name in the connection string of a double with TLS. Nothing resolves
// it: clients dial Addr in its place.
const Host = "double.servicebus.windows.net"

// ConnectionString is that of the first policy with all rights, else of any. With
// TLS it is shaped as those of the service are, with Host for the namespace.
func (s *Server) ConnectionString() string {
	name := s.auth.first()
	return s.ConnectionStringOf(name)
}

// ConnectionStringOf is the connection string of a policy, with its first key.
func (s *Server) ConnectionStringOf(policy string) string {
	key := s.auth.key(policy)
	if s.o.TLS != nil {
		return fmt.Sprintf("Endpoint=sb://%s/;SharedAccessKeyName=%s;SharedAccessKey=%s", Host, policy, key)
	}
	return fmt.Sprintf("Endpoint=sb://%s;SharedAccessKeyName=%s;SharedAccessKey=%s;UseDevelopmentEmulator=true", s.Addr(), policy, key)
}

// Close cuts every connection and ends the double. It returns when nothing of it
// runs any more; it may be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	s.mu.Unlock()
	err := s.ln.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	s.cut()
	_ = s.web.Close()
	s.wg.Wait()
	s.ns.Close()
	return err
}

func (s *Server) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			select {
			case <-s.done:
				return
			case <-time.After(10 * time.Millisecond): // such as: no file handles left
				s.log.Warn("accept a connection", "error", err)
				continue
			}
		}
		if s.o.Delay > 0 {
			c = delay(c, s.o.Delay)
		}
		if !s.admit(c) {
			refuse(c)
			continue
		}
		s.wg.Go(func() {
			defer s.forget(c)
			s.serve(c)
		})
	}
}

// admit keeps a connection, unless there are too many or the double is away. Those
// above the limit are let in as many times again, to be told why they are closed.
func (s *Server) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.away || len(s.raw) >= 2*s.o.Limits.Connections {
		return false
	}
	s.raw[c] = struct{}{}
	return true
}

func (s *Server) forget(c net.Conn) {
	_ = c.Close() // closed already, or of no interest any more
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.raw, c)
}

// refuse resets a connection, as if nobody listened.
func refuse(c net.Conn) {
	if d, ok := c.(*delayed); ok {
		defer func() { _ = d.Close() }()
		c = d.Conn
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // best effort: closed all the same
	}
	_ = c.Close()
}

// cut breaks every connection.
func (s *Server) cut() {
	s.mu.Lock()
	raw := make([]net.Conn, 0, len(s.raw))
	for c := range s.raw {
		raw = append(raw, c)
	}
	s.mu.Unlock()
	for _, c := range raw {
		refuse(c)
	}
}

// join counts a connection that speaks AMQP; false: one too many.
func (s *Server) join(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.conns) >= s.o.Limits.Connections {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) leave(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		out = append(out, c)
	}
	return out
}
