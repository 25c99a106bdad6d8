package shape

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ferry"
)

// The types of the events that tell of messages.
const (
	TypePending      = "ferry.message.pending"
	TypeCompleted    = "ferry.message.completed"
	TypeDeadLettered = "ferry.message.deadLettered"
	TypeDiscarded    = "ferry.message.discarded"
)

// CloudEvent gives an envelope as a CloudEvent 1.0 in JSON: what became of a message.
// data is the envelope as the surface writes it; publicURL is where the broker is reached; the event's source is the message's route
// there, its subject the message's id. The same end of the same message has the same
// id of the event, however often it is told.
func CloudEvent(e *ferry.Envelope, publicURL string, data []byte) ([]byte, error) {
	kind := TypePending
	switch e.State {
	case ferry.StateCompleted:
		kind = TypeCompleted
	case ferry.StateDeadLettered:
		kind = TypeDeadLettered
	case ferry.StateDiscarded:
		kind = TypeDiscarded
	}
	out := &Event{ContentType: jsonType, Data: data, Attributes: map[string]string{
		"specversion": eventSpec,
		"type":        kind,
		"source":      strings.TrimRight(publicURL, "/") + "/v1/routes/" + e.Route,
		"id":          e.ID.String() + "/" + strconv.Itoa(e.Generation) + "/" + string(e.State),
		"subject":     e.ID.String(),
		"time":        e.UpdatedAt.UTC().Format(time.RFC3339Nano),
	}}
	if e.CorrelationID != "" {
		out.Attributes["correlationid"] = e.CorrelationID
	}
	return out.JSON()
}

// JSON is the event with its attributes in the body, those that the specification
// names first. Data that its content type says to be JSON stands there as it is,
// other data as text when it is UTF-8, else in base64.
func (e *Event) JSON() ([]byte, error) {
	b := append(make([]byte, 0, 512+len(e.Data)), '{')
	for i, name := range e.names() {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(appendText(b, name), ':'), e.Attributes[name])
	}
	if e.ContentType != "" {
		b = appendText(append(b, `,"datacontenttype":`...), e.ContentType)
	}
	media, _, _ := mime.ParseMediaType(e.ContentType)
	switch {
	case len(e.Data) == 0:
	case e.ContentType == "" || isJSON(media) || strings.HasSuffix(media, "/json"):
		if !json.Valid(e.Data) {
			return nil, ferry.Errorf(ferry.CodeInvalid, "the data of the event is not JSON, and its content type says so")
		}
		b = append(append(b, `,"data":`...), bytes.TrimSpace(e.Data)...)
	case utf8.Valid(e.Data):
		b = appendText(append(b, `,"data":`...), string(e.Data))
	default:
		b = append(b, `,"data_base64":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, e.Data), '"')
	}
	return append(b, '}'), nil
}

// names are those of the attributes, in the order in which they are written.
func (e *Event) names() []string {
	order := []string{"specversion", "type", "source", "id", "subject", "time"}
	names := slices.DeleteFunc(slices.Clone(order), func(name string) bool { _, given := e.Attributes[name]; return !given })
	for _, name := range slices.Sorted(maps.Keys(e.Attributes)) {
		if !slices.Contains(order, name) {
			names = append(names, name)
		}
	}
	return names
}

// Header are the event's attributes as headers, for a request whose body is the
// data and whose Content-Type is that of the data.
func (e *Event) Header() http.Header {
	h := http.Header{}
	for name, value := range e.Attributes {
		h.Set(eventPrefix+name, percentEncode(value))
	}
	return h
}

// percentEncode writes an attribute for a header: what is no printable ASCII, a
// space, a quote and the percent sign itself are escaped.
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c > 0x20 && c < 0x7f && c != '"' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// Outgoing makes the event that a worker sends of a message. What came as a
// CloudEvent goes on as that event; of any other message the id is the key that the
// destination knows it by, and source and kind stand for what it does not bring.
func Outgoing(h *ferry.HandOut, source, kind, contentType string, data []byte) *Event {
	e := &Event{ContentType: contentType, Data: data, Attributes: map[string]string{
		"specversion": eventSpec, "type": kind, "source": source, "id": h.ExternalKey,
		"time": h.CreatedAt.UTC().Format(time.RFC3339Nano),
	}}
	for property, value := range h.Properties {
		name, ours := strings.CutPrefix(property, eventPrefix)
		if ours && attributeName(name) && name != "id" && name != "specversion" && value != "" {
			e.Attributes[name] = value
		}
	}
	came := Event{Attributes: map[string]string{"source": e.Attributes["source"], "id": h.Properties[eventPrefix+"id"]}}
	if came.Attributes["id"] != "" && came.Key() == h.ExternalKey {
		e.Attributes["id"] = came.Attributes["id"]
	}
	return e
}
