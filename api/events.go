package api

import (
	"context"
	"net/http"

	"ferry"
	"ferry/shape"
)

// Events is what became of messages, for hosts that cannot be called.
type Events interface {
	// Events lists what is kept of ends of messages; each envelope is as it was then.
	Events(ctx context.Context, f ferry.EventFilter) (ferry.EventPage, error)
}

// events lists the calls of those who ask what became of messages.
func events() []endpoint {
	return []endpoint{{
		method: http.MethodGet, path: "/v1/events", id: "listEvents", roles: readers, handle: (*call).listEvents,
		summary: "List what became of messages",
		text:    "An event for each end: completed, deadLettered or discarded, kept 7 days. Send nextAfter as after to go on; no event is passed over.",
		params: []param{
			{name: "after", in: inQuery, text: "only events behind this one: nextAfter or the id of an event, a time (RFC 3339 with an offset), or how long ago, such as 24h"},
			{name: "order", in: inQuery, enum: []string{orderAsc, orderDesc}, text: "within the page: asc, the default, oldest first; desc newest first. Either way a page behind after has the events that come next"},
			{name: "limit", in: inQuery, kind: "integer", low: 1, high: ferry.MaxListLimit, text: "most events of a page, which may end earlier; default 50"},
			{name: "route", in: inQuery, text: "only this route"},
			{name: "type", in: inQuery, enum: enum(ferry.EventTypes()), text: "only this type"},
		},
		answers: []reply{{200, "the events; as a batch of CloudEvents where Accept asks for one, with nextAfter in the header Ferry-Next-After", ferry.EventPage{}, []string{shape.EventBatchType}, nil}},
	}}
}

// The orders of a page of events.
const (
	orderAsc  = "asc"
	orderDesc = "desc"
)

func (c *call) listEvents() error {
	f := ferry.EventFilter{Route: c.q("route"), Type: ferry.EventType(c.q("type"))}
	switch f.Type {
	case "", ferry.EventCompleted, ferry.EventDeadLettered, ferry.EventDiscarded:
	default:
		return badValue("type", string(f.Type), ferry.EventTypes())
	}
	switch order := c.q("order"); order {
	case "", orderAsc:
	case orderDesc:
		f.Newest = true
	default:
		return badValue("order", order, []string{orderAsc, orderDesc})
	}
	if err := c.checkRouteFilter(f.Route); err != nil {
		return err
	}
	if c.who.Role == ferry.RoleSender && len(c.who.Routes) > 0 {
		f.Routes = c.who.Routes
	}
	var err error
	if f.After, err = c.afterEvent(); err != nil {
		return err
	}
	if f.Limit, err = c.limit(); err != nil {
		return err
	}
	page, err := c.api.svc.Events(c.ctx(), f)
	if err != nil {
		return err
	}
	for i := range page.Items {
		c.complete(&page.Items[i].Message)
	}
	if c.wants(shape.EventBatchType) {
		return c.answerEvents(&page)
	}
	return c.json(http.StatusOK, page)
}

// afterEvent reads the id of an event, or a moment: then all that was later.
func (c *call) afterEvent() (ferry.ID, error) {
	if id, err := ferry.ParseID(c.q("after")); err == nil {
		return id, nil
	}
	at, err := c.moment("after")
	if err != nil || at.IsZero() {
		return ferry.ID{}, err
	}
	return ferry.LastID(at), nil
}
