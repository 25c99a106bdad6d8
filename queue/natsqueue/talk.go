package natsqueue

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"ferry/queue"
)

// Bounds of what may wait between broker and workers.
const (
	signalsWaiting = 1024
	signalBytes    = 16 << 20
	servedAtOnce   = 64
	asksWaiting    = 4096
	askBytes       = 16 << 20
)

func (d *driver) Signal(ctx context.Context, worker string, data []byte) error {
	if err := d.onlyBroker(); err != nil {
		return err
	}
	if _, err := d.link.ready(ctx); err != nil {
		return err
	}
	return d.link.wrap(d.link.nc.Publish(signalSubject+worker, data))
}

func (d *driver) Listen(ctx context.Context, fn func(data []byte)) (func(), error) {
	if _, err := d.link.ready(ctx); err != nil {
		return nil, err
	}
	var busy sync.Mutex // held while fn runs: stop waits for it
	stopped := false
	sub, err := d.link.nc.Subscribe(signalSubject+d.worker, func(m *nats.Msg) {
		busy.Lock()
		defer busy.Unlock()
		if !stopped {
			fn(m.Data)
		}
	})
	if err != nil {
		return nil, d.link.wrap(err)
	}
	if err := sub.SetPendingLimits(signalsWaiting, signalBytes); err != nil {
		return nil, d.link.wrap(err)
	}
	if err := d.settleSubscription(ctx); err != nil {
		_ = sub.Unsubscribe()
		return nil, err
	}
	stop := sync.OnceFunc(func() {
		_ = sub.Unsubscribe() // fails only when the connection is closed
		busy.Lock()
		stopped = true
		busy.Unlock()
	})
	d.onClose(stop)
	return stop, nil
}

// settleSubscription waits until the server has seen what was sent before.
func (d *driver) settleSubscription(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	return d.link.wrap(d.link.nc.FlushWithContext(ctx))
}

func (d *driver) Request(ctx context.Context, data []byte) ([]byte, error) {
	return d.ask(ctx, askSubject+d.worker, data)
}

// ask sends a question and waits for the answer. A denial of the subject is
// ErrUnauthorized at once; without an answer it ends after answerTimeout.
func (d *driver) ask(ctx context.Context, subject string, data []byte) ([]byte, error) {
	down, err := d.link.ready(ctx)
	if err != nil {
		return nil, err
	}
	bounded, stop := context.WithTimeout(ctx, answerTimeout)
	defer stop()
	asking, cancel := context.WithCancelCause(bounded)
	defer cancel(nil)
	defer d.link.watchFor(subject, func(string) { cancel(queue.ErrUnauthorized) })()
	answered := make(chan struct{})
	defer close(answered)
	go func() { // a lost connection loses the answer
		select {
		case <-down:
			cancel(queue.ErrUnavailable)
		case <-d.link.closed:
			cancel(queue.ErrClosed)
		case <-answered:
		}
	}()
	m, err := d.link.nc.RequestWithContext(asking, subject, data)
	switch {
	case err == nil:
		return m.Data, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case bounded.Err() != nil:
		return nil, fmt.Errorf("%s: no answer within %s: %w", subject, answerTimeout, queue.ErrUnavailable)
	case asking.Err() != nil:
		return nil, fmt.Errorf("%s: %w", subject, context.Cause(asking))
	default:
		return nil, d.link.wrap(err)
	}
}

func (d *driver) Serve(ctx context.Context, fn func(ctx context.Context, from string, data []byte) []byte) (func(), error) {
	if err := d.onlyBroker(); err != nil {
		return nil, err
	}
	if _, err := d.link.ready(ctx); err != nil {
		return nil, err
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	slots := make(chan struct{}, servedAtOnce)
	var group sync.WaitGroup
	sub, err := d.link.nc.Subscribe(askSubject+"*", func(m *nats.Msg) {
		from := lastToken(m.Subject)
		if from == "" { // another broker asks whether one is here
			if err := m.Respond([]byte(d.link.name)); err != nil {
				d.log.Warn("queue.question", "error", err.Error())
			}
			return
		}
		if !strings.HasPrefix(m.Reply, inboxOf+from+".") {
			// An answer may go nowhere but to who asked: the broker's rights to
			// publish are not the worker's.
			d.log.Warn("queue.question", "worker", from, "error", "it asks for an answer elsewhere")
			return
		}
		select {
		case slots <- struct{}{}:
		case <-serving.Done():
			return
		}
		group.Go(func() {
			defer func() { <-slots }()
			if err := m.Respond(fn(serving, from, m.Data)); err != nil && serving.Err() == nil {
				d.log.Warn("queue.question", "worker", from, "error", err.Error())
			}
		})
	})
	if err == nil {
		err = sub.SetPendingLimits(asksWaiting, askBytes)
	}
	if err != nil {
		cancel()
		return nil, d.link.wrap(err)
	}
	if err := d.settleSubscription(ctx); err != nil {
		cancel()
		_ = sub.Unsubscribe()
		return nil, err
	}
	stop := sync.OnceFunc(func() {
		_ = sub.Unsubscribe() // fails only when the connection is closed
		cancel()
		group.Wait()
	})
	d.onClose(stop)
	return stop, nil
}
