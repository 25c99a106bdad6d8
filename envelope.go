package ferry

import (
	"encoding/json"
	"time"
)

// Envelope is a message as its sender and the operators see it: everything but
// the body.
type Envelope struct {
	ID             ID                `json:"id"`
	Route          string            `json:"route"`
	State          State             `json:"state"`
	Revision       int               `json:"revision"`
	Generation     int               `json:"generation"`
	IdempotencyKey string            `json:"idempotencyKey,omitempty"`
	CorrelationID  string            `json:"correlationId,omitempty"`
	OrderingKey    string            `json:"orderingKey,omitempty"`
	ContentType    string            `json:"contentType,omitempty"`
	Version        string            `json:"version,omitempty"`   // of the route
	DeliverAs      string            `json:"deliverAs,omitempty"` // the version that the worker is told, where it is another
	Size           int64             `json:"size"`                // bytes of the body
	Properties     map[string]string `json:"properties,omitempty"`
	CreatedAt      time.Time         `json:"createdAt"`
	UpdatedAt      time.Time         `json:"updatedAt"`
	DeliverAt      *time.Time        `json:"deliverAt,omitempty"`
	ExpiresAt      *time.Time        `json:"expiresAt,omitempty"`
	Reference      string            `json:"reference,omitempty"` // the destination's own document number
	Result         json.RawMessage   `json:"result,omitempty"`
	ResultNote     string            `json:"resultNote,omitempty"` // why result is the destination's own and not what the route makes of it
	Owner          *Owner            `json:"owner,omitempty"`
	Mask           []string          `json:"mask,omitempty"` // members of the body that are not shown: names, or JSON pointers
	Environment    string            `json:"environment,omitempty"`
	WaitingFor     *WaitingFor       `json:"waitingFor,omitempty"`
	Awaiting       *Awaiting         `json:"awaiting,omitempty"` // pending: the destination took it and says later
	DeadLetter     *DeadLetter       `json:"deadLetter,omitempty"`
	Discarded      *Act              `json:"discarded,omitempty"`
	Conflict       string            `json:"conflict,omitempty"` // a fact that came too late, such as "delivered after it was discarded"
	Attempts       []Attempt         `json:"attempts"`
	AttemptsTotal  int               `json:"attemptsTotal"` // counts those no longer kept
	Sender         Sender            `json:"sender"`
	Acts           []Act             `json:"acts,omitempty"` // what was done to it, oldest first, the last 20
	// PossibleRepeatOf is an earlier message that this one may repeat: the same run of
	// a flow sent the same body with the same action, and no tracking id.
	PossibleRepeatOf ID     `json:"possibleRepeatOf,omitzero"`
	StatusURL        string `json:"statusUrl,omitempty"`
}

// WaitingFor says why a pending message is not being delivered yet.
type WaitingFor struct {
	Reason WaitReason `json:"reason"`
	Until  *time.Time `json:"until,omitempty"`  // when known
	Since  *time.Time `json:"since,omitempty"`  // of what it waits for, when known
	Behind *ID        `json:"behind,omitempty"` // orderingKey: the message in front
	Worker string     `json:"worker,omitempty"` // who has it, or says what it waits for
	// Detail is more of it: why and by whom a route was paused, the window's name, what
	// the worker says of the destination.
	Detail string `json:"detail,omitempty"`
	// Ahead, of a single message: how many of its route come before it, up to MaxAhead.
	Ahead *int `json:"ahead,omitempty"`
	// Open: an earlier call may have been written. The message is not sent again
	// before the destination was asked, or honours its key.
	Open bool   `json:"open,omitempty"`
	Text string `json:"text,omitempty"` // how the last turn ended, when that was without a call: a lookup's answer, say
}

// WaitReason is what a pending message waits for.
type WaitReason = string

// What a pending message waits for.
const (
	WaitsForTurn         WaitReason = "turn"         // nothing: it is handed out in a moment
	WaitsForBacklog      WaitReason = "backlog"      // others of its route come first
	WaitsForDueTime      WaitReason = "dueTime"      // deliverAt, or the pause before its next attempt
	WaitsForOrder        WaitReason = "orderingKey"  // the message in front
	WaitsForConfirmation WaitReason = "confirmation" // the destination took it, and says later
	WaitsForDelivery     WaitReason = "delivery"     // a worker or a receiver has it
	WaitsForPause        WaitReason = "paused"
	WaitsForWindow       WaitReason = "window"
	WaitsForWorker       WaitReason = "noWorker"
	WaitsForDestination  WaitReason = "unavailable"
	WaitsForThrottle     WaitReason = "throttled"
	WaitsForCredentials  WaitReason = "unauthorized"
)

// WaitReasons lists what pending messages wait for.
func WaitReasons() []WaitReason {
	return []WaitReason{
		WaitsForTurn, WaitsForBacklog, WaitsForDueTime, WaitsForOrder, WaitsForConfirmation, WaitsForDelivery,
		WaitsForPause, WaitsForWindow, WaitsForWorker, WaitsForDestination, WaitsForThrottle, WaitsForCredentials,
	}
}

// Because says that it waits for what holds on its route.
func (w *WaitingFor) Because(c *Condition) {
	w.Reason, w.Until, w.Detail = WaitReason(c.Type), c.Until, c.Reason
	if w.Since = nil; !c.Since.IsZero() {
		since := c.Since
		w.Since = &since
	}
	if c.Worker != "" {
		w.Worker = c.Worker
	}
	if c.By != "" {
		w.Detail += ", by " + c.By
	}
}

// Awaiting tells of a message that the destination took, to say later what became
// of it.
type Awaiting struct {
	Since     time.Time  `json:"since"`
	StatusURL string     `json:"statusUrl,omitempty"` // where the worker asks, masked; empty: the destination calls back
	AskedAt   *time.Time `json:"askedAt,omitempty"`   // last, of a poll that brought no end
	Said      string     `json:"said,omitempty"`      // what it answered
}

// DeadLetter is why a message was set aside.
type DeadLetter struct {
	Reason      Reason    `json:"reason"`
	Code        string    `json:"code,omitempty"` // the destination's
	Description string    `json:"description"`
	At          time.Time `json:"at"`
	Group       string    `json:"group,omitempty"`     // id of the group of errors alike
	Reference   string    `json:"reference,omitempty"` // AlreadyExists: the document that was found
	// Open: whatever the reason, an earlier receiver may have done what the message
	// asks for.
	Open bool `json:"open,omitempty"`
}

// MayExist says whether the destination may have the dead letter all the same:
// sending it again could make a second document.
func (d *DeadLetter) MayExist() bool {
	return d.Open || d.Reason == ReasonOutcomeUnknown || d.Reason == ReasonAlreadyExists
}

// Act is something that an operator did.
type Act struct {
	Act  string    `json:"act"` // replay, edit, replace (by its sender), accept, discard, restore, bind
	By   string    `json:"by"`
	At   time.Time `json:"at"`
	Note string    `json:"note,omitempty"`
}

// Owner is whom to ask about a route.
type Owner struct {
	Name  string `json:"name,omitempty" yaml:"name"`
	Email string `json:"email,omitempty" yaml:"email"`
}

// MessageFilter selects messages; zero fields select all.
type MessageFilter struct {
	Route  string
	Routes []string // none but these, when not nil: what a key may see
	State  State
	Sender string // exact name of the sending key
	Flow   string // exact name of a flow, or id of a run
	Q      string // exact or prefix of id, key, correlation id, ordering key, reference, sender, flow run
	Since  time.Time
	Until  time.Time
	Limit  int
	Cursor string
}

// DeadLetterFilter selects dead letters; zero fields select all.
type DeadLetterFilter struct {
	Route  string    `json:"route,omitempty"`
	Reason Reason    `json:"reason,omitempty"`
	Group  string    `json:"group,omitempty"`
	Code   string    `json:"code,omitempty"`
	Sender string    `json:"sender,omitempty"`
	Flow   string    `json:"flow,omitempty"`
	Owner  string    `json:"owner,omitempty"`
	Since  time.Time `json:"since,omitzero"` // became a dead letter at or after
	Until  time.Time `json:"until,omitzero"`
	Q      string    `json:"q,omitempty"`
	Limit  int       `json:"limit,omitempty"`
	Cursor string    `json:"-"`
}

// Page is one page of a list, newest first.
type Page struct {
	Items      []Envelope `json:"items"`
	NextCursor string     `json:"nextCursor,omitempty"`
}

// Group is a set of dead letters of one route that failed alike: the error's
// text with numbers and ids masked.
type Group struct {
	ID          string    `json:"id"`
	Route       string    `json:"route"`
	Reason      Reason    `json:"reason"`
	Code        string    `json:"code,omitempty"`
	Description string    `json:"description"` // masked
	Count       int       `json:"count"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
	Sample      ID        `json:"sample"`
}

// GroupOther collects what would be a route's group beyond MaxGroups.
const GroupOther = "other"
