package erp

import (
	"net/url"
	"slices"
	"strings"

	"ferry/mapping"
)

// base is the destination's address, to which every other is joined.
type base struct {
	prefix string // scheme, host and path without a slash at the end
	query  string
}

func parseBase(s string) (base, error) {
	if s == "" {
		return base{}, bad("url is missing")
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return base{}, bad("url cannot be read").WithHint("such as https://erp.example/api")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return base{}, bad("url is no absolute http or https address").WithHint("such as https://erp.example/api")
	case u.User != nil:
		return base{}, bad("url holds a user name or a password").WithHint("use auth: {type: basic, username: …, password: env:NAME}")
	case u.Fragment != "":
		return base{}, bad("url has a fragment (#…), which is never sent")
	}
	return base{prefix: u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/"), query: u.RawQuery}, nil
}

// join makes the address of t under the base, placeholders filled in.
func (b base) join(t *template, v values) (string, error) {
	path, err := t.path(v)
	if err != nil {
		return "", err
	}
	query, err := t.queryWith(v)
	if err != nil {
		return "", err
	}
	return b.under(path, query), nil
}

func joinQueries(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "&")
}

// values are what placeholders stand for, and what programs give.
type values struct {
	externalKey, correlationID, orderingKey, confirmURL string
	messageID, requestID                                func() string
	// program runs one over the message. Not given: it gives null, or nothing.
	program func(p *mapping.Program) (text string, given bool, err error)
}

func (v values) of(name string) string {
	switch name {
	case "externalKey":
		return v.externalKey
	case messageID:
		return v.messageID()
	case "correlationId":
		return v.correlationID
	case confirmURL:
		return v.confirmURL
	case requestID:
		return v.requestID()
	default:
		return v.orderingKey
	}
}

const placeholders = "{externalKey}, {messageId}, {correlationId}, {orderingKey}, {confirmUrl}, {requestId}"

// confirmURL is the placeholder of the address that the destination calls back.
const confirmURL = "confirmUrl"

// messageID is the placeholder of the message's id.
const messageID = "messageId"

// requestID is the placeholder of a UUID of the request, see message.requestID.
const requestID = "requestId"

// escapeQuery escapes for a query; a space becomes %20, since OData services
// refuse a plus.
func escapeQuery(s string) string {
	return strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
}

// under is an address below the base: path is escaped and begins with a slash,
// query is escaped; "" for none.
func (b base) under(path, query string) string {
	if b.query == "" && query == "" {
		return b.prefix + path
	}
	out := b.prefix + path
	if query = joinQueries(b.query, query); query != "" {
		out += "?" + query
	}
	return out
}
