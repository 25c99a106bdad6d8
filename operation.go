package ferry

import "time"

// Operation is a bulk act on dead letters, or on discarded messages: durable, and
// carried on after a restart. What it touches is frozen at its start, and it touches
// each message at most once.
type Operation struct {
	ID         string           `json:"id"`
	Act        string           `json:"act"`   // replay, discard or restore
	State      string           `json:"state"` // OperationRunning, …
	Filter     DeadLetterFilter `json:"filter"`
	By         string           `json:"by"`
	Note       string           `json:"note,omitempty"`
	KeyID      string           `json:"keyId,omitempty"` // of By, as Identity.KeyID
	Total      int              `json:"total"`           // frozen at the start
	Done       int              `json:"done"`
	Skipped    int              `json:"skipped"` // no longer what was selected when their turn came
	CreatedAt  time.Time        `json:"createdAt"`
	FinishedAt *time.Time       `json:"finishedAt,omitempty"`

	SkippedBy map[SkipReason]int `json:"skippedBy,omitempty"` // adds up to Skipped
	Examples  []Skip             `json:"skippedExamples,omitempty"`

	// Of a replay: how those ended that were sent again; the others of Done are on their
	// way. It goes on counting after the operation's end.
	Completed   int `json:"completed"`
	FailedAgain int `json:"failedAgain"` // dead letters anew
	Discarded   int `json:"discarded,omitempty"`
	// Of a discard: how many were taken back since.
	Restored int `json:"restored,omitempty"`

	Rate   Rate             `json:"rate,omitzero"`    // hands back at most so many
	Canary *OperationCanary `json:"canary,omitempty"` // its first messages, whose ends it waits for
	// Groups are those of a replay with a canary, the largest first, at most
	// OperationGroupsShown; stopped ones come first.
	Groups []OperationGroup `json:"groups,omitempty"`
	// Stopped says why the rest, or that of a group, is not sent again.
	Stopped string `json:"stopped,omitempty"`
	// Undoes is the discard that a restore takes back.
	Undoes string `json:"undoes,omitempty"`

	// Waiting says what a running operation waits for; empty: for nothing.
	Waiting     string     `json:"waiting,omitempty"`
	PerSecond   float64    `json:"perSecond,omitempty"`   // measured, of a running one
	ExpectedEnd *time.Time `json:"expectedEnd,omitempty"` // at that speed
}

// Out is how many of a replay are on their way: sent again, and not ended.
func (o *Operation) Out() int {
	if o.Act != ActReplay {
		return 0
	}
	return o.Done - o.Completed - o.FailedAgain - o.Discarded
}

// Left is how many of the selection have not had their turn.
func (o *Operation) Left() int { return o.Total - o.Done - o.Skipped }

// The acts of operations.
const (
	ActReplay  = "replay"
	ActDiscard = "discard"
	ActRestore = "restore"
)

// The states of an operation. A stopped one waits for a person: its canary, or many
// of its messages in a row, failed as before.
const (
	OperationRunning   = "running"
	OperationStopped   = "stopped"
	OperationDone      = "done"
	OperationCancelled = "cancelled"
)

// SkipReason is why an operation left a message of its selection alone.
type SkipReason string

// Why messages are skipped.
const (
	SkipCompleted   SkipReason = "completed"   // it is completed
	SkipPending     SkipReason = "pending"     // somebody sent it again
	SkipDiscarded   SkipReason = "discarded"   // somebody discarded it
	SkipDead        SkipReason = "deadLetter"  // restore: it is a dead letter
	SkipFailedAnew  SkipReason = "failedAnew"  // somebody sent it again, and it failed anew: another dead letter than was selected
	SkipInDelivery  SkipReason = "inDelivery"  // discard: a worker may be posting it
	SkipGone        SkipReason = "gone"        // retention removed it
	SkipUnreadable  SkipReason = "unreadable"  // its record is damaged
	SkipUnspecified SkipReason = "unspecified" // by an earlier version
)

// Skip is a message that was skipped.
type Skip struct {
	ID  ID         `json:"id"`
	Why SkipReason `json:"why"`
}

// OperationCanary is how the first messages of a replay fare.
type OperationCanary struct {
	Size      int             `json:"size"` // as asked for; fewer when fewer were selected
	Sent      int             `json:"sent"`
	Completed int             `json:"completed"`
	Alike     int             `json:"failedAlike"`     // dead letters with the same error as before
	Otherwise int             `json:"failedOtherwise"` // dead letters with another error
	Since     time.Time       `json:"since,omitzero"`  // when the first was sent
	Messages  []CanaryMessage `json:"messages,omitempty"`
}

// Waiting is how many of those that were sent have not ended.
func (c *OperationCanary) Waiting() int {
	n := 0
	for i := range c.Messages {
		if c.Messages[i].End == "" {
			n++
		}
	}
	return n
}

// CanaryMessage is one message of a canary.
type CanaryMessage struct {
	ID    ID     `json:"id"`
	Route string `json:"route"`
	Group string `json:"group"`           // that it was of
	End   string `json:"end,omitempty"`   // CanaryCompleted, …; empty: it has not ended
	Error string `json:"error,omitempty"` // of a dead letter: code and text, at most 200 bytes
}

// The ends of canary messages.
const (
	CanaryCompleted = "completed"
	CanaryAlike     = "failedAlike"
	CanaryOtherwise = "failedOtherwise"
	CanaryDiscarded = "discarded"
)

// OperationGroup is how a replay with a canary fares with the dead letters that had
// failed alike.
type OperationGroup struct {
	Group       string `json:"group"`
	Route       string `json:"route"`
	Reason      Reason `json:"reason"`
	Code        string `json:"code,omitempty"`
	Description string `json:"description"` // masked
	State       string `json:"state"`       // GroupTesting, …
	Total       int    `json:"total"`
	Done        int    `json:"done"`
	Skipped     int    `json:"skipped"`
	Completed   int    `json:"completed"`
	FailedAgain int    `json:"failedAgain"`
	Stopped     string `json:"stopped,omitempty"` // why
}

// The states of a group in an operation.
const (
	GroupTesting = "testing" // its canary has not ended
	GroupWaiting = "waiting" // it has no canary of its own, and waits for those of others
	GroupRunning = "running" // its rest is sent again
	GroupStopped = "stopped"
	GroupDone    = "done"
)

// BulkRequest asks for a bulk act.
type BulkRequest struct {
	Filter         DeadLetterFilter `json:"filter"`
	IDs            []ID             `json:"ids,omitempty"` // instead of a filter
	All            bool             `json:"all,omitempty"` // explicit: no filter at all
	IncludeUnknown bool             `json:"includeUnknown,omitempty"`
	DryRun         bool             `json:"dryRun,omitempty"`
	Expect         *int             `json:"expect,omitempty"` // refuse when the selection has another count
	Note           string           `json:"note,omitempty"`
	// Rate is the most that is handed back in a time: 50/s, 600/m. None: as fast as it goes.
	Rate Rate `json:"rate,omitzero"`
	// Canary, of a replay: so many first, spread over the groups; the rest of a group
	// only if none of its own failed as before. 0: none; at most MaxCanary.
	Canary int `json:"canary,omitempty"`
	// Operation, of a restore, instead of a filter: what this operation discarded.
	Operation string `json:"operation,omitempty"`
}

// BulkAnswer is what a bulk act would touch, and the operation unless it was a
// dry run.
type BulkAnswer struct {
	OperationID string                    `json:"operationId,omitempty"`
	Count       int                       `json:"count"`
	ByRoute     map[string]map[Reason]int `json:"byRoute"`
	MayExist    int                       `json:"mayExist"`       // of these, how many may already exist at the destination
	LeftOut     int                       `json:"leftOut"`        // OutcomeUnknown, left out without includeUnknown
	Groups      int                       `json:"groups"`         // of errors alike
	Gone        int                       `json:"gone,omitempty"` // restore of an operation: no longer there, or not discarded by it
}
