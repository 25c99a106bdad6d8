package httpcall

import (
	"encoding/json"
	"html"
	"regexp"
	"slices"
	"strings"

	"ferry"
	"ferry/mapping"
)

// Bounds of what is kept of an error, in bytes.
const (
	maxCode      = 128
	maxFieldName = 256
	maxFieldText = 1 << 10
)

// Problem is what a destination says went wrong, in its own words.
type Problem struct {
	Code   string
	Text   string
	Fields []ferry.FieldError
	Trace  string // the destination's own name of the call, where the body has it
	Quoted bool   // Text is the body as it came: it holds no error in a shape that is known
}

// IsZero says whether nothing was said.
func (p Problem) IsZero() bool { return p.Code == "" && p.Text == "" && len(p.Fields) == 0 }

// DecodeProblem reads an error from an answer's body: RFC 9457, the shapes that
// are common among ERPs and web frameworks (error{code,message,details},
// errors[], errors{field:[texts]}, message, OData), or plain text. What it
// cannot read it quotes. All texts are masked and bounded.
func DecodeProblem(body []byte) Problem {
	var p Problem
	if v, err := mapping.Decode(body); err == nil {
		p.take(v, 0)
	}
	if p.Text == "" && len(p.Fields) == 0 {
		p.Text, p.Quoted = plain(body), p.Code == ""
	}
	return p.Bounded()
}

// Bounded masks and shortens what a problem says, as it has to be before it is
// kept: for readers of errors that DecodeProblem does not know.
func (p Problem) Bounded() Problem {
	p.Code = cutText(MaskText(p.Code), maxCode)
	p.Text = cutText(MaskText(p.Text), ferry.MaxAttemptText)
	p.Trace = cutText(MaskText(p.Trace), maxCorrelation)
	fields := p.Fields[:min(len(p.Fields), ferry.MaxAttemptFields)]
	p.Fields = nil
	for _, f := range fields {
		p.Fields = append(p.Fields, ferry.FieldError{Field: cutText(f.Field, maxFieldName), Text: cutText(MaskText(f.Text), maxFieldText)})
	}
	return p
}

// maxNesting is how deep an error may lie in wrappers.
const maxNesting = 6

func (p *Problem) take(v any, depth int) {
	if depth > maxNesting {
		return
	}
	switch v := v.(type) {
	case string:
		p.say(v)
	case []any:
		p.takeList(v, depth)
	case map[string]any:
		p.takeObject(v, depth)
	}
}

func (p *Problem) takeObject(o map[string]any, depth int) {
	if p.Code == "" {
		p.Code = first(o, "code", "errorCode", "error_code", "Code", "exc_type", "o:errorCode")
	}
	if p.Trace == "" {
		p.Trace = first(o, "transactionid", "traceId", "correlationId", "CorrelationId", "requestId", "request_id")
	}
	// The inner error speaks more precisely than what is wrapped around it.
	for _, name := range []string{"error", "Error", "fault"} {
		switch inner := o[name].(type) {
		case map[string]any:
			p.takeObject(inner, depth+1)
		case string:
			if described := first(o, "error_description", "message"); described != "" {
				// OAuth 2.0 and many frameworks: error is a code, the words stand beside it.
				if p.Code == "" {
					p.Code = inner
				}
			} else {
				p.say(inner)
			}
		}
	}
	if p.Text == "" {
		p.say(sentence(o))
	}
	if p.Code == "" {
		p.Code = typeCode(o)
	}
	for _, name := range []string{"errors", "Errors", "details", "violations", "errordetails", "fieldErrors", "modelState", "ModelState"} {
		p.takeFaults(o[name], depth)
	}
	if inner, ok := o["innererror"].(map[string]any); ok {
		if id := first(inner, "transactionid"); id != "" { // SAP Gateway: its transaction is found by it
			p.Trace = id
		}
		p.takeFaults(inner["errordetails"], depth)
	}
}

// sentence joins title and detail, or takes the first member that usually
// holds the words.
func sentence(o map[string]any) string {
	title, detail := first(o, "title"), first(o, "detail")
	switch {
	case title != "" && detail != "" && !strings.Contains(detail, title):
		return title + ": " + detail
	case detail != "":
		return detail
	case title != "":
		return title
	}
	if message, ok := o["message"].(map[string]any); ok { // OData V2: {lang, value}
		return first(message, "value")
	}
	return first(o, "message", "Message", "errorMessage", "error_description", "description", "faultstring", "exceptionMessage",
		"exception", "reason", "text")
}

// typeCode makes a code of RFC 9457's type: the last part of the URI.
func typeCode(o map[string]any) string {
	uri := strings.TrimRight(first(o, "type"), "/")
	if uri == "" || uri == "about:blank" || first(o, "title", "detail") == "" {
		return ""
	}
	return uri[strings.LastIndexAny(uri, "/:#")+1:]
}

// takeFaults reads a list of faults, or an object of fields.
func (p *Problem) takeFaults(v any, depth int) {
	switch v := v.(type) {
	case []any:
		p.takeList(v, depth)
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			p.field(name, joined(v[name]))
		}
	}
}

func (p *Problem) takeList(items []any, depth int) {
	if depth > maxNesting {
		return
	}
	for _, item := range items {
		switch item := item.(type) {
		case string:
			p.field("", item)
		case map[string]any:
			text := sentence(item)
			if text == "" {
				text = first(item, "msg", "error", "defaultMessage")
			}
			if p.Code == "" && p.Text == "" {
				p.Code = first(item, "code", "errorCode", "o:errorCode")
			}
			p.field(place(item), text)
		}
	}
}

// place is where a fault lies.
func place(o map[string]any) string {
	if source, ok := o["source"].(map[string]any); ok { // JSON:API
		if s := first(source, "pointer", "parameter"); s != "" {
			return s
		}
	}
	if path := joinedWith(o["loc"], "."); path != "" {
		return path
	}
	return first(o, "pointer", "field", "target", "property", "propertyName", "propertyref", "path", "name", "param", "instancePath", "o:errorPath")
}

func (p *Problem) field(name, text string) {
	switch {
	case text == "" && name == "":
	case name == "" && p.Text == "":
		p.say(text)
	case len(p.Fields) < ferry.MaxAttemptFields:
		p.Fields = append(p.Fields, ferry.FieldError{Field: name, Text: text})
	}
}

func (p *Problem) say(text string) {
	if p.Text == "" {
		p.Text = text
	}
}

// first gives the first member of those names that is text or a number.
func first(o map[string]any, names ...string) string {
	for _, name := range names {
		switch v := o[name].(type) {
		case string:
			if strings.TrimSpace(v) != "" {
				return v
			}
		case json.Number:
			return v.String()
		}
	}
	return ""
}

func joined(v any) string { return joinedWith(v, "; ") }

func joinedWith(v any, separator string) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case map[string]any:
		return sentence(v)
	case []any:
		var parts []string
		for _, item := range v[:min(len(v), ferry.MaxAttemptFields)] {
			if _, list := item.([]any); list {
				continue // one level: no destination nests further
			}
			if s := joinedWith(item, separator); s != "" {
				parts = append(parts, s)
			}
		}
		return strings.Join(parts, separator)
	}
	return ""
}

var (
	unread = regexp.MustCompile(`(?is)<(script|style|head)\b.*?</(script|style|head)>|<!--.*?-->`)
	title  = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	tags   = regexp.MustCompile(`(?s)<[^>]*>`)
	blanks = regexp.MustCompile(`\s+`)
)

// plain is the text of a body that is no JSON error; of markup the words only.
func plain(body []byte) string {
	text := strings.TrimSpace(string(body[:min(len(body), 16*ferry.MaxAttemptText)]))
	if !strings.HasPrefix(text, "<") {
		return text
	}
	heading := ""
	if m := title.FindStringSubmatch(text); m != nil {
		heading = strings.TrimSpace(m[1])
	}
	words := stripped(text)
	if heading != "" && !strings.HasPrefix(words, heading) {
		words = strings.TrimSpace(heading + ": " + words)
	}
	return html.UnescapeString(words)
}

// stripped is a text without its markup, entities still in it.
func stripped(text string) string {
	words := tags.ReplaceAllString(unread.ReplaceAllString(text, " "), " ")
	return strings.TrimSpace(blanks.ReplaceAllString(words, " "))
}

// Words are the words of a text with HTML in it, on one line.
func Words(text string) string {
	text = text[:min(len(text), 16*ferry.MaxAttemptText)]
	if !strings.ContainsAny(text, "<&") {
		return strings.TrimSpace(text)
	}
	return html.UnescapeString(stripped(text))
}
