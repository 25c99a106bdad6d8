package client

import (
	"context"
	"iter"
	"net/url"
	"time"

	"ferry"
)

// Message reads one message by its id or any unique suffix of six characters or
// more.
func (c *Client) Message(ctx context.Context, id string) (ferry.Envelope, error) {
	var e ferry.Envelope
	err := c.get(ctx, "/v1/messages/"+seg(id), nil, &e)
	return e, err
}

// Messages lists one page of messages, newest first. The filter's Routes cannot
// be asked for: the key decides them.
func (c *Client) Messages(ctx context.Context, f ferry.MessageFilter) (ferry.Page, error) {
	q := url.Values{}
	set(q, "route", f.Route)
	set(q, "state", string(f.State))
	set(q, "sender", f.Sender)
	set(q, "flow", f.Flow)
	set(q, "q", f.Q)
	setPage(q, f.Since, f.Until, f.Limit, f.Cursor)
	var p ferry.Page
	err := c.get(ctx, "/v1/messages", q, &p)
	return p, err
}

// AllMessages walks over every message that the filter selects, page by page of
// f.Limit; an error ends the walk.
func (c *Client) AllMessages(ctx context.Context, f ferry.MessageFilter) iter.Seq2[ferry.Envelope, error] {
	return pages(func(cursor string) (ferry.Page, error) {
		if cursor != "" {
			f.Cursor = cursor
		}
		return c.Messages(ctx, f)
	})
}

// pages walks over list's pages until one has no next.
func pages(list func(cursor string) (ferry.Page, error)) iter.Seq2[ferry.Envelope, error] {
	return func(yield func(ferry.Envelope, error) bool) {
		cursor := ""
		for {
			page, err := list(cursor)
			if err != nil {
				yield(ferry.Envelope{}, err)
				return
			}
			for _, e := range page.Items {
				if !yield(e, nil) {
					return
				}
			}
			if page.NextCursor == "" {
				return
			}
			cursor = page.NextCursor
		}
	}
}

func set(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func setPage(q url.Values, since, until time.Time, limit int, cursor string) {
	set(q, "since", formatTime(since))
	set(q, "until", formatTime(until))
	if limit != 0 {
		q.Set("limit", itoa(limit))
	}
	set(q, "cursor", cursor)
}
