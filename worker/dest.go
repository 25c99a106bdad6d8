package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"ferry"
	"ferry/adapters"
	"ferry/breaker"
	"ferry/pace"
	"ferry/trace"
)

// DestOptions are what a worker knows of a destination.
type DestOptions struct {
	Name        string
	Destination adapters.Destination
	Concurrency int     // calls at a time; default 4
	Rate        float64 // calls per second that may start, on the average; 0: no bound
	Burst       int     // with Rate: calls that may start at once; default 1
}

// Dest is a destination that several routes may share: what is down, throttled
// or refuses the credentials holds all of them.
type Dest struct {
	opts    DestOptions
	breaker breaker.Breaker
	pace    *pace.Pace
	limiter *rate.Limiter
	nudge   chan struct{} // wakes watch
	book    refusalBook   // nil: refusals are forgotten with the process
	log     *slog.Logger  // nil: nothing is logged
	tracer  *trace.Tracer // nil: no spans are made

	mu      sync.Mutex
	used    int       // calls and probes that are out
	epoch   int       // how often it came back
	pacing  int       // calls that wait for the configured rate
	paced   time.Time // since when some do; zero: none does
	old     int       // of used: from before it came back, and perhaps hanging
	waiters []chan struct{}
	pings   pings
	streaks streaks
	reason  string // why it counts as down
	outage  bool   // it is down for more than one message
	refusal refusal
	print   string   // fingerprint of the credentials, as last read
	trusted string   // and of those that were accepted last
	pokes   []func() // the routes
	routes  int      // that share it
	round   int      // of probing by message: which route begins
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
	d := &Dest{opts: opts, nudge: make(chan struct{}, 1), pace: pace.New(opts.Concurrency)}
	d.breaker.Most = opts.Concurrency
	if opts.Rate > 0 {
		d.limiter = rate.NewLimiter(rate.Limit(opts.Rate), max(opts.Burst, 1))
		d.limiter.AllowN(time.Now(), d.limiter.Burst()-1) // a restart is no reason for a burst
	}
	d.print = d.fingerprint()
	return d
}

// errHeld: the destination is not to be called now.
var errHeld = errors.New("the destination is not called at the moment")

// probeApart is how far apart the routes of a destination begin to look for a
// message to probe with, so that not all of them receive one.
const probeApart = 20 * time.Millisecond

// join counts a route in and gives its place among them.
func (d *Dest) join(pokes ...func()) (place int) {
	d.pokes = append(d.pokes, pokes...)
	d.routes++
	return d.routes - 1
}

// room says how many messages of a route may be in hand now, and when none, how
// long until that may change; 0: until a change is told. all: as many as it is
// ever given, so that more may be kept ready. calling is how many of the route are
// in slots already.
func (d *Dest) room(place, calling int) (most int, all bool, wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	most, wait = d.roomLocked()
	s := d.breaker.Snapshot()
	if most == 0 || s.State == breaker.Closed {
		return most, most >= d.opts.Concurrency && !d.careful(), wait
	}
	// A message is the probe: one route after the other looks for one.
	turn := time.Duration((place+d.round)%max(d.routes, 1)) * probeApart
	if wait = time.Until(s.NextProbe.Add(turn)); wait > 0 {
		return 0, false, wait
	}
	return min(calling+1, most), false, 0
}

// roomLocked says how many calls may be out at a time.
func (d *Dest) roomLocked() (most int, wait time.Duration) {
	if d.refusal.holds {
		return 0, 0
	}
	if wait := d.breaker.Wait(); wait > 0 {
		return 0, wait
	}
	s := d.breaker.Snapshot()
	switch {
	case s.State == breaker.Closed:
		// What hangs since before it came back does not keep others away.
		most = min(min(d.breaker.Limit(d.opts.Concurrency), d.pace.Limit())+d.old, d.opts.Concurrency)
	case !d.pings.byMessage(s.NextProbe):
		return 0, 0 // watch probes, and tells
	default:
		// A probe that hangs does not keep the next one away.
		most = min(d.used+1, d.opts.Concurrency)
	}
	if d.careful() {
		most = min(most, 1)
	}
	return most, 0
}

// ticket is the right to make a call.
type ticket struct {
	print string // fingerprint of the credentials that it bears
	probe bool   // the call finds out whether the destination is back
	epoch int
}

// enter takes one of the destination's slots, waiting for one if need be, and
// is followed by leave. errHeld: the destination is not to be called.
func (d *Dest) enter(ctx context.Context) (ticket, error) {
	for {
		t := ticket{print: d.fingerprint()} // reads files: not under the lock
		d.mu.Lock()
		d.print = t.print
		most, _ := d.roomLocked()
		if most > 0 && d.used < most {
			t.probe = d.breaker.Snapshot().State != breaker.Closed
			if !d.breaker.Allow() {
				most = 0
			}
		}
		if most == 0 {
			d.mu.Unlock()
			return ticket{}, errHeld
		}
		if d.used < most {
			d.used++
			t.epoch = d.epoch
			if t.probe {
				d.round++
			}
			d.mu.Unlock()
			return t, d.keepRate(ctx, t)
		}
		turn := make(chan struct{})
		d.waiters = append(d.waiters, turn)
		d.mu.Unlock()
		select {
		case <-turn:
		case <-ctx.Done():
			d.giveUp(turn)
			return ticket{}, ctx.Err()
		}
	}
}

// held says whether the destination must not be called, by somebody who is in
// one of its slots.
func (d *Dest) held(t ticket) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.breaker.Snapshot()
	return d.refusal.holds || s.State != breaker.Closed && !t.probe || !s.HeldUntil.IsZero()
}

// keepRate waits for the configured rate, in the slot.
func (d *Dest) keepRate(ctx context.Context, t ticket) error {
	if d.limiter == nil {
		return nil
	}
	d.waitForRate(+1)
	err := d.limiter.Wait(ctx)
	d.waitForRate(-1)
	if err != nil {
		d.leave(t, lesson{})
	}
	return err
}

// owe counts a call that is made in a slot after the first. It does not wait, as it
// belongs to what was begun and must not come late; later calls wait for it.
func (d *Dest) owe() {
	if d.limiter != nil {
		d.limiter.Reserve()
	}
}

func (d *Dest) waitForRate(more int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.pacing += more; d.pacing == 0 {
		d.paced = time.Time{}
	} else if d.paced.IsZero() {
		d.paced = time.Now()
	}
}

// paceShown is how long calls must have waited for the configured rate until that
// is told: some always do, for a moment.
const paceShown = 2 * time.Second

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

// leave gives the slot back, with what its call taught.
func (d *Dest) leave(t ticket, l lesson) {
	changed := d.learn(t, l)
	d.mu.Lock()
	d.used--
	if t.epoch != d.epoch && d.old > 0 {
		d.old--
	}
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

// tell wakes everybody who waits for the destination, watch too.
func (d *Dest) tell() {
	select {
	case d.nudge <- struct{}{}:
	default:
	}
	d.wake()
}

// wake has everybody look again who waits for room.
func (d *Dest) wake() {
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
		until := d.nextTry(time.Now())
		list = append(list, ferry.Condition{
			Type: ferry.RouteUnauthorized, Since: d.refusal.at, Until: &until,
			Reason: "the destination refuses the credentials",
		})
	}
	if s.State != breaker.Closed {
		list = append(list, ferry.Condition{Type: ferry.RouteUnavailable, Since: s.Since, Reason: d.reason})
		nextProbe = &s.NextProbe
	}
	if !s.HeldUntil.IsZero() {
		list = append(list, ferry.Condition{
			Type: ferry.RouteThrottled, Since: s.HeldSince, Until: &s.HeldUntil, Reason: "the destination asked for a pause",
		})
	}
	if !d.paced.IsZero() && time.Since(d.paced) >= paceShown {
		list = append(list, ferry.Condition{
			Type: ferry.RouteThrottled, Since: d.paced, Rate: true, Reason: fmt.Sprintf("calls begin at the configured rate, %.4g a minute", 60*d.opts.Rate),
		})
	}
	return list, nextProbe
}

// calls are how many calls are out now, how many may be, and how many at the most.
func (d *Dest) calls() ferry.Calls {
	d.mu.Lock()
	defer d.mu.Unlock()
	most, _ := d.roomLocked()
	return ferry.Calls{Now: d.used, Limit: most, Most: d.opts.Concurrency}
}
