package natsqueue

import (
	"net"
	"os"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// pipeBuffer is how much may be on its way from a client to the server in this
// process.
const pipeBuffer = 1 << 20

// inProcess connects clients to a server in this process.
type inProcess struct{ server *server.Server }

// InProcessConn makes one connection.
func (p inProcess) InProcessConn() (net.Conn, error) {
	conn, err := p.server.InProcessConn()
	if err != nil {
		return nil, err
	}
	return newBuffered(conn), nil
}

// buffered gives the client's end of a pipe a buffer for what it writes. A bare
// pipe has none: while the server refuses a client that still talks, both ends
// would write and nobody read, and every flush would wait for the server's turn.
type buffered struct {
	net.Conn

	mu      sync.Mutex
	changed *sync.Cond
	waiting []byte
	err     error
	ended   chan struct{}
}

func newBuffered(conn net.Conn) *buffered {
	b := &buffered{Conn: conn, ended: make(chan struct{})}
	b.changed = sync.NewCond(&b.mu)
	go b.run()
	return b
}

func (b *buffered) run() {
	defer close(b.ended)
	var sending []byte
	for {
		b.mu.Lock()
		for len(b.waiting) == 0 && b.err == nil {
			b.changed.Wait()
		}
		if b.err != nil {
			b.mu.Unlock()
			return
		}
		sending, b.waiting = b.waiting, sending[:0]
		b.changed.Broadcast()
		b.mu.Unlock()
		if _, err := b.Conn.Write(sending); err != nil {
			b.fail(err)
			return
		}
	}
}

func (b *buffered) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.err = err
	}
	b.changed.Broadcast()
}

// Write takes p whole unless the connection has failed. A deadline of the pipe
// counts for the goroutine that empties the buffer.
func (b *buffered) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.waiting) >= pipeBuffer && b.err == nil {
		b.changed.Wait()
	}
	if b.err != nil {
		return 0, b.err
	}
	b.waiting = append(b.waiting, p...)
	b.changed.Broadcast()
	return len(p), nil
}

// Close ends the connection and its goroutine; what is still in the buffer is lost.
func (b *buffered) Close() error {
	b.fail(os.ErrClosed)
	err := b.Conn.Close()
	<-b.ended
	return err
}
