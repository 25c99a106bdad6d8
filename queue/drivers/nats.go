// Package drivers makes the queue that a configuration asks for, as the broker
// runs it: the driver, and who may log in to it. It is the one place that knows
// every driver.
package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nkeys"

	"ferry"
	"ferry/queue"
	"ferry/queue/natsqueue"
)

// NATSOptions of StartNATS.
type NATSOptions struct {
	Dir    string        // of the queue's files
	Listen string        // for workers beside the process; empty: none
	Lock   time.Duration // of a delivery; 0: the driver's default
	Window int           // the largest window of any route; 0: the default
	// MaxStore is what the queue may take on disk, bytes; 0: the default.
	MaxStore int64
	Workers  []ferry.WorkerInfo
	// PublicURL is where the broker's HTTP API is reached: workers connect to /queue
	// below it.
	PublicURL string
	Log       *slog.Logger
}

// NATS is the embedded NATS server with the broker's own connection to it.
type NATS struct {
	server *natsqueue.Server
	queue  *queue.Queue
	public string
}

// StartNATS starts the embedded server. A port that is taken is portTaken.
func StartNATS(opts NATSOptions) (*NATS, error) {
	server, err := natsqueue.StartServer(natsqueue.ServerOptions{
		StoreDir: opts.Dir, Listen: opts.Listen, Workers: auths(opts.Workers), Log: opts.Log,
		Limits: natsqueue.Limits{Lock: opts.Lock, MaxAckPending: opts.Window, MaxStoreBytes: opts.MaxStore},
	})
	if err != nil {
		return nil, startError(opts.Listen, err)
	}
	driver, err := server.Driver()
	if err != nil {
		return nil, errors.Join(err, server.Shutdown(context.Background()))
	}
	return &NATS{server: server, queue: queue.New(driver, queue.Options{Log: opts.Log}), public: opts.PublicURL}, nil
}

func startError(listen string, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return ferry.Errorf(ferry.CodePortTaken, "the queue cannot listen on %s: the port is taken", listen).
			WithHint("is a broker running already? else set queue.nats.listen in broker.yaml to another port, or to \"off\"")
	}
	var opErr *net.OpError
	if errors.As(err, &opErr) {
		return ferry.Errorf(ferry.CodeBadConfig, "the queue cannot listen on %s: %w", listen, opErr.Err).
			WithHint("set queue.nats.listen in broker.yaml to an address of this machine")
	}
	return err
}

// Queue is the broker's side of the queue.
func (n *NATS) Queue() *queue.Queue { return n.queue }

// URL is where workers beside the process connect; empty without a listener.
func (n *NATS) URL() string { return n.server.URL() }

// ServeQueue lets a worker in over the broker's HTTP port.
func (n *NATS) ServeQueue(w http.ResponseWriter, r *http.Request) error {
	return n.server.ServeQueue(w, r)
}

// Connections lists those of the workers, by public nkey.
func (n *NATS) Connections() map[string][]ferry.WorkerConnection {
	byKey := map[string][]ferry.WorkerConnection{}
	for _, c := range n.server.Connections() {
		byKey[c.PublicKey] = append(byKey[c.PublicKey], ferry.WorkerConnection{Via: c.Via, Address: c.Address, Since: c.Since})
	}
	return byKey
}

// WorkerConfig is the section queue of a worker's worker.yaml. nkey is where its
// seed lies.
func (n *NATS) WorkerConfig(nkey string) string {
	var b strings.Builder
	b.WriteString("queue:\n  nats:\n")
	web, clear := webURL(n.public)
	if web != "" {
		fmt.Fprintf(&b, "    url: %s\n", web)
	}
	if clear {
		b.WriteString("    plaintext: true   # publicUrl has no TLS: everything between may read the messages\n")
	}
	switch tcp := n.URL(); {
	case tcp != "" && web != "":
		fmt.Fprintf(&b, "    # url: %s   # over TCP instead, inside your network\n", tcp)
	case tcp != "":
		fmt.Fprintf(&b, "    url: %s\n", tcp)
	}
	fmt.Fprintf(&b, "    nkey: %s\n", nkey)
	return b.String()
}

// webURL is where workers connect over the broker's HTTP port. clear: the way is
// without TLS, and to another machine.
func webURL(public string) (text string, clear bool) {
	u, err := url.Parse(public)
	if err != nil || u.Host == "" {
		return "", false
	}
	switch u.Scheme {
	case "https":
		u.Scheme = "wss"
	case "http":
		u.Scheme = "ws"
		ip, err := netip.ParseAddr(u.Hostname())
		clear = u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback())
	default:
		return "", false
	}
	return u.JoinPath("queue").String(), clear
}

// NewLogin makes an nkey for a worker.
func (n *NATS) NewLogin() (public, seed string, err error) { return newLogin() }

func newLogin() (public, seed string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return "", "", fmt.Errorf("make an nkey: %w", err)
	}
	defer pair.Wipe()
	text, err := pair.Seed()
	if err != nil {
		return "", "", fmt.Errorf("make an nkey: %w", err)
	}
	public, err = pair.PublicKey()
	return public, string(text), err
}

// SetWorkers replaces who may log in; who no longer may is cut off at once.
func (n *NATS) SetWorkers(workers []ferry.WorkerInfo) error {
	return n.server.SetWorkers(auths(workers))
}

func auths(workers []ferry.WorkerInfo) []natsqueue.WorkerAuth {
	list := make([]natsqueue.WorkerAuth, 0, len(workers))
	for _, w := range workers {
		if w.RevokedAt == nil {
			list = append(list, natsqueue.WorkerAuth{Name: w.Name, PublicKey: w.PublicKey, Routes: w.Routes})
		}
	}
	return list
}

// Connect makes the connection of a worker in this process.
func (n *NATS) Connect(ctx context.Context, worker, seed string, log *slog.Logger) (*queue.Queue, error) {
	driver, err := natsqueue.Connect(ctx, natsqueue.ConnectOptions{Worker: worker, InProcess: n.server, Seed: []byte(seed), Log: log})
	if err != nil {
		return nil, err
	}
	return queue.New(driver, queue.Options{Log: log}), nil
}

// Close ends the broker's connection, then the server.
func (n *NATS) Close(ctx context.Context) error {
	return errors.Join(n.queue.Close(ctx), n.server.Shutdown(ctx))
}
