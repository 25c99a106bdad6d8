package erp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
	"ferry/mapping"
)

// request makes the request of an operation, without credentials. An error is
// the message's fault, or that of the route's map. Who does not send the request
// closes its body.
func (r *route) request(ctx context.Context, m *message, op *operation) (*http.Request, error) {
	req, err := newRequest(ctx, op)
	if err != nil {
		return nil, err
	}
	if err := r.setHeaders(req.Header, m); err != nil {
		closeBody(req)
		return nil, err
	}
	overrule(req.Header, op.header)
	return req, nil
}

// question is request for what only reads.
func (r *route) question(ctx context.Context, m *message, op *operation) (*http.Request, error) {
	req, err := newRequest(ctx, op)
	if err != nil {
		return nil, err
	}
	setAll(req.Header, r.dest.cfg.Headers)
	standardHeaders(req.Header)
	if trace := childTrace(m.Traceparent); trace != "" {
		req.Header.Set("Traceparent", trace)
	}
	req.Header.Set("Ferry-Message-Id", m.ID.String())
	overrule(req.Header, op.header)
	return req, nil
}

func newRequest(ctx context.Context, op *operation) (*http.Request, error) {
	switch {
	case op.body == nil:
		return httpcall.NewRequest(ctx, op.method, op.url, nil)
	case op.parsed != nil:
		return httpcall.NewStreamTo(ctx, op.method, op.parsed, op.body, op.size)
	}
	return httpcall.NewStream(ctx, op.method, op.url, op.body, op.size)
}

func overrule(h, by http.Header) {
	for name, values := range by {
		h[name] = values
	}
}

// errBody says that the body, which was fetched, cannot be read: the worker's
// doing, not the message's.
var errBody = errors.New("the body cannot be read")

// payload is what is sent, and its length: the body as it is, read while it is
// sent, or what the map makes of it, which has to have it in memory.
func (r *route) payload(ctx context.Context, m *message) (io.ReadCloser, int64, error) {
	call := m.Call
	if r.mapping == nil {
		body, err := call.OpenBody()
		if err != nil {
			return nil, 0, fmt.Errorf("%w: %w", errBody, err)
		}
		if call.Open == nil {
			return body, int64(len(call.Body)), nil
		}
		return body, call.Size, nil
	}
	value, err := m.mapped(ctx)
	if err != nil {
		return nil, 0, err
	}
	mapped, err := mapping.Encode(value)
	if err != nil {
		return nil, 0, fmt.Errorf("the body cannot be mapped: %w", err)
	}
	return ferry.NewBodyReader(mapped), int64(len(mapped)), nil
}

// closeBody gives up the body of a request that is not sent.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close() // it was read only
	}
}

func (r *route) address(t *template, m *message) (string, error) {
	if t == r.url {
		t = r.whole
	}
	return r.dest.base.join(t, m.values())
}

// fixedAddress is the address of t, where no message changes it; nil else.
func (r *route) fixedAddress(t *template) *url.URL {
	if slices.ContainsFunc(t.flat(), func(p part) bool { return !p.isText() }) {
		return nil
	}
	address, err := r.dest.base.join(t, values{})
	if err != nil {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.String() != address {
		return nil
	}
	return u
}

// withQuery is t with the query of another template behind its own.
func (t *template) withQuery(more *template) *template {
	whole := *t
	whole.queryParts = slices.Concat(t.queryParts, separator(t, more), more.queryParts)
	return &whole
}

// parameters are the route's query settings for a message, escaped; "" for none.
func (r *route) parameters(m *message) (string, error) { return r.query.queryWith(m.values()) }

func separator(a, b *template) []part {
	if len(a.queryParts) > 0 && len(b.queryParts) > 0 {
		return []part{{text: "&"}}
	}
	return nil
}

// fixedHeaders are those that every request of the route bears alike: r.headers is
// left with those that do not.
func (r *route) fixedHeaders() http.Header {
	h := http.Header{}
	setAll(h, r.dest.cfg.Headers)
	for name, parts := range r.headers {
		if !slices.ContainsFunc(parts, func(p part) bool { return !p.isText() }) {
			h.Set(name, literalOf(parts))
			delete(r.headers, name)
		}
	}
	standardHeaders(h)
	if r.contentType != "" {
		h.Set("Content-Type", r.contentType)
	}
	return h
}

func (r *route) setHeaders(h http.Header, call *message) error {
	maps.Copy(h, r.header) // values are never altered in place, only others put there
	if len(r.headers) > 0 {
		if err := r.setOwnHeaders(h, call.values()); err != nil {
			return err
		}
	}
	contentType := ""
	if r.contentType == "" {
		contentType = call.ContentType
	}
	if !validValue(contentType) || !validValue(call.ExternalKey) {
		return errors.New("the content type or the external key has characters that a header cannot carry")
	}
	// One piece of memory for what is always there.
	values := [...]string{call.ID.String(), strconv.Itoa(call.Number), call.ExternalKey, contentType}
	h["Ferry-Message-Id"], h["Ferry-Attempt"] = values[0:1:1], values[1:2:2]
	if r.keyHeader != "" {
		h[r.keyHeader] = values[2:3:3]
	}
	if contentType != "" {
		h["Content-Type"] = values[3:4:4]
	}
	if r.cfg.RequestIDHeader != "" {
		h.Set(r.cfg.RequestIDHeader, call.requestID())
	}
	if trace := childTrace(call.Traceparent); trace != "" {
		h.Set("Traceparent", trace)
	}
	if r.confirmHeader != "" {
		if !validValue(call.ConfirmURL) {
			return errors.New("the address to call back has characters that a header cannot carry")
		}
		h.Set(r.confirmHeader, call.ConfirmURL)
	}
	return nil
}

// Preview is the request that Deliver would make, secrets masked; none is read.
func (r *route) Preview(ctx context.Context, call adapters.Call) (adapters.Preview, error) {
	if r.confirm == adapters.ConfirmCallback {
		call.ConfirmURL = shownConfirmURL // its token is for the destination alone
	}
	m := r.message(call)
	m.shown = true
	op, err := r.form.write(ctx, m)
	if err != nil {
		return adapters.Preview{}, withContext("route "+r.cfg.Route, err)
	}
	req, err := r.request(ctx, m, op)
	if err != nil {
		return adapters.Preview{}, withContext("route "+r.cfg.Route, err)
	}
	var body []byte
	if req.Body != nil {
		body, err = io.ReadAll(req.Body)
		if err = errors.Join(err, req.Body.Close()); err != nil {
			return adapters.Preview{}, withContext("route "+r.cfg.Route, err)
		}
	}
	r.dest.show(req)
	mask := m.mask()
	p := adapters.Preview{
		Method: req.Method, URL: mask.Text(httpcall.MaskURL(req.URL)), Header: map[string]string{}, Body: string(mask.JSON(body)),
	}
	for name, values := range req.Header {
		p.Header[name] = mask.Text(strings.Join(values, ", "))
	}
	return p, nil
}

// requestLine names a request in attempts: method and masked address.
func requestLine(method string, u *url.URL) string {
	const most = 2 << 10
	line := method + " " + httpcall.MaskURL(u)
	if len(line) > most {
		line = line[:most] + "…"
	}
	return line
}

// childTrace continues a W3C trace context with a span of its own; "" when
// there is none that can be continued.
func childTrace(parent string) string {
	if len(parent) < 55 || parent[2] != '-' || parent[35] != '-' || parent[52] != '-' {
		return ""
	}
	traceID, flags := parent[3:35], parent[53:55]
	for _, s := range []string{parent[:2], traceID, parent[36:52], flags} {
		if strings.Trim(s, "0123456789abcdef") != "" {
			return ""
		}
	}
	if strings.Trim(traceID, "0") == "" || parent[:2] == "ff" {
		return ""
	}
	var span [8]byte
	_, _ = rand.Read(span[:]) // crypto/rand.Read never fails: it ends the process first
	span[7] |= 1              // all zeroes would be no span
	return "00-" + traceID + "-" + hex.EncodeToString(span[:]) + "-" + flags
}
