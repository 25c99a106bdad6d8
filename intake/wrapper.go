package intake

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"mime"
	"strings"
	"unicode/utf8"
)

// The standard connector takes a message as a JSON object with the payload as
// base64 in ContentData, and puts the decoded payload into the queue. Flows that do
// its work by hand, or hand on what its trigger gave them, put that object itself
// into the queue, or the base64 alone. What is taken out here is what cannot
// be anything else; every other body stays as it is.

// wrapper is a message of the connector that was found in a body.
type wrapper struct {
	body        []byte
	contentType string
	properties  map[string]string

	messageID, correlationID, sessionID, label string
	to, replyTo, replyToSessionID              string
}

// unwrapContentData reads a message of the connector. ok is false unless the body
// is an object with no other members than such a message has, each once, of which
// ContentData is base64. Where nothing else in it says that it is base64, it must
// also be that of text.
func unwrapContentData(body []byte) (w wrapper, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return w, false
	}
	var data, encoding string
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		name, isName := t.(string)
		name = strings.ToLower(name)
		if err != nil || !isName || seen[name] {
			return w, false
		}
		seen[name] = true
		if !w.member(dec, name, &data, &encoding) {
			return w, false
		}
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('}') {
		return w, false
	}
	if _, err := dec.Token(); err != io.EOF || data == "" {
		return w, false
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(data)
	if err != nil {
		return w, false
	}
	w.body = decoded
	said := w.contentType != "" || strings.EqualFold(encoding, "base64")
	return w, said || isText(decoded)
}

// member reads one member's value; false: no message of the connector has it.
func (w *wrapper) member(dec *json.Decoder, name string, data, encoding *string) bool {
	text := map[string]*string{
		"contentdata": data, "contenttransferencoding": encoding, "contenttype": &w.contentType,
		"messageid": &w.messageID, "correlationid": &w.correlationID, "sessionid": &w.sessionID, "label": &w.label,
		"to": &w.to, "replyto": &w.replyTo, "replytosessionid": &w.replyToSessionID,
	}[name]
	switch {
	case text != nil:
		return dec.Decode(text) == nil // null leaves it empty
	case name == "properties":
		var values map[string]json.RawMessage
		return dec.Decode(&values) == nil && w.setProperties(values)
	case name == "sequencenumber", name == "locktoken", name == "timetolive", name == "scheduledenqueuetimeutc":
		// Of the message that a trigger had in its hands, not of this one.
		var any json.RawMessage
		return dec.Decode(&any) == nil
	}
	return false
}

// setProperties takes properties as text: the connector has no others, but those
// who write its object by hand write numbers, too.
func (w *wrapper) setProperties(values map[string]json.RawMessage) bool {
	w.properties = make(map[string]string, len(values))
	for key, raw := range values {
		text := string(raw)
		switch raw[0] {
		case '{', '[':
			return false
		case '"':
			if json.Unmarshal(raw, &text) != nil {
				return false
			}
		case 'n':
			text = ""
		}
		w.properties[key] = text
	}
	return true
}

// isText says whether b is UTF-8 without control characters but those of lines.
func isText(b []byte) bool {
	return utf8.Valid(b) && bytes.IndexFunc(b, func(r rune) bool {
		return r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
	}) < 0
}

// unwrapBase64 decodes a body that says it is JSON or XML and is not, being the
// base64 of such a document.
func unwrapBase64(body []byte, contentType string) (decoded []byte, ok bool) {
	kind, _, _ := mime.ParseMediaType(contentType)
	var fits func([]byte) bool
	switch {
	case kind == "application/json", kind == "text/json", strings.HasSuffix(kind, "+json"):
		fits = func(b []byte) bool { return (b[0] == '{' || b[0] == '[') && json.Valid(b) }
	case kind == "application/xml", kind == "text/xml", strings.HasSuffix(kind, "+xml"):
		fits = func(b []byte) bool { return b[0] == '<' && b[len(b)-1] == '>' && utf8.Valid(b) }
	default:
		return nil, false
	}
	body = bytes.TrimSpace(body)
	if len(body) < 4 || bytes.IndexByte([]byte(`{["<`), body[0]) >= 0 {
		return nil, false // what it says it is, most likely, and no base64 surely
	}
	decoded = make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, err := base64.StdEncoding.Strict().Decode(decoded, body)
	decoded = decoded[:n]
	// A number is JSON, and base64 as well.
	if inner := bytes.TrimSpace(decoded); err != nil || len(inner) == 0 || !fits(inner) || json.Valid(body) {
		return nil, false
	}
	return decoded, true
}
