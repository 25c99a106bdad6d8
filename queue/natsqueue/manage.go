package natsqueue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ferry/queue"
)

// manager makes streams and consumers and asks after them: the broker's part.
type manager struct {
	js     jetstream.JetStream
	limits Limits

	mu      sync.Mutex
	streams map[string]bool // known to exist with today's settings
}

func newManager(nc *nats.Conn, limits Limits) (*manager, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &manager{js: js, limits: limits.withDefaults(), streams: make(map[string]bool)}, nil
}

func (m *manager) streamConfig(name string) jetstream.StreamConfig {
	config := jetstream.StreamConfig{
		Name:       name,
		Storage:    jetstream.FileStorage,
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardNew, // a full stream refuses; it must not forget what nobody has read
		MaxMsgSize: maxData + protocolHeadRoom,
	}
	if name == receiptStream {
		config.Subjects = []string{receiptSubject + "*"}
		config.MaxBytes = m.limits.MaxStoreBytes / 4
		config.Duplicates = m.limits.DuplicateWindow // unused: receipts carry no id for the server
		return config
	}
	config.Subjects = []string{messageSubject + "*"}
	config.MaxBytes = m.limits.MaxStoreBytes - m.limits.MaxStoreBytes/4
	config.Duplicates = m.limits.DuplicateWindow
	return config
}

func (m *manager) consumerConfig(address queue.Address) jetstream.ConsumerConfig {
	names := namesOf(address, brokerName)
	return jetstream.ConsumerConfig{
		Durable:       names.consumer,
		FilterSubject: names.filter(),
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       m.limits.Lock,
		MaxDeliver:    -1, // the ledger decides when to give up
		MaxAckPending: m.limits.MaxAckPending,
	}
}

func (d *driver) Ensure(ctx context.Context, address queue.Address) (bool, error) {
	if err := d.onlyBroker(); err != nil {
		return false, err
	}
	if _, err := d.link.ready(ctx); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	made, err := d.keep.manager.ensure(ctx, address)
	if err != nil {
		return false, manageError(d.link, err)
	}
	d.keep.add(address)
	return made, nil
}

func (m *manager) ensure(ctx context.Context, address queue.Address) (made bool, err error) {
	names := namesOf(address, brokerName)
	m.mu.Lock()
	defer m.mu.Unlock()
	stream, err := m.js.Stream(ctx, names.stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		made = true
		m.streams[names.stream] = false
	case err != nil:
		return false, err
	}
	if !m.streams[names.stream] {
		if stream, err = m.js.CreateOrUpdateStream(ctx, m.streamConfig(names.stream)); err != nil {
			return false, fmt.Errorf("stream %s: %w", names.stream, err)
		}
		m.streams[names.stream] = true
	}
	config := m.consumerConfig(address)
	consumer, err := stream.Consumer(ctx, names.consumer)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		made = true
	case err != nil:
		return made, err
	default:
		have := consumer.CachedInfo().Config
		if have.AckWait == config.AckWait && have.MaxAckPending == config.MaxAckPending && have.FilterSubject == config.FilterSubject {
			return made, nil
		}
	}
	_, err = stream.CreateOrUpdateConsumer(ctx, config)
	return made, err
}

// Progress: the position is the stream's sequence, shared by all routes. Settled
// is exact for the route's own positions: with nothing unacknowledged it is as
// far as the consumer has looked, else its acknowledgement floor.
func (d *driver) Progress(ctx context.Context, of queue.Address) (queue.Progress, error) {
	if err := d.onlyBroker(); err != nil {
		return queue.Progress{}, err
	}
	if _, err := d.link.ready(ctx); err != nil {
		return queue.Progress{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	stream, consumer, err := d.keep.manager.info(ctx, of)
	if err != nil {
		return queue.Progress{}, manageError(d.link, err)
	}
	return queue.Progress{
		Incarnation: strconv.FormatInt(stream.Created.UnixNano(), 36),
		Last:        stream.State.LastSeq,
		Settled:     settledOf(consumer),
	}, nil
}

func settledOf(consumer *jetstream.ConsumerInfo) uint64 {
	if consumer.NumAckPending == 0 {
		return consumer.Delivered.Stream
	}
	return consumer.AckFloor.Stream
}

func (m *manager) info(ctx context.Context, of queue.Address) (*jetstream.StreamInfo, *jetstream.ConsumerInfo, error) {
	names := namesOf(of, brokerName)
	stream, err := m.js.Stream(ctx, names.stream)
	if err != nil {
		return nil, nil, err
	}
	consumer, err := stream.Consumer(ctx, names.consumer)
	if err != nil {
		return nil, nil, err
	}
	return stream.CachedInfo(), consumer.CachedInfo(), nil
}

func manageError(l *link, err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("%w: %w", queue.ErrNotFound, err)
	}
	return l.wrap(err)
}
