package ferry

import (
	"encoding/json"
	"strings"
	"time"
)

// Role is what a key may do.
type Role string

// The roles, each for its own work: sender posts to its routes and reads their
// messages; receiver confirms; operator sees and acts on everything but keys
// and workers; admin may do all.
const (
	RoleSender   Role = "sender"
	RoleReceiver Role = "receiver"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
)

// Roles lists every role.
func Roles() []Role { return []Role{RoleSender, RoleReceiver, RoleOperator, RoleAdmin} }

// Key is what the broker knows of an API key; the secret is only kept hashed.
type Key struct {
	ID        string     `json:"id"` // the part of fry_<id>_<secret>_<check> that may be shown
	Name      string     `json:"name"`
	Role      Role       `json:"role"`
	Limit     Limit      `json:"limit,omitzero"`   // of what it sends, in the place of the broker's for every key
	Routes    []string   `json:"routes,omitempty"` // sender, receiver: which; none means all
	CreatedAt time.Time  `json:"createdAt"`
	CreatedBy string     `json:"createdBy,omitempty"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	RevokedAt *time.Time `json:"revokedAt,omitempty"`
	LastUsed  *time.Time `json:"lastUsed,omitempty"` // of either secret
	// Environment is the Power Platform environment of the flows that use the key.
	Environment string      `json:"environmentId,omitempty"`
	Secrets     []KeySecret `json:"secrets,omitempty"` // primary first
}

// The secrets of a key, which are valid side by side: one is changed while the
// other goes on.
const (
	SecretPrimary   = "primary"
	SecretSecondary = "secondary"
)

// KeySecret is what is known of one of a key's two secrets.
type KeySecret struct {
	Name      string     `json:"name"` // primary or secondary
	CreatedAt time.Time  `json:"createdAt"`
	LastUsed  *time.Time `json:"lastUsed,omitempty"`
}

// KeySpec is what a new key is to be.
type KeySpec struct {
	Name    string
	Role    Role
	Limit   Limit     // of what it sends; zero: the broker's for every key
	Routes  []string  // sender, receiver: which; none means all
	Expires time.Time // zero: never
	// Environment is the Power Platform environment of the flows that use the key, at
	// most MaxEnvironmentID bytes; it makes links to their runs.
	Environment string
	Note        string // why, for the audit log
}

// KeyEdit is what of a key is to be another; nil leaves it.
type KeyEdit struct {
	Expires     *time.Time // zero: never
	Routes      *[]string  // none means all
	Environment *string
	Limit       *Limit // the whole of it; zero: the broker's for every key
	Note        string // why, for the audit log
}

// NewKey is the answer to a made or rotated key: the only time that its text is shown.
type NewKey struct {
	Key
	Secret string `json:"secret"` // the whole fry_… text
	// Made says which of the two secrets Secret is.
	Made string `json:"made"`
	// Secondary is the text of the other secret, when the key was made.
	Secondary string `json:"secondary,omitempty"`
}

// Identity is who calls: the outcome of authentication.
type Identity struct {
	Name   string   `json:"name"`
	KeyID  string   `json:"keyId"`
	Role   Role     `json:"role"`
	Limit  Limit    `json:"limit,omitzero"`   // the key's own; zero: the broker's for every key
	Routes []string `json:"routes,omitempty"` // nil means all
	// Environment is the Power Platform environment of the caller's flows, if known.
	Environment string `json:"environmentId,omitempty"`
}

// May says whether the identity has one of the roles; admin has all.
func (i Identity) May(roles ...Role) bool {
	if i.Role == RoleAdmin {
		return true
	}
	for _, r := range roles {
		if i.Role == r {
			return true
		}
	}
	return false
}

// MaySee says whether the identity may touch the route's messages at all.
func (i Identity) MaySee(route string) bool {
	if i.Role == RoleAdmin || i.Role == RoleOperator || len(i.Routes) == 0 {
		return true
	}
	for _, r := range i.Routes {
		if r == route {
			return true
		}
	}
	return false
}

// Route is the broker's part of a route: what is accepted, and how it is handed out.
type Route struct {
	Name         string
	Title        string // what people call it; empty: see Heading
	Description  string // what is sent here, in a sentence or two; may be empty
	TimeToLive   time.Duration
	MaxBytes     int64
	Window       int
	AllowEmpty   bool
	OrderBy      string   // jq over the payload; empty: the sender's ordering key
	OnDeadLetter string   // of an ordering key's head: "park" (default) or "continue"
	SearchKeys   []string // jq over the payload
	Mask         []string // members of the payload that are not shown: names, or JSON pointers
	Owner        *Owner
	// Schema is the JSON Schema 2020-12 (or of the draft that its $schema names) of
	// the payload, one document; nil: any payload.
	Schema json.RawMessage
	// Request, Result, Accept: see Form. What a version does not say is as here.
	Request, Result string
	Accept          []string
	XML             XML
	CloudEvents     bool // CloudEvents are taken apart
	Versions        []RouteVersion
	VersionBy       VersionBy
	// Several: more than one worker may deliver the route, each claiming a turn
	// before its call. False: the route is bound to one worker's inbox.
	Several bool
	// Pull: no worker delivers the route, receivers ask for its messages over HTTP.
	// Each is locked for Lock at a time, and is set aside after MaxDeliveries locks of
	// which nothing was heard.
	Pull          bool
	Lock          time.Duration
	MaxDeliveries int
	// WorkAway is how long the route's one worker works on while the broker is away,
	// on a queue that runs on meanwhile; 0: DefaultWorkAway.
	WorkAway time.Duration
	// Duplicates is by what a repeat without a key is known; empty: DuplicatesTracking.
	Duplicates Duplicates
	// Retired: the configuration has the route no more, and the ledger has messages of
	// it. Nothing is accepted; what is there is delivered.
	Retired bool
	// Windows are when the route is not delivered.
	Windows []Window
	// Retention is how long what ended is kept; what it does not say is as for all
	// routes.
	Retention Retention
}

// Heading is what people call the route: its title, else its name in words, such as
// "Supplier invoices" for supplier-invoices.
func (r *Route) Heading() string {
	if r.Title != "" {
		return r.Title
	}
	words := strings.Join(strings.FieldsFunc(r.Name, func(c rune) bool { return c == '-' }), " ")
	if words == "" {
		return r.Name
	}
	return strings.ToUpper(words[:1]) + words[1:]
}

// RouteState is the state of a route in one word: the gravest of its conditions.
type RouteState string

// The states of a route, gravest first.
const (
	RouteUnauthorized RouteState = "unauthorized"
	RoutePaused       RouteState = "paused"
	RouteWindow       RouteState = "window"
	RouteUnavailable  RouteState = "unavailable"
	RouteThrottled    RouteState = "throttled"
	RouteNoWorker     RouteState = "noWorker"
	RouteRunning      RouteState = "running"
)

// RouteStates lists the states of a route, gravest first.
func RouteStates() []RouteState {
	return []RouteState{
		RouteUnauthorized, RoutePaused, RouteWindow, RouteUnavailable,
		RouteThrottled, RouteNoWorker, RouteRunning,
	}
}

// Condition is one thing that holds on a route.
type Condition struct {
	Type   RouteState `json:"type"`
	Since  time.Time  `json:"since"`
	Reason string     `json:"reason,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
	Worker string     `json:"worker,omitempty"`
	By     string     `json:"by,omitempty"`   // paused: who did it
	Rate   bool       `json:"rate,omitempty"` // throttled: by the worker's own configuration, which is no fault
}

// Calls are how many calls a destination is given at a time.
type Calls struct {
	Now   int `json:"now"`   // out at the moment, over all routes of the destination
	Limit int `json:"limit"` // how many may be: fewer than Most while it is slow, down or starts again
	Most  int `json:"most"`  // as configured
}

// IntakeState is how a route's intake from a queue elsewhere stands.
type IntakeState string

// The states of an intake.
const (
	IntakeStarting IntakeState = "starting"
	IntakeRunning  IntakeState = "running"
	IntakePaused   IntakeState = "paused" // the ledger takes nothing: messages stay in their queue
	IntakeAway     IntakeState = "away"   // the queue cannot be reached, or may not be read
	IntakeStopped  IntakeState = "stopped"
)

// IntakeStates lists the states of an intake.
func IntakeStates() []IntakeState {
	return []IntakeState{IntakeStarting, IntakeRunning, IntakePaused, IntakeAway, IntakeStopped}
}

// IntakeInfo is a route's intake as operators see it. Counts are since the broker
// started.
type IntakeInfo struct {
	Queue        string      `json:"queue"`
	State        IntakeState `json:"state"`
	Since        time.Time   `json:"since"`
	Reason       string      `json:"reason,omitempty"`
	Hint         string      `json:"hint,omitempty"`
	Taken        int64       `json:"taken"`        // repeats not counted
	Duplicates   int64       `json:"duplicates"`   // repeats, completed in the queue
	DeadLettered int64       `json:"deadLettered"` // in the queue, since they cannot be taken in
	InHand       int         `json:"inHand"`       // received, and not settled yet
}

// Reload is what came of reading the configuration anew.
type Reload struct {
	// Changed are the keys whose values are others now, such as
	// routes[invoices].schema; empty: the configuration is as it was.
	Changed []string `json:"changed"`
	// NextStart are those that take effect at the next start.
	NextStart []string  `json:"nextStart,omitempty"`
	At        time.Time `json:"at"`
}

// RouteInfo is a route as operators see it.
type RouteInfo struct {
	Name          string           `json:"name"`
	Title         string           `json:"title"` // what people call it
	Description   string           `json:"description,omitempty"`
	State         RouteState       `json:"state"`
	Conditions    []Condition      `json:"conditions"`
	Hint          string           `json:"hint,omitempty"` // what helps against the gravest of them
	NextProbe     *time.Time       `json:"nextProbe,omitempty"`
	Worker        string           `json:"worker,omitempty"`   // bound to
	Several       bool             `json:"several,omitempty"`  // workers claim turns; none is bound
	Pull          bool             `json:"pull,omitempty"`     // receivers ask over HTTP; Worker is who asked last
	Calls         *Calls           `json:"calls,omitempty"`    // of its destination, as its worker last told
	Awaiting      int64            `json:"awaiting,omitempty"` // pending, taken by the destination, which says later
	Pending       int64            `json:"pending"`
	Parked        int64            `json:"parked"`  // pending behind another of their ordering key
	InQueue       int              `json:"inQueue"` // handed out; with pull, locked by receivers
	Completed     int64            `json:"completed"`
	DeadLetters   int64            `json:"deadLetters"`
	ByReason      map[Reason]int64 `json:"deadLettersByReason,omitempty"`
	Discarded     int64            `json:"discarded"`
	Accepted      int64            `json:"accepted"`
	OldestPending *time.Time       `json:"oldestPending,omitempty"` // since when the one waits that has waited longest
	Owner         *Owner           `json:"owner,omitempty"`
	Leaving       []Leaving        `json:"leaving,omitempty"` // workers that lost the route, while they are waited for
	Intake        *IntakeInfo      `json:"intake,omitempty"`
	Replies       int              `json:"replies,omitempty"` // ends of messages that wait to be told
	// The configuration has the route no more: nothing is accepted, what is in it is
	// delivered still.
	Retired bool `json:"retired,omitempty"`
	// When to deliver.
	Stopping   *Stopping   `json:"stopping,omitempty"`   // while it is paused, or a window holds it
	NextWindow *WindowTime `json:"nextWindow,omitempty"` // the one that holds it, else the next one
}

// Stopping is how far a route that is held has come to rest.
type Stopping struct {
	Running int  `json:"running"` // calls that were begun before, as far as the workers said
	Done    bool `json:"done"`    // nothing runs, and nothing can begin before somebody resumes it
	// Workers that may call for the route; none where receivers pull.
	Workers []StoppingWorker `json:"workers"`
}

// StoppingWorker is a worker of a route that is held.
type StoppingWorker struct {
	Worker  string `json:"worker"`
	Running int    `json:"running"`
	Heard   bool   `json:"heard"` // it begins nothing any more
	// Of one that has not heard: until when it may begin calls, by the last word that
	// it got, and when these have surely ended. Silent: that is over, or so are the
	// calls of one that has heard and was not heard of since.
	StartsUntil *time.Time `json:"startsUntil,omitempty"`
	CalmAt      *time.Time `json:"calmAt,omitempty"`
	Silent      bool       `json:"silent,omitempty"`
}

// Leaving is a worker that lost a route to another and may not know it yet: it
// may begin calls for the messages that it had been handed.
type Leaving struct {
	Worker   string    `json:"worker"`
	Until    time.Time `json:"until"`             // it begins no call after it
	Stopped  bool      `json:"stopped,omitempty"` // it has said so, or a person says that it is gone
	Calm     time.Time `json:"calm"`              // what it may have begun is looked up from then on
	Messages int       `json:"messages"`          // that it may have begun
}

// WorkerState is how a worker stands, in one word.
type WorkerState string

// The states of a worker.
const (
	WorkerConnected     WorkerState = "connected"     // heard lately
	WorkerStopped       WorkerState = "stopped"       // it said that it stops
	WorkerAway          WorkerState = "away"          // silent, without a goodbye
	WorkerNotSinceStart WorkerState = "notSinceStart" // not heard since the broker started
	WorkerNeverSeen     WorkerState = "neverSeen"     // not heard since it was let in
	WorkerRevoked       WorkerState = "revoked"
)

// WorkerStates lists the states of a worker.
func WorkerStates() []WorkerState {
	return []WorkerState{WorkerConnected, WorkerStopped, WorkerAway, WorkerNotSinceStart, WorkerNeverSeen, WorkerRevoked}
}

// WorkerInfo is a worker as operators see it.
type WorkerInfo struct {
	Name      string   `json:"name"`
	PublicKey string   `json:"publicKey"` // nkey, U…
	Routes    []string `json:"routes"`
	// State is by the broker's clock; empty: the broker is of a version that tells none.
	State     WorkerState `json:"state,omitempty"`
	Inbox     string      `json:"inbox,omitempty"` // identity of the inbox last seen
	Bound     []string    `json:"bound,omitempty"` // routes that this worker's inbox may deliver
	Version   string      `json:"version,omitempty"`
	LastSeen  *time.Time  `json:"lastSeen,omitempty"` // since the broker started
	CreatedAt time.Time   `json:"createdAt"`
	RevokedAt *time.Time  `json:"revokedAt,omitempty"`
	// LoginElsewhere: the login itself is made and removed by the operator of the
	// queue's server; the broker only decides whom it speaks to.
	LoginElsewhere bool `json:"loginElsewhere,omitempty"`
	// Queue is the technology of the queue: nats or servicebus.
	Queue string `json:"queue,omitempty"`
	// Connections are those that are open now, the oldest first; only the queue inside
	// the broker knows them.
	Connections []WorkerConnection `json:"connections,omitempty"`
}

// WorkerConnection is a connection of a worker to the queue.
type WorkerConnection struct {
	Via     string    `json:"via"`               // /queue, tcp or process: that of the broker itself
	Address string    `json:"address,omitempty"` // host and port that it comes from: of a proxy, where one is between
	Since   time.Time `json:"since"`
}

// NewWorker is the answer to a made or rotated worker: the only time that its
// seed is shown.
type NewWorker struct {
	WorkerInfo
	Seed string `json:"seed"` // nkey seed, SU…
	// LoginConfig, with LoginElsewhere, is what the operator of the queue's server
	// adds to its configuration; it holds no secret.
	LoginConfig string `json:"loginConfig,omitempty"`
	// WorkerConfig is the section queue of its worker.yaml, where the broker knows it;
	// NKEY stands in it for where the seed lies.
	WorkerConfig string `json:"workerConfig,omitempty"`
}

// StatusReport is `broker status`.
type StatusReport struct {
	Environment   string           `json:"environment,omitempty"`
	Version       string           `json:"version"`
	Ready         bool             `json:"ready"`
	Problems      []string         `json:"problems,omitempty"` // sentences; none means all is well
	Routes        []RouteInfo      `json:"routes"`
	Waiting       int64            `json:"waiting"`
	OldestPending *time.Time       `json:"oldestPending,omitempty"`
	DeadLetters   map[Reason]int64 `json:"deadLetters,omitempty"`
	Workers       []WorkerInfo     `json:"workers"`
	LedgerBytes   int64            `json:"ledgerBytes"`
	DiskFreeBytes int64            `json:"diskFreeBytes"`
	StartedAt     time.Time        `json:"startedAt"`
	Certificate   *CertificateInfo `json:"certificate,omitempty"` // of the listener; none without TLS
	// Bulk acts that run, or wait for a person.
	Operations []Operation `json:"operations,omitempty"`
	// CallbacksWaiting are ends of messages that wait to be told, over all routes.
	CallbacksWaiting int `json:"callbacksWaiting"`
}

// CertificateInfo is the certificate of the broker's listener.
type CertificateInfo struct {
	Names     []string  `json:"names"` // hosts and addresses that it is for
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
	LoadedAt  time.Time `json:"loadedAt"`
	// Problem is why the files as they are now are not used; empty: they are.
	Problem string `json:"problem,omitempty"`
}
