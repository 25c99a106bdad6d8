package api

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ferry"
	"ferry/accesslog"
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
	f := ferry.UsageFilter{Key: c.q("key"), Route: c.q("route"), By: []string{ferry.UsageByKey, ferry.UsageByRoute}}
	var err error
	if f.Since, err = c.day("since"); err != nil {
		return err
	}
	if f.Until, err = c.day("until"); err != nil {
		return err
	}
	if f.Since == "" {
		f.Since = c.start.UTC().AddDate(0, 0, -defaultUsageDays).Format(time.DateOnly)
	}
	if by := c.q("by"); by != "" {
		f.By = strings.Split(by, ",")
		for _, what := range f.By {
			if what != ferry.UsageByKey && what != ferry.UsageByRoute && what != ferry.UsageByDay {
				return ferry.Errorf(ferry.CodeBadFilter, "by=%q means nothing", clip(by)).WithHint("key, route, day, or several of them with commas")
			}
		}
	}
	if !c.who.May(operators...) {
		f.Own = c.usageKey()
	}
	list, err := c.api.svc.Usage(c.ctx(), f)
	return items(c, list, err)
}

const defaultUsageDays = 30

// day reads a UTC day of the query: itself, a moment of it, or how long ago.
func (c *call) day(name string) (string, error) {
	v := c.q(name)
	if v == "" {
		return "", nil
	}
	if _, err := time.Parse(time.DateOnly, v); err == nil {
		return v, nil
	}
	t, err := c.moment(name)
	if err != nil {
		return "", err
	}
	return t.UTC().Format(time.DateOnly), nil
}

// usageKey is whom the counts of the request go to.
func (c *call) usageKey() string {
	if c.who.KeyID != "" {
		return c.who.KeyID
	}
	return c.who.Name // of a SAS policy
}

// AccessLog is where a line for each request goes. Add never blocks, and keeps
// nothing of the entry.
type AccessLog interface {
	Add(e *accesslog.Entry)
}

// account follows every request, whatever became of it: the access log and the
// counts of usage. Probes and descriptions are in the access log alone.
func (c *call) account() {
	// Not the length that was told: who is refused may have said any.
	in, out := c.read, int64(0)
	if length := c.w.Header()["Content-Length"]; len(length) == 1 && c.r.Method != http.MethodHead {
		out, _ = strconv.ParseInt(length[0], 10, 64) // our own number
	}
	took := time.Since(c.start)
	if c.ep == nil || !c.ep.open {
		c.api.svc.Used(&ferry.Use{
			Key: c.usageKey(), Name: c.who.Name, Route: c.route, At: c.start, Took: took, Sent: c.sent,
			Code: c.code, Items: c.refusedItems, BytesIn: in, BytesOut: out,
		})
	}
	if c.api.opts.AccessLog == nil {
		return
	}
	e := accesslog.Entry{
		At: c.start, RequestID: c.id, Method: c.r.Method, Path: c.shownPath(), Route: c.route, Status: c.status, Code: c.code,
		BytesIn: in, BytesOut: out, Took: took, Key: c.who.KeyID, By: c.who.Name, Remote: c.r.RemoteAddr, Agent: c.r.UserAgent(),
	}
	if c.ep != nil {
		e.Endpoint = c.ep.id
	}
	if host, _, err := net.SplitHostPort(c.r.RemoteAddr); err == nil {
		e.Remote = host
	}
	if flow := c.flowOf(); flow != nil {
		e.FlowRun = flow.RunID
	}
	c.api.opts.AccessLog.Add(&e)
}

// observeAccept notes that the request took messages.
func (c *call) observeAccept() {
	c.sent = true
	c.api.svc.ObserveAccept(time.Since(c.start))
}
