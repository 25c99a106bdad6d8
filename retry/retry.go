// Package retry says when a message is tried again, and when no more: the
// budget of attempts and the pause before the next one.
package retry

import (
	"time"

	"github.com/cenkalti/backoff/v4"

	"ferry"
)

// The defaults of a Policy.
const (
	DefaultAttempts     = 8
	DefaultInitialDelay = 2 * time.Second
	DefaultMaxDelay     = 10 * time.Minute

	// MaxAttempts bounds Policy.Attempts: an attempt is kept per call.
	MaxAttempts = 1000
	// MaxDelay bounds Policy.MaxDelay.
	MaxDelay = 24 * time.Hour

	// floor is the shortest pause, or a quarter of the cap when that is shorter
	// than four floors: full jitter alone would let some retries follow at once.
	floor = 100 * time.Millisecond
)

// Policy is the budget and the pace of a route. Zero fields mean the defaults.
type Policy struct {
	Attempts     int           `yaml:"attempts"`     // counts the first call
	InitialDelay time.Duration `yaml:"initialDelay"` // the most before the second attempt
	MaxDelay     time.Duration `yaml:"maxDelay"`     // the most before any attempt
}

// WithDefaults fills in zero fields.
func (p Policy) WithDefaults() Policy {
	if p.Attempts == 0 {
		p.Attempts = DefaultAttempts
	}
	if p.InitialDelay == 0 {
		p.InitialDelay = min(DefaultInitialDelay, max(p.MaxDelay, 0))
		if p.MaxDelay == 0 {
			p.InitialDelay = DefaultInitialDelay
		}
	}
	if p.MaxDelay == 0 {
		p.MaxDelay = max(DefaultMaxDelay, p.InitialDelay)
	}
	return p
}

// Validate checks the policy as it stands after WithDefaults.
func (p Policy) Validate() error {
	p = p.WithDefaults()
	switch {
	case p.Attempts < 1 || p.Attempts > MaxAttempts:
		return bad("attempts is %d", p.Attempts).WithHint("1 to %d; it counts the first call", MaxAttempts)
	case p.InitialDelay < time.Millisecond:
		return bad("initialDelay is %s", p.InitialDelay).WithHint("at least 1ms")
	case p.MaxDelay < p.InitialDelay:
		return bad("maxDelay (%s) is shorter than initialDelay (%s)", p.MaxDelay, p.InitialDelay)
	case p.MaxDelay > MaxDelay:
		return bad("maxDelay is %s", p.MaxDelay).WithHint("at most %s", MaxDelay)
	}
	return nil
}

// Exhausted says whether the budget is used up when `spent` attempts were spent.
func (p Policy) Exhausted(spent int) bool { return spent >= p.WithDefaults().Attempts }

// Delay is the pause before the next attempt after `spent` attempts were spent
// (1 after the first): full jitter, drawn evenly between a small floor and
// [Policy.Cap], so that messages that failed together do not come back
// together.
func (p Policy) Delay(spent int) time.Duration {
	most := p.Cap(spent)
	least := min(floor, most/4)
	half := (most - least) / 2
	// The library draws from interval*(1±factor): around the middle, with
	// factor 1, that is the whole range.
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(half),
		backoff.WithRandomizationFactor(1),
		backoff.WithMaxInterval(half),
		backoff.WithMaxElapsedTime(0),
	)
	return min(max(least+b.NextBackOff(), least), most)
}

// Cap is the longest that Delay can be: InitialDelay, doubled for every attempt
// after the first, at most MaxDelay.
func (p Policy) Cap(spent int) time.Duration {
	p = p.WithDefaults()
	most := p.InitialDelay
	for i := 1; i < spent && most < p.MaxDelay; i++ {
		most *= 2 // cannot overflow: MaxDelay is at most a day when validated, and most < MaxDelay
	}
	return max(min(most, p.MaxDelay), 0)
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, "retry: "+format, args...)
}
