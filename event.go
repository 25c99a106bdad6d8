package ferry

import "time"

// EventType is what became of a message, in the word of its state.
type EventType string

// The events of messages.
const (
	EventCompleted    = EventType(StateCompleted)
	EventDeadLettered = EventType(StateDeadLettered)
	EventDiscarded    = EventType(StateDiscarded)
	// EventOperator is, in subscriptions alone, every OperatorEvent.
	EventOperator EventType = "operator"
)

// EventTypes lists every type.
func EventTypes() []EventType {
	return []EventType{EventCompleted, EventDeadLettered, EventDiscarded}
}

// Event says that a message came to an end.
type Event struct {
	// ID sorts as the ends were committed. It is that of no message.
	ID   ID        `json:"id"`
	Type EventType `json:"type"`
	Time time.Time `json:"time"`
	// Message is the message as it ended then, also when it was sent again since. Of
	// one that the retention has removed only its name and the end are left.
	Message Envelope `json:"message"`
}

// EventFilter selects events; zero fields select all.
type EventFilter struct {
	// After: none but those behind this event. FirstID of a time selects by time.
	After  ID
	Newest bool // the page is ordered newest first
	Route  string
	Routes []string // none but these, when not nil: what a key may see
	Type   EventType
	Limit  int
}

// EventPage is one page of events.
type EventPage struct {
	Items []Event `json:"items"`
	// NextAfter is where to go on; empty as long as nothing ever ended.
	NextAfter string `json:"nextAfter,omitempty"`
	// GapUntil is set when events behind After are no longer kept: those up to this
	// time are missing.
	GapUntil *time.Time `json:"gapUntil,omitempty"`
}

// Bounds of the events that are kept.
const (
	EventLife = 7 * 24 * time.Hour
	MaxEvents = 1_000_000
)
