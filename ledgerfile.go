package ferry

import "time"

// LedgerFile is how the file of the ledger is used.
type LedgerFile struct {
	Size       int64       `json:"size"`       // bytes
	Free       int64       `json:"free"`       // bytes of it that nothing lies in; they are reused
	Compacting bool        `json:"compacting"` // a smaller copy is being made
	Last       *Compaction `json:"last,omitempty"`
}

// Compaction is one that has ended since the broker started.
type Compaction struct {
	StartedAt time.Time         `json:"startedAt"`
	EndedAt   time.Time         `json:"endedAt"`
	By        string            `json:"by"` // who asked for it; broker: nobody
	Outcome   CompactionOutcome `json:"outcome"`
	Before    int64             `json:"before"` // size of the file, bytes
	After     int64             `json:"after"`
	HeldMs    float64           `json:"heldMs"` // how long writes were held at its end, milliseconds
	Error     string            `json:"error,omitempty"`
	Hint      string            `json:"hint,omitempty"`
}

// CompactionOutcome is how a compaction ended. After all but compacted the file is
// as it was.
type CompactionOutcome string

// The outcomes.
const (
	Compacted        CompactionOutcome = "compacted"
	CompactionNoRoom CompactionOutcome = "noRoom"  // the disk has no room for the copy
	CompactionGave   CompactionOutcome = "gaveWay" // writes would have waited for it
	CompactionEnded  CompactionOutcome = "stopped" // the broker stopped
	CompactionFailed CompactionOutcome = "failed"
)

// CompactionOutcomes lists every outcome.
func CompactionOutcomes() []CompactionOutcome {
	return []CompactionOutcome{Compacted, CompactionNoRoom, CompactionGave, CompactionEnded, CompactionFailed}
}
