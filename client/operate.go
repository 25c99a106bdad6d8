package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	"ferry"
)

// Me is whom the broker takes the client's key for.
type Me struct {
	ferry.Identity
	Environment string `json:"environment,omitempty"`
	Version     string `json:"version"`
}

// Me reads who the client is and which broker it speaks to.
func (c *Client) Me(ctx context.Context) (Me, error) {
	var m Me
	err := c.get(ctx, "/v1/me", nil, &m)
	return m, err
}

// Status reads how the broker stands.
func (c *Client) Status(ctx context.Context) (ferry.StatusReport, error) {
	var s ferry.StatusReport
	err := c.get(ctx, "/v1/status", nil, &s)
	return s, err
}

// Routes lists the routes that the key may see.
func (c *Client) Routes(ctx context.Context) ([]ferry.RouteInfo, error) {
	return list[ferry.RouteInfo](ctx, c, "/v1/routes", nil)
}

// Pause stops the deliveries of a route; accepting goes on. A zero until means
// until it is resumed.
//
// The answer waits up to wait, at most a minute, for calls that run to end.
func (c *Client) Pause(ctx context.Context, route, note string, until time.Time, wait time.Duration) (ferry.RouteInfo, error) {
	in := struct {
		Note  string `json:"note,omitempty"`
		Until string `json:"until,omitempty"`
		Wait  string `json:"wait,omitempty"`
	}{note, formatTime(until), wait.String()}
	info, err := c.routeAct(ctx, route, "pause", in)
	if err != nil && strings.Contains(err.Error(), `unknown field "wait"`) { // a broker of before
		in.Wait = ""
		return c.routeAct(ctx, route, "pause", in)
	}
	return info, err
}

// Resume lets a paused route deliver again.
func (c *Client) Resume(ctx context.Context, route, note string) (ferry.RouteInfo, error) {
	return c.routeAct(ctx, route, "resume", noteOnly{note})
}

// Reload has the broker read its configuration file anew. A bad file is refused, and
// what ran before goes on.
func (c *Client) Reload(ctx context.Context, note string) (ferry.Reload, error) {
	var done ferry.Reload
	err := c.post(ctx, "/v1/reload", noted(note), &done)
	return done, err
}

// BindRoute lets another worker's inbox deliver the route. gone: whoever had it
// before can call no more, so that nothing waits for it; that wants a note.
func (c *Client) BindRoute(ctx context.Context, route, worker string, gone bool, note string) (ferry.RouteInfo, error) {
	in := struct {
		Worker string `json:"worker"`
		Gone   bool   `json:"gone,omitempty"`
		Note   string `json:"note,omitempty"`
	}{worker, gone, note}
	return c.routeAct(ctx, route, "bind", in)
}

func (c *Client) routeAct(ctx context.Context, route, act string, in any) (ferry.RouteInfo, error) {
	var r ferry.RouteInfo
	err := c.post(ctx, "/v1/routes/"+seg(route)+"/"+act, in, &r)
	return r, err
}

// Reconcile reads the proof that nothing was lost: accepted = pending +
// completed + dead-lettered + discarded, per route and day.
func (c *Client) Reconcile(ctx context.Context) ([]ferry.Reconciliation, error) {
	return list[ferry.Reconciliation](ctx, c, "/v1/reconciliation", nil)
}

// Usage lists who used the broker, of days from since to until (empty: the broker's
// defaults), only of a key or a route where they are named, one row per what by
// says, such as key,route,day.
func (c *Client) Usage(ctx context.Context, since, until, key, route, by string) ([]ferry.UsageRow, error) {
	q := url.Values{}
	for _, p := range [][2]string{{"since", since}, {"until", until}, {"key", key}, {"route", route}, {"by", by}} {
		if p[1] != "" {
			q.Set(p[0], p[1])
		}
	}
	return list[ferry.UsageRow](ctx, c, "/v1/usage", q)
}

// Audit lists what was done after the entry numbered after (0: from the start) and
// at or after a time (zero: any), oldest first, at most limit entries (0: the
// broker's default).
func (c *Client) Audit(ctx context.Context, after uint64, since time.Time, limit int) ([]ferry.AuditEntry, error) {
	q := url.Values{}
	if after != 0 {
		q.Set("after", strconv.FormatUint(after, 10))
	}
	if !since.IsZero() {
		q.Set("since", formatTime(since))
	}
	if limit != 0 {
		q.Set("limit", itoa(limit))
	}
	return list[ferry.AuditEntry](ctx, c, "/v1/audit", q)
}

// AllAudit goes through everything that Audit lists, page by page.
func (c *Client) AllAudit(ctx context.Context, after uint64, since time.Time) iter.Seq2[ferry.AuditEntry, error] {
	return func(yield func(ferry.AuditEntry, error) bool) {
		for {
			page, err := c.Audit(ctx, after, since, ferry.MaxListLimit)
			if err != nil {
				yield(ferry.AuditEntry{}, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
			if len(page) < ferry.MaxListLimit {
				return
			}
		}
	}
}

// Healthy asks whether the broker's process answers.
func (c *Client) Healthy(ctx context.Context) error {
	return c.get(ctx, "/healthz", nil, nil)
}

// Ready asks whether the broker can accept messages; the error says why not.
func (c *Client) Ready(ctx context.Context) error {
	return c.get(ctx, "/readyz", nil, nil)
}

// Metrics reads the broker's metrics as Prometheus text.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	data, _, err := c.raw(ctx, "/metrics", nil, maxAnswer)
	return data, err
}

// OpenAPI reads the description of the broker's HTTP interface, OpenAPI 3.0.3.
func (c *Client) OpenAPI(ctx context.Context) ([]byte, error) {
	data, _, err := c.raw(ctx, "/openapi.json", nil, maxAnswer)
	return data, err
}

// ConnectorZip reads the files of the Power Platform connector, packed into one, made
// of the routes that the key may see. query has the options of GET /connector/{file}.
func (c *Client) ConnectorZip(ctx context.Context, query url.Values) ([]byte, error) {
	data, _, err := c.raw(ctx, "/connector/ferry-connector.zip", query, maxAnswer)
	return data, err
}

// RouteSchema reads what a route's messages look like, as JSON.
func (c *Client) RouteSchema(ctx context.Context, route string) ([]byte, error) {
	data, _, err := c.raw(ctx, "/v1/routes/"+seg(route)+"/schema", nil, maxAnswer)
	return data, err
}
