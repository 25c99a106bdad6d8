package erp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/httpauth"
	"ferry/internal/apispec"
	"ferry/mapping"
)

// Deliver sends the message: one request, one verdict.
func (r *route) Deliver(ctx context.Context, call adapters.Call) ferry.Verdict {
	if call.Body == nil && call.Open == nil && call.Size > 0 {
		return ferry.Verdict{Kind: ferry.NotTried, Effect: ferry.EffectNone, Text: adapters.ErrNoBody.Error()}
	}
	if r.confirm == adapters.ConfirmCallback && call.ConfirmURL == "" {
		return ferry.Verdict{Kind: ferry.NotTried, Effect: ferry.EffectNone, Text: "the broker gave no address for the destination to call back"}
	}
	ctx, cancel := context.WithTimeout(ctx, r.dest.cfg.Timeout)
	defer cancel()
	m := r.message(call)
	v := r.deliver(ctx, m)
	if v.Kind == stale {
		v.Kind = ferry.Failed
	}
	r.redact(&v, m)
	withoutToken(&v, call.ConfirmURL)
	return v
}

// deliver writes the message, with what the dialect wants before and after it.
func (r *route) deliver(ctx context.Context, m *message) ferry.Verdict {
	if over(ctx) {
		return tooLate()
	}
	if r.searches(m) {
		return r.searchAndWrite(ctx, m)
	}
	return r.create(ctx, m)
}

// over says whether the time for the call has ended, also by the clock on the wall: that
// of the context stands still while a machine sleeps.
func over(ctx context.Context) bool {
	end, bounded := ctx.Deadline()
	return ctx.Err() != nil || bounded && !time.Now().Round(0).Before(end.Round(0))
}

func tooLate() ferry.Verdict {
	return ferry.Verdict{Kind: ferry.NotTried, Effect: ferry.EffectNone, Text: "the time for the call was over before it began"}
}

// put makes one request that writes: once more where it was refused for its token
// or session alone, which wrote nothing.
func (r *route) put(ctx context.Context, make func() (*operation, error), m *message) (ferry.Verdict, *httpcall.Answer) {
	v, a, again := r.putOnce(ctx, make, m)
	if again {
		v, a, _ = r.putOnce(ctx, make, m)
	}
	return v, a
}

// putOnce makes one request. a is nil when none was sent.
func (r *route) putOnce(ctx context.Context, make func() (*operation, error), m *message) (v ferry.Verdict, a *httpcall.Answer, again bool) {
	op, err := make()
	if over(ctx) {
		op.drop()
		return tooLate(), nil, false
	}
	if err != nil {
		return noRequest(err), nil, false
	}
	req, err := r.request(ctx, m, op)
	if err != nil {
		return noRequest(err), nil, false
	}
	line := op.line(req)
	if err = r.dest.ready(req); err != nil {
		return withoutCredentials(err, line), nil, false
	}
	if over(ctx) { // a search, a token or a session took its time
		closeBody(req)
		return tooLate(), nil, false
	}
	a = httpcall.Do(r.dest.transport, req)
	whole := a
	if u, ok := r.form.(unpacker); ok && a.Err == nil {
		a = u.unpack(ctx, m, a)
	}
	v, problem := r.judge(ctx, a, req.URL)
	v.Request = line
	if n, ok := r.form.(noter); ok && v.Kind == ferry.Delivered {
		v.Text = cut(sentences(v.Text, n.note(whole)), ferry.MaxAttemptText)
	}
	again = v.Kind == ferry.Unauthorized && v.Effect == ferry.EffectNone && a.Err == nil && r.dest.renews(req, a, problem)
	return v, a, again
}

// noRequest judges a message that no request can be made of. A map that was
// stopped for its time may have met a busy machine, so it is tried again.
func noRequest(err error) ferry.Verdict {
	if errors.Is(err, errBody) {
		return ferry.Verdict{Kind: ferry.NotTried, Effect: ferry.EffectNone, Text: cut(err.Error(), ferry.MaxAttemptText)}
	}
	v := ferry.Verdict{
		Kind: ferry.Rejected, Effect: ferry.EffectNone, Code: adapters.CodeMappingFailed,
		Text: cut(err.Error(), ferry.MaxAttemptText),
	}
	if own := (*invalidError)(nil); errors.As(err, &own) {
		v.Code, v.Fields = codeSchemaViolation, own.fields
	}
	if errors.Is(err, mapping.ErrTooSlow) || errors.Is(err, apispec.ErrTooMuch) {
		v.Kind = ferry.Failed
	}
	return v
}

// judge turns what came of a call into a verdict.
func (r *route) judge(ctx context.Context, a *httpcall.Answer, asked *url.URL) (ferry.Verdict, httpcall.Problem) {
	var problem httpcall.Problem
	if a.Err != nil {
		return withoutAnswer(a), problem
	}
	// The time for the call may be over; reading its answer is bounded by itself.
	ctx = context.WithoutCancel(ctx)
	tables := []httpcall.Table{r.dest.rules, r.dest.dialect.verdicts}
	inside := tables[0].LooksInside(a.Status) || tables[1].LooksInside(a.Status)
	success := a.Status >= 200 && a.Status <= 299
	if !success || inside {
		problem = r.dest.dialect.problemOf(a)
	}
	if success && inside && !a.Whole() {
		return ferry.Verdict{
			Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Status: a.Status,
			Text: "the answer ended early or is too long, and its status alone does not tell", RemoteCorrelationID: httpcall.CorrelationID(a.Header),
		}, problem
	}
	rule, ok := httpcall.Judge(ctx, a, problem, tables...)
	if !ok {
		rule = httpcall.Rule{Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Text: "the status means nothing to the dialect"}
	}
	v := ferry.Verdict{
		Kind: rule.Kind, Effect: rule.Effect, Status: a.Status, Code: problem.Code, Fields: problem.Fields,
		Text: cut(sentences(rule.Text, problem.Text), ferry.MaxAttemptText), RemoteCorrelationID: httpcall.TraceOf(a, problem),
	}
	switch v.Kind {
	case conflict:
		r.settleConflict(ctx, &v, a, asked, problem.Quoted)
	case ferry.Delivered, ferry.Duplicate:
		if success {
			v.Code, v.Text, v.Fields = "", "", nil
			if v.Kind == ferry.Delivered && r.later(ctx, &v, a, problem, asked) {
				return v, problem
			}
		}
		r.takeReference(ctx, &v, a, asked)
	case ferry.Throttled, ferry.Unavailable:
		v.RetryAfter = httpcall.RetryAfter(a.Header, time.Now())
	case repeated:
		r.takeRepeat(&v, a, asked)
	}
	return v, problem
}

// settleConflict decides what a conflict is. A body that is no error and names
// a document by the route's own reference is the document. An error may bear an
// id of its own, so a lookup is asked where there is one; without it, an error
// that names a document by the reference is believed.
func (r *route) settleConflict(ctx context.Context, v *ferry.Verdict, a *httpcall.Answer, asked *url.URL, isDocument bool) {
	reference, _ := r.referenceIn(ctx, a)
	switch {
	case reference != "" && (isDocument || !r.CanLookup()):
		v.Kind, v.Effect = ferry.Duplicate, ferry.EffectDone
		if isDocument {
			v.Text = ""
		}
		r.takeReference(ctx, v, a, asked)
	case r.CanLookup():
		v.Kind, v.Effect = ferry.Unknown, ferry.EffectMaybe
		v.Text = cut(sentences(v.Code, v.Text), ferry.MaxAttemptText)
		v.Code = adapters.CodeMaybeDuplicate
	default:
		v.Kind, v.Effect = ferry.Rejected, ferry.EffectNone
	}
}

// takeReference reads reference and result of an answer that says the message
// is there. Whatever is wrong with the body, it is there: the text says what.
func (r *route) takeReference(ctx context.Context, v *ferry.Verdict, a *httpcall.Answer, asked *url.URL) {
	reference, err := r.referenceIn(ctx, a)
	note := ""
	if err != nil {
		note = fmt.Sprintf("the answer's reference cannot be read: %v", err)
	}
	if n, ok := r.form.(namer); ok && reference == "" {
		if reference = n.named(a, asked); reference == "" && note == "" {
			note = "the answer bears no reference that can be read"
		}
	}
	if reference == "" {
		reference = lastSegment(a.Header.Get("Location"))
	}
	v.Reference = cut(reference, ferry.MaxReferenceLength)
	if r.result != nil {
		result, err := r.resultOf(ctx, r.result, a)
		if err != nil {
			note = sentences(note, fmt.Sprintf("the answer's result cannot be read: %v", err))
		}
		v.Result = result
	}
	v.Text = cut(sentences(v.Text, note), ferry.MaxAttemptText)
}

// referenceIn reads the reference by the route's jq; "" without one.
func (r *route) referenceIn(ctx context.Context, a *httpcall.Answer) (string, error) {
	if r.reference == nil {
		return "", nil
	}
	value, err := answerValue(a)
	if err != nil {
		return "", err
	}
	text, err := r.reference.StringOf(ctx, r.form.document(value))
	if err == nil && strings.TrimSpace(text) == "" {
		err = errors.New("it is empty")
	}
	return strings.TrimSpace(text), err
}

func (r *route) resultOf(ctx context.Context, program *mapping.Program, a *httpcall.Answer) ([]byte, error) {
	value, err := answerValue(a)
	if err != nil {
		return nil, err
	}
	return resultIn(ctx, program, r.form.document(value))
}

func resultIn(ctx context.Context, program *mapping.Program, document any) ([]byte, error) {
	result, err := program.RunValue(ctx, document)
	if err == nil && len(result) > ferry.MaxResult {
		return nil, fmt.Errorf("it has %d bytes, at most %d are kept", len(result), ferry.MaxResult)
	}
	return result, err
}

func answerValue(a *httpcall.Answer) (any, error) {
	switch {
	case a.Truncated:
		return nil, fmt.Errorf("the body is longer than %d bytes", httpcall.MaxAnswer)
	case a.BodyErr != nil:
		return nil, errors.New("the body ended early")
	}
	return mapping.Decode(a.Body)
}

// withoutAnswer judges a call that no answer came of.
func withoutAnswer(a *httpcall.Answer) ferry.Verdict {
	v := ferry.Verdict{Effect: a.Effect, Text: a.Err.Error(), Code: string(a.Failure)}
	switch {
	case a.Effect == ferry.EffectMaybe:
		v.Kind = ferry.Unknown
	case a.Failure == httpcall.FailureCancelled:
		v.Kind = ferry.NotTried
	case a.Failure == httpcall.FailureTLS:
		v.Kind = ferry.Unauthorized
	default:
		v.Kind = ferry.Unavailable
	}
	return v
}

// withoutCredentials judges a call that was not made, for want of credentials.
func withoutCredentials(err error, line string) ferry.Verdict {
	v := ferry.Verdict{
		Kind: ferry.Unauthorized, Effect: ferry.EffectNone, Code: "secretUnreadable",
		Text: cut(err.Error(), ferry.MaxAttemptText), Request: line,
	}
	switch {
	case ferry.CodeOf(err) == ferry.CodeSecretUnavailable:
		v.Kind, v.Code = ferry.Unavailable, string(ferry.CodeSecretUnavailable)
	case errors.Is(err, httpauth.ErrUnavailable):
		v.Kind, v.Code = ferry.Unavailable, "tokenUnavailable"
	case errors.Is(err, httpauth.ErrRefused):
		v.Code = "tokenRefused"
	}
	return v
}

// redact takes our secrets out of what the destination said, since some quote
// them, and what the configuration masks.
func (r *route) redact(v *ferry.Verdict, m *message) {
	if v.Text != "" || v.Code != "" || len(v.Fields) > 0 || v.RemoteCorrelationID != "" {
		v.Text, v.Code = r.dest.redact(v.Text), r.dest.redact(v.Code)
		v.RemoteCorrelationID = r.dest.redact(v.RemoteCorrelationID)
		for i := range v.Fields {
			v.Fields[i].Text = r.dest.redact(v.Fields[i].Text)
		}
	}
	m.mask().Verdict(v)
}

// lastSegment is the last part of an address's path: the document's number, by
// convention.
func lastSegment(location string) string {
	if location == "" {
		return ""
	}
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	segment, err := url.PathUnescape(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil {
		return ""
	}
	return segment
}

// sentences joins what was said.
func sentences(parts ...string) string {
	var said []string
	for _, p := range parts {
		if p != "" {
			said = append(said, p)
		}
	}
	return strings.Join(said, ": ")
}

// cut shortens text to at most n bytes.
func cut(s string, n int) string {
	const more = "…"
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(more)], "") + more
}
