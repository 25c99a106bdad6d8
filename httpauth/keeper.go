package httpauth

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// fetchTimeout bounds one fetch of a token, in all.
const fetchTimeout = 10 * time.Second

// keeper keeps a value that is fetched from elsewhere, until shortly before it
// ends. One fetch is under way at a time, and all who need the value wait for it.
type keeper[T any] struct {
	// get fetches the value, and says until when it may be used.
	get func(ctx context.Context) (T, time.Time, error)
	// gone is told of a value that is used no more; nil: nobody is.
	gone func(T)

	ctx    context.Context // of the fetches; ends with close
	cancel context.CancelFunc

	mu       sync.Mutex
	value    T
	until    time.Time // zero: there is no value
	fetching *fetch[T] // nil: none is under way
	closed   bool
}

// fetch is one request that all who need its value wait for.
type fetch[T any] struct {
	done  chan struct{} // closed when value and err are there
	value T
	err   error
}

func newKeeper[T any](get func(ctx context.Context) (T, time.Time, error), gone func(T)) *keeper[T] {
	k := &keeper[T]{get: get, gone: gone}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// take gives the value, and waits for it as long as ctx lasts.
func (k *keeper[T]) take(ctx context.Context) (T, error) {
	k.mu.Lock()
	if !k.until.IsZero() && time.Now().Before(k.until) {
		defer k.mu.Unlock()
		return k.value, nil
	}
	f := k.fetching
	if f == nil {
		k.forgetLocked()
		f = &fetch[T]{done: make(chan struct{})}
		k.fetching = f
		go k.fetch(f)
	}
	k.mu.Unlock()
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("%w: nothing came in time", ErrUnavailable)
	}
}

// fetch gets one value. It outlives the call that asked for it, by its own bound.
func (k *keeper[T]) fetch(f *fetch[T]) {
	ctx, cancel := context.WithTimeout(k.ctx, fetchTimeout)
	defer cancel()
	var until time.Time
	f.value, until, f.err = k.get(ctx)
	k.mu.Lock()
	k.fetching = nil
	if f.err == nil {
		k.value, k.until = f.value, until
		if k.closed {
			k.forgetLocked()
		}
	}
	k.mu.Unlock()
	close(f.done)
}

// drop forgets the value if it is the one that is meant, not a newer one.
func (k *keeper[T]) drop(meant func(T) bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.until.IsZero() && meant(k.value) {
		k.forgetLocked()
	}
}

func (k *keeper[T]) forgetLocked() {
	if k.until.IsZero() {
		return
	}
	if k.gone != nil {
		k.gone(k.value)
	}
	var none T
	k.value, k.until = none, time.Time{}
}

// close ends a fetch that is under way, and forgets the value.
func (k *keeper[T]) close() {
	k.cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.forgetLocked()
}

// refusalStands is how long a refused password is not tried again, by calls that
// were under way already: accounts lock after a few tries. Who holds the route is
// the worker; this is the moment until it does.
const refusalStands = 5 * time.Second

// refusal remembers that a password was refused.
type refusal struct {
	mu    sync.Mutex
	print string // fingerprint
	until time.Time
}

func (r *refusal) note(print string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.print, r.until = print, time.Now().Add(refusalStands)
}

func (r *refusal) stands(print string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.print == print && time.Now().Before(r.until)
}
