package natsqueue

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"ferry/queue"
)

// driver is a connection of the broker or of a worker; it implements queue.Driver.
type driver struct {
	link   *link
	log    *slog.Logger
	worker string // brokerName for the broker
	props  queue.Properties

	publisher *publisher
	keep      *housekeeper // brokers only

	mu      sync.Mutex
	pullers map[queue.Address][]*puller // idle ones
	locks   map[queue.Address]time.Duration
	stops   []func() // of Listen and Serve
}

func newDriver(l *link, worker string, lock, window time.Duration, log *slog.Logger) (*driver, error) {
	d := &driver{
		link: l, log: log, worker: worker,
		props: queue.Properties{
			Name: "nats", MaxData: dataWithin(l.nc.MaxPayload()), DuplicateWindow: window, Lock: lock, Durable: true,
		},
		pullers: make(map[queue.Address][]*puller),
		locks:   make(map[queue.Address]time.Duration),
	}
	var err error
	d.publisher, err = newPublisher(l)
	return d, err
}

// dataWithin is the largest packet that a server takes which allows so many
// bytes of payload: headers and data together.
func dataWithin(payload int64) int {
	return int(min(maxData, max(payload-protocolHeadRoom, 1)))
}

func (d *driver) Properties() queue.Properties { return d.props }

func (d *driver) isBroker() bool { return d.worker == brokerName }

func (d *driver) onlyBroker() error {
	if d.isBroker() {
		return nil
	}
	return fmt.Errorf("only the broker may do this: %w", queue.ErrUnauthorized)
}

// Settle sends the acknowledgement and does not wait for the server: a lost one
// makes the delivery come again, no more.
func (d *driver) Settle(ctx context.Context, _ queue.Address, item queue.Item, verb queue.Verb) error {
	if verb == queue.Complete {
		return d.reply(ctx, item, nil)
	}
	return d.reply(ctx, item, []byte("-NAK"))
}

func (d *driver) Extend(ctx context.Context, from queue.Address, item queue.Item) (time.Time, error) {
	until := lockedUntil(time.Now(), d.lockOf(from))
	return until, d.reply(ctx, item, []byte("+WPI"))
}

// lockedUntil is the end of a lock that began at now, a little early because the
// server's clock on it started before.
func lockedUntil(now time.Time, lock time.Duration) time.Time {
	return now.Add(lock - min(lock/20, time.Second/2))
}

func (d *driver) reply(ctx context.Context, item queue.Item, data []byte) error {
	subject, ok := item.Token.(string)
	if !ok || subject == "" {
		return fmt.Errorf("the item is not of this driver: %w", queue.ErrLockLost)
	}
	if _, err := d.link.ready(ctx); err != nil {
		return err
	}
	return d.link.wrap(d.link.nc.Publish(subject, data))
}

func (d *driver) Close(ctx context.Context) error {
	d.mu.Lock()
	stops := slices.Clone(d.stops)
	d.stops = nil
	d.mu.Unlock()
	if d.keep != nil {
		d.keep.close()
	}
	for _, stop := range stops {
		stop()
	}
	d.link.close(ctx)
	return nil
}

func (d *driver) onClose(stop func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stops = append(d.stops, stop)
}

var _ queue.Driver = (*driver)(nil)

// status is the code of a message that is the server's word. Ask only for what
// came where none but the server answers: anybody can set the header.
func status(m *nats.Msg) string {
	if len(m.Data) > 0 || len(m.Header) == 0 {
		return ""
	}
	return m.Header.Get("Status")
}
