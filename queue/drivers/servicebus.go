package drivers

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"ferry"
	"ferry/config"
	"ferry/internal/servicebus"
	"ferry/queue"
	"ferry/queue/sbqueue"
	"ferry/secret"
)

// ServiceBusOptions of ConnectServiceBus, and of what looks at the queues or makes
// them.
type ServiceBusOptions struct {
	Config  config.BrokerServiceBus
	Secrets secret.Resolver
	Routes  []string
	Workers []ferry.WorkerInfo
	// WorkerNames are workers of which only the names are known: enough to look at
	// their queues and to make them.
	WorkerNames []string
	Log         *slog.Logger
}

// ServiceBus is the broker's connection to a queue on Azure Service Bus. Who may
// log in there is the namespace's to say; whose word counts, the broker knows by
// the worker's signature.
type ServiceBus struct {
	broker *sbqueue.Broker
	queue  *queue.Queue
	opts   ServiceBusOptions
	host   string
}

// ConnectServiceBus connects and finds out whether the queue can live there.
// Errors are *ferry.Error where a person can mend them: queueUnreachable,
// queueRefused, queueUnsuitable, badConfiguration.
func ConnectServiceBus(ctx context.Context, opts ServiceBusOptions) (*ServiceBus, error) {
	broker, host, err := opts.broker()
	if err != nil {
		return nil, err
	}
	bodies, err := bodyStore(opts.Config.Bodies, opts.Config.ServiceBus, opts.Secrets)
	if err != nil {
		return nil, err
	}
	driver, err := sbqueue.ConnectBroker(ctx, broker)
	if err != nil {
		return nil, err
	}
	ensureBodies(ctx, bodies, opts.Log)
	return &ServiceBus{broker: driver, queue: queue.New(driver, queueOptions(bodies, opts.Log)), opts: opts, host: host}, nil
}

// broker is the options for the driver, and the host of the namespace.
func (o ServiceBusOptions) broker() (b sbqueue.BrokerOptions, host string, err error) {
	cfg, err := Namespace(o.Config.ServiceBus, o.Secrets, o.Log)
	if err != nil {
		return b, "", err
	}
	client, err := servicebus.Dial(cfg) // to read the name that it has, and for nothing else
	if err != nil {
		return b, "", err
	}
	host = client.Host()
	workers := signatures(o.Workers)
	for _, name := range o.WorkerNames {
		public, _, err := newLogin() // nobody signs with it
		if err != nil {
			return b, "", err
		}
		workers = append(workers, sbqueue.WorkerAuth{Name: name, PublicKey: public})
	}
	return sbqueue.BrokerOptions{
		Client: cfg, Prefix: o.Config.Prefix, Lock: o.Config.Lock, Provision: o.Config.Provision,
		Routes: o.Routes, Workers: workers, Log: o.Log,
	}, host, client.Close(context.Background())
}

func signatures(workers []ferry.WorkerInfo) []sbqueue.WorkerAuth {
	list := make([]sbqueue.WorkerAuth, 0, len(workers))
	for _, w := range workers {
		list = append(list, sbqueue.WorkerAuth{Name: w.Name, PublicKey: w.PublicKey, Routes: w.Routes, Revoked: w.RevokedAt != nil})
	}
	return list
}

// Queue is the broker's side of the queue.
func (s *ServiceBus) Queue() *queue.Queue { return s.queue }

// URL names the namespace.
func (s *ServiceBus) URL() string { return "sb://" + s.host }

// NewLogin makes an nkey that the worker signs with.
func (s *ServiceBus) NewLogin() (public, seed string, err error) { return newLogin() }

// SetWorkers replaces whose signatures count.
func (s *ServiceBus) SetWorkers(workers []ferry.WorkerInfo) error {
	return s.broker.SetWorkers(context.Background(), signatures(workers))
}

// Close ends the connection.
func (s *ServiceBus) Close(ctx context.Context) error { return s.queue.Close(ctx) }

// LoginConfig is what gives the worker's machine its rights in the namespace, and
// makes its queue.
func (s *ServiceBus) LoginConfig(w ferry.WorkerInfo) (string, error) {
	names, err := queueNames(s.opts.Config.Prefix, w.Routes, []string{w.Name})
	if err != nil {
		return "", err
	}
	rights, err := sbqueue.WorkerRights(s.opts.Config.Prefix, sbqueue.WorkerAuth{Name: w.Name, Routes: w.Routes})
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(azNamespace(s.host))
	fmt.Fprintf(&b, "# its own queue, unless the broker makes it (queue.servicebus.provision)\n%s", azQueue(names.workers[0], s.opts.Config.Lock, false))
	b.WriteString("# PRINCIPAL: the identity that the worker's machine logs in as\n")
	b.WriteString(azRoles(rights))
	b.WriteString("# With a connection string instead: one of a policy with Listen and Send. It is\n" +
		"# good for every queue of the namespace; what the worker sends is signed all the same.\n")
	return b.String(), nil
}

// ServeQueue refuses: workers connect to the namespace themselves.
func (s *ServiceBus) ServeQueue(http.ResponseWriter, *http.Request) error {
	return ferry.Errorf(ferry.CodeNotFound, "the queue of this broker is not here: it is on Azure Service Bus").
		WithHint("workers connect to its namespace: queue.driver: servicebus in worker.yaml, and queue.servicebus as `broker workers add` prints it; webSockets: true needs port 443 only")
}

// WorkerConfig is the section queue of the worker's worker.yaml. nkey is where its
// seed lies.
func (s *ServiceBus) WorkerConfig(nkey string) string {
	c := s.opts.Config
	var b strings.Builder
	b.WriteString("queue:\n  driver: servicebus\n  servicebus:\n")
	line := func(key string, value any) { fmt.Fprintf(&b, "    %s: %v\n", key, value) }
	if c.Namespace != "" {
		line("namespace", c.Namespace)
		line("credential", "{type: managedIdentity}   # as the worker's machine logs in: docs/service-bus.md")
	} else {
		line("connectionString", "env:SERVICEBUS_CONNECTION_STRING   # better: namespace and credential")
	}
	if c.WebSockets {
		line("webSockets", true)
	}
	for _, v := range []struct{ key, value string }{{"endpoint", c.Endpoint}, {"prefix", c.Prefix}} {
		if v.value != "" && v.value != sbqueue.DefaultPrefix {
			line(v.key, v.value)
		}
	}
	if c.Lock != sbqueue.DefaultLock {
		line("lock", c.Lock)
	}
	line("nkey", nkey)
	return b.String()
}

// WorkerOptions of ConnectServiceBusWorker and CheckServiceBusWorker.
type WorkerOptions struct {
	Config  config.WorkerServiceBus
	Secrets secret.Resolver
	Worker  string // its name
	Routes  []string
	Log     *slog.Logger
}

func (o WorkerOptions) worker() (w sbqueue.WorkerOptions, err error) {
	client, err := Namespace(o.Config.ServiceBus, o.Secrets, o.Log)
	if err != nil {
		return w, err
	}
	seed, err := o.Secrets.Resolve(o.Config.Seed())
	if err != nil {
		return w, err
	}
	return sbqueue.WorkerOptions{
		Client: client, Prefix: o.Config.Prefix, Worker: o.Worker, Seed: []byte(seed.Reveal()), Lock: o.Config.Lock,
		Routes: o.Routes, Log: o.Log,
	}, nil
}

// ConnectServiceBusWorker makes a worker's connection. Errors wrap
// queue.ErrUnavailable where nobody can be reached: that passes.
func ConnectServiceBusWorker(ctx context.Context, opts WorkerOptions) (*queue.Queue, error) {
	w, err := opts.worker()
	if err != nil {
		return nil, err
	}
	bodies, err := bodyStore(opts.Config.Bodies, opts.Config.ServiceBus, opts.Secrets)
	if err != nil {
		return nil, err
	}
	driver, err := sbqueue.Connect(ctx, w)
	if err != nil {
		return nil, err
	}
	return queue.New(driver, queueOptions(bodies, opts.Log)), nil
}

// Connect makes the connection of a worker in this process.
func (s *ServiceBus) Connect(ctx context.Context, worker, seed string, routes []string, log *slog.Logger) (*queue.Queue, error) {
	broker, _, err := s.opts.broker()
	if err != nil {
		return nil, err
	}
	bodies, err := bodyStore(s.opts.Config.Bodies, s.opts.Config.ServiceBus, s.opts.Secrets)
	if err != nil {
		return nil, err
	}
	driver, err := sbqueue.Connect(ctx, sbqueue.WorkerOptions{
		Client: broker.Client, Prefix: broker.Prefix, Worker: worker, Seed: []byte(seed), Lock: broker.Lock, Routes: routes, Log: log,
	})
	if err != nil {
		return nil, err
	}
	return queue.New(driver, queueOptions(bodies, log)), nil
}

// WorkerQueue is one of the queues that a worker needs.
type WorkerQueue struct {
	Queue string
	Err   error // a *ferry.Error: the worker cannot work with it; nil: it can
}

// CheckServiceBusWorker finds out of each queue that a worker needs whether it is
// there and the rights are, and changes nothing. The error says that it could not
// look at all.
func CheckServiceBusWorker(ctx context.Context, opts WorkerOptions) ([]WorkerQueue, error) {
	w, err := opts.worker()
	if err != nil {
		return nil, err
	}
	findings, err := sbqueue.CheckWorker(ctx, w)
	if err != nil {
		return nil, err
	}
	names, err := queueNames(opts.Config.Prefix, opts.Routes, []string{opts.Worker})
	if err != nil {
		return nil, err
	}
	errs := map[string]error{}
	for _, f := range findings {
		if ferry.CodeOf(f.Err) == ferry.CodeQueueUnreachable {
			return nil, f.Err // of one, and so of all
		}
		if f.Err != nil {
			errs[f.Queue] = f.Err
		}
	}
	var list []WorkerQueue
	for _, name := range names.all() {
		list = append(list, WorkerQueue{Queue: name, Err: errs[name]})
	}
	return list, nil
}
