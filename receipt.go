package ferry

import (
	"encoding/json"
	"time"
)

// HandOut is a message in its current turn, as the relay gives it to the queue
// and a worker receives it.
type HandOut struct {
	ID         ID     `json:"id"`
	Route      string `json:"route"`
	Turn       uint64 `json:"turn"`
	Revision   int    `json:"revision"`
	Generation int    `json:"generation"`
	Inbox      string `json:"inbox"` // the identity of the inbox that may deliver it; another refuses
	// Binding numbers the binding of the route to that inbox: what was handed out
	// under an earlier one has a later turn by now. 0: not known, of an older broker.
	Binding uint64 `json:"binding,omitempty"`

	Spent   int `json:"spent"`   // attempts spent in this generation
	Attempt int `json:"attempt"` // number that the next call will have, over all generations

	// Doubt: an earlier turn may have reached the destination, so look up first.
	// Elsewhere: begun by another inbox, or before a restore; the inbox at hand
	// cannot know of it. NotBefore: when the destination has surely stopped
	// writing what an earlier call left.
	Doubt     bool      `json:"doubt,omitempty"`
	Elsewhere bool      `json:"elsewhere,omitempty"`
	NotBefore time.Time `json:"notBefore,omitzero"`
	// OpenRevision: an earlier revision's outcome is open, so a document that a
	// lookup finds may be that one.
	OpenRevision bool `json:"openRevision,omitempty"`
	// RiskAccepted: a person replays an unknown outcome knowing that it may
	// already exist; good for this turn only.
	RiskAccepted bool `json:"riskAccepted,omitempty"`
	// Claims: several workers deliver the route. Whoever receives it claims the
	// turn at the broker before any call; Inbox is empty.
	Claims bool `json:"claims,omitempty"`
	// TakenOver counts the claims of this generation whose holders never reported.
	TakenOver int `json:"takenOver,omitempty"`
	// Awaiting: the destination took the message in an earlier turn and says later
	// what became of it. StatusURL is where to ask; when it is empty, the
	// destination calls back, and this turn comes because it did not in time.
	Awaiting  bool      `json:"awaiting,omitempty"`
	StatusURL string    `json:"statusUrl,omitempty"`
	AwaitedAt time.Time `json:"awaitedAt,omitzero"` // since when
	// ConfirmURL is where the destination may say what became of the message,
	// with a token that is good for this message alone; empty when nobody listens.
	ConfirmURL string `json:"confirmUrl,omitempty"`

	ExternalKey    string            `json:"externalKey"`
	IdempotencyKey string            `json:"idempotencyKey,omitempty"`
	CorrelationID  string            `json:"correlationId,omitempty"`
	OrderingKey    string            `json:"orderingKey,omitempty"`
	ContentType    string            `json:"contentType,omitempty"`
	Version        string            `json:"version,omitempty"` // of the route, that the body is of
	Properties     map[string]string `json:"properties,omitempty"`
	Traceparent    string            `json:"traceparent,omitempty"`
	Tracestate     string            `json:"tracestate,omitempty"`
	// LastTraceparent is the span of the last call, where its worker made traces.
	LastTraceparent string        `json:"lastTraceparent,omitempty"`
	CreatedAt       time.Time     `json:"createdAt"`
	ExpiresAt       time.Time     `json:"expiresAt,omitzero"` // unless the route was held since
	Held            time.Duration `json:"held,omitempty"`     // how long the route had been held in all, with ExpiresAt; 0: not known
	PublishedAt     time.Time     `json:"publishedAt"`        // of this publication

	// Body is the payload, or nil with Size > 0 when it is too large to travel
	// inline: the worker then fetches it and checks SHA256.
	Body   []byte `json:"-"`
	Size   int64  `json:"size"`
	SHA256 []byte `json:"sha256,omitempty"`
}

// NextDo is what a receipt asks the ledger to do.
type NextDo string

// What comes next. A receipt whose verdict says "the destination has it"
// completes the message whatever it asks for.
const (
	DoComplete   NextDo = "complete"
	DoRetry      NextDo = "retry"      // ready again, as the next turn, after Next.After
	DoDeadLetter NextDo = "deadLetter" // with Next.Reason
)

// Next is what the worker's settle made of a verdict.
type Next struct {
	Do     NextDo        `json:"do"`
	After  time.Duration `json:"after,omitempty"` // retry: how long from the commit, nanoseconds
	Reason Reason        `json:"reason,omitempty"`
	Spends int           `json:"spends,omitempty"` // attempts that this turn spends; negative: gives back
	Doubt  bool          `json:"doubt,omitempty"`  // an outcome is open: look up before the next post
	// Awaits: the destination took the message and says later what became of it;
	// the next turn asks at StatusURL, or comes when nobody called back.
	Awaits    bool   `json:"awaits,omitempty"`
	StatusURL string `json:"statusUrl,omitempty"`
}

// Receipt is what a worker reports of one turn: a fact about a message.
type Receipt struct {
	ID         ID     `json:"id"`
	Route      string `json:"route"`
	Turn       uint64 `json:"turn"`
	Revision   int    `json:"revision"` // the revision that the destination has; 0 when that is not proven
	Generation int    `json:"generation"`
	Worker     string `json:"worker"`
	Inbox      string `json:"inbox"`

	Verdict   VerdictKind     `json:"verdict"`
	Effect    Effect          `json:"effect"`
	Reference string          `json:"reference,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Code      string          `json:"code,omitempty"`
	Text      string          `json:"text,omitempty"`

	// Attempts are the calls of this turn: none when no call was made, more than
	// one never (a lookup is no attempt).
	Attempts []Attempt `json:"attempts,omitempty"`
	Next     Next      `json:"next"`

	// Traceparent is the span of the turn, where the worker makes traces.
	Traceparent string `json:"traceparent,omitempty"`

	// ResultNote is the broker's own: why Result is not what the route makes of it.
	ResultNote string `json:"-"`
}

// QueueID is the receipt's own id in the queue: turn, worker and verdict keep
// two different facts apart, and a repeat of one fact recognisable.
func (r *Receipt) QueueID() string {
	return r.ID.String() + "." + uitoa(r.Turn) + "." + r.Worker + "." + string(r.Verdict)
}

// CallOf names a call of a message: what a destination says later, it says of
// one. Zero fields are not known.
type CallOf struct {
	Generation int
	Turn       uint64
}

// Confirmation is what a destination says later of a message that it took.
type Confirmation struct {
	Delivered bool   `json:"delivered"` // else rejected
	Reference string `json:"reference,omitempty"`
	Code      string `json:"code,omitempty"`
	Text      string `json:"text,omitempty"`
}

func uitoa(v uint64) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + v%10)
		v /= 10
		if v == 0 {
			return string(b[i:])
		}
	}
}
