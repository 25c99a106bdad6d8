package memqueue

import (
	"context"
	"time"

	"ferry/queue"
)

// aside is why a packet was set aside.
type aside struct {
	reason, description string
	expired             bool
}

// SetAside moves everything of the channel, locked or not, to what it set aside,
// as a technology may that counts deliveries, and returns how many packets it was.
func (b *Broker) SetAside(address queue.Address, reason, description string) int {
	return b.setAside(address, aside{reason: reason, description: description})
}

// Expire is SetAside for packets that waited too long.
func (b *Broker) Expire(address queue.Address, reason string) int {
	return b.setAside(address, aside{reason: reason, expired: true})
}

// PutAside puts a packet of a worker there that was never received from the channel.
func (b *Broker) PutAside(address queue.Address, worker string, data []byte, reason string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch := b.channels[address]
	if ch == nil {
		return
	}
	ch.dead.append(queue.Packet{ID: "aside", From: worker, Data: data})
	ch.dead.asides[ch.dead.last] = aside{reason: reason}
}

func (b *Broker) setAside(address queue.Address, why aside) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	ch := b.channels[address]
	if ch == nil {
		return 0
	}
	all := ch.byPosition()
	for _, e := range all {
		delete(ch.entries, e.position)
		ch.dead.append(e.packet)
		ch.dead.asides[ch.dead.last] = why
	}
	return len(all)
}

// ReceiveDead is as Receive, for what was set aside.
func (c *conn) ReceiveDead(ctx context.Context, from queue.Address, most int) ([]queue.DeadItem, error) {
	for {
		items, wait, err := c.tryReceiveDead(ctx, from, most)
		if err != nil || len(items) > 0 {
			return items, err
		}
		if err := wait.until(ctx, c.closed); err != nil {
			return nil, err
		}
	}
}

func (c *conn) tryReceiveDead(ctx context.Context, from queue.Address, most int) ([]queue.DeadItem, wait, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	ch, err := c.open(ctx, toManage, from)
	if err != nil {
		return nil, wait{}, err
	}
	now := time.Now()
	var list []queue.DeadItem
	for _, item := range ch.dead.receive(most, now, now.Add(c.b.opts.Lock)) {
		why := ch.dead.asides[item.Position]
		list = append(list, queue.DeadItem{Item: item, Reason: why.reason, Description: why.description, Expired: why.expired})
	}
	return list, wait{more: ch.dead.more, gone: c.b.gone, expiry: ch.dead.firstExpiry()}, nil
}

// SettleDead is as Settle, for what was set aside.
func (c *conn) SettleDead(ctx context.Context, from queue.Address, item queue.DeadItem, verb queue.Verb) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	ch, err := c.open(ctx, toManage, from)
	if err != nil {
		return err
	}
	err = ch.dead.settle(item.Item, verb, time.Now())
	if err == nil && verb == queue.Complete {
		delete(ch.dead.asides, item.Position)
	}
	return err
}

// LenDead counts what the channel set aside.
func (b *Broker) LenDead(address queue.Address) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ch := b.channels[address]; ch != nil {
		return len(ch.dead.entries)
	}
	return 0
}

var _ queue.DeadLetterer = (*conn)(nil)
