package sbqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/internal/servicebus"
	"ferry/queue"
)

// What the broker tells a worker lies in that worker's own queue: answers to its
// questions, and signals. Nobody waits for what is old, so both expire there.
const (
	answerSubject = "answer"
	signalSubject = "signal"
	// answerProperty says how a question was answered.
	answerProperty     = "ferry-answer"
	answerGiven        = "given"
	answerUnauthorized = "unauthorized"

	signalLife = time.Minute
	// servedAtOnce bounds the questions that are answered at a time; what more there
	// is waits in the queue, until nobody waits for its answer.
	servedAtOnce = 64
	askedAtOnce  = 16 // questions received in one go
	// faultPause is between two tries to receive what is asked or told.
	faultPause     = time.Second
	faultPauseLong = 10 * time.Second // where a person has to do something first
)

// Signal puts a signal into the worker's queue. Nobody may be there to hear it.
func (b *Broker) Signal(ctx context.Context, worker string, data []byte) error {
	if err := ferry.ValidName("worker", worker); err != nil {
		return err
	}
	return b.tell(ctx, worker, &azservicebus.Message{Subject: new(signalSubject), Body: data, TimeToLive: new(signalLife)})
}

// tell sends to a worker, and makes its queue where it is missing and the broker
// may.
func (b *Broker) tell(ctx context.Context, worker string, m *azservicebus.Message) error {
	during, end, err := b.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	m.MessageID = new(rand.Text())
	queueName := b.names.worker(worker)
	err = b.send(ctx, during, queueName, []*azservicebus.Message{m})
	if errors.Is(err, queue.ErrNotFound) && b.directory.hears(worker) {
		if made, _ := b.ensureQueue(during, b.names.brokersWorker(worker)); made {
			err = b.send(ctx, during, queueName, []*azservicebus.Message{m})
		}
	}
	return err
}

// Serve answers what workers ask, each by its signature.
func (b *Broker) Serve(ctx context.Context, fn func(ctx context.Context, from string, data []byte) []byte) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &server{b: b, fn: fn, slots: make(chan struct{}, servedAtOnce)}
	ended := make(chan struct{})
	if !b.run(func() { defer close(ended); s.run(serving) }) {
		cancel()
		return nil, queue.ErrClosed
	}
	stop := sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	b.onClose(stop)
	return stop, nil
}

// server is one Serve.
type server struct {
	b     *Broker
	fn    func(ctx context.Context, from string, data []byte) []byte
	slots chan struct{}
	group sync.WaitGroup
}

// run receives what is asked until ctx ends, and then waits for the answers under
// way.
func (s *server) run(ctx context.Context) {
	defer s.group.Wait()
	queueName := s.b.names.questions()
	r := s.b.client.Receiver(queueName, servicebus.ReceiverOptions{Delete: true})
	defer closeReader(s.b.conn, r)
	var told seldom
	for ctx.Err() == nil {
		n := s.takeSlots(ctx)
		list, err := r.Receive(ctx, max(n, 1))
		for range n - len(list) {
			<-s.slots
		}
		for _, m := range list {
			s.group.Go(func() {
				defer func() { <-s.slots }()
				s.answer(ctx, m)
			})
		}
		if err != nil && ctx.Err() == nil {
			s.b.trouble(ctx, &told, queueName, err)
		}
	}
}

// takeSlots takes one slot, waiting for it, and a few more that are free.
func (s *server) takeSlots(ctx context.Context) int {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for n := 1; n < askedAtOnce; n++ {
		select {
		case s.slots <- struct{}{}:
		default:
			return n
		}
	}
	return askedAtOnce
}

func (s *server) answer(ctx context.Context, m *azservicebus.ReceivedMessage) {
	queueName := s.b.names.questions()
	from, err := s.b.directory.sender(queueName, m)
	reply := &azservicebus.Message{
		Subject: new(answerSubject), CorrelationID: new(m.MessageID), TimeToLive: new(answerTimeout),
		ApplicationProperties: map[string]any{answerProperty: answerGiven},
	}
	if err != nil {
		s.b.refuse(queueName, from, err)
		if !s.b.directory.knows(from) {
			return // there is no queue to answer to
		}
		// It may not be the worker that asked. Then nobody there waits for this answer.
		reply.ApplicationProperties[answerProperty] = answerUnauthorized
	} else {
		reply.Body = s.fn(ctx, from, m.Body)
	}
	if err := s.b.tell(ctx, from, reply); err != nil && ctx.Err() == nil {
		s.b.log.Warn("queue.question", "worker", from, "error", err.Error())
	}
}

// trouble waits after a fault of a queue that is received from, and says what it
// was.
func (c *conn) trouble(ctx context.Context, told *seldom, queueName string, err error) {
	if _, speak := told.ok(); speak {
		c.log.Warn("queue.receive", "queue", queueName, "error", err.Error())
	}
	pause := faultPause
	if errors.Is(err, servicebus.ErrUnauthorized) || errors.Is(err, servicebus.ErrNotFound) {
		pause = faultPauseLong
	}
	sleep(ctx, pause)
}

func closeReader(c *conn, r *servicebus.Receiver) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	if err := r.Close(ctx); err != nil && !errors.Is(err, servicebus.ErrClosed) {
		c.log.Debug("queue.close", "error", err.Error())
	}
}
