package servicebus

import (
	"context"
	"time"
)

// senders is where the link to one queue is kept, for all handles of that queue.
type senders struct {
	*slot[*senderLink]
	users int // of now
	used  time.Time
}

// sendersOf gives a queue's place; done frees it.
func (c *Client) sendersOf(queue string) (s *senders, done func()) {
	var evicted *senders
	defer func() {
		if evicted == nil {
			return
		}
		if link, ok := evicted.current(); ok {
			c.lastly(link.close)
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	s = c.senders[queue]
	if s == nil {
		evicted = c.evict()
		s = &senders{}
		s.slot = newSlot(c.timing, (*senderLink).alive, func(ctx context.Context) (*senderLink, error) {
			return c.openSender(ctx, queue, s.slot)
		}, c.background)
		c.senders[queue] = s
	}
	s.users++
	return s, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		s.users--
		s.used = time.Now()
	}
}

// evict makes room by taking out the link that nobody has used for longest. Those
// in use stay: they are no more than the callers.
func (c *Client) evict() *senders {
	if len(c.senders) < c.maxSenders {
		return nil
	}
	oldest := ""
	for name, s := range c.senders {
		if s.users == 0 && (oldest == "" || s.used.Before(c.senders[oldest].used)) {
			oldest = name
		}
	}
	s := c.senders[oldest]
	delete(c.senders, oldest)
	return s
}

func (c *Client) openSender(ctx context.Context, queue string, place *slot[*senderLink]) (*senderLink, error) {
	conn, err := c.conns.get(ctx)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	within, stop := context.WithTimeout(conn.ctx, c.timing.open)
	defer stop()
	sdk, err := conn.sdk.NewSender(queue, nil)
	if err != nil {
		return nil, c.notOpened(conn, queue, began, err)
	}
	// It opens the link, and asks for nothing more.
	if _, err := sdk.NewMessageBatch(within, nil); err != nil {
		place.failed()
		c.closeLink(sdk)
		return nil, c.notOpened(conn, queue, began, err)
	}
	place.worked()
	conn.worked()
	link := &senderLink{conn: conn, sdk: sdk, sending: newInflight()}
	link.used.Store(time.Now().UnixNano())
	return link, nil
}

// notOpened names the fault of a link that could not be opened. One that the
// service did not give a reason for may be the connection's.
func (c *Client) notOpened(conn *connection, queue string, began time.Time, err error) error {
	if !conn.alive() {
		return c.wrap(context.Background(), "open a link to "+queue, context.Cause(conn.ctx))
	}
	err = c.wrap(context.Background(), "open a link to "+queue, err)
	if passing(err) {
		conn.failed(began, err)
	} else {
		conn.worked()
	}
	return err
}

// closeLink closes a sender or receiver of the SDK without waiting.
func (c *Client) closeLink(sdk interface{ Close(context.Context) error }) {
	c.lastly(func() {
		ctx, stop := context.WithTimeout(context.Background(), c.timing.close)
		defer stop()
		_ = sdk.Close(ctx)
	})
}
