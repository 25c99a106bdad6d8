package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"

	"ferry"
	"ferry/shape"
)

// Payload is a payload inside a JSON request. Body is any JSON value and passes
// through to the byte; with a content type that is not JSON, Body is a string and
// its text is the payload (XML, EDIFACT); BodyBase64 is any payload at all.
type Payload struct {
	Body        json.RawMessage `json:"body,omitempty" doc:"the payload: any JSON value, passed through to the byte; with a contentType that is not JSON a string, whose text is the payload"`
	BodyBase64  *string         `json:"bodyBase64,omitempty" doc:"instead of body: the payload's bytes in base64, for any content type"`
	ContentType string          `json:"contentType,omitempty" doc:"of the payload; default application/json, with bodyBase64 application/octet-stream"`
}

// BatchItem is one message of a batch; the options are those of a message sent
// alone.
type BatchItem struct {
	Payload
	IdempotencyKey *string           `json:"idempotencyKey,omitempty" doc:"1 to 128 printable ASCII characters"`
	CorrelationID  string            `json:"correlationId,omitempty"`
	OrderingKey    string            `json:"orderingKey,omitempty"`
	DeliverAt      string            `json:"deliverAt,omitempty" doc:"RFC 3339 with an offset"`
	TimeToLive     string            `json:"timeToLive,omitempty" doc:"such as 30d, 1h30m or PT5M"`
	CallbackURL    string            `json:"callbackUrl,omitempty"`
	Version        string            `json:"version,omitempty" doc:"of the route; default the one that the request names, else the route's default version"`
	OnConflict     string            `json:"onConflict,omitempty" doc:"replace: see the operation that sends one message"`
	Properties     map[string]string `json:"properties,omitempty"`
}

// BatchAnswer is what became of a batch, one result per message in its order.
type BatchAnswer struct {
	Accepted int           `json:"accepted"`
	Refused  int           `json:"refused"`
	Items    []BatchResult `json:"items"`
}

// BatchResult is what became of one message: an answer as if sent alone, or a
// refusal with code and detail.
type BatchResult struct {
	Status    int         `json:"status" doc:"what the message sent alone would have been answered"`
	ID        ferry.ID    `json:"id,omitzero" doc:"of the message, or with keyReused of the one that has the key"`
	Route     string      `json:"route,omitempty"`
	State     ferry.State `json:"state,omitempty"`
	Duplicate *bool       `json:"duplicate,omitempty"`
	Revision  int         `json:"revision,omitempty"`
	// PossibleRepeatOf is as in the answer to one message.
	PossibleRepeatOf ferry.ID   `json:"possibleRepeatOf,omitzero" doc:"an earlier message that this one, a new one, may repeat"`
	StatusURL        string     `json:"statusUrl,omitempty"`
	Code             ferry.Code `json:"code,omitempty"`
	Detail           string     `json:"detail,omitempty"`
	Hint             string     `json:"hint,omitempty"`

	Errors  []ferry.ErrorDetail `json:"errors,omitempty" doc:"several faults of the message, each with a JSON pointer into it"`
	Version string              `json:"version,omitempty" doc:"of the route, that the message is of"`
}

// payload gives the bytes and the content type. before is the content type when
// none is given. present is false when the request has no payload at all.
func (p *Payload) payload(before string) (body []byte, contentType string, present bool, fault *ferry.Error) {
	if !plain(p.ContentType) || len(p.ContentType) > maxContentType {
		return nil, "", false, badContentType()
	}
	switch {
	case p.Body != nil && p.BodyBase64 != nil:
		return nil, "", false, ferry.Errorf(ferry.CodeInvalid, "body and bodyBase64 are both given")
	case p.BodyBase64 != nil:
		body, err := decodeBase64(*p.BodyBase64)
		if err != nil {
			return nil, "", false, ferry.Errorf(ferry.CodeInvalid, "bodyBase64 is not base64")
		}
		return body, firstOf(p.ContentType, before, "application/octet-stream"), true, nil
	case p.Body == nil:
		return nil, firstOf(p.ContentType, before), false, nil
	}
	contentType = firstOf(p.ContentType, before, "application/json")
	if isJSON(contentType) {
		return bytes.Clone(p.Body), contentType, true, nil
	}
	var text string
	if err := json.Unmarshal(p.Body, &text); err != nil {
		return nil, "", false, ferry.Errorf(ferry.CodeInvalid, "with the content type %s, body is a string", clip(contentType)).
			WithHint("the text of the payload as a JSON string, or its bytes as bodyBase64; a JSON payload wants contentType application/json")
	}
	return []byte(text), contentType, true, nil
}

// sendBatch takes up to MaxBatch messages: all or none, or with partial=true each
// for itself.
func (c *call) sendBatch() error {
	route, err := c.knownRoute()
	if err != nil {
		return err
	}
	if err := c.checkEncoding(); err != nil {
		return err
	}
	partial, err := c.flag("partial")
	if err != nil {
		return err
	}
	version, err := c.version(&route)
	if err != nil {
		return err
	}
	events, err := c.eventBatch(&route)
	if err != nil {
		return err
	}
	raw, err := c.batchItems(&route)
	if len(raw) == 0 && err == nil {
		return c.json(http.StatusOK, BatchAnswer{Items: []BatchResult{}}) // CloudEvents may come as none
	}
	if err != nil {
		return err
	}
	if err := c.charge(len(raw)); err != nil {
		return err
	}
	flow := c.flowOf()
	messages := make([]ferry.Message, 0, len(raw))
	at := make([]int, 0, len(raw)) // index in the batch of each message
	faults := make([]*ferry.Error, len(raw))
	pointers := make([]string, len(raw))
	for i, item := range raw {
		m := ferry.Message{
			Route: route.Name, CreatedAt: c.start.UTC(), Traceparent: traceparent(c.r.Header), Tracestate: tracestate(c.r.Header),
			Sender: ferry.Sender{Name: c.who.Name, KeyID: c.who.KeyID, Flow: flow}, Quotas: c.uses(),
		}
		m.Version = version
		if events {
			faults[i] = eventItem(item, &m, &route)
		} else {
			faults[i], pointers[i] = readItem(item, &m, &route)
		}
		if faults[i] != nil {
			continue
		}
		if m.CorrelationID == "" {
			m.CorrelationID = trackedAs(flow)
		}
		messages, at = append(messages, m), append(at, i)
	}
	if !partial && len(messages) < len(raw) {
		return refusedBatch(faults, pointers)
	}
	results := make([]ferry.Accepted, len(raw))
	if len(messages) > 0 {
		accepted, errs, err := c.api.svc.AcceptBatch(c.ctx(), messages, partial)
		if err != nil {
			return err
		}
		for j, i := range at {
			if j < len(errs) && errs[j] != nil {
				if faults[i] = c.itemFault(errs[j]); !events {
					inBody(faults[i], "/body")
				}
			} else {
				results[i] = accepted[j]
				c.took(&results[i])
				c.parting(&route, results[i].Version)
			}
		}
		c.observeAccept()
	}
	if !partial && anyFault(faults) {
		return refusedBatch(faults, pointers)
	}
	for _, fault := range faults {
		if fault != nil {
			c.refusedItems = append(c.refusedItems, fault.Code)
		}
	}
	return c.json(http.StatusOK, c.batchAnswer(results, faults))
}

// batchItems reads the array without reading into its items, so that each may
// be at fault alone.
func (c *call) batchItems(route *ferry.Route) ([]json.RawMessage, error) {
	// Base64 and escapes make a body longer; whatever its items may hold
	// together, a batch is no larger than the largest body.
	limit := min(max(16<<20, 2*maxBytes(route)), ferry.MaxBody)
	data, err := c.jsonBody(limit)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, ferry.Errorf(ferry.CodeEmptyBody, "the body is empty").
			WithHint("the body is a JSON array of messages")
	}
	var raw []json.RawMessage
	if fault := unmarshal(data, &raw); fault != nil {
		return nil, fault
	}
	switch {
	case len(raw) == 0 && shape.IsEventBatch(c.r.Header.Get("Content-Type")):
		return nil, nil
	case len(raw) == 0:
		return nil, ferry.Errorf(ferry.CodeInvalid, "the batch has no messages")
	case len(raw) > ferry.MaxBatch:
		return nil, ferry.Errorf(ferry.CodeBatchTooLarge, "the batch has %d messages", len(raw)).
			WithHint("at most %d", ferry.MaxBatch)
	}
	return raw, nil
}

// readItem makes a message of an item; the second result points at the fault
// within the item.
func readItem(raw json.RawMessage, m *ferry.Message, route *ferry.Route) (*ferry.Error, string) {
	var item BatchItem
	if raw[0] != '{' {
		return ferry.Errorf(ferry.CodeInvalid, "a message of a batch is an object with a body"), ""
	}
	if fault := unmarshal(raw, &item); fault != nil {
		if len(fault.Details) == 1 {
			return fault, fault.Details[0].Pointer
		}
		return fault, ""
	}
	body, contentType, _, fault := item.payload("")
	if fault != nil {
		return fault, "/body"
	}
	if len(body) == 0 && !route.AllowEmpty {
		return ferry.Errorf(ferry.CodeEmptyBody, "the body is empty"), "/body"
	}
	if limit := maxBytes(route); int64(len(body)) > limit {
		return ferry.Errorf(ferry.CodeTooLarge, "the body is larger than %d bytes", limit), "/body"
	}
	m.Body, m.ContentType, m.Properties = body, contentType, item.Properties
	if fault := checkProperties(item.Properties); fault != nil {
		return fault, "/properties"
	}
	options := rawOptions{
		correlationID: item.CorrelationID, orderingKey: item.OrderingKey, deliverAt: item.DeliverAt,
		timeToLive: item.TimeToLive, callbackURL: item.CallbackURL, onConflict: item.OnConflict,
	}
	if item.Version != "" {
		if m.Version = item.Version; route.Version(item.Version) == nil {
			return route.NoVersion(item.Version), "/version"
		}
	}
	if item.IdempotencyKey != nil {
		options.key, options.keyGiven = *item.IdempotencyKey, true
	}
	if fault, option := options.apply(m, route); fault != nil {
		return fault, "/" + option
	}
	return nil, ""
}

// itemFault is the service's error for one message as its sender may know it.
func (c *call) itemFault(err error) *ferry.Error {
	if e, ok := errors.AsType[*ferry.Error](err); ok && e.Code != ferry.CodeInternal {
		return e
	}
	c.api.log.Error("a message of a batch failed", "requestId", c.id, "error", errorChain(err))
	return c.internal(err)
}

func anyFault(faults []*ferry.Error) bool {
	for _, f := range faults {
		if f != nil {
			return true
		}
	}
	return false
}

// refusedBatch is the answer to a batch that was refused whole.
func refusedBatch(faults []*ferry.Error, pointers []string) error {
	e := ferry.Errorf(ferry.CodeInvalid, "the batch has messages that cannot be accepted; none was").
		WithHint("correct what errors points at, or send with ?partial=true to have the others accepted")
	for i, f := range faults {
		if f != nil && len(e.Details) < maxBatchDetails {
			e.Details = append(e.Details, itemDetails(i, pointers[i], f)...)
		}
	}
	return e
}

func (c *call) batchAnswer(results []ferry.Accepted, faults []*ferry.Error) BatchAnswer {
	answer := BatchAnswer{Items: make([]BatchResult, len(results))}
	for i := range results {
		a, f := &results[i], faults[i]
		r := &answer.Items[i]
		if f == nil {
			answer.Accepted++
			*r = BatchResult{
				Status: http.StatusCreated, ID: a.ID, Route: a.Route, State: a.State,
				Duplicate: &a.Duplicate, Revision: a.Revision, PossibleRepeatOf: a.PossibleRepeatOf, StatusURL: c.statusURL(a.ID), Version: a.Version,
			}
			if a.Duplicate || a.Revision != 0 {
				r.Status = http.StatusOK
			}
			continue
		}
		answer.Refused++
		c.api.svc.RequestRefused(c.route, f.Code)
		*r = BatchResult{Status: Status(f.Code), Code: f.Code, Detail: f.Message, Hint: f.Hint, Errors: f.Details}
		if x := f.Existing; x != nil {
			r.ID, r.Route, r.State, r.StatusURL = x.ID, x.Route, x.State, c.statusURL(x.ID)
		}
	}
	return answer
}
