package erp

import (
	"errors"
	"net/url"
	"slices"
	"strings"
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
	return b.under(path, t.queryWith(v)), nil
}

func joinQueries(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "&")
}

// values are what placeholders stand for.
type values struct {
	externalKey, messageID, correlationID, orderingKey, confirmURL, requestID string
}

func (v values) of(name string) string {
	switch name {
	case "externalKey":
		return v.externalKey
	case messageID:
		return v.messageID
	case "correlationId":
		return v.correlationID
	case confirmURL:
		return v.confirmURL
	case requestID:
		return v.requestID
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

// template is a path and a query with placeholders.
type template struct {
	pathParts  []part
	queryParts []part
}

// part is literal text, or a placeholder.
type part struct {
	text string
	name string
}

// parseTemplate reads an address that is joined to the destination's.
func parseTemplate(setting, s string) (*template, error) {
	if strings.Contains(s, "://") || strings.HasPrefix(s, "//") {
		return nil, bad("%s is absolute", setting).
			WithHint("it is joined to the destination's url; another host is another destination")
	}
	if strings.ContainsAny(s, "#\\ \t\r\n") {
		return nil, bad("%s has a space, a backslash or a fragment", setting).WithHint("write a space as %%20")
	}
	path, query, _ := strings.Cut(s, "?")
	t := &template{}
	var err error
	if t.pathParts, err = parseParts(setting, path); err != nil {
		return nil, err
	}
	if t.queryParts, err = parseParts(setting, query); err != nil {
		return nil, err
	}
	if path != "" && path[0] != '/' {
		t.pathParts = append([]part{{text: "/"}}, t.pathParts...)
	}
	if _, err := url.Parse("http://host" + strings.Map(noBraces, path)); err != nil {
		return nil, bad("%s cannot be read as an address", setting)
	}
	return t, nil
}

func noBraces(r rune) rune {
	if r == '{' || r == '}' {
		return 'x'
	}
	return r
}

func parseParts(setting, s string) ([]part, error) {
	var parts []part
	for s != "" {
		open := strings.IndexByte(s, '{')
		if open < 0 {
			if strings.IndexByte(s, '}') >= 0 {
				return nil, bad("%s has a } without its {", setting)
			}
			return append(parts, part{text: s}), nil
		}
		end := strings.IndexByte(s[open:], '}')
		if end < 0 {
			return nil, bad("%s has a { without its }", setting)
		}
		if open > 0 {
			parts = append(parts, part{text: s[:open]})
		}
		name := s[open+1 : open+end]
		if !strings.Contains(placeholders, "{"+name+"}") || name == "" {
			return nil, bad("%s has an unknown placeholder {%s}", setting, name).WithHint("known: %s", placeholders)
		}
		parts = append(parts, part{name: name})
		s = s[open+end+1:]
	}
	return parts, nil
}

// names lists the placeholders.
func (t *template) names() []string {
	var names []string
	for _, p := range slices.Concat(t.pathParts, t.queryParts) {
		if p.name != "" {
			names = append(names, p.name)
		}
	}
	return names
}

// has says whether the placeholder stands in the template.
func (t *template) has(name string) bool {
	is := func(p part) bool { return p.name == name }
	return slices.ContainsFunc(t.pathParts, is) || slices.ContainsFunc(t.queryParts, is)
}

func (t *template) path(v values) (string, error) {
	if len(t.pathParts) == 1 && t.pathParts[0].name == "" {
		return t.pathParts[0].text, nil
	}
	var b strings.Builder
	for _, p := range t.pathParts {
		if p.name == "" {
			b.WriteString(p.text)
			continue
		}
		value := v.of(p.name)
		// Servers and proxies resolve these, even escaped, to another path.
		if value == "" || value == "." || value == ".." {
			return "", errors.New("the value of {" + p.name + "} cannot stand in a path: it is empty, . or ..")
		}
		b.WriteString(url.PathEscape(value))
	}
	return b.String(), nil
}

func (t *template) queryWith(v values) string {
	var b strings.Builder
	for _, p := range t.queryParts {
		if p.name == "" {
			b.WriteString(p.text)
			continue
		}
		b.WriteString(escapeQuery(v.of(p.name)))
	}
	return b.String()
}

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
