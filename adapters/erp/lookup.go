package erp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// Lookup asks for the document of the call's external key. Only a readable
// answer, or a 404, proves anything.
func (r *route) Lookup(ctx context.Context, call adapters.Call) adapters.LookupResult {
	if r.lookup == nil {
		return unanswered(ferry.Verdict{Kind: ferry.Failed, Text: "the route has no lookup"})
	}
	ctx, cancel := context.WithTimeout(ctx, r.dest.cfg.Timeout)
	defer cancel()
	address, err := r.address(r.lookup.url, call)
	if err != nil {
		return unanswered(ferry.Verdict{Kind: ferry.Failed, Text: err.Error()})
	}
	result, again := r.lookupOnce(ctx, call, address)
	if again {
		result, _ = r.lookupOnce(ctx, call, address)
	}
	if result.State == adapters.Unanswered {
		r.redact(&result.Verdict)
	}
	return result
}

// lookupOnce makes one request. again: it was refused for its token alone, and a
// fresh one can be had.
func (r *route) lookupOnce(ctx context.Context, call adapters.Call, address string) (result adapters.LookupResult, again bool) {
	req, err := httpcall.NewRequest(ctx, http.MethodGet, address, nil)
	if err != nil {
		return unanswered(ferry.Verdict{Kind: ferry.Failed, Text: err.Error()}), false
	}
	setAll(req.Header, r.dest.cfg.Headers)
	standardHeaders(req.Header)
	if trace := childTrace(call.Traceparent); trace != "" {
		req.Header.Set("Traceparent", trace)
	}
	req.Header.Set("Ferry-Message-Id", call.ID.String())
	line := requestLine(req.Method, req.URL)
	if err := r.dest.auth.Apply(req); err != nil {
		return unanswered(withoutCredentials(err, line)), false
	}
	result = r.judgeLookup(ctx, httpcall.Do(r.dest.transport, req), call)
	if result.State == adapters.Unanswered {
		result.Verdict.Request = line
		again = result.Verdict.Kind == ferry.Unauthorized && r.dest.renews(req, result.Verdict.Status)
	}
	return result, again
}

func (r *route) judgeLookup(ctx context.Context, a *httpcall.Answer, call adapters.Call) adapters.LookupResult {
	switch {
	case a.Err != nil:
		return unanswered(withoutAnswer(a))
	case a.Status == http.StatusNotFound, a.Status == http.StatusNoContent:
		return adapters.LookupResult{State: adapters.Absent}
	case a.Status == http.StatusOK:
		return r.readLookup(context.WithoutCancel(ctx), a, call)
	}
	problem := httpcall.DecodeProblem(a.Body)
	rule, ok := httpcall.Judge(ctx, a, problem, r.dest.dialect.lookups)
	if !ok {
		rule.Kind = ferry.Failed
	}
	text := problem.Text
	if text == "" {
		text = fmt.Sprintf("status %d", a.Status)
	}
	v := ferry.Verdict{
		Kind: rule.Kind, Status: a.Status, Code: problem.Code, Fields: problem.Fields,
		Text: cut(text, ferry.MaxAttemptText), RemoteCorrelationID: httpcall.CorrelationID(a.Header),
	}
	if v.Kind == ferry.Throttled || v.Kind == ferry.Unavailable {
		v.RetryAfter = httpcall.RetryAfter(a.Header, time.Now())
	}
	return unanswered(v)
}

// readLookup reads an answer of status 200.
func (r *route) readLookup(ctx context.Context, a *httpcall.Answer, call adapters.Call) adapters.LookupResult {
	unread := func(err error) adapters.LookupResult {
		return unanswered(ferry.Verdict{
			Kind: ferry.Failed, Status: a.Status, RemoteCorrelationID: httpcall.CorrelationID(a.Header),
			Text: cut(fmt.Sprintf("the answer to the lookup cannot be read: %v", err), ferry.MaxAttemptText),
		})
	}
	value, err := answerValue(a)
	if err != nil {
		return unread(err)
	}
	reference, err := r.lookup.reference.StringOf(ctx, value)
	if err != nil {
		return unread(err)
	}
	reference = strings.TrimSpace(reference)
	if reference == "" {
		return adapters.LookupResult{State: adapters.Absent}
	}
	out := adapters.LookupResult{State: adapters.Found, Reference: cut(reference, ferry.MaxReferenceLength)}
	if r.lookup.same != nil {
		payload, err := call.Payload()
		if err != nil {
			// A person has to look: what is there may be it, and may not.
			out.Different = true
			out.Verdict = ferry.Verdict{Code: adapters.CodeMappingFailed, Text: "the destination has a document of this key, and whether it is of this body cannot be told: " + err.Error()}
			return out
		}
		same, err := r.isSame(ctx, value, payload)
		if err != nil {
			return unread(err)
		}
		out.Different = !same
	}
	if r.lookup.result != nil {
		// A result that cannot be read does not take back that the document exists.
		out.Result, _ = resultOf(ctx, r.lookup.result, a)
	}
	return out
}

// isSame asks route.lookup.same over {answer, payload, mapped}.
func (r *route) isSame(ctx context.Context, answer any, body []byte) (bool, error) {
	payload, err := mapping.Decode(body)
	if err != nil {
		payload = string(body) // no JSON: compared as text
	}
	mapped := payload
	if r.mapping != nil {
		if mapped, err = r.mapping.Eval(ctx, payload); err != nil {
			return false, fmt.Errorf("same: the body cannot be mapped: %w", err)
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
