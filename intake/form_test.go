package intake

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/internal/sbemu"
)

// What comes through a queue is held to the form of its version, too, and what breaks
// it lies in the queue's dead letters with every fault.
func TestFormsOfMessagesFromAQueue(t *testing.T) {
	w := start(t, func(w *world, _ *sbemu.Options) {
		w.route.CloudEvents = true
		w.route.VersionBy.Header = "X-Contract"
		w.route.Versions = []ferry.RouteVersion{
			{Name: "v1", Form: ferry.Form{Request: `{n: .old}`, Accept: []string{ferry.AcceptXML, ferry.AcceptJSON}}, As: "v2"},
			{Name: "v2", Default: true, Form: ferry.Form{Schema: json.RawMessage(`{"required":["n","m"],"properties":{"n":{"type":"number"}}}`)}},
		}
	})
	with := func(properties map[string]any, contentType string) func(*azservicebus.Message) {
		return func(m *azservicebus.Message) { m.ApplicationProperties, m.ContentType = properties, &contentType }
	}
	const jsonType = "application/json"
	w.send(
		message("good", `{"n":1,"m":2}`),
		message("two faults", `{"n":"x"}`),
		message("v1", `{"old":1}`, with(map[string]any{"ferry-version": "v1"}, jsonType)),
		message("own name", `{"old":2}`, with(map[string]any{"x-contract": "v1"}, jsonType)),
		message("no such version", `{}`, with(map[string]any{"Ferry-Version": "v9"}, jsonType)),
		message("no JSON", `x`, with(nil, "text/plain")),
		message("", `{"n":1,"m":2}`, with(map[string]any{
			"cloudEvents:specversion": "1.0", "cloudEvents:id": "42", "cloudEvents_source": "/shop", "cloudEvents:type": "order", "mine": "yes",
		}, jsonType)),
		message("", `{"specversion":"1.0","id":"43","source":"/shop","type":"order","data":{"n":1,"m":2}}`, with(nil, "application/cloudevents+json")),
		message("own id", `{"specversion":"1.0","id":"44","source":"/shop","type":"order","data":{"n":1,"m":2}}`, with(nil, "application/cloudevents+json")),
		message("no event", `{"n":1,"m":2}`, with(map[string]any{"cloudEvents:id": "42"}, jsonType)),
	)
	w.drained()
	got := map[string]ferry.Envelope{}
	for _, e := range w.list() {
		got[e.IdempotencyKey] = e
	}
	for key, version := range map[string]string{"good": "v2", "v1": "v1", "own name": "v1", "/shop 42": "v2", "/shop 43": "v2", "/shop 44": "v2"} {
		if e, ok := got[key]; !ok || e.Version != version {
			t.Errorf("%s: %t, %+v", key, ok, e)
		}
	}
	if e := got["/shop 42"]; e.Properties["ce-type"] != "order" || e.Properties["mine"] != "yes" || e.Properties["cloudEvents:id"] != "" || e.ContentType != jsonType {
		t.Errorf("%+v", e)
	}
	if e := got["/shop 44"]; e.Properties["sb-message-id"] != "own id" {
		t.Errorf("%+v", e)
	}
	if len(got) != 6 {
		t.Errorf("%d messages", len(got))
	}
	want := map[string]string{
		"two faults":      "invalid: the body does not fit the route's schema, in 2 places: first /m is missing; /m is missing; /n must be a number, not a string",
		"no such version": `versionNotFound: the route invoices has no version "v9"; it has v1, v2`,
		"no JSON":         `unsupportedMediaType: the content type "text/plain" is not taken on this route`,
		"no event":        "badRequest: this is no CloudEvent 1.0: ",
	}
	for _, m := range w.deadLetters(len(want)) {
		if text := *m.DeadLetterReason + ": " + *m.DeadLetterErrorDescription; !strings.HasPrefix(text, want[m.MessageID]) || want[m.MessageID] == "" {
			t.Errorf("%s: %s", m.MessageID, text)
		}
	}
	w.balanced()
}
