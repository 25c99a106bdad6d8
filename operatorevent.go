package ferry

import "time"

// OperatorEventType is what the people who run a broker are told of by itself.
type OperatorEventType string

// The events of operators.
const (
	EventRouteStopped     OperatorEventType = "routeStopped"     // it does not deliver, and needs somebody or its destination
	EventRouteRecovered   OperatorEventType = "routeRecovered"   // it delivers again, or has nothing to deliver
	EventWorkerLost       OperatorEventType = "workerLost"       // it fell silent without a goodbye
	EventDeadLettersAbove OperatorEventType = "deadLettersAbove" // more wait than are borne
	EventDiskLow          OperatorEventType = "diskLow"          // little room is left; once more when it is critical
)

// OperatorEventTypes lists the events of operators.
func OperatorEventTypes() []OperatorEventType {
	return []OperatorEventType{EventRouteStopped, EventRouteRecovered, EventWorkerLost, EventDeadLettersAbove, EventDiskLow}
}

// OperatorEvent is one thing that operators are told. It has no body, key or secret
// in it.
type OperatorEvent struct {
	Type OperatorEventType `json:"type"`
	ID   string            `json:"id"` // the same in every try, also in the header webhook-id
	Time time.Time         `json:"time"`
	// Text says it in a sentence: what a chat shows.
	Text        string     `json:"text"`
	Hint        string     `json:"hint,omitempty"` // what to do
	Environment string     `json:"environment,omitempty"`
	Route       string     `json:"route,omitempty"`
	Worker      string     `json:"worker,omitempty"`
	Condition   RouteState `json:"condition,omitempty"` // of the route
	Level       string     `json:"level,omitempty"`     // of the disk: low or critical
	Reason      string     `json:"reason,omitempty"`
	Since       time.Time  `json:"since"`
	Pending     int64      `json:"pending,omitempty"`
	DeadLetters int64      `json:"deadLetters,omitempty"`
	Threshold   int64      `json:"threshold,omitempty"` // messages, or bytes
	FreeBytes   int64      `json:"freeBytes,omitempty"`
	// Broker is the broker's address, Docs the section of the handbook.
	Broker string `json:"broker,omitempty"`
	Docs   string `json:"docs"`
}

// The formats in which a target is told.
const (
	OperatorFormatEvent = "event" // the OperatorEvent, whose text simple chats show
	OperatorFormatText  = "text"  // {"text": …} alone, for chats that take nothing else
	OperatorFormatCard  = "card"  // an Adaptive Card, for Teams
)

// OperatorTargetInfo is a target of operator events, as it may be shown.
type OperatorTargetInfo struct {
	Name     string              `json:"name"`
	Callback string              `json:"callback"` // MaskURL of the address
	Format   string              `json:"format"`
	Events   []OperatorEventType `json:"events"`
	Routes   []string            `json:"routes,omitempty"` // none: all
	Waiting  int                 `json:"waiting"`
	Failing  *Failing            `json:"failing,omitempty"`
}

// ToldCondition is what operators were told of and holds still.
type ToldCondition struct {
	What  string            `json:"what"` // such as route/orders
	Type  OperatorEventType `json:"type"`
	State string            `json:"state"` // such as unauthorized
	Since time.Time         `json:"since"`
	At    time.Time         `json:"at"` // when they were told
}

// Operating is how operators are told.
type Operating struct {
	Targets []OperatorTargetInfo `json:"targets"`
	Told    []ToldCondition      `json:"told"`
}

// Bounds of operator events.
const (
	MaxOperatorTargets    = 10
	DefaultStoppedFor     = time.Minute
	DefaultWorkerLost     = 2 * time.Minute
	DefaultManyDead       = 100
	DefaultManyDeadTotal  = 1000
	DefaultDiskLow        = 2 << 30
	DefaultDiskCritical   = 512 << 20
	MinOperatorSecret     = 24 // bytes of a secret that signs
	MaxToldConditions     = 2000
	MaxOperatorTargetName = 50
)
