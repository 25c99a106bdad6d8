package sbqueue

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/servicebus"
	"ferry/queue"
)

const (
	// receiveAtOnce bounds one receive: so many of the largest packets are in memory.
	receiveAtOnce = 500
	// linger is how long a receiver stays open after its last receive. A worker that
	// has room asks again at once; one that does not ask must not have anything on
	// its way to it.
	linger = time.Second
	// maxLock is the longest lock that Service Bus knows.
	maxLock = 5 * time.Minute
)

// source is where a receiver reads: a queue, or what it set aside.
type source struct {
	queue string
	dead  bool
}

// readers are the receivers of one source. Each makes one receive at a time; who
// receives while all are busy gets another.
type readers struct {
	idle  []*reader
	timer *time.Timer // closes the idle ones
}

// reader is a receiver with what it gave out.
type reader struct {
	*servicebus.Receiver
	source source
	since  time.Time // idle since

	mu    sync.Mutex
	held  int       // given out and not settled
	until time.Time // when the last of their locks ends
}

// held is the token of an item: the receiver is needed to settle it.
type held struct {
	reader  *reader
	message *azservicebus.ReceivedMessage
	once    sync.Once
}

func (r *reader) hold(until time.Time, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held += n
	if until.After(r.until) {
		r.until = until
	}
}

func (h *held) settled() { h.once.Do(func() { h.reader.hold(time.Time{}, -1) }) }

// busy says whether something is to be settled yet over the receiver's link. What
// nobody settles counts until its lock ends.
func (r *reader) busy(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held > 0 && now.Before(r.until)
}

func (c *conn) takeReader(from source) *reader {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rs := c.readers[from]; rs != nil && len(rs.idle) > 0 {
		last := len(rs.idle) - 1
		r := rs.idle[last]
		rs.idle = rs.idle[:last]
		return r
	}
	return &reader{Receiver: c.client.Receiver(from.queue, servicebus.ReceiverOptions{DeadLetter: from.dead}), source: from}
}

func (c *conn) giveReader(r *reader) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return // its link ends with the connection
	}
	rs := c.readers[r.source]
	if rs == nil {
		rs = &readers{}
		c.readers[r.source] = rs
	}
	r.since = time.Now()
	rs.idle = append(rs.idle, r)
	if rs.timer == nil {
		rs.timer = time.AfterFunc(linger, func() { c.run(func() { c.closeIdle(r.source) }) })
	}
}

// closeIdle closes the receivers of a source that nobody uses any more, and comes
// again while there are others.
func (c *conn) closeIdle(from source) {
	now := time.Now()
	c.mu.Lock()
	rs := c.readers[from]
	var over []*reader
	kept := rs.idle[:0]
	for _, r := range rs.idle {
		if now.Sub(r.since) < linger || r.busy(now) {
			kept = append(kept, r)
		} else {
			over = append(over, r)
		}
	}
	clear(rs.idle[len(kept):])
	rs.idle = kept
	switch {
	case c.closed:
	case len(kept) > 0:
		rs.timer.Reset(linger)
	default:
		rs.timer = nil
	}
	c.mu.Unlock()
	for _, r := range over {
		ctx, cancel := context.WithTimeout(c.ctx, answerTimeout)
		if err := r.Close(ctx); err != nil && c.ctx.Err() == nil {
			c.log.Debug("queue.close", "queue", from.queue, "error", err.Error())
		}
		cancel()
	}
}

func (c *conn) stopTimers() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range c.readers {
		if rs.timer != nil {
			rs.timer.Stop()
		}
	}
}

// receive waits for messages and gives each with its token.
func (c *conn) receive(ctx context.Context, from source, most int) ([]*azservicebus.ReceivedMessage, *reader, error) {
	during, end, err := c.begin(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer end()
	r := c.takeReader(from)
	defer c.giveReader(r)
	for {
		list, err := r.Receive(during, min(max(most, 1), receiveAtOnce))
		if err != nil {
			return nil, nil, c.wrap(ctx, err)
		}
		if len(list) > 0 {
			return list, r, nil
		}
		if err := during.Err(); err != nil {
			return nil, nil, c.wrap(ctx, err)
		}
	}
}

// item is a received message under its lock.
func (c *conn) item(r *reader, m *azservicebus.ReceivedMessage, now time.Time) queue.Item {
	item := queue.Item{
		Packet:      queue.Packet{ID: m.MessageID, Data: m.Body},
		Position:    sequenceOf(m),
		LockedUntil: c.lockEnd(r.source.queue, m.LockedUntil, m.DeliveryCount, now),
		Token:       &held{reader: r, message: m},
	}
	if position, ok := positionIn(m); ok {
		item.Position = position
	}
	r.hold(item.LockedUntil, 1)
	return item
}

func sequenceOf(m *azservicebus.ReceivedMessage) uint64 {
	if m.SequenceNumber == nil {
		return 0
	}
	return uint64(max(*m.SequenceNumber, 0))
}

// lockEnd is when a lock ends by the clock of this machine. Service Bus says it by
// its own: where the two differ the lock is taken for as long as it is expected to
// be, counted from now, and for less when Service Bus says less.
func (c *conn) lockEnd(queueName string, theirs *time.Time, deliveries uint32, now time.Time) time.Time {
	length := c.lock
	if theirs != nil {
		switch said := theirs.Sub(now); {
		case said <= 0 || said > maxLock+length:
			if _, speak := c.skewed.ok(); speak {
				c.log.Warn("queue.clock", "queue", queueName, "lockedUntil", *theirs, "error",
					"the clocks of this machine and of Service Bus are far apart: locks are taken for as long as the configuration says")
			}
		case said < length:
			if said < length*3/4 && deliveries <= 1 {
				if _, speak := c.short.ok(); speak {
					c.log.Warn("queue.lock", "queue", queueName, "lock", said.Round(time.Second), "expected", length, "error",
						"the queue's lock seems shorter than the configuration says, or this machine's clock is ahead")
				}
			}
			length = said
		}
	}
	return now.Add(length - min(length/20, time.Second/2))
}

// Receive waits for messages of a route.
func (w *Worker) Receive(ctx context.Context, from queue.Address, most int) ([]queue.Item, error) {
	if from.Kind != queue.Messages {
		return nil, errOnlyBroker
	}
	return w.receiveItems(ctx, from, most)
}

// Receive waits for receipts, and gives those that a known worker signed.
func (b *Broker) Receive(ctx context.Context, from queue.Address, most int) ([]queue.Item, error) {
	for {
		items, err := b.receiveItems(ctx, from, most)
		if err != nil {
			b.missed(b.names.of(from), err)
		}
		if err != nil || from.Kind != queue.Receipts {
			return items, err
		}
		b.sawReceipts(items)
		if items = b.proven(ctx, from, items); len(items) > 0 {
			return items, nil
		}
	}
}

func (c *conn) receiveItems(ctx context.Context, from queue.Address, most int) ([]queue.Item, error) {
	messages, r, err := c.receive(ctx, source{queue: c.names.of(from)}, most)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	items := make([]queue.Item, len(messages))
	for i, m := range messages {
		items[i] = c.item(r, m, now)
	}
	return items, nil
}

// proven leaves out what no known worker signed, and removes it: nobody could ever
// believe it. Who sent it sends it again, signed, or should not have sent it.
func (b *Broker) proven(ctx context.Context, from queue.Address, items []queue.Item) []queue.Item {
	kept := items[:0]
	for _, item := range items {
		claimed, err := b.directory.sender(b.names.of(from), item.Token.(*held).message)
		if err == nil {
			item.From = claimed
			kept = append(kept, item)
			continue
		}
		b.refuse(b.names.of(from), claimed, err)
		if err := b.Settle(ctx, from, item, queue.Complete); err != nil && ctx.Err() == nil {
			b.log.Debug("queue.settle", "queue", b.names.of(from), "error", err.Error())
		}
	}
	return kept
}

// refuse says that something was not believed; what it is stays unsaid.
func (b *Broker) refuse(queueName, claimed string, why error) {
	if silent, speak := b.unsigned.ok(); speak {
		b.log.Warn("queue.unsigned", "queue", queueName, "worker", fmt.Sprintf("%.50q", claimed), "alsoSilently", silent, "error", why.Error())
	}
}

// Settle ends a delivery. Releasing counts at Service Bus as another delivery.
func (c *conn) Settle(ctx context.Context, _ queue.Address, item queue.Item, verb queue.Verb) error {
	return c.settle(ctx, item, verb)
}

func (c *conn) settle(ctx context.Context, item queue.Item, verb queue.Verb) error {
	h, ok := item.Token.(*held)
	if !ok {
		return fmt.Errorf("the item is not of this driver: %w", queue.ErrLockLost)
	}
	during, end, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	defer h.settled()
	if verb == queue.Complete {
		return c.wrap(ctx, h.reader.Complete(during, h.message))
	}
	return c.wrap(ctx, h.reader.Abandon(during, h.message))
}

// Extend prolongs the lock by what the queue's lock is.
func (c *conn) Extend(ctx context.Context, _ queue.Address, item queue.Item) (time.Time, error) {
	h, ok := item.Token.(*held)
	if !ok {
		return time.Time{}, fmt.Errorf("the item is not of this driver: %w", queue.ErrLockLost)
	}
	during, end, err := c.begin(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer end()
	now := time.Now()
	theirs, err := h.reader.Renew(during, h.message)
	if err != nil {
		return time.Time{}, c.wrap(ctx, err)
	}
	until := c.lockEnd(h.reader.source.queue, &theirs, 2, now)
	h.reader.hold(until, 0)
	return until, nil
}
