package intake

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ferry"
)

var testNow = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func received(change ...func(*azservicebus.ReceivedMessage)) *azservicebus.ReceivedMessage {
	m := &azservicebus.ReceivedMessage{
		MessageID: "INV-1", Body: []byte(`{"a":1}`), SequenceNumber: new(int64(7)), EnqueuedTime: new(testNow.Add(-time.Minute)),
	}
	for _, f := range change {
		f(m)
	}
	return m
}

func (f *fakeIntake) convert(t testing.TB, change ...func(*azservicebus.ReceivedMessage)) ferry.Message {
	t.Helper()
	m, fault := f.source().convert(received(change...), testNow)
	if fault != nil {
		t.Fatalf("convert: %v (%s)", fault, fault.Hint)
	}
	return m
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestAMessageBecomesFerrys(t *testing.T) {
	f := newFake()
	got := f.convert(t, func(m *azservicebus.ReceivedMessage) {
		m.ContentType, m.CorrelationID, m.SessionID = new("application/json"), new("case-9"), new("contoso")
		m.Subject, m.To, m.ReplyTo, m.ReplyToSessionID = new("invoice"), new("erp"), new("Flow-Replies"), new("run-1")
		m.TimeToLive = new(time.Hour)
		m.ApplicationProperties = map[string]any{
			"amount": 12.5, "urgent": true, "count": int64(3),
			"X-MS-Workflow-Name": "flow-guid", "x-ms-workflow-run-id": "08585", "x-ms-workflow-operation-name": "Send_message",
			"x-ms-action-tracking-id": "track", "Diagnostic-Id": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		}
	})
	want := ferry.Message{
		Route: "invoices", Body: []byte(`{"a":1}`), ContentType: "application/json", IdempotencyKey: "INV-1",
		CorrelationID: "case-9", OrderingKey: "contoso", CreatedAt: testNow, TimeToLive: 59 * time.Minute,
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		Sender: ferry.Sender{Name: "servicebus:Flow-Invoices", Flow: &ferry.Flow{
			Name: "flow-guid", RunID: "08585", Operation: "Send_message", TrackingID: "track",
		}},
		ReplyTo: &ferry.ReplyTo{Kind: ferry.ReplyServiceBus, Target: "flow-replies", SessionID: "run-1", CorrelationID: "INV-1"},
		Properties: map[string]string{
			"amount": "12.5", "urgent": "true", "count": "3",
			"X-MS-Workflow-Name": "flow-guid", "x-ms-workflow-run-id": "08585", "x-ms-workflow-operation-name": "Send_message",
			"x-ms-action-tracking-id": "track", "Diagnostic-Id": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
			"sb-label": "invoice", "sb-to": "erp", "sb-reply-to": "Flow-Replies", "sb-reply-to-session-id": "run-1",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	bare := f.convert(t)
	if bare.Properties != nil || bare.ReplyTo != nil || bare.Sender.Flow != nil || bare.TimeToLive != 0 || bare.OrderingKey != "" {
		t.Errorf("%+v", bare)
	}
}

// What the service allows in an id is no reason to refuse a message.
func TestIdsOfAllKinds(t *testing.T) {
	f := newFake()
	enqueued := testNow.Add(-time.Minute).UnixMilli()
	for what, c := range map[string]struct {
		change        func(*azservicebus.ReceivedMessage)
		key, original string
	}{
		"printable":         {func(m *azservicebus.ReceivedMessage) { m.MessageID = "a b/~" }, "a b/~", ""},
		"128 characters":    {func(m *azservicebus.ReceivedMessage) { m.MessageID = strings.Repeat("a", 128) }, strings.Repeat("a", 128), ""},
		"129":               {func(m *azservicebus.ReceivedMessage) { m.MessageID = strings.Repeat("a", 129) }, hashOf(strings.Repeat("a", 129)), strings.Repeat("a", 129)},
		"not ASCII":         {func(m *azservicebus.ReceivedMessage) { m.MessageID = "Rechnung Ä-1" }, hashOf("Rechnung Ä-1"), "Rechnung Ä-1"},
		"control character": {func(m *azservicebus.ReceivedMessage) { m.MessageID = "a\nb" }, hashOf("a\nb"), "a\nb"},
		"none":              {func(m *azservicebus.ReceivedMessage) { m.MessageID = "" }, fmt.Sprintf("flow-invoices/7@%d", enqueued), ""},
		"nothing at all": {func(m *azservicebus.ReceivedMessage) {
			m.MessageID, m.SequenceNumber = "", nil
		}, "", ""},
		"a UUID": {func(m *azservicebus.ReceivedMessage) {
			m.MessageID = ""
			m.RawAMQPMessage = &azservicebus.AMQPAnnotatedMessage{
				Body:       azservicebus.AMQPAnnotatedMessageBody{Data: [][]byte{[]byte("x")}},
				Properties: &azservicebus.AMQPAnnotatedMessageProperties{MessageID: amqp.UUID{1}, CorrelationID: uint64(5)},
			}
		}, "01000000-0000-0000-0000-000000000000", ""},
	} {
		t.Run(what, func(t *testing.T) {
			got := f.convert(t, c.change)
			if got.IdempotencyKey != c.key || got.Properties["sb-message-id"] != c.original {
				t.Errorf("key %q, kept %q; want %q, %q", got.IdempotencyKey, got.Properties["sb-message-id"], c.key, c.original)
			}
		})
	}
	long := newFake(func(o *Source) { o.Queue = strings.Repeat("q", 260) })
	if key := long.convert(t, func(m *azservicebus.ReceivedMessage) { m.MessageID = "" }).IdempotencyKey; len(key) > ferry.MaxKeyLength || !strings.HasPrefix(key, "sha256-") {
		t.Errorf("the key of a long queue's message: %q", key)
	}
	// A queue that was made anew counts from 1 again: another message.
	first := f.convert(t, func(m *azservicebus.ReceivedMessage) { m.MessageID = "" })
	second := f.convert(t, func(m *azservicebus.ReceivedMessage) { m.MessageID, m.EnqueuedTime = "", new(testNow) })
	if first.IdempotencyKey == second.IdempotencyKey {
		t.Errorf("two messages are both %s", first.IdempotencyKey)
	}
	names := f.convert(t, func(m *azservicebus.ReceivedMessage) {
		m.SessionID, m.CorrelationID = new(strings.Repeat("é", 100)), new("a\x00b")
		m.ContentType = new(strings.Repeat("x", 300))
	})
	if names.OrderingKey != hashOf(strings.Repeat("é", 100)) || names.Properties["sb-session-id"] != strings.Repeat("é", 100) ||
		names.CorrelationID != hashOf("a\x00b") || names.ContentType != "" || len(names.Properties["sb-content-type"]) != 300 {
		t.Errorf("%+v", names)
	}
}

// No message is refused for its ids, and two are given the same key only when
// their ids are the same.
func TestEveryIdHasAKeyOfItsOwn(t *testing.T) {
	f := newFake()
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(name string) *string { return new(rapid.StringN(0, 128, 512).Draw(rt, name)) }
		a, b := *draw("a"), *draw("b")
		keys := map[string]string{}
		for _, id := range []string{a, b, hashed(a)} {
			m, fault := f.source().convert(received(func(m *azservicebus.ReceivedMessage) {
				m.MessageID, m.CorrelationID, m.SessionID, m.ReplyTo, m.ReplyToSessionID = id, draw("correlation"), draw("session"), draw("reply to"), draw("reply session")
				m.Subject, m.To, m.ContentType = draw("subject"), draw("to"), draw("type")
			}), testNow)
			if fault != nil {
				rt.Fatalf("%q is refused: %v", id, fault)
			}
			if other, taken := keys[m.IdempotencyKey]; taken && other != id && id != hashed(other) && other != hashed(id) {
				rt.Fatalf("%q and %q are both %s", id, other, m.IdempotencyKey)
			}
			keys[m.IdempotencyKey] = id
		}
	})
}

func TestTimeToLive(t *testing.T) {
	f := newFake()
	for _, c := range []struct {
		ttl, age, want time.Duration
	}{
		{0, 0, 0},
		{time.Hour, time.Minute, 59 * time.Minute},
		{time.Minute, time.Hour, time.Millisecond}, // ended while its lock held it
		{time.Minute, -time.Hour, time.Minute},     // the service's clock is ahead
		{1 << 62, time.Minute, 0},                  // "none", as the service says it
	} {
		got := f.convert(t, func(m *azservicebus.ReceivedMessage) {
			m.TimeToLive, m.EnqueuedTime = new(c.ttl), new(testNow.Add(-c.age))
		})
		if got.TimeToLive != c.want {
			t.Errorf("%s, sent %s ago: %s, want %s", c.ttl, c.age, got.TimeToLive, c.want)
		}
	}
}

func TestReplyTo(t *testing.T) {
	f := newFake()
	for replyTo, want := range map[string]string{
		"Replies":                          "replies",
		"/folder/replies/":                 "folder/replies",
		"sb://NS.example/replies":          "replies",
		"amqps://ns.example:5671/replies":  "replies",
		"https://other.example/replies":    "",
		"sb:///replies":                    "",
		"ferry.receipts":                   "",
		"Ferry.Worker.erp":                 "",
		"ferrybank":                        "ferrybank",
		"flow-invoices":                    "", // it would come back as an invoice
		"sb://ns.example/FLOW-INVOICES":    "",
		"replies/$DeadLetterQueue":         "",
		"replies?x=1":                      "",
		"r e":                              "",
		"answers\n":                        "",
		strings.Repeat("q", 261):           "",
		"":                                 "",
		"/":                                "",
		"sb://user:secret@ns.example/r":    "r",
		"sb://ns.example/%24management":    "",
		"sb://ns.example/queue/../ferry.x": "", // the service takes no dots for a way up
	} {
		got := f.convert(t, func(m *azservicebus.ReceivedMessage) { m.ReplyTo = &replyTo })
		target := ""
		if got.ReplyTo != nil {
			target = got.ReplyTo.Target
		}
		if replyTo == "sb://ns.example/queue/../ferry.x" {
			if strings.HasPrefix(target, "ferry.") {
				t.Errorf("%q leads to %q", replyTo, target)
			}
			continue
		}
		if target != want {
			t.Errorf("%q: %q, want %q", replyTo, target, want)
		}
		if strings.Contains(f.log.String(), "secret") {
			t.Error("the log repeats an address with credentials")
		}
	}
	if got := f.convert(t, func(m *azservicebus.ReceivedMessage) {
		m.ReplyTo, m.MessageID, m.CorrelationID = new("r"), "", new("c")
	}); got.ReplyTo.CorrelationID != "c" {
		t.Errorf("%+v", got.ReplyTo)
	}
	quiet := newFake(func(o *Source) { o.Replies = false })
	if got := quiet.convert(t, func(m *azservicebus.ReceivedMessage) { m.ReplyTo = new("r") }); got.ReplyTo != nil || got.Properties["sb-reply-to"] != "r" {
		t.Errorf("replies are off: %+v", got)
	}
}

func TestDamagedTraceContextsAreDropped(t *testing.T) {
	f := newFake()
	const good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct{ first, second, want string }{
		{good, "", good},
		{"", good, good},
		{"nonsense", good, good},
		{strings.ToUpper(good), "", ""},
		{"ff" + good[2:], "", ""},
		{"00-00000000000000000000000000000000-b7ad6b7169203331-01", "", ""},
		{"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "", ""},
	} {
		got := f.convert(t, func(m *azservicebus.ReceivedMessage) {
			m.ApplicationProperties = map[string]any{"traceparent": c.first, "Diagnostic-Id": c.second}
		})
		if got.Traceparent != c.want {
			t.Errorf("%+v: %q", c, got.Traceparent)
		}
	}
}
