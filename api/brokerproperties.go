package api

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"ferry"
)

// brokerHeader carries what belongs to a message beside its body, as JSON. It is
// written as Service Bus writes it; net/http reads it in its canonical form.
const (
	brokerHeader     = "BrokerProperties"
	brokerHeaderRead = "Brokerproperties"
)

// maxBrokerProperties bounds them, bytes.
const maxBrokerProperties = 32 << 10

// text is a JSON string; some senders write numbers in their place.
type text struct {
	text  string
	given bool
}

// UnmarshalJSON takes a string, or a number as it stands.
func (t *text) UnmarshalJSON(data []byte) error {
	switch {
	case string(data) == "null":
		return nil
	case data[0] == '"':
		t.given = true
		return json.Unmarshal(data, &t.text)
	case data[0] == '-' || data[0] >= '0' && data[0] <= '9':
		t.text, t.given = string(data), true
		return nil
	}
	return ferry.Errorf(ferry.CodeBadRequest, "a broker property is not a string")
}

// brokerProperties are those that mean something here; others are ignored, as
// Service Bus does it.
type brokerProperties struct {
	MessageID        text `json:"MessageId"`
	SessionID        text `json:"SessionId"`
	CorrelationID    text `json:"CorrelationId"`
	Label            text
	Subject          text // its newer name
	To               text
	ReplyTo          text
	ReplyToSessionID text `json:"ReplyToSessionId"`
	PartitionKey     text
	ContentType      text // in a batch
	Scheduled        text `json:"ScheduledEnqueueTimeUtc"`
	TimeToLive       text // seconds
	TimeSpan         text `json:"TimeToLiveTimeSpan"` // in a batch: days.hours:minutes:seconds
}

// readBrokerHeader reads the header; absent is empty.
func readBrokerHeader(h http.Header) (p brokerProperties, fault *ferry.Error) {
	values := h[brokerHeaderRead]
	if len(values) == 0 {
		return p, nil
	}
	if len(values) > 1 {
		return p, ferry.Errorf(ferry.CodeBadRequest, "the header BrokerProperties is given twice")
	}
	return readBrokerProperties([]byte(values[0]))
}

func readBrokerProperties(data []byte) (p brokerProperties, fault *ferry.Error) {
	if len(data) > maxBrokerProperties {
		return p, ferry.Errorf(ferry.CodeTooManyProperties, "the BrokerProperties have %d bytes", len(data)).
			WithHint("at most %d", maxBrokerProperties)
	}
	if err := json.Unmarshal(data, &p); err != nil {
		return p, ferry.Errorf(ferry.CodeBadRequest, "the BrokerProperties are not a JSON object of strings and numbers").
			WithHint(`such as {"MessageId":"INV-1","TimeToLive":3600}`)
	}
	return p, nil
}

// apply checks them and puts them into m, whose Route, CreatedAt, Properties and
// OnConflict are set. The second result names the one that is wrong.
func (p *brokerProperties) apply(m *ferry.Message, route *ferry.Route) (*ferry.Error, string) {
	session, partition := p.SessionID.text, p.PartitionKey.text
	if session != "" && partition != "" && session != partition {
		return ferry.Errorf(ferry.CodeBadRequest, "SessionId and PartitionKey differ").
			WithHint("give one of them, or both alike"), "PartitionKey"
	}
	for name, value := range map[string]string{
		ferry.PropertyLabel: firstOf(p.Label.text, p.Subject.text), ferry.PropertyTo: p.To.text, ferry.PropertyReplyTo: p.ReplyTo.text,
		ferry.PropertyReplyToSessionID: p.ReplyToSessionID.text, ferry.PropertyPartitionKey: partition,
	} {
		if value == "" {
			continue
		}
		if m.Properties == nil {
			m.Properties = map[string]string{}
		}
		m.Properties[name] = value
	}
	if fault := checkProperties(m.Properties); fault != nil {
		return fault, "UserProperties"
	}
	life, fault := p.life()
	if fault != nil {
		return fault, "TimeToLive"
	}
	options := rawOptions{key: p.MessageID.text, keyGiven: p.MessageID.text != "", correlationID: p.CorrelationID.text, orderingKey: session, onConflict: m.OnConflict}
	if p.Scheduled.text != "" {
		at, fault := p.scheduled()
		if fault != nil {
			return fault, "ScheduledEnqueueTimeUtc"
		}
		if wait := at.Sub(m.CreatedAt); wait > 0 {
			options.deliverAt = at.Format(time.RFC3339Nano)
			if life > 0 { // there it counts from that time on
				life += wait
			}
		}
	}
	if life > 0 {
		options.timeToLive = min(life, maxTimeToLive).String()
	}
	return options.apply(m, route)
}

// life is the time to live, 0 for the route's own: also for the one that means
// "for ever" there.
func (p *brokerProperties) life() (time.Duration, *ferry.Error) {
	var d time.Duration
	switch {
	case p.TimeToLive.text != "":
		seconds, err := strconv.ParseFloat(p.TimeToLive.text, 64)
		if err != nil || math.IsNaN(seconds) || seconds <= 0 {
			return 0, badLife(p.TimeToLive.text)
		}
		if seconds > maxTimeToLive.Seconds() {
			return 0, nil
		}
		d = time.Duration(seconds * float64(time.Second))
	case p.TimeSpan.text != "":
		var ok bool
		if d, ok = parseTimeSpan(p.TimeSpan.text); !ok {
			return 0, badLife(p.TimeSpan.text)
		}
		if d > maxTimeToLive {
			return 0, nil
		}
	default:
		return 0, nil
	}
	return max(d, time.Millisecond), nil
}

func badLife(value string) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadDuration, "the time to live %q cannot be read", clip(value)).
		WithHint("TimeToLive is a number of seconds above 0, TimeToLiveTimeSpan such as 0.00:00:40")
}

// parseTimeSpan reads a TimeSpan of .NET above zero: [d.]hh:mm:ss[.fffffff].
func parseTimeSpan(s string) (time.Duration, bool) {
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, false
	}
	days, hours, found := strings.Cut(parts[0], ".")
	if !found {
		days, hours = "0", parts[0]
	}
	seconds, fraction, _ := strings.Cut(parts[2], ".")
	total := int64(0)
	for _, u := range []struct {
		text string
		most int64
		unit int64 // seconds
	}{{days, 20_000_000, 86_400}, {hours, 23, 3600}, {parts[1], 59, 60}, {seconds, 59, 1}} {
		n, err := strconv.ParseUint(u.text, 10, 32)
		if err != nil || int64(n) > u.most {
			return 0, false
		}
		total += int64(n) * u.unit
	}
	if total > int64(maxTimeToLive/time.Second) {
		return maxTimeToLive + 1, true
	}
	d := time.Duration(total) * time.Second
	if fraction != "" {
		n, err := strconv.ParseUint(fraction, 10, 32)
		if err != nil || len(fraction) > 7 {
			return 0, false
		}
		d += time.Duration(n) * time.Duration(math.Pow10(9-len(fraction)))
	}
	return d, d > 0
}

// scheduled reads the time of RFC 1123 that Service Bus documents, and RFC 3339. A
// time before 1970 is .NET's "none".
func (p *brokerProperties) scheduled() (time.Time, *ferry.Error) {
	at, err := http.ParseTime(p.Scheduled.text)
	if err != nil {
		at, err = time.Parse(time.RFC3339, p.Scheduled.text)
	}
	if err != nil || at.Year() > 9999 {
		return time.Time{}, ferry.Errorf(ferry.CodeBadTime, "ScheduledEnqueueTimeUtc %q is not a time", clip(p.Scheduled.text)).
			WithHint("write it as Mon, 23 Nov 2026 09:30:00 GMT")
	}
	return at.UTC(), nil
}

// formatBrokerProperties tells a receiver what belongs to its message. The text is
// ASCII, as a header must be.
func formatBrokerProperties(m *ferry.Received) string {
	out := map[string]any{
		"MessageId": firstOf(m.IdempotencyKey, m.ID.String()), "SequenceNumber": m.Sequence, "EnqueuedSequenceNumber": m.Sequence,
		"DeliveryCount": m.Deliveries, "EnqueuedTimeUtc": m.CreatedAt.Format(http.TimeFormat), "State": "Active",
	}
	for name, value := range map[string]string{
		"CorrelationId": m.CorrelationID, "SessionId": m.OrderingKey, "ContentType": m.ContentType,
		"Label": m.Properties[ferry.PropertyLabel], "To": m.Properties[ferry.PropertyTo], "ReplyTo": m.Properties[ferry.PropertyReplyTo],
		"ReplyToSessionId": m.Properties[ferry.PropertyReplyToSessionID], "PartitionKey": m.Properties[ferry.PropertyPartitionKey],
	} {
		if value != "" {
			out[name] = value
		}
	}
	if !m.Lock.IsZero() {
		out["LockToken"], out["LockedUntilUtc"] = m.Lock.String(), m.LockedUntil.UTC().Format(http.TimeFormat)
	}
	if !m.ExpiresAt.IsZero() {
		out["TimeToLive"] = m.ExpiresAt.Sub(m.CreatedAt).Seconds()
	}
	if !m.DeliverAt.IsZero() {
		out["ScheduledEnqueueTimeUtc"] = m.DeliverAt.UTC().Format(http.TimeFormat)
	}
	return asciiJSON(out)
}

// asciiJSON encodes v with every other character escaped.
func asciiJSON(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return "{}" // strings and numbers always can
	}
	var b strings.Builder
	for _, r := range string(data) {
		switch {
		case r < utf8.RuneSelf && r != 0x7f:
			b.WriteByte(byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// headerProperties makes custom properties of the sender's own headers. Names come
// in lower case, because headers have no case; a string in quotes is its text.
func headerProperties(h http.Header) map[string]string {
	var props map[string]string
	for name, values := range h {
		lower := strings.ToLower(name)
		if len(values) == 0 || !ownHeader(lower) {
			continue
		}
		if props == nil {
			props = map[string]string{}
		}
		texts := make([]string, len(values))
		for i, v := range values {
			texts[i] = unquoted(v)
		}
		props[lower] = strings.Join(texts, ", ")
	}
	return props
}

func unquoted(v string) string {
	var s string
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' && json.Unmarshal([]byte(v), &s) == nil {
		return s
	}
	return v
}

// writeProperties gives a receiver the custom properties as headers, their text in
// quotes. What cannot be a header of its own is in Ferry-Properties.
func writeProperties(h http.Header, props map[string]string) {
	rest := map[string]string{}
	for name, value := range props {
		switch {
		case strings.HasPrefix(name, "sb-") && slices.Contains([]string{
			ferry.PropertyLabel, ferry.PropertyTo, ferry.PropertyReplyTo, ferry.PropertyReplyToSessionID, ferry.PropertyPartitionKey,
		}, name):
		case ownHeader(strings.ToLower(name)) && h[name] == nil:
			h[name] = []string{asciiJSON(value)}
		default:
			rest[name] = value
		}
	}
	if len(rest) > 0 {
		h[propertiesHeader] = []string{asciiJSON(rest)}
	}
}

// ownHeader says whether a header, its name in lower case, is the sender's own: no
// standard one, and none that a proxy or a platform on the way adds.
func ownHeader(name string) bool {
	for _, prefix := range []string{
		"accept", "access-control-", "cf-", "content-", "if-", "proxy-", "sec-", "ferry-", "ocp-apim-", "cross-origin-",
		"x-forwarded", "x-ms-", "x-arr-", "x-azure-", "x-original-", "x-envoy-", "x-amz", "x-b3-", "x-waws-", "x-site-", "x-client-", "x-content-", "x-frame-",
	} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return !slices.Contains([]string{
		"age", "allow", "alt-svc", "authorization", "baggage", "brokerproperties", "cache-control", "cdn-loop", "clear-site-data", "client-ip",
		"connection", "cookie", "correlation-context", "date", "disguised-host", "dnt", "early-data", "etag", "expect", "expires", "forwarded",
		"from", "host", "http2-settings", "idempotency-key", "keep-alive", "last-modified", "link", "location", "max-forwards", "origin",
		"pragma", "range", "referer", "refresh", "request-id", "retry-after", "server", "set-cookie", "set-cookie2", "strict-transport-security",
		"te", "traceparent", "tracestate", "trailer", "transfer-encoding", "true-client-ip", "upgrade", "upgrade-insecure-requests",
		"user-agent", "vary", "via", "warning", "was-default-hostname", "www-authenticate", "x-correlation-id", "x-real-ip", "x-request-id",
	}, name)
}
