package logicapps

import (
	"net/http"
	"strconv"
	"time"
)

// RetryPolicy says when a request that failed is repeated: one answered 408, 429 or
// 5xx, or not at all. The zero value is the default of Logic Apps: four times, at
// once, then after about 6, 11 and 27 s.
type RetryPolicy struct {
	// Delays are the pauses before the first, second … repeat.
	Delays []time.Duration
	// None: no repeat.
	None bool
}

// FixedRetry repeats count times (1 to 90), always after the same pause.
func FixedRetry(count int, every time.Duration) RetryPolicy {
	p := RetryPolicy{Delays: make([]time.Duration, count)}
	for i := range p.Delays {
		p.Delays[i] = every
	}
	return p
}

// ExponentialRetry repeats count times, after a pause that doubles from scale on, up
// to most.
func ExponentialRetry(count int, scale, most time.Duration) RetryPolicy {
	p := RetryPolicy{Delays: make([]time.Duration, count)}
	for i := range p.Delays {
		p.Delays[i] = min(scale<<i, most)
	}
	return p
}

// LowRetry is the default of a Power Automate flow in the low performance profile.
func LowRetry() RetryPolicy {
	return RetryPolicy{Delays: []time.Duration{5 * time.Minute, 10 * time.Minute}}
}

// HighRetry is the default of a Power Automate flow in the other profiles.
func HighRetry() RetryPolicy { return ExponentialRetry(8, 7*time.Second, 15*time.Minute) }

func (p RetryPolicy) delays() []time.Duration {
	if p.None {
		return nil
	}
	if p.Delays == nil {
		return []time.Duration{0, 6 * time.Second, 11 * time.Second, 27 * time.Second}
	}
	return p.Delays
}

// repeats says whether a request that ended so is repeated; 0 is no answer.
func repeats(status int) bool {
	return status == 0 || status == http.StatusRequestTimeout || status == http.StatusTooManyRequests || status >= 500
}

// retryAfter is the pause that an answer asks for: seconds, or a date.
func retryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := h.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return time.Duration(seconds) * time.Second, true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	return 0, false
}
