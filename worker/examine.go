package worker

import (
	"time"

	"ferry"
	"ferry/internal/rules"
)

// action is what a delivery asks for, before anything is called.
type action int

const (
	actRefuse   action = iota + 1 // meant for another inbox: give it back
	actComplete                   // old news: settle it without a word
	actRetell                     // the turn's result is on record: report it again, then settle
	actCrashed                    // begun, and nobody recorded the end
	actExpire                     // its time to live is over, and nothing is open
	actHold                       // an outcome is open and nobody can be asked: a person decides
	actWait                       // an outcome is open, and the destination may still be writing
	actLookup                     // an outcome is open: ask the destination first
	actPost                       // call it
	actPoll                       // it was taken: ask what became of it
)

func (a action) String() string {
	return [...]string{"", "refuse", "complete", "retell", "crashed", "expire", "hold", "wait", "lookup", "post", "poll"}[a]
}

// claims says whether the action ends the turn by a receipt without any call.
func (a action) claims() bool {
	return a == actCrashed || a == actExpire || a == actHold || a == actWait
}

// plan is an action with what led to it.
type plan struct {
	action action
	open   bool          // an outcome is open
	other  bool          // and it may be that of another revision
	wait   time.Duration // actWait: how long
	spend  bool          // the open outcome costs an attempt when it proves absent

	// The destination took it, or may have, and says later what became of it.
	awaits    bool
	statusURL string
	late      bool   // its time to say so is over
	running   bool   // it says that it is still working on it
	runningAt string // running: where it said so
}

// examine looks at a hand-out and at what the inbox has on record of the
// message (nil: nothing) and says what to do. The order of its cases is the
// protocol's: facts first, then what is old, then what is open. expires is when its
// time to live ends; zero: never.
func (r *Route) examine(h *ferry.HandOut, rec *record, inbox string, now, expires time.Time) plan {
	switch {
	case h.Inbox != inbox && !h.Claims && rules.On(rules.Identity):
		return plan{action: actRefuse}
	case now.Sub(h.PublishedAt) > staleAfter:
		return plan{action: actComplete}
	case rec != nil && rec.hasIt:
		return plan{action: actRetell}
	case rec != nil && rec.turn > h.Turn && rules.On(rules.OldTurn):
		return plan{action: actComplete}
	case rec != nil && rec.turn == h.Turn && rec.state == result:
		return plan{action: actRetell}
	case rec != nil && rec.turn == h.Turn:
		return plan{action: actCrashed, open: true}
	}
	expired := !expires.IsZero() && !now.Before(expires)
	open, revision, ended := rec.openSince()
	own := rec.ownCall()
	if h.Claims {
		// The ledger knows of every call, also of those after this inbox's: what it
		// does not doubt is not open, and what was to be spent is.
		open, own = open && h.Doubt, false
	}
	p := plan{
		open:  h.Doubt || h.Elsewhere || h.Awaiting || open,
		other: (h.OpenRevision || open && revision != h.Revision) && rules.On(rules.Revision),
		// What was begun elsewhere may never have been called: it costs nothing.
		spend: (h.Doubt && !h.Elsewhere || own) && !rec.costsNothing(h),
	}
	if !p.open {
		p.action = actPost
		if expired {
			p.action = actExpire
		}
		return p
	}
	if awaited, ok := r.examineAwaited(p, h, now); ok {
		return awaited
	}
	p.late = h.Awaiting
	p.action = r.examineOpen(h, expired)
	if p.action == actLookup {
		until := h.NotBefore
		if open && !h.Awaiting { // else its own time was longer, and is over
			until = later(until, ended.Add(r.writesFor()))
		}
		if now.Before(until) && rules.On(rules.Wait) {
			p.action, p.wait = actWait, until.Sub(now)
		}
	}
	return p
}

// examineOpen is examine for a message with an open outcome.
func (r *Route) examineOpen(h *ferry.HandOut, expired bool) action {
	spent := h.Spent
	if h.Awaiting {
		spent++ // nobody confirmed it: sending it again is another attempt
	}
	last := expired || h.TakenOver >= maxCrashes || r.Retry.Exhausted(spent) // it would end here
	canAsk := r.Adapter.CanLookup()
	switch {
	case !rules.On(rules.Lookup):
		return actPost
	case r.OnUnknown == OnUnknownLookup:
		return actLookup
	case r.OnUnknown == OnUnknownRepost && !last:
		return actPost
	case r.OnUnknown == OnUnknownRepost && canAsk && rules.On(rules.OpenOutcome):
		return actLookup
	case h.RiskAccepted && !expired:
		return actPost
	default:
		return actHold
	}
}
