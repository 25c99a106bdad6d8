package api

import (
	"errors"
	"net/http"
	"strings"

	"ferry"
)

func (c *call) listDeadLetters() error {
	f, err := c.deadLetterFilter()
	if err != nil {
		return err
	}
	page, err := c.api.svc.DeadLetters(c.ctx(), f)
	return c.page(page, err)
}

func (c *call) listGroups() error {
	f, err := c.deadLetterFilter()
	if err != nil {
		return err
	}
	groups, err := c.api.svc.Groups(c.ctx(), f)
	return items(c, groups, err)
}

func (c *call) deadLetterFilter() (ferry.DeadLetterFilter, error) {
	f := ferry.DeadLetterFilter{
		Route: c.q("route"), Reason: ferry.Reason(c.q("reason")), Group: c.q("group"), Code: c.q("code"),
		Sender: c.q("sender"), Flow: c.q("flow"), Owner: c.q("owner"), Q: c.q("q"), Cursor: c.q("cursor"),
	}
	var err error
	if f.Since, err = c.moment("since"); err != nil {
		return f, err
	}
	if f.Until, err = c.moment("until"); err != nil {
		return f, err
	}
	if f.Limit, err = c.limit(); err != nil {
		return f, err
	}
	return f, c.checkFilter(&f)
}

func (c *call) checkFilter(f *ferry.DeadLetterFilter) error {
	if f.Reason != "" && !f.Reason.Valid() {
		return badValue("reason", string(f.Reason), ferry.Reasons())
	}
	return c.checkRouteFilter(f.Route)
}

// NoteRequest explains an act.
type NoteRequest struct {
	Note string `json:"note,omitempty" doc:"why; kept with the message and in the audit, at most 1024 bytes"`
}

// ReplayRequest sends a dead letter again, with another body when one is given.
type ReplayRequest struct {
	Payload
	Note string `json:"note,omitempty" doc:"why; kept with the message and in the audit, at most 1024 bytes"`
	// Force sends a body that breaks the schema.
	Force bool `json:"force,omitempty" doc:"send the body although it breaks the route's schema; noted with the act"`
}

func (c *call) replay() error {
	e, err := c.envelope()
	if err != nil {
		return err
	}
	route, ok := c.api.svc.Route(e.Route)
	if !ok { // no longer configured: the message can still be shown, not sent
		return noRoute(e.Route)
	}
	limit := maxBytes(&route)
	var in ReplayRequest
	// Base64 and escapes make a body longer in JSON than it is.
	if err := c.decode(&in, min(2*limit+maxCommand, ferry.MaxBody+ferry.MaxBody/2), true); err != nil {
		return err
	}
	if err := checkNote(in.Note, false); err != nil {
		return err
	}
	if string(in.Body) == "null" {
		return invalid("/body", "body is null").
			WithHint("leave it out to send the body as it is; a payload that is null itself goes as bodyBase64 bnVsbA==")
	}
	body, contentType, present, fault := in.payload(e.ContentType)
	switch {
	case fault != nil:
		return fault
	case !present && in.ContentType != "":
		return invalid("/contentType", "contentType is given without a body")
	case present && len(body) == 0 && !route.AllowEmpty:
		return emptyBody()
	case int64(len(body)) > limit:
		return tooLarge(limit, maxBytesHint)
	case !present:
		contentType = ""
	case body == nil:
		body = []byte{}
	}
	if body != nil {
		if err := c.checkEdit(&e, body, contentType, &in); err != nil {
			return err
		}
	}
	return c.show(c.api.svc.Replay(c.ctx(), e.ID, body, contentType, in.Note, c.who.Name))
}

// forced is added to the note of an edit that breaks the route's schema.
const forced = "[breaks the schema, and was forced]"

// checkEdit holds a corrected body to the schema. One that is forced past it leaves a
// trace in the note.
func (c *call) checkEdit(e *ferry.Envelope, body []byte, contentType string, in *ReplayRequest) error {
	err := c.api.svc.CheckEdit(c.ctx(), e.ID, body, contentType)
	fault, ok := errors.AsType[*ferry.Error](err)
	switch {
	case err == nil:
		return nil
	case !ok:
		return err
	case !in.Force:
		inBody(fault, "/body")
		if fault.Hint != "" {
			fault.Hint += "; "
		}
		fault.Hint += "or send it all the same with force"
		return fault
	}
	in.Note = strings.TrimSpace(strings.ToValidUTF8(in.Note[:min(len(in.Note), ferry.MaxNoteLength-len(forced)-1)], "") + " " + forced)
	return nil
}

// AcceptRequest completes a dead letter that is in the destination after all.
type AcceptRequest struct {
	Reference string `json:"reference" doc:"the destination's own number of the document, at most 256 bytes"`
	Note      string `json:"note" doc:"why; kept with the message and in the audit, at most 1024 bytes"`
}

func (c *call) acceptDeadLetter() error {
	e, err := c.envelope()
	if err != nil {
		return err
	}
	var in AcceptRequest
	if err := c.decode(&in, maxCommand, false); err != nil {
		return err
	}
	if err := checkNote(in.Note, true); err != nil {
		return err
	}
	switch {
	case in.Reference == "" || !plain(in.Reference):
		return invalid("/reference", "the reference is missing or has control characters").
			WithHint("the number that the destination gave the document")
	case len(in.Reference) > ferry.MaxReferenceLength:
		return ferry.Errorf(ferry.CodeReferenceTooLong, "the reference has %d bytes", len(in.Reference)).
			WithHint("at most %d", ferry.MaxReferenceLength)
	}
	return c.show(c.api.svc.AcceptDeadLetter(c.ctx(), e.ID, in.Reference, in.Note, c.who.Name))
}

func (c *call) discard() error {
	e, note, err := c.noted(true)
	if err != nil {
		return err
	}
	return c.show(c.api.svc.Discard(c.ctx(), e.ID, note, c.who.Name))
}

func (c *call) restore() error {
	e, note, err := c.noted(false)
	if err != nil {
		return err
	}
	return c.show(c.api.svc.Restore(c.ctx(), e.ID, note, c.who.Name))
}

// noted reads the message of the path and the note of the body.
func (c *call) noted(required bool) (ferry.Envelope, string, error) {
	e, err := c.envelope()
	if err != nil {
		return e, "", err
	}
	note, err := c.note(required)
	return e, note, err
}

func (c *call) note(required bool) (string, error) {
	var in NoteRequest
	if err := c.decode(&in, maxCommand, true); err != nil {
		return "", err
	}
	return in.Note, checkNote(in.Note, required)
}

// bulk starts an act on every dead letter that the request selects. The answer
// is 202 without a Location: a flow must not wait for it.
func (c *call) bulk(act string) error {
	var in ferry.BulkRequest
	if err := c.decode(&in, maxCommand, false); err != nil {
		return err
	}
	if err := c.checkBulk(act, &in); err != nil {
		return err
	}
	answer, err := c.api.svc.Bulk(c.ctx(), act, in, c.who.Name)
	if err != nil {
		return err
	}
	if in.DryRun || answer.OperationID == "" {
		return c.json(http.StatusOK, answer)
	}
	return c.json(http.StatusAccepted, answer)
}

func (c *call) checkBulk(act string, in *ferry.BulkRequest) error {
	filter := in.Filter
	filter.Limit = 0 // bounds a selection, and is none itself
	filtered := filter != ferry.DeadLetterFilter{}
	chosen := 0
	for _, way := range []bool{filtered, len(in.IDs) > 0, in.All, in.Operation != ""} {
		if way {
			chosen++
		}
	}
	switch {
	case chosen == 0:
		return ferry.Errorf(ferry.CodeBadFilter, "the request selects nothing").
			WithHint(`give a filter, ids, or "all": true to mean every one`)
	case chosen > 1:
		return ferry.Errorf(ferry.CodeBadFilter, "the request selects in more than one way").
			WithHint("give only one of filter, ids, all and operation")
	case in.Operation != "" && act != ferry.ActRestore:
		return ferry.Errorf(ferry.CodeBadFilter, "only a restore takes back what an operation did").
			WithHint("give a filter, ids, or all")
	case in.Canary != 0 && act != ferry.ActReplay:
		return invalid("/canary", "a canary is for messages that are sent again")
	case in.Canary < 0 || in.Canary > ferry.MaxCanary:
		return invalid("/canary", "the canary is out of range").WithHint("from 1 to %d", ferry.MaxCanary)
	case len(in.IDs) > ferry.MaxListLimit:
		return ferry.Errorf(ferry.CodeBatchTooLarge, "the request names %d ids", len(in.IDs)).
			WithHint("at most %d; a filter can select more", ferry.MaxListLimit)
	case in.Filter.Limit < 0:
		return ferry.Errorf(ferry.CodeBadFilter, "the limit is negative")
	case in.Expect != nil && *in.Expect < 0:
		return invalid("/expect", "expect is negative")
	}
	if err := checkNote(in.Note, act == ferry.ActDiscard && !in.DryRun); err != nil {
		return err
	}
	return c.checkFilter(&in.Filter)
}

func (c *call) bulkReplay() error  { return c.bulk(ferry.ActReplay) }
func (c *call) bulkDiscard() error { return c.bulk(ferry.ActDiscard) }
func (c *call) bulkRestore() error { return c.bulk(ferry.ActRestore) }

func (c *call) listOperations() error {
	list, err := c.api.svc.Operations(c.ctx())
	return items(c, list, err)
}

func (c *call) getOperation() error {
	o, err := c.api.svc.Operation(c.ctx(), c.r.PathValue("id"))
	return answer(c, http.StatusOK, o, err)
}

func (c *call) cancelOperation() error {
	note, err := c.note(false)
	if err != nil {
		return err
	}
	o, err := c.api.svc.CancelOperation(c.ctx(), c.r.PathValue("id"), note, c.who.Name)
	return answer(c, http.StatusOK, o, err)
}

func (c *call) continueOperation() error {
	note, err := c.note(false)
	if err != nil {
		return err
	}
	o, err := c.api.svc.ContinueOperation(c.ctx(), c.r.PathValue("id"), note, c.who.Name)
	return answer(c, http.StatusOK, o, err)
}

// answer sends v unless there is an error.
func answer[T any](c *call, status int, v T, err error) error {
	if err != nil {
		return err
	}
	return c.json(status, v)
}
