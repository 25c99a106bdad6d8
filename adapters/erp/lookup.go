package erp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// Lookup asks for the document of the call's external key. Only a readable
// answer, or one that a rule calls absent, proves anything.
func (r *route) Lookup(ctx context.Context, call adapters.Call) adapters.LookupResult {
	if r.lookup == nil {
		return unanswered(ferry.Verdict{Kind: ferry.Failed, Text: "the route has no lookup"})
	}
	ctx, cancel := context.WithTimeout(ctx, r.dest.cfg.Timeout)
	defer cancel()
	m := r.message(call)
	result := r.readFinding(context.WithoutCancel(ctx), m, r.search(ctx, m))
	if result.State == adapters.Unanswered {
		r.redact(&result.Verdict, m)
	}
	result.Result = m.mask().JSON(result.Result)
	return result
}

// finding is what the question for a document came to.
type finding struct {
	state    adapters.LookupState
	document any              // of Found: what the lookup's jq programs see
	answer   *httpcall.Answer // of Found
	verdict  ferry.Verdict    // of Unanswered: why; its Request is always there
	several  *severalError    // of Found: it is not the only one
}

// severalError says that several documents bear the key of one message. Each of
// them may be the message's, so that nothing may be written or finished: a person
// has to look.
type severalError struct{ names string }

func (e *severalError) Error() string { return "several documents bear the key: " + e.names }

const codeSeveral = "severalDocuments"

// search asks for the message's document: once more where the question was
// refused for its token or session alone.
func (r *route) search(ctx context.Context, m *message) finding {
	f, again := r.searchOnce(ctx, m)
	if again {
		f, _ = r.searchOnce(ctx, m)
	}
	return f
}

func (r *route) searchOnce(ctx context.Context, m *message) (f finding, again bool) {
	op, err := r.form.find(ctx, m)
	if err != nil {
		return noAnswer(ferry.Verdict{Kind: ferry.Failed, Text: cut(err.Error(), ferry.MaxAttemptText)}), false
	}
	req, err := r.question(ctx, m, op)
	if err != nil {
		return noAnswer(ferry.Verdict{Kind: ferry.Failed, Text: err.Error()}), false
	}
	line := op.line(req)
	a, err := r.dest.send(req)
	if err != nil {
		return noAnswer(withoutCredentials(err, line)), false
	}
	f, problem := r.judgeLookup(context.WithoutCancel(ctx), a, m)
	f.verdict.Request = line
	again = f.state == adapters.Unanswered && f.verdict.Kind == ferry.Unauthorized && a.Err == nil && r.dest.renews(req, a, problem)
	return f, again
}

// noAnswer is a question that was not answered, which proves nothing.
func noAnswer(v ferry.Verdict) finding {
	v.Effect = ferry.EffectNone // questions write nothing
	return finding{state: adapters.Unanswered, verdict: v}
}

func (r *route) judgeLookup(ctx context.Context, a *httpcall.Answer, m *message) (finding, httpcall.Problem) {
	var problem httpcall.Problem
	if a.Err != nil {
		return noAnswer(withoutAnswer(a)), problem
	}
	lookups := []httpcall.Table{r.dest.dialect.lookups}
	if q, ok := r.form.(questioner); ok {
		lookups = []httpcall.Table{q.lookups(), r.dest.dialect.lookups}
	}
	inside := slices.ContainsFunc(lookups, func(t httpcall.Table) bool { return t.LooksInside(a.Status) })
	if a.Status < 200 || a.Status > 299 || inside {
		problem = r.dest.dialect.problemOf(a)
	}
	rule, ok := httpcall.Judge(ctx, a, problem, lookups...)
	switch {
	case ok && rule.Kind == absent:
		return finding{state: adapters.Absent}, problem
	case !ok && a.Status == http.StatusOK:
		return r.readAnswer(a, m), problem
	case !ok:
		rule.Kind = ferry.Failed
	}
	text := sentences(rule.Text, problem.Text)
	if text == "" {
		text = fmt.Sprintf("status %d", a.Status)
	}
	v := ferry.Verdict{
		Kind: rule.Kind, Status: a.Status, Code: problem.Code, Fields: problem.Fields,
		Text: cut(text, ferry.MaxAttemptText), RemoteCorrelationID: httpcall.TraceOf(a, problem),
	}
	if v.Kind == ferry.Throttled || v.Kind == ferry.Unavailable {
		v.RetryAfter = httpcall.RetryAfter(a.Header, time.Now())
	}
	return noAnswer(v), problem
}

// readAnswer reads an answer of status 200.
func (r *route) readAnswer(a *httpcall.Answer, m *message) finding {
	value, err := answerValue(a)
	if err != nil {
		return unread(a, err)
	}
	document, err := r.form.found(m, a, value)
	var several *severalError
	switch {
	case errors.As(err, &several):
		return finding{state: adapters.Found, document: document, answer: a, several: several}
	case err != nil:
		return unread(a, err)
	case document == nil:
		return finding{state: adapters.Absent}
	}
	return finding{state: adapters.Found, document: document, answer: a}
}

func unread(a *httpcall.Answer, err error) finding {
	return noAnswer(ferry.Verdict{
		Kind: ferry.Failed, Status: a.Status, RemoteCorrelationID: httpcall.CorrelationID(a.Header),
		Text: cut(fmt.Sprintf("the answer to the lookup cannot be read: %v", err), ferry.MaxAttemptText),
	})
}

// readFinding makes the worker's answer of a finding. A document that is still to
// be finished counts as absent: delivering again finds it, and finishes it.
func (r *route) readFinding(ctx context.Context, m *message, f finding) adapters.LookupResult {
	switch {
	case f.state == adapters.Unanswered:
		return unanswered(f.verdict)
	case f.state == adapters.Absent, f.several == nil && !r.isFinished(ctx, f.document):
		return adapters.LookupResult{State: adapters.Absent}
	}
	if f.several != nil {
		return adapters.LookupResult{
			State: adapters.Found, Reference: r.referenceOf(ctx, f.document), Different: true,
			Verdict: ferry.Verdict{Code: codeSeveral, Text: cut(f.several.Error(), ferry.MaxAttemptText)},
		}
	}
	failed := func(err error) adapters.LookupResult {
		v := unread(f.answer, err).verdict
		v.Request = f.verdict.Request
		return unanswered(v)
	}
	reference, err := r.lookup.reference.StringOf(ctx, f.document)
	reference = strings.TrimSpace(reference)
	if err == nil && reference == "" {
		err = errors.New("the document that was found bears no reference")
	}
	if err != nil {
		return failed(err)
	}
	out := adapters.LookupResult{State: adapters.Found, Reference: cut(reference, ferry.MaxReferenceLength)}
	if r.lookup.same != nil {
		payload, err := m.bytes()
		if err != nil {
			// A person has to look: what is there may be it, and may not.
			out.Different = true
			out.Verdict = ferry.Verdict{Code: adapters.CodeMappingFailed, Text: "the destination has a document of this key, and whether it is of this body cannot be told: " + err.Error()}
			return out
		}
		same, err := r.isSame(ctx, f.document, m, payload)
		if err != nil {
			return failed(err)
		}
		out.Different = !same
	}
	if r.lookup.result != nil {
		// A result that cannot be read does not take back that the document exists.
		out.Result, _ = resultIn(ctx, r.lookup.result, f.document)
	}
	return out
}

// isSame asks route.lookup.same over {answer, payload, mapped}.
func (r *route) isSame(ctx context.Context, answer any, m *message, body []byte) (bool, error) {
	payload, err := m.decoded()
	if err != nil {
		payload = string(body) // no JSON: compared as text
	}
	mapped := payload
	if r.mapping != nil {
		if mapped, err = m.mapped(ctx); err != nil {
			return false, fmt.Errorf("same: %w", err)
		}
	}
	out, err := r.lookup.same.Eval(ctx, map[string]any{"answer": answer, "payload": payload, "mapped": mapped})
	if err != nil {
		return false, fmt.Errorf("same: %w", err)
	}
	same, ok := out.(bool)
	if !ok {
		return false, errors.New("same: it gives neither true nor false")
	}
	return same, nil
}

// unanswered marks a lookup that proves nothing. Lookups write nothing.
func unanswered(v ferry.Verdict) adapters.LookupResult {
	v.Effect = ferry.EffectNone
	if v.Kind == ferry.Unknown {
		v.Kind = ferry.Unavailable // no answer came: of a call that cannot write, that is all there is to it
	}
	return adapters.LookupResult{State: adapters.Unanswered, Verdict: v, Result: json.RawMessage(nil)}
}
