package queue

import (
	"context"
	"errors"
	"time"
)

// Errors that drivers return, wrapped with what they know. Anything else is
// taken as a passing fault of the queue.
var (
	ErrClosed       = errors.New("the queue connection is closed")
	ErrLockLost     = errors.New("the lock on the delivery has ended")
	ErrSettled      = errors.New("the delivery was settled before")
	ErrTooLarge     = errors.New("too large for the queue")
	ErrNotFound     = errors.New("no such queue")
	ErrUnauthorized = errors.New("the queue refuses these credentials, or this address for them")
	ErrUnavailable  = errors.New("the queue cannot be reached")
)

// Kind is a kind of durable channel.
type Kind string

// The kinds of channels: one for the messages of each route, one for the
// receipts of all workers.
const (
	Messages Kind = "messages"
	Receipts Kind = "receipts"
)

// Address names one durable channel.
type Address struct {
	Kind Kind
	Name string // Messages: the route. Receipts: empty
}

// MessagesOf is where the messages of a route travel.
func MessagesOf(route string) Address { return Address{Kind: Messages, Name: route} }

// AllReceipts is where the receipts of all workers travel.
func AllReceipts() Address { return Address{Kind: Receipts} }

// Packet is what a channel carries: bytes under an id.
type Packet struct {
	ID   string // repeats of one id within the driver's duplicate window may be dropped
	From string // on receipt: the worker as the driver authenticated it; empty when it cannot tell
	Data []byte
}

// Item is a received packet under a lock: nobody else gets it until LockedUntil.
type Item struct {
	Packet
	Position    uint64    // in the channel: rises with each publication
	LockedUntil time.Time // lost after this unless extended
	Token       any       // the driver's own
}

// Verb ends a delivery.
type Verb int

// The verbs of settling. There are no others: a retry is a due time in the
// ledger, a dead letter an entry there.
const (
	Complete Verb = iota + 1 // done: remove it
	Release                  // give it back at once; it may come again, here or elsewhere
)

// Properties are what a driver can do.
type Properties struct {
	Name            string
	MaxData         int           // bytes of one packet
	DuplicateWindow time.Duration // how long a repeated id is dropped; 0: never
	Lock            time.Duration // how long a delivery is locked at a time
	Durable         bool          // survives the process that holds it
	Outlives        bool          // the queue runs on when the broker's process is away
}

// Clearer is a driver that can empty a channel at once. A broker that starts
// publishes again what it had handed out; where the copies of its last run can be
// removed, restarts do not pile them up for a worker that is away.
type Clearer interface {
	// Clear removes everything from the channel that nobody holds, and what is held
	// where the driver can; else that may come again when its lock ends. Brokers only.
	Clear(ctx context.Context, address Address) error
}

// Progress is how far the readers of a channel have come.
type Progress struct {
	// Incarnation changes when the channel was made anew: everything that was in
	// it is gone. Empty: the driver cannot tell now, and nothing is concluded.
	Incarnation string
	// Last is the position of the last publication, or beyond where the driver
	// counts for itself and begins anew with each connection; going backwards means
	// loss.
	Last uint64
	// Settled: every publication up to this position has been completed. One that
	// was never reported on is lost, and may be published again.
	Settled uint64
}

// Driver is the contract of a queue technology: at-least-once transport under
// locks. The queue is never the truth: everything in it can be published again
// from the ledger.
//
// All methods may be called concurrently. A driver never retries Publish by
// itself, logs nothing that is in a packet, and stops every goroutine of its
// own in Close. [queuetest] holds what every driver must pass.
type Driver interface {
	Properties() Properties

	// Publish appends the packets in order and returns the position of each once
	// the queue has them. On an error some may be in the queue: the caller
	// publishes again under other ids. A packet dropped as a repeat has the
	// position of the first, or 0, or where the driver is not told of it, one that
	// counts as completed.
	Publish(ctx context.Context, to Address, packets []Packet) ([]uint64, error)

	// Receive waits for at least one packet and returns at most most, oldest
	// first. When ctx ends first it returns ctx's error and keeps nothing locked.
	Receive(ctx context.Context, from Address, most int) ([]Item, error)

	// Settle ends a delivery. A lost lock is ErrLockLost where the driver can
	// tell; a driver that cannot may return nil.
	Settle(ctx context.Context, from Address, item Item, verb Verb) error

	// Extend prolongs the lock by Properties.Lock from now and returns its new end.
	Extend(ctx context.Context, from Address, item Item) (time.Time, error)

	// Progress asks how far the channel's readers are. Brokers only.
	Progress(ctx context.Context, of Address) (Progress, error)

	// Ensure makes the channel if it is missing, and says whether it had to.
	// Brokers only.
	Ensure(ctx context.Context, address Address) (made bool, err error)

	// Signal sends bytes to a worker that listens now; it may be lost. Brokers only.
	Signal(ctx context.Context, worker string, data []byte) error
	// Listen hands signals for this worker to fn, one at a time, until stop.
	Listen(ctx context.Context, fn func(data []byte)) (stop func(), err error)

	// Request asks the broker and waits for its answer, or ctx. Workers only.
	Request(ctx context.Context, data []byte) ([]byte, error)
	// Serve answers requests, each in its own goroutine, at most 64 at a time;
	// from is the worker as the driver authenticated it. Brokers only.
	Serve(ctx context.Context, fn func(ctx context.Context, from string, data []byte) []byte) (stop func(), err error)

	Close(ctx context.Context) error
}
