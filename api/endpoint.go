package api

import (
	"maps"
	"slices"
	"strings"

	"ferry"
)

// endpoint is one call of the surface: what the mux, the checks and openapi.json
// need of it.
type endpoint struct {
	method  string
	path    string // pattern of net/http
	id      string // operationId
	summary string
	text    string       // more than the summary, where needed
	open    bool         // needs no key
	sends   bool         // accepts messages: rates and quotas count them
	byToken bool         // a token in the query stands for the key; the handler checks it
	on      Listener     // where there are two; empty: see listener
	act     bool         // an operator's act, or a change of who may what: it is in the audit log
	roles   []ferry.Role // besides admin; nil: admin alone
	right   string       // of a SAS policy, whose token stands for a key; empty: none does
	params  []param
	body    *body // nil: none
	answers []reply
	handle  func(*call) error

	queryNames map[string]bool
}

// knownQuery lists the query parameters for a hint.
func (ep *endpoint) knownQuery() string {
	names := slices.Sorted(maps.Keys(ep.queryNames))
	return strings.Join(names, ", ")
}

// Where a parameter stands.
const (
	inQuery  = "query"
	inHeader = "header"
)

// param is a parameter in the query or a header; those of the path are read off
// the pattern.
type param struct {
	name string
	in   string
	kind string // "", "integer" or "boolean"; "" is a string
	enum []string
	low  int // integer: the least
	high int // integer: the most, 0 for none
	text string
}

// body is what a request carries: JSON of a type, or for nil any payload.
type body struct {
	of       any
	types    []string // content types that are taken beside JSON
	optional bool
	text     string
}

// reply is one answer that is no refusal: JSON of a type, of the content types named,
// or both.
type reply struct {
	status  int
	text    string
	of      any
	types   []string
	headers []string
}

func enum[T ~string](values []T) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return list
}

// The parameters that several endpoints share.
func filterParams(more ...param) []param {
	return append([]param{
		{name: "route", in: inQuery, text: "only this route"},
		{name: "since", in: inQuery, text: "at or after: RFC 3339 with an offset, or how long ago, such as 24h or 7d"},
		{name: "until", in: inQuery, text: "before: RFC 3339 with an offset, or how long ago"},
		{name: "sender", in: inQuery, text: "only what the key of this name sent"},
		{name: "limit", in: inQuery, kind: "integer", low: 1, high: ferry.MaxListLimit, text: "most items of a page; default 50"},
		{name: "cursor", in: inQuery, text: "nextCursor of the page before, good for a day"},
	}, more...)
}

func deadLetterParams() []param {
	return filterParams(
		param{name: "reason", in: inQuery, enum: enum(ferry.Reasons()), text: "only this reason"},
		param{name: "group", in: inQuery, text: "only this group of errors alike"},
		param{name: "code", in: inQuery, text: "only this error code of the destination"},
		param{name: "flow", in: inQuery, text: "only this flow, by its name or run id"},
		param{name: "owner", in: inQuery, text: "only routes of this owner, by name or email"},
		param{name: "q", in: inQuery, text: "exact, or beginning of an id, key, correlation id, ordering key, reference, sender or flow run"},
	)
}

// sendParams are the options of a message. Each may stand in the query or in a
// header.
func sendParams() []param {
	pair := func(header, text string, names ...string) []param {
		list := []param{{name: header, in: inHeader, text: text}}
		for _, name := range names {
			list = append(list, param{name: name, in: inQuery, text: text})
		}
		return list
	}
	var list []param
	list = append(list, pair("Idempotency-Key", "the sender's name for the message, 1 to 128 printable ASCII characters, bare or in quotes; the same key is accepted once", "idempotencyKey", "messageId")...)
	list = append(list, pair("Ferry-Correlation-Id", "groups messages of one business case, at most 128 bytes", "correlationId")...)
	list = append(list, pair("Ferry-Ordering-Key", "messages of one key are delivered one after the other, at most 128 bytes", "orderingKey", "sessionId")...)
	list = append(list, pair("Ferry-Deliver-At", "not before this time, RFC 3339 with an offset", "deliverAt")...)
	list = append(list, pair("Ferry-Time-To-Live", "how long to try, such as 30d, 1h30m or PT5M", "timeToLive")...)
	list = append(list, pair("Ferry-Callback-Url", "https URL to tell the end to", "callbackUrl")...)
	list = append(list, pair("Ferry-Body-Ref", "URL of a blob that holds the body, in place of a body: the broker reads it before it answers. Only accounts that its configuration allows", "bodyRef")...)
	list = append(list, pair("Ferry-On-Conflict", "replace: a corrected body takes the place of a dead-lettered or discarded message of the same key", "onConflict")...)
	list = append(list, versionParams()...)
	return append(list,
		param{name: "Ferry-Properties", in: inHeader, text: "custom properties as a JSON object of strings; headers Ferry-Property-NAME set one each, with the name in lower case. At most 64, together 32 KiB"},
		param{name: "traceparent", in: inHeader, text: "W3C trace context, passed on"},
	)
}
