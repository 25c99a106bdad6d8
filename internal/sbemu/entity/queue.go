package entity

import (
	"time"

	"github.com/Azure/go-amqp"
)

// Queue is a queue with its sub-queues.
type Queue struct{}

// Incoming is a message to be sent.
type Incoming struct {
	Message *amqp.Message
	Size    int // bytes, encoded; 0: it is measured
}

// Config is the settings, defaults filled in.
func (q *Queue) Config() Config { return Config{} }

// Update changes the settings; Name stays. Sessions and duplicate detection cannot
// be switched on or off: ErrNotAllowed. ErrInvalid, ErrNotFound when the queue is
// deleted.
func (q *Queue) Update(c Config) error { return nil }

// CreatedAt is when the queue was made.
func (q *Queue) CreatedAt() time.Time { return time.Time{} }

// UpdatedAt is when its settings last changed.
func (q *Queue) UpdatedAt() time.Time { return time.Time{} }

// AccessedAt is when something was last sent to it or received from it.
func (q *Queue) AccessedAt() time.Time { return time.Time{} }

// Main is the queue as a source.
func (q *Queue) Main() *Source { return nil }

// DeadLetters is the sub-queue of dead letters.
func (q *Queue) DeadLetters() *Source { return nil }

// TransferDeadLetters is the sub-queue of what could not be forwarded: always empty,
// since nothing is forwarded here.
func (q *Queue) TransferDeadLetters() *Source { return nil }

// Send takes all messages or none. A message whose id was seen within the duplicate
// window is left out, without an error. A message with the annotation
// x-opt-scheduled-enqueue-time in the future is scheduled. ErrTooLarge, ErrFull,
// ErrNotAllowed (a message without a session where one is needed), ErrInvalid,
// ErrDisabled, ErrNotFound (deleted), ErrClosed.
func (q *Queue) Send(msgs ...Incoming) error { return nil }

// Schedule is Send that returns the sequence numbers, in order. A message that was
// left out as a duplicate has none.
func (q *Queue) Schedule(msgs ...Incoming) ([]int64, error) { return nil, nil }

// CancelScheduled removes scheduled messages, all or none: ErrNotFound when one of
// the numbers is not that of a scheduled message.
func (q *Queue) CancelScheduled(numbers []int64) error { return nil }
