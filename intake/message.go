package intake

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
)

// The names under which Ferry keeps what Service Bus knows of a message and Ferry
// has no field for, or only a shorter form: those of the REST surface, which gives
// them back to receivers.
const (
	propMessageID       = "sb-message-id" // where the key is a hash of it
	propSessionID       = "sb-session-id"
	propCorrelationID   = "sb-correlation-id"
	propSubject         = ferry.PropertyLabel
	propTo              = ferry.PropertyTo
	propReplyTo         = ferry.PropertyReplyTo
	propReplyToSession  = ferry.PropertyReplyToSessionID
	propContentType     = "sb-content-type"
	propContentEncoding = "sb-content-encoding"
	propPartitionKey    = ferry.PropertyPartitionKey
)

const (
	maxContentType = 256 // bytes, as over HTTP
	// longestLife is what a sender may ask for over HTTP, too. The service shows
	// "no time to live" as one of hundreds of years.
	longestLife = 3650 * 24 * time.Hour
)

// arrival is a message of Service Bus on its way to becoming one of Ferry's.
type arrival struct {
	id, correlationID, sessionID string
	subject, to                  string
	replyTo, replyToSession      string
	contentType, encoding        string
	body                         []byte
	properties                   map[string]string
}

// read takes apart what was received.
func (s *source) read(m *azservicebus.ReceivedMessage) *arrival {
	a := &arrival{
		id: m.MessageID, correlationID: str(m.CorrelationID), sessionID: str(m.SessionID),
		subject: str(m.Subject), to: str(m.To), replyTo: str(m.ReplyTo), replyToSession: str(m.ReplyToSessionID),
		contentType: str(m.ContentType), properties: make(map[string]string, len(m.ApplicationProperties)),
	}
	if raw := m.RawAMQPMessage; raw != nil && raw.Properties != nil {
		// The SDK passes over ids that are no strings: JMS and others send UUIDs.
		if a.id == "" {
			a.id = textOf(raw.Properties.MessageID)
		}
		if a.correlationID == "" {
			a.correlationID = textOf(raw.Properties.CorrelationID)
		}
		a.encoding = str(raw.Properties.ContentEncoding)
	}
	for name, v := range m.ApplicationProperties {
		a.properties[valid(name)] = valid(textOf(v))
	}
	var kind string
	if a.body, kind = bodyOf(m); a.contentType == "" {
		a.contentType = kind
	}
	if s.Unwrap {
		a.unwrap()
	}
	return a
}

func str(p *string) string {
	if p == nil {
		return ""
	}
	return valid(*p)
}

// valid is text without what is not UTF-8.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// bodyOf is the payload: the bytes of the data sections, or a value as text or
// JSON; and its content type where the form says it.
func bodyOf(m *azservicebus.ReceivedMessage) (body []byte, contentType string) {
	if m.RawAMQPMessage == nil {
		return m.Body, ""
	}
	var v any
	switch b := m.RawAMQPMessage.Body; {
	case len(b.Data) == 1:
		return b.Data[0], ""
	case len(b.Data) > 1:
		return bytes.Join(b.Data, nil), ""
	case len(b.Sequence) > 0:
		list := []any{}
		for _, section := range b.Sequence {
			list = append(list, section...)
		}
		v = list
	case b.Value == nil:
		return m.Body, ""
	default:
		v = b.Value
	}
	switch v := v.(type) {
	case string: // JMS sends text so: it is the payload, and no JSON string
		return []byte(v), "text/plain; charset=utf-8"
	case []byte:
		return v, ""
	}
	text, err := jsonOf(v)
	if err != nil {
		return []byte(fmt.Sprint(v)), "text/plain; charset=utf-8"
	}
	return text, "application/json"
}

// unwrap takes a payload out of what .NET's serializer or a flow put around it.
func (a *arrival) unwrap() {
	if payload, ok := unwrapNetXML(a.body); ok {
		a.body = payload
	}
	if w, ok := unwrapContentData(a.body); ok {
		a.body = w.body
		// What the queue itself knows of the message is nearer to its sender.
		a.contentType = w.contentType // the outer one is that of the object
		if a.contentType == "" && json.Valid(a.body) {
			a.contentType = "application/json"
		}
		for _, f := range []struct {
			own   *string
			inner string
		}{
			{&a.id, w.messageID},
			{&a.correlationID, w.correlationID},
			{&a.sessionID, w.sessionID},
			{&a.subject, w.label},
			{&a.to, w.to},
			{&a.replyTo, w.replyTo},
			{&a.replyToSession, w.replyToSessionID},
		} {
			if *f.own == "" {
				*f.own = f.inner
			}
		}
		for name, value := range w.properties {
			if _, own := a.properties[name]; !own {
				a.properties[name] = value
			}
		}
	}
	if decoded, ok := unwrapBase64(a.body, a.contentType); ok {
		a.body = decoded
	}
}

// convert makes a message of Ferry's of what was received. The error is why it can
// never be taken in. Whatever the service allows in an id is allowed here.
func (s *source) convert(m *azservicebus.ReceivedMessage, now time.Time) (ferry.Message, *ferry.Error) {
	route, ok := s.broker.Route(s.Route)
	if !ok {
		return ferry.Message{}, ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", s.Route)
	}
	a := s.read(m)
	if most := route.MaxBytes; int64(len(a.body)) > most {
		return ferry.Message{}, ferry.Errorf(ferry.CodeTooLarge, "the body has %d bytes", len(a.body)).
			WithHint("route %s takes up to %d: maxBytes in the broker's configuration", s.Route, most)
	}
	if len(a.body) == 0 && !route.AllowEmpty {
		return ferry.Message{}, ferry.Errorf(ferry.CodeEmptyBody, "the body is empty").
			WithHint("route %s does not take empty bodies: allowEmpty in the broker's configuration", s.Route)
	}
	out := ferry.Message{
		Route: s.Route, Body: a.body, CreatedAt: now.UTC(), TimeToLive: lifeLeft(m, now),
		ContentType:    a.short(a.contentType, propContentType, maxContentType, func(string) string { return "" }),
		IdempotencyKey: a.key(s.Queue, m),
		CorrelationID:  a.short(a.correlationID, propCorrelationID, ferry.MaxOrderingKeyLength, hashed),
		OrderingKey:    a.short(a.sessionID, propSessionID, ferry.MaxOrderingKeyLength, hashed),
		Traceparent:    a.traceparent(),
		Sender:         ferry.Sender{Name: "servicebus:" + s.Queue, Flow: a.flow()},
		ReplyTo:        s.replyOf(a, m),
	}
	if out.CorrelationID == "" && out.Sender.Flow != nil {
		// Where a maker chose it in the trigger; else it is the run.
		if id := out.Sender.Flow.ClientTrackingID; id != out.Sender.Flow.RunID && len(id) <= ferry.MaxOrderingKeyLength {
			out.CorrelationID = id
		}
	}
	a.keep(propSubject, a.subject)
	a.keep(propTo, a.to)
	a.keep(propReplyTo, a.replyTo)
	a.keep(propReplyToSession, a.replyToSession)
	a.keep(propContentEncoding, a.encoding)
	if key := str(m.PartitionKey); key != a.sessionID {
		a.keep(propPartitionKey, key)
	}
	if len(a.properties) > 0 {
		out.Properties = a.properties
	}
	out.Version = a.version(&route)
	if fault := a.event(&out, &route); fault != nil {
		return ferry.Message{}, fault
	}
	return out, out.Validate()
}

// keep adds a property, unless the sender has one of that name.
func (a *arrival) keep(name, value string) {
	if _, own := a.properties[name]; value != "" && !own {
		a.properties[name] = value
	}
}

// short is a text that fits: itself, or what otherwise makes of it, with the whole
// in a property.
func (a *arrival) short(text, name string, most int, otherwise func(string) string) string {
	if len(text) <= most && plain(text) {
		return text
	}
	a.keep(name, text)
	return otherwise(text)
}

// hashed stands for a text that is too long, the same for the same text.
func hashed(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// key is the idempotency key: the MessageId, else what names the message in its
// queue and stays the same however often it comes. The time is part of it
// because a queue that is made anew counts from 1 again.
func (a *arrival) key(queue string, m *azservicebus.ReceivedMessage) string {
	if a.id != "" {
		if len(a.id) <= ferry.MaxKeyLength && printable(a.id) {
			return a.id
		}
		a.keep(propMessageID, a.id)
		return hashed(a.id)
	}
	if m.SequenceNumber == nil {
		return ""
	}
	key := strings.ToLower(queue) + "/" + strconv.FormatInt(*m.SequenceNumber, 10)
	if m.EnqueuedTime != nil {
		key += "@" + strconv.FormatInt(m.EnqueuedTime.UnixMilli(), 10)
	}
	if len(key) > ferry.MaxKeyLength || !printable(key) {
		return hashed(key)
	}
	return key
}

// lifeLeft is what is left of the message's time to live, 0 when it has none. The
// service gives a message at the end of its life to who has its lock.
func lifeLeft(m *azservicebus.ReceivedMessage, now time.Time) time.Duration {
	if m.TimeToLive == nil || *m.TimeToLive <= 0 || *m.TimeToLive > longestLife {
		return 0
	}
	left := *m.TimeToLive
	if m.EnqueuedTime != nil {
		left -= now.Sub(*m.EnqueuedTime)
	}
	return min(max(left, time.Millisecond), *m.TimeToLive)
}

// property finds an application property whatever its case.
func (a *arrival) property(name string) string {
	for known, value := range a.properties {
		if strings.EqualFold(known, name) {
			return value
		}
	}
	return ""
}

// flow is the lineage of a flow's run, where the flow puts the headers of its
// calls into the properties; nil otherwise.
func (a *arrival) flow() *ferry.Flow {
	return ferry.FlowOf(a.property)
}

// traceparent is the sender's W3C trace context: Azure's SDKs call it
// Diagnostic-Id. A damaged one is dropped, as its specification asks.
func (a *arrival) traceparent() string {
	for _, name := range []string{"traceparent", "Diagnostic-Id"} {
		v := a.property(name)
		if len(v) != 55 || v[2] != '-' || v[35] != '-' || v[52] != '-' || v[:2] == "ff" ||
			strings.Trim(v[3:35], "0") == "" || strings.Trim(v[36:52], "0") == "" {
			continue
		}
		if strings.Trim(strings.ReplaceAll(v, "-", ""), "0123456789abcdef") == "" && strings.Count(v, "-") == 3 {
			return v
		}
	}
	return ""
}

// plain says whether text may travel on as a header's value: UTF-8 without
// control characters.
func plain(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 }) < 0
}

func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e }) < 0
}
