package ferry

import "time"

// MaxFindings bounds the findings that a proof lists; beyond it they are counted.
const MaxFindings = 1000

// Reconciliation is promise 2 for one route and day:
// accepted = pending + completed + dead-lettered + discarded.
type Reconciliation struct {
	Route       string `json:"route"`
	Day         string `json:"day"` // UTC day of acceptance, 2026-11-23
	Accepted    int64  `json:"accepted"`
	Pending     int64  `json:"pending"`
	Completed   int64  `json:"completed"`
	DeadLetters int64  `json:"deadLettered"`
	Discarded   int64  `json:"discarded"`
	// Balanced: the counts agree, and nothing else of the day was found amiss.
	Balanced bool `json:"balanced"`
	// First and Last are the lowest and the highest accept number of the day; 0: not
	// known, of a day before they were kept. Purged counts what retention removed.
	First  uint64 `json:"first,omitempty"`
	Last   uint64 `json:"last,omitempty"`
	Purged int64  `json:"purged,omitempty"`
}

// FindingKind says in one word what does not add up.
type FindingKind string

// The kinds of findings. Those that begin with "worker" come of what a worker's
// inbox says.
const (
	FindingMissing     FindingKind = "missing"     // an accept number has no record, and was not removed by retention
	FindingTwice       FindingKind = "twice"       // two records have one accept number
	FindingNumber      FindingKind = "number"      // a record's accept number cannot be
	FindingTally       FindingKind = "tally"       // what a day counts is not what is there
	FindingRecord      FindingKind = "record"      // a record cannot be read, or contradicts itself
	FindingDue         FindingKind = "due"         // pending, and nothing would ever hand it out
	FindingOrder       FindingKind = "order"       // it does not stand where its ordering key says
	FindingDead        FindingKind = "dead"        // a dead letter that no list has
	FindingClaim       FindingKind = "claim"       // claimed, and nothing would take it over
	FindingStray       FindingKind = "stray"       // an entry of an index without its record
	FindingBody        FindingKind = "body"        // a body is gone, or is not what was accepted
	FindingWorkerDone  FindingKind = "workerDone"  // a worker delivered what the ledger does not know as completed
	FindingWorkerOther FindingKind = "workerOther" // a worker's reference differs from the ledger's
	FindingWorkerAhead FindingKind = "workerAhead" // a worker has a later turn than the ledger
	FindingUnknown     FindingKind = "unknown"     // a worker knows a message that this ledger never accepted
)

// Finding is one thing that does not add up, and which message it is about.
type Finding struct {
	Kind   FindingKind `json:"kind"`
	Route  string      `json:"route,omitempty"`
	Day    string      `json:"day,omitempty"`    // UTC day of acceptance
	Number uint64      `json:"number,omitempty"` // accept number
	ID     ID          `json:"id,omitzero"`
	Worker string      `json:"worker,omitempty"`
	// Reference is the destination's own number, as the worker knows it.
	Reference string `json:"reference,omitempty"`
	Text      string `json:"text"` // a sentence
}

// WorkerProof says how far a worker's inbox was held against the ledger.
type WorkerProof struct {
	Worker  string `json:"worker"`
	Version string `json:"version,omitempty"`
	Records int64  `json:"records"` // of its inbox, held against the ledger
	// Removed counts the records of messages that retention may have removed.
	Removed int64 `json:"removed,omitempty"`
	// Unreached is why its inbox was not, or not wholly, held against the ledger.
	Unreached string `json:"unreached,omitempty"`
}

// Proof is promise 2, held against all that knows of it.
type Proof struct {
	At       time.Time        `json:"at"`
	Items    []Reconciliation `json:"items"`
	Findings []Finding        `json:"findings"`
	// More counts findings beyond the first MaxFindings.
	More    int64         `json:"moreFindings,omitempty"`
	Records int64         `json:"records"` // that were read
	Workers []WorkerProof `json:"workers,omitempty"`
}

// Balanced says that everything adds up.
func (p *Proof) Balanced() bool {
	for i := range p.Items {
		if !p.Items[i].Balanced {
			return false
		}
	}
	return len(p.Findings) == 0 && p.More == 0
}

// Add adds a finding, or counts it beyond the first MaxFindings.
func (p *Proof) Add(f Finding) {
	if len(p.Findings) < MaxFindings {
		p.Findings = append(p.Findings, f)
		return
	}
	p.More++
}

// ProofRequest says what a proof looks at.
type ProofRequest struct {
	Route string    // empty: all
	Since time.Time // days of acceptance from that of this time on; zero: all
	Deep  bool      // read every body and hold it against its hash
}
