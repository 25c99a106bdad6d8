package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/api"
)

// fakeLock is the lock of every message that the fake gives.
var fakeLock = ferry.NewID(now)

// Receive gives the first message of the route that nobody completed; nothing is
// locked.
func (f *fake) Receive(ctx context.Context, route, by string, wait time.Duration, remove bool) (*ferry.Received, error) {
	f.note("receive %s by=%s wait=%s remove=%t", route, by, wait, remove)
	for _, id := range f.order {
		h := f.messages[id]
		if h.msg.Route != route || h.envelope.State == ferry.StateCompleted {
			continue
		}
		m := h.msg
		got := &ferry.Received{
			ID: id, Route: route, Sequence: 7, Revision: 1, Deliveries: 2, Doubt: true, Body: ferry.BodyReader{ReadSeekCloser: ferry.NewBodyReader(m.Body), Size: int64(len(m.Body))},
			IdempotencyKey: m.IdempotencyKey, CorrelationID: m.CorrelationID, OrderingKey: m.OrderingKey, ContentType: m.ContentType,
			Properties: m.Properties, CreatedAt: now.UTC(), ExpiresAt: now.UTC().Add(time.Hour), Lock: fakeLock, LockedUntil: now.Add(time.Minute),
			Traceparent: m.Traceparent, Tracestate: m.Tracestate,
		}
		if remove {
			h.envelope.State, got.Lock, got.LockedUntil = ferry.StateCompleted, ferry.ID{}, time.Time{}
		}
		return got, f.err
	}
	if f.err != nil || wait == 0 {
		return nil, f.err
	}
	if route == "orders" { // one that waits
		<-ctx.Done()
	}
	return nil, ctx.Err()
}

func (f *fake) SettleLock(_ context.Context, s ferry.LockSettle) (time.Time, error) {
	f.note("%s %s %s by=%s reference=%q result=%s code=%q text=%q", s.Do, s.Route, s.Message, s.By, s.Reference, s.Result, s.Code, s.Text)
	if s.Lock != fakeLock {
		return time.Time{}, ferry.Errorf(ferry.CodeLockLost, "there is no such lock")
	}
	return now.Add(2 * time.Minute), f.err
}

// serviceBus makes every call of Service Bus once.
func (s *surface) serviceBus() {
	s.t.Helper()
	const queue = "/invoices/messages"
	for _, c := range []struct {
		key, method, target, body string
		want                      int
	}{
		{"sender-key", http.MethodPost, queue, `{"n":1}`, 201},
		{"receiver-key", http.MethodPost, queue + "/head?timeout=1", "", 201},
		{"receiver-key", http.MethodDelete, queue + "/head", "", 200},
		{"receiver-key", http.MethodPost, queue + "/1/" + fakeLock.String(), "", 200},
		{"receiver-key", http.MethodPut, queue + "/1/" + fakeLock.String(), "", 200},
		{"receiver-key", http.MethodDelete, queue + "/1/" + fakeLock.String() + "?reference=DOC-1", "", 200},
	} {
		if a := s.call(c.key, c.method, c.target, c.body); a.StatusCode != c.want {
			s.t.Errorf("%s %s: %d %s", c.method, c.target, a.StatusCode, a.body)
		}
	}
}

func TestSendToQueue(t *testing.T) {
	at := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for name, c := range map[string]struct {
		header []string
		want   ferry.Message
	}{
		"nothing": {nil, ferry.Message{}},
		"all": {
			[]string{
				`BrokerProperties: {"TimeToLive":40,"CorrelationId":"case-7","Label":"L","MessageId":"INV-1","SessionId":"s","PartitionKey":"s",` +
					`"ReplyTo":"r","ReplyToSessionId":"rs","To":"t","ViaPartitionKey":"v","ForcePersistence":true,"Unknown":{"a":[1]}}`,
				"Content-Type: application/atom+xml;type=entry;charset=utf-8", "Priority: \"High\"", "Customer: 12345,ABC", `Quoted: "a\"b\u00e4"`, "Number: 7", `Half: "x`,
			},
			ferry.Message{
				ContentType: "application/atom+xml;type=entry;charset=utf-8", IdempotencyKey: "INV-1", OrderingKey: "s", CorrelationID: "case-7", TimeToLive: 40 * time.Second,
				Properties: map[string]string{
					"sb-label": "L", "sb-reply-to": "r", "sb-reply-to-session-id": "rs", "sb-to": "t", "sb-partition-key": "s",
					"priority": "High", "customer": "12345,ABC", "quoted": `a"bä`, "number": "7", "half": `"x`,
				},
			},
		},
		"standard and hop headers": {
			[]string{
				"Accept: */*", "User-Agent: x", "X-Forwarded-For: 1.2.3.4", "Via: 1.1 p", "Cookie: a=b", "X-Ms-Retrypolicy: NoRetry", "Ocp-Apim-Trace: 1",
				"X-Request-Id: 1", "Forwarded: for=1", "Cf-Ray: 1", "Ferry-Something: 1", "Expect: 100-continue", "Mine: yes",
			},
			ferry.Message{Properties: map[string]string{"mine": "yes"}},
		},
		"numbers for names":   {[]string{`BrokerProperties: {"MessageId":42,"Label":null,"TimeToLive":"1.5"}`}, ferry.Message{IdempotencyKey: "42", TimeToLive: 1500 * time.Millisecond}},
		"for ever":            {[]string{`BrokerProperties: {"TimeToLive":922337203685.47754}`}, ferry.Message{}},
		"a key as a header":   {[]string{`Idempotency-Key: "K"`, `BrokerProperties: {"MessageId":"K"}`}, ferry.Message{IdempotencyKey: "K"}},
		"partition key alone": {[]string{`BrokerProperties: {"PartitionKey":"p"}`}, ferry.Message{Properties: map[string]string{"sb-partition-key": "p"}}},
		"scheduled":           {[]string{fmt.Sprintf(`BrokerProperties: {"ScheduledEnqueueTimeUtc":%q}`, at.Format(http.TimeFormat))}, ferry.Message{DeliverAt: at}},
		"scheduled in 3339":   {[]string{fmt.Sprintf(`BrokerProperties: {"ScheduledEnqueueTimeUtc":%q}`, at.Format(time.RFC3339))}, ferry.Message{DeliverAt: at}},
		"scheduled long ago":  {[]string{`BrokerProperties: {"ScheduledEnqueueTimeUtc":"Sun, 06 Nov 1994 08:49:37 GMT"}`}, ferry.Message{}},
		"scheduled never":     {[]string{`BrokerProperties: {"ScheduledEnqueueTimeUtc":"Mon, 01 Jan 0001 00:00:00 GMT"}`}, ferry.Message{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSurface(t)
			a := s.call("sender-key", http.MethodPost, "/invoices/messages?timeout=60&api-version=2015-01", "payload", c.header...)
			if a.StatusCode != http.StatusCreated || len(a.body) != 0 || a.Header.Get("Location") != "" || a.Header.Get("Content-Length") != "0" {
				t.Fatalf("%d %q %s", a.StatusCode, a.Header, a.body)
			}
			if ct := a.Header.Get("Content-Type"); ct != c.want.ContentType {
				t.Errorf("content type %q", ct)
			}
			got := s.fake.messages[s.fake.order[0]].msg
			if a.Header.Get("Ferry-Message-Id") != got.ID.String() || string(got.Body) != "payload" || got.Sender.Name != "flow" {
				t.Errorf("%q, %+v", a.Header, got)
			}
			got.ID, got.CreatedAt = ferry.ID{}, time.Time{}
			c.want.Route, c.want.Body, c.want.Sender = "invoices", []byte("payload"), ferry.Sender{Name: "flow", KeyID: "k3"}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
	// The time to live counts from the scheduled time on, as it does there.
	s := newSurface(t)
	s.call("sender-key", http.MethodPost, "/invoices/messages", "x", fmt.Sprintf(`BrokerProperties: {"TimeToLive":60,"ScheduledEnqueueTimeUtc":%q}`, at.Format(http.TimeFormat)))
	if m := s.fake.messages[s.fake.order[0]].msg; !m.CreatedAt.Add(m.TimeToLive).Equal(at.Add(time.Minute)) {
		t.Errorf("it ends at %s, want %s", m.CreatedAt.Add(m.TimeToLive), at.Add(time.Minute))
	}
}

func TestSendToQueueAgain(t *testing.T) {
	s := newSurface(t)
	key := `BrokerProperties: {"MessageId":"A-1"}`
	for range 2 {
		if a := s.call("sender-key", http.MethodPost, "/invoices/messages", "x", key); a.StatusCode != http.StatusCreated || a.Header.Get("Ferry-Message-Id") != s.fake.order[0].String() {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	p := s.refusal(s.call("sender-key", http.MethodPost, "/invoices/messages", "y", key), ferry.CodeKeyReused)
	if p.ID != s.fake.order[0] || len(s.fake.order) != 1 {
		t.Errorf("%+v", p)
	}
}

func TestSendToQueueRefusals(t *testing.T) {
	many := make([]string, 0, ferry.MaxProperties+1)
	for i := range ferry.MaxProperties + 1 {
		many = append(many, fmt.Sprintf("P%d: x", i))
	}
	long := strings.Repeat("x", 200)
	for name, c := range map[string]struct {
		key, route, body string
		header           []string
		code             ferry.Code
	}{
		"no key":             {"", "invoices", "x", nil, ferry.CodeUnauthenticated},
		"a receiver":         {"receiver-key", "invoices", "x", nil, ferry.CodeForbidden},
		"not its route":      {"sender-key", "orders", "x", nil, ferry.CodeForbidden},
		"no such route":      {"sender-key", "gone", "x", nil, ferry.CodeQueueNotFound},
		"too large":          {"sender-key", "small", strings.Repeat("x", 65), nil, ferry.CodeTooLarge},
		"empty":              {"sender-key", "invoices", "", nil, ferry.CodeEmptyBody},
		"not JSON":           {"sender-key", "invoices", "x", []string{"BrokerProperties: {"}, ferry.CodeBadRequest},
		"an array":           {"sender-key", "invoices", "x", []string{"BrokerProperties: []"}, ferry.CodeBadRequest},
		"an object in it":    {"sender-key", "invoices", "x", []string{`BrokerProperties: {"Label":{}}`}, ferry.CodeBadRequest},
		"given twice":        {"sender-key", "invoices", "x", []string{`BrokerProperties: {}`, `BrokerProperties: {}`}, ferry.CodeBadRequest},
		"keys that differ":   {"sender-key", "invoices", "x", []string{`BrokerProperties: {"SessionId":"a","PartitionKey":"b"}`}, ferry.CodeBadRequest},
		"two names":          {"sender-key", "invoices", "x", []string{`BrokerProperties: {"MessageId":"a"}`, "Idempotency-Key: b"}, ferry.CodeBadRequest},
		"a long id":          {"sender-key", "invoices", "x", []string{`BrokerProperties: {"MessageId":"` + long + `"}`}, ferry.CodeBadKey},
		"a long session":     {"sender-key", "invoices", "x", []string{`BrokerProperties: {"SessionId":"` + long + `"}`}, ferry.CodeBadOrderingKey},
		"a long correlation": {"sender-key", "invoices", "x", []string{`BrokerProperties: {"CorrelationId":"` + long + `"}`}, ferry.CodeBadCorrelationID},
		"no life":            {"sender-key", "invoices", "x", []string{`BrokerProperties: {"TimeToLive":0}`}, ferry.CodeBadDuration},
		"a negative life":    {"sender-key", "invoices", "x", []string{`BrokerProperties: {"TimeToLive":-1}`}, ferry.CodeBadDuration},
		"no time":            {"sender-key", "invoices", "x", []string{`BrokerProperties: {"ScheduledEnqueueTimeUtc":"tomorrow"}`}, ferry.CodeBadTime},
		"many properties":    {"sender-key", "invoices", "x", many, ferry.CodeTooManyProperties},
		"control characters": {"sender-key", "invoices", "x", []string{`Mine: "a\u0007"`}, ferry.CodeBadRequest},
		"chunks":             {"sender-key", "invoices", "x", []string{"X-Ms-Transfer-Mode: chunked"}, ferry.CodeChunkingNotSupported},
	} {
		s := newSurface(t)
		s.wrong = true
		s.refusal(s.call(c.key, http.MethodPost, "/"+c.route+"/messages", c.body, c.header...), c.code)
		if len(s.fake.order) != 0 {
			t.Errorf("%s: a message was kept", name)
		}
	}
	s := newSurface(t)
	s.wrong = true
	s.refusal(s.call("sender-key", http.MethodPost, "/invoices/messages?orderingKey=1", "x"), ferry.CodeBadRequest)
	s.refusal(s.call("sender-key", http.MethodGet, "/invoices/messages", ""), ferry.CodeMethodNotAllowed)
	s.refusal(s.call("sender-key", http.MethodPost, "/invoices/messages/1/2/3", ""), ferry.CodeNotFound)
	s.refusal(s.call("sender-key", http.MethodPost, "/invoices", ""), ferry.CodeNotFound)
	s.refusal(s.call("sender-key", http.MethodPost, "/v1/messages/head", ""), ferry.CodeMethodNotAllowed)
}

const batchHeader = "Content-Type: application/vnd.microsoft.servicebus.json; charset=utf-8"

func TestSendQueueBatch(t *testing.T) {
	s := newSurface(t)
	s.wrong = true // the description knows no two forms of one body
	a := s.call("sender-key", http.MethodPost, "/invoices/messages", `[
		{"Body":"This is the <first>","BrokerProperties":{"Label":"M1","TimeToLiveTimeSpan":"0.00:00:40"}},
		{"Body":"x","BrokerProperties":{"MessageId":"B","SessionId":"s","TimeToLiveTimeSpan":"1.02:03:04.5","ContentType":"text/plain"},"UserProperties":{"Priority":"High","N":7,"Yes":true,"None":null}},
		{"Body":{"n":1.10},"BrokerProperties":null}]`, batchHeader)
	if a.StatusCode != http.StatusCreated || len(a.body) != 0 {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	var got []ferry.Message
	for _, id := range s.fake.order {
		m := s.fake.messages[id].msg
		m.ID, m.CreatedAt, m.Sender, m.Route = ferry.ID{}, time.Time{}, ferry.Sender{}, ""
		got = append(got, m)
	}
	want := []ferry.Message{
		{Body: []byte("This is the <first>"), TimeToLive: 40 * time.Second, Properties: map[string]string{"sb-label": "M1"}},
		{
			Body: []byte("x"), ContentType: "text/plain", IdempotencyKey: "B", OrderingKey: "s", TimeToLive: 26*time.Hour + 3*time.Minute + 4500*time.Millisecond,
			Properties: map[string]string{"Priority": "High", "N": "7", "Yes": "true"},
		},
		{Body: []byte(`{"n":1.10}`), ContentType: "application/json"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	// As a whole, or not at all.
	for name, c := range map[string]struct {
		body, pointer string
		code          ferry.Code
	}{
		"not an array":  {`{}`, "", ferry.CodeBadRequest},
		"not JSON":      {`[`, "", ferry.CodeBadRequest},
		"empty":         {`[]`, "", ferry.CodeInvalid},
		"no object":     {`[{"Body":"x"},7]`, "/1", ferry.CodeInvalid},
		"no body":       {`[{"Body":"x"},{}]`, "/1/Body", ferry.CodeInvalid},
		"life":          {`[{"Body":"x","BrokerProperties":{"TimeToLiveTimeSpan":"25:00:00"}}]`, "/0/BrokerProperties", ferry.CodeInvalid},
		"property":      {`[{"Body":"x","UserProperties":{"a b":"x"}}]`, "/0/UserProperties", ferry.CodeInvalid},
		"nested":        {`[{"Body":"x","UserProperties":{"a":{}}}]`, "/0/UserProperties", ferry.CodeInvalid},
		"keys disagree": {`[{"Body":"x"},{"Body":"y","BrokerProperties":{"MessageId":"B"}}]`, "/1", ferry.CodeInvalid},
		"too many":      {"[" + strings.Repeat(`{"Body":"x"},`, ferry.MaxBatch) + `{"Body":"x"}]`, "", ferry.CodeBatchTooLarge},
	} {
		p := s.refusal(s.call("sender-key", http.MethodPost, "/invoices/messages", c.body, batchHeader), c.code)
		if c.pointer != "" && (len(p.Errors) != 1 || p.Errors[0].Pointer != c.pointer) || strings.Contains(p.Hint, "partial") {
			t.Errorf("%s: %+v", name, p)
		}
		if len(s.fake.order) != 3 {
			t.Fatalf("%s: %d messages kept", name, len(s.fake.order))
		}
	}
}

func TestPeekLock(t *testing.T) {
	s := newSurface(t)
	s.call("sender-key", http.MethodPost, "/invoices/messages", "größe", "Content-Type: text/plain; charset=utf-8",
		`BrokerProperties: {"MessageId":"INV-1","SessionId":"s","CorrelationId":"Größe","Label":"L 𝄞"}`, "Plant: Köln", `Priority: "High"`,
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate: vendor=abc")
	m := s.fake.messages[s.fake.order[0]]
	m.msg.Properties["Set-Cookie"] = "a=b"
	a := s.call("receiver-key", http.MethodPost, "/invoices/messages/head?timeout=60", "")
	if a.StatusCode != http.StatusCreated || string(a.body) != "größe" {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	s.asked(t, "receive invoices by=erp wait=55s remove=false")
	id := s.fake.order[0].String()
	for name, want := range map[string]string{
		"Location": "http://broker.test/invoices/messages/" + id + "/" + fakeLock.String(), "Content-Type": "text/plain; charset=utf-8",
		"Ferry-Message-Id": id, "Ferry-Doubt": "true", "Ferry-Properties": `{"Set-Cookie":"a=b"}`, "Set-Cookie": "",
		"Traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "Tracestate": "vendor=abc",
	} {
		if got := a.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{"plant": `"K\u00f6ln"`, "priority": `"High"`} {
		if got := a.Header.Values(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	raw := a.Header.Get("BrokerProperties")
	for i := range len(raw) {
		if raw[i] >= 0x7f || raw[i] < 0x20 {
			t.Fatalf("not ASCII: %q", raw)
		}
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(raw), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"MessageId": "INV-1", "SequenceNumber": 7.0, "EnqueuedSequenceNumber": 7.0, "DeliveryCount": 2.0, "State": "Active", "TimeToLive": 3600.0,
		"EnqueuedTimeUtc": "Mon, 23 Nov 2026 08:30:00 GMT", "LockedUntilUtc": "Mon, 23 Nov 2026 08:31:00 GMT", "LockToken": fakeLock.String(),
		"CorrelationId": "Größe", "SessionId": "s", "Label": "L 𝄞", "ContentType": "text/plain; charset=utf-8",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("BrokerProperties (-want +got):\n%s", diff)
	}
}

func TestReceiveAndDelete(t *testing.T) {
	s := newSurface(t)
	s.send(`{"n":1}`)
	a := s.call("receiver-key", http.MethodDelete, "/invoices/messages/head?timeout=3", "")
	if a.StatusCode != http.StatusOK || string(a.body) != `{"n":1}` || a.Header.Get("Location") != "" || strings.Contains(a.Header.Get("BrokerProperties"), "Lock") {
		t.Fatalf("%d %q %s", a.StatusCode, a.Header, a.body)
	}
	s.asked(t, "receive invoices by=erp wait=3s remove=true")
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		a := s.call("receiver-key", method, "/invoices/messages/head?timeout=0", "")
		if a.StatusCode != http.StatusNoContent || len(a.body) != 0 || a.Header.Get("BrokerProperties") != "" {
			t.Errorf("%s of nothing: %d %q", method, a.StatusCode, a.Header)
		}
	}
	s.wrong = true
	for _, bad := range []string{"-1", "x", "3601"} {
		s.refusal(s.call("receiver-key", http.MethodPost, "/invoices/messages/head?timeout="+bad, ""), ferry.CodeBadFilter)
	}
	s.refusal(s.call("sender-key", http.MethodPost, "/invoices/messages/head", ""), ferry.CodeForbidden)
	s.refusal(s.call("orders-receiver-key", http.MethodPost, "/invoices/messages/head", ""), ferry.CodeForbidden)
	s.refusal(s.call("receiver-key", http.MethodPost, "/nothing/messages/head", ""), ferry.CodeQueueNotFound)
}

func TestSettleLocked(t *testing.T) {
	lock := fakeLock.String()
	path := "/invoices/messages/INV-1/" + lock
	for name, c := range map[string]struct {
		method, target, body string
		header               []string
		want                 string // asked of the service, or a code
	}{
		"complete":           {http.MethodDelete, path, "", nil, `complete invoices INV-1 by=erp reference="" result= code="" text=""`},
		"with a reference":   {http.MethodDelete, path + "?reference=DOC%207&text=booked", "", nil, `complete invoices INV-1 by=erp reference="DOC 7" result= code="" text="booked"`},
		"in the body":        {http.MethodDelete, path, `{"reference":"DOC-7","result":{"n":1}}`, nil, `complete invoices INV-1 by=erp reference="DOC-7" result={"n":1} code="" text=""`},
		"no result":          {http.MethodDelete, path, `{"result":null}`, nil, `complete invoices INV-1 by=erp reference="" result= code="" text=""`},
		"in both":            {http.MethodDelete, path + "?reference=DOC-7", `{"reference":"DOC-7"}`, nil, `complete invoices INV-1 by=erp reference="DOC-7" result= code="" text=""`},
		"reject":             {http.MethodDelete, path + "?outcome=rejected&code=E42&text=no+supplier", "", nil, `reject invoices INV-1 by=erp reference="" result= code="E42" text="no supplier"`},
		"unlock":             {http.MethodPut, path, "", []string{"Content-Type: application/atom+xml"}, `unlock invoices INV-1 by=erp reference="" result= code="" text=""`},
		"renew":              {http.MethodPost, path, "ignored", []string{"Content-Type: application/atom+xml"}, `renew invoices INV-1 by=erp reference="" result= code="" text=""`},
		"a key with a slash": {http.MethodPut, "/invoices/messages/a%2Fb/%7B" + strings.ToUpper(lock) + "%7D", "", nil, `unlock invoices a/b by=erp reference="" result= code="" text=""`},
		"no lock":            {http.MethodDelete, "/invoices/messages/1/nonsense", "", nil, "lockLost"},
		"another lock":       {http.MethodPut, "/invoices/messages/1/" + ferry.NewID(now).String(), "", nil, "lockLost"},
		"no such outcome":    {http.MethodDelete, path + "?outcome=perhaps", "", nil, "invalid"},
		"they differ":        {http.MethodDelete, path + "?reference=a", `{"reference":"b"}`, nil, "badRequest"},
		"rejected as":        {http.MethodDelete, path, `{"outcome":"rejected","reference":"x"}`, nil, "invalid"},
		"rejected with":      {http.MethodDelete, path, `{"outcome":"rejected","result":1}`, nil, "invalid"},
		"a long reference":   {http.MethodDelete, path + "?reference=" + strings.Repeat("x", 257), "", nil, "referenceTooLong"},
		"a large result":     {http.MethodDelete, path, `{"result":"` + strings.Repeat("x", ferry.MaxResult) + `"}`, nil, "invalid"},
		"not JSON":           {http.MethodDelete, path, `{`, nil, "badRequest"},
		"another type":       {http.MethodDelete, path, `<x/>`, []string{"Content-Type: text/xml"}, "unsupportedMediaType"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSurface(t)
			s.wrong = true
			a := s.call("receiver-key", c.method, c.target, c.body, c.header...)
			if !strings.Contains(c.want, " ") {
				s.refusal(a, ferry.Code(c.want))
				return
			}
			if a.StatusCode != http.StatusOK || len(a.body) != 0 {
				t.Fatalf("%d %s", a.StatusCode, a.body)
			}
			s.asked(t, "%s", c.want)
			if renewed := a.Header.Get("BrokerProperties"); (c.method == http.MethodPost) != strings.Contains(renewed, `"LockedUntilUtc":"Mon, 23 Nov 2026 08:32:00 GMT"`) {
				t.Errorf("BrokerProperties %q", renewed)
			}
		})
	}
	s := newSurface(t)
	s.wrong = true
	s.refusal(s.call("sender-key", http.MethodDelete, path, ""), ferry.CodeForbidden)
	s.refusal(s.call("orders-receiver-key", http.MethodPut, path, ""), ferry.CodeForbidden)
}

// A receive that waits longer than the server reads requests for is not cut off,
// and a server that stops does not wait for it.
func TestReceiveWaitsBeyondReadTimeout(t *testing.T) {
	f := newFake()
	h := api.New(f, api.Options{Log: slog.New(slog.DiscardHandler)})
	server := api.Server("127.0.0.1:0", h)
	ts := httptest.NewUnstartedServer(h)
	ts.Config = server
	server.ReadTimeout, server.WriteTimeout = 300*time.Millisecond, 300*time.Millisecond
	ts.Start()
	defer ts.Close()
	answered := make(chan int, 1)
	go func() {
		r, err := http.NewRequest(http.MethodPost, ts.URL+"/orders/messages/head", nil)
		if err == nil {
			r.Header.Set("Authorization", "Bearer receiver-key")
			var resp *http.Response
			if resp, err = ts.Client().Do(r); err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				answered <- resp.StatusCode
			}
		}
		if err != nil {
			t.Errorf("receive: %v", err)
			answered <- 0
		}
	}()
	select {
	case status := <-answered:
		t.Fatalf("answered %d before the server stopped", status)
	case <-time.After(900 * time.Millisecond): // well beyond the server's own limits
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		t.Fatalf("the server does not stop: %v", err)
	}
	if status := <-answered; status != http.StatusNoContent {
		t.Errorf("answered %d", status)
	}
}

func FuzzSendToQueue(f *testing.F) {
	f.Add(`{"MessageId":"a","TimeToLive":40,"ScheduledEnqueueTimeUtc":"Sun, 06 Nov 1994 08:49:37 GMT"}`, "Priority", `"High"`, "x")
	f.Add(`{"TimeToLiveTimeSpan":"1.02:03:04.5","SessionId":1e9}`, "X", "\xff", "")
	fk := newFake()
	h := api.New(fk, api.Options{Log: slog.New(slog.DiscardHandler)}) // once: it is slow to make
	f.Add(`{"Label":"\ud800","TimeToLive":1e308}`, "A", `"\u0000"`, "x")
	f.Fuzz(func(t *testing.T, props, header, value, body string) {
		fk.messages, fk.order, fk.acts, fk.refused = map[ferry.ID]*held{}, nil, nil, nil
		r := httptest.NewRequest(http.MethodPost, "http://b/orders/messages", strings.NewReader(body))
		r.Header[http.CanonicalHeaderKey(header)] = []string{value}
		r.Header["Brokerproperties"] = []string{props}
		r.Header.Set("Authorization", "Bearer admin-key")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 || (w.Code == 201) != (len(fk.order) > 0) {
			t.Fatalf("%d with %d messages: %s", w.Code, len(fk.order), w.Body)
		}
		for _, id := range fk.order {
			m := fk.messages[id].msg
			if m.Validate() != nil || m.TimeToLive < 0 {
				t.Fatalf("kept %+v", m)
			}
		}
		if len(fk.order) == 1 { // what was taken can be given
			r := httptest.NewRequest(http.MethodPost, "http://b/orders/messages/head", nil)
			r.Header.Set("Authorization", "Bearer receiver-key")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			sent := "BrokerProperties" // as it is written, not in its canonical form
			if w.Code != 201 || len(w.Header()[sent]) != 1 || !json.Valid([]byte(w.Header()[sent][0])) {
				t.Fatalf("%d %q", w.Code, w.Header())
			}
		}
	})
}

func FuzzQueueBatch(f *testing.F) {
	f.Add(`[{"Body":"x","BrokerProperties":{"TimeToLiveTimeSpan":"0.00:00:40"},"UserProperties":{"Priority":"High"}}]`)
	f.Add(`[{"Body":{"a":1}},{"Body":"","BrokerProperties":null}]`)
	fk := newFake()
	h := api.New(fk, api.Options{Log: slog.New(slog.DiscardHandler)}) // once: it is slow to make
	f.Add(`[[],7,{"UserProperties":{"a":1}}]`)
	f.Fuzz(func(t *testing.T, body string) {
		fk.messages, fk.order, fk.acts, fk.refused = map[ferry.ID]*held{}, nil, nil, nil
		r := httptest.NewRequest(http.MethodPost, "http://b/orders/messages", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer admin-key")
		r.Header.Set("Content-Type", "application/vnd.microsoft.servicebus.json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code >= 500 || (w.Code == 201) != (len(fk.order) > 0) {
			t.Fatalf("%d with %d messages: %s", w.Code, len(fk.order), w.Body)
		}
	})
}
