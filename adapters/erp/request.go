package erp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// request makes the request of a delivery, without credentials. An error is the
// message's fault, or that of the route's map.
func (r *route) request(ctx context.Context, call adapters.Call) (*http.Request, []byte, error) {
	body := call.Body
	if r.mapping != nil {
		mapped, err := r.mapping.Run(ctx, call.Body)
		if err != nil {
			return nil, nil, fmt.Errorf("the body cannot be mapped: %w", err)
		}
		body = mapped
	}
	address, err := r.address(r.url, call)
	if err != nil {
		return nil, nil, err
	}
	req, err := httpcall.NewRequest(ctx, r.method, address, body)
	if err != nil {
		return nil, nil, err
	}
	if err := r.setHeaders(req.Header, call); err != nil {
		return nil, nil, err
	}
	return req, body, nil
}

func (r *route) address(t *template, call adapters.Call) (string, error) {
	v := values{
		externalKey: call.ExternalKey, messageID: call.ID.String(),
		correlationID: call.CorrelationID, orderingKey: call.OrderingKey, confirmURL: call.ConfirmURL,
	}
	whole := *t
	if t == r.url {
		whole.queryParts = append(append([]part{}, t.queryParts...), separator(t, r.query)...)
		whole.queryParts = append(whole.queryParts, r.query.queryParts...)
	}
	return r.dest.base.join(&whole, v)
}

func separator(a, b *template) []part {
	if len(a.queryParts) > 0 && len(b.queryParts) > 0 {
		return []part{{text: "&"}}
	}
	return nil
}

func (r *route) setHeaders(h http.Header, call adapters.Call) error {
	setAll(h, r.dest.cfg.Headers)
	setAll(h, r.cfg.Headers)
	standardHeaders(h)
	contentType := r.contentType
	if contentType == "" {
		contentType = call.ContentType
	}
	if !validValue(contentType) || !validValue(call.ExternalKey) {
		return errors.New("the content type or the external key has characters that a header cannot carry")
	}
	if contentType != "" {
		h.Set("Content-Type", contentType)
	}
	if r.keyHeader != "" {
		h.Set(r.keyHeader, call.ExternalKey)
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
	h.Set("Ferry-Message-Id", call.ID.String())
	h.Set("Ferry-Attempt", strconv.Itoa(call.Number))
	return nil
}

// Preview is the request that Deliver would make, secrets masked; none is read.
func (r *route) Preview(ctx context.Context, call adapters.Call) (adapters.Preview, error) {
	if r.confirm == adapters.ConfirmCallback {
		call.ConfirmURL = shownConfirmURL // its token is for the destination alone
	}
	req, body, err := r.request(ctx, call)
	if err != nil {
		return adapters.Preview{}, withContext("route "+r.cfg.Route, err)
	}
	r.dest.auth.Show(req)
	p := adapters.Preview{Method: req.Method, URL: httpcall.MaskURL(req.URL), Header: map[string]string{}, Body: string(body)}
	for name, values := range req.Header {
		p.Header[name] = strings.Join(values, ", ")
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
