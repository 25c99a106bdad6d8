package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"ferry"
	"ferry/adapters"
	"ferry/breaker"
)

// DestOptions are what a worker knows of a destination.
type DestOptions struct {
	Name        string
	Destination adapters.Destination
	Concurrency int     // calls at a time; default 4
	Rate        float64 // calls per second that may start; 0: no bound
	Burst       int     // with Rate: calls that may start at once; default 1
}

// Dest is a destination that several routes may share: what is down, throttled
// or refuses the credentials holds all of them.
type Dest struct {
	opts    DestOptions
	breaker breaker.Breaker
	limiter *rate.Limiter
	nudge   chan struct{} // wakes watch

	mu       sync.Mutex
	used     int
	waiters  []chan struct{}
	noProbe  bool // no health request is configured: a message is the probe
	refusal  refusal
	cautious bool     // credentials were refused: one call at a time until one is taken
	pokes    []func() // the routes
}

// The default and the bound of DestOptions.Concurrency.
const (
	defaultConcurrency = 4
	maxConcurrency     = 1024
)

// NewDest makes a Dest. It is used by one worker.
func NewDest(opts DestOptions) *Dest {
	if opts.Concurrency <= 0 {
		opts.Concurrency = defaultConcurrency
	}
	opts.Concurrency = min(opts.Concurrency, maxConcurrency)
	d := &Dest{opts: opts, nudge: make(chan struct{}, 1)}
	if opts.Rate > 0 {
		d.limiter = rate.NewLimiter(rate.Limit(opts.Rate), max(opts.Burst, 1))
	}
	return d
}

// errHeld: the destination is not to be called now.
var errHeld = errors.New("the destination is not called at the moment")

// room says how many calls may be out at a time now, and when none, how long
// until that may change; 0: until a change is told.
func (d *Dest) room(now time.Time) (most int, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.roomLocked()
}

func (d *Dest) roomLocked() (int, time.Duration) {
	if d.refusal.holds {
		return 0, 0
	}
	wait := d.breaker.Wait()
	if wait > 0 {
		return 0, wait
	}
	if !d.noProbe && d.breaker.Snapshot().State != breaker.Closed {
		return 0, 0 // watch probes, and tells
	}
	most := d.breaker.Limit(d.opts.Concurrency)
	if d.cautious {
		most = min(most, 1)
	}
	return most, 0
}

// enter takes one of the destination's slots, waiting for one if need be, and
// is followed by leave. errHeld: the destination is not to be called.
func (d *Dest) enter(ctx context.Context) error {
	d.mu.Lock()
	for {
		most, _ := d.roomLocked()
		if most == 0 {
			d.mu.Unlock()
			return errHeld
		}
		if d.used < most {
			if !d.breaker.Allow() {
				d.mu.Unlock()
				return errHeld
			}
			d.used++
			d.mu.Unlock()
			return d.pace(ctx)
		}
		turn := make(chan struct{})
		d.waiters = append(d.waiters, turn)
		d.mu.Unlock()
		select {
		case <-turn:
			d.mu.Lock()
		case <-ctx.Done():
			d.giveUp(turn)
			return ctx.Err()
		}
	}
}

// held says whether the destination must not be called, by somebody who is in
// one of its slots.
func (d *Dest) held() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.breaker.Snapshot()
	return d.refusal.holds || s.State == breaker.Open || !s.HeldUntil.IsZero()
}

// pace waits for the configured rate, in the slot.
func (d *Dest) pace(ctx context.Context) error {
	if d.limiter == nil {
		return nil
	}
	if err := d.limiter.Wait(ctx); err != nil {
		d.leave(nil)
		return err
	}
	return nil
}

func (d *Dest) giveUp(turn chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, w := range d.waiters {
		if w == turn {
			d.waiters = append(d.waiters[:i], d.waiters[i+1:]...)
			return
		}
	}
	d.wakeLocked() // it was called up already: the next one takes its place
}

// leave gives the slot back. v is what a call came to, nil when none was made.
func (d *Dest) leave(v *ferry.Verdict) {
	changed := d.learn(v)
	d.mu.Lock()
	d.used--
	d.wakeLocked()
	d.mu.Unlock()
	if changed {
		d.tell()
	}
}

// wakeLocked calls up as many waiters as there is room for, all when the
// destination is held: they give up then.
func (d *Dest) wakeLocked() {
	most, _ := d.roomLocked()
	n := len(d.waiters)
	if most > 0 {
		n = min(n, max(most-d.used, 0))
	}
	for _, turn := range d.waiters[:n] {
		close(turn)
	}
	d.waiters = append(d.waiters[:0], d.waiters[n:]...)
}

// learn tells the breaker, and the hold on refused credentials, what a call or
// a lookup came to.
func (d *Dest) learn(v *ferry.Verdict) (changed bool) {
	if v == nil {
		d.breaker.Lost()
		return false
	}
	before := d.breaker.Snapshot()
	switch v.Kind {
	case ferry.Unauthorized:
		d.breaker.Lost()
		return d.refused()
	case ferry.Unavailable:
		return d.breaker.Unavailable(v.Effect == ferry.EffectNone)
	case ferry.Throttled:
		d.breaker.Throttled(time.Now().Add(throttle(*v)))
		return true
	case ferry.Unknown:
		if v.Status == 0 || v.Status == 502 || v.Status == 504 {
			return d.breaker.Unavailable(false)
		}
	}
	d.breaker.Success()
	return d.accepted() || before.State != breaker.Closed
}

// throttle is how long a throttled verdict holds the destination.
func throttle(v ferry.Verdict) time.Duration {
	const otherwise = 5 * time.Second
	if v.RetryAfter <= 0 {
		return otherwise
	}
	return min(v.RetryAfter, ferry.MaxRetryAfter)
}

// tell wakes everybody who waits for the destination.
func (d *Dest) tell() {
	select {
	case d.nudge <- struct{}{}:
	default:
	}
	d.mu.Lock()
	pokes := d.pokes
	d.wakeLocked()
	d.mu.Unlock()
	for _, poke := range pokes {
		poke()
	}
}

// conditions are what keeps the destination from being called, for the hello.
func (d *Dest) conditions() (list []ferry.Condition, nextProbe *time.Time) {
	s := d.breaker.Snapshot()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refusal.holds {
		until := d.refusal.at.Add(refusedFor)
		list = append(list, ferry.Condition{
			Type: ferry.RouteUnauthorized, Since: d.refusal.at, Until: &until,
			Reason: "the destination refuses the credentials",
		})
	}
	if s.State != breaker.Closed {
		list = append(list, ferry.Condition{Type: ferry.RouteUnavailable, Since: s.Since, Reason: "the destination cannot be reached, or is down"})
		nextProbe = &s.NextProbe
	}
	if !s.HeldUntil.IsZero() {
		list = append(list, ferry.Condition{Type: ferry.RouteThrottled, Since: time.Now(), Until: &s.HeldUntil, Reason: "the destination asked for a pause"})
	}
	return list, nextProbe
}
