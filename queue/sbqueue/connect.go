package sbqueue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/internal/servicebus"
	"ferry/queue"
)

// BrokerOptions of ConnectBroker.
type BrokerOptions struct {
	Client servicebus.Config
	Prefix string        // of the queues' names; default DefaultPrefix
	Lock   time.Duration // of the queues, as it is expected and made; default DefaultLock
	// Provision: queues that are missing are made. It needs the right Manage.
	Provision bool
	Routes    []string     // whose queues are looked at before it starts
	Workers   []WorkerAuth // who may be heard; SetWorkers replaces them
	Log       *slog.Logger
}

// WorkerOptions of Connect.
type WorkerOptions struct {
	Client servicebus.Config
	Prefix string        // the broker's
	Worker string        // the worker's name, as the broker knows it
	Seed   []byte        // the worker's nkey: SU…; wiped after use
	Lock   time.Duration // of the queues; default DefaultLock
	Routes []string      // whose queues are looked at before it starts
	Log    *slog.Logger
}

// startTimeout bounds what is looked at before the start.
const startTimeout = time.Minute

// Broker is the broker's driver.
type Broker struct {
	*conn
	provision bool
	admin     admin
	manages   atomic.Bool  // it may look at queues, and make them
	lookAgain atomic.Int64 // Unix ns: not before
	directory directory

	chains   map[queue.Address]*chain // guarded by conn.mu
	peekers  map[string]*peeker       // by queue; guarded by conn.mu
	births   births
	receipts receipts
}

// admin looks at queues and makes them.
type admin interface {
	Queue(ctx context.Context, name string) (servicebus.QueueInfo, error)
	Create(ctx context.Context, spec servicebus.QueueSpec) (made bool, err error)
}

// Worker is a worker's driver.
type Worker struct {
	*conn
	signer *signer
	ear    ear
}

// ConnectBroker makes the broker's connection, and finds out whether the queue can
// live there. Missing queues are made by Ensure, where Provision says so. Errors
// are *ferry.Error: queueUnreachable, queueRefused, queueUnsuitable,
// badConfiguration. Once made, a lost connection is made again for ever.
func ConnectBroker(ctx context.Context, opts BrokerOptions) (*Broker, error) {
	b, err := openBroker(opts)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	findings := b.inspect(bounded, opts.Routes, nil)
	if err := b.start(ctx, findings, opts.Provision); err != nil {
		return nil, errors.Join(err, b.Close(context.WithoutCancel(ctx)))
	}
	b.welcome(bounded, opts.Workers)
	return b, nil
}

// Connect makes a worker's connection. Errors are as those of ConnectBroker; they
// are queue.ErrUnauthorized where the rights are not there, and
// queue.ErrUnavailable where nobody can be reached.
func Connect(ctx context.Context, opts WorkerOptions) (*Worker, error) {
	w, err := openWorker(opts)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := w.start(ctx, w.inspect(bounded, opts.Routes), false); err != nil {
		return nil, errors.Join(err, w.Close(context.WithoutCancel(ctx)))
	}
	return w, nil
}

// openBroker makes the driver and calls nobody.
func openBroker(opts BrokerOptions) (*Broker, error) {
	c, err := open(opts.Client, opts.Prefix, opts.Lock, opts.Log)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		conn: c, provision: opts.Provision, admin: c.client.Admin(), chains: make(map[queue.Address]*chain),
		peekers: make(map[string]*peeker), births: births{of: make(map[string]birth)},
	}
	b.manages.Store(true) // until Service Bus says otherwise
	if _, err := b.directory.set(opts.Workers); err != nil {
		return nil, errors.Join(err, c.Close(context.Background()))
	}
	return b, nil
}

// openWorker makes the driver and calls nobody.
func openWorker(opts WorkerOptions) (*Worker, error) {
	s, err := newSigner(opts.Worker, opts.Seed)
	if err != nil {
		return nil, err
	}
	c, err := open(opts.Client, opts.Prefix, opts.Lock, opts.Log)
	if err != nil {
		return nil, err
	}
	w := &Worker{conn: c, signer: s}
	w.ear.waiting = make(map[string]chan<- *azservicebus.ReceivedMessage)
	return w, nil
}

func open(cfg servicebus.Config, prefix string, lock time.Duration, log *slog.Logger) (*conn, error) {
	n, err := namesOf(prefix)
	if err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Log == nil {
		cfg.Log = log
	}
	if lock <= 0 {
		lock = DefaultLock
	}
	client, err := servicebus.Dial(cfg)
	if err != nil {
		return nil, err
	}
	return newConn(client, n, min(lock, maxLock), log), nil
}

// start judges what was found: the first fault keeps it from starting, warnings are
// logged. willMake: what is missing is no fault.
func (c *conn) start(ctx context.Context, findings []Finding, willMake bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, f := range findings {
		switch {
		case f.Err == nil:
			c.log.Warn("queue.check", "queue", f.Queue, "error", f.Text, "hint", f.Hint)
		case willMake && errors.Is(f.Err, queue.ErrNotFound):
		default:
			return f.Err
		}
	}
	return nil
}

// SetWorkers replaces who may be heard. What others sign counts for nothing from
// now on; that they cannot send or receive any more is for the namespace's own
// rights. The queues of those who are new are made where the broker may; else the
// log names them.
func (b *Broker) SetWorkers(ctx context.Context, workers []WorkerAuth) error {
	fresh, err := b.directory.set(workers)
	if err != nil {
		return err
	}
	b.greet(ctx, fresh)
	return nil
}

// welcome is SetWorkers for those who are known at the start.
func (b *Broker) welcome(ctx context.Context, workers []WorkerAuth) {
	var fresh []string
	for _, w := range workers {
		if !w.Revoked {
			fresh = append(fresh, w.Name)
		}
	}
	b.greet(ctx, fresh)
}

// greet sees to it that each worker has its queue.
func (b *Broker) greet(ctx context.Context, workers []string) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var group sync.WaitGroup
	slots := make(chan struct{}, inspectAtOnce)
	for _, worker := range workers {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := b.EnsureWorker(ctx, worker); err != nil && ctx.Err() == nil {
				message, hint := sentence(err)
				b.log.Warn("queue.worker", "worker", worker, "queue", b.names.worker(worker), "error", message, "hint", hint)
			}
		})
	}
	group.Wait()
}

func sentence(err error) (message, hint string) {
	var known *ferry.Error
	if errors.As(err, &known) {
		return known.Message, known.Hint
	}
	return err.Error(), ""
}

// EnsureWorker makes the queue in which a worker finds answers and signals, where it
// is missing and the broker may; else the error names it.
func (b *Broker) EnsureWorker(ctx context.Context, worker string) error {
	if err := ferry.ValidName("worker", worker); err != nil {
		return err
	}
	_, err := b.ensureQueue(ctx, b.names.brokersWorker(worker))
	return err
}

// Ensure makes the queue of a channel where it is missing, with that of the
// workers' questions beside that of their receipts.
func (b *Broker) Ensure(ctx context.Context, address queue.Address) (bool, error) {
	made, err := b.ensureQueue(ctx, b.names.brokers(address))
	if err == nil && address.Kind == queue.Receipts {
		_, err = b.ensureQueue(ctx, b.names.brokersQuestions())
	}
	if err != nil {
		return made, fmt.Errorf("the queue of %s %s: %w", address.Kind, address.Name, err)
	}
	return made, nil
}
