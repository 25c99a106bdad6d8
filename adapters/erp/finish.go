package erp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// searches says whether the document is asked for before it is written: where the
// dialect wants it, to write over it, and from the second turn on where it may
// have been created and not finished: of a call that was cut off, or is another
// worker's, nobody may know an attempt.
func (r *route) searches(m *message) bool {
	if r.lookup == nil {
		return false
	}
	if r.cfg.Write == writeUpdate || r.cfg.Finish != "" && (m.Number > 1 || m.Turn > 1) {
		return true
	}
	s, ok := r.form.(searcher)
	return ok && s.searches(m)
}

// compileActs checks what is done beside the one request that writes: all of it
// rests on finding the document again.
func (r *route) compileActs() error {
	cfg := r.cfg
	_, finishes := r.form.(finisher)
	_, updates := r.form.(updater)
	switch {
	case cfg.Write != "" && cfg.Write != writeCreate && cfg.Write != writeUpsert && cfg.Write != writeUpdate:
		return bad("write: there is no %q", cfg.Write).WithHint("%s, %s or %s", writeCreate, writeUpsert, writeUpdate)
	case cfg.Write == writeUpdate && !updates:
		return bad("write: dialect %s cannot update", r.dest.cfg.Dialect)
	case cfg.Write == writeUpdate && r.lookup == nil:
		return bad("write: update needs a lookup").WithHint("keyField or key tells which document is written over")
	case cfg.Finish != "" && !finishes:
		return bad("finish: dialect %s has no acts on documents", r.dest.cfg.Dialect)
	case cfg.Finished != "" && cfg.Finish == "":
		return bad("finished says when finish is done, which is missing")
	case cfg.Finish != "" && r.lookup == nil:
		return bad("finish needs a lookup: a document that was created is found again before the act is repeated").
			WithHint("keyField: the document's field that bears the external key")
	}
	return nil
}

// checkWrite refuses a write that the dialect does not have.
func checkWrite(cfg *adapters.RouteConfig, known ...string) error {
	if cfg.Write == "" || slices.Contains(known, cfg.Write) {
		return nil
	}
	return bad("write: there is no %q", cfg.Write).WithHint("one of %s", strings.Join(known, ", "))
}

// needsLookup refuses ways of writing that have to find the document first, in
// dialects where upsert is one of them.
func needsLookup(cfg *adapters.RouteConfig) error {
	if cfg.Lookup == nil && (cfg.Write == writeUpdate || cfg.Write == writeUpsert) {
		return bad("write: %s needs a lookup", cfg.Write).WithHint("keyField or key tells which document is written over")
	}
	return nil
}

// searchAndWrite asks for the document first: where nothing keeps a second one
// away, where it has to be read to be written over, and where a document that
// was created is still to be finished.
func (r *route) searchAndWrite(ctx context.Context, m *message) ferry.Verdict {
	v, changed := r.searchAndWriteOnce(ctx, m)
	if changed {
		// Somebody wrote it in between: read and written once more.
		if v, changed = r.searchAndWriteOnce(ctx, m); changed {
			v.Text = sentences("the document is changed by somebody else all the time", v.Text)
		}
	}
	return v
}

func (r *route) searchAndWriteOnce(ctx context.Context, m *message) (v ferry.Verdict, changed bool) {
	f := r.search(ctx, m)
	_, canUpdate := r.form.(updater)
	updates := r.cfg.Write == writeUpdate || r.cfg.Write == writeUpsert && canUpdate
	switch {
	case f.state == adapters.Unanswered && errors.Is(ctx.Err(), context.Canceled):
		return ferry.Verdict{Kind: ferry.NotTried, Effect: ferry.EffectNone, Request: f.verdict.Request, Text: "cancelled while it was asked whether it is there already"}, false
	case f.state == adapters.Unanswered:
		if f.verdict.Kind == ferry.Unknown {
			f.verdict.Kind = ferry.Unavailable
		}
		f.verdict.Text = sentences("the question whether it is there already was not answered", f.verdict.Text)
		return f.verdict, false
	case f.several != nil:
		// The worker asks again, and sets it aside for a person.
		return ferry.Verdict{
			Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Code: adapters.CodeMaybeDuplicate, Request: f.verdict.Request, Text: f.several.Error(),
		}, false
	case f.state == adapters.Absent && r.cfg.Write == writeUpdate:
		return ferry.Verdict{
			Kind: ferry.Rejected, Effect: ferry.EffectNone, Code: "notFound", Request: f.verdict.Request,
			Text: "there is no document of the key to write over",
		}, false
	case f.state == adapters.Absent:
		return r.create(ctx, m), false
	case r.isFinished(ctx, f.document) && (!updates || r.cfg.Write == writeUpsert && r.cfg.Finish != ""):
		return r.foundBefore(ctx, m, f), false
	}
	// What an earlier revision wrote is written over, and so is what is to be the
	// document's new state. Then comes the act, which did not come about.
	document, reference := f.document, r.referenceOf(ctx, f.document)
	if canUpdate && (updates || m.Revision > 1) {
		v, a := r.put(ctx, func() (*operation, error) { return r.form.(updater).update(ctx, m, f.document) }, m)
		if !v.Kind.HasIt() {
			return v, wasStale(v)
		}
		if v.Reference == "" {
			v.Reference, v.Text = reference, "" // the answer to an update needs to hold none
		}
		if r.isFinished(ctx, f.document) {
			return r.readAfter(ctx, m, v), false
		}
		if value, err := answerValue(a); err == nil {
			if changed := r.form.document(value); changed != nil {
				document = changed
			}
		}
		reference = v.Reference
	}
	return r.readAfter(ctx, m, r.finish(ctx, m, document, reference)), false
}

// wasStale says whether an update met a document that had changed meanwhile.
func wasStale(v ferry.Verdict) bool { return v.Kind == stale }

// create writes a document that is not there, and acts on it.
func (r *route) create(ctx context.Context, m *message) ferry.Verdict {
	v, a := r.put(ctx, func() (*operation, error) { return r.form.write(ctx, m) }, m)
	return r.readAfter(ctx, m, r.finishAfter(ctx, m, v, a))
}

// readAfter asks for a document that was written, where the answers to writes do
// not hold it. That it cannot be read does not take back that it is there.
func (r *route) readAfter(ctx context.Context, m *message, v ferry.Verdict) ferry.Verdict {
	if rd, ok := r.form.(reader); !ok || !rd.reads() || r.lookup == nil || !v.Kind.HasIt() {
		return v
	}
	f := r.search(ctx, m)
	if f.state != adapters.Found || f.several != nil {
		v.Text = sentences(v.Text, "the document could not be read once more for its reference")
		return v
	}
	if reference := r.referenceOf(ctx, f.document); reference != "" {
		v.Reference, v.Text = reference, ""
	}
	if r.lookup.result != nil {
		v.Result, _ = resultIn(context.WithoutCancel(ctx), r.lookup.result, f.document)
	}
	return v
}

// foundBefore: the document was there before this attempt wrote anything. Where
// more is to be compared than the key, the worker asks again and decides.
func (r *route) foundBefore(ctx context.Context, m *message, f finding) ferry.Verdict {
	reference := r.referenceOf(ctx, f.document)
	if r.lookup.same != nil || m.Revision > 1 {
		return ferry.Verdict{
			Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Code: adapters.CodeMaybeDuplicate, Request: f.verdict.Request,
			Text: "a document of the key is there: " + reference,
		}
	}
	v := ferry.Verdict{
		Kind: ferry.Duplicate, Effect: ferry.EffectDone, Status: f.answer.Status, Request: f.verdict.Request,
		Reference: reference, RemoteCorrelationID: httpcall.CorrelationID(f.answer.Header),
	}
	if r.lookup.result != nil {
		// A result that cannot be read does not take back that the document exists.
		v.Result, _ = resultIn(ctx, r.lookup.result, f.document)
	}
	return v
}

// referenceOf is the document's own number by the lookup's jq, as far as it can be read.
func (r *route) referenceOf(ctx context.Context, document any) string {
	text, err := r.lookup.reference.StringOf(context.WithoutCancel(ctx), document)
	if err != nil {
		return ""
	}
	return cut(strings.TrimSpace(text), ferry.MaxReferenceLength)
}

// isFinished says whether nothing is left to be done to a document that was found.
// A program that cannot tell does not take back that it is to be done: the act may
// be repeated without harm.
func (r *route) isFinished(ctx context.Context, document any) bool {
	f, ok := r.form.(finisher)
	switch {
	case !ok || r.cfg.Finish == "":
		return true
	case r.finished == nil:
		return f.finished(document)
	}
	done, err := r.finished.Eval(context.WithoutCancel(ctx), document)
	return err == nil && done != nil && done != false
}

// finishAfter acts on a document that a create brought into being.
func (r *route) finishAfter(ctx context.Context, m *message, v ferry.Verdict, a *httpcall.Answer) ferry.Verdict {
	if _, ok := r.form.(finisher); !ok || r.cfg.Finish == "" || v.Kind != ferry.Delivered {
		return v
	}
	value, err := answerValue(a)
	document := r.form.document(value)
	if err == nil && document == nil {
		err = errors.New("the answer does not name it")
	}
	if err != nil {
		return ferry.Verdict{
			Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Status: v.Status, Request: v.Request, RemoteCorrelationID: v.RemoteCorrelationID,
			Text: fmt.Sprintf("the document was created, and %s could not be asked for: %v", r.cfg.Finish, err),
		}
	}
	done := r.finish(ctx, m, document, v.Reference)
	if done.Kind.HasIt() && v.Result != nil {
		done.Result = v.Result
	}
	return done
}

// finish acts on the document. Whatever it comes to, the document itself is
// there: a text says so, and delivering again goes on here.
func (r *route) finish(ctx context.Context, m *message, document any, reference string) ferry.Verdict {
	f := r.form.(finisher)
	v, _ := r.put(ctx, func() (*operation, error) { return f.finish(ctx, m, document) }, m)
	switch {
	case v.Kind.HasIt():
		if reference != "" {
			v.Reference, v.Text = reference, "" // an act's own answer names nothing, which is no fault
		}
		return v
	case v.Kind == ferry.InProgress:
		v.Text = cut(sentences(fmt.Sprintf("document %s is there, and %s goes on", reference, r.cfg.Finish), v.Text), ferry.MaxAttemptText)
		return v
	}
	v.Text = cut(sentences(fmt.Sprintf("document %s is there, and %s did not succeed", reference, r.cfg.Finish), v.Text), ferry.MaxAttemptText)
	if v.Kind == ferry.NotTried {
		// A request of this attempt was made, so that it counts.
		v.Kind, v.Effect = ferry.Unknown, ferry.EffectMaybe
	}
	return v
}
