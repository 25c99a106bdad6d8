package api

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Why a connection was closed before, or instead of, a request.
const (
	ConnectionsFull    = "full"    // all that may be open are, and none idles
	ConnectionsAddress = "address" // its address has as many as it may
	ConnectionsIdle    = "idle"    // it idled, and gave its place to a new one
)

// Connections bound how many connections may be open at a time. When all are, a new
// one takes the place of one that idles: who opens many and says nothing keeps
// nobody out.
type Connections struct {
	Most       int // 0: no bound
	PerAddress int // 0: no bound
	// Closed is told why a connection was closed; nil: nobody is.
	Closed func(reason string)

	mu        sync.Mutex
	open      map[*boundConn]struct{}
	addresses map[string]int
}

// sampled is how many connections are looked at to find one that idles.
const sampled = 128

// Bound lets server take from l no more connections than may be open.
func (c *Connections) Bound(server *http.Server, l net.Listener) net.Listener {
	c.open, c.addresses = map[*boundConn]struct{}{}, map[string]int{}
	if c.Closed == nil {
		c.Closed = func(string) {}
	}
	before := server.ConnState
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		if own := boundOf(conn); own != nil {
			own.note(state)
		}
		if before != nil {
			before(conn, state)
		}
	}
	return &boundListener{Listener: l, of: c}
}

// Open is how many are open.
func (c *Connections) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

type boundListener struct {
	net.Listener
	of *Connections
}

// Accept gives the next connection that there is room for.
func (l *boundListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if own := l.of.take(conn); own != nil {
			return own, nil
		}
		_ = conn.Close()
	}
}

// take makes room for a connection; nil when there is none.
func (c *Connections) take(conn net.Conn) *boundConn {
	own := &boundConn{Conn: conn, of: c, address: addressOf(conn.RemoteAddr().String())}
	own.idle.Store(time.Now().UnixNano())
	c.mu.Lock()
	if c.PerAddress > 0 && c.addresses[own.address] >= c.PerAddress {
		c.mu.Unlock()
		c.Closed(ConnectionsAddress)
		return nil
	}
	var victim *boundConn
	if c.Most > 0 && len(c.open) >= c.Most {
		if victim = c.idlest(); victim == nil {
			c.mu.Unlock()
			c.Closed(ConnectionsFull)
			return nil
		}
		c.remove(victim)
	}
	c.open[own] = struct{}{}
	c.addresses[own.address]++
	c.mu.Unlock()
	if victim != nil {
		_ = victim.Conn.Close()
		c.Closed(ConnectionsIdle)
	}
	return own
}

// idlest is the connection that has idled the longest, of some. A map is walked
// from a random place.
func (c *Connections) idlest() (found *boundConn) {
	var since int64
	looked := 0
	for conn := range c.open {
		if idle := conn.idle.Load(); idle != 0 && (found == nil || idle < since) {
			found, since = conn, idle
		}
		if looked++; looked >= sampled && found != nil {
			break
		}
	}
	return found
}

func (c *Connections) remove(conn *boundConn) {
	if _, ok := c.open[conn]; !ok {
		return
	}
	delete(c.open, conn)
	if c.addresses[conn.address]--; c.addresses[conn.address] <= 0 {
		delete(c.addresses, conn.address)
	}
}

// boundConn is a connection that counts.
type boundConn struct {
	net.Conn
	of      *Connections
	address string
	idle    atomic.Int64 // since when no request is under way, Unix ns; 0: one is
}

func boundOf(conn net.Conn) *boundConn {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	own, _ := conn.(*boundConn)
	return own
}

func (b *boundConn) note(state http.ConnState) {
	switch state {
	case http.StateActive, http.StateHijacked:
		b.idle.Store(0)
	case http.StateNew, http.StateIdle:
		b.idle.Store(time.Now().UnixNano())
	case http.StateClosed:
	}
}

// Close gives the place back.
func (b *boundConn) Close() error {
	b.of.mu.Lock()
	b.of.remove(b)
	b.of.mu.Unlock()
	return b.Conn.Close()
}
