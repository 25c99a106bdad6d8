package worker

import (
	"context"
	"fmt"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/internal/rules"
	"ferry/trace"
)

// Confirm says how a destination that takes messages says later what became of
// them.
type Confirm string

// The ways to confirm.
const (
	ConfirmAtOnce   Confirm = ""                       // a success means delivered
	ConfirmPoll     Confirm = adapters.ConfirmPoll     // it is asked at the address that it named
	ConfirmCallback Confirm = adapters.ConfirmCallback // it calls the broker
)

// Defaults of Route.
const (
	defaultConfirmWithin = 24 * time.Hour
	defaultPollInterval  = 5 * time.Second
	longestPollInterval  = time.Minute // up to which it doubles
)

func (r *Route) completeConfirm() error {
	if r.ConfirmWithin <= 0 {
		r.ConfirmWithin = defaultConfirmWithin
	}
	if r.PollInterval <= 0 {
		r.PollInterval = defaultPollInterval
	}
	switch r.Confirm {
	case ConfirmAtOnce, ConfirmCallback:
	case ConfirmPoll:
		if _, ok := r.Adapter.(adapters.Poller); !ok {
			return fmt.Errorf("route %s: confirm is poll, and its adapter cannot poll", r.Name)
		}
	default:
		return fmt.Errorf("route %s: confirm %q is not known", r.Name, r.Confirm)
	}
	return nil
}

// pollAfter is the pause before the next poll of a message that has been awaited
// for a while: it doubles with the time that has passed.
func (r *Route) pollAfter(awaited time.Duration) time.Duration {
	return max(r.PollInterval, min(awaited, longestPollInterval))
}

// writesFor is how long after a call ended the destination may still write: one
// that answers later may have taken the message.
func (r *Route) writesFor() time.Duration {
	if r.Confirm == ConfirmAtOnce {
		return r.SettleTime
	}
	return max(r.SettleTime, r.ConfirmWithin)
}

// examineAwaited is examine for a message that the destination took, or may have
// taken, and says later what became of. ok is false when its time is over and
// nobody is left to ask but by lookup: then it is like any open outcome.
func (r *Route) examineAwaited(p plan, h *ferry.HandOut, now time.Time) (_ plan, ok bool) {
	if !h.Awaiting || !rules.On(rules.StatusURL) {
		return p, false
	}
	left := h.AwaitedAt.Add(r.ConfirmWithin).Sub(now)
	p.open, p.awaits, p.statusURL, p.late = true, true, h.StatusURL, left <= 0
	_, polls := r.Adapter.(adapters.Poller)
	switch {
	case h.StatusURL != "" && polls:
		p.action = actPoll
	case p.late:
		p.awaits = false
		return p, false
	case r.OnUnknown == OnUnknownLookup:
		// Found is a fact at any time; absent says nothing yet.
		p.action = actLookup
	default:
		p.action, p.wait = actWait, left
	}
	return p, true
}

// poll asks the destination what became of the message. over: its time has
// passed and the destination said nothing of use, so that it goes on as
// plan.action says.
func (t *turn) poll() (out outcome, over bool) {
	v := t.askStatus()
	learned := v
	switch v.Kind {
	case ferry.Delivered, ferry.Duplicate:
		if t.plan.other {
			v.Kind, v.Text = ferry.AlreadyExists, "the destination has a document of this key, and it may be that of an earlier revision"
		}
	case ferry.Rejected:
		t.plan.open = t.plan.other // what was open is known now: nothing was written
	case ferry.InProgress:
		if t.plan.late {
			return t.overdue(v, true)
		}
		if v.StatusURL != "" {
			t.plan.statusURL = v.StatusURL
		}
	case ferry.Unavailable, ferry.Throttled, ferry.Unauthorized:
		return unanswered(v), false // also when it is late: an outage proves nothing
	case ferry.Unknown: // forgotten
		if t.plan.late {
			return t.overdue(v, false)
		}
		learned = *answeredVerdict()
		if age := time.Since(t.h.AwaitedAt); age < t.r.SettleTime {
			// Some do not know everywhere at once what they just took.
			out = ended(v, situation{wait: t.r.pollAfter(age)})
			out.learned = &learned
			return out, false
		}
		t.plan.statusURL = ""
	default:
		if t.plan.late {
			return t.overdue(v, false)
		}
		v.Kind, v.Effect, v.RetryAfter = ferry.Unavailable, ferry.EffectNone, max(v.RetryAfter, lookupAgain)
		learned = ferry.Verdict{Kind: ferry.Unknown, Status: learned.Status}
	}
	out = ended(v, situation{})
	out.learned = &learned
	return out, false
}

// overdue goes on with a message of which nobody said in time what became of it.
// While the destination says that it still works on it, nothing proves that it
// will not be written: it is never sent again.
func (t *turn) overdue(v ferry.Verdict, running bool) (out outcome, over bool) {
	t.plan.awaits, t.plan.statusURL, t.plan.running, t.plan.runningAt = false, "", running, t.plan.statusURL
	if v.StatusURL != "" {
		t.plan.runningAt = v.StatusURL
	}
	t.plan.action = t.r.examineOpen(t.h, t.expired())
	if t.plan.action == actPost && running {
		t.plan.action = actHold
	}
	if t.plan.action != actHold {
		return outcome{}, true
	}
	v.Kind, v.Effect = ferry.Unknown, ferry.EffectMaybe
	v.Text = t.unconfirmed(v.Text)
	out = ended(v, situation{reason: ferry.ReasonOutcomeUnknown})
	out.learned = answeredVerdict()
	return out, false
}

// undecided ends a turn that did not come to the lookup's answer. Of a message that
// the destination says it still works on that is kept: the next turn asks again.
func (t *turn) undecided(out outcome) outcome {
	if t.plan.running {
		t.plan.awaits, t.plan.statusURL = true, t.plan.runningAt
	}
	return out
}

// unconfirmed says for how long nobody said what became of the message.
func (t *turn) unconfirmed(more string) string {
	text := fmt.Sprintf("nobody confirmed within %s what became of it", t.r.ConfirmWithin)
	if more != "" {
		text += ": " + more
	}
	return text
}

// notYet goes on waiting after a lookup that found nothing, while the
// destination may still be working on the message.
func (t *turn) notYet() outcome {
	age := time.Since(t.h.AwaitedAt)
	wait := min(max(age, t.r.SettleTime), max(t.r.ConfirmWithin-age, 0))
	out := ended(ferry.Verdict{
		Kind: ferry.NotTried, Effect: ferry.EffectNone,
		Text: "the destination does not have it yet, and may still be working on it",
	}, situation{wait: wait})
	out.learned = answeredVerdict()
	return out
}

// runningStill ends a message that the destination does not have, and says that
// it is still working on: a person decides.
func (t *turn) runningStill() outcome {
	out := ended(ferry.Verdict{
		Kind: ferry.Unknown, Effect: ferry.EffectMaybe,
		Text: t.unconfirmed("the destination does not have it, and says that it is still working on it"),
	}, situation{reason: ferry.ReasonOutcomeUnknown})
	out.learned = answeredVerdict()
	return out
}

// askStatus makes the poll and holds the adapter to the contract.
func (t *turn) askStatus() ferry.Verdict {
	ctx, cancel := context.WithTimeout(t.span.In(t.w.callCtx), t.r.Timeout)
	defer cancel()
	ctx, span := trace.Step(ctx, "poll "+t.h.Route)
	defer span.End()
	poller := t.r.Adapter.(adapters.Poller) // examineAwaited made sure
	call := t.adapterCall()
	t.count()
	v := safely(ferry.Verdict{Kind: ferry.Failed, Text: "the adapter failed"}, t.w.log, func() ferry.Verdict {
		return poller.Poll(ctx, call)
	})
	kind := v.Kind
	v = sane(v)
	switch {
	case kind == ferry.Unknown && v.Code == adapters.CodeForgotten, v.Kind.HasIt(), v.Kind == ferry.InProgress:
	case v.Kind == ferry.Rejected:
		v.Effect = ferry.EffectNone
	case kind == ferry.NotTried, v.Kind == ferry.Unknown:
		v.Kind, v.Effect = ferry.Unavailable, ferry.EffectNone // of a question, no answer is all there is to it
	default:
		v.Effect = ferry.EffectNone
	}
	return v
}

// heardOf holds a verdict of InProgress to the route: where nobody will ever be
// heard of it again, it is an unknown outcome.
func (t *turn) heardOf(v ferry.Verdict) ferry.Verdict {
	if v.Kind == ferry.InProgress && v.StatusURL == "" && t.r.Confirm != ConfirmCallback {
		v.Kind = ferry.Unknown
	}
	return v
}

// noConfirmURL: the broker told no address that the destination could call back.
// The next turn bears one, unless the broker has no public address.
func noConfirmURL() ferry.Verdict {
	return ferry.Verdict{Kind: ferry.NotTried, Effect: ferry.EffectNone, Text: "the broker told no address for the destination to call back"}
}

const pauseConfirmURL = 15 * time.Second

// await is settle for a message that the destination took, to say later what
// became of it. It has cost no attempt, and is not sent again meanwhile.
func (s situation) await(v ferry.Verdict) ferry.Next {
	s.open, s.awaits = true, rules.On(rules.StatusURL)
	if v.StatusURL != "" {
		s.statusURL = v.StatusURL
	}
	left := max(s.route.ConfirmWithin-s.awaited, 0)
	if s.statusURL == "" {
		return s.retry(left, s.resolved)
	}
	after := min(v.RetryAfter, ferry.MaxRetryAfter)
	if after <= 0 {
		after = s.route.pollAfter(s.awaited)
	}
	return s.retry(min(after, max(left, s.route.PollInterval)), s.resolved)
}

// awaitUnknown is settle for a call without a trustworthy answer on a route
// whose destination answers later: it may have been taken, and then is written
// later than any settle time. ok is false where that changes nothing.
func (s situation) awaitUnknown(v ferry.Verdict) (next ferry.Next, ok bool) {
	if s.route.Confirm == ConfirmAtOnce || !rules.On(rules.StatusURL) {
		return next, false
	}
	s.awaits, s.statusURL = true, ""
	left := max(s.route.ConfirmWithin-s.awaited, 0)
	switch {
	case s.route.OnUnknown == OnUnknownLookup:
		return s.retry(min(max(s.settleTime, waitOf(v)), max(left, time.Second)), s.resolved), true
	case s.route.OnUnknown == OnUnknownHold && s.route.Confirm == ConfirmCallback:
		return s.retry(left, s.resolved), true
	}
	return next, false
}
