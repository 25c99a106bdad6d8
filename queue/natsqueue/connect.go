package natsqueue

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"ferry/queue"
)

// ConnectOptions of Connect.
type ConnectOptions struct {
	Worker    string        // the worker's name, as the broker knows it
	URL       string        // wss://host/queue of a broker; or nats:// or tls://host:port, several with commas between
	CA        string        // PEM file of authorities beside those of this machine; read at each connection
	Proxy     Proxy         // on the way to a wss URL
	Agent     string        // names the program to a proxy and a broker's HTTP server
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
// reached: a *[ReachError] where it is known why. Once made, a lost connection is
// made again for ever.
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
	address := opts.URL
	var web *webDialer
	switch {
	case opts.InProcess != nil:
		options = append(options, nats.InProcessServer(inProcess{opts.InProcess.nats}))
	case strings.HasPrefix(opts.URL, "wss://"), strings.HasPrefix(opts.URL, "ws://"):
		to, err := url.Parse(opts.URL)
		if err != nil {
			return nil, fmt.Errorf("worker %s: the queue's URL cannot be read", opts.Worker)
		}
		web = &webDialer{url: to, proxy: opts.Proxy, ca: opts.CA, agent: opts.Agent, timeout: timeoutIn(ctx, webTimeout)}
		web.ctx, web.abort = context.WithCancel(context.WithoutCancel(ctx))
		defer context.AfterFunc(ctx, web.abort)() // until it is made
		address = "nats://" + hostPort(to)        // what is dialled is the dialer's to know
		options = append(options, nats.SetCustomDialer(web), nats.SkipHostLookup(), nats.IgnoreDiscoveredServers(), nats.Timeout(web.timeout))
	default:
		options = append(options, trusting(opts.CA)...)
	}
	l, err := dial(address, opts.Log, options...)
	if err != nil {
		if web != nil {
			web.abort()
			web.drop()
			err = cmp.Or(web.failed(), err) // the library keeps some to itself
		}
		return nil, fmt.Errorf("worker %s: %w", opts.Worker, named(opts, err))
	}
	l.web = web
	d, err := newDriver(l, opts.Worker, opts.Lock, 0, opts.Log)
	if err != nil {
		l.close(ctx)
		return nil, err
	}
	return d, nil
}

// trusting lets the authorities of a file, too, have signed the server's certificate.
func trusting(ca string) []nats.Option {
	if ca == "" {
		return nil
	}
	return []nats.Option{func(o *nats.Options) error {
		o.Secure = true
		o.RootCAsCB = func() (*x509.CertPool, error) { return authorities(ca) }
		return nil
	}}
}

// named says why a NATS server over TCP was not reached, where that can be told; of
// several servers the last one's fault is known.
func named(opts ConnectOptions, err error) error {
	var known *ReachError
	if opts.InProcess != nil || errors.As(err, &known) || errors.Is(err, queue.ErrUnauthorized) || strings.Contains(opts.URL, ",") {
		return err
	}
	to, parseErr := url.Parse(opts.URL)
	if parseErr != nil {
		return err
	}
	if errors.Is(err, nats.ErrNoServers) { // what the library makes of it
		err = syscall.ECONNREFUSED
	}
	return netFault(to, opts.CA, err)
}

// timeoutIn is the time for one attempt: what ctx leaves of most.
func timeoutIn(ctx context.Context, most time.Duration) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		most = min(most, time.Until(deadline))
	}
	return max(most, time.Millisecond)
}

// connectOptions are those of any connection over a network.
func connectOptions(ctx context.Context, name, inbox string) []nats.Option {
	return []nats.Option{
		nats.Name(name),
		nats.Timeout(timeoutIn(ctx, connectTimeout)),
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
