package worker

import (
	"time"

	"ferry"
)

// lesson is what the turn's call teaches about the destination.
func (t *turn) lesson(said outcome) lesson {
	l := lesson{verdict: said.learned, id: t.h.ID, route: t.r.Name}
	if t.attempt == nil || said.learned == nil {
		return l
	}
	l.posted, l.both = true, t.looked
	l.began, l.took = t.attempt.StartedAt, t.took
	if serverFault(l.verdict) {
		t.failed = l.verdict
		l.late = noAnswer(l.verdict) && t.took >= t.r.Timeout*9/10
	}
	return l
}

// reckon says what the turn costs before its verdict is settled: nothing where
// others failed alike, and less than nothing where that came out afterwards. It
// gives how many spent attempts go back.
func (t *turn) reckon(s *situation) (back int) {
	d := t.r.Destination
	c := charge{id: t.h.ID, generation: t.h.Generation, failed: t.failed, resolved: t.resolved}
	if t.failed != nil {
		c.opens = t.failed.Effect != ferry.EffectNone && t.r.OnUnknown == OnUnknownLookup
	}
	t.free = d.account(c)
	back = min(d.pardoned(t.h.ID, t.h.Generation), t.h.Spent)
	s.free, s.spent = t.free, t.h.Spent-back
	s.backoff = t.w.backoff(&t.r.Route, s.spent+s.resolved+1)
	if t.free {
		s.backoff = t.freeDelay(s.soon)
	}
	return back
}

// freeDelay is when a message comes again whose failure cost nothing: soon where
// the breaker keeps the destination from being called, else at growing intervals
// as if it had cost something.
func (t *turn) freeDelay(soon time.Duration) time.Duration {
	if t.r.Destination.held(ticket{}) {
		return soon
	}
	return max(soon, t.w.backoff(&t.r.Route, max(t.h.Attempt, 1)))
}
