package ferry

import (
	"time"
)

// Message is what a sender asked to have delivered. It never changes; an edit
// makes another revision of its body.
type Message struct {
	ID             ID
	Route          string
	Body           []byte
	Staged         *StagedBody // a large body, in a file; Body is nil then
	ContentType    string
	IdempotencyKey string // the sender's name for "the same message"; scoped by route; may be empty
	CorrelationID  string // groups messages of one business case; passed through
	OrderingKey    string // messages of one key are delivered one after the other
	Properties     map[string]string
	DeliverAt      time.Time     // not before; zero means at once
	TimeToLive     time.Duration // from CreatedAt; zero means the route's
	CallbackURL    string
	Traceparent    string // W3C trace context of the sender; where traces are made, that of the acceptance
	Tracestate     string // of the same; empty where none are made
	Sender         Sender
	// Version is the route's version that it is of: as asked for, empty for the default
	// one; settled when it is accepted. As is the one that the worker is told.
	Version, As string
	SentHash    []byte   // SHA-256 of the payload as it was sent, where Body is another
	SearchTerms []string // what the route's search keys found in the body
	ReplyTo     *ReplyTo // who is told its end; nil: nobody
	CreatedAt   time.Time
	Quotas      []QuotaUse // that it is counted in when it is new; not kept with it

	// Duplicates is by what a repeat without a key is known; filled in from the route.
	Duplicates Duplicates

	// OnConflict is OnConflictReplace or empty: what to do when the key is
	// known with another body.
	OnConflict string
}

// BodySize is the length of the body, bytes, wherever it lies.
func (m *Message) BodySize() int64 {
	if m.Staged != nil {
		return m.Staged.Size
	}
	return int64(len(m.Body))
}

// OnConflictReplace lets a corrected body take the place of a dead-lettered or
// discarded message of the same key, as its next revision.
const OnConflictReplace = "replace"

// Sender is who posted a message: the key's name, and the flow run when the
// request carried one.
type Sender struct {
	Name string `json:"name,omitempty"`
	Flow *Flow  `json:"flow,omitempty"`
	// KeyID is kept of those who ask to be called back: their key's secret signs.
	KeyID string `json:"-"`
}

// Accepted is the ledger's answer to a Message.
type Accepted struct {
	ID        ID     `json:"id"`
	Route     string `json:"route"`
	State     State  `json:"state"`
	Duplicate bool   `json:"duplicate"`          // it was known with the same body: ID is the first message's
	Revision  int    `json:"revision,omitempty"` // set when the body replaced that of a dead letter
	// PossibleRepeatOf is an earlier message that this one, a new one, may repeat: the
	// same run of a flow sent the same body with the same action.
	PossibleRepeatOf ID     `json:"possibleRepeatOf,omitzero"`
	StatusURL        string `json:"statusUrl"`         // filled in by the API
	Version          string `json:"version,omitempty"` // of the route, that the message is of
}

// Validate checks everything about the message that does not depend on its
// route. The error names the first fault.
func (m *Message) Validate() *Error {
	if m.IdempotencyKey != "" && !printable(m.IdempotencyKey, MaxKeyLength) {
		return Errorf(CodeBadKey, "the idempotency key has %d characters or some that are not printable ASCII", len(m.IdempotencyKey)).
			WithHint("1 to %d printable ASCII characters", MaxKeyLength)
	}
	if len(m.OrderingKey) > MaxOrderingKeyLength {
		return Errorf(CodeBadOrderingKey, "the ordering key has %d bytes", len(m.OrderingKey)).
			WithHint("at most %d", MaxOrderingKeyLength)
	}
	if len(m.CorrelationID) > MaxOrderingKeyLength {
		return Errorf(CodeBadCorrelationID, "the correlation id has %d bytes", len(m.CorrelationID)).
			WithHint("at most %d", MaxOrderingKeyLength)
	}
	if m.OnConflict != "" && m.OnConflict != OnConflictReplace {
		return Errorf(CodeBadRequest, "onConflict=%s means nothing", clip(m.OnConflict, 32)).
			WithHint("the only value is %q", OnConflictReplace)
	}
	if m.TimeToLive < 0 {
		return Errorf(CodeBadDuration, "the time to live is negative")
	}
	size := 0
	for name, value := range m.Properties {
		size += len(name) + len(value)
	}
	if len(m.Properties) > MaxProperties || size > MaxPropertiesBytes {
		return Errorf(CodeTooManyProperties, "%d custom properties of %d bytes", len(m.Properties), size).
			WithHint("at most %d, together %d bytes", MaxProperties, MaxPropertiesBytes)
	}
	return nil
}

// ExternalKey names the message towards the destination: the sender's key, else
// the id. It is the same on every attempt, replay and revision.
func ExternalKey(id ID, idempotencyKey string) string {
	if idempotencyKey != "" {
		return idempotencyKey
	}
	return id.String()
}

// ValidName checks a name of a route, destination, worker or key against
// ^[a-z][a-z0-9-]{1,49}$ without a trailing dash, and the reserved words.
func ValidName(kind, name string) *Error {
	ok := len(name) >= 2 && len(name) <= 50 && name[0] >= 'a' && name[0] <= 'z' && name[len(name)-1] != '-'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-'
	}
	if !ok {
		return Errorf(CodeBadName, "%q cannot be the name of a %s", clip(name, 64), kind).
			WithHint("2 to 50 characters: a letter first, then lower-case letters, digits and dashes, no dash at the end")
	}
	switch name {
	case "v1", "ui", "healthz", "readyz", "metrics", "connector", "openapi", "queue":
		return Errorf(CodeBadName, "%q is reserved and cannot be the name of a %s", name, kind)
	}
	return nil
}

func printable(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}
