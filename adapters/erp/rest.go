package erp

import (
	"context"
	"net/http"
	"strings"

	"ferry"
	"ferry/adapters/httpcall"
)

// rest is the dialect of HTTP services that follow the standards: statuses as
// in RFC 9110 and RFC 6585, errors as in RFC 9457 or one of the common shapes.
func rest() dialect {
	return dialect{
		verdicts: byStatus(),
		settings: []string{"url", "method", "lookup.url", "cloudEvents"},
		lookups: httpcall.Table{
			{Status: httpcall.Status(204, 404), Kind: absent},
			{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
			{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
			{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
			// Anything else: failed, which proves nothing.
		},
	}
}

// defaultKeyHeader carries the external key where nothing else is configured.
const defaultKeyHeader = "Idempotency-Key"

// byStatus judges by the status alone, for what a dialect's own rules say nothing of.
func byStatus() httpcall.Table {
	return httpcall.Table{
		{Status: httpcall.Between(200, 299), Kind: ferry.Delivered, Effect: ferry.EffectDone},

		// 303 is how some services answer a create that they carried out.
		{Status: httpcall.Status(303), Kind: ferry.Unknown, Effect: ferry.EffectMaybe, Text: "redirects are not followed"},
		{
			Status: httpcall.Between(300, 399), Kind: ferry.Rejected, Effect: ferry.EffectNone,
			Text: "redirects are not followed; check the destination's url",
		},

		{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized, Effect: ferry.EffectNone},
		// The server, or a proxy, waited in vain for a part of the request, or of the answer.
		{Status: httpcall.Status(408), Kind: ferry.Unknown, Effect: ferry.EffectMaybe},
		{Status: httpcall.Status(409), Kind: conflict},
		// 425: refused before it was looked at (RFC 8470).
		{Status: httpcall.Status(425, 429), Kind: ferry.Throttled, Effect: ferry.EffectNone},
		{Status: httpcall.Between(400, 499), Kind: ferry.Rejected, Effect: ferry.EffectNone},

		{Status: httpcall.Status(501, 505), Kind: ferry.Failed, Effect: ferry.EffectNone},
		{Status: httpcall.Status(503), Kind: ferry.Unavailable, Effect: ferry.EffectNone},
		// On a create nobody can tell whether a 500, 502 or 504 came before or after it.
		{Status: httpcall.Between(500, 599), Kind: ferry.Unknown, Effect: ferry.EffectMaybe},
	}
}

// addressed is a form whose lookup is an address of the configuration, and which
// sends the external key in a header.
type addressed interface{ addressed() }

// plain is the form of messages at HTTP services: a request as the route
// configures it.
type plain struct{ r *route }

func (p plain) write(ctx context.Context, m *message) (*operation, error) {
	r := p.r
	op := &operation{method: r.method, parsed: r.fixed}
	var err error
	if r.fixed == nil || r.cfg.KeyField != "" {
		if op.url, err = r.address(r.url, m); err != nil {
			return nil, err
		}
	}
	if r.cfg.KeyField != "" {
		fields, err := m.fields(ctx)
		if err != nil {
			return nil, err
		}
		return newOperation(r.method, op.url, fields)
	}
	if op.body, op.size, err = r.payload(ctx, m); err != nil || r.cfg.CloudEvents == "" {
		return op, err
	}
	if err = r.asEvent(op, m); err != nil {
		op.drop()
	}
	return op, err
}

func (p plain) find(_ context.Context, m *message) (*operation, error) {
	address, err := p.r.address(p.r.lookup.url, m)
	if err != nil {
		return nil, err
	}
	return newOperation(http.MethodGet, address, nil)
}

// found: an answer without a reference says that there is no document.
func (p plain) found(_ *message, _ *httpcall.Answer, value any) (any, error) {
	reference, err := p.r.lookup.reference.StringOf(context.Background(), value)
	if err != nil || strings.TrimSpace(reference) == "" {
		return nil, err
	}
	return value, nil
}

func (plain) addressed() {}

func (plain) document(value any) any { return value }
