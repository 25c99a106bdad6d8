package drivers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"ferry"
	"ferry/queue"
	"ferry/queue/natsqueue"
)

// ExternalOptions of ConnectNATS.
type ExternalOptions struct {
	URL      string // several with commas between
	Seed     string // the broker's nkey
	CA       string // PEM file of authorities beside those of this machine; empty: those alone
	Replicas int
	MaxStore int64         // bytes that both streams may take; 0: the default
	Lock     time.Duration // of a delivery; 0: the driver's default
	Window   int           // the largest window of any route; 0: the default
	Routes   []string
	Log      *slog.Logger
}

// ExternalNATS is the broker's connection to a NATS server elsewhere. Who may
// log in there is that server's to say.
type ExternalNATS struct {
	url   string
	ca    string
	queue *queue.Queue
}

// ConnectNATS connects, and makes the streams and the consumers of the routes
// where they are missing. Errors are *ferry.Error where a person can mend them:
// queueUnreachable, queueRefused, queueUnsuitable.
func ConnectNATS(ctx context.Context, opts ExternalOptions) (*ExternalNATS, error) {
	driver, err := natsqueue.ConnectBroker(ctx, natsqueue.ExternalOptions{
		URL: opts.URL, Seed: []byte(opts.Seed), CA: opts.CA, Replicas: opts.Replicas, Log: opts.Log,
		Limits: natsqueue.Limits{Lock: opts.Lock, MaxAckPending: opts.Window, MaxStoreBytes: opts.MaxStore},
	})
	if err != nil {
		return nil, externalError(opts.URL, err)
	}
	n := &ExternalNATS{url: opts.URL, ca: opts.CA, queue: queue.New(driver, queue.Options{Log: opts.Log})}
	if _, err := n.queue.Ensure(ctx, opts.Routes); err != nil {
		return nil, errors.Join(externalError(opts.URL, err), n.queue.Close(ctx))
	}
	return n, nil
}

func externalError(url string, err error) error {
	var denied *natsqueue.DeniedError
	var unsuitable *natsqueue.UnsuitableError
	switch {
	case errors.As(err, &denied):
		return ferry.Errorf(ferry.CodeQueueRefused, "the NATS server %s lets this broker log in, and denies it %s%w", url, denied.Subject, silent{err}).
			WithHint("give the login the rights that `broker nats key FILE` prints for it, in the configuration of the NATS server")
	case errors.As(err, &unsuitable):
		return ferry.Errorf(ferry.CodeQueueUnsuitable, "the NATS server %s cannot carry the queue: %s%w", url, unsuitable.Why, silent{err}).WithHint("%s", unsuitable.Hint)
	case errors.Is(err, queue.ErrUnauthorized):
		return ferry.Errorf(ferry.CodeQueueRefused, "the NATS server %s refuses this broker's nkey%w", url, silent{err}).
			WithHint("is its public key among the users of the account there? `broker nats key FILE` prints its entry")
	case errors.Is(err, queue.ErrUnavailable):
		return ferry.Errorf(ferry.CodeQueueUnreachable, "the NATS server %s cannot be reached: %s%w", url, reason(err), silent{err}).
			WithHint("is it running, and is queue.nats.url in broker.yaml right? once the broker runs, it goes on without the server")
	default:
		return err
	}
}

// silent wraps a cause for logs and errors.Is, and adds nothing to the sentence.
type silent struct{ error }

func (silent) Error() string   { return "" }
func (s silent) Unwrap() error { return s.error }

func reason(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), queue.ErrUnavailable.Error()+": "), "nats: ")
}

// Queue is the broker's side of the queue.
func (n *ExternalNATS) Queue() *queue.Queue { return n.queue }

// ServeQueue refuses: workers connect to the NATS server themselves.
func (n *ExternalNATS) ServeQueue(http.ResponseWriter, *http.Request) error {
	return ferry.Errorf(ferry.CodeNotFound, "the queue of this broker is not here: it is on a NATS server elsewhere").
		WithHint("workers connect to that server: queue.nats.url in worker.yaml is the one of broker.yaml, nats:// or tls://")
}

// WorkerConfig is the section queue of a worker's worker.yaml. nkey is where its
// seed lies.
func (n *ExternalNATS) WorkerConfig(nkey string) string {
	text := fmt.Sprintf("queue:\n  nats:\n    url: %s\n", n.url)
	if n.ca != "" {
		text += "    ca: FILE   # a copy of the broker's queue.nats.ca\n"
	}
	return text + fmt.Sprintf("    nkey: %s\n", nkey)
}

// URL is where workers connect too.
func (n *ExternalNATS) URL() string { return n.url }

// NewLogin makes an nkey for a worker.
func (n *ExternalNATS) NewLogin() (public, seed string, err error) { return newLogin() }

// SetWorkers changes nothing: logins are made and removed at the NATS server.
func (n *ExternalNATS) SetWorkers([]ferry.WorkerInfo) error { return nil }

// LoginConfig is the worker's entry among the users of the account there.
func (n *ExternalNATS) LoginConfig(w ferry.WorkerInfo) (string, error) {
	return natsqueue.WorkerConfig(natsqueue.WorkerAuth{Name: w.Name, PublicKey: w.PublicKey, Routes: w.Routes})
}

// Close ends the connection.
func (n *ExternalNATS) Close(ctx context.Context) error { return n.queue.Close(ctx) }

// NewBrokerSeed makes an nkey for the broker at a NATS server elsewhere.
func NewBrokerSeed() (seed string, err error) {
	_, seed, err = newLogin()
	return seed, err
}

// BrokerLoginConfig is the entry of the broker among the users of its account
// there; it holds no secret.
func BrokerLoginConfig(seed string) (string, error) {
	pair, err := nkeys.ParseDecoratedUserNKey([]byte(seed))
	if err != nil {
		return "", ferry.Errorf(ferry.CodeBadConfig, "it holds no seed of a user, SU…")
	}
	defer pair.Wipe()
	public, err := pair.PublicKey()
	if err != nil {
		return "", ferry.Errorf(ferry.CodeBadConfig, "it holds no seed of a user, SU…")
	}
	return natsqueue.BrokerConfig(public)
}
