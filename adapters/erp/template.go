package erp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"ferry/adapters"
	"ferry/mapping"
)

// template is a path and a query with placeholders and programs.
type template struct {
	pathParts  []part
	queryParts []part
}

// part is literal text, a placeholder, a program, or a parameter of a query.
type part struct {
	text    string
	name    string           // of a placeholder
	program *mapping.Program // {= … }
	source  string           // of program
	// pair is a parameter made of parts. It is left out when a program in it gives
	// null, or nothing.
	pair []part
}

func (p part) isText() bool { return p.name == "" && p.program == nil && p.pair == nil }

// parseTemplate reads an address that is joined to the destination's.
func parseTemplate(setting, s string) (*template, error) {
	parts, err := parseParts(setting, s)
	if err != nil {
		return nil, err
	}
	fixed := literalOf(parts)
	if strings.Contains(fixed, "://") || strings.HasPrefix(fixed, "//") {
		return nil, bad("%s is absolute", setting).
			WithHint("it is joined to the destination's url; another host is another destination")
	}
	if strings.ContainsAny(fixed, "#\\ \t\r\n") {
		return nil, bad("%s has a space, a backslash or a fragment", setting).WithHint("write a space as %%20")
	}
	t := &template{pathParts: parts}
	for i, p := range parts {
		path, query, found := strings.Cut(p.text, "?")
		if !found {
			continue
		}
		t.pathParts = append(slices.Clone(parts[:i]), literal(path)...)
		t.queryParts = append(literal(query), parts[i+1:]...)
		break
	}
	path, _, _ := strings.Cut(fixed, "?")
	if len(t.pathParts) > 0 && path[0] != '/' {
		t.pathParts = append(literal("/"), t.pathParts...)
	}
	if _, err := url.Parse("http://host/" + strings.TrimPrefix(path, "/")); err != nil {
		return nil, bad("%s cannot be read as an address", setting)
	}
	return t, nil
}

func literal(s string) []part {
	if s == "" {
		return nil
	}
	return []part{{text: s}}
}

// literalOf has an x in the place of what is not literal.
func literalOf(parts []part) string {
	var b strings.Builder
	for _, p := range parts {
		if p.isText() {
			b.WriteString(p.text)
		} else {
			b.WriteByte('x')
		}
	}
	return b.String()
}

// parseParts takes apart a text with placeholders and programs.
func parseParts(setting, s string) ([]part, error) {
	pieces, err := mapping.Pieces(s, adapters.Variables()...)
	if err != nil {
		return nil, withContext(setting, err)
	}
	var parts []part
	for _, piece := range pieces {
		if piece.Program != nil {
			parts = append(parts, part{program: piece.Program, source: piece.Source})
			continue
		}
		more, err := parsePlaceholders(setting, piece.Text)
		if err != nil {
			return nil, err
		}
		parts = append(parts, more...)
	}
	return parts, nil
}

func parsePlaceholders(setting, s string) ([]part, error) {
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
		parts = append(parts, literal(s[:open])...)
		name := s[open+1 : open+end]
		if !isPlaceholder(name) {
			return nil, bad("%s has an unknown placeholder {%s}", setting, name).
				WithHint("known: %s; a program begins with an equals sign, such as {= .invoice.number}", placeholders)
		}
		parts = append(parts, part{name: name})
		s = s[open+end+1:]
	}
	return parts, nil
}

func isPlaceholder(name string) bool {
	return name != "" && strings.Contains(placeholders, "{"+name+"}")
}

// parseQuery reads the query settings, names in order.
func parseQuery(query map[string]string) (*template, error) {
	t := &template{}
	for _, name := range sortedKeys(query) {
		value, err := parseParts("query."+name, query[name])
		if err != nil {
			return nil, err
		}
		pair := literal(escapeQuery(name) + "=")
		for _, p := range value {
			if p.isText() {
				p.text = escapeQuery(p.text)
			}
			pair = append(pair, p)
		}
		if len(t.queryParts) > 0 {
			t.queryParts = append(t.queryParts, part{text: "&"})
		}
		t.queryParts = append(t.queryParts, part{pair: pair})
	}
	return t, nil
}

// names lists the placeholders.
func (t *template) names() []string {
	var names []string
	for _, p := range t.flat() {
		if p.name != "" {
			names = append(names, p.name)
		}
	}
	return names
}

// hasPrograms says whether the address is made of more than the message's keys.
func (t *template) hasPrograms() bool {
	return slices.ContainsFunc(t.flat(), func(p part) bool { return p.program != nil })
}

func (t *template) flat() []part {
	var all []part
	for _, p := range slices.Concat(t.pathParts, t.queryParts) {
		all = append(append(all, p.pair...), p)
	}
	return all
}

// value is what a part that is no pair stands for. Not given: its program gives
// null, or nothing.
func (p part) value(v values) (text string, given bool, err error) {
	switch {
	case p.program != nil:
		if text, given, err = v.program(p.program); err != nil {
			err = fmt.Errorf("{= %s}: %w", cut(p.source, 100), err)
		}
		return text, given, err
	case p.name != "":
		return v.of(p.name), true, nil
	}
	return p.text, true, nil
}

// wanted is a value that cannot be left out.
func (p part) wanted(v values) (string, error) {
	text, given, err := p.value(v)
	if err == nil && !given {
		err = fmt.Errorf("{= %s} gives null or nothing, where the address needs text", cut(p.source, 100))
	}
	return text, err
}

func (t *template) path(v values) (string, error) {
	var b strings.Builder
	for _, p := range t.pathParts {
		if p.isText() {
			b.WriteString(p.text)
			continue
		}
		value, err := p.wanted(v)
		if err != nil {
			return "", err
		}
		if value == "" || isDots(value) {
			name := "{" + p.name + "}"
			if p.program != nil {
				name = "{= " + cut(p.source, 100) + "}"
			}
			return "", errors.New("the value of " + name + " cannot stand in a path: it is empty, or dots only")
		}
		b.WriteString(url.PathEscape(value))
	}
	path := b.String()
	for segment := range strings.SplitSeq(path, "/") {
		if isDots(segment) && slices.ContainsFunc(t.pathParts, func(p part) bool { return !p.isText() }) {
			return "", errors.New("the values make a part of the path that is dots only")
		}
	}
	return path, nil
}

// isDots: servers and proxies resolve these, even escaped, to another path.
func isDots(s string) bool { return s == "." || s == ".." }

func (t *template) queryWith(v values) (string, error) {
	if len(t.queryParts) == 0 {
		return "", nil
	}
	var b strings.Builder
	for _, p := range t.queryParts {
		switch {
		case p.pair != nil:
			text, err := pairWith(p.pair, v)
			if err != nil {
				return "", err
			}
			b.WriteString(text)
		case p.isText():
			b.WriteString(p.text)
		default:
			value, err := p.wanted(v)
			if err != nil {
				return "", err
			}
			b.WriteString(escapeQuery(value))
		}
	}
	// Parameters that were left out leave their signs behind.
	return joinQueries(strings.Split(b.String(), "&")...), nil
}

// pairWith writes a parameter; "" when it is left out.
func pairWith(parts []part, v values) (string, error) {
	var b strings.Builder
	for _, p := range parts {
		if p.isText() {
			b.WriteString(p.text)
			continue
		}
		value, given, err := p.value(v)
		if err != nil || !given {
			return "", err
		}
		b.WriteString(escapeQuery(value))
	}
	return b.String(), nil
}

// headerParts are the route's headers: placeholders and programs in their values
// are filled in, other braces are text.
func headerParts(headers map[string]string) (map[string][]part, error) {
	all := map[string][]part{}
	for name, value := range headers {
		pieces, err := mapping.Pieces(value, adapters.Variables()...)
		if err != nil {
			return nil, withContext("headers."+name, err)
		}
		for _, piece := range pieces {
			if piece.Program != nil {
				all[name] = append(all[name], part{program: piece.Program, source: piece.Source})
				continue
			}
			all[name] = append(all[name], knownPlaceholders(piece.Text)...)
		}
		if err := checkHeaders(map[string]string{name: literalOf(all[name])}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func knownPlaceholders(s string) []part {
	var parts []part
	done := 0
	for i := 0; i < len(s); i++ {
		end := strings.IndexByte(s[i:], '}')
		if s[i] != '{' || end < 0 || !isPlaceholder(s[i+1:i+end]) {
			continue
		}
		parts = append(append(parts, literal(s[done:i])...), part{name: s[i+1 : i+end]})
		i += end
		done = i + 1
	}
	return append(parts, literal(s[done:])...)
}

// setOwnHeaders sets the route's headers. One whose program gives null or nothing is
// left out.
func (r *route) setOwnHeaders(h http.Header, v values) error {
next:
	for name, parts := range r.headers {
		var b strings.Builder
		for _, p := range parts {
			value, given, err := p.value(v)
			if err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
			if !given {
				h.Del(name) // not the destination's either
				continue next
			}
			b.WriteString(value)
		}
		if !validValue(b.String()) {
			return fmt.Errorf("the value of header %s has characters that a header cannot carry", name)
		}
		h.Set(name, b.String())
	}
	return nil
}

// values are those of the message.
func (m *message) values() values {
	return values{
		externalKey: m.ExternalKey, messageID: m.ID.String, requestID: m.requestID,
		correlationID: m.CorrelationID, orderingKey: m.OrderingKey, confirmURL: m.ConfirmURL, program: m.textOf,
	}
}

// textOf runs a program of an address or a header over the payload.
func (m *message) textOf(p *mapping.Program) (text string, given bool, err error) {
	payload, err := m.decoded()
	if err != nil {
		return "", false, err
	}
	value, err := m.program(p).Eval(context.Background(), payload)
	switch value.(type) {
	case nil:
		if errors.Is(err, mapping.ErrNoOutput) {
			err = nil
		}
		return "", false, err
	case []any, map[string]any:
		return "", false, errors.New("it gives an array or an object, where text or a number is wanted")
	}
	return textOf(value), true, nil
}
