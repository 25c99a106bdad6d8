package entity

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Namespace holds queues. Names are compared without regard to case.
type Namespace struct {
	now     func() time.Time
	created time.Time

	mu     sync.RWMutex
	queues map[string]*Queue // by folded name
	closed bool
}

// Options of New.
type Options struct {
	Now func() time.Time // default time.Now; timers run for what it says is left
}

// New makes an empty namespace. Close ends its timers.
func New(o Options) *Namespace {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Namespace{now: o.Now, created: o.Now(), queues: make(map[string]*Queue)}
}

// Close ends all queues: receivers are told ErrClosed, and what is called later
// returns it.
func (n *Namespace) Close() {
	n.mu.Lock()
	n.closed = true
	queues := n.queues
	n.queues = make(map[string]*Queue)
	n.mu.Unlock()
	for _, q := range queues {
		q.end(ErrClosed)
	}
}

// CreatedAt is when New was called.
func (n *Namespace) CreatedAt() time.Time { return n.created }

// Create makes a queue: ErrExists, ErrInvalid.
func (n *Namespace) Create(c Config) (*Queue, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	key := fold(c.Name)
	switch {
	case n.closed:
		return nil, ErrClosed
	case n.queues[key] != nil:
		return nil, fmt.Errorf("%w: %s", ErrExists, c.Name)
	case len(n.queues) >= MaxQueues:
		return nil, fmt.Errorf("%w: a namespace holds %d queues", ErrInvalid, MaxQueues)
	}
	q := newQueue(c, n.now)
	n.queues[key] = q
	return q, nil
}

// Delete removes a queue with all its messages: ErrNotFound. Its receivers are told
// ErrNotFound.
func (n *Namespace) Delete(name string) error {
	n.mu.Lock()
	key := fold(name)
	q := n.queues[key]
	delete(n.queues, key)
	n.mu.Unlock()
	if q == nil {
		return n.missing(name)
	}
	q.end(fmt.Errorf("%w: the queue %s was deleted", ErrNotFound, q.Config().Name))
	return nil
}

// Queue finds a queue by its name: ErrNotFound.
func (n *Namespace) Queue(name string) (*Queue, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if q := n.queues[fold(name)]; q != nil {
		return q, nil
	}
	return nil, n.missing(name)
}

func (n *Namespace) missing(name string) error {
	return fmt.Errorf("%w: the queue %q", ErrNotFound, name)
}

// Queues lists all queues, by name.
func (n *Namespace) Queues() []*Queue {
	n.mu.RLock()
	defer n.mu.RUnlock()
	keys := make([]string, 0, len(n.queues))
	for key := range n.queues {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	list := make([]*Queue, len(keys))
	for i, key := range keys {
		list[i] = n.queues[key]
	}
	return list
}

// The names of sub-queues behind the queue's.
const (
	deadSuffix     = "/$DeadLetterQueue"
	transferSuffix = "/$Transfer/$DeadLetterQueue"
)

// Source finds what an address names: QUEUE, QUEUE/$DeadLetterQueue or
// QUEUE/$Transfer/$DeadLetterQueue, in any case, with or without a leading slash:
// ErrNotFound.
func (n *Namespace) Source(address string) (*Source, error) {
	name := fold(address)
	pick := (*Queue).Main
	if rest, ok := strings.CutSuffix(name, strings.ToLower(transferSuffix)); ok {
		name, pick = rest, (*Queue).TransferDeadLetters
	} else if rest, ok := strings.CutSuffix(name, strings.ToLower(deadSuffix)); ok {
		name, pick = rest, (*Queue).DeadLetters
	}
	q, err := n.Queue(name)
	if err != nil {
		return nil, err
	}
	return pick(q), nil
}
