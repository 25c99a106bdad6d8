package entity

import "time"

// Counts is how many messages are in which state. Every message is in one of them.
type Counts struct {
	Active    int64 // free to be received
	Locked    int64 // in a receiver's hands, deferred ones too
	Scheduled int64
	Deferred  int64 // and not locked
	Dead      int64 // in the dead-letter sub-queue, whatever their state there
	Bytes     int64 // of all of them
}

// Counts counts the queue's messages.
func (q *Queue) Counts() Counts { return Counts{} }

// Counts counts the source's own messages; Dead is 0.
func (s *Source) Counts() Counts { return Counts{} }

// Totals counts what happened to a source since it was made.
type Totals struct {
	Sent       int64 // messages stored: sends, and moves into the sub-queue
	Duplicates int64 // messages left out as repeated
	Delivered  int64 // each delivery of a message
	Deleted    int64 // of them, received and deleted
	Completed  int64
	Abandoned  int64
	Released   int64
	Deferred   int64
	DeadLetter int64 // moved to the sub-queue, for any reason
	Expired    int64 // time to live was over: dead-lettered or removed
	LockLost   int64 // locks that ended unsettled
	Renewed    int64
	Cancelled  int64 // scheduled ones
}

// Totals counts what happened in the source.
func (s *Source) Totals() Totals { return Totals{} }

// State is the state of a message.
type State string

// The states of a message.
const (
	StateActive    State = "active"
	StateLocked    State = "locked"
	StateScheduled State = "scheduled"
	StateDeferred  State = "deferred"
)

// Held is a message as an inspector sees it.
type Held struct {
	Sequence      int64
	MessageID     string
	Session       string
	State         State
	DeliveryCount uint32
	EnqueuedAt    time.Time
	DueAt         time.Time // scheduled ones
	LockedUntil   time.Time // locked ones
	ExpiresAt     time.Time // zero: never
	Bytes         int64
}

// Messages lists all messages of the source by sequence number.
func (s *Source) Messages() []Held { return nil }
