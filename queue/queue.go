package queue

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
)

// Queue speaks of messages and receipts over a Driver, which speaks of bytes.
// It is the same on every driver: the format of what travels and its limits, a
// delivery that is settled exactly once, locks that are renewed. All methods
// may be called concurrently.
type Queue struct {
	driver Driver
	props  Properties
	bodies BodyStore
	log    *slog.Logger
	keeper keeper

	undecodable atomic.Uint64
}

// Options of New.
type Options struct {
	Log *slog.Logger // none: nothing is logged
	// Bodies carries the bodies that are too large to travel with their messages;
	// none: workers ask the broker for them. The Queue does not close it.
	Bodies BodyStore
}

// New makes a Queue over driver and owns it from then on: Close closes both.
func New(driver Driver, opts Options) *Queue {
	q := &Queue{driver: driver, props: driver.Properties(), bodies: opts.Bodies, log: opts.Log}
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	q.keeper.init(driver)
	return q
}

// Properties are those of the driver.
func (q *Queue) Properties() Properties { return q.props }

// headRoom is what the largest envelope takes beside its body: custom
// properties and keys at their limits.
const headRoom = 64 << 10

// InlineMax is the largest body, in bytes, that travels with its message. The
// worker fetches a larger one.
func (q *Queue) InlineMax() int {
	return min(ferry.InlineBody, q.props.MaxData-min(headRoom, q.props.MaxData/2))
}

// Undecodable counts the packets that could not be read since New.
func (q *Queue) Undecodable() uint64 { return q.undecodable.Load() }

// TooLargeError is a hand-out that does not fit into a packet even without its
// body. It is ErrTooLarge.
type TooLargeError struct {
	ID   ferry.ID
	Size int // bytes
	Most int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("message %s takes %d bytes without its body, %d at most: %s", e.ID, e.Size, e.Most, ErrTooLarge)
}

// Is makes it ErrTooLarge.
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// Publish hands messages of one route to the queue, in order, and returns the
// position of each once the queue has them. The suffix must be fresh whenever a
// turn is published again, so that no duplicate window swallows it.
//
// A body beyond InlineMax is left out, its size and SHA-256 travel instead. A
// PublishedAt of zero becomes now. A message that is too large even so is a
// *TooLargeError, and nothing was published. On any other error some may be in
// the queue.
func (q *Queue) Publish(ctx context.Context, route string, handOuts []ferry.HandOut, suffix string) ([]uint64, error) {
	if len(handOuts) == 0 {
		return nil, nil
	}
	now := time.Now()
	packets := make([]Packet, len(handOuts))
	for i := range handOuts {
		data, err := q.encode(handOuts[i], now)
		if err != nil {
			return nil, err
		}
		packets[i] = Packet{ID: ferry.QueueID(handOuts[i].ID, handOuts[i].Turn, suffix), Data: data}
	}
	positions, err := q.driver.Publish(ctx, MessagesOf(route), packets)
	if err != nil {
		return nil, fmt.Errorf("publish %d messages of %s: %w", len(packets), route, err)
	}
	return positions, nil
}

func (q *Queue) encode(h ferry.HandOut, now time.Time) ([]byte, error) {
	if h.PublishedAt.IsZero() {
		h.PublishedAt = now
	}
	inline := len(h.Body) > 0 && len(h.Body) <= q.InlineMax()
	if len(h.Body) > 0 {
		h.Size = int64(len(h.Body))
		if !inline && len(h.SHA256) == 0 {
			sum := sha256.Sum256(h.Body)
			h.SHA256 = sum[:]
		}
	}
	if inline {
		const bodyHead = 8 // number and length of the field
		data := encodeHandOut(&h, len(h.Body)+bodyHead)
		if len(data)+len(h.Body)+bodyHead <= q.props.MaxData {
			return appendBytes(data, fieldBody, h.Body), nil
		}
		if len(h.SHA256) == 0 {
			sum := sha256.Sum256(h.Body)
			h.SHA256 = sum[:]
		}
	}
	data := encodeHandOut(&h, 0)
	if len(data) > q.props.MaxData {
		return nil, &TooLargeError{ID: h.ID, Size: len(data), Most: q.props.MaxData}
	}
	return data, nil
}

// ReceiveMessages waits for messages of route and returns at most most (at
// least one is asked for), each under a lock that is renewed until it is
// settled. When ctx ends first it returns ctx's error. Ask only for what can be
// worked on now: what waits here is hidden from other workers.
func (q *Queue) ReceiveMessages(ctx context.Context, route string, most int) ([]*Delivery, error) {
	address := MessagesOf(route)
	for {
		items, err := q.driver.Receive(ctx, address, max(most, 1))
		if err != nil {
			return nil, fmt.Errorf("receive messages of %s: %w", route, err)
		}
		deliveries := make([]*Delivery, 0, len(items))
		for _, item := range items {
			handOut, err := decodeHandOut(item.Data)
			if err == nil && handOut.Route != route {
				err = fmt.Errorf("%w: a message of another route", errMalformed)
			}
			if err != nil {
				q.dropUndecodable(ctx, address, item, err)
				continue
			}
			item.Data = nil
			deliveries = append(deliveries, &Delivery{HandOut: handOut, lock: q.keeper.hold(address, item)})
		}
		if len(deliveries) > 0 {
			return deliveries, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// dropUndecodable completes a packet that cannot be read: released, it would
// come again for ever. Nothing is lost: the ledger publishes a silent turn
// again, and workers send unconfirmed receipts again.
func (q *Queue) dropUndecodable(ctx context.Context, from Address, item Item, why error) {
	q.undecodable.Add(1)
	q.log.Error("queue.undecodable", "channel", from.Kind, "route", from.Name, "position", item.Position,
		"bytes", len(item.Data), "error", why.Error())
	if err := q.driver.Settle(ctx, from, item, Complete); err != nil {
		q.log.Warn("queue.settle", "channel", from.Kind, "route", from.Name, "position", item.Position, "error", err.Error())
	}
}

// SendReceipts appends receipts and returns once the queue has them. A receipt
// that is sent again needs another suffix: the first copy may have been lost
// after the queue took it, and its id may still be remembered.
func (q *Queue) SendReceipts(ctx context.Context, receipts []ferry.Receipt, suffix string) error {
	if len(receipts) == 0 {
		return nil
	}
	packets := make([]Packet, len(receipts))
	for i := range receipts {
		data := encodeReceipt(&receipts[i])
		if len(data) > q.props.MaxData {
			return fmt.Errorf("receipt of message %s takes %d bytes, %d at most: %w",
				receipts[i].ID, len(data), q.props.MaxData, ErrTooLarge)
		}
		packets[i] = Packet{ID: receipts[i].QueueID() + "." + suffix, Data: data}
	}
	if _, err := q.driver.Publish(ctx, AllReceipts(), packets); err != nil {
		return fmt.Errorf("send %d receipts: %w", len(packets), err)
	}
	return nil
}

// ReceiveReceipts is as ReceiveMessages, for the receipts of all workers.
func (q *Queue) ReceiveReceipts(ctx context.Context, most int) ([]*ReceiptDelivery, error) {
	address := AllReceipts()
	for {
		items, err := q.driver.Receive(ctx, address, max(most, 1))
		if err != nil {
			return nil, fmt.Errorf("receive receipts: %w", err)
		}
		deliveries := make([]*ReceiptDelivery, 0, len(items))
		for _, item := range items {
			receipt, err := decodeReceipt(item.Data)
			if err != nil {
				q.dropUndecodable(ctx, address, item, err)
				continue
			}
			item.Data = nil
			deliveries = append(deliveries, &ReceiptDelivery{
				Receipt: receipt, From: item.From, lock: q.keeper.hold(address, item),
			})
		}
		if len(deliveries) > 0 {
			return deliveries, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// Progress asks how far the readers of a route are. Brokers only.
func (q *Queue) Progress(ctx context.Context, route string) (Progress, error) {
	p, err := q.driver.Progress(ctx, MessagesOf(route))
	if err != nil {
		return Progress{}, fmt.Errorf("progress of %s: %w", route, err)
	}
	return p, nil
}

// ReceiptProgress is Progress of the receipts of all workers. Brokers only.
func (q *Queue) ReceiptProgress(ctx context.Context) (Progress, error) {
	p, err := q.driver.Progress(ctx, AllReceipts())
	if err != nil {
		return Progress{}, fmt.Errorf("progress of the receipts: %w", err)
	}
	return p, nil
}

// Clear removes everything of a route from the queue where the driver can; else
// it does nothing. Brokers only.
func (q *Queue) Clear(ctx context.Context, route string) error {
	clearer, ok := q.driver.(Clearer)
	if !ok {
		return nil
	}
	if err := clearer.Clear(ctx, MessagesOf(route)); err != nil {
		return fmt.Errorf("clear the queue of %s: %w", route, err)
	}
	return nil
}

// ensureAtOnce bounds how many channels are looked for at the same time, for
// drivers to whom each is a few round trips.
const ensureAtOnce = 16

// Ensure makes the channels of the routes and that of the receipts where they
// are missing; made says that at least one was. Brokers only.
func (q *Queue) Ensure(ctx context.Context, routes []string) (made bool, err error) {
	// Alone at first: what keeps one from being made, keeps all.
	if made, err = q.ensure(ctx, AllReceipts()); err != nil {
		return made, err
	}
	type result struct {
		made bool
		err  error
	}
	results := make([]result, len(routes))
	slots := make(chan struct{}, ensureAtOnce)
	var group sync.WaitGroup
	for i, route := range routes {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			results[i].made, results[i].err = q.ensure(ctx, MessagesOf(route))
		})
	}
	group.Wait()
	for _, r := range results {
		made = made || r.made
		if err == nil {
			err = r.err
		}
	}
	return made, err
}

func (q *Queue) ensure(ctx context.Context, address Address) (made bool, err error) {
	if made, err = q.driver.Ensure(ctx, address); err != nil {
		return made, fmt.Errorf("make the channel %s %s: %w", address.Kind, address.Name, err)
	}
	return made, nil
}

// Close stops the renewal of locks, ends the contexts of what is still held,
// and closes the driver. Drain first.
func (q *Queue) Close(ctx context.Context) error {
	q.keeper.close()
	return q.driver.Close(ctx)
}
