package entity

import (
	"fmt"
	"sync"
	"time"

	"github.com/Azure/go-amqp"
)

// Queue is a queue with its sub-queues.
type Queue struct {
	now     func() time.Time
	created time.Time

	mu       sync.Mutex
	config   Config
	updated  time.Time
	accessed time.Time
	ended    error // why it takes part no more
	bytes    int64 // of all messages
	window   window
	agenda   agenda

	main, dead, transfer *Source
}

func newQueue(c Config, now func() time.Time) *Queue {
	at := now()
	q := &Queue{now: now, created: at, config: c, updated: at, accessed: at}
	q.main = newSource(q, "", c.RequiresSession)
	q.dead = newSource(q, deadSuffix, false)
	q.transfer = newSource(q, transferSuffix, false)
	q.agenda.wake = func(timer int) {
		if q.enter() == nil {
			q.agenda.called(timer)
			q.leave()
		}
	}
	return q
}

// enter locks the queue and lets what is due happen. Each enter that returns no
// error is followed by a leave.
func (q *Queue) enter() error {
	q.mu.Lock()
	if q.ended != nil {
		defer q.mu.Unlock()
		return q.ended
	}
	q.agenda.run(q.now())
	return nil
}

// leave gives what has become free to who waits for it, and unlocks.
func (q *Queue) leave() {
	now := q.now()
	q.main.serve(now)
	q.dead.serve(now)
	q.agenda.arm(now)
	q.mu.Unlock()
}

// end tells everybody who waits, and drops all messages.
func (q *Queue) end(why error) {
	q.mu.Lock()
	if q.ended == nil {
		q.ended = why
		for _, s := range q.sources() {
			s.detach(why)
			s.all, s.ready, s.locks, s.sessions = index{}, index{}, nil, nil
			s.held, s.bytes = [stages]int64{}, 0
		}
		q.agenda.disarm()
		q.agenda.heap = nil
		q.window = window{}
		q.bytes = 0
	}
	q.mu.Unlock()
	q.agenda.alive.Wait() // a timer that is running finds the queue ended
}

func (q *Queue) sources() []*Source { return []*Source{q.main, q.dead, q.transfer} }

// Config is the settings, defaults filled in.
func (q *Queue) Config() Config {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.config
}

// Update changes the settings; Name stays. Sessions, partitions and duplicate
// detection cannot be switched on or off: ErrNotAllowed. ErrInvalid, ErrNotFound when the queue is
// deleted.
func (q *Queue) Update(c Config) error {
	if err := q.enter(); err != nil {
		return err
	}
	defer q.leave()
	c.Name = q.config.Name
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return err
	}
	if c.RequiresSession != q.config.RequiresSession || c.Partitioned != q.config.Partitioned || (c.DuplicateWindow > 0) != (q.config.DuplicateWindow > 0) {
		return fmt.Errorf("%w: sessions, partitions and duplicate detection are chosen when the queue is made", ErrNotAllowed)
	}
	q.config = c
	q.updated = q.now()
	if !c.receives() {
		for _, s := range q.sources() {
			s.detach(q.disabled())
		}
	}
	return nil
}

func (q *Queue) disabled() error {
	return fmt.Errorf("%w: %s is %s", ErrDisabled, q.config.Name, q.config.Status)
}

// CreatedAt is when the queue was made.
func (q *Queue) CreatedAt() time.Time { return q.created }

// UpdatedAt is when its settings last changed.
func (q *Queue) UpdatedAt() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.updated
}

// AccessedAt is when something was last sent to it or received from it.
func (q *Queue) AccessedAt() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.accessed
}

// Main is the queue as a source.
func (q *Queue) Main() *Source { return q.main }

// DeadLetters is the sub-queue of dead letters.
func (q *Queue) DeadLetters() *Source { return q.dead }

// TransferDeadLetters is the sub-queue of what could not be forwarded: always empty,
// since nothing is forwarded here.
func (q *Queue) TransferDeadLetters() *Source { return q.transfer }

// Incoming is a message to be sent.
type Incoming struct {
	Message *amqp.Message
	Size    int // bytes, encoded; 0: it is measured
}

// Send takes all messages or none. A message whose id was seen within the duplicate
// window is left out, without an error. A message with the annotation
// x-opt-scheduled-enqueue-time in the future is scheduled. ErrTooLarge, ErrFull,
// ErrNotAllowed (a message without a session where one is needed), ErrInvalid,
// ErrDisabled, ErrNotFound (deleted), ErrClosed.
func (q *Queue) Send(msgs ...Incoming) error {
	_, err := q.Schedule(msgs...)
	return err
}

// Schedule is Send that returns the sequence numbers, in order. A message that was
// left out as a duplicate has none.
func (q *Queue) Schedule(msgs ...Incoming) ([]int64, error) {
	sizes := make([]int64, len(msgs))
	for i, in := range msgs {
		size, err := measure(in)
		if err != nil {
			return nil, err
		}
		sizes[i] = size
	}
	if err := q.enter(); err != nil {
		return nil, err
	}
	defer q.leave()
	if !q.config.sends() {
		return nil, q.disabled()
	}
	if err := q.fits(sizes); err != nil {
		return nil, err
	}
	now := q.now()
	all := make([]*message, len(msgs))
	for i, in := range msgs {
		m, err := adopt(q.config, in.Message, now)
		if err != nil {
			return nil, err
		}
		m.size = sizes[i]
		all[i] = m
	}
	q.accessed = now
	var numbers []int64
	for _, m := range all {
		if q.repeated(m, now) {
			continue
		}
		q.main.take(m, now)
		numbers = append(numbers, m.number)
	}
	return numbers, nil
}

// fits holds a send to the limits of one message, of a batch, and of the queue.
func (q *Queue) fits(sizes []int64) error {
	var sum int64
	for _, size := range sizes {
		if size > q.config.MaxMessageBytes {
			return fmt.Errorf("%w: a message of %d bytes, at most %d", ErrTooLarge, size, q.config.MaxMessageBytes)
		}
		sum += size
	}
	if len(sizes) > 1 && sum > q.config.MaxBatchBytes {
		return fmt.Errorf("%w: a batch of %d bytes, at most %d", ErrTooLarge, sum, q.config.MaxBatchBytes)
	}
	if q.bytes+sum > q.config.MaxSizeBytes {
		return fmt.Errorf("%w: %d bytes", ErrFull, q.config.MaxSizeBytes)
	}
	return nil
}

// repeated tells whether the message's id was seen, and remembers it otherwise: when
// it is sent or scheduled, not when it becomes due.
func (q *Queue) repeated(m *message, now time.Time) bool {
	if q.config.DuplicateWindow == 0 {
		return false
	}
	if q.window.seen(m.id, now) {
		q.main.totals.Duplicates++
		return true
	}
	q.window.remember(m.id, now, q.config.DuplicateWindow)
	return false
}

// CancelScheduled removes scheduled messages, all or none: ErrNotFound when one of
// the numbers is not that of a scheduled message.
func (q *Queue) CancelScheduled(numbers []int64) error {
	if err := q.enter(); err != nil {
		return err
	}
	defer q.leave()
	found := make([]*message, len(numbers))
	for i, number := range numbers {
		m := q.main.all.get(number)
		if m == nil || m.stage != scheduled {
			return fmt.Errorf("%w: no scheduled message %d", ErrNotFound, number)
		}
		found[i] = m
	}
	for _, m := range found {
		if m.src != nil { // a number may be named twice
			q.main.remove(m)
			q.main.totals.Cancelled++
		}
	}
	return nil
}
