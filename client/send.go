package client

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"ferry"
)

// Send posts one message to a route. Of m, the body, content type, keys,
// properties, times, callback URL, traceparent and OnConflict are sent; the
// broker sets the rest. The error's Existing is set when the code is
// ferry.CodeKeyReused.
func (c *Client) Send(ctx context.Context, route string, m ferry.Message) (ferry.Accepted, error) {
	body := m.Body
	if body == nil {
		body = []byte{}
	}
	req, err := c.sending(ctx, route, &m, body)
	if err != nil {
		return ferry.Accepted{}, err
	}
	var a ferry.Accepted
	err = c.patient(int64(len(body))).do(req, &a)
	return a, err
}

// sending is the request of a message.
func (c *Client) sending(ctx context.Context, route string, m *ferry.Message, body []byte) (*http.Request, error) {
	req, err := c.request(ctx, http.MethodPost, "/v1/routes/"+seg(route)+"/messages", nil, body)
	if err != nil {
		return nil, err
	}
	set := func(name, value string) {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	set("Content-Type", m.ContentType)
	if m.IdempotencyKey != "" {
		set("Idempotency-Key", quote(m.IdempotencyKey))
	}
	set("Ferry-Correlation-Id", m.CorrelationID)
	set("Ferry-Ordering-Key", m.OrderingKey)
	set("Ferry-Version", m.Version)
	set("Ferry-Deliver-At", formatTime(m.DeliverAt))
	set("Ferry-Time-To-Live", formatDuration(m.TimeToLive))
	set("Ferry-Callback-Url", m.CallbackURL)
	set("Ferry-On-Conflict", m.OnConflict)
	set("Traceparent", m.Traceparent)
	if len(m.Properties) > 0 {
		text, err := asciiJSON(m.Properties)
		if err != nil {
			return nil, err
		}
		set("Ferry-Properties", text)
	}
	return req, nil
}

// BatchAnswer is what became of a batch: one result per message, in order.
type BatchAnswer struct {
	Accepted int           `json:"accepted"`
	Refused  int           `json:"refused"`
	Items    []BatchResult `json:"items"`
}

// BatchResult is what became of one message of a batch: Err says why it was
// refused, else Accepted is the answer.
type BatchResult struct {
	Status   int // what a message sent alone would have been answered: 201, 200, 409, …
	Accepted ferry.Accepted
	Err      *ferry.Error
}

// UnmarshalJSON reads either kind of result.
func (r *BatchResult) UnmarshalJSON(data []byte) error {
	var status struct {
		Status int        `json:"status"`
		Code   ferry.Code `json:"code"`
	}
	if err := json.Unmarshal(data, &status); err != nil {
		return err
	}
	*r = BatchResult{Status: status.Status}
	if status.Code == "" {
		return json.Unmarshal(data, &r.Accepted)
	}
	var p problem
	if err := json.Unmarshal(data, &p); err != nil {
		return err
	}
	r.Err = p.err()
	return nil
}

// batchItem is one message of a batch. Bodies travel in base64, so that they
// arrive to the byte whatever they are.
type batchItem struct {
	BodyBase64     []byte            `json:"bodyBase64"`
	ContentType    string            `json:"contentType,omitempty"`
	IdempotencyKey string            `json:"idempotencyKey,omitempty"`
	CorrelationID  string            `json:"correlationId,omitempty"`
	OrderingKey    string            `json:"orderingKey,omitempty"`
	DeliverAt      string            `json:"deliverAt,omitempty"`
	TimeToLive     string            `json:"timeToLive,omitempty"`
	CallbackURL    string            `json:"callbackUrl,omitempty"`
	OnConflict     string            `json:"onConflict,omitempty"`
	Version        string            `json:"version,omitempty"`
	Properties     map[string]string `json:"properties,omitempty"`
}

// SendBatch posts up to ferry.MaxBatch messages to a route. All are accepted or
// none, unless partial: then each stands for itself. The error of a refused
// batch has the code ferry.CodeInvalid and one detail per bad message, whose
// pointer begins with its index, such as /3/idempotencyKey.
func (c *Client) SendBatch(ctx context.Context, route string, messages []ferry.Message, partial bool) (BatchAnswer, error) {
	items := make([]batchItem, len(messages))
	for i := range messages {
		m := &messages[i]
		items[i] = batchItem{
			BodyBase64: m.Body, ContentType: m.ContentType, IdempotencyKey: m.IdempotencyKey,
			CorrelationID: m.CorrelationID, OrderingKey: m.OrderingKey, DeliverAt: formatTime(m.DeliverAt),
			TimeToLive: formatDuration(m.TimeToLive), CallbackURL: m.CallbackURL, OnConflict: m.OnConflict,
			Properties: m.Properties, Version: m.Version,
		}
		if items[i].BodyBase64 == nil {
			items[i].BodyBase64 = []byte{}
		}
	}
	path := "/v1/routes/" + seg(route) + "/messages/batch"
	if partial {
		path += "?partial=true"
	}
	var a BatchAnswer
	err := c.post(ctx, path, items, &a)
	return a, err
}

// quote makes a string of RFC 8941, so that a key may begin with a quote or
// hold a backslash.
func quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return string(append(b, '"'))
}

// asciiJSON is v as JSON that may stand in a header: everything beyond ASCII
// escaped.
func asciiJSON(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	for _, r := range string(data) {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff: // two surrogates
			r -= 0x10000
			writeEscape(&b, 0xd800+r>>10)
			writeEscape(&b, 0xdc00+r&0x3ff)
		default:
			writeEscape(&b, r)
		}
	}
	return b.String(), nil
}

func writeEscape(b *bytes.Buffer, r rune) {
	const digits = "0123456789abcdef"
	b.WriteString(`\u`)
	for shift := 12; shift >= 0; shift -= 4 {
		b.WriteByte(digits[r>>shift&0xf])
	}
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func formatDuration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func itoa(n int) string { return strconv.Itoa(n) }
