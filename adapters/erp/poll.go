package erp

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// poll is how the answers of a destination that answers later are read.
type poll struct {
	state, reference, result, text *mapping.Program
}

// opState is what an answer says of the operation behind it.
type opState string

const (
	stateUnsaid  opState = "" // the status alone tells
	stateRunning opState = "running"
	stateDone    opState = "done"
	stateFailed  opState = "failed"
)

// later judges a success of a destination that says later what became of a
// message. It says whether v is the verdict; else the answer means delivered.
// A rule of the destination's own that matched is the last word.
func (r *route) later(ctx context.Context, v *ferry.Verdict, a *httpcall.Answer, problem httpcall.Problem, asked *url.URL) bool {
	if r.confirm == "" {
		return false
	}
	if _, own := httpcall.Judge(ctx, a, problem, r.dest.rules); own {
		return false
	}
	if r.confirm == adapters.ConfirmCallback {
		v.Kind, v.Effect, v.Text = ferry.InProgress, ferry.EffectMaybe, "the destination took it and is to call back"
		return true
	}
	address, isOperation := operationAddress(a.Header)
	if q, ok := r.form.(queuer); ok {
		address = q.queued(a)
	} else if a.Status != http.StatusAccepted && !r.saysRunning(ctx, a, isOperation) {
		return false
	}
	v.Kind, v.Effect = ferry.Unknown, ferry.EffectMaybe
	if address == "" {
		v.Text = "the destination took it to answer later, and names no address to ask"
		return true
	}
	status, err := r.statusURL(asked, address)
	if err != nil {
		v.Text = "the destination took it to answer later, and cannot be asked: " + err.Error()
		return true
	}
	v.Kind, v.StatusURL, v.Text = ferry.InProgress, status, "the destination took it to answer later"
	v.RetryAfter = httpcall.RetryAfter(a.Header, time.Now())
	return true
}

// takeRepeat judges the answer to a request that the destination took before: it
// is asked what became of that.
func (r *route) takeRepeat(v *ferry.Verdict, a *httpcall.Answer, asked *url.URL) {
	v.Kind, v.Effect = ferry.Unknown, ferry.EffectMaybe
	address := a.Header.Get("Location")
	if r.confirm != adapters.ConfirmPoll || address == "" {
		v.Text = sentences("the destination took it before", v.Text)
		return
	}
	status, err := r.statusURL(asked, address)
	if err != nil {
		v.Text = sentences("the destination took it before, and cannot be asked: "+err.Error(), v.Text)
		return
	}
	v.Kind, v.Code, v.StatusURL, v.Text = ferry.InProgress, "", status, "the destination took it before, to answer later"
	v.RetryAfter = httpcall.RetryAfter(a.Header, time.Now())
}

// operationAddress is where an answer says that the operation can be followed.
// isOperation: by a header that is for nothing else; a Location may be that of
// the document.
func operationAddress(h http.Header) (address string, isOperation bool) {
	for _, name := range []string{"Operation-Location", "Azure-Asyncoperation"} {
		if v := h.Get(name); v != "" {
			return v, true
		}
	}
	return h.Get("Location"), false
}

// saysRunning reads the answer to a create of status 200 or 201: does it say
// that the work is not done? Without poll.state only an answer that names an
// operation is read so: a document may have a status of its own.
func (r *route) saysRunning(ctx context.Context, a *httpcall.Answer, isOperation bool) bool {
	if a.Status != http.StatusOK && a.Status != http.StatusCreated {
		return false
	}
	if r.poll.state == nil && !isOperation {
		return false
	}
	state, err := r.stateOf(ctx, a)
	// What cannot be read is followed, not believed.
	return err != nil || state == stateRunning
}

// stateOf is what the body of an answer says of the operation.
func (r *route) stateOf(ctx context.Context, a *httpcall.Answer) (opState, error) {
	if r.poll.state == nil {
		return wordIn(a), nil
	}
	if len(a.Body) == 0 && a.BodyErr == nil {
		return stateUnsaid, nil // such as 202 and 204: the status tells
	}
	value, err := answerValue(a)
	if err != nil {
		return stateUnsaid, fmt.Errorf("poll.state: %w", err)
	}
	text, err := r.poll.state.StringOf(ctx, value)
	if err != nil {
		return stateUnsaid, fmt.Errorf("poll.state: %w", err)
	}
	switch s := opState(strings.ToLower(strings.TrimSpace(text))); s {
	case stateUnsaid, stateRunning, stateDone, stateFailed:
		return s, nil
	}
	return stateUnsaid, fmt.Errorf("poll.state gives %q, which is neither running, done nor failed", cut(text, 64))
}

// wordIn finds the words that are common for operations, Azure's among them, in
// status, state or properties.provisioningState.
func wordIn(a *httpcall.Answer) opState {
	value, err := answerValue(a)
	if err != nil {
		return stateUnsaid
	}
	object, _ := value.(map[string]any)
	properties, _ := object["properties"].(map[string]any)
	for _, v := range []any{object["status"], object["state"], properties["provisioningState"]} {
		word, _ := v.(string)
		switch strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(word)) {
		case "running", "notstarted", "inprogress", "accepted", "queued", "pending", "processing":
			return stateRunning
		case "succeeded", "success", "completed", "done", "processed", "finished":
			return stateDone
		case "failed", "canceled", "cancelled", "error":
			return stateFailed
		}
	}
	return stateUnsaid
}

// Poll asks what became of a message. It writes nothing.
func (r *route) Poll(ctx context.Context, call adapters.Call) ferry.Verdict {
	ctx, cancel := context.WithTimeout(ctx, r.dest.cfg.Timeout)
	defer cancel()
	address, err := r.pollAddress(call)
	if err != nil {
		return forgotten(err.Error())
	}
	m := r.message(call)
	v := r.pollAt(ctx, address, m, polling{follow: 1, lead: maxLeads, renew: true})
	if v.Kind.HasIt() && v.Reference == "" {
		r.completeReference(ctx, m, &v)
	}
	if v.Kind == ferry.Rejected && r.cfg.Finish != "" {
		v.Text = cut(sentences("the document is there, and "+r.cfg.Finish+" did not succeed", v.Text), ferry.MaxAttemptText)
	}
	r.redact(&v, m)
	if v.Kind.HasIt() || v.Kind == ferry.Rejected {
		r.dest.signed.drop(call.StatusURL)
	}
	return v
}

func forgotten(text string) ferry.Verdict {
	return ferry.Verdict{Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Code: adapters.CodeForgotten, Text: text}
}

// completeReference asks for the document where the answer that it is done names
// none. Nobody's answer takes back that it is done.
func (r *route) completeReference(ctx context.Context, m *message, v *ferry.Verdict) {
	if r.lookup == nil {
		return
	}
	f := r.search(ctx, m)
	if f.state != adapters.Found {
		return
	}
	if v.Reference = r.referenceOf(ctx, f.document); v.Reference != "" {
		v.Text = ""
	}
	if r.lookup.result != nil && v.Result == nil {
		v.Result, _ = resultIn(ctx, r.lookup.result, f.document)
	}
}

// maxLeads is how many addresses one poll may be led on to.
const maxLeads = 3

// polling is what a poll may still do: follow redirects to a result, be led on by
// answers, and ask once more with a fresh token.
type polling struct {
	follow, lead int
	renew        bool
}

func (r *route) pollAt(ctx context.Context, address *url.URL, m *message, may polling) ferry.Verdict {
	op, err := r.pollOperation(ctx, m, address)
	if err != nil {
		return forgotten(err.Error())
	}
	req, err := r.question(ctx, m, op)
	if err != nil {
		return forgotten(err.Error())
	}
	line := requestLine(req.Method, req.URL)
	a, err := r.dest.send(req)
	if err != nil {
		return withoutCredentials(err, line)
	}
	if may.follow > 0 && a.Status == http.StatusSeeOther {
		if result, ok := r.ledTo(address, a.Header.Get("Location")); ok {
			may.follow--
			return r.pollAt(ctx, result, m, may)
		}
	}
	said := stateUnsaid
	if t, ok := r.form.(teller); ok && a.Err == nil {
		var next string
		if said, next = t.told(a, address); next != "" {
			if result, ok := r.ledTo(address, next); ok && may.lead > 0 {
				may.lead--
				return r.pollAt(ctx, result, m, may)
			}
			said = stateRunning // where it leads is not asked; in the end the document is looked for
		}
	}
	v := r.judgePoll(context.WithoutCancel(ctx), a, address, said)
	if v.Kind == ferry.Unauthorized && may.renew && a.Err == nil && r.dest.renews(req, a, r.dest.dialect.problemOf(a)) {
		may.renew = false
		return r.pollAt(ctx, address, m, may)
	}
	v.Request = line
	return v
}

func (r *route) pollOperation(ctx context.Context, m *message, address *url.URL) (*operation, error) {
	if f, ok := r.form.(asker); ok {
		return f.ask(ctx, m, address)
	}
	return &operation{method: http.MethodGet, url: address.String()}, nil
}

// judgePoll turns the answer to a poll into a verdict. said is what the dialect
// reads in it.
func (r *route) judgePoll(ctx context.Context, a *httpcall.Answer, asked *url.URL, said opState) ferry.Verdict {
	v := ferry.Verdict{Effect: ferry.EffectNone, Status: a.Status, RemoteCorrelationID: httpcall.CorrelationID(a.Header)}
	switch {
	case a.Err != nil:
		v = withoutAnswer(a)
		v.Effect = ferry.EffectNone
		if v.Kind == ferry.Unknown {
			v.Kind = ferry.Unavailable // of a call that cannot write, no answer is all there is to it
		}
		return v
	case said == stateFailed:
		r.pollFailed(ctx, &v, a)
		return v
	case a.Status == http.StatusNotFound, a.Status == http.StatusGone:
		v.Kind, v.Effect, v.Code = ferry.Unknown, ferry.EffectMaybe, adapters.CodeForgotten
		v.Text = cut(sentences("the destination no longer knows the operation", r.dest.dialect.problemOf(a).Text), ferry.MaxAttemptText)
		return v
	case a.Status < 200 || a.Status > 299:
		return r.pollRefused(ctx, a, v)
	case a.BodyErr != nil:
		v.Kind, v.Text = ferry.Unavailable, "the answer ended early"
		return v
	}
	state, err := said, error(nil)
	if said == stateUnsaid {
		state, err = r.stateOf(ctx, a)
	}
	switch {
	case err != nil:
		v.Kind, v.Text = ferry.Failed, cut(err.Error(), ferry.MaxAttemptText)
	case state == stateRunning, a.Status == http.StatusAccepted && (r.poll.state == nil || state == stateUnsaid):
		r.stillRunning(&v, a, asked)
	case state == stateFailed:
		r.pollFailed(ctx, &v, a)
	default:
		v.Kind, v.Effect = ferry.Delivered, ferry.EffectDone
		r.pollReference(ctx, &v, a, asked)
	}
	return v
}

// stillRunning: a new address to ask takes the place of the old one.
func (r *route) stillRunning(v *ferry.Verdict, a *httpcall.Answer, asked *url.URL) {
	v.Kind, v.Effect, v.Text = ferry.InProgress, ferry.EffectMaybe, "the destination is still working on it"
	v.RetryAfter = httpcall.RetryAfter(a.Header, time.Now())
	address, isOperation := operationAddress(a.Header)
	if address == "" || !isOperation && a.Status != http.StatusAccepted {
		return
	}
	if status, err := r.statusURL(asked, address); err == nil {
		v.StatusURL = status
	}
}

// pollFailed: the destination says that it could not be done.
func (r *route) pollFailed(ctx context.Context, v *ferry.Verdict, a *httpcall.Answer) {
	problem := r.dest.dialect.problemOf(a)
	v.Kind, v.Code, v.Text, v.Fields = ferry.Rejected, problem.Code, problem.Text, problem.Fields
	if r.poll.text == nil {
		return
	}
	value, err := answerValue(a)
	if err != nil {
		return
	}
	if text, err := r.poll.text.StringOf(ctx, value); err == nil && text != "" {
		v.Text = cut(httpcall.MaskText(text), ferry.MaxAttemptText)
	}
}

// pollReference reads reference and result by poll's own programs, else the
// route's.
func (r *route) pollReference(ctx context.Context, v *ferry.Verdict, a *httpcall.Answer, asked *url.URL) {
	own := *r
	if r.poll.reference != nil {
		own.reference = r.poll.reference
	}
	if r.poll.result != nil {
		own.result = r.poll.result
	}
	own.takeReference(ctx, v, a, asked)
}

// pollRefused says why there is no answer. Failed: what came means nothing.
func (r *route) pollRefused(ctx context.Context, a *httpcall.Answer, v ferry.Verdict) ferry.Verdict {
	problem := r.dest.dialect.problemOf(a)
	rule, ok := httpcall.Judge(ctx, a, problem, r.dest.dialect.lookups)
	if !ok {
		rule.Kind = ferry.Failed
	}
	v.Kind, v.Code, v.Fields = rule.Kind, problem.Code, problem.Fields
	v.Text = cut(sentences(fmt.Sprintf("the question what became of it was answered with status %d", a.Status), problem.Text), ferry.MaxAttemptText)
	if v.Kind == ferry.Throttled || v.Kind == ferry.Unavailable {
		v.RetryAfter = httpcall.RetryAfter(a.Header, time.Now())
	}
	return v
}
