package shape

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"ferry"
)

// The content types of CloudEvents over HTTP.
const (
	EventType      = "application/cloudevents+json"
	EventBatchType = "application/cloudevents-batch+json"
)

const (
	eventSpec   = "1.0"
	eventPrefix = "ce-" // of headers, and of the properties that a message gets
	maxEventKey = "ce-sha256-"
)

// Event is a CloudEvent 1.0.
type Event struct {
	Attributes map[string]string // all of them, as text, datacontenttype aside
	// ContentType of Data; of an event in JSON that has none it is application/json.
	ContentType string
	Data        []byte
}

// IsEvent says whether a content type is that of a CloudEvent with its attributes in
// the body, whatever its format.
func IsEvent(contentType string) bool { return structured(contentType) }

func structured(contentType string) bool {
	return len(contentType) >= len("application/cloudevents") && strings.EqualFold(contentType[:len("application/cloudevents")], "application/cloudevents")
}

// IsEventBatch says whether a content type is that of an array of CloudEvents.
func IsEventBatch(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType)
	return media == EventBatchType
}

// ReadEvent reads an event with its attributes in the body. Errors name what is
// missing or wrong.
func ReadEvent(contentType string, body []byte) (*Event, *ferry.Error) {
	media, params, _ := mime.ParseMediaType(contentType)
	switch {
	case media == EventBatchType:
		return nil, ferry.Errorf(ferry.CodeUnsupportedMedia, "a batch of CloudEvents is not one message").
			WithHint("post it to the route's messages/batch")
	case media != EventType:
		return nil, ferry.Errorf(ferry.CodeUnsupportedMedia, "CloudEvents of the format %q are not taken", clip(contentType)).
			WithHint("send %s", EventType)
	case !isUTF8(params["charset"]):
		return nil, ferry.Errorf(ferry.CodeUnsupportedMedia, "a CloudEvent in %s is not taken", clip(params["charset"])).WithHint("send it as UTF-8")
	}
	if _, fault := decode(body); fault != nil { // strict: no name twice, no broken text
		return nil, fault
	}
	tree, err := parseTree(body)
	if err != nil {
		return nil, ferry.Errorf(ferry.CodeBadRequest, "the body is not JSON: %s", reason(err))
	}
	return eventOf(tree)
}

func eventOf(tree *node) (*Event, *ferry.Error) {
	if tree.kind != '{' {
		return nil, ferry.Errorf(ferry.CodeBadRequest, "a CloudEvent is a JSON object")
	}
	e := &Event{Attributes: map[string]string{}}
	var data, encoded *node
	f := &eventFaults{}
	for _, m := range tree.members {
		switch {
		case m.name == "data":
			data = m.value
		case m.name == "data_base64":
			if encoded = m.value; encoded.raw == "null" {
				encoded = nil
			}
		case m.value.raw == "null": // as if it were not there
		case !attributeName(m.name):
			f.add(m.name, "cannot be the name of an attribute: small letters and digits only")
		default:
			if text, ok := attributeText(m.value); ok {
				e.Attributes[m.name] = text
			} else {
				f.add(m.name, "is neither text, a whole number, true nor false")
			}
		}
	}
	for _, name := range []string{"specversion", "id", "source", "type", "subject", "datacontenttype", "dataschema", "time"} {
		if v := tree.get(name); v != nil && v.kind != '"' && v.raw != "null" && e.Attributes[name] != "" {
			f.add(name, "is not text")
		}
	}
	f.check(e.Attributes)
	e.ContentType = e.Attributes["datacontenttype"]
	delete(e.Attributes, "datacontenttype")
	if data != nil && encoded != nil {
		f.add("data_base64", "stands beside data: one of the two")
	}
	if fault := f.fault(); fault != nil {
		return nil, fault
	}
	return e, e.take(data, encoded)
}

// take sets the event's data.
func (e *Event) take(data, encoded *node) *ferry.Error {
	if e.ContentType == "" && (data != nil || encoded != nil) {
		e.ContentType = jsonType
	}
	media, _, _ := mime.ParseMediaType(e.ContentType)
	switch {
	case encoded != nil:
		raw, err := base64.StdEncoding.DecodeString(encoded.text)
		if encoded.kind != '"' || err != nil {
			return eventFault("data_base64", "is not base64")
		}
		e.Data = raw
	case data == nil:
	case isJSON(media) || strings.HasSuffix(media, "/json"):
		e.Data = data.append(nil)
	case data.kind == '"':
		e.Data = []byte(data.text)
	default:
		return eventFault("data", "is not text, and datacontenttype says that it is no JSON")
	}
	return nil
}

// HeaderEvent reads the attributes of an event whose data is the body and whose
// attributes are headers; nil when no header speaks of one. Errors name what is
// missing or wrong.
func HeaderEvent(h http.Header) (*Event, *ferry.Error) {
	var e *Event
	f := &eventFaults{}
	for header, values := range h {
		if len(header) < 3 || header[2] != '-' || header[0] != 'C' || header[1] != 'e' {
			continue
		}
		name := strings.ToLower(header[3:])
		if e == nil {
			e = &Event{Attributes: map[string]string{}}
		}
		switch value, ok := headerText(values[0]); {
		case name == "datacontenttype":
			f.add(name, "is the header Content-Type, and no header of its own")
		case !attributeName(name):
			f.add(name, "cannot be the name of an attribute: small letters and digits only")
		case len(values) > 1:
			f.add(name, "is given more than once")
		case !ok:
			f.add(name, "is not percent-encoded UTF-8")
		case value == "" && name != "id" && name != "type" && name != "source" && name != "specversion":
			f.add(name, "is empty")
		default:
			e.Attributes[name] = value
		}
	}
	if e == nil {
		return nil, nil
	}
	f.check(e.Attributes)
	return e, f.fault()
}

// IsEventProperty says whether an application property of AMQP is an attribute of a
// CloudEvent.
func IsEventProperty(name string) bool {
	_, is := eventProperty(name)
	return is
}

func eventProperty(property string) (name string, is bool) {
	if name, is = strings.CutPrefix(property, "cloudEvents:"); !is {
		name, is = strings.CutPrefix(property, "cloudEvents_")
	}
	return name, is
}

// PropertyEvent reads the attributes of an event whose data is the body and whose
// attributes are application properties of AMQP; nil when none speaks of one.
func PropertyEvent(properties map[string]string) (*Event, *ferry.Error) {
	var e *Event
	f := &eventFaults{}
	for property, value := range properties {
		name, is := eventProperty(property)
		if !is {
			continue
		}
		if e == nil {
			e = &Event{Attributes: map[string]string{}}
		}
		switch {
		case name == "datacontenttype": // the content type of the message says it
		case !attributeName(name):
			f.add(name, "cannot be the name of an attribute: small letters and digits only")
		default:
			e.Attributes[name] = value
		}
	}
	if e == nil {
		return nil, nil
	}
	f.check(e.Attributes)
	return e, f.fault()
}

// headerText undoes quotes and one round of percent-encoding.
func headerText(s string) (string, bool) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		var b strings.Builder
		for i := 1; i < len(s)-1; i++ {
			if s[i] == '\\' && i+1 < len(s)-1 {
				i++
			}
			b.WriteByte(s[i])
		}
		s = b.String()
	}
	text, err := url.PathUnescape(s)
	return text, err == nil && utf8.ValidString(text)
}

func attributeName(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 100
}

// attributeText is an attribute's value in the canonical text of its type.
func attributeText(v *node) (string, bool) {
	switch {
	case v.kind == '"':
		return v.text, true
	case v.kind != 0:
		return "", false
	case v.raw == "true" || v.raw == "false":
		return v.raw, true
	default:
		return v.raw, !strings.ContainsAny(v.raw, ".eE")
	}
}

// eventFaults gathers what is wrong with an event, by attribute.
type eventFaults struct {
	list []ferry.ErrorDetail
}

func (f *eventFaults) add(name, what string) {
	f.list = append(f.list, ferry.ErrorDetail{Pointer: "/" + shorten(escape(name)), Detail: what})
}

// check holds the attributes that the specification knows to it.
func (f *eventFaults) check(a map[string]string) {
	for _, name := range []string{"specversion", "id", "source", "type"} {
		if a[name] == "" && !f.has(name) {
			f.add(name, "is missing")
		}
	}
	if v := a["specversion"]; v != "" && v != eventSpec {
		f.add("specversion", "is not "+eventSpec+", the one that is taken")
	}
	if v, given := a["source"]; given && v != "" && !isReference(v) {
		f.add("source", "is no URI, nor a reference to one")
	}
	if v, given := a["dataschema"]; given {
		if u, err := url.Parse(v); err != nil || !u.IsAbs() {
			f.add("dataschema", "is no absolute URI")
		}
	}
	if v, given := a["subject"]; given && v == "" {
		f.add("subject", "is empty: leave it out")
	}
	if v, given := a["time"]; given {
		if _, err := time.Parse(time.RFC3339Nano, strings.ToUpper(v)); err != nil {
			f.add("time", "is no time with an offset (RFC 3339)")
		}
	}
	if v, given := a["datacontenttype"]; given {
		if media, _, err := mime.ParseMediaType(v); err != nil || !strings.Contains(media, "/") {
			f.add("datacontenttype", "is no content type")
		}
	}
	for name, v := range a {
		if strings.IndexFunc(v, isControl) >= 0 {
			f.add(name, "has control characters")
		}
	}
}

func isReference(s string) bool {
	_, err := url.Parse(s)
	return err == nil && !strings.ContainsAny(s, " <>\"{}|\\^`")
}

func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }

func (f *eventFaults) has(name string) bool {
	return slices.ContainsFunc(f.list, func(d ferry.ErrorDetail) bool { return d.Pointer == "/"+name })
}

// fault is one error that names them all.
func (f *eventFaults) fault() *ferry.Error {
	if len(f.list) == 0 {
		return nil
	}
	slices.SortFunc(f.list, func(a, b ferry.ErrorDetail) int { return strings.Compare(a.Pointer, b.Pointer) })
	words := make([]string, 0, len(f.list))
	for _, d := range f.list[:min(len(f.list), 10)] {
		words = append(words, d.Pointer[1:]+" "+d.Detail)
	}
	e := ferry.Errorf(ferry.CodeBadRequest, "this is no CloudEvent %s: %s", eventSpec, strings.Join(words, "; "))
	e.Details = f.list[:min(len(f.list), 100)]
	return e.WithHint("specversion, id, source and type are what every CloudEvent has")
}

func eventFault(name, what string) *ferry.Error {
	f := &eventFaults{}
	f.add(name, what)
	return f.fault()
}

// Key is the idempotency key that id and source make together: the source, a space
// (which no source has) and the id. One that is longer than a key may be, or has
// other characters than a key may have, is made of their hash.
func (e *Event) Key() string {
	key := e.Attributes["source"] + " " + e.Attributes["id"]
	plain := len(key) <= ferry.MaxKeyLength
	for i := 0; plain && i < len(key); i++ {
		plain = key[i] >= 0x20 && key[i] <= 0x7e
	}
	if plain {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return maxEventKey + hex.EncodeToString(sum[:])
}

// Describe puts what the event's attributes say into a message: the key, unless the
// sender gave one, the properties ce-NAME, the content type of the data and the
// trace. A property that the sender gave by itself stays.
func (e *Event) Describe(m *ferry.Message) *ferry.Error {
	properties := make(map[string]string, len(m.Properties)+len(e.Attributes))
	for name, value := range e.Attributes {
		properties[eventPrefix+name] = value
	}
	for name, value := range m.Properties {
		properties[name] = value
	}
	m.Properties = properties
	if m.IdempotencyKey == "" {
		m.IdempotencyKey = e.Key()
	}
	if t := e.Attributes["traceparent"]; m.Traceparent == "" && validTrace(t) {
		m.Traceparent = t
	}
	m.ContentType = e.ContentType
	if len(m.ContentType) > 256 {
		return eventFault("datacontenttype", "is longer than 256 bytes")
	}
	return m.Validate()
}

func validTrace(v string) bool {
	if len(v) != 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || v[:2] == "ff" ||
		v[3:35] == strings.Repeat("0", 32) || v[36:52] == strings.Repeat("0", 16) {
		return false
	}
	for i := 0; i < len(v); i++ {
		c := v[i]
		if i != 2 && i != 35 && i != 52 && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
