package pace_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ferry/pace"
)

// sim is a destination and as many callers as the limit allows.
type sim struct {
	p *pace.Pace

	mu      sync.Mutex
	out     int
	most    int
	done    int
	latency func(out int) time.Duration
}

// run calls for a while with up to so many callers.
func (s *sim) run(callers int, span time.Duration) (perSecond float64, most int) {
	end := time.Now().Add(span)
	s.done, s.most = 0, 0
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for time.Now().Before(end) {
				if !s.enter() {
					time.Sleep(20 * time.Millisecond)
					continue
				}
				began := time.Now()
				s.mu.Lock()
				wait := s.latency(s.out)
				s.mu.Unlock()
				time.Sleep(wait)
				s.p.Answered("create", began, time.Since(began))
				s.mu.Lock()
				s.out--
				s.done++
				s.mu.Unlock()
			}
		})
	}
	group.Wait()
	return float64(s.done) / span.Seconds(), s.most
}

func (s *sim) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out >= s.p.Limit() {
		return false
	}
	s.out++
	s.most = max(s.most, s.out)
	return true
}

// A destination that does four things at a time is given few more than four, and
// does as much as with sixty-four.
func TestCallsFallWhereTheyOnlyWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const base = 100 * time.Millisecond
		s := &sim{p: pace.New(64), latency: func(out int) time.Duration { return base * time.Duration(max(out, 4)) / 4 }}
		s.run(64, time.Minute) // it finds its place
		rate, most := s.run(64, 10*time.Minute)
		if best := 4 / base.Seconds(); rate < 0.9*best {
			t.Errorf("%.1f calls a second, %.1f can be had", rate, best)
		}
		if most > 16 {
			t.Errorf("up to %d calls at a time, for a destination that does four", most)
		}
		t.Logf("%.1f calls a second with at most %d at a time, limit %d", rate, most, s.p.Limit())
	})
}

// When it slows down the calls fall; when it is fast again they are back at the
// full limit.
func TestRecoversFully(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := false
		s := &sim{p: pace.New(32)}
		s.latency = func(out int) time.Duration {
			if slow { // contention: it gets slower with each call at a time
				return 60 * time.Millisecond * time.Duration(out)
			}
			return 60 * time.Millisecond
		}
		s.run(32, time.Minute)
		if s.p.Limit() != 32 {
			t.Fatalf("limit %d while all is well", s.p.Limit())
		}
		slow = true
		s.run(32, time.Minute)
		if s.p.Limit() > 4 {
			t.Fatalf("limit %d for a destination that does one thing at a time", s.p.Limit())
		}
		slow = false
		s.run(32, time.Minute)
		if s.p.Limit() != 32 {
			t.Fatalf("limit %d after it recovered", s.p.Limit())
		}
	})
}

// A destination that has become slow for good is not held to its past for ever.
func TestTheBestAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		latency := 50 * time.Millisecond
		s := &sim{p: pace.New(8), latency: func(int) time.Duration { return latency }}
		s.run(8, time.Minute)
		latency = time.Second
		s.run(8, 20*time.Second)
		if s.p.Limit() == 8 {
			t.Fatal("twenty times slower, and nothing happens")
		}
		s.run(8, 6*time.Minute)
		if s.p.Limit() != 8 {
			t.Fatalf("limit %d, although more calls at a time do not slow it down", s.p.Limit())
		}
	})
}

// Fast destinations keep their limit, whatever their jitter.
func TestNoFlapping(t *testing.T) {
	for name, c := range map[string]func(r *rand.Rand) time.Duration{
		"a millisecond": func(*rand.Rand) time.Duration { return time.Millisecond },
		"1 to 20 ms": func(r *rand.Rand) time.Duration {
			return time.Millisecond + time.Duration(r.Int64N(int64(19*time.Millisecond)))
		},
		"1 ms, at times 200": func(r *rand.Rand) time.Duration {
			return time.Millisecond + time.Duration(r.IntN(20)/19)*200*time.Millisecond
		},
		"100 ms, half as much more or less": func(r *rand.Rand) time.Duration {
			return 50*time.Millisecond + time.Duration(r.Int64N(int64(100*time.Millisecond)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(1, 2))
				s := &sim{p: pace.New(16), latency: func(int) time.Duration { return c(r) }}
				s.run(16, 10*time.Second)
				least := s.p.Limit()
				for range 20 {
					s.run(16, 2*time.Second)
					least = min(least, s.p.Limit())
				}
				if least != 16 {
					t.Errorf("the limit fell to %d", least)
				}
			})
		})
	}
}

func TestTimeOutsCutOncePerRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.New(4)
		began := time.Now()
		time.Sleep(time.Second)
		var limits []int
		for range 3 {
			p.TimedOut(began, time.Now())
			limits = append(limits, p.Limit())
		}
		time.Sleep(time.Second)
		for range 3 {
			p.TimedOut(time.Now(), time.Now())
			limits = append(limits, p.Limit())
		}
		if got := fmt.Sprint(limits); got != "[2 2 2 1 1 1]" {
			t.Errorf("limits %s", got)
		}
	})
}

// Slow and quick kinds of calls beside each other are held to their own best.
func TestKindsAreJudgedByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pace.New(8)
		for i := range 400 {
			name, took := "light", 30*time.Millisecond
			if i/50%2 == 1 { // by turns: a window of one kind after windows of the other
				name, took = "heavy", 800*time.Millisecond
			}
			began := time.Now()
			time.Sleep(took)
			p.Answered(name, began, took)
			if i > 100 && p.Limit() != 8 {
				t.Fatalf("limit %d after %d calls", p.Limit(), i)
			}
			if i > 240 {
				break // before the best is measured anew
			}
		}
	})
}

func BenchmarkAnswered(b *testing.B) {
	p := pace.New(64)
	began := time.Now()
	for b.Loop() {
		p.Answered("create", began, time.Millisecond)
		_ = p.Limit()
	}
}
