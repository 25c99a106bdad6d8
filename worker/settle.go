package worker

import (
	"time"

	"ferry"
	"ferry/internal/rules"
)

// situation is what settle needs to know beside the verdict.
type situation struct {
	route      *Route
	spent      int           // attempts spent in earlier turns of this generation
	resolved   int           // attempts that this turn spent already: an open outcome that proved absent
	open       bool          // an earlier outcome is still open
	wait       time.Duration // notTried: when to come again; 0: soon
	backoff    time.Duration // before the next attempt when one was spent
	soon       time.Duration // before the next turn when none was spent
	settleTime time.Duration // left until the destination has surely stopped writing
	free       bool          // this failure costs nothing: others failed alike
	last       bool          // no further attempt, whatever the budget says
	reason     ferry.Reason  // of a dead letter that the worker decided: BodyMissing, Undeliverable, …

	awaits    bool          // the destination took it, or may have, and says later what became of it
	statusURL string        // where to ask it; empty: nowhere
	awaited   time.Duration // for how long already
}

// unauthorizedAfter is when a message that met refused credentials comes again;
// the destination is held meanwhile.
const unauthorizedAfter = 30 * time.Second

// settle turns a verdict into what happens next. It is the only place that
// does. Nothing that may have been written is ever sent again, or given up,
// before it was waited out and looked up where that can be done.
func settle(v ferry.Verdict, s situation) ferry.Next {
	if v.Kind.HasIt() {
		return ferry.Next{Do: ferry.DoComplete, Spends: s.resolved}
	}
	if v.Kind == ferry.AlreadyExists {
		return s.deadLetter(ferry.ReasonAlreadyExists)
	}
	if s.reason != "" {
		if s.open { // it wins over every other reason
			return s.deadLetter(ferry.ReasonOutcomeUnknown)
		}
		return s.deadLetter(s.reason)
	}
	if v.Kind == ferry.InProgress {
		return s.await(v)
	}
	if v.Effect != ferry.EffectNone && v.Kind != ferry.NotTried && v.Kind != ferry.Expired {
		return settleMaybe(v, s)
	}
	if !rules.On(rules.Budget) && v.Kind != ferry.Rejected && v.Kind != ferry.Expired {
		return s.spendOne()
	}
	switch v.Kind {
	case ferry.Rejected:
		if s.open {
			return s.giveUp(s.resolved)
		}
		return s.deadLetter(ferry.ReasonRejected)
	case ferry.Expired:
		return s.deadLetter(ferry.ReasonExpired)
	case ferry.Throttled:
		return s.retry(throttle(v), s.resolved)
	case ferry.Unavailable:
		return s.retry(max(s.soon, min(v.RetryAfter, ferry.MaxRetryAfter)), s.resolved)
	case ferry.Unauthorized:
		return s.retry(unauthorizedAfter, s.resolved)
	case ferry.NotTried:
		return s.retry(max(s.wait, s.soon), s.resolved)
	default: // failed, and whatever an adapter may call it
		if s.free {
			return s.retry(s.backoff, s.resolved)
		}
		return s.spendOne()
	}
}

// settleMaybe is settle for an effect that may have been.
func settleMaybe(v ferry.Verdict, s situation) ferry.Next {
	s.open = true
	if s.wait > 0 { // asked once more before it is believed
		return s.retry(s.wait, s.resolved)
	}
	if next, ok := s.awaitUnknown(v); ok {
		return next
	}
	s.awaits = false
	switch s.route.OnUnknown {
	case OnUnknownLookup:
		if !rules.On(rules.Wait) {
			s.settleTime = 0
		}
		return s.retry(max(s.settleTime, waitOf(v)), s.resolved)
	case OnUnknownRepost:
		return s.repost(v)
	}
	return s.deadLetter(ferry.ReasonOutcomeUnknown)
}

// repost: the destination honours the key, so sending again is no second
// document. What keeps the destination from answering costs no attempt.
func (s situation) repost(v ferry.Verdict) ferry.Next {
	spends := s.resolved
	after := max(s.soon, waitOf(v))
	switch v.Kind {
	case ferry.Throttled, ferry.Unavailable, ferry.Unauthorized:
		return s.retry(after, spends)
	case ferry.Rejected:
		return s.giveUp(spends) // sending it again cannot help
	default:
		if s.free {
			return s.retry(s.backoff, spends)
		}
		spends++
		after = s.backoff
	}
	if s.last || s.route.Retry.Exhausted(s.spent+spends) {
		return s.giveUp(spends)
	}
	return s.retry(after, spends)
}

func waitOf(v ferry.Verdict) time.Duration {
	switch v.Kind {
	case ferry.Throttled:
		return throttle(v)
	case ferry.Unauthorized:
		return unauthorizedAfter
	default:
		return min(v.RetryAfter, ferry.MaxRetryAfter)
	}
}

func (s situation) spendOne() ferry.Next {
	spends := s.resolved + 1
	if s.last || s.route.Retry.Exhausted(s.spent+spends) {
		return s.giveUp(spends)
	}
	return s.retry(s.backoff, spends)
}

// giveUp ends the attempts. While an outcome is open the destination is asked
// first, where that can be done: the next turn finds the budget used up, and
// looks.
func (s situation) giveUp(spends int) ferry.Next {
	if s.open && s.route.OnUnknown != OnUnknownHold && s.route.Adapter.CanLookup() && rules.On(rules.OpenOutcome) {
		after := s.settleTime
		if s.route.Confirm != ConfirmAtOnce {
			after = max(after, s.route.writesFor()) // it may have been taken
		}
		return s.retry(after, max(spends, s.route.Retry.WithDefaults().Attempts-s.spent))
	}
	s.resolved = spends
	if s.open {
		return s.deadLetter(ferry.ReasonOutcomeUnknown)
	}
	return s.deadLetter(ferry.ReasonAttemptsExhausted)
}

func (s situation) retry(after time.Duration, spends int) ferry.Next {
	next := ferry.Next{Do: ferry.DoRetry, After: max(after, 0), Spends: spends, Doubt: s.open}
	if s.awaits {
		next.Awaits, next.StatusURL = true, s.statusURL
	}
	return next
}

// deadLetter keeps the doubt where the outcome stays open, so that a replay
// looks first.
func (s situation) deadLetter(reason ferry.Reason) ferry.Next {
	return ferry.Next{Do: ferry.DoDeadLetter, Reason: reason, Spends: s.resolved, Doubt: s.open}
}
