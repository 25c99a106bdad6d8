package ferry

import (
	"errors"
	"time"
)

// ErrUntellable says that the end of a message can never be told to its target.
var ErrUntellable = errors.New("it can never be told")

// ReplyTo is who is told the end of a message, as its sender asked.
type ReplyTo struct {
	Kind   string `json:"kind"`   // how, such as ReplyServiceBus
	Target string `json:"target"` // whom: the name of a queue
	// SessionID is that of the reply, CorrelationID what the sender knows the
	// message by.
	SessionID     string `json:"sessionId,omitempty"`
	CorrelationID string `json:"correlationId,omitempty"`
}

// ReplyServiceBus is the kind of replies to a queue of the Service Bus namespace
// that the route takes messages in from.
const ReplyServiceBus = "servicebus"

// NoticeTarget is whom notices wait for. What goes wrong with one target holds
// up no other.
type NoticeTarget struct {
	Kind   string `json:"kind"`
	Route  string `json:"route"`
	Target string `json:"target"`
}

// Notice says that the end of a message is to be told to somebody: an entry of
// the ledger's outbox, written in the commit that ended the message, or heard of
// somebody else who asks, and removed after it was told. It refers to the message
// and holds no copy of it.
type Notice struct {
	Seq uint64       `json:"-"` // its place in the outbox
	To  NoticeTarget `json:"to"`

	ID         ID        `json:"id"`
	Generation int       `json:"generation"`
	State      State     `json:"state"` // the end that is told, whatever becomes of the message later
	At         time.Time `json:"at"`
	// Dead is of a dead letter: a replay takes it out of the message's record.
	Dead *DeadLetter `json:"dead,omitempty"`
	// ReplyTo is how the one who asked knows the message. Somebody else may have asked
	// since.
	ReplyTo ReplyTo `json:"replyTo"`
}

// Ending is a notice with what is told: the message as it ended.
type Ending struct {
	Notice
	Envelope Envelope
}

// Bounds of the outbox.
const (
	MaxNotices          = 100_000 // that wait, of all targets; what ends beyond that is told to nobody
	MaxNoticesPerTarget = 25_000
	MaxReplyTarget      = 260            // bytes of a target
	NoticeLife          = 24 * time.Hour // for how long telling is tried
)
