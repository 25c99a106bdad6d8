package ratelimit

import (
	"sync"
	"time"

	"ferry"
)

// Quotas counts what was used of quotas in their windows, by name. What it counts
// is only as long-lived as the process; before a name's first use in a window it
// asks what was used of it before.
type Quotas struct {
	used func(name string, until time.Time, per time.Duration) (int64, error)
	most int

	mu      sync.Mutex
	windows map[string]*window
}

// window is the current window of one quota.
type window struct {
	until time.Time // its end, which names it
	used  int64     // reserved ones too
	held  int64     // reserved, not known yet whether they are used
}

// maxQuotas bounds the windows in memory: those beyond are asked for again.
const maxQuotas = 50_000

// NewQuotas makes the count. used says what the window of a name that ends at a
// time, and is so long, has had before; it must know everything that was kept.
func NewQuotas(used func(name string, until time.Time, per time.Duration) (int64, error)) *Quotas {
	return &Quotas{used: used, most: maxQuotas, windows: map[string]*window{}}
}

// Window is the end of the quota's window at a time: windows begin at multiples of
// the quota's time since Monday, the first day of year 1, UTC.
func Window(q ferry.Rate, now time.Time) time.Time {
	return now.UTC().Truncate(q.Per).Add(q.Per)
}

// QuotaAnswer is what a quota says.
type QuotaAnswer struct {
	OK    bool
	Until time.Time // the end of the window
	Left  int64
}

// Reserve takes n of a name's quota, all or none. Of what was reserved, Settle must
// tell how many were used.
func (q *Quotas) Reserve(name string, quota ferry.Rate, now time.Time, n int) (QuotaAnswer, error) {
	until := Window(quota, now)
	q.mu.Lock()
	defer q.mu.Unlock()
	w, err := q.window(name, until, quota.Per)
	if err != nil {
		return QuotaAnswer{}, err
	}
	left := int64(quota.Calls) - w.used
	if left < int64(n) {
		return QuotaAnswer{Until: w.until, Left: max(left, 0)}, nil
	}
	w.used += int64(n)
	w.held += int64(n)
	return QuotaAnswer{OK: true, Until: w.until, Left: left - int64(n)}, nil
}

// Settle ends a reservation of n in the window that ended at until, of which used
// were used.
func (q *Quotas) Settle(name string, until time.Time, n, used int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w := q.windows[name]
	if w == nil || !w.until.Equal(until) {
		return // it ended meanwhile
	}
	w.held -= int64(n)
	w.used -= int64(n - used)
}

// window is the window of the name that ends at until, or the next one where that was
// begun already, when the clock went back. One further on was begun by a clock that was
// wrong, and would hold for as long as it was ahead.
func (q *Quotas) window(name string, until time.Time, per time.Duration) (*window, error) {
	w := q.windows[name]
	if w != nil && !until.After(w.until) && w.until.Sub(until) <= per {
		return w, nil
	}
	used, err := q.used(name, until, per)
	if err != nil {
		return nil, err
	}
	if w == nil && len(q.windows) >= q.most {
		q.forget()
	}
	w = &window{until: until, used: used}
	q.windows[name] = w
	return w, nil
}

// forget makes room for one of which nothing is held.
func (q *Quotas) forget() {
	for name, w := range q.windows {
		if w.held == 0 {
			delete(q.windows, name)
			return
		}
	}
}
