package worker

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
	"ferry/internal/commit"
	"ferry/queue"
	"ferry/trace"
)

// Options of New.
type Options struct {
	Name    string // as the broker knows the worker
	Version string
	// Queue is the connection to the broker. The worker does not close it.
	Queue    *queue.Queue
	InboxDir string // folder of the inbox; made when missing
	Routes   []Route
	Log      *slog.Logger  // none: nothing is logged
	Metrics  *Metrics      // none: nothing is measured
	Tracer   *trace.Tracer // none: no spans are made

	// FileID tells the inbox's file from a copy of it; none: by the number that the
	// file system gave it. Tests that copy the file to play a kill say that it is the
	// same.
	FileID func(path string) (uint64, error)
	// BeforeCommit and AfterCommit are called around each commit of the inbox, on its
	// goroutine: a simulation stops the world there.
	BeforeCommit, AfterCommit func()
	// Jitter draws from [0, 1) where messages must not come back together; none: at
	// random.
	Jitter func() float64
}

// Worker delivers the messages of its routes. It is made by New, started once
// and stopped once.
type Worker struct {
	opts      Options
	simulated bool   // the pauses are drawn by Options.Jitter
	run       string // names this run
	queue     *queue.Queue
	log       *slog.Logger
	routes    []*route
	dests     []*Dest
	inbox     *inbox
	spool     *spool
	teller    *teller
	alone     alone
	unsure    unsure

	receiveCtx, callCtx, ioCtx          context.Context // end in this order
	stopReceive, stopCalls, stopIO      context.CancelFunc
	loops, deliveries, talkers, tellers sync.WaitGroup
	stopListen                          func()
	reporting                           atomic.Bool // a question of the broker is being answered

	parting chan struct{} // a token per delivery out of hand that waits for the queue only

	helloSoon  chan struct{}
	resendSoon chan struct{}

	mu          sync.Mutex
	started     bool
	stopped     bool
	brokerStart string    // the broker's run that answered last
	answered    time.Time // when it last did
	resendAll   time.Time // results sent before it are due
	helloWas    string    // the last trouble with hello, to log changes only
}

// New checks the options and opens the inbox. Close the worker by Stop, also
// when it was never started.
func New(opts Options) (*Worker, error) {
	if err := ferry.ValidName("worker", opts.Name); err != nil {
		return nil, err
	}
	if opts.Queue == nil || opts.InboxDir == "" {
		return nil, errors.New("a worker needs a queue and a folder for its inbox")
	}
	if len(opts.Routes) == 0 || len(opts.Routes) > ferry.MaxRoutes {
		return nil, fmt.Errorf("a worker needs 1 to %d routes, and has %d", ferry.MaxRoutes, len(opts.Routes))
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	simulated := opts.Jitter != nil
	if !simulated {
		opts.Jitter = rand.Float64
	}
	w := &Worker{
		opts: opts, simulated: simulated, run: cryptorand.Text(), queue: opts.Queue, log: opts.Log, teller: newTeller(opts.Queue),
		helloSoon: make(chan struct{}, 1), resendSoon: make(chan struct{}, 1),
		parting: make(chan struct{}, partingAtOnce),
	}
	w.ioCtx, w.stopIO = context.WithCancel(context.Background())
	w.callCtx, w.stopCalls = context.WithCancel(w.ioCtx)
	w.receiveCtx, w.stopReceive = context.WithCancel(w.callCtx)
	if err := w.addRoutes(); err != nil {
		w.stopIO()
		return nil, err
	}
	inbox, err := openInbox(opts.InboxDir, commit.Options{
		Log: opts.Log, Before: opts.BeforeCommit, After: opts.AfterCommit,
	}, opts.FileID)
	if err != nil {
		w.stopIO()
		return nil, err
	}
	w.inbox = inbox
	if w.spool, err = openSpool(opts.InboxDir); err != nil {
		w.stopIO()
		return nil, errors.Join(err, inbox.close())
	}
	opts.Metrics.watch(w)
	for _, d := range w.dests {
		if err := d.remember(inbox); err != nil {
			w.log.Warn("refusal.read", "destination", d.opts.Name, "error", err.Error())
		}
	}
	return w, nil
}

func (w *Worker) addRoutes() error {
	names, dests := map[string]bool{}, map[*Dest]bool{}
	for _, r := range w.opts.Routes {
		if err := r.complete(); err != nil {
			return err
		}
		if names[r.Name] {
			return fmt.Errorf("the route %s is there twice", r.Name)
		}
		names[r.Name] = true
		at := newRoute(r, w.opts.Metrics.of(r.Name))
		w.routes = append(w.routes, at)
		d := r.Destination
		at.place = d.join(at.poke)
		if !dests[d] {
			dests[d] = true
			w.dests = append(w.dests, d)
			d.pokes = append(d.pokes, w.helloNow)
			d.log, d.tracer = w.log, w.opts.Tracer
		}
	}
	return nil
}

// Inbox is the identity of the worker's inbox, which the broker binds routes to.
func (w *Worker) Inbox() string { return w.inbox.identity }

// Unconfirmed counts the results whose commit the broker has not confirmed: they
// are told again until it does.
func (w *Worker) Unconfirmed() int { return w.inbox.unconfirmed() }

// Start begins to deliver and returns. The broker may be out of reach: the
// worker goes on trying.
func (w *Worker) Start(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started || w.stopped {
		return errors.New("the worker was started or stopped before")
	}
	stop, err := w.queue.Listen(ctx, w.hear)
	if err != nil {
		return err
	}
	w.started, w.stopListen = true, stop
	w.tellers.Go(func() { w.teller.loop(w.ioCtx) })
	w.talkers.Go(func() { w.helloLoop(w.receiveCtx) })
	w.talkers.Go(func() { w.resendLoop(w.receiveCtx) })
	w.talkers.Go(func() { w.keepLoop(w.receiveCtx) })
	w.talkers.Go(func() { w.compactLoop(w.receiveCtx) })
	for _, d := range w.dests {
		w.talkers.Go(func() { d.watch(w.receiveCtx) })
	}
	for _, r := range w.routes {
		w.loops.Go(func() { w.loop(w.receiveCtx, r) })
	}
	return nil
}

// stopGrace is how long results of calls that were cut short may take to be
// recorded, after the time that Stop was given.
const stopGrace = 3 * time.Second

// Stop drains: nothing more is received, what is not begun is given back,
// running calls end and their results are recorded and reported. When ctx ends
// first the calls are cut; the error says so, and their outcomes are on record
// as unknown.
func (w *Worker) Stop(ctx context.Context) error {
	w.mu.Lock()
	started, stopped := w.started, w.stopped
	w.stopped = true
	w.mu.Unlock()
	if stopped {
		return errors.New("the worker was stopped before")
	}
	w.stopReceive()
	var err error
	if started {
		err = w.drain(ctx)
		w.stopListen()
	}
	w.talkers.Wait()
	if started {
		w.goodbye()
	}
	if err == nil {
		err = w.inbox.writeConfirmed(w.ioCtx)
	}
	w.stopIO()
	close(w.teller.quit)
	w.tellers.Wait()
	return errors.Join(err, w.inbox.close())
}

func (w *Worker) drain(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		w.loops.Wait()
		w.deliveries.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	w.stopCalls()
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		w.stopIO()
		<-ended
	}
	return fmt.Errorf("calls were cut while the worker stopped: %w", ctx.Err())
}

// Run starts the worker, waits for ctx to end, and drains for at most drain.
func (w *Worker) Run(ctx context.Context, drain time.Duration) error {
	if err := w.Start(ctx); err != nil {
		return errors.Join(err, w.Stop(context.WithoutCancel(ctx)))
	}
	<-ctx.Done()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	return w.Stop(bounded)
}

func (w *Worker) draining() bool { return w.receiveCtx.Err() != nil }

// complete and giveBack end a delivery. A failure only means that it comes
// again, which the inbox knows how to take.
func (w *Worker) complete(d *queue.Delivery) { w.settled("complete", d, d.Complete(w.ioCtx)) }

func (w *Worker) giveBack(d *queue.Delivery) {
	w.log.Debug("delivery.released", "route", d.HandOut.Route, "message", d.HandOut.ID)
	w.settled("release", d, d.Release(w.ioCtx))
}

func (w *Worker) settled(verb string, d *queue.Delivery, err error) {
	if err != nil && !errors.Is(err, queue.ErrLockLost) {
		w.log.Warn("delivery.settle", "verb", verb, "route", d.HandOut.Route, "message", d.HandOut.ID, "error", err.Error())
	}
}
