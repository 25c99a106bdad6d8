package ferry

import (
	"encoding/json"
	"time"
)

// A route with pull receivers is read over HTTP by programs that ask for its
// messages when they are ready; no worker delivers it.

// Received is a message in the hands of a pull receiver.
type Received struct {
	ID         ID
	Route      string
	Sequence   uint64 // of the route's accepts, from 1
	Turn       uint64
	Revision   int
	Generation int

	IdempotencyKey, CorrelationID, OrderingKey, ContentType string
	Properties                                              map[string]string
	CreatedAt, DeliverAt, ExpiresAt                         time.Time // the last two may be zero

	Deliveries int  // how often it was received in this generation, with this time
	Doubt      bool // an earlier receiver may have done what the message asks for

	// Lock names this delivery, and LockedUntil is when it ends; both are zero when
	// the message was completed as it was received.
	Lock        ID
	LockedUntil time.Time

	// Traceparent and Tracestate are where the receiver's own spans go on from: this
	// delivery's span, and without traces the sender's, if it gave one.
	Traceparent, Tracestate string

	Body BodyReader // who received the message closes it
}

// LockAct is what a receiver does with the message that it holds.
type LockAct string

// What a receiver can do.
const (
	LockComplete LockAct = "complete" // the destination has it
	LockReject   LockAct = "reject"   // the message can never succeed: a dead letter
	LockUnlock   LockAct = "unlock"   // give it back: nothing was done
	LockRenew    LockAct = "renew"    // hold it for longer
)

// LockSettle is what a receiver says of a message that it received.
type LockSettle struct {
	Route   string
	Message string // its id, its sequence number or the sender's key
	Lock    ID
	Do      LockAct
	By      string // the receiver

	Reference string          // complete: the destination's own number
	Result    json.RawMessage // complete: what the sender gets
	Code      string          // reject: the destination's own error code
	Text      string          // complete, reject: the destination's words

	ResultNote string // see Receipt
}

// Bounds of locks.
const (
	DefaultReceiveLock   = time.Minute
	MinReceiveLock       = 5 * time.Second
	MaxReceiveLock       = 5 * time.Minute
	DefaultMaxDeliveries = 10 // receives in a generation of which nothing was heard
	MaxMaxDeliveries     = 1000
)

// Properties in which what Service Bus keeps beside a message, and Ferry has no
// field for, travels through the ledger.
const (
	PropertyLabel            = "sb-label"
	PropertyTo               = "sb-to"
	PropertyReplyTo          = "sb-reply-to"
	PropertyReplyToSessionID = "sb-reply-to-session-id"
	PropertyPartitionKey     = "sb-partition-key"
)
