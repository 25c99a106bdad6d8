// Package memqueue is a queue driver in memory, for tests and trials: it keeps
// every promise of the contract but durability, works inside synctest bubbles,
// and can be made to lose, repeat and refuse on demand.
package memqueue

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"ferry/queue"
)

// Options of New. Zero values take the defaults.
type Options struct {
	Lock            time.Duration // default 30 s
	MaxData         int           // bytes of one packet; default 1 MiB
	DuplicateWindow time.Duration // default 2 min; negative: none
	MaxPackets      int           // of one channel; beyond, Publish is ErrUnavailable; default 1,000,000
	Outlives        bool          // it plays a queue that runs on while the broker is away
}

// Broker is the queue itself; drivers are connections to it.
type Broker struct {
	opts  Options
	props queue.Properties

	mu        sync.Mutex
	channels  map[queue.Address]*channel
	made      int // counts channels made: their incarnations
	revoked   map[string]bool
	listeners map[string][]*listener // by worker
	server    *server
	fail      *failure
	gone      chan struct{} // closed and made anew when somebody is revoked or channels are forgotten
}

// New makes an empty queue.
func New(opts Options) *Broker {
	if opts.Lock <= 0 {
		opts.Lock = 30 * time.Second
	}
	if opts.MaxData <= 0 {
		opts.MaxData = 1 << 20
	}
	if opts.DuplicateWindow == 0 {
		opts.DuplicateWindow = 2 * time.Minute
	}
	if opts.MaxPackets <= 0 {
		opts.MaxPackets = 1_000_000
	}
	return &Broker{
		opts: opts,
		props: queue.Properties{
			Name: "memory", MaxData: opts.MaxData, Lock: opts.Lock, DuplicateWindow: max(opts.DuplicateWindow, 0), Outlives: opts.Outlives,
		},
		channels:  make(map[queue.Address]*channel),
		revoked:   make(map[string]bool),
		listeners: make(map[string][]*listener),
		gone:      make(chan struct{}),
	}
}

// Broker is a connection with the broker's rights.
func (b *Broker) Broker() queue.Driver { return newConn(b, "", nil) }

// Worker is a connection that is authenticated as the worker name, for the
// routes named, or for all when none is.
func (b *Broker) Worker(name string, routes ...string) queue.Driver { return newConn(b, name, routes) }

// conn is one connection; it implements queue.Driver.
type conn struct {
	b      *Broker
	worker string   // empty: the broker
	routes []string // nil: all

	once   sync.Once
	closed chan struct{}
	mu     sync.Mutex
	stops  []func() // of what Listen and Serve started
}

func newConn(b *Broker, worker string, routes []string) *conn {
	return &conn{b: b, worker: worker, routes: routes, closed: make(chan struct{})}
}

func (c *conn) Properties() queue.Properties { return c.b.props }

// Close ends what waits on this connection. What it holds stays locked until the
// locks end, as after a cut connection.
func (c *conn) Close(context.Context) error {
	c.once.Do(func() { close(c.closed) })
	c.mu.Lock()
	stops := c.stops
	c.stops = nil
	c.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	return nil
}

func (c *conn) onClose(stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stops = append(c.stops, stop)
}

// what a connection wants to do with an address.
type right int

const (
	toPublish right = iota
	toReceive
	toManage
)

// check refuses what this connection may not do; b.mu is held.
func (c *conn) check(ctx context.Context, want right, address queue.Address) error {
	select {
	case <-c.closed:
		return queue.ErrClosed
	default:
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if c.worker == "" {
		return nil
	}
	own := address.Kind == queue.Messages && (c.routes == nil || slices.Contains(c.routes, address.Name))
	allowed := want == toReceive && own || want == toPublish && address.Kind == queue.Receipts
	if c.b.revoked[c.worker] || !allowed {
		return fmt.Errorf("worker %s at %s %s: %w", c.worker, address.Kind, address.Name, queue.ErrUnauthorized)
	}
	return nil
}

// open finds the channel after check; b.mu is held.
func (c *conn) open(ctx context.Context, want right, address queue.Address) (*channel, error) {
	if err := c.check(ctx, want, address); err != nil {
		return nil, err
	}
	ch := c.b.channels[address]
	if ch == nil {
		return nil, fmt.Errorf("%s %s: %w", address.Kind, address.Name, queue.ErrNotFound)
	}
	return ch, nil
}

func (c *conn) Publish(ctx context.Context, to queue.Address, packets []queue.Packet) ([]uint64, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	ch, err := c.open(ctx, toPublish, to)
	if err != nil {
		return nil, err
	}
	for _, p := range packets {
		if len(p.Data) > c.b.opts.MaxData {
			return nil, fmt.Errorf("packet %s of %d bytes: %w", p.ID, len(p.Data), queue.ErrTooLarge)
		}
	}
	if len(ch.entries)+len(packets) > c.b.opts.MaxPackets {
		return nil, fmt.Errorf("%s %s holds %d packets: %w", to.Kind, to.Name, len(ch.entries), queue.ErrUnavailable)
	}
	failed := c.b.takeFailure(to)
	if failed != nil && !failed.after {
		return nil, failed.err
	}
	positions := make([]uint64, len(packets))
	for i, p := range packets {
		positions[i] = ch.publish(p, c.worker, time.Now())
	}
	if failed != nil {
		return nil, failed.err
	}
	return positions, nil
}

func (c *conn) Receive(ctx context.Context, from queue.Address, most int) ([]queue.Item, error) {
	for {
		items, wait, err := c.tryReceive(ctx, from, most)
		if err != nil || len(items) > 0 {
			return items, err
		}
		if err := wait.until(ctx, c.closed); err != nil {
			return nil, err
		}
	}
}

// wait is what a receiver waits for.
type wait struct {
	more, gone <-chan struct{}
	expiry     time.Time // when the first lock ends; zero: none is held
}

func (w wait) until(ctx context.Context, closed <-chan struct{}) error {
	var tick <-chan time.Time
	if !w.expiry.IsZero() {
		timer := time.NewTimer(time.Until(w.expiry))
		defer timer.Stop()
		tick = timer.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-closed:
		return queue.ErrClosed
	case <-w.more:
	case <-w.gone:
	case <-tick:
	}
	return nil
}

func (c *conn) tryReceive(ctx context.Context, from queue.Address, most int) ([]queue.Item, wait, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	ch, err := c.open(ctx, toReceive, from)
	if err != nil {
		return nil, wait{}, err
	}
	now := time.Now()
	items := ch.receive(most, now, now.Add(c.b.opts.Lock))
	return items, wait{more: ch.more, gone: c.b.gone, expiry: ch.firstExpiry()}, nil
}

func (c *conn) Settle(ctx context.Context, from queue.Address, item queue.Item, verb queue.Verb) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	ch, err := c.open(ctx, toReceive, from)
	if err != nil {
		return err
	}
	return ch.settle(item, verb, time.Now())
}

func (c *conn) Extend(ctx context.Context, from queue.Address, item queue.Item) (time.Time, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	ch, err := c.open(ctx, toReceive, from)
	if err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	return ch.extend(item, now, now.Add(c.b.opts.Lock))
}

func (c *conn) Progress(ctx context.Context, of queue.Address) (queue.Progress, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	ch, err := c.open(ctx, toManage, of)
	if err != nil {
		return queue.Progress{}, err
	}
	return queue.Progress{Incarnation: strconv.Itoa(ch.incarnation), Last: ch.last, Settled: ch.settled()}, nil
}

func (c *conn) Ensure(ctx context.Context, address queue.Address) (bool, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if err := c.check(ctx, toManage, address); err != nil {
		return false, err
	}
	if c.b.channels[address] != nil {
		return false, nil
	}
	c.b.made++
	c.b.channels[address] = newChannel(c.b.made, c.b.opts.DuplicateWindow)
	return true, nil
}
