package ferry

import "time"

// Retention says how long what has ended is kept. A field of zero says nothing: see
// Over.
type Retention struct {
	Completed time.Duration // a completed message
	Discarded time.Duration // a discarded one, which restore takes back until then
	// DeadLettered is how long a dead letter waits for a person; KeepForever, the
	// default, until somebody ends it.
	DeadLettered time.Duration
	// Bodies is how long the bodies of a completed message are kept, where that is
	// shorter than the message: reference and attempts stay.
	Bodies time.Duration
	// Audit is how long entries of the audit log are kept in the ledger, of the broker
	// alone; KeepForever: for good.
	Audit time.Duration
}

// KeepForever is a time of Retention that never ends.
const KeepForever time.Duration = -1

// Over is the retention of a route: what it does not say itself is as in all, and
// what that does not say either as by default.
func (r Retention) Over(all Retention) Retention {
	or := func(values ...time.Duration) time.Duration {
		for _, v := range values {
			if v != 0 {
				return v
			}
		}
		return 0
	}
	return Retention{
		Completed:    or(r.Completed, all.Completed, DefaultRetention),
		Discarded:    or(r.Discarded, all.Discarded, DefaultRetention),
		DeadLettered: or(r.DeadLettered, all.DeadLettered, KeepForever),
		Bodies:       or(r.Bodies, all.Bodies, KeepForever),
		Audit:        or(r.Audit, all.Audit, DefaultAuditRetention),
	}
}

// AtLeast is the retention with no message kept for less than a time: the window in
// which a repeat is known by its record. Bodies are not needed for that.
func (r Retention) AtLeast(window time.Duration) Retention {
	r.Completed, r.Discarded = max(r.Completed, window), max(r.Discarded, window)
	if r.DeadLettered != KeepForever {
		r.DeadLettered = max(r.DeadLettered, window)
	}
	return r
}
