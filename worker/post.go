package worker

import (
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/internal/rules"
)

// post begins the turn on disk and makes its one call.
func (t *turn) post() outcome {
	t.plan.awaits, t.plan.statusURL = false, "" // what was awaited is over
	if !t.h.Claims && !t.begin() {
		return outcome{}
	}
	if why := t.mayNotCall(); why != "" {
		if !rules.On(rules.GiveBack) {
			t.giveBack()
			return outcome{}
		}
		v := ferry.Verdict{Kind: ferry.NotTried, Effect: ferry.EffectNone, Text: why}
		return ended(v, situation{open: t.plan.open})
	}
	v := t.deliverOnce()
	learned := v
	if v.Code == adapters.CodeMaybeDuplicate && v.Kind == ferry.Unknown && t.r.Adapter.CanLookup() {
		out := t.afterConflict(v)
		out.learned = &learned
		if out.learned.Kind == ferry.Unknown {
			out.learned = answeredVerdict()
		}
		return out
	}
	if v.Kind == ferry.Duplicate && t.plan.other {
		// Somebody's document bears the key, and it may be that of another revision.
		v.Kind, v.Text = ferry.AlreadyExists, "the destination has a document of this key, and it may be that of an earlier revision"
	}
	out := ended(v, situation{open: t.plan.open})
	if v.Kind != ferry.NotTried {
		out.learned = &learned
	}
	return out
}

// begin notes on disk that the call is about to be made. Otherwise the delivery
// was given back.
func (t *turn) begin() bool {
	t.begunAt = time.Now()
	t.deadline = t.begunAt.Add(startGrace + t.r.Timeout)
	if !t.r.mayBegin(t.h, t.begunAt) {
		t.w.helloNow()
		t.r.hold(pauseFault)
		t.giveBack() // not begun: harmless
		return false
	}
	if !rules.On(rules.Begun) {
		return true
	}
	if err := t.w.inbox.put(t.w.ioCtx, t.h.ID, t.begunRecord()); err != nil {
		t.fault("inbox.write", err)
		return false
	}
	return true
}

// begunRecord is what must be on disk before the first byte: this turn is begun,
// and what is still open of earlier ones.
func (t *turn) begunRecord() *record {
	rec := &record{
		state: begun, turn: t.h.Turn, revision: t.h.Revision, generation: t.h.Generation,
		begunAt: t.begunAt, deadline: t.deadline,
	}
	t.carry(rec)
	return rec
}

// carry takes over from the record before: crashes of the same generation, and
// an outcome that is still open.
func (t *turn) carry(rec *record) {
	if t.rec == nil {
		return
	}
	if t.rec.generation == t.h.Generation {
		rec.crashes = t.rec.crashes
	}
	if open, revision, ended := t.rec.openSince(); open && t.plan.open {
		rec.doubt, rec.own, rec.doubtRevision, rec.callEnded = true, t.rec.ownCall(), revision, ended
		rec.free = t.rec.costsNothing(t.h)
	}
}

// mayNotCall looks once more after the commit, which may have taken long: a
// call that must not start now is given back by receipt.
func (t *turn) mayNotCall() string {
	dest := t.r.Destination
	switch {
	case t.w.draining():
		return "the worker is stopping"
	case t.d.Context().Err() != nil:
		return "the lock on the delivery was lost before the call"
	case left(t.deadline) < t.r.Timeout && rules.On(rules.Deadline):
		return "the deadline of the call had come too close"
	case dest.held(t.ticket):
		return "the destination is not called at the moment"
	}
	return ""
}

// deliverOnce makes the call. It ends by the deadline, also when the lock is
// lost meanwhile: nobody else works on the message in this process, and no other
// inbox may.
func (t *turn) deliverOnce() ferry.Verdict {
	started := time.Now()
	most := t.r.Timeout
	if rules.On(rules.Deadline) {
		most = min(most, left(t.deadline)) // the process was frozen since the check
	}
	ctx, cancel := context.WithTimeout(t.span.In(t.w.callCtx), most)
	defer cancel()
	t.count()
	lost := ferry.Verdict{Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Text: "the adapter failed in the call"}
	v := safely(lost, t.w.log, func() ferry.Verdict {
		return t.r.Adapter.Deliver(ctx, t.adapterCall())
	})
	v = t.heardOf(sane(v))
	took := time.Since(started)
	if v.Kind == ferry.NotTried {
		return v // no call was made: there is no attempt to tell of
	}
	t.took = took
	t.r.meter.took(took)
	t.attempt = &ferry.Attempt{
		Number: t.h.Attempt, Turn: t.h.Turn, Revision: t.h.Revision, Generation: t.h.Generation,
		StartedAt: started.UTC(), DurationMS: took.Milliseconds(), Verdict: v.Kind, Effect: v.Effect,
		Status: v.Status, Code: v.Code, Text: v.Text, Fields: v.Fields, Reference: v.Reference,
		Worker: t.w.opts.Name, Request: v.Request, RemoteCorrelationID: v.RemoteCorrelationID,
	}
	return v
}

// afterConflict asks at once whose document it is that the destination holds
// against this one: its answer was definite, so there is nothing to wait out.
func (t *turn) afterConflict(v ferry.Verdict) outcome {
	answer := t.ask()
	switch answer.State {
	case adapters.Found:
		f := t.found(answer, t.plan.other)
		f.Status, f.Code = v.Status, v.Code
		return ended(f, situation{open: t.plan.open})
	case adapters.Absent:
		v.Kind, v.Effect = ferry.Rejected, ferry.EffectNone
		if v.Text == "" {
			v.Text = "the destination refuses it as a duplicate, and has no document of its key"
		}
		return ended(v, situation{})
	default:
		return ended(v, situation{open: t.plan.open})
	}
}

// sane holds an adapter to the contract: kinds that are its to give, an effect
// that fits, and the limits.
func sane(v ferry.Verdict) ferry.Verdict {
	switch v.Kind {
	case ferry.Delivered, ferry.Duplicate:
		v.Effect = ferry.EffectDone
	case ferry.InProgress:
		v.Effect = ferry.EffectMaybe
	case ferry.Rejected, ferry.Failed, ferry.Throttled, ferry.Unavailable, ferry.Unauthorized, ferry.Unknown:
		if v.Effect != ferry.EffectNone {
			v.Effect = ferry.EffectMaybe
		}
	case ferry.NotTried:
		v.Effect = ferry.EffectNone
	default:
		v.Kind, v.Effect = ferry.Unknown, ferry.EffectMaybe
	}
	if len(v.StatusURL) > ferry.MaxStatusURL {
		v.StatusURL = ""
	}
	v.Text = cut(v.Text, ferry.MaxAttemptText)
	v.Code = cut(v.Code, ferry.MaxReferenceLength)
	v.Request = cut(v.Request, ferry.MaxAttemptText)
	v.Reference = cut(v.Reference, ferry.MaxReferenceLength)
	v.RemoteCorrelationID = cut(v.RemoteCorrelationID, ferry.MaxReferenceLength)
	v.Fields = v.Fields[:min(len(v.Fields), ferry.MaxAttemptFields)]
	if len(v.Result) > ferry.MaxResult {
		v.Result = nil
	}
	return v
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && s[most]&0xc0 == 0x80 { // not in the middle of a character
		most--
	}
	return s[:most]
}

// safely turns a panic of an adapter into lost: one message must not end the
// deliveries of all.
func safely[T any](lost T, log *slog.Logger, fn func() T) (v T) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("adapter.panic", "error", panicError(p).Error(), "stack", string(debug.Stack()))
			v = lost
		}
	}()
	return fn()
}
