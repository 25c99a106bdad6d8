package ferry

import (
	"encoding/json"
	"time"
)

// VerdictKind is what an attempt came to.
type VerdictKind string

// The kinds of verdicts. Adapters give the first nine; the worker adds the
// rest where no call was made.
const (
	Delivered    VerdictKind = "delivered"    // the destination has it, under Reference
	Duplicate    VerdictKind = "duplicate"    // the destination had it before this call
	Rejected     VerdictKind = "rejected"     // this message can never succeed
	Failed       VerdictKind = "failed"       // a server error that may be this message's doing
	Throttled    VerdictKind = "throttled"    // the destination asks for a pause
	Unavailable  VerdictKind = "unavailable"  // the destination cannot be reached, or is down
	Unauthorized VerdictKind = "unauthorized" // credentials, tenant, TLS
	Unknown      VerdictKind = "unknown"      // it may have been written: no trustworthy answer

	// InProgress: the destination took it and says later what became of it.
	InProgress VerdictKind = "inProgress"

	NotTried      VerdictKind = "notTried"      // begun, but no call was made
	AlreadyExists VerdictKind = "alreadyExists" // found by lookup, while an earlier revision's outcome is open
	Expired       VerdictKind = "expired"       // its time to live ended before a call
)

// HasIt says whether the verdict means "the destination has this message".
// Such a receipt counts whatever the turn.
func (k VerdictKind) HasIt() bool { return k == Delivered || k == Duplicate }

// Cause says whose doing a verdict is; it decides attempts, breaker and holds.
type Cause string

// The causes.
const (
	CauseNone        Cause = ""            // nothing went wrong
	CauseMessage     Cause = "message"     // this message's
	CauseDestination Cause = "destination" // the destination's, for every message alike
	CauseCredentials Cause = "credentials" // what we log on with
	CauseUnclear     Cause = "unclear"     // cannot be told from one answer
)

// Cause gives the usual cause of the kind.
func (k VerdictKind) Cause() Cause {
	switch k {
	case Rejected, AlreadyExists, Expired:
		return CauseMessage
	case Throttled, Unavailable:
		return CauseDestination
	case Unauthorized:
		return CauseCredentials
	case Failed, Unknown, InProgress:
		return CauseUnclear
	default:
		return CauseNone
	}
}

// Effect says whether the destination wrote something.
type Effect string

// The effects. Maybe forbids another post before the wait and the lookup.
const (
	EffectNone  Effect = "none"
	EffectDone  Effect = "done"
	EffectMaybe Effect = "maybe"
)

// FieldError is one field that the destination complained about.
type FieldError struct {
	Field string `json:"field"`
	Text  string `json:"text"`
}

// Verdict is an adapter's judgement of one call. It never holds a credential.
type Verdict struct {
	Kind       VerdictKind
	Effect     Effect
	Reference  string          // the destination's own number, when it has the message
	Result     json.RawMessage // what the sender gets, at most MaxResult
	Status     int             // HTTP status, 0 without an answer
	Code       string          // the destination's own error code
	Text       string          // the destination's words, at most MaxAttemptText
	Fields     []FieldError
	RetryAfter time.Duration // throttled, unavailable, inProgress: when the destination asked to be called again
	StatusURL  string        // inProgress: where to ask what became of it; empty: the destination calls back

	Request             string // masked request line, such as "POST https://erp.example/invoices"
	RemoteCorrelationID string // the destination's own trace of the call
}

// Attempt is one call of the destination, as the ledger keeps it.
type Attempt struct {
	Number     int          `json:"number"` // from 1 within the message, over all generations
	Turn       uint64       `json:"turn"`
	Revision   int          `json:"revision"`
	Generation int          `json:"generation"`
	StartedAt  time.Time    `json:"startedAt"`
	DurationMS int64        `json:"durationMs"`
	Verdict    VerdictKind  `json:"verdict"`
	Effect     Effect       `json:"effect"`
	Status     int          `json:"status,omitempty"`
	Code       string       `json:"code,omitempty"`
	Text       string       `json:"text,omitempty"`
	Fields     []FieldError `json:"fields,omitempty"`
	Reference  string       `json:"reference,omitempty"`
	Worker     string       `json:"worker,omitempty"`
	Request    string       `json:"request,omitempty"`

	RemoteCorrelationID string `json:"remoteCorrelationId,omitempty"`
}
