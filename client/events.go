package client

import (
	"context"
	"net/url"

	"ferry"
)

// Events selects ends of messages; zero fields select all, from the oldest that is
// kept.
type Events struct {
	After string // an event's id or a page's nextAfter, a time, or how long ago, such as 24h
	Order string // asc or desc, within the page
	Route string
	Type  ferry.EventType
	Limit int
}

// Events lists one page of what became of messages.
func (c *Client) Events(ctx context.Context, e Events) (ferry.EventPage, error) {
	q := url.Values{}
	set(q, "after", e.After)
	set(q, "order", e.Order)
	set(q, "route", e.Route)
	set(q, "type", string(e.Type))
	if e.Limit != 0 {
		q.Set("limit", itoa(e.Limit))
	}
	var p ferry.EventPage
	err := c.get(ctx, "/v1/events", q, &p)
	return p, err
}
