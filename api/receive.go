package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"ferry"
)

const (
	// maxWait is the longest that a receive waits: below the 60 s after which most
	// proxies give a call up.
	maxWait = 55 * time.Second
	// maxTimeout is the largest timeout that is read, seconds; above maxWait it means
	// maxWait.
	maxTimeout = 3600
)

// LockRequest is what a receiver says of a message that it completes or rejects.
type LockRequest struct {
	Outcome   string          `json:"outcome,omitempty" doc:"delivered, the default, or rejected"`
	Reference string          `json:"reference,omitempty" doc:"delivered: the destination's own number of the document, at most 256 bytes"`
	Result    json.RawMessage `json:"result,omitempty" doc:"delivered: what the sender gets, any JSON value of at most 64 KiB"`
	Code      string          `json:"code,omitempty" doc:"rejected: the destination's own error code, at most 256 bytes"`
	Text      string          `json:"text,omitempty" doc:"the destination's words, at most 4096 bytes"`
}

func (c *call) peekLock() error         { return c.receive(false) }
func (c *call) receiveAndDelete() error { return c.receive(true) }

// receive waits for a message and answers it.
func (c *call) receive(remove bool) error {
	route, err := c.queueRoute()
	if err != nil {
		return err
	}
	seconds, err := c.number("timeout", 0, maxTimeout, maxTimeout)
	if err != nil {
		return err
	}
	if err := c.ignoreBody(); err != nil {
		return err
	}
	wait := min(time.Duration(seconds)*time.Second, maxWait)
	c.allow(wait)
	ctx, cancel := c.untilDrained()
	defer cancel()
	m, err := c.api.svc.Receive(ctx, route.Name, c.who.Name, wait, remove)
	if err != nil && c.ctx().Err() == nil && errors.Is(err, context.Canceled) {
		err = nil // the server stops: there is none for now
	}
	if err != nil {
		return err
	}
	if m == nil {
		c.status, c.wrote = http.StatusNoContent, true
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	defer func() { _ = m.Body.Close() }()
	status := http.StatusCreated
	h := c.w.Header()
	if remove {
		status = http.StatusOK
	} else {
		h["Location"] = []string{c.publicURL() + "/" + m.Route + "/messages/" + m.ID.String() + "/" + m.Lock.String()}
	}
	h["Content-Type"] = []string{firstOf(m.ContentType, "application/octet-stream")}
	h[brokerHeader] = []string{formatBrokerProperties(m)}
	h[messageIDHeader] = []string{m.ID.String()}
	if m.Traceparent != "" {
		h["Traceparent"] = []string{m.Traceparent}
	}
	if m.Tracestate != "" {
		h["Tracestate"] = []string{m.Tracestate}
	}
	if m.Doubt {
		h["Ferry-Doubt"] = []string{"true"} // an earlier receiver may have done it
	}
	// A stranger's data on the broker's own address: no browser may show it as a page.
	h["Content-Disposition"] = []string{`attachment; filename="` + m.ID.String() + `"`}
	h["Content-Security-Policy"] = []string{"sandbox; default-src 'none'"}
	writeProperties(h, m.Properties)
	c.allow(bodyPace * time.Duration(m.Body.Size/bodyStep))
	c.stream(status, m.Body.Size, &m.Body)
	return nil
}

// allow gives the call as much time, and what an answer takes, whatever the
// server's limits are. The read deadline counts, too: when it passes, the server
// takes the caller for gone.
func (c *call) allow(d time.Duration) {
	rc := http.NewResponseController(c.w)
	until := time.Now().Add(d + bodyPace)
	_ = rc.SetReadDeadline(until) // not supported: the server's limits alone
	_ = rc.SetWriteDeadline(until)
}

// untilDrained is the call's context, which ends also when the server begins to
// stop.
func (c *call) untilDrained() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(c.ctx())
	stop := context.AfterFunc(c.api.draining, cancel)
	return ctx, func() { stop(); cancel() }
}

func (c *call) completeLocked() error {
	s, err := c.locked(ferry.LockComplete)
	if err != nil {
		return err
	}
	in, err := c.lockRequest()
	if err != nil {
		return err
	}
	if in.Outcome == OutcomeRejected {
		s.Do = ferry.LockReject
	}
	s.Reference, s.Result, s.Code, s.Text = in.Reference, in.Result, in.Code, in.Text
	_, err = c.api.svc.SettleLock(c.ctx(), s)
	return c.settled(err)
}

func (c *call) unlockLocked() error {
	s, err := c.locked(ferry.LockUnlock)
	if err == nil {
		err = c.ignoreBody()
	}
	if err == nil {
		_, err = c.api.svc.SettleLock(c.ctx(), s)
	}
	return c.settled(err)
}

func (c *call) renewLocked() error {
	s, err := c.locked(ferry.LockRenew)
	if err == nil {
		err = c.ignoreBody()
	}
	if err != nil {
		return err
	}
	until, err := c.api.svc.SettleLock(c.ctx(), s)
	if err == nil {
		c.w.Header()[brokerHeader] = []string{asciiJSON(map[string]any{
			"LockToken": s.Lock.String(), "LockedUntilUtc": until.UTC().Format(http.TimeFormat),
		})}
	}
	return c.settled(err)
}

func (c *call) settled(err error) error {
	if err == nil {
		c.write(http.StatusOK, nil)
	}
	return err
}

// locked reads which message of the path is spoken of, and under which lock.
func (c *call) locked(do ferry.LockAct) (ferry.LockSettle, error) {
	route, err := c.queueRoute()
	if err != nil {
		return ferry.LockSettle{}, err
	}
	lock, err := ferry.ParseID(strings.Trim(c.r.PathValue("lock"), "{}"))
	if err != nil {
		return ferry.LockSettle{}, ferry.Errorf(ferry.CodeLockLost, "%q is no lock", clip(c.r.PathValue("lock"))).
			WithHint("use the Location of the answer that the message came with")
	}
	return ferry.LockSettle{Route: route.Name, Message: c.r.PathValue("message"), Lock: lock, Do: do, By: c.who.Name}, nil
}

// lockRequest reads what a receiver says, in the query and in the body.
func (c *call) lockRequest() (in LockRequest, err error) {
	data, err := c.readBody(maxConfirm+ferry.MaxResult, "a result has at most 64 KiB")
	if err != nil {
		return in, err
	}
	if data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\ufeff"))); len(data) > 0 {
		if ct := c.r.Header.Get("Content-Type"); ct != "" && !isJSON(ct) {
			return in, ferry.Errorf(ferry.CodeUnsupportedMedia, "the content type %q is not taken here", clip(ct)).WithHint("send application/json")
		}
		if fault := unmarshal(data, &in); fault != nil {
			return in, fault
		}
	}
	for name, into := range map[string]*string{"outcome": &in.Outcome, "reference": &in.Reference, "code": &in.Code, "text": &in.Text} {
		v := c.q(name)
		if v != "" && *into != "" && v != *into {
			return in, ferry.Errorf(ferry.CodeBadRequest, "%s is given in the query and in the body, with different values", name)
		}
		*into = firstOf(*into, v)
	}
	in.Outcome = firstOf(in.Outcome, OutcomeDelivered)
	said := ConfirmRequest{Outcome: in.Outcome, Reference: in.Reference, Code: in.Code, Text: in.Text}
	if fault := said.check(); fault != nil {
		return in, fault
	}
	if string(in.Result) == "null" {
		in.Result = nil
	}
	switch {
	case len(in.Result) > 0 && in.Outcome == OutcomeRejected:
		return in, invalid("/result", "what was rejected has no result")
	case len(in.Result) > ferry.MaxResult:
		return in, invalid("/result", "the result has %d bytes, at most %d are kept", len(in.Result), ferry.MaxResult)
	}
	return in, nil
}

// ignoreBody reads a body that means nothing here: clients of Service Bus send some.
func (c *call) ignoreBody() error {
	_, err := c.readBody(maxCommand, "this call has no body")
	return err
}
