package client

import (
	"context"
	"iter"
	"net/url"

	"ferry"
)

// DeadLetters lists one page of dead letters, newest first.
func (c *Client) DeadLetters(ctx context.Context, f ferry.DeadLetterFilter) (ferry.Page, error) {
	var p ferry.Page
	err := c.get(ctx, "/v1/dead-letters", deadLetterQuery(f), &p)
	return p, err
}

// AllDeadLetters walks over every dead letter that the filter selects, page by
// page of f.Limit; an error ends the walk.
func (c *Client) AllDeadLetters(ctx context.Context, f ferry.DeadLetterFilter) iter.Seq2[ferry.Envelope, error] {
	return pages(func(cursor string) (ferry.Page, error) {
		if cursor != "" {
			f.Cursor = cursor
		}
		return c.DeadLetters(ctx, f)
	})
}

// Groups lists the groups of dead letters that failed alike.
func (c *Client) Groups(ctx context.Context, f ferry.DeadLetterFilter) ([]ferry.Group, error) {
	f.Cursor = ""
	return list[ferry.Group](ctx, c, "/v1/dead-letters/groups", deadLetterQuery(f))
}

func deadLetterQuery(f ferry.DeadLetterFilter) url.Values {
	q := url.Values{}
	set(q, "route", f.Route)
	set(q, "reason", string(f.Reason))
	set(q, "group", f.Group)
	set(q, "code", f.Code)
	set(q, "sender", f.Sender)
	set(q, "flow", f.Flow)
	set(q, "owner", f.Owner)
	set(q, "q", f.Q)
	setPage(q, f.Since, f.Until, f.Limit, f.Cursor)
	return q
}

// Replay is how a dead letter is sent again: as it is, or with another body.
type Replay struct {
	Body        []byte // the next revision; nil: the body as it is
	ContentType string // of Body; empty: as before
	Note        string
	Force       bool // although Body breaks the route's schema
}

// Replay sends one dead letter again.
func (c *Client) Replay(ctx context.Context, id string, r Replay) (ferry.Envelope, error) {
	in := struct {
		BodyBase64  *[]byte `json:"bodyBase64,omitempty"`
		ContentType string  `json:"contentType,omitempty"`
		Note        string  `json:"note,omitempty"`
		Force       bool    `json:"force,omitempty"`
	}{ContentType: r.ContentType, Note: r.Note, Force: r.Force}
	if r.Body != nil {
		in.BodyBase64 = &r.Body
	}
	return c.act(ctx, id, "replay", in)
}

// AcceptDeadLetter completes a dead letter that is in the destination after all,
// under reference. The note is required.
func (c *Client) AcceptDeadLetter(ctx context.Context, id, reference, note string) (ferry.Envelope, error) {
	return c.act(ctx, id, "accept", map[string]string{"reference": reference, "note": note})
}

// Discard ends a dead letter, or a pending message that no worker can hold. The
// note is required.
func (c *Client) Discard(ctx context.Context, id, note string) (ferry.Envelope, error) {
	return c.act(ctx, id, "discard", noteOnly{note})
}

// Restore brings a discarded message back to the dead letters.
func (c *Client) Restore(ctx context.Context, id, note string) (ferry.Envelope, error) {
	return c.act(ctx, id, "restore", noteOnly{note})
}

type noteOnly struct {
	Note string `json:"note,omitempty"`
}

func (c *Client) act(ctx context.Context, id, act string, in any) (ferry.Envelope, error) {
	var e ferry.Envelope
	err := c.post(ctx, "/v1/dead-letters/"+seg(id)+"/"+act, in, &e)
	return e, err
}

// Bulk replays, discards or restores (act) what the request selects. Unless it
// is a dry run, the answer names the operation that does it.
func (c *Client) Bulk(ctx context.Context, act string, req ferry.BulkRequest) (ferry.BulkAnswer, error) {
	var a ferry.BulkAnswer
	err := c.post(ctx, "/v1/dead-letters/"+seg(act), req, &a)
	return a, err
}

// Operations lists the bulk acts, newest first.
func (c *Client) Operations(ctx context.Context) ([]ferry.Operation, error) {
	return list[ferry.Operation](ctx, c, "/v1/operations", nil)
}

// Operation reads one bulk act.
func (c *Client) Operation(ctx context.Context, id string) (ferry.Operation, error) {
	var o ferry.Operation
	err := c.get(ctx, "/v1/operations/"+seg(id), nil, &o)
	return o, err
}

// CancelOperation stops a bulk act; what it has done stays done.
func (c *Client) CancelOperation(ctx context.Context, id, note string) (ferry.Operation, error) {
	var o ferry.Operation
	err := c.post(ctx, "/v1/operations/"+seg(id)+"/cancel", noted(note), &o)
	return o, err
}

// ContinueOperation has a bulk act go on that was stopped.
func (c *Client) ContinueOperation(ctx context.Context, id, note string) (ferry.Operation, error) {
	var o ferry.Operation
	err := c.post(ctx, "/v1/operations/"+seg(id)+"/continue", noted(note), &o)
	return o, err
}

// list reads an answer of the form {"items": […]}.
func list[T any](ctx context.Context, c *Client, path string, q url.Values) ([]T, error) {
	var answer struct {
		Items []T `json:"items"`
	}
	err := c.get(ctx, path, q, &answer)
	return answer.Items, err
}

// noted is the body of a request that may have a note.
func noted(note string) any {
	if note == "" {
		return nil
	}
	return noteOnly{note}
}
