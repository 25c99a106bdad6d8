package erp

import (
	"ferry"
	"ferry/adapters/httpcall"
)

// conflict is a rule's way to say: the destination claims a duplicate. What it
// is, the host finds out; no verdict bears it.
const conflict ferry.VerdictKind = "conflict"

// rest is the dialect of HTTP services that follow the standards: statuses as
// in RFC 9110 and RFC 6585, errors as in RFC 9457 or one of the common shapes.
func rest() dialect {
	return dialect{
		verdicts: httpcall.Table{
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
		},
		lookups: httpcall.Table{
			{Status: httpcall.Status(401, 403, 407), Kind: ferry.Unauthorized},
			{Status: httpcall.Status(425, 429), Kind: ferry.Throttled},
			{Status: httpcall.Status(502, 503, 504), Kind: ferry.Unavailable},
			// Anything else: failed, which proves nothing.
		},
	}
}
