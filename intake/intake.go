package intake

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/trace"
)

// Broker is what intake needs of the broker.
type Broker interface {
	Route(name string) (ferry.Route, bool)
	// AcceptBatch puts messages on disk in one commit; with partial each stands for
	// itself, and the second result has one error per message.
	AcceptBatch(ctx context.Context, ms []ferry.Message, partial bool) ([]ferry.Accepted, []error, error)
	// Room says why a message with a body of size bytes cannot be accepted now.
	Room(ctx context.Context, size int64) error
	// IntakeDone counts messages by what became of them.
	IntakeDone(route, outcome string, n int)
}

// The outcomes that are counted.
const (
	outcomeAccepted     = "accepted"
	outcomeDuplicate    = "duplicate"
	outcomeDeadLettered = "deadLettered"
	outcomeReturned     = "returned" // to the queue: the ledger took nothing
)

// Bus is a Service Bus namespace. Its errors wrap those of package servicebus.
type Bus interface {
	Receiver(queue string) Receiver
	// NextSession takes a session with messages that nobody holds;
	// servicebus.ErrNoSession: there was none in time.
	NextSession(ctx context.Context, queue string, wait time.Duration) (Link, error)
	// Send sends messages in their order; an error is a *servicebus.SendError.
	Send(ctx context.Context, queue string, msgs []*azservicebus.Message) error
}

// Receiver receives from one queue.
type Receiver interface {
	Link
	Peek(ctx context.Context, from int64, most int) ([]*azservicebus.ReceivedMessage, error)
}

// Link is what messages are received from, under locks: a queue, or one session of
// it.
type Link interface {
	// Receive waits for at least one message and gives at most most. errNoMore: a
	// session has no more now.
	Receive(ctx context.Context, most int) ([]*azservicebus.ReceivedMessage, error)
	Complete(ctx context.Context, m *azservicebus.ReceivedMessage) error
	Abandon(ctx context.Context, m *azservicebus.ReceivedMessage) error
	DeadLetter(ctx context.Context, m *azservicebus.ReceivedMessage, reason, description string, props map[string]any) error
	Renew(ctx context.Context, m *azservicebus.ReceivedMessage) (time.Time, error)
	// Close closes the link; a later call opens that of a queue anew.
	Close(ctx context.Context) error
}

// Source is a queue that a route takes messages in from.
type Source struct {
	Route string
	Queue string
	Bus   Bus
	// Namespace is the host name of Bus: addresses in ReplyTo must have it.
	Namespace string
	// Concurrency is how many messages are in hand at a time.
	Concurrency int
	// Replies: who names a queue in ReplyTo is told the end of the message there.
	Replies bool
	// Unwrap takes payloads out of what the connector's users and old .NET clients put
	// around them; else bodies are taken as they are.
	Unwrap bool
}

// Options of New.
type Options struct {
	Sources []Source // at most one per route
	// OwnPrefixes begin the names of Ferry's own queues: no reply goes there.
	OwnPrefixes []string
	// Environment is written on what is dead-lettered, and on replies.
	Environment string
	// Encode writes an envelope as the HTTP API does.
	Encode func(ferry.Envelope) []byte
	Tracer *trace.Tracer // nil: no spans are made of replies
	Log    *slog.Logger
}

// Intake takes messages in from queues, and sends replies to them.
type Intake struct {
	opts    Options
	log     *slog.Logger
	sources map[string]*source // by route
}

// New makes an intake; Run begins. Info and Tell may be called before.
func New(opts Options) *Intake {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	in := &Intake{opts: opts, log: opts.Log, sources: map[string]*source{}}
	for _, o := range opts.Sources {
		in.sources[o.Route] = newSource(in, o)
	}
	return in
}

// Run takes messages in until ctx ends, and returns when nothing is in hand any
// more.
func (in *Intake) Run(ctx context.Context, b Broker) {
	var running sync.WaitGroup
	for _, s := range in.sources {
		s.broker = b
		running.Go(func() { s.run(ctx) })
	}
	running.Wait()
}

// Info says how a route's intake stands, nil when it has none.
func (in *Intake) Info(route string) *ferry.IntakeInfo {
	s, ok := in.sources[route]
	if !ok {
		return nil
	}
	return s.info()
}

// own says whether Ferry itself reads the queue, or may: what is sent there would
// come back as a message, for ever.
func (in *Intake) own(queue string) bool {
	queue = strings.ToLower(queue)
	for _, prefix := range in.opts.OwnPrefixes {
		if strings.HasPrefix(queue, strings.ToLower(prefix)+".") {
			return true
		}
	}
	for _, s := range in.sources {
		if strings.EqualFold(s.Queue, queue) {
			return true
		}
	}
	return false
}
