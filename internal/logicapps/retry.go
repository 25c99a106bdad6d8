package logicapps

import "time"

// RetryPolicy says when a call that failed (408, 429, 5xx, no answer, no
// connection) is repeated.
type RetryPolicy struct {
	// Delays before the first, second … repeat. nil: the default policy of Logic Apps.
	Delays []time.Duration
	// None: never.
	None bool
}

// FixedRetry repeats count times, always after the same pause.
func FixedRetry(count int, every time.Duration) RetryPolicy {
	p := RetryPolicy{Delays: make([]time.Duration, count)}
	for i := range p.Delays {
		p.Delays[i] = every
	}
	return p
}
