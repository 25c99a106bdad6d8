package entity

import "time"

// Namespace holds queues. Names are compared without regard to case.
type Namespace struct{}

// Options of New.
type Options struct {
	Now func() time.Time // default time.Now; timers run for what it says is left
}

// New makes an empty namespace. Close ends its timers.
func New(o Options) *Namespace { return nil }

// Close ends all queues: receivers are told ErrClosed, and what is called later
// returns it.
func (n *Namespace) Close() {}

// CreatedAt is when New was called.
func (n *Namespace) CreatedAt() time.Time { return time.Time{} }

// Create makes a queue: ErrExists, ErrInvalid.
func (n *Namespace) Create(c Config) (*Queue, error) { return nil, nil }

// Delete removes a queue with all its messages: ErrNotFound. Its receivers are told
// ErrNotFound.
func (n *Namespace) Delete(name string) error { return nil }

// Queue finds a queue by its name: ErrNotFound.
func (n *Namespace) Queue(name string) (*Queue, error) { return nil, nil }

// Queues lists all queues, by name.
func (n *Namespace) Queues() []*Queue { return nil }

// Source finds what an address names: QUEUE, QUEUE/$DeadLetterQueue or
// QUEUE/$Transfer/$DeadLetterQueue, in any case, with or without a leading slash:
// ErrNotFound.
func (n *Namespace) Source(address string) (*Source, error) { return nil, nil }
