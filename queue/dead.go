package queue

import (
	"context"
	"fmt"
	"sync/atomic"

	"ferry"
)

// DeadLetterer is a driver whose technology sets packets aside by itself, say
// because they were delivered too often. What it sets aside is brought back to the
// ledger from there: nothing may lie where only the technology's own tools see it.
type DeadLetterer interface {
	// ReceiveDead is as Receive, for what the channel set aside. Brokers only.
	ReceiveDead(ctx context.Context, from Address, most int) ([]DeadItem, error)
	// SettleDead is as Settle: Complete removes the packet for good, Release lets it
	// come again from here. Brokers only.
	SettleDead(ctx context.Context, from Address, item DeadItem, verb Verb) error
}

// DeadItem is a packet that the technology set aside, under a lock.
type DeadItem struct {
	Item
	Reason      string // a word of the technology's, or of who set it aside
	Description string
	// Expired: it only waited longer than the channel allows. Nothing else is amiss
	// with it.
	Expired bool
}

// SetsAside says whether the driver's technology sets packets aside by itself.
func (q *Queue) SetsAside() bool {
	_, ok := q.driver.(DeadLetterer)
	return ok
}

// DeadMessage is a hand-out that the queue set aside. Its lock is not renewed:
// decide at once.
type DeadMessage struct {
	HandOut     ferry.HandOut
	Reason      string
	Description string
	Expired     bool // it only waited longer than the queue allows
	*dead
}

// DeadReceipt is a receipt that the queue set aside.
type DeadReceipt struct {
	Receipt ferry.Receipt
	From    string // as that of ReceiptDelivery
	Reason  string
	*dead
}

// dead is what both are held by.
type dead struct {
	driver  DeadLetterer
	address Address
	item    DeadItem
	settled atomic.Bool
}

// Complete removes it for good. Only the first call of Complete or Release does
// something; later ones return ErrSettled.
func (d *dead) Complete(ctx context.Context) error { return d.settle(ctx, Complete) }

// Release lets it come again.
func (d *dead) Release(ctx context.Context) error { return d.settle(ctx, Release) }

func (d *dead) settle(ctx context.Context, verb Verb) error {
	if d.settled.Swap(true) {
		return ErrSettled
	}
	return d.driver.SettleDead(ctx, d.address, d.item, verb)
}

// ReceiveDeadMessages waits for messages of route that the queue set aside and
// returns at most most. When ctx ends first it returns ctx's error. Brokers only,
// and only where SetsAside.
func (q *Queue) ReceiveDeadMessages(ctx context.Context, route string, most int) ([]*DeadMessage, error) {
	list, err := receiveDead(ctx, q, MessagesOf(route), most, func(item *DeadItem, held *dead) (*DeadMessage, error) {
		handOut, err := decodeHandOut(item.Data)
		if err == nil && handOut.Route != route {
			err = fmt.Errorf("%w: a message of another route", errMalformed)
		}
		return &DeadMessage{HandOut: handOut, Reason: item.Reason, Description: item.Description, Expired: item.Expired, dead: held}, err
	})
	if err != nil {
		return nil, fmt.Errorf("receive what the queue of %s set aside: %w", route, err)
	}
	return list, nil
}

// ReceiveDeadReceipts is as ReceiveDeadMessages, for receipts.
func (q *Queue) ReceiveDeadReceipts(ctx context.Context, most int) ([]*DeadReceipt, error) {
	list, err := receiveDead(ctx, q, AllReceipts(), most, func(item *DeadItem, held *dead) (*DeadReceipt, error) {
		receipt, err := decodeReceipt(item.Data)
		return &DeadReceipt{Receipt: receipt, From: item.From, Reason: item.Reason, dead: held}, err
	})
	if err != nil {
		return nil, fmt.Errorf("receive what the queue of the receipts set aside: %w", err)
	}
	return list, nil
}

// receiveDead receives until something came that can be read. What cannot be read
// is counted and removed, as with Receive.
func receiveDead[T any](ctx context.Context, q *Queue, from Address, most int, read func(*DeadItem, *dead) (T, error)) ([]T, error) {
	driver, ok := q.driver.(DeadLetterer)
	if !ok {
		return nil, fmt.Errorf("the queue sets nothing aside: %w", ErrNotFound)
	}
	for {
		items, err := driver.ReceiveDead(ctx, from, max(most, 1))
		if err != nil {
			return nil, err
		}
		list := make([]T, 0, len(items))
		for i := range items {
			held := &dead{driver: driver, address: from, item: items[i]}
			held.item.Data = nil
			one, err := read(&items[i], held)
			if err != nil {
				q.undecodable.Add(1)
				q.log.Error("queue.undecodable", "channel", from.Kind, "route", from.Name, "position", items[i].Position,
					"bytes", len(items[i].Data), "setAside", true, "error", err.Error())
				if err := held.Complete(ctx); err != nil {
					q.log.Warn("queue.settle", "channel", from.Kind, "route", from.Name, "position", items[i].Position, "error", err.Error())
				}
				continue
			}
			list = append(list, one)
		}
		if len(list) > 0 {
			return list, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}
