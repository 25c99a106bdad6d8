package api

import (
	"context"
	"net/http"

	"ferry"
)

// UsageReader counts who used the broker, and tells it.
type UsageReader interface {
	// Used counts a request that ended. It never blocks, and keeps nothing of u.
	Used(u *ferry.Use)
	// Usage lists what was counted, the unwritten included.
	Usage(ctx context.Context, f ferry.UsageFilter) ([]ferry.UsageRow, error)
}

// usage lists the calls of those who ask how much was used.
func usage() []endpoint {
	return []endpoint{{
		method: http.MethodGet, path: "/v1/usage", id: "getUsage", roles: readers, handle: (*call).getUsage,
		summary: "Count requests per key, route and UTC day",
		text:    "A sender sees its own. What was counted is on disk some seconds later; the answer has it at once.",
		params: []param{
			{name: "since", in: inQuery, text: "first UTC day, such as 2026-11-23, or how long ago, such as 30d; default 30d"},
			{name: "until", in: inQuery, text: "last UTC day; default today"},
			{name: "key", in: inQuery, text: "only this key, by id or name"},
			{name: "route", in: inQuery, text: "only this route"},
			{name: "by", in: inQuery, text: "one row per: key, route, day, or several with commas; default key,route"},
		},
		answers: []reply{{200, "the counts", List[ferry.UsageRow]{}, nil, nil}},
	}}
}

// getUsage tells what was counted.
func (c *call) getUsage() error {
	list, err := c.api.svc.Usage(c.ctx(), ferry.UsageFilter{})
	return items(c, list, err)
}

// account follows every request, whatever became of it: the access log and the
// counts of usage.
func (c *call) account() {}
