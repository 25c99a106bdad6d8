// Package sbqueue is a queue driver on Azure Service Bus. Messages, receipts,
// questions, and what the broker tells each worker have a queue of their own each;
// what a worker sends is signed, since Service Bus does not tell who sent it.
package sbqueue

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"ferry/internal/servicebus"
	"ferry/queue"
)

// Bounds of the driver.
const (
	// DefaultLock is the lock that queues are made with: Service Bus's own default.
	DefaultLock = time.Minute
	// answerTimeout bounds a question and its answer.
	answerTimeout = 10 * time.Second
	// sendTimeout bounds the sending of one batch of packets.
	sendTimeout = 30 * time.Second
	// headRoom is what a message takes beside its data, at the most: id, properties,
	// signature, and the encoding of a batch.
	headRoom = 16 << 10
	// standardSize is the largest message of the tiers Basic and Standard.
	standardSize = 256 << 10
	maxData      = 1 << 20
)

// conn is what the broker's and a worker's driver share: one connection.
type conn struct {
	client *servicebus.Client
	names  names
	log    *slog.Logger
	lock   time.Duration // as it is expected to be
	props  queue.Properties

	ctx    context.Context // ends in Close
	cancel context.CancelFunc
	group  sync.WaitGroup // goroutines

	mu      sync.Mutex
	closed  bool
	readers map[source]*readers
	stops   []func() // of Listen and Serve

	skewed, short, unsigned seldom // log lines
}

func newConn(client *servicebus.Client, n names, lock time.Duration, log *slog.Logger) *conn {
	c := &conn{
		client: client, names: n, log: log, lock: lock,
		props: queue.Properties{
			Name: "servicebus", MaxData: dataWithin(standardSize), Lock: lock, Durable: true, Outlives: true,
		},
		readers: make(map[source]*readers),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// dataWithin is the most data in a packet, where a queue takes messages of so many
// bytes.
func dataWithin(size int64) int { return int(min(maxData, max(size-headRoom, 1))) }

// Properties are those of the driver.
func (c *conn) Properties() queue.Properties { return c.props }

// begin enters an operation that must end before the connection is closed. The
// context that it gives ends with the caller's, and with the connection.
func (c *conn) begin(ctx context.Context) (during context.Context, end func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, queue.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	c.group.Add(1)
	during, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel)
	return during, func() {
		stop()
		cancel()
		c.group.Done()
	}, nil
}

// run starts a goroutine that ends with the connection; false after its end.
func (c *conn) run(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.group.Go(f)
	return true
}

// onClose has Close call stop.
func (c *conn) onClose(stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stops = append(c.stops, stop)
}

// Close ends what waits on this connection, and then the connection. What is held
// stays locked until the locks end.
func (c *conn) Close(ctx context.Context) error {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	stops := c.stops
	c.stops = nil
	c.mu.Unlock()
	c.cancel()
	for _, stop := range stops {
		stop()
	}
	c.group.Wait()
	if !first {
		return nil
	}
	c.stopTimers()
	err := c.client.Close(ctx)
	if errors.Is(err, servicebus.ErrClosed) {
		return nil
	}
	return err
}

// fault is an error of Service Bus under the name that the contract has for it.
type fault struct{ kind, err error }

func (f fault) Error() string { return f.err.Error() }

// Unwrap gives both.
func (f fault) Unwrap() []error { return []error{f.kind, f.err} }

// wrap names the kind of an error for who asked under ctx.
func (c *conn) wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if c.ctx.Err() != nil {
		return queue.ErrClosed
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fault{kindOf(err), err}
}

// kindOf is the contract's name for an error. What is not known is a passing fault
// of the network, which is what most of Service Bus's own words come to.
func kindOf(err error) error {
	for _, k := range []struct{ is, kind error }{
		{servicebus.ErrLockLost, queue.ErrLockLost},
		{servicebus.ErrTooLarge, queue.ErrTooLarge},
		{servicebus.ErrNotFound, queue.ErrNotFound},
		{servicebus.ErrUnauthorized, queue.ErrUnauthorized},
	} {
		if errors.Is(err, k.is) {
			return k.kind
		}
	}
	return queue.ErrUnavailable
}

// sleep waits, and says whether the time was over before ctx was.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// seldom keeps a line that could come a thousand times a second out of the log: it
// lets one through every ten seconds.
type seldom struct {
	mu     sync.Mutex
	last   time.Time
	silent int
}

// ok says whether to speak now, and how often it was kept silent before.
func (s *seldom) ok() (silent int, speak bool) {
	const every = 10 * time.Second
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.last.IsZero() || now.Sub(s.last) >= every {
		silent, s.silent, s.last = s.silent, 0, now
		return silent, true
	}
	s.silent++
	return 0, false
}
