package sbqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/servicebus"
	"ferry/queue"
)

const (
	toldAtOnce     = 64  // of the worker's queue, received in one go
	signalsWaiting = 256 // beyond, signals are lost
	asksAtOnce     = 4096
)

// ear receives what the broker tells the worker: it starts with the first question
// or listener, and ends with the connection.
type ear struct {
	mu      sync.Mutex
	running bool
	trouble error // of the last receive; nil when it went well
	// waiting has the questions by id; nil for an answer: it cannot be received.
	waiting   map[string]chan<- *azservicebus.ReceivedMessage
	listeners []*listener
}

// listener is one Listen.
type listener struct {
	signals chan []byte
	quit    chan struct{}
	done    chan struct{}
}

// Listen hands signals to fn. They wait in the worker's queue for a minute.
func (w *Worker) Listen(ctx context.Context, fn func(data []byte)) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &listener{signals: make(chan []byte, signalsWaiting), quit: make(chan struct{}), done: make(chan struct{})}
	if !w.run(func() { l.run(fn) }) {
		return nil, queue.ErrClosed
	}
	w.ear.mu.Lock()
	w.ear.listeners = append(w.ear.listeners, l)
	w.ear.mu.Unlock()
	stop := sync.OnceFunc(func() {
		w.ear.mu.Lock()
		w.ear.listeners = slices.DeleteFunc(w.ear.listeners, func(other *listener) bool { return other == l })
		w.ear.mu.Unlock()
		close(l.quit)
		<-l.done
	})
	w.onClose(stop)
	w.listen()
	return stop, nil
}

func (l *listener) run(fn func(data []byte)) {
	defer close(l.done)
	for {
		select {
		case <-l.quit:
			return
		case data := <-l.signals:
			fn(data)
		}
	}
}

// Request puts a signed question into the broker's queue and waits for the answer
// in the worker's own. A question that nobody takes expires.
func (w *Worker) Request(ctx context.Context, data []byte) ([]byte, error) {
	during, end, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	queueName := w.names.questions()
	id := rand.Text()
	m := &azservicebus.Message{MessageID: &id, Body: data, TimeToLive: new(answerTimeout)}
	w.signer.sign(queueName, m)
	answer, forget, err := w.expect(id)
	if err != nil {
		return nil, err
	}
	defer forget()
	w.listen()
	bounded, cancel := context.WithTimeout(during, answerTimeout)
	defer cancel()
	if err := w.sendFresh(bounded, queueName, []*azservicebus.Message{m}); err != nil {
		if during.Err() == nil && bounded.Err() != nil {
			return nil, w.unanswered()
		}
		return nil, w.wrap(ctx, err)
	}
	select {
	case a := <-answer:
		if a == nil {
			return nil, w.unanswered()
		}
		if a.ApplicationProperties[answerProperty] == answerUnauthorized {
			return nil, fmt.Errorf("the broker does not know this worker, or not under this key: %w", queue.ErrUnauthorized)
		}
		return a.Body, nil
	case <-bounded.Done():
		if during.Err() == nil {
			return nil, w.unanswered()
		}
		return nil, w.wrap(ctx, during.Err())
	}
}

// expect waits for the answer to one question.
func (w *Worker) expect(id string) (<-chan *azservicebus.ReceivedMessage, func(), error) {
	w.ear.mu.Lock()
	defer w.ear.mu.Unlock()
	if len(w.ear.waiting) >= asksAtOnce {
		return nil, nil, fmt.Errorf("%d questions wait for their answers: %w", asksAtOnce, queue.ErrUnavailable)
	}
	answer := make(chan *azservicebus.ReceivedMessage, 1)
	w.ear.waiting[id] = answer
	return answer, func() {
		w.ear.mu.Lock()
		defer w.ear.mu.Unlock()
		delete(w.ear.waiting, id)
	}, nil
}

// unanswered says why no answer came, as far as is known.
func (w *Worker) unanswered() error {
	w.ear.mu.Lock()
	trouble := w.ear.trouble
	w.ear.mu.Unlock()
	if trouble != nil {
		return fault{kindOf(trouble), fmt.Errorf("the answers cannot be received: %w", trouble)}
	}
	return fmt.Errorf("no answer from the broker within %s: %w", answerTimeout, queue.ErrUnavailable)
}

// listen starts the ear.
func (w *Worker) listen() {
	w.ear.mu.Lock()
	started := w.ear.running
	w.ear.running = true
	w.ear.mu.Unlock()
	if !started {
		w.run(w.hear)
	}
}

func (w *Worker) hear() {
	queueName := w.names.worker(w.signer.worker)
	r := w.client.Receiver(queueName, servicebus.ReceiverOptions{Delete: true})
	defer closeReader(w.conn, r)
	var told seldom
	for w.ctx.Err() == nil {
		list, err := r.Receive(w.ctx, toldAtOnce)
		w.ear.mu.Lock()
		w.ear.trouble = err
		for _, m := range list {
			w.ear.take(m)
		}
		if errors.Is(err, servicebus.ErrNotFound) || errors.Is(err, servicebus.ErrUnauthorized) {
			w.ear.giveUp()
		}
		w.ear.mu.Unlock()
		if err != nil && w.ctx.Err() == nil {
			w.conn.trouble(w.ctx, &told, queueName, err)
		}
	}
}

// take hands on what came; the ear's mutex is held. What nobody waits for is of a
// question that was given up, or of an earlier life of the worker.
func (e *ear) take(m *azservicebus.ReceivedMessage) {
	switch {
	case m.Subject == nil:
	case *m.Subject == answerSubject && m.CorrelationID != nil:
		if answer := e.waiting[*m.CorrelationID]; answer != nil {
			delete(e.waiting, *m.CorrelationID)
			answer <- m
		}
	case *m.Subject == signalSubject:
		for _, l := range e.listeners {
			select {
			case l.signals <- m.Body:
			default:
			}
		}
	}
}

// giveUp ends the waiting for answers that cannot be received, which time alone does
// not mend; the ear's mutex is held.
func (e *ear) giveUp() {
	for id, answer := range e.waiting {
		delete(e.waiting, id)
		answer <- nil
	}
}

// errOnlyBroker refuses what the broker alone may do, before anything is sent.
var errOnlyBroker = fmt.Errorf("only the broker may do this: %w", queue.ErrUnauthorized)

// Progress is the broker's.
func (w *Worker) Progress(context.Context, queue.Address) (queue.Progress, error) {
	return queue.Progress{}, errOnlyBroker
}

// Ensure is the broker's.
func (w *Worker) Ensure(context.Context, queue.Address) (bool, error) { return false, errOnlyBroker }

// Signal is the broker's.
func (w *Worker) Signal(context.Context, string, []byte) error { return errOnlyBroker }

// Serve is the broker's.
func (w *Worker) Serve(context.Context, func(context.Context, string, []byte) []byte) (func(), error) {
	return nil, errOnlyBroker
}

// errOnlyWorker refuses what the broker does not do: it asks nobody.
var errOnlyWorker = errors.New("only workers ask and listen")

// Request is the workers'.
func (b *Broker) Request(context.Context, []byte) ([]byte, error) { return nil, errOnlyWorker }

// Listen is the workers'.
func (b *Broker) Listen(context.Context, func([]byte)) (func(), error) { return nil, errOnlyWorker }

var (
	_ queue.Driver = (*Worker)(nil)
	_ queue.Driver = (*Broker)(nil)
)
