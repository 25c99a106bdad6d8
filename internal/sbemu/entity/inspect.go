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
func (q *Queue) Counts() Counts {
	q.look()
	defer q.mu.Unlock()
	c := q.main.counts()
	for _, n := range q.dead.held {
		c.Dead += n
	}
	c.Bytes = q.bytes
	return c
}

// Counts counts the source's own messages; Dead is 0.
func (s *Source) Counts() Counts {
	s.queue.look()
	defer s.queue.mu.Unlock()
	return s.counts()
}

func (s *Source) counts() Counts {
	return Counts{Active: s.held[ready], Locked: s.held[locked], Scheduled: s.held[scheduled], Deferred: s.held[deferred], Bytes: s.bytes}
}

// look locks the queue, also one that has ended, as it is at this moment.
func (q *Queue) look() {
	if q.enter() == nil {
		q.leave()
	}
	q.mu.Lock()
}

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
	Peeks      int64 // looks, however many messages they showed
	Cancelled  int64 // scheduled ones
}

// Totals counts what happened in the source.
func (s *Source) Totals() Totals {
	s.queue.look()
	defer s.queue.mu.Unlock()
	return s.totals
}

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
func (s *Source) Messages() []Held {
	s.queue.look()
	defer s.queue.mu.Unlock()
	list := make([]Held, 0, s.all.len())
	s.all.each(0, func(m *message) bool {
		h := Held{
			Sequence: m.number, MessageID: m.id, Session: m.sessionID(), State: states[m.stage],
			DeliveryCount: m.count, EnqueuedAt: m.enqueued, ExpiresAt: m.expires, Bytes: m.size,
		}
		switch m.stage {
		case scheduled:
			h.DueAt = m.due
		case locked:
			h.LockedUntil = m.until()
		}
		list = append(list, h)
		return true
	})
	return list
}

var states = [stages]State{ready: StateActive, locked: StateLocked, scheduled: StateScheduled, deferred: StateDeferred}
