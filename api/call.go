package api

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"ferry"
)

// call is one request on its way through the surface.
type call struct {
	api   *api
	w     http.ResponseWriter
	r     *http.Request
	ep    *endpoint
	id    string // of the request
	start time.Time
	query url.Values
	who   ferry.Identity
	route string // that the request is about, when there is such a route
	held  int64  // bytes taken of the body budget

	presented bool    // a key or a token came with the request
	shares    *shares // of the limits that hold; nil: none does

	read         int64        // bytes of the body that were read
	sent         bool         // the request took messages
	refusedItems []ferry.Code // of single messages in a partial batch

	wrote  bool
	status int
	code   ferry.Code // of a refusal
}

func (c *call) ctx() context.Context { return c.r.Context() }

// attrs is the wide line of the request. The query is left out: it may hold a key.
func (c *call) attrs(status int, more ...slog.Attr) []slog.Attr {
	return append([]slog.Attr{
		slog.String("requestId", c.id),
		slog.String("method", c.r.Method),
		slog.String("path", c.shownPath()),
		slog.Int("status", status),
		slog.Int64("durationMs", time.Since(c.start).Milliseconds()),
		slog.String("by", c.who.Name),
	}, more...)
}

// json answers v.
func (c *call) json(status int, v any) error {
	c.w.Header()["Content-Type"] = jsonType
	c.write(status, encode(v))
	return nil
}

// items answers a list.
func items[T any](c *call, list []T, err error) error {
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, List[T]{Items: list})
}

// List is the answer of every list that has no pages.
type List[T any] struct {
	Items []T `json:"items"`
}

// jsonType is the Content-Type of answers; never written to.
var jsonType = []string{"application/json"}

// write sends the answer; an error of the connection is the caller's loss only.
func (c *call) write(status int, body []byte) {
	c.status, c.wrote = status, true
	c.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	c.w.WriteHeader(status)
	_, _ = c.w.Write(body)
}

// checkHeader bounds the header block. The server's own limit is a little
// higher, so that a breach is answered with its code.
func (c *call) checkHeader() error {
	size := len(c.r.RequestURI)
	for name, values := range c.r.Header {
		for _, v := range values {
			size += len(name) + len(v) + 4 // ": " and the line's end
		}
	}
	if size > ferry.MaxHeaderBytes {
		return ferry.Errorf(ferry.CodeHeaderTooLarge, "the header block has %d bytes", size).
			WithHint("at most %d; long properties can travel in a batch's body", ferry.MaxHeaderBytes)
	}
	return nil
}

// checkQuery refuses parameters that mean nothing here: a filter that is
// misspelt and dropped would select everything.
func (c *call) checkQuery() error {
	for name, values := range c.query {
		if !c.ep.queryNames[name] && !c.namesVersion(name) {
			return ferry.Errorf(ferry.CodeBadRequest, "the query parameter %q means nothing here", clip(name)).
				WithHint("known: %s", c.ep.knownQuery())
		}
		for _, v := range values[1:] {
			if v != values[0] {
				return ferry.Errorf(ferry.CodeBadRequest, "the query parameter %q is given twice", name)
			}
		}
	}
	return nil
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}

// q is the value of a query parameter, "" when absent.
func (c *call) q(name string) string {
	if values := c.query[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// publicURL is what the URLs in answers begin with.
func (c *call) publicURL() string {
	if c.api.opts.PublicURL != "" {
		return c.api.opts.PublicURL
	}
	if c.r.TLS != nil {
		return "https://" + c.r.Host
	}
	return "http://" + c.r.Host
}

func (c *call) statusURL(id ferry.ID) string {
	return c.publicURL() + "/v1/messages/" + id.String()
}

// messageID reads the {id} of the path: an id, or its end. A message of a route
// that the key may not see is answered as one that does not exist.
func (c *call) messageID() (ferry.ID, error) {
	text := c.r.PathValue("id")
	if id, err := ferry.ParseID(text); err == nil {
		return id, nil
	}
	if !ferry.IsIDSuffix(text) {
		return ferry.ID{}, ferry.Errorf(ferry.CodeBadID, "%q is not a message id", clip(text)).
			WithHint("the whole id, or its last 6 characters or more")
	}
	return c.api.svc.ResolveID(c.ctx(), text)
}

// envelope reads the message of the path as the caller may see it.
func (c *call) envelope() (ferry.Envelope, error) {
	id, err := c.messageID()
	if err != nil {
		return ferry.Envelope{}, err
	}
	e, err := c.api.svc.Message(c.ctx(), id)
	if err != nil {
		return ferry.Envelope{}, err
	}
	if !c.who.MaySee(e.Route) {
		return ferry.Envelope{}, ferry.Errorf(ferry.CodeMessageNotFound, "no message has the id %s", clip(c.r.PathValue("id")))
	}
	c.route = e.Route
	return e, nil
}

// complete fills in what the surface knows of an envelope.
func (c *call) complete(e *ferry.Envelope) {
	e.StatusURL = c.statusURL(e.ID)
	if e.Environment == "" {
		e.Environment = c.api.opts.Environment
	}
}

// show answers one envelope.
func (c *call) show(e ferry.Envelope, err error) error {
	if err != nil {
		return err
	}
	c.complete(&e)
	return c.json(http.StatusOK, e)
}

// knownRoute reads the {route} of the path.
func (c *call) knownRoute() (ferry.Route, error) {
	name := c.r.PathValue("route")
	if !c.who.MaySee(name) {
		// The same for routes that do not exist: names are not for the asking.
		return ferry.Route{}, ferry.Errorf(ferry.CodeForbidden, "this key may not use the route %q", clip(name)).
			WithHint("GET /v1/me tells the key's routes")
	}
	route, ok := c.api.svc.Route(name)
	if !ok {
		return ferry.Route{}, noRoute(name)
	}
	c.route = route.Name
	return route, nil
}

func noRoute(name string) *ferry.Error {
	return ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", clip(name)).
		WithHint("routes are listed in the broker's configuration and by GET /v1/routes")
}

// loopback says whether the request came from this machine itself; one that a
// proxy passed on did not.
func loopback(r *http.Request) bool {
	if r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "" {
		return false
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
