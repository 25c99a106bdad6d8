package breaker_test

import (
	"testing"
	"testing/synctest"
	"time"

	"ferry/breaker"
)

func TestOpensAfterThresholdInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker
		for i := range breaker.Threshold - 1 {
			if b.Unavailable(false) || !b.Allow() {
				t.Fatalf("open after %d", i+1)
			}
		}
		b.Success() // breaks the row
		for range breaker.Threshold - 1 {
			b.Unavailable(false)
		}
		if !b.Allow() {
			t.Fatal("open although a success lay between")
		}
		if !b.Unavailable(false) {
			t.Fatal("the third in a row did not open it")
		}
		if b.Allow() || b.Limit(8) != 0 {
			t.Fatal("an open breaker lets calls through")
		}
		want := breaker.Snapshot{State: breaker.Open, Since: time.Now(), NextProbe: time.Now().Add(breaker.ProbeInterval)}
		if got := b.Snapshot(); got != want {
			t.Fatalf("Snapshot = %+v, want %+v", got, want)
		}
	})
}

func TestRefusedOpensAtOnceAndProbesArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker
		if !b.Unavailable(true) {
			t.Fatal("a refused connection did not open it")
		}
		start, probes := time.Now(), []time.Duration{}
		for time.Since(start) < 16*time.Second {
			if b.Allow() {
				probes = append(probes, time.Since(start))
				if got := b.Limit(8); got != 0 {
					t.Fatalf("Limit = %d while a probe is out", got)
				}
				if b.Allow() {
					t.Fatal("a second probe while one is out")
				}
				if b.Unavailable(true) {
					t.Fatal("it opened twice")
				}
			}
			time.Sleep(500 * time.Millisecond)
		}
		if len(probes) != 3 || probes[0] != 5*time.Second || probes[1] != 10*time.Second || probes[2] != 15*time.Second {
			t.Fatalf("probes at %v", probes)
		}
	})
}

func TestRecoveryStartsSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker
		b.Unavailable(true)
		if w := b.Wait(); w != breaker.ProbeInterval {
			t.Fatalf("Wait = %s", w)
		}
		time.Sleep(b.Wait())
		if b.Snapshot().State != breaker.HalfOpen || !b.Allow() {
			t.Fatal("no probe when one is due")
		}
		var limits []int
		for range 5 {
			b.Success()
			limits = append(limits, b.Limit(6))
		}
		for i, want := range []int{1, 2, 4, 6, 6} {
			if limits[i] != want {
				t.Fatalf("limits %v", limits)
			}
		}
		if s := b.Snapshot(); s.State != breaker.Closed || !s.Since.Equal(time.Now()) {
			t.Fatalf("Snapshot = %+v", s)
		}
	})
}

// A call that hangs after it closed does not keep the others away for ever.
func TestSlowStartGoesOnWhileCallsHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker
		b.Unavailable(true)
		time.Sleep(b.Wait())
		b.Success()
		var limits []int
		for range 4 {
			limits = append(limits, b.Limit(3))
			time.Sleep(breaker.ProbeInterval)
		}
		for i, want := range []int{1, 2, 3, 3} {
			if limits[i] != want || !b.Starting() {
				t.Fatalf("limits %v", limits)
			}
		}
	})
}

func TestOneFailureDuringSlowStartOpensAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker
		b.Unavailable(true)
		time.Sleep(breaker.ProbeInterval)
		b.Allow()
		b.Success()
		if !b.Unavailable(false) {
			t.Fatal("it stayed closed")
		}
	})
}

// A probe that never ends does not keep the next one away, and one that was not
// made makes it due at once.
func TestLostProbeDisarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker
		b.Lost() // closed: nothing to give back
		b.Unavailable(true)
		time.Sleep(breaker.ProbeInterval)
		if !b.Allow() {
			t.Fatal("no probe")
		}
		time.Sleep(breaker.ProbeInterval - time.Millisecond)
		if b.Allow() {
			t.Fatal("a second probe within an interval")
		}
		time.Sleep(b.Wait())
		if !b.Allow() {
			t.Fatal("a lost probe blocks for ever")
		}
		b.Lost()
		if !b.Allow() {
			t.Fatal("a probe that was given back is gone")
		}
	})
}

// Answers of calls from before it opened neither hurry the probe nor put it off.
func TestLateAnswersDoNotMoveTheProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker
		b.Unavailable(true)
		for range 4 {
			time.Sleep(time.Second)
			b.Unavailable(true)
		}
		if w := b.Wait(); w != breaker.ProbeInterval-4*time.Second {
			t.Fatalf("Wait = %s", w)
		}
	})
}

func TestThrottleHoldsAndEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker
		start := time.Now()
		b.Throttled(start.Add(7 * time.Second))
		time.Sleep(time.Second)
		b.Throttled(start.Add(3 * time.Second)) // does not shorten
		if b.Allow() || b.Limit(4) != 0 || b.Wait() != 6*time.Second {
			t.Fatalf("not held: %+v", b.Snapshot())
		}
		if s := b.Snapshot(); s.State != breaker.Closed || !s.HeldSince.Equal(start) || !s.HeldUntil.Equal(start.Add(7*time.Second)) {
			t.Fatalf("Snapshot = %+v", s)
		}
		time.Sleep(6 * time.Second)
		if !b.Allow() || b.Limit(4) != 1 || !b.Snapshot().HeldUntil.IsZero() {
			t.Fatalf("still held, or no slow start: %+v", b.Snapshot())
		}
		b.Throttled(time.Now().Add(24 * time.Hour))
		if w := b.Wait(); w != breaker.MaxHold {
			t.Fatalf("held for %s", w)
		}
		if s := b.Snapshot(); !s.HeldSince.Equal(start.Add(7 * time.Second)) {
			t.Fatalf("a new pause began at %s", s.HeldSince)
		}
		b2 := &breaker.Breaker{}
		b2.Throttled(time.Now().Add(-time.Second)) // over already
		if b2.Limit(4) != 4 {
			t.Fatal("a pause that is over leads to a slow start")
		}
		b2.Unavailable(true)
		time.Sleep(breaker.ProbeInterval)
		b2.Allow()
		b2.Throttled(time.Now().Add(time.Second))
		if s := b2.Snapshot(); s.State != breaker.Closed {
			t.Fatalf("a throttled probe leaves it %s", s.State)
		}
	})
}

// However it is used, waiting as long as it asks for always leads to a call, and
// without a throttle that wait is no longer than a probe interval.
func TestAlwaysDisarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b breaker.Breaker
		acts := []func(){
			func() { b.Unavailable(true) }, func() { b.Unavailable(false) }, func() { b.Allow() }, func() { b.Lost() },
			func() { b.Throttled(time.Now().Add(time.Minute)) }, func() { b.Success() }, func() { time.Sleep(2 * time.Second) },
		}
		for seed := range 2000 {
			for n := seed; n > 0; n /= len(acts) {
				acts[n%len(acts)]()
			}
			if held := b.Snapshot().HeldUntil; held.IsZero() && b.Wait() > breaker.ProbeInterval {
				t.Fatalf("sequence %d: %s to the next call: %+v", seed, b.Wait(), b.Snapshot())
			}
			time.Sleep(b.Wait())
			if !b.Allow() {
				t.Fatalf("sequence %d: Allow refuses after Wait: %+v", seed, b.Snapshot())
			}
		}
	})
}

// A slow start is over once as many calls go out as the destination gets at all:
// then a failure among successes opens nothing.
func TestSlowStartEndsAtMost(t *testing.T) {
	for most, successes := range map[int]int{1: 1, 4: 3, 8: 4, 0: 11} {
		slow := func(n int) *breaker.Breaker {
			b := &breaker.Breaker{Most: most}
			b.Unavailable(true)
			b.Success() // the probe's
			for range n {
				b.Success()
			}
			return b
		}
		if !slow(successes - 1).Unavailable(false) {
			t.Errorf("most %d: the slow start was over after %d successes", most, successes-1)
		}
		if slow(successes).Unavailable(false) {
			t.Errorf("most %d: one failure after %d successes opened it again", most, successes)
		}
	}
}
