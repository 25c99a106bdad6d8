// Package broker is the server as a value: it takes messages into the ledger,
// hands them to the queue within a window, commits what workers report, and
// carries out what operators ask for.
//
// The ledger is the truth; the queue can be lost at any moment and is filled
// again from the ledger. Everything here can be stopped between any two lines:
// what was not committed was not promised.
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"ferry"
	"ferry/queue"
	"ferry/store"
	"ferry/trace"
)

// Transport is the queue as the broker runs it: the queue itself, and who may
// log in to it.
type Transport interface {
	Queue() *queue.Queue
	// NewLogin makes credentials for a worker: what the queue checks, and the
	// secret that only the worker gets.
	NewLogin() (public, seed string, err error)
	// SetWorkers replaces who may log in and for which routes. Connections of
	// those who no longer may are cut at once; the others keep theirs.
	SetWorkers(workers []ferry.WorkerInfo) error
	Close(ctx context.Context) error
}

// LoginElsewhere is a Transport whose logins the operator of its server makes and
// removes: SetWorkers changes nothing there.
type LoginElsewhere interface {
	// LoginConfig is what that operator adds for the worker; it holds no secret.
	LoginConfig(w ferry.WorkerInfo) (string, error)
}

// Connected is a Transport that knows who is connected.
type Connected interface {
	// Connections lists those of the workers, by public nkey.
	Connections() map[string][]ferry.WorkerConnection
}

// WorkerConfig is a Transport that knows what its workers' worker.yaml says of the
// queue. nkey is where the worker's seed lies.
type WorkerConfig interface {
	WorkerConfig(nkey string) string
}

// Options of New.
type Options struct {
	DataDir     string
	Environment string
	Version     string
	// PublicURL is what the addresses begin with that destinations call back;
	// empty: none is given out.
	PublicURL string
	Routes    []ferry.Route
	Log       *slog.Logger

	// BodyRefs opens bodies that senders name by URL; nil: none is taken.
	BodyRefs BodyRefs

	// OpenTransport starts the queue for the workers that the ledger knows.
	OpenTransport func(ctx context.Context, workers []ferry.WorkerInfo) (Transport, error)

	// Retention is that of routes which say nothing themselves; see ferry.Retention.
	// No message is removed within IdempotencyWindow.
	Retention         ferry.Retention
	IdempotencyWindow time.Duration
	MinFree           int64 // see store.Options

	// Tellers tell the ends of messages to who asked for them, by kind.
	Tellers map[string]Teller
	// Caller says which addresses may be called back, by Tellers of the kinds
	// ferry.ReplyCallback and ferry.ReplySubscription; nil: none.
	Caller Caller
	// Intake says how a route's intake from a queue elsewhere stands, nil when it has
	// none.
	Intake func(route string) *ferry.IntakeInfo

	// Certificate tells of the listener's certificate; nil: it has none.
	Certificate func() *ferry.CertificateInfo
	// Problems are more sentences for the status report, nil: none.
	Problems func() []string
	// Checks are what the doctor looks at beside the broker's own; nil: nothing more.
	Checks func(ctx context.Context) []ferry.Check
	// Collectors are more metrics.
	Collectors []prometheus.Collector
	// Tracer makes spans of messages' ways; nil: none are made.
	Tracer *trace.Tracer
	// Operators says whom to tell what needs the people who run the broker.
	Operators Operators

	// SilentAfter is how long a turn that left the queue may stay without a
	// receipt before it is published again. Default 30 s.
	SilentAfter time.Duration
	// NoWorkerAfter is how long a worker may stay unheard before its routes say
	// noWorker. Default 30 s.
	NoWorkerAfter time.Duration

	// FileID tells the ledger's file from a copy of it: see store.Options. Tests that
	// copy the file to play a kill say that it is the same.
	FileID func(path string) (uint64, error)
	// BeforeCommit and AfterCommit are called around each commit of the ledger, on
	// its goroutine: a simulation stops the world there.
	BeforeCommit, AfterCommit func()
}

// Broker is a running broker between Start and Stop.
type Broker struct {
	opts      Options
	log       *slog.Logger
	ledger    *store.Ledger
	transport Transport
	queue     *queue.Queue
	table     atomic.Pointer[table] // of routes
	fleet     *fleet
	metrics   *metrics
	startedAt time.Time
	published atomic.Uint64 // publications, for fresh suffixes
	receipts  receiptChannel
	bodies    *carrier
	away      absence
	waiting   atomic.Int64 // receives that wait
	outbox    *outbox
	usage     *usage
	file      *ledgerFile
	holds     holds
	reports   reports
	proving   chan struct{} // a token for the proof under way
	admitting chan struct{} // a token for who tells the queue of workers
	telling   atomic.Pointer[Operators]

	confirmKey, resultKey, callbackKey []byte // they make tokens

	changing  sync.Mutex      // around a change of the table
	runCtx    context.Context // of what Start began; nil before
	caughtUp  chan struct{}   // closed when relays may begin
	drainOnes chan struct{}   // see drainRoute

	stop     context.CancelFunc
	stopping chan struct{} // closed when Stop begins
	running  sync.WaitGroup
	once     sync.Once
	bulk     chan struct{} // wakes the runner of operations
	peeks    chan struct{} // a token per large body in memory for a look inside
}

// New opens the ledger in DataDir and starts the queue. Nothing is delivered
// before Start. Errors are *ferry.Error where a person can mend them.
func New(ctx context.Context, opts Options) (*Broker, error) {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&opts.IdempotencyWindow, ferry.IdempotencyWindow)
	setDefault(&opts.SilentAfter, 30*time.Second)
	setDefault(&opts.NoWorkerAfter, 30*time.Second)
	if opts.Problems == nil {
		opts.Problems = func() []string { return nil }
	}
	if opts.Intake == nil {
		opts.Intake = func(string) *ferry.IntakeInfo { return nil }
	}
	opts.PublicURL = strings.TrimRight(opts.PublicURL, "/")

	b := &Broker{
		opts: opts, log: opts.Log, bulk: make(chan struct{}, 1), peeks: make(chan struct{}, maxPeeks),
		caughtUp: make(chan struct{}), drainOnes: make(chan struct{}, drainAtOnce), proving: make(chan struct{}, 1),
		admitting: make(chan struct{}, 1), stopping: make(chan struct{}), startedAt: time.Now().UTC(), holds: holds{wake: make(chan struct{}, 1)},
	}
	b.SetOperators(opts.Operators)
	b.bodies = newCarrier(b)
	b.fleet = newFleet(opts.NoWorkerAfter)
	b.outbox = newOutbox(b)
	b.usage = newUsage(func(route string) bool { _, ok := b.route(route); return ok })
	b.metrics = newMetrics(b)
	b.file = newLedgerFile(b)
	b.metrics.registry.MustRegister(b.file)
	routes, err := b.compileAll(opts.settings(), nil)
	if err != nil {
		return nil, err
	}
	b.table.Store(routes)
	ledger, err := store.Open(opts.DataDir, store.Options{
		Log: opts.Log, IdempotencyWindow: opts.IdempotencyWindow, MinFree: opts.MinFree,
		Notify: b.changed, Windows: b.windowsOf, OnNotice: b.outbox.noted, OnOperation: b.nudgeOperations, OnCommit: b.metrics.commit, OnEnd: b.metrics.ended, FileID: opts.FileID, BeforeCommit: opts.BeforeCommit, AfterCommit: opts.AfterCommit,
	})
	if err != nil {
		return nil, err
	}
	b.ledger = ledger
	if err := b.openTokenKeys(ctx); err != nil {
		return nil, errors.Join(err, ledger.Close())
	}
	if err := b.open(ctx); err != nil {
		return nil, errors.Join(err, ledger.Close())
	}
	return b, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func (b *Broker) open(ctx context.Context) error {
	if err := b.keepRetired(); err != nil {
		return atStart(err)
	}
	for _, name := range b.names() {
		if err := b.ledger.EnsureRoute(ctx, name); err != nil {
			return atStart(err)
		}
		r, _ := b.route(name)
		if err := b.setMode(ctx, r); err != nil {
			return err
		}
	}
	if err := b.ledger.KeepRoutes(ctx, b.table.Load().configured()); err != nil {
		return atStart(err)
	}
	if err := b.settleHolds(ctx); err != nil {
		return atStart(err)
	}
	transport, err := b.opts.OpenTransport(ctx, b.ledger.Workers())
	if err != nil {
		return b.queueAtStart(err)
	}
	b.transport, b.queue = transport, transport.Queue()
	b.bodies.store = b.queue.Bodies()
	if _, err := b.queue.Ensure(ctx, b.names()); err != nil {
		return errors.Join(b.queueAtStart(fmt.Errorf("make the queue's channels: %w", err)), transport.Close(ctx))
	}
	if err := b.sweepReceipts(ctx); err != nil {
		return errors.Join(b.queueAtStart(fmt.Errorf("ask how far the queue is: %w", err)), transport.Close(ctx))
	}
	if err := b.beginRelays(ctx); err != nil {
		return errors.Join(b.queueAtStart(fmt.Errorf("ask how far the queue is: %w", err)), transport.Close(ctx))
	}
	return nil
}

// beginRelays has every route's channel looked at, several at a time: each may be
// a few round trips to a queue that is far away.
func (b *Broker) beginRelays(ctx context.Context) error {
	const atATime = 16
	names := b.names()
	errs := make([]error, len(names))
	slots := make(chan struct{}, atATime)
	var group sync.WaitGroup
	for i, name := range names {
		r, _ := b.route(name)
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			errs[i] = r.relay.begin(ctx)
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err // of one queue: they are alike
		}
	}
	return nil
}

// setMode tells the ledger how the route is delivered.
func (b *Broker) setMode(ctx context.Context, r *route) error {
	if r.Pull {
		return b.ledger.SetPull(ctx, r.Name)
	}
	return b.ledger.SetSeveral(ctx, r.Name, r.Several)
}

// atStart says what to do now to who started the broker: the hints of the ledger
// are for senders.
func atStart(err error) error {
	switch ferry.CodeOf(err) {
	case ferry.CodeNoSpace:
		return ferry.Errorf(ferry.CodeNoSpace, "the disk is full: %w", err).WithHint("make room and start again: nothing that was accepted was touched")
	case ferry.CodeLedgerUnavailable:
		return ferry.Errorf(ferry.CodeLedgerUnavailable, "%w", err).
			WithHint("look at the disk and at the system's log, and start again once the disk reads and writes: the ledger is copied into a new, checked file first")
	}
	return err
}

// queueAtStart says what to do about a queue that does not start. It holds nothing
// that the ledger does not have.
func (b *Broker) queueAtStart(err error) error {
	var known *ferry.Error
	if errors.As(err, &known) {
		return err
	}
	return ferry.Errorf(ferry.CodeInternal, "the queue does not start: %w", err).
		WithHint("is the disk of %s full, or read-only? mend that and start again; if it still does not start, move the folder queue away: it is filled again from the ledger", b.opts.DataDir)
}

// Start begins to hand out messages and to commit receipts.
func (b *Broker) Start() error {
	ctx, cancel := context.WithCancel(context.Background())
	b.stop, b.runCtx = cancel, ctx
	stopServing, err := b.queue.Serve(ctx, workers{b})
	if err != nil {
		cancel()
		return fmt.Errorf("answer the workers: %w", err)
	}
	b.goRun(func() {
		<-ctx.Done()
		stopServing()
	})
	b.goRun(func() {
		defer close(b.caughtUp)
		b.catchUp(ctx)
	})
	for _, r := range b.table.Load().routes {
		b.runRelay(r)
	}
	b.goRun(func() { b.takeReceipts(ctx) })
	b.drainReceipts(ctx)
	b.goRun(func() { b.sweep(ctx) })
	b.goRun(func() { b.sweepClaims(ctx) })
	b.goRun(func() { b.janitor(ctx) })
	b.goRun(func() { b.keepHolds(ctx) })
	b.goRun(func() { b.keepUsage(ctx) })
	b.goRun(func() { b.bodies.run(ctx) })
	b.goRun(func() { b.runOperations(ctx) })
	b.goRun(func() { b.outbox.run(ctx) })
	b.goRun(func() { b.file.run(ctx) })
	b.goRun(func() { b.watchForOperators(ctx) })
	return nil
}

func (b *Broker) goRun(f func()) {
	b.running.Add(1)
	go func() {
		defer b.running.Done()
		f()
	}()
}

// Stop ends everything that Start began, then the queue, then the ledger. What
// was accepted stays in the ledger; receipts that were not committed stay in
// the queue.
func (b *Broker) Stop(ctx context.Context) error {
	var err error
	b.once.Do(func() {
		b.changing.Lock() // a new configuration is all in place, or not begun
		close(b.stopping)
		b.changing.Unlock()
		if b.stop != nil {
			b.stop()
		}
		b.running.Wait()
		b.keepKeyUse(ctx)
		if err := b.writeUsage(ctx); err != nil {
			b.log.Warn("usage.write", "error", err.Error(), "next", "the counts of the last seconds are lost")
		}
		err = errors.Join(b.transport.Close(ctx), b.ledger.Close())
	})
	return err
}

// StartID names this run of the broker.
func (b *Broker) StartID() string { return b.ledger.StartID() }

// Metrics serves the broker's metrics for Prometheus.
func (b *Broker) Metrics() http.Handler { return b.metrics.handler() }

// Ready says why messages cannot be accepted: never the queue, nor a destination.
func (b *Broker) Ready(context.Context) error { return b.ledger.Err() }

// Room says why a message with a body of size bytes cannot be accepted now, nil
// when it can. It writes: it is for who had one refused, before the next.
func (b *Broker) Room(ctx context.Context, size int64) error { return b.ledger.Room(ctx, size) }

// changed is told by the ledger what a commit made ready or ended.
func (b *Broker) changed(changes []store.Change) {
	b.bodies.note(changes)
	for i := range changes {
		if r, ok := b.route(changes[i].Route); ok {
			if r.Pull {
				r.receivers.nudge()
				continue
			}
			r.relay.note(&changes[i])
		}
	}
}

// continueAfterDead says whether a route's ordering keys go on behind a dead letter.
func (b *Broker) continueAfterDead(name string) bool {
	r, ok := b.route(name)
	return ok && r.OnDeadLetter == "continue"
}

func (b *Broker) ownerOf(name string) string {
	if r, ok := b.route(name); ok && r.Owner != nil {
		return r.Owner.Name
	}
	return ""
}
