package servicebus

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// tooManyFailures in a row on one connection end it: something is wrong with it
// that the SDK does not see.
const tooManyFailures = 3

// connection is one connection to the namespace with its SDK client. The client is
// not let to connect again by itself: a connection that ends stays ended, and the
// next one is made here, at our pace.
type connection struct {
	client *Client
	number uint64
	sdk    *azservicebus.Client
	socket net.Conn
	made   time.Time

	ctx    context.Context // ends with the connection; its cause says why
	cancel context.CancelCauseFunc
	ended  sync.Once

	mu       sync.Mutex
	failures int       // in a row
	last     time.Time // of them
}

// connect makes a connection. What is asked of the SDK afterwards opens AMQP on it.
func (c *Client) connect(ctx context.Context) (*connection, error) {
	number := c.number.Add(1)
	dialling, stop := context.WithTimeout(ctx, c.timing.dial)
	defer stop()
	raw, err := c.cfg.dial(dialling, c.ns)
	if err != nil {
		c.conns.failed()
		err = c.wrap(ctx, "connect to "+c.ns.host, err)
		c.lost(err)
		return nil, err
	}
	conn := &connection{client: c, number: number, made: time.Now()}
	conn.ctx, conn.cancel = context.WithCancelCause(ctx)
	conn.socket = &watched{Conn: raw, ended: func(err error) { conn.end(fmt.Errorf("the connection ended: %w", err)) }}
	if conn.sdk, err = c.newSDK(conn.socket); err != nil {
		_ = raw.Close()
		return nil, c.wrap(ctx, "make a client", err)
	}
	return conn, nil
}

// newSDK makes an SDK client that speaks over one socket, and over no other.
func (c *Client) newSDK(socket net.Conn) (*azservicebus.Client, error) {
	var taken atomic.Bool
	options := &azservicebus.ClientOptions{
		ApplicationID: c.cfg.ApplicationID,
		// Not only for WebSockets: it is the SDK's way to be given a connection.
		NewWebSocketConn: func(context.Context, azservicebus.NewWebSocketConnArgs) (net.Conn, error) {
			if taken.Swap(true) {
				return nil, finalError{errEnded}
			}
			return socket, nil
		},
		// What is repeated, is repeated here.
		RetryOptions: azservicebus.RetryOptions{MaxRetries: -1, RetryDelay: time.Second, MaxRetryDelay: 2 * time.Second},
	}
	if c.cfg.ConnectionString != "" {
		return azservicebus.NewClientFromConnectionString(c.cfg.ConnectionString, options)
	}
	return azservicebus.NewClient(c.cfg.Namespace, c.credential(), options)
}

func (conn *connection) alive() bool { return conn.ctx.Err() == nil }

// worked notes that the service answered.
func (conn *connection) worked() {
	conn.mu.Lock()
	conn.failures = 0
	conn.mu.Unlock()
	conn.client.regained(conn)
}

// failed notes a fault of the connection. What had begun before the last fault was
// noted tells nothing new: a link that breaks fails everything that is under way.
func (conn *connection) failed(began time.Time, err error) {
	conn.mu.Lock()
	if began.Before(conn.last) {
		conn.mu.Unlock()
		return
	}
	conn.last = time.Now()
	conn.failures++
	n := conn.failures
	conn.mu.Unlock()
	if n >= tooManyFailures {
		conn.end(fmt.Errorf("%d failures in a row, the last: %w", n, err))
	}
}

// end gives the connection up. It does not wait; Client.Close waits for what is
// left to do.
func (conn *connection) end(cause error) {
	conn.ended.Do(func() {
		c := conn.client
		conn.cancel(cause)
		c.conns.drop(conn)
		if !c.closing() {
			// One that worked for a while is followed at once.
			if time.Since(conn.made) < c.timing.young {
				c.conns.failed()
			} else {
				c.conns.worked()
			}
			c.lost(cause)
		}
		c.lastly(func() {
			// The socket first: closing links politely would wait for a peer that may be gone.
			_ = conn.socket.Close()
			ctx, stop := context.WithTimeout(context.Background(), c.timing.close)
			defer stop()
			_ = conn.sdk.Close(ctx)
		})
	})
}
