package natsqueue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"ferry/queue"
)

// ExternalOptions of ConnectBroker.
type ExternalOptions struct {
	URL      string // nats://host:port, several separated by commas
	Seed     []byte // the broker's nkey: SU…; wiped after use
	CA       string // PEM file of authorities beside those of this machine
	Replicas int    // of each stream: 1, 3 or 5; 0: 1
	Limits          // MaxStoreBytes is what both streams may take together
	Log      *slog.Logger
}

// minPayload is the least max_payload of a server elsewhere: the default of NATS.
// Receipts with long answers, and messages with their bodies, have to fit.
const minPayload = 1 << 20

// anotherTimeout bounds the question whether another broker is there. One that
// lives answers at once.
const anotherTimeout = time.Second

// ConnectBroker makes the broker's connection to a NATS server elsewhere, and
// finds out whether the queue can live there. The streams are made by Ensure.
//
// Errors: queue.ErrUnavailable when no server can be reached,
// queue.ErrUnauthorized when it refuses the key, *[DeniedError] when it denies
// something that the broker needs, *[UnsuitableError]. Once made, a lost
// connection is made again for ever.
func ConnectBroker(ctx context.Context, opts ExternalOptions) (queue.Driver, error) {
	opts.Limits = opts.withDefaults()
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	key, public, err := userKey(opts.Seed)
	if err != nil {
		return nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	name := fmt.Sprintf("Ferry broker, process %d on %s", os.Getpid(), host)
	options := append(connectOptions(ctx, name, brokerName), nats.Nkey(public, key.Sign))
	l, err := dial(opts.URL, opts.Log, append(options, trusting(opts.CA)...)...)
	if err != nil {
		return nil, err
	}
	l.name = name
	d, err := checked(ctx, l, opts)
	if err != nil {
		if d != nil && d.keep != nil {
			d.keep.close()
		}
		l.close(ctx)
		return nil, err
	}
	return d, nil
}

// checked makes the driver, or says why it could not work.
func checked(ctx context.Context, l *link, opts ExternalOptions) (*driver, error) {
	if most := l.nc.MaxPayload(); most < minPayload {
		return nil, &UnsuitableError{
			Why:  fmt.Sprintf("its max_payload is %d bytes, and the queue needs %d", most, minPayload),
			Hint: "set max_payload: 1MB or more in the configuration of the NATS server",
		}
	}
	watched, stop := l.deniable(ctx)
	defer stop()
	d, err := newBrokerDriver(l, nil, opts.Limits, opts.Replicas, opts.Log)
	if err == nil {
		d.props.Outlives = true
		err = d.findJetStream(watched)
	}
	if err == nil {
		err = d.findNoOther(watched)
	}
	var denied *DeniedError
	if errors.As(context.Cause(watched), &denied) {
		err = denied
	}
	return d, err
}

// findJetStream asks for the account's JetStream.
func (d *driver) findJetStream(ctx context.Context) error {
	answer, err := d.ask(ctx, accountSubject, nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return &UnsuitableError{Why: "it has no JetStream", Hint: noJetStream}
	}
	if err != nil {
		return err
	}
	var info struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(answer, &info); err != nil {
		return fmt.Errorf("the server's answer about JetStream cannot be read: %w", queue.ErrUnavailable)
	}
	if info.Error != nil {
		return unsuitable(info.Error)
	}
	return nil
}

// findNoOther makes sure that no other broker uses the account: the two would
// take each other's receipts.
func (d *driver) findNoOther(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, anotherTimeout)
	defer cancel()
	answer, err := d.ask(bounded, askSubject+brokerName, nil)
	switch {
	case err == nil:
		return &UnsuitableError{
			Why:  fmt.Sprintf("another broker uses this account: %.200s", answer),
			Hint: "stop that one, or give each broker an account of its own in the NATS server",
		}
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded):
		return nil
	default:
		return err
	}
}

// UnsuitableError says why a NATS server elsewhere cannot carry the queue, and
// what its operator may do about it.
type UnsuitableError struct {
	Why, Hint string
	cause     error
}

func (e *UnsuitableError) Error() string { return "the NATS server cannot carry the queue: " + e.Why }

// Unwrap gives the server's own words.
func (e *UnsuitableError) Unwrap() error { return e.cause }

const noJetStream = "switch JetStream on: jetstream {store_dir: …} for the server, and jetstream: enabled for the account"

// unsuitable takes the server's words apart: the account's limits, and what its
// configuration does not allow.
func unsuitable(words *jetstream.APIError) error {
	e := &UnsuitableError{Why: fmt.Sprintf("%s (%d)", words.Description, words.ErrorCode), cause: words}
	switch server.ErrorIdentifier(words.ErrorCode) {
	case server.JSNotEnabledErr, server.JSNotEnabledForAccountErr, server.JSNoLimitsErr:
		e.Hint = noJetStream
	case server.JSAccountResourcesExceededErr, server.JSStorageResourcesExceededErr, server.JSStreamMaxStreamBytesExceeded:
		e.Hint = "the streams reserve queue.nats.maxStore on disk, times the replicas: lower it in broker.yaml, or raise the limit of the account or of the server"
	case server.JSMaximumStreamsLimitErr, server.JSMaximumConsumersLimitErr:
		e.Hint = "the queue takes two streams, a consumer per route and one more: raise the account's limits"
	case server.JSStreamReplicasNotSupportedErr, server.JSClusterNoPeersErrF, server.JSInsufficientResourcesErr:
		e.Hint = "a stream with replicas needs as many servers with JetStream and room: see queue.nats.replicas"
	case server.JSStreamSubjectOverlapErr, server.JSStreamNameExistErr, server.JSStreamUpdateErrF, server.JSStreamInvalidConfigF:
		e.Hint = "does something else use FERRY_MSG, FERRY_RCPT or ferry.> in this account? give the broker an account of its own"
	default:
		return fmt.Errorf("the NATS server says: %w", words) // a passing fault, as far as is known
	}
	return e
}
