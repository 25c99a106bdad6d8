package servicebus

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Client is one connection to a namespace, which is made when it is first needed
// and made anew when it breaks. Safe for concurrent use.
type Client struct {
	cfg    Config
	ns     namespace
	timing timing
	log    *slog.Logger

	ctx    context.Context // ends with the client
	cancel context.CancelFunc
	conns  *slot[*connection]
	number atomic.Uint64 // of attempts to connect so far

	isLost    atomic.Bool  // it was told that the service cannot be reached
	busyUntil atomic.Int64 // unix nanoseconds: senders wait until then

	mu         sync.Mutex
	closed     bool
	finished   bool // nobody waits for further goroutines
	work       sync.WaitGroup
	senders    map[string]*senders
	maxSenders int
	receivers  map[*Receiver]struct{} // those with a link
}

// Dial checks the configuration and makes the client; nothing is called before
// it is used. Errors are *ferry.Error.
func Dial(cfg Config) (*Client, error) { return dial(cfg, defaultTiming()) }

func dial(cfg Config, t timing) (*Client, error) {
	ns, err := cfg.check()
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, ns: ns, timing: t, log: cfg.Log,
		senders: map[string]*senders{}, maxSenders: maxSenders, receivers: map[*Receiver]struct{}{},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.conns = newSlot(t, (*connection).alive, c.connect, c.background)
	return c, nil
}

// Close ends the connection with every sender and receiver of it. Messages that
// were received stay locked until they are settled elsewhere or their locks end.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	receivers := make([]*Receiver, 0, len(c.receivers))
	for r := range c.receivers {
		receivers = append(receivers, r)
	}
	c.mu.Unlock()
	// While there is a connection: what is under way is given back.
	var closing sync.WaitGroup
	for _, r := range receivers {
		closing.Go(func() { _ = r.Close(ctx) })
	}
	closing.Wait()

	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	conn, ok := c.conns.current()
	if ok {
		polite, stop := context.WithTimeout(ctx, c.timing.close)
		_ = conn.sdk.Close(polite)
		stop()
		conn.end(ErrClosed)
	}
	c.cancel()
	c.mu.Lock()
	c.finished = true
	c.mu.Unlock()
	done := make(chan struct{})
	go func() { c.work.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// background runs fn with the client's context; Close waits for it. A client that
// is closed runs nothing any more.
func (c *Client) background(fn func(context.Context)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.work.Go(func() { fn(c.ctx) })
	return nil
}

// lastly runs fn, which cleans up: also in a client that is closed.
func (c *Client) lastly(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		go fn()
		return
	}
	c.work.Go(fn)
}

// lost tells once that the service cannot be reached.
func (c *Client) lost(err error) {
	if !c.closing() && !c.isLost.Swap(true) {
		c.log.Warn("Service Bus cannot be reached", "namespace", c.ns.host, "error", c.ns.scrub(err.Error()))
	}
}

// regained tells once that it can be reached again.
func (c *Client) regained(conn *connection) {
	if c.isLost.Load() && conn.alive() && c.isLost.Swap(false) {
		c.log.Info("Service Bus can be reached again", "namespace", c.ns.host, "connection", conn.number)
	}
}

// busy notes that the service asked for a pause, which all senders keep.
func (c *Client) busy() { c.busyUntil.Store(time.Now().Add(c.timing.busy).UnixNano()) }

// rest waits until a pause that the service asked for is over.
func (c *Client) rest(ctx context.Context) error {
	return sleep(ctx, time.Until(time.Unix(0, c.busyUntil.Load())))
}
