package natsqueue

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ferry/queue"
)

// manager makes streams and consumers and asks after them: the broker's part.
type manager struct {
	js       jetstream.JetStream
	limits   Limits
	replicas int

	mu      sync.Mutex
	streams map[string]bool // known to exist with today's settings

	marks marks
}

func newManager(nc *nats.Conn, limits Limits, replicas int) (*manager, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	return &manager{
		js: js, limits: limits.withDefaults(), replicas: max(replicas, 1), streams: make(map[string]bool),
		marks: marks{of: make(map[string]*mark)},
	}, nil
}

// streamConfig is how a stream must be. What the operators of a server elsewhere
// decide stays as they set it: where it lies, and whether it is compressed.
func (m *manager) streamConfig(name string, have *jetstream.StreamConfig) jetstream.StreamConfig {
	config := jetstream.StreamConfig{
		Name:       name,
		Storage:    jetstream.FileStorage,
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardNew, // a full stream refuses; it must not forget what nobody has read
		MaxMsgSize: maxData + protocolHeadRoom,
		Replicas:   m.replicas,
	}
	if have != nil {
		config.Placement, config.Compression, config.Description = have.Placement, have.Compression, have.Description
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
	ctx, stop := d.link.deniable(ctx)
	defer stop()
	made, err := d.keep.manager.ensure(ctx, address)
	if err != nil {
		return false, manageError(ctx, d.link, err)
	}
	d.keep.add(address)
	return made, nil
}

func (m *manager) ensure(ctx context.Context, address queue.Address) (made bool, err error) {
	names := namesOf(address, brokerName)
	m.mu.Lock()
	defer m.mu.Unlock()
	var have *jetstream.StreamConfig
	stream, err := m.js.Stream(ctx, names.stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		made = true
		m.streams[names.stream] = false
	case err != nil:
		return false, err
	default:
		have = &stream.CachedInfo().Config
	}
	if !m.streams[names.stream] {
		if stream, err = m.js.CreateOrUpdateStream(ctx, m.streamConfig(names.stream, have)); err != nil {
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
	ctx, stop := d.link.deniable(ctx)
	defer stop()
	progress, err := d.keep.manager.progress(ctx, of)
	if err != nil {
		return queue.Progress{}, manageError(ctx, d.link, err)
	}
	return progress, nil
}

func (m *manager) progress(ctx context.Context, of queue.Address) (queue.Progress, error) {
	m.marks.mu.Lock()
	defer m.marks.mu.Unlock()
	stream, consumer, err := m.info(ctx, of)
	if err != nil {
		return queue.Progress{}, err
	}
	return queue.Progress{
		Incarnation: m.marks.incarnation(stream.Config.Name, stream),
		Last:        stream.State.LastSeq,
		Settled:     settledOf(consumer),
	}, nil
}

// Clear removes everything of the address from its stream.
func (d *driver) Clear(ctx context.Context, address queue.Address) error {
	if err := d.onlyBroker(); err != nil {
		return err
	}
	if _, err := d.link.ready(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	ctx, stop := d.link.deniable(ctx)
	defer stop()
	names := namesOf(address, brokerName)
	stream, err := d.keep.manager.js.Stream(ctx, names.stream)
	if err == nil {
		err = d.keep.manager.purge(ctx, stream, jetstream.WithPurgeSubject(names.filter()))
	}
	if err != nil {
		return manageError(ctx, d.link, err)
	}
	return nil
}

// purge removes packets of a stream, and notes that it was us.
func (m *manager) purge(ctx context.Context, stream jetstream.Stream, opts ...jetstream.StreamPurgeOpt) error {
	m.marks.mu.Lock()
	defer m.marks.mu.Unlock()
	if err := stream.Purge(ctx, opts...); err != nil {
		return err
	}
	info, err := stream.Info(ctx)
	if err == nil {
		m.marks.removed(info.Config.Name, info)
	}
	return err
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

// manageError names the fault of making streams, or of asking after them. ctx
// may have ended with a denial.
func manageError(ctx context.Context, l *link, err error) error {
	var denied *DeniedError
	var words *jetstream.APIError
	switch {
	case errors.As(context.Cause(ctx), &denied):
		return denied
	case errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound):
		return fmt.Errorf("%w: %w", queue.ErrNotFound, err)
	case errors.As(err, &words):
		return unsuitable(words)
	default:
		return l.wrap(err)
	}
}
