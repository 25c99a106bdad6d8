package worker

import (
	"context"
	"fmt"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/internal/rules"
	"ferry/queue"
	"ferry/trace"
)

// Crashes that a message may survive: beyond it, it is what ends the workers.
const maxCrashes = 5

// Pauses of a route after a delivery was given back, so that it does not come
// straight back.
const (
	pauseRefused = 5 * time.Second // meant for another inbox
	pauseFault   = time.Second     // inbox, broker or body out of reach
)

// turn is one delivery being worked on.
type turn struct {
	w    *Worker
	r    *route
	d    *queue.Delivery
	h    *ferry.HandOut
	rec  *record     // what the inbox had; nil: nothing
	span *trace.Span // nil: none is made
	plan plan
	// freeHand lets the route's loop receive another message in this one's place.
	freeHand func()
	file     string // where the body lies while the turn's calls are made; empty: in memory

	resolved int // attempts spent by an open outcome that proved absent
	looked   bool
	asked    bool // a call was made in the slot: the next one is another for the rate
	waits    bool // it is kept in hand until the broker is heard
	attempt  *ferry.Attempt
	took     time.Duration  // of the call
	ticket   ticket         // to make it
	failed   *ferry.Verdict // the call was a server fault: who is to blame is not known yet
	free     bool           // and costs nothing
	begunAt  time.Time
	deadline time.Time // set when begun
}

// deliver takes one delivery to its end: it is settled or given back on return. free
// frees its hand, as soon as nothing of it waits for anybody but the queue.
func (w *Worker) deliver(r *route, d *queue.Delivery, free func()) {
	r.inHand.Add(1)
	defer r.inHand.Add(-1)
	h := &d.HandOut
	done, err := w.alone.enter(w.receiveCtx, h.ID)
	if err != nil {
		w.giveBack(d)
		return
	}
	defer done()
	t := &turn{w: w, r: r, d: d, h: h, freeHand: free}
	rec, err := w.inbox.find(h.ID)
	if err != nil {
		t.fault("inbox.read", err)
		return
	}
	t.rec = rec
	t.plan = r.examine(h, rec, w.inbox.identity, time.Now(), r.expiresAt(h, time.Now()))
	switch w := r.last(); {
	case h.Claims || t.plan.action <= actRetell:
	case w.named && w.Claims, w.otherThan(h):
		t.plan.action = actRefuse // published before the route got several workers, or was bound anew
	}
	if t.plan.action > actRetell {
		t.span = w.opts.Tracer.Turn(w.callCtx, h, w.opts.Name)
		defer t.span.End()
	}
	if t.plan.action.claims() && !t.claim(0) {
		return
	}
	switch t.plan.action {
	case actRefuse:
		if r.settledElsewhere(h, w.inbox.identity) {
			w.complete(d)
			return
		}
		w.helloNow()
		if h.Inbox != w.inbox.identity {
			w.log.Warn("delivery.refused", "route", r.Name, "message", h.ID, "inbox", h.Inbox,
				"error", "the message is meant for another inbox", "hint", "broker workers bind moves a route to this worker")
		}
		r.hold(pauseRefused)
		w.giveBack(d)
	case actComplete:
		w.complete(d)
	case actRetell:
		t.retell()
	case actCrashed:
		t.crashed()
	case actExpire:
		t.finish(ferry.Verdict{Kind: ferry.Expired, Effect: ferry.EffectNone, Text: "its time to live ended before a call"}, situation{})
	case actHold:
		text := "an earlier call may have been written, and the destination cannot be asked"
		if t.plan.late {
			text = t.unconfirmed("")
		}
		t.finish(ferry.Verdict{
			Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Text: text,
		}, situation{reason: ferry.ReasonOutcomeUnknown})
	case actWait:
		t.finish(ferry.Verdict{
			Kind: ferry.NotTried, Effect: ferry.EffectNone,
			Text: "an earlier call may still be written: waiting before the lookup",
		}, situation{wait: t.plan.wait})
	default:
		t.call()
	}
}

// retell reports a result that is on record once more.
func (t *turn) retell() {
	receipt, err := queue.DecodeReceipt(t.rec.receipt)
	if err == nil {
		err = t.w.teller.tell(receipt)
	}
	if err != nil {
		t.fault("receipt.retell", err)
		return
	}
	t.w.complete(t.d)
}

// crashed reports a turn that was begun and whose end nobody recorded.
func (t *turn) crashed() {
	rec := t.rec
	crashes := rec.crashes + 1
	text := "the worker ended while the call was running"
	t.begunAt, t.deadline = rec.begunAt, rec.deadline
	t.attempt = &ferry.Attempt{
		Number: t.h.Attempt, Turn: t.h.Turn, Revision: t.h.Revision, Generation: t.h.Generation,
		StartedAt: rec.begunAt, Verdict: ferry.Unknown, Effect: ferry.EffectMaybe, Text: text, Worker: t.w.opts.Name,
	}
	t.finishCrashed(ferry.Verdict{Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Text: text}, situation{
		last:       crashes >= maxCrashes && t.r.OnUnknown == OnUnknownRepost,
		settleTime: time.Until(rec.deadline.Add(t.r.SettleTime)),
	}, crashes)
}

// call goes to the destination: lookup, post, or both.
func (t *turn) call() {
	dest := t.r.Destination
	var err error
	ctx, passed := t.r.gate.pass(t.w.receiveCtx)
	t.ticket, err = dest.enter(ctx)
	passed()
	if err != nil {
		t.giveBack() // not begun: harmless
		return
	}
	t.r.calling.Add(1)
	said := t.callInSlot()
	t.r.calling.Add(-1)
	dest.leave(t.ticket, t.lesson(said))
	if t.waits {
		t.awaitBroker()
		return
	}
	if said.verdict == nil {
		return // given back
	}
	t.finish(*said.verdict, said.situation)
}

// outcome is what happened in a slot. A nil verdict: the delivery was given back.
type outcome struct {
	verdict   *ferry.Verdict
	situation situation
	learned   *ferry.Verdict // about the destination; nil: nothing
}

func ended(v ferry.Verdict, s situation) outcome { return outcome{verdict: &v, situation: s} }

func (t *turn) callInSlot() outcome {
	if t.w.draining() || t.d.Context().Err() != nil || t.r.isHeld(time.Now()) {
		t.giveBack()
		return outcome{}
	}
	claimed := t.plan.action == actPoll // before the poll; else as late as can be: waiting must not eat it
	if claimed && !t.claim(t.plan.calls()) {
		return outcome{}
	}
	if t.plan.action == actPoll {
		if out, over := t.poll(); !over {
			return out
		}
	}
	defer t.dropBody()
	missing, err := t.body(t.w.receiveCtx)
	if err != nil && claimed && t.h.Claims {
		v := ferry.Verdict{Kind: ferry.NotTried, Effect: ferry.EffectNone, Text: "the body could not be fetched: " + err.Error()}
		return t.undecided(ended(v, situation{open: t.plan.open, wait: pauseFault}))
	}
	if err != nil {
		t.noBody(err)
		return outcome{}
	}
	if !claimed && !t.claim(t.plan.calls()) {
		return outcome{}
	}
	if missing && t.plan.action == actPost {
		return ended(bodyMissing(), situation{reason: ferry.ReasonBodyMissing})
	}
	var learned *ferry.Verdict
	if t.plan.action == actLookup {
		out, resolved := t.lookup(missing)
		if !resolved {
			return out
		}
		learned = out.learned
	}
	if t.r.Confirm == ConfirmCallback && t.h.ConfirmURL == "" {
		return ended(noConfirmURL(), situation{open: t.plan.open, wait: pauseConfirmURL})
	}
	if t.plan.late && t.plan.open {
		t.resolved = 1 // nobody confirmed it: sending it again is another attempt
	}
	if t.expired() && !t.plan.open {
		v := ferry.Verdict{Kind: ferry.Expired, Effect: ferry.EffectNone, Text: "its time to live ended before a call"}
		return outcome{verdict: &v, learned: learned}
	}
	out := t.post()
	if out.learned == nil {
		out.learned = learned
	}
	return out
}

func bodyMissing() ferry.Verdict {
	return ferry.Verdict{
		Kind: ferry.Rejected, Effect: ferry.EffectNone, Code: "bodyMissing",
		Text: "the body of the message is gone or was altered",
	}
}

// lookup asks for the document of an open outcome. resolved: it is absent, and
// the message may be posted in this turn.
func (t *turn) lookup(missing bool) (out outcome, resolved bool) {
	answer := t.ask()
	t.looked = true
	switch answer.State {
	case adapters.Found:
		out = ended(t.found(answer, t.plan.other), situation{open: t.plan.open})
		out.learned = answeredVerdict()
		return out, false
	case adapters.Absent:
		if t.plan.awaits {
			return t.notYet(), false
		}
		if t.plan.running {
			return t.runningStill(), false
		}
	default:
		return t.undecided(unanswered(answer.Verdict)), false
	}
	// The outcome is known now: nothing was written.
	t.plan.open, t.plan.other = false, false
	if t.plan.spend && !t.r.Destination.pardonedOpen(t.h.ID, t.h.Generation) {
		t.resolved = 1
	}
	absent := ferry.Verdict{Kind: ferry.Failed, Effect: ferry.EffectNone, Text: "the destination does not have it: the earlier call was not written"}
	var reason ferry.Reason
	switch {
	case missing:
		absent, reason = bodyMissing(), ferry.ReasonBodyMissing
	case t.expired():
		absent.Kind, reason = ferry.Expired, ferry.ReasonExpired
	case t.rec != nil && t.rec.generation == t.h.Generation && t.rec.crashes >= maxCrashes || t.h.TakenOver >= maxCrashes:
		reason = ferry.ReasonUndeliverable
	case t.r.Retry.Exhausted(t.h.Spent + t.resolved):
		reason = ferry.ReasonAttemptsExhausted
	default:
		return outcome{learned: answeredVerdict()}, true
	}
	out = ended(absent, situation{reason: reason})
	out.learned = answeredVerdict()
	return out, false
}

// answeredVerdict tells the destination's breaker that it answers.
func answeredVerdict() *ferry.Verdict { return &ferry.Verdict{Kind: ferry.Duplicate} }

func (t *turn) ask() adapters.LookupResult {
	most := t.r.Timeout
	if t.h.Claims && t.attempt == nil && rules.On(rules.Deadline) {
		most = min(most, left(t.deadline)) // what it finds absent would be called too late
	}
	ctx, cancel := context.WithTimeout(t.span.In(t.w.callCtx), most)
	defer cancel()
	ctx, span := trace.Step(ctx, "lookup "+t.h.Route)
	answer := t.askIn(ctx)
	span.Looked(answeredAs(answer.State))
	return answer
}

// answeredAs names the answer to a lookup.
func answeredAs(s adapters.LookupState) string {
	switch s {
	case adapters.Found:
		return "found"
	case adapters.Absent:
		return "absent"
	default:
		return "unanswered"
	}
}

// count counts a call for the destination's rate. The first one in a slot was waited
// for when the slot was taken.
func (t *turn) count() {
	if t.asked {
		t.r.Destination.owe()
	}
	t.asked = true
}

func (t *turn) askIn(ctx context.Context) adapters.LookupResult {
	t.count()
	return safely(adapters.LookupResult{Verdict: ferry.Verdict{Text: "the adapter failed"}}, t.w.log, func() adapters.LookupResult {
		return t.r.Adapter.Lookup(ctx, t.adapterCall())
	})
}

// found is the verdict on a document that a lookup found. It proves that one
// exists, not of which revision.
func (t *turn) found(answer adapters.LookupResult, other bool) ferry.Verdict {
	v := ferry.Verdict{Kind: ferry.Duplicate, Effect: ferry.EffectDone, Reference: answer.Reference, Result: answer.Result}
	switch {
	case answer.Different:
		v.Kind, v.Text = ferry.AlreadyExists, "the destination has a document of this key that is not of this body"
		if answer.Verdict.Text != "" {
			v.Code, v.Text = answer.Verdict.Code, answer.Verdict.Text
		}
	case other:
		v.Kind, v.Text = ferry.AlreadyExists, "the destination has a document of this key, and it may be that of an earlier revision"
	}
	return v
}

// unanswered keeps the outcome open; the message comes again as what kept the
// destination from answering asks for.
func unanswered(v ferry.Verdict) outcome {
	learned := v
	v.Text = "the lookup was not answered: " + v.Text
	switch v.Kind {
	case ferry.Unavailable, ferry.Throttled, ferry.Unauthorized:
		v.Effect = ferry.EffectNone // of the lookup: it writes nothing
		learned = v
	default:
		v.Kind, v.Effect = ferry.Unavailable, ferry.EffectNone
		v.RetryAfter = max(v.RetryAfter, lookupAgain)
		learned = ferry.Verdict{Kind: ferry.Unknown, Status: learned.Status}
	}
	return outcome{verdict: &v, situation: situation{open: true}, learned: &learned}
}

// lookupAgain is when a lookup that was answered with nonsense is asked again.
const lookupAgain = 30 * time.Second

func (t *turn) expired() bool {
	now := time.Now()
	at := t.r.expiresAt(t.h, now)
	return !at.IsZero() && !now.Before(at)
}

// giveBack gives the delivery back: it comes again.
func (t *turn) giveBack() {
	t.span.Released()
	t.w.giveBack(t.d)
}

// fault gives the delivery back after a fault that is not the message's.
func (t *turn) fault(what string, err error) {
	attrs := []any{"route", t.r.Name, "message", t.h.ID, "turn", t.h.Turn, "error", err.Error()}
	if hint := inboxHint(err); hint != "" {
		attrs = append(attrs, "hint", hint)
		t.w.helloNow() // the broker's status tells of it
	}
	t.w.log.Error(what, attrs...)
	t.r.hold(pauseFault) // before it is given back: it would come straight back
	t.giveBack()
}

// soon is a pause of 1 to 5 seconds, so that messages that were stopped together
// do not come back together.
func (w *Worker) soon() time.Duration {
	return time.Second + time.Duration(w.opts.Jitter()*float64(4*time.Second))
}

// backoff is the pause after `spent` attempts were spent.
func (w *Worker) backoff(r *Route, spent int) time.Duration {
	if w.simulated {
		return time.Duration(w.opts.Jitter() * float64(r.Retry.Cap(spent)))
	}
	return r.Retry.Delay(spent)
}

func panicError(p any) error { return fmt.Errorf("the adapter failed: %v", p) }
