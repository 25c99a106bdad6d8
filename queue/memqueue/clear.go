package memqueue

import (
	"context"

	"ferry/queue"
)

// Clear removes everything from the channel, locked or not.
func (c *conn) Clear(ctx context.Context, address queue.Address) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	ch, err := c.open(ctx, toManage, address)
	if err != nil {
		return err
	}
	clear(ch.entries)
	return nil
}

var _ queue.Clearer = (*conn)(nil)
