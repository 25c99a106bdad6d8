package servicebus

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// slot holds one thing that is opened when it is needed and opened anew when it
// is gone: a connection, a link. However many ask, one opens; who waits, waits
// with its own context; and what fails is not tried again at once.
type slot[T comparable] struct {
	alive func(T) bool
	open  func(context.Context) (T, error)
	spawn func(func(context.Context)) error // runs open, outside of any caller's context
	pace  *backoff.ExponentialBackOff

	mu        sync.Mutex
	value     T
	flight    *flight[T]
	notBefore time.Time
}

type flight[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func newSlot[T comparable](t timing, alive func(T) bool, open func(context.Context) (T, error), spawn func(func(context.Context)) error) *slot[T] {
	return &slot[T]{alive: alive, open: open, spawn: spawn, pace: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(t.paceFirst), backoff.WithMaxInterval(t.paceMost),
		backoff.WithRandomizationFactor(0.3), backoff.WithMaxElapsedTime(0))}
}

// get gives the thing, and opens it if there is none.
func (s *slot[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	var none T
	if s.value != none && s.alive(s.value) {
		defer s.mu.Unlock()
		return s.value, nil
	}
	f := s.flight
	if f == nil {
		f = &flight[T]{done: make(chan struct{})}
		s.flight = f
		if err := s.spawn(func(ctx context.Context) { s.fly(ctx, f) }); err != nil {
			s.flight = nil
			s.mu.Unlock()
			return none, err
		}
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (s *slot[T]) fly(ctx context.Context, f *flight[T]) {
	s.mu.Lock()
	wait := time.Until(s.notBefore)
	s.mu.Unlock()
	if err := sleep(ctx, wait); err != nil {
		f.err = ErrClosed
	} else {
		f.value, f.err = s.open(ctx)
	}
	s.mu.Lock()
	s.flight = nil
	if f.err == nil {
		s.value = f.value
	}
	s.mu.Unlock()
	close(f.done)
}

// current gives the thing if there is one.
func (s *slot[T]) current() (T, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var none T
	return s.value, s.value != none && s.alive(s.value)
}

// drop forgets a thing, if it is still the one, and says so.
func (s *slot[T]) drop(v T) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	var none T
	if s.value != v || v == none {
		return false
	}
	s.value = none
	return true
}

// failed makes the next opening wait, longer each time.
func (s *slot[T]) failed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notBefore = time.Now().Add(s.pace.NextBackOff())
}

// worked ends the waiting.
func (s *slot[T]) worked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pace.Reset()
	s.notBefore = time.Time{}
}

// sleep waits, unless ctx ends first: then it is ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
