package ferry

import "time"

// Use is one request as the counts of usage see it.
type Use struct {
	Key      string // who called: the key's id; empty: nobody who is known
	Name     string // of the key, for people
	Route    string // empty: the request was about none
	At       time.Time
	Took     time.Duration
	Sent     bool   // messages were taken: Took counts towards the latency
	Code     Code   // of a refusal; empty: it was answered
	Items    []Code // refusals of single messages in a partial batch
	BytesIn  int64
	BytesOut int64
}

// The keys of rows that are no key's.
const (
	UsageOther = "other" // who came beyond MaxUsageRows
	UsageNone  = "none"  // requests without a valid key
)

// What usage can be told by.
const (
	UsageByKey   = "key"
	UsageByRoute = "route"
	UsageByDay   = "day"
)

// UsageFilter selects what is counted. Days are UTC, 2026-11-23; empty: no bound.
type UsageFilter struct {
	Since, Until string // first and last day
	Key          string // a key's id, or its name
	Own          string // a key's id: only what it did; empty: of all
	Route        string
	By           []string // one row per value of these; none: one row in all
}

// UsageRow is what one key did on one route on one UTC day, or a sum of such.
type UsageRow struct {
	Day      string         `json:"day,omitempty"`
	Key      string         `json:"key,omitempty"`  // id; "other" beyond the bound of a day, "none" without a valid key
	Name     string         `json:"name,omitempty"` // of the key, as it was then
	Route    string         `json:"route,omitempty"`
	Requests int64          `json:"requests"`
	Accepted int64          `json:"accepted"` // messages
	Repeats  int64          `json:"repeats"`  // messages known already
	Replaced int64          `json:"replaced"` // bodies that took the place of a dead letter's
	Refused  int64          `json:"refused"`  // requests; in partial batches messages
	ByCode   map[Code]int64 `json:"refusedByCode,omitempty"`
	BytesIn  int64          `json:"bytesIn"`
	BytesOut int64          `json:"bytesOut"`
	Latency  *Latency       `json:"latency,omitempty"` // nil: no request took messages
}

// Latency is how long requests took that sent messages, from their beginning to
// their answer, milliseconds. The percentiles are the upper bounds of buckets.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}
