package postman

import (
	"encoding/json"
	"net/textproto"
	"net/url"
	"strings"

	"ferry/httpauth"
)

// Request is one request of a collection.
type Request struct {
	Name   string // with its folders before it
	Method string // upper case
	Base   string // scheme, host and what a variable adds; empty: it is not known
	Path   string // after Base, as it stands in an address; unknown parts as {{name}}
	// Query and Headers are those that are not disabled and hold no secret.
	Query, Headers []Pair
	Auth           Auth
	ContentType    string
	Body           any    // the JSON of the example; nil: none
	IsJSON         bool   // the body is JSON
	Answer         any    // the JSON of an example of a success; nil: none
	Unsupported    string // why it cannot become a route; empty: it can
	Notes          []string
}

// Pair is a name and a value.
type Pair struct{ Name, Value string }

// rawRequest is a request as collections have it: several members come in two forms.
type rawRequest struct {
	Method string          `json:"method"`
	URL    json.RawMessage `json:"url"`
	Header json.RawMessage `json:"header"`
	Auth   json.RawMessage `json:"auth"`
	Body   *rawBody        `json:"body"`
}

type rawBody struct {
	Mode     string `json:"mode"`
	Raw      string `json:"raw"`
	Disabled bool   `json:"disabled"`
	Options  struct {
		Raw struct {
			Language string `json:"language"`
		} `json:"raw"`
	} `json:"options"`
}

func (r *reader) request(it *item, in folder) Request {
	q := Request{Name: strings.Join(append(in.names[:len(in.names):len(in.names)], it.Name), " / "), Method: "GET", Auth: in.auth}
	var raw rawRequest
	var address string
	if json.Unmarshal(it.Request, &address) == nil { // a request may be its address alone
		raw.URL = it.Request
	} else if json.Unmarshal(it.Request, &raw) != nil {
		q.Unsupported = "it is malformed"
		return q
	}
	if raw.Method != "" {
		q.Method = strings.ToUpper(raw.Method)
	}
	q.Auth = authOf(raw.Auth, in)
	q.Auth.Config.TokenURL, _ = r.fill(q.Auth.Config.TokenURL)
	r.address(&q, raw.URL)
	r.headers(&q, raw.Header)
	r.body(&q, raw.Body)
	q.Answer = r.answer(it.Response)
	return q
}

func (q *Request) note(text string) { q.Notes = append(q.Notes, text) }

// address reads the URL: text, or an object with its parts.
func (r *reader) address(q *Request, data json.RawMessage) {
	var raw string
	var parts struct {
		Raw      string            `json:"raw"`
		Protocol string            `json:"protocol"`
		Host     json.RawMessage   `json:"host"`
		Port     string            `json:"port"`
		Path     json.RawMessage   `json:"path"`
		Query    []json.RawMessage `json:"query"`
	}
	query := []pair{}
	if json.Unmarshal(data, &raw) != nil {
		_ = json.Unmarshal(data, &parts) // what is malformed is not there
		if raw = parts.Raw; raw == "" {
			raw = assemble(parts.Protocol, joined(parts.Host, "."), parts.Port, joined(parts.Path, "/"))
		}
		query = pairs(parts.Query)
	}
	address, queryText, _ := strings.Cut(raw, "?")
	address, _, _ = strings.Cut(address, "#")
	if parts.Query == nil {
		for part := range strings.SplitSeq(queryText, "&") {
			if name, value, _ := strings.Cut(part, "="); name != "" {
				query = append(query, pair{Key: unescape(name), Value: unescape(value)})
			}
		}
	}
	r.place(q, address)
	for _, p := range query {
		r.queryPair(q, p)
	}
}

func unescape(s string) string {
	if text, err := url.QueryUnescape(s); err == nil {
		return text
	}
	return s
}

func assemble(protocol, host, port, path string) string {
	if protocol != "" {
		host = protocol + "://" + host
	}
	if port != "" {
		host += ":" + port
	}
	return host + "/" + strings.TrimPrefix(path, "/")
}

// joined reads what is text, or a list of texts.
func joined(data json.RawMessage, with string) string {
	var text string
	if json.Unmarshal(data, &text) == nil {
		return text
	}
	var list []any
	_ = json.Unmarshal(data, &list) // neither: there is none
	parts := make([]string, 0, len(list))
	for _, v := range list {
		if s, ok := v.(string); ok {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, with)
}

// place parts an address into base and path.
func (r *reader) place(q *Request, address string) {
	if strings.HasPrefix(address, "{{") {
		// {{baseUrl}}/invoices: the variable is the base, with whatever path it has.
		if name, rest, ok := strings.Cut(address[2:], "}}"); ok && (rest == "" || rest[0] == '/') {
			q.Path = r.path(q, rest)
			if base, left := r.fill(r.variables[strings.TrimSpace(name)]); len(left) == 0 {
				q.Base = r.base(q, base)
			}
			if q.Base == "" {
				q.note("the collection does not say what {{" + cut(name, 60) + "}} is")
			}
			return
		}
	}
	address, _ = r.fill(address)
	if !strings.Contains(address, "://") {
		address = "https://" + address
	}
	scheme, rest, _ := strings.Cut(address, "://")
	host, path, _ := strings.Cut(rest, "/")
	q.Base = r.base(q, scheme+"://"+host)
	q.Path = r.path(q, "/"+path)
}

// base is an address that a destination can have; "" when it cannot.
func (r *reader) base(q *Request, s string) string {
	if !strings.Contains(s, "://") {
		s = "https://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(u.Host, "{} ") {
		return ""
	}
	if u.User != nil {
		q.note("the address holds a user name or a password, which was left out")
	}
	return u.Scheme + "://" + u.Host + strings.TrimRight(u.EscapedPath(), "/")
}

// path fills in what is known; :name stands for a variable as {{name}} does.
func (r *reader) path(q *Request, s string) string {
	s, _ = r.fill(s)
	segments := strings.Split(s, "/")
	for i, segment := range segments {
		if name, is := strings.CutPrefix(segment, ":"); is && name != "" {
			segments[i] = "{{" + name + "}}"
		}
		if Secret(strings.Trim(segments[i], "{}")) && strings.HasPrefix(segments[i], "{{") {
			q.note("the path seems to hold a secret, " + cut(segments[i], 60))
		}
	}
	return strings.Join(segments, "/")
}

func (r *reader) queryPair(q *Request, p pair) {
	value, left := r.fill(p.text())
	switch {
	case Secret(p.Key):
		r.secret(q, httpauth.Config{Type: httpauth.TypeAPIKey, Query: p.Key}, p)
	case len(left) > 0:
		q.note("the query parameter " + cut(p.Key, 60) + " has a value that the collection does not say: " + cut(strings.Join(left, ", "), 60))
	default:
		q.Query = append(q.Query, Pair{p.Key, value})
	}
}

// secret takes a header or a query parameter for the way to log on, where there is
// no other. Its value is not kept.
func (r *reader) secret(q *Request, c httpauth.Config, p pair) {
	name := c.Header + c.Query
	if q.Auth.Config.Type != "" && !strings.EqualFold(q.Auth.Config.Header+q.Auth.Config.Query, name) {
		q.note(cut(name, 60) + " seems to hold a secret, and was left out: there is a way to log on already")
		return
	}
	value, _, _ := strings.Cut(p.text(), " ")
	switch {
	case !strings.EqualFold(c.Header, "Authorization"):
	case strings.EqualFold(value, "basic"):
		c = httpauth.Config{Type: httpauth.TypeBasic}
	case strings.EqualFold(value, "bearer"):
		c = bearer()
	}
	q.Auth = Auth{Config: c, Literal: literal(p.text())}
}

// headers reads those that count for a route; a list, or lines of text.
func (r *reader) headers(q *Request, data json.RawMessage) {
	var list []json.RawMessage
	var text string
	var all []pair
	switch {
	case json.Unmarshal(data, &list) == nil:
		all = pairs(list)
	case json.Unmarshal(data, &text) == nil:
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				all = append(all, pair{Key: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
			}
		}
	}
	for _, p := range all {
		r.header(q, p)
	}
}

func (r *reader) header(q *Request, p pair) {
	name := textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(p.Key))
	value, left := r.fill(p.text())
	switch {
	case !httpauth.IsHeaderName(name), httpauth.IsConnectionHeader(name), name == "Postman-Token", name == "User-Agent", name == "Accept",
		name == "Accept-Encoding", name == "Cache-Control":
	case name == "Content-Type":
		if len(left) == 0 {
			q.ContentType = value
		}
	case strings.Contains(strings.ToLower(name), "idempot"):
		if name != "Idempotency-Key" {
			q.note("keyHeader: " + name + " would carry the external key there")
		}
	case Secret(name):
		r.secret(q, httpauth.Config{Type: httpauth.TypeAPIKey, Header: name}, p)
	case len(left) > 0:
		q.note("the header " + name + " has a value that the collection does not say: " + cut(strings.Join(left, ", "), 60))
	case strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		q.note("the header " + name + " has a value that a header cannot carry")
	default:
		q.Headers = append(q.Headers, Pair{name, value})
	}
}

func cut(s string, n int) string {
	const more = "…"
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(more)], "") + more
}
