package ferry

import (
	"errors"
	"time"
)

// ErrUntellable says that the end of a message can never be told to its target.
var ErrUntellable = errors.New("it can never be told")

// ErrTargetGone says that a target answers that there is nothing at its address.
// It may be back; who says so GoneTries times in a row is told nothing more.
var ErrTargetGone = errors.New("there is nothing at the address")

// ErrNotTried says that an end was not told because one before it could not be.
var ErrNotTried = errors.New("not tried")

// ReplyTo is who is told the end of a message, as its sender asked.
type ReplyTo struct {
	Kind   string `json:"kind"`   // how, such as ReplyServiceBus
	Target string `json:"target"` // whom: the name of a queue
	// SessionID is that of the reply, CorrelationID what the sender knows the
	// message by.
	SessionID     string `json:"sessionId,omitempty"`
	CorrelationID string `json:"correlationId,omitempty"`
}

// The kinds of targets.
const (
	// ReplyServiceBus is a queue of the Service Bus namespace that the route takes
	// messages in from.
	ReplyServiceBus = "servicebus"
	// ReplyCallback is an address that a message was sent with. Its target is named by
	// MaskURL.
	ReplyCallback = "callback"
	// ReplySubscription is a subscription, named by its id. Its target has no route.
	ReplySubscription = "subscription"
	// ReplyOperator is a target of operator events, named in broker.yaml. It has no
	// route.
	ReplyOperator = "operator"
)

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

	Event      ID        `json:"event,omitzero"`
	ID         ID        `json:"id"`
	Generation int       `json:"generation"`
	State      State     `json:"state"` // the end that is told, whatever becomes of the message later
	At         time.Time `json:"at"`
	// Dead is of a dead letter: a replay takes it out of the message's record.
	Dead *DeadLetter `json:"dead,omitempty"`
	// ReplyTo is how the one who asked knows the message. Somebody else may have asked
	// since.
	ReplyTo ReplyTo `json:"replyTo,omitzero"`

	Route string `json:"route,omitempty"` // of the message, where To has none
	// URL is where a callback goes. It is often a secret: never shown, never logged.
	// Asker is the key whose message asked for it; who asks for many shares the room
	// with himself.
	URL   string `json:"url,omitempty"`
	Asker string `json:"asker,omitempty"`

	// Operator is an event of operators: then the notice is about no message.
	Operator *OperatorEvent `json:"operator,omitempty"`
}

// Ending is a notice with what is told: the message as it ended.
type Ending struct {
	Notice
	Envelope Envelope
	Secrets  [][]byte // of a callback: it is signed with each

	Traceparent, Tracestate string // of the message
	Format                  string // of an operator event
}

// EventID names what is told, the same in every try: the event of the end, also
// in the list of events, or one of its own for who asked after it.
func (n *Notice) EventID() string { return "msg_" + n.Event.String() }

// Bounds of the outbox.
const (
	MaxNotices          = 100_000 // that wait, of all targets; what ends beyond that is told to nobody
	MaxNoticesPerTarget = 25_000
	MaxReplyTarget      = 260            // bytes of a target
	NoticeLife          = 24 * time.Hour // for how long telling is tried
)
