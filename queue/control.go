package queue

import (
	"time"

	"ferry"
)

// Hello is what a worker tells the broker when it connects, every ten seconds
// (the heartbeat), after a Signal that asks for it, and when a condition of a
// route changes.
type Hello struct {
	Worker string `json:"worker"` // checked against what the driver authenticated
	Inbox  string `json:"inbox"`  // identity of the worker's inbox
	// Run names this run of the worker's process. A hello that arrives late may be
	// of an earlier one.
	Run     string       `json:"run,omitempty"`
	Version string       `json:"version"`
	Routes  []RouteHello `json:"routes"`
	// Now is the worker's clock; zero: it is of an earlier version.
	Now time.Time `json:"now,omitzero"`
	// Leaving: the worker stops, and nothing more is heard of it: it begins no call
	// any more, in this run.
	Leaving bool `json:"leaving,omitempty"`
}

// RouteHello is one route of a worker.
type RouteHello struct {
	Name string `json:"name"`
	// Bound is how long after the start of a call the destination may still
	// write: time-out plus settle time.
	Bound      time.Duration `json:"bound"`
	CanLookup  bool          `json:"canLookup"`
	HonoursKey bool          `json:"honoursKey"`
	// WantsConfirm: hand-outs need the address that the destination calls back.
	WantsConfirm bool              `json:"wantsConfirm,omitempty"`
	InFlight     int               `json:"inFlight"`
	Conditions   []ferry.Condition `json:"conditions,omitempty"`
	NextProbe    *time.Time        `json:"nextProbe,omitempty"`
	Calls        *ferry.Calls      `json:"calls,omitempty"` // of its destination
	// Stopped is the PausedAt of the word that the worker goes by, while it is held:
	// nothing is begun any more, and InFlight are what was begun before.
	Stopped time.Time `json:"stopped,omitzero"`
	// Heard is the binding whose word the worker took last, granted or not: it
	// begins nothing of any other from before this hello was sent. 0: it has not
	// heard any.
	Heard uint64 `json:"heard,omitempty"`
}

// Welcome is the broker's answer to a Hello.
type Welcome struct {
	// Start identifies this run of the broker: when it changes, the worker sends
	// its unconfirmed results again.
	Start  string                  `json:"start"`
	Now    time.Time               `json:"now"`
	Routes map[string]RouteWelcome `json:"routes"`
	Error  string                  `json:"error,omitempty"` // the hello was refused whole: a sentence
	// Outlives: the queue runs on while the broker is away. Receipts that it took
	// are still there when the broker comes back.
	Outlives bool `json:"outlives,omitempty"`
}

// RouteWelcome says whether the worker's inbox may deliver a route.
type RouteWelcome struct {
	Granted bool `json:"granted"`
	// Binding numbers the binding of the route that this word is about, whoever is
	// bound. It only rises.
	Binding uint64 `json:"binding,omitempty"`
	// Good is how long calls may begin on this word, counted from when the worker
	// asked, while it hears no other. 0: WordGood. Not where turns are claimed.
	Good time.Duration `json:"good,omitempty"`

	Why    string `json:"why,omitempty"` // of a refusal: a sentence with what to do
	Paused bool   `json:"paused,omitempty"`
	// Claims: several workers deliver the route. What was published for one inbox
	// before this word is not worked on any more.
	Claims bool `json:"claims,omitempty"`
	// PausedAt names what holds the route, with Paused: its begin.
	PausedAt time.Time `json:"pausedAt,omitzero"`
	// Hold is the hold that the route is in, else the next one; nil: none is known.
	Hold *Hold `json:"hold,omitempty"`
	// Held is how long the route has been held in all; 0: not known. It moves the
	// expiry of what was handed out when it was less.
	Held time.Duration `json:"held,omitempty"`
	// ResumedAt is when somebody last resumed the route: it lifts a stop for
	// refused credentials that is older.
	ResumedAt time.Time `json:"resumedAt,omitzero"`
}

// Hold is a time in which a route is not delivered, from the broker's answer on.
type Hold struct {
	In  time.Duration `json:"in,omitempty"`
	For time.Duration `json:"for,omitempty"` // from then on; 0: until the broker says otherwise
}

// WordGood is how long the broker's word that a route is an inbox's lets calls
// begin, where it does not say that it is good for longer.
const WordGood = 20 * time.Second

// Signal is what the broker tells a worker that listens; it may be lost, so
// that nothing but speed depends on it.
type Signal struct {
	// Confirmed receipts: their commit is on disk.
	Confirmed []Confirmed `json:"confirmed,omitempty"`
	// HelloAgain asks for a Hello at once: a route was paused, resumed or bound.
	HelloAgain bool `json:"helloAgain,omitempty"`
	// Report asks for what the worker's inbox knows.
	Report *ReportCall `json:"report,omitempty"`
}

// Confirmed names a receipt whose commit is on disk.
type Confirmed struct {
	ID   ferry.ID `json:"id"`
	Turn uint64   `json:"turn"`
}

// BodyRequest asks for a part of a body that was too large to travel inline.
type BodyRequest struct {
	ID       ferry.ID `json:"id"`
	Route    string   `json:"route"`
	Revision int      `json:"revision"`
	Offset   int64    `json:"offset"`
	Length   int      `json:"length"` // at most BodyChunk
}

// BodyChunk is the largest part of a body that one request brings, bytes.
const BodyChunk = 512 << 10
