package natsqueue

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"ferry/queue"
)

// ConnectOptions of Connect.
type ConnectOptions struct {
	Worker    string        // the worker's name, as the broker knows it
	URL       string        // nats://host:port
	InProcess *Server       // instead of URL
	Seed      []byte        // the worker's nkey: SU…; wiped after use
	SeedFile  string        // instead of Seed
	Lock      time.Duration // until the server has told the broker's; default DefaultLock
	Log       *slog.Logger
}

// connectTimeout bounds one attempt to connect.
const connectTimeout = 5 * time.Second

// Connect makes a worker's connection. It fails at once with ErrUnauthorized
// when the server refuses the key, with ErrUnavailable when it cannot be
// reached. Once made, a lost connection is made again for ever.
func Connect(ctx context.Context, opts ConnectOptions) (queue.Driver, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.Lock <= 0 {
		opts.Lock = DefaultLock
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	key, public, err := workerKey(opts)
	if err != nil {
		return nil, fmt.Errorf("worker %s: %w", opts.Worker, err)
	}
	options := append(connectOptions(ctx, opts.Worker, opts.Worker), nats.Nkey(public, key.Sign))
	if opts.InProcess != nil {
		options = append(options, nats.InProcessServer(inProcess{opts.InProcess.nats}))
	}
	l, err := dial(opts.URL, opts.Log, options...)
	if err != nil {
		return nil, fmt.Errorf("worker %s: %w", opts.Worker, err)
	}
	d, err := newDriver(l, opts.Worker, opts.Lock, 0, opts.Log)
	if err != nil {
		l.close(ctx)
		return nil, err
	}
	return d, nil
}

// connectOptions are those of any connection over a network.
func connectOptions(ctx context.Context, name, inbox string) []nats.Option {
	timeout := connectTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	return []nats.Option{
		nats.Name(name),
		nats.Timeout(max(timeout, time.Millisecond)),
		nats.CustomInboxPrefix(inboxOf + inbox),
		nats.PingInterval(20 * time.Second),
		nats.MaxPingsOutstanding(2),
	}
}

// workerKey reads the seed. Errors never hold any of it.
func workerKey(opts ConnectOptions) (nkeys.KeyPair, string, error) {
	seed := opts.Seed
	if len(seed) == 0 {
		text, err := os.ReadFile(opts.SeedFile)
		if err != nil {
			return nil, "", fmt.Errorf("read the nkey: %w", err)
		}
		seed = text
	}
	return userKey(seed)
}

// userKey reads a user's seed, and wipes it. Errors never hold any of it.
func userKey(seed []byte) (nkeys.KeyPair, string, error) {
	defer clear(seed)
	key, err := nkeys.ParseDecoratedUserNKey(seed)
	if err != nil {
		return nil, "", fmt.Errorf("the nkey is not the seed of a user, SU…")
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, "", fmt.Errorf("the nkey is not the seed of a user, SU…")
	}
	return key, public, nil
}
