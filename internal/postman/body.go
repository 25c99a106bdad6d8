package postman

import (
	"encoding/json"
	"regexp"
	"strings"
)

// body reads what the request sends. Of an example only its form counts.
func (r *reader) body(q *Request, b *rawBody) {
	if b == nil || b.Disabled || b.Mode == "" || b.Mode == "none" {
		return
	}
	switch b.Mode {
	case "raw":
	case "file":
		if q.ContentType == "" {
			q.note("it sends a file: contentType is the sender's, or contentType:")
		}
		return
	case "urlencoded":
		q.Unsupported = "it sends a form (urlencoded), which is not supported"
		return
	case "formdata":
		q.Unsupported = "it sends a form (multipart), which is not supported"
		return
	default:
		q.Unsupported = "it sends " + cut(b.Mode, 30) + ", which is not supported"
		return
	}
	language := b.Options.Raw.Language
	if q.ContentType == "" && language == "xml" {
		q.ContentType = "application/xml"
	}
	looksLikeJSON := strings.HasPrefix(strings.TrimSpace(b.Raw), "{") || strings.HasPrefix(strings.TrimSpace(b.Raw), "[")
	if language != "json" && !strings.Contains(strings.ToLower(q.ContentType), "json") && (language != "" && language != "text" || q.ContentType != "" || !looksLikeJSON) {
		return
	}
	q.IsJSON = true
	value, ok := r.example(b.Raw)
	if !ok {
		q.note("the body of the example is no JSON, so that no map was made of it")
	}
	q.Body = value
}

// open is a variable without a value.
var open = regexp.MustCompile(`\{\{[^{}]*\}\}`)

// example reads JSON in which variables may stand, within texts and for values.
func (r *reader) example(text string) (any, bool) {
	if len(text) > MaxBytes {
		return nil, false
	}
	// The form of a value counts, not the value: 0 may stand in a text and for a number.
	text = open.ReplaceAllString(text, "0")
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		return nil, false
	}
	return value, true
}

// answer is the JSON of the first example of a success.
func (r *reader) answer(list []json.RawMessage) any {
	for _, data := range list {
		var example struct {
			Code int    `json:"code"`
			Body string `json:"body"`
		}
		if json.Unmarshal(data, &example) != nil || example.Code < 200 || example.Code > 299 {
			continue
		}
		if value, ok := r.example(example.Body); ok {
			return value
		}
	}
	return nil
}
