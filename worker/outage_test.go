package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"ferry"
	"ferry/adapters"
	"ferry/breaker"
)

// lab is a destination with routes that always have a message, and notes when it
// is called, in whatever way.
type lab struct {
	d    *Dest
	erp  *script
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	calls  []time.Time
	done   int // deliveries that came through
	bounce int // messages received and given back
	next   byte
}

// newLab has routes with so many hands each; post answers the calls of their
// messages, ping the health request (nil: none is configured), print is the
// fingerprint of the credentials, if there are any.
func newLab(t *testing.T, routes, hands int, post func(id ferry.ID) ferry.Verdict, ping func() error, print ...string) *lab {
	l := &lab{erp: &script{print: strings.Join(print, "")}}
	l.erp.post = func(_ context.Context, call adapters.Call) ferry.Verdict { l.note(); return post(call.ID) }
	if ping != nil {
		l.erp.probeFn = func() error { l.note(); return ping() }
	}
	l.d = NewDest(DestOptions{Name: "erp", Destination: l.erp, Concurrency: 8})
	ctx, stop := context.WithCancel(t.Context())
	l.stop = stop
	for range routes {
		r := &labRoute{place: l.d.join()}
		for range hands {
			l.wg.Go(func() { l.work(ctx, r) })
		}
	}
	l.wg.Go(func() { l.d.watch(ctx) })
	return l
}

func (l *lab) note() {
	l.mu.Lock()
	l.calls = append(l.calls, time.Now())
	l.mu.Unlock()
}

// labRoute is what a route's loop knows.
type labRoute struct {
	place   int
	mu      sync.Mutex
	inHand  int
	calling int
}

// receive says whether one more message may be in hand.
func (r *labRoute) receive(d *Dest) (ok bool, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	most, _, wait := d.room(r.place, r.calling)
	if r.inHand >= most {
		return false, wait
	}
	r.inHand++
	return true, 0
}

func (r *labRoute) add(inHand, calling int) {
	r.mu.Lock()
	r.inHand, r.calling = r.inHand+inHand, r.calling+calling
	r.mu.Unlock()
}

// work delivers one message after the other, as a route's loop and its hand do.
func (l *lab) work(ctx context.Context, r *labRoute) {
	for ctx.Err() == nil {
		ok, wait := r.receive(l.d)
		if !ok {
			if wait == 0 || wait > 100*time.Millisecond {
				wait = 100 * time.Millisecond // a loop is woken; here it looks again
			}
			sleep(ctx, wait)
			continue
		}
		l.mu.Lock()
		l.next++
		id := idOf(l.next)
		l.mu.Unlock()
		l.deliver(ctx, r, id)
		r.add(-1, 0)
	}
}

func (l *lab) deliver(ctx context.Context, r *labRoute, id ferry.ID) {
	ticket, err := l.d.enter(ctx)
	if err != nil {
		l.mu.Lock()
		l.bounce++
		l.mu.Unlock()
		return
	}
	r.add(0, 1)
	v := l.erp.Deliver(ctx, adapters.Call{HandOut: ferry.HandOut{ID: id}})
	r.add(0, -1)
	l.d.leave(ticket, lesson{verdict: &v, posted: true, id: id})
	l.mu.Lock()
	if v.Kind.HasIt() {
		l.done++
	}
	l.mu.Unlock()
}

func (l *lab) end() {
	l.stop()
	l.wg.Wait()
}

func (l *lab) counts() (calls, done, bounced int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.calls), l.done, l.bounce
}

func sleep(ctx context.Context, d time.Duration) { wait(ctx, max(d, time.Microsecond)) }

// faults of a destination that is down, as deliveries meet them.
func downAs() map[string]ferry.Verdict {
	return map[string]ferry.Verdict{
		"refused": {Kind: ferry.Unavailable, Effect: ferry.EffectNone, Code: "refused"},
		"503":     {Kind: ferry.Unavailable, Effect: ferry.EffectNone, Status: 503},
		"500":     {Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Status: 500},
		"failed":  {Kind: ferry.Failed, Effect: ferry.EffectNone, Status: 501},
		"cut":     {Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Code: "cut"},
	}
}

// While it is down it gets one call in 5 seconds, of whatever kind, and 10 at the
// start; messages are given back once. When it is back, calls flow within a probe
// interval.
func TestDownIsNotStormed(t *testing.T) {
	for name, fault := range downAs() {
		for health, bound := range map[string]time.Duration{
			"no health request": breaker.ProbeInterval, "it tells": breaker.ProbeInterval, "it always says well": breaker.ProbeInterval,
			"it never says well": 2 * breaker.ProbeInterval,
		} {
			t.Run(name+", "+health, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var mu sync.Mutex
					down := true
					isDown := func() bool { mu.Lock(); defer mu.Unlock(); return down }
					post := func(ferry.ID) ferry.Verdict {
						time.Sleep(10 * time.Millisecond)
						if isDown() {
							return fault
						}
						return delivered("INV-1")
					}
					ping := func() error {
						if health == "it never says well" || health == "it tells" && isDown() {
							return errors.New("down")
						}
						return nil
					}
					if health == "no health request" {
						ping = nil
					}
					l := newLab(t, 3, 4, post, ping)
					defer l.end()
					time.Sleep(2 * time.Second)
					calls, _, bounced := l.counts()
					if calls > 12 {
						t.Errorf("%d calls until the breaker opened", calls)
					}
					time.Sleep(3 * time.Minute)
					after, done, bouncedAfter := l.counts()
					// Where the health request says well for the first time, it is believed once.
					if most := int(3 * time.Minute / breaker.ProbeInterval); after-calls > most+2 || after-calls < most/3 {
						t.Errorf("%d calls in three minutes", after-calls)
					}
					if bounced > 12 || bouncedAfter > bounced+3 || done != 0 {
						t.Errorf("%d messages given back at first, then %d, %d done", bounced, bouncedAfter-bounced, done)
					}
					mu.Lock()
					down = false
					mu.Unlock()
					time.Sleep(bound + 500*time.Millisecond)
					if _, done, _ := l.counts(); done == 0 {
						t.Errorf("nothing flows %s after the recovery", bound)
					}
				})
			})
		}
	}
}

// A probe that takes a lookup and a call counts for two.
func TestLookupsCountAsProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := NewDest(DestOptions{Name: "erp", Destination: &script{}})
		d.pings.none = true
		d.breaker.Unavailable(true)
		down := ferry.Verdict{Kind: ferry.Unavailable, Effect: ferry.EffectNone}
		calls, start := 0, time.Now()
		for time.Since(start) < 5*time.Minute {
			if most, _, _ := d.room(0, 0); most > 0 {
				ticket, err := d.enter(t.Context())
				if err != nil || !ticket.probe {
					t.Fatalf("%+v, %v", ticket, err)
				}
				both := calls%3 == 0
				if calls++; both {
					calls++
				}
				d.leave(ticket, lesson{verdict: &down, posted: true, both: both})
			}
			time.Sleep(100 * time.Millisecond)
		}
		if most := int(5 * time.Minute / breaker.ProbeInterval); calls > most+1 || calls < most-3 {
			t.Fatalf("%d calls in five minutes, %d at the most", calls, most)
		}
	})
}

// After it is back, calls at a time grow: 1, 2, 4 …
func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		l := newLab(t, 1, 8, func(ferry.ID) ferry.Verdict {
			if time.Since(start) < 7*time.Second {
				return ferry.Verdict{Kind: ferry.Unavailable, Effect: ferry.EffectNone}
			}
			time.Sleep(time.Second)
			return delivered("INV-1")
		}, nil)
		defer l.end()
		time.Sleep(10*time.Second + 500*time.Millisecond) // in the probe
		var out []int
		for range 4 {
			l.d.mu.Lock()
			out = append(out, l.d.used)
			l.d.mu.Unlock()
			time.Sleep(1010 * time.Millisecond)
		}
		if got := fmt.Sprint(out); got != "[1 1 2 4]" && got != "[1 1 2 7]" && got != "[1 1 2 8]" && got != "[1 1 2 6]" {
			t.Errorf("calls at a time %s", got)
		}
	})
}

// Whatever happened, once the destination is well again calls flow within a probe
// interval: after lost probes, late answers, throttles, panics, a lying health
// request, and routes without messages.
func TestAlwaysDisarms(t *testing.T) {
	verdicts := []ferry.Verdict{
		{Kind: ferry.Unavailable, Effect: ferry.EffectNone},
		{Kind: ferry.Unavailable, Effect: ferry.EffectNone, RetryAfter: 3 * time.Second},
		{Kind: ferry.Unknown, Effect: ferry.EffectMaybe},
		{Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Status: 500},
		{Kind: ferry.Failed, Effect: ferry.EffectNone, Status: 500},
		{Kind: ferry.Throttled, Effect: ferry.EffectNone, RetryAfter: 2 * time.Second},
		{Kind: ferry.Rejected, Effect: ferry.EffectNone, Code: adapters.CodeMappingFailed},
		{Kind: ferry.NotTried, Effect: ferry.EffectNone},
		delivered("INV-1"),
	}
	rapid.Check(t, func(rt *rapid.T) {
		health := rapid.SampledFrom([]string{"none", "tells", "well", "never"}).Draw(rt, "health")
		type step struct{ act, arg int }
		var steps []step
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			steps = append(steps, step{rapid.IntRange(0, 6).Draw(rt, "act"), rapid.IntRange(0, len(verdicts)-1).Draw(rt, "arg")})
		}
		var failure string
		synctest.Test(t, func(t *testing.T) {
			erp := &script{}
			well := false
			if health != "none" {
				erp.probeFn = func() error {
					switch {
					case health == "well", health == "tells" && well:
						return nil
					case health == "tells" && erp.probes%3 == 0:
						panic("a probe that fails")
					}
					return errors.New("down")
				}
			}
			d := NewDest(DestOptions{Name: "erp", Destination: erp, Concurrency: 4})
			places := []int{d.join(), d.join()}
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			wg.Go(func() { d.watch(ctx) })
			defer func() { cancel(); wg.Wait() }()
			var out []ticket // calls whose answers are not there yet
			id := byte(0)
			for _, s := range steps {
				v := verdicts[s.arg]
				switch s.act {
				case 0, 1: // a call, answered or not yet
					bounded, done := context.WithTimeout(ctx, time.Second)
					if ticket, err := d.enter(bounded); err == nil {
						if id++; s.act == 1 && len(out) < 3 {
							out = append(out, ticket)
						} else {
							d.leave(ticket, lesson{verdict: &v, posted: true, id: idOf(id)})
						}
					}
					done()
				case 2: // an answer that comes late
					if len(out) > 0 {
						d.leave(out[0], lesson{verdict: &v, posted: true, id: idOf(100 + id)})
						out = out[1:]
					}
				case 3: // a call that is given back
					if len(out) > 0 {
						d.leave(out[0], lesson{})
						out = out[1:]
					}
				case 4: // only a lookup was made
					if len(out) > 0 {
						d.leave(out[0], lesson{verdict: &v})
						out = out[1:]
					}
				case 5:
					time.Sleep(time.Duration(s.arg) * time.Second)
				case 6:
					_, _, _ = d.room(places[s.arg%2], 0)
				}
			}
			erp.set(func(*script) { well = true })
			synctest.Wait()
			if s := d.breaker.Snapshot(); !s.HeldUntil.IsZero() {
				time.Sleep(time.Until(s.HeldUntil))
			}
			// The calls in out never come back: they are as good as lost. Only the
			// second route has messages.
			bound := breaker.ProbeInterval
			if health == "never" {
				bound *= messageEvery
			}
			start, flowed := time.Now(), 0
			for time.Since(start) <= bound+time.Second && flowed < 3 {
				if most, _, _ := d.room(places[1], 0); most > 0 {
					bounded, done := context.WithTimeout(ctx, 20*time.Millisecond)
					if ticket, err := d.enter(bounded); err == nil {
						v := delivered("INV-1")
						d.leave(ticket, lesson{verdict: &v, posted: true, id: idOf(200)})
						flowed++
					}
					done()
				}
				time.Sleep(20 * time.Millisecond)
			}
			if flowed < 3 {
				failure = fmt.Sprintf("%d calls within %s: %+v, pings %+v, used %d", flowed, bound, d.breaker.Snapshot(), d.pings, d.used)
			}
		})
		if failure != "" {
			rt.Fatal(failure)
		}
	})
}
