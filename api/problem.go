package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"ferry"
)

// Status is the HTTP status that answers an error code. A code that it does not
// know is answered as 500.
func Status(code ferry.Code) int {
	if status, ok := statusOf(code); ok {
		return status
	}
	return http.StatusInternalServerError
}

// statusOf is the one table of codes and statuses. A status that flows and other
// senders repeat (408, 429, 5xx) stands only where a repeat can help.
func statusOf(code ferry.Code) (int, bool) {
	switch code {
	case ferry.CodeBadRequest, ferry.CodeBadID, ferry.CodeBadName, ferry.CodeBadKey, ferry.CodeBadOrderingKey,
		ferry.CodeBadCorrelationID, ferry.CodeBadTime, ferry.CodeBadDuration, ferry.CodeBadCallbackURL, ferry.CodeBadBodyRef,
		ferry.CodeBadCursor, ferry.CodeBadFilter, ferry.CodeEmptyBody, ferry.CodeChunkingNotSupported,
		ferry.CodeTooManyProperties, ferry.CodeNoteRequired, ferry.CodeNoteTooLong, ferry.CodeReferenceTooLong:
		return http.StatusBadRequest, true
	case ferry.CodeUnauthenticated:
		return http.StatusUnauthorized, true
	case ferry.CodeForbidden:
		return http.StatusForbidden, true
	case ferry.CodeNotFound, ferry.CodeRouteNotFound, ferry.CodeMessageNotFound, ferry.CodeVersionNotFound, ferry.CodeLockLost:
		return http.StatusNotFound, true
	case ferry.CodeQueueNotFound, ferry.CodeBodyMissing, ferry.CodeResultGone, ferry.CodeRouteRetired:
		return http.StatusGone, true
	case ferry.CodeMethodNotAllowed:
		return http.StatusMethodNotAllowed, true
	case ferry.CodeUpgradeRequired:
		return http.StatusUpgradeRequired, true
	case ferry.CodeAmbiguousID, ferry.CodeKeyReused, ferry.CodeConflict, ferry.CodeInDelivery,
		ferry.CodeNotDeadLettered, ferry.CodeNotDiscarded, ferry.CodeCountChanged, ferry.CodeExists,
		ferry.CodeLimitReached, ferry.CodeBackupRuns:
		return http.StatusConflict, true
	case ferry.CodeTooLarge, ferry.CodeBatchTooLarge:
		return http.StatusRequestEntityTooLarge, true
	case ferry.CodeUnsupportedMedia:
		return http.StatusUnsupportedMediaType, true
	case ferry.CodeInvalid, ferry.CodeBadConfig, ferry.CodeBodyRefMissing, ferry.CodeConnectorTooLarge:
		return http.StatusUnprocessableEntity, true
	case ferry.CodeTooManyRequests, ferry.CodeQuotaExceeded:
		return http.StatusTooManyRequests, true
	case ferry.CodeHeaderTooLarge:
		return http.StatusRequestHeaderFieldsTooLarge, true
	case ferry.CodeNoSpace, ferry.CodeLedgerUnavailable, ferry.CodeStopping, ferry.CodeBodyRefUnavailable,
		ferry.CodeIssuerUnavailable, ferry.CodeSecretUnavailable:
		return http.StatusServiceUnavailable, true
	case ferry.CodeLedgerLocked, ferry.CodeLedgerNewer, ferry.CodeLedgerUnreadable, ferry.CodePortTaken,
		ferry.CodeQueueUnreachable, ferry.CodeQueueRefused, ferry.CodeQueueUnsuitable,
		ferry.CodeInternal, ferry.CodeBackupUnreadable, ferry.CodeFolderNotEmpty:
		// The first five end a start and never reach a sender.
		return http.StatusInternalServerError, true
	default:
		return 0, false
	}
}

// retryAfter is when a repeat may help, in seconds; 0 for codes that a repeat
// does not help.
func retryAfter(code ferry.Code) int {
	switch code {
	case ferry.CodeTooManyRequests, ferry.CodeQuotaExceeded:
		return 1
	case ferry.CodeStopping:
		return 5
	case ferry.CodeLedgerUnavailable, ferry.CodeBodyRefUnavailable, ferry.CodeIssuerUnavailable, ferry.CodeSecretUnavailable:
		return 10
	case ferry.CodeNoSpace:
		return 30
	default:
		return 0
	}
}

// wholeSeconds is a wait as Retry-After has it: never shorter than it is.
func wholeSeconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}

// title names a code in a few words. It never varies between two answers of one
// code, as RFC 9457 asks.
func title(code ferry.Code) string {
	words := make([]byte, 0, len(code)+8)
	for i := 0; i < len(code); i++ {
		ch := code[i]
		if ch >= 'A' && ch <= 'Z' {
			words = append(words, ' ')
			ch |= 0x20
		}
		words = append(words, ch)
	}
	return string(words)
}

// Problem is the answer that refuses: RFC 9457, with Ferry's own members.
type Problem struct {
	Type      string              `json:"type" doc:"urn:ferry:error:<code>"`
	Title     string              `json:"title" doc:"the code in words"`
	Status    int                 `json:"status"`
	Detail    string              `json:"detail" doc:"what is wrong, a sentence for a person"`
	Instance  string              `json:"instance" doc:"the path that was asked for"`
	Code      ferry.Code          `json:"code" doc:"stable name of the error, lower camel case"`
	RequestID string              `json:"requestId" doc:"as in the X-Request-Id header and the broker's log"`
	Hint      string              `json:"hint,omitempty" doc:"what to do"`
	Errors    []ferry.ErrorDetail `json:"errors,omitempty" doc:"several faults of one input, each with a JSON pointer"`

	ID        ferry.ID    `json:"id,omitzero" doc:"keyReused: the message that has the key"`
	Route     string      `json:"route,omitempty" doc:"keyReused: the route of that message"`
	State     ferry.State `json:"state,omitempty" doc:"keyReused: the state of that message"`
	StatusURL string      `json:"statusUrl,omitempty" doc:"keyReused: where that message can be read"`
}

// refuse answers err. It is the only place that turns an error into an answer.
func (c *call) refuse(err error) {
	e, ok := errors.AsType[*ferry.Error](err)
	if !ok || e.Code == ferry.CodeInternal || e.Code == "" {
		e = c.internal(err)
	}
	if e.Code == ferry.CodeUnauthenticated && (c.ep == nil || !c.ep.open) {
		e = c.api.guard.failed(c, e)
	}
	status := Status(e.Code)
	if status >= http.StatusInternalServerError && !c.gone(err) {
		c.api.log.LogAttrs(c.ctx(), slog.LevelWarn, "request failed", c.attrs(status,
			slog.String("code", string(e.Code)), slog.String("error", errorChain(err)))...)
	}
	c.api.svc.RequestRefused(c.route, e.Code)
	c.code = e.Code
	if c.wrote {
		panic(http.ErrAbortHandler) // too late for another answer: cut it off
	}

	p := Problem{
		Type: "urn:ferry:error:" + string(e.Code), Title: title(e.Code), Status: status, Detail: e.Message,
		Instance: c.shownPath(), Code: e.Code, RequestID: c.id, Hint: e.Hint, Errors: e.Details,
	}
	if x := e.Existing; x != nil {
		p.ID, p.Route, p.State, p.StatusURL = x.ID, x.Route, x.State, c.statusURL(x.ID)
	}
	h := c.w.Header()
	if seconds := max(wholeSeconds(e.After), retryAfter(e.Code)); seconds > 0 {
		h.Set("Retry-After", strconv.Itoa(seconds))
	}
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", c.challenge(e))
	}
	h.Set("Content-Type", "application/problem+json")
	c.write(status, encode(p))
}

// internal is what a caller may know of an error that is not its doing.
func (c *call) internal(err error) *ferry.Error {
	if c.gone(err) {
		return ferry.Errorf(ferry.CodeBadRequest, "the request ended before its answer")
	}
	return ferry.Errorf(ferry.CodeInternal, "the broker could not do this").
		WithHint("the broker's log has the cause under this request id")
}

// gone says whether err is only that the caller went away.
func (c *call) gone(err error) bool {
	return errors.Is(err, context.Canceled) && c.r.Context().Err() != nil
}

// errorChain is the error with its causes, for the log.
func errorChain(err error) string {
	text := err.Error()
	if cause := errors.Unwrap(err); cause != nil && cause.Error() != text {
		text += ": " + cause.Error()
	}
	return text
}
