package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/api"
	"ferry/shape"
)

const shapedMessages = "/v1/routes/shaped/messages"

// A version may be named in several places, and not otherwise in two of them.
func TestWhereAVersionIsNamed(t *testing.T) {
	const good = `{"n":1}`
	for name, c := range map[string]struct {
		target string
		header []string
		want   string // the version, or the code of a refusal
	}{
		"nowhere: the default":       {shapedMessages, nil, "v2"},
		"path":                       {"/v1/routes/shaped/versions/v1/messages", nil, "v1"},
		"header":                     {shapedMessages, []string{"Ferry-Version: v1"}, "v1"},
		"parameter":                  {shapedMessages + "?version=v1", nil, "v1"},
		"the parameter of Azure":     {shapedMessages + "?api-version=v1", nil, "v1"},
		"the route's own header":     {shapedMessages, []string{"x-contract: v1"}, "v1"},
		"the route's own parameter":  {shapedMessages + "?contract=v1", nil, "v1"},
		"twice, alike":               {"/v1/routes/shaped/versions/v1/messages?version=v1", []string{"Ferry-Version: v1"}, "v1"},
		"twice, otherwise":           {"/v1/routes/shaped/versions/v1/messages", []string{"Ferry-Version: v2"}, "badRequest"},
		"own and ours otherwise":     {shapedMessages + "?contract=v1&version=v2", nil, "badRequest"},
		"unknown in the path":        {"/v1/routes/shaped/versions/v3/messages", nil, "versionNotFound"},
		"unknown in a header":        {shapedMessages, []string{"Ferry-Version: v3"}, "versionNotFound"},
		"on a route without":         {"/v1/routes/orders/versions/v1/messages", nil, "versionNotFound"},
		"api-version on one without": {"/v1/routes/orders/messages?api-version=2021-05-10", nil, ""},
		"another's own parameter":    {"/v1/routes/orders/messages?contract=v1", nil, "badRequest"},
		"Service Bus, by header":     {"/shaped/messages", []string{"Ferry-Version: v1"}, "v1"},
		"Service Bus, own header":    {"/shaped/messages", []string{"X-Contract: v1"}, "v1"},
		"Service Bus' own parameter": {"/shaped/messages?api-version=2015-01", nil, "v2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSurface(t)
			a := s.call("any-key", http.MethodPost, c.target, good, append(c.header, "Content-Type: application/json")...)
			if a.StatusCode >= 400 {
				if p := a.problem(t); string(p.Code) != c.want || p.Code == ferry.CodeVersionNotFound && strings.Contains(c.target, "shaped") && !strings.Contains(p.Hint, "v1, v2") {
					t.Errorf("%+v, want %s", p, c.want)
				}
				return
			}
			if got := s.fake.messages[s.fake.order[0]].msg.Version; got != c.want {
				t.Errorf("of the version %q, want %q", got, c.want)
			}
			ends := a.Header.Get("Deprecation") == "@1767225600" && a.Header.Get("Sunset") == "Wed, 30 Jun 2027 00:00:00 GMT" && a.Header.Get("Link") == `<https://contoso.example/v1-ends>; rel="deprecation"`
			if ends != (c.want == "v1") || c.want == "v2" && a.Header.Get("Sunset") != "" {
				t.Errorf("headers %v", a.Header)
			}
			if !strings.HasPrefix(c.target, "/v1") {
				return
			}
			if got := read[ferry.Accepted](t, a, http.StatusCreated).Version; got != c.want {
				t.Errorf("answered as of the version %q", got)
			}
		})
	}
}

func TestFaultsOfABody(t *testing.T) {
	s := newSurface(t)
	p := s.refusal(s.call("any-key", http.MethodPost, shapedMessages, `{"n":"x"}`, "Content-Type: application/json"), ferry.CodeInvalid)
	if len(p.Errors) != 1 || p.Errors[0].Pointer != "/n" || p.Errors[0].Detail != "must be a number, not a string" {
		t.Errorf("%+v", p)
	}
	s.refusal(s.call("any-key", http.MethodPost, shapedMessages, `<n/>`, "Content-Type: text/xml"), ferry.CodeUnsupportedMedia)
	s.refusal(s.call("any-key", http.MethodPost, shapedMessages, `{"n":`, "Content-Type: application/json"), ferry.CodeBadRequest)
	p = s.refusal(s.call("any-key", http.MethodPost, shapedMessages+"/wait", `{}`, "Content-Type: application/json"), ferry.CodeInvalid)
	if p.Errors[0].Pointer != "/n" {
		t.Errorf("%+v", p)
	}
	if len(s.fake.order) > 0 {
		t.Error("accepted")
	}
}

func TestFaultsOfABatch(t *testing.T) {
	s := newSurface(t)
	const items = `[{"body":{"n":1}},{"body":{"n":"x"}},{"body":{},"version":"v1"},{"body":{"m":1}},{"body":{},"version":"v7"},{"body":{"n":1,"n":2}},{"body":1,"deliverAt":"soon"}]`
	p := s.refusal(s.call("any-key", http.MethodPost, shapedMessages+"/batch", items), ferry.CodeInvalid)
	var got []string
	for _, e := range p.Errors {
		got = append(got, e.Pointer)
	}
	// What cannot be read is told first: nothing was held to the schema yet.
	if diff := cmp.Diff([]string{"/4/version", "/6/deliverAt"}, got); diff != "" {
		t.Error(diff)
	}
	a := read[api.BatchAnswer](t, s.call("any-key", http.MethodPost, shapedMessages+"/batch?partial=true", items), http.StatusOK)
	if a.Accepted != 2 || a.Items[2].Version != "v1" || a.Items[0].Version != "v2" || a.Items[1].Status != 422 || a.Items[1].Errors[0].Pointer != "/body/n" || a.Items[4].Status != 404 || a.Items[5].Errors[0].Pointer != "/body/n" {
		t.Errorf("%+v", a)
	}
	p = s.refusal(s.call("any-key", http.MethodPost, "/v1/routes/shaped/versions/v2/messages/batch", `[{"body":{"n":1}},{"body":{"n":"x"}},{"body":[]}]`), ferry.CodeInvalid)
	got = nil
	for _, e := range p.Errors {
		got = append(got, e.Pointer+" "+e.Detail)
	}
	want := []string{"/1/body/n invalid: must be a number, not a string", "/2/body invalid: must be an object, not an array"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// The way of Service Bus.
	p = s.refusal(s.call("any-key", http.MethodPost, "/shaped/messages", `[{"Body":{"n":1}},{"Body":{}}]`, "Content-Type: application/vnd.microsoft.servicebus.json"), ferry.CodeInvalid)
	if len(p.Errors) != 1 || p.Errors[0].Pointer != "/1/Body/n" {
		t.Errorf("%+v", p.Errors)
	}
	// Few of many are told.
	many := make([]string, 500)
	for i := range many {
		many[i] = `{"body":{"n":"x"}}`
	}
	p = s.refusal(s.call("any-key", http.MethodPost, shapedMessages+"/batch", "["+strings.Join(many, ",")+"]"), ferry.CodeInvalid)
	if len(p.Errors) != 500 {
		t.Errorf("%d faults are told", len(p.Errors))
	}
}

func TestCloudEventsIn(t *testing.T) {
	const event = `{"specversion":"1.0","id":"%s","source":"/shop","type":"order","data":{"n":%s}}`
	s := newSurface(t)
	first := read[ferry.Accepted](t, s.call("any-key", http.MethodPost, shapedMessages, fmt.Sprintf(event, "1", "1"), "Content-Type: application/cloudevents+json; charset=utf-8"), http.StatusCreated)
	m := s.fake.messages[first.ID].msg
	if string(m.Body) != `{"n":1}` || m.IdempotencyKey != "/shop 1" || m.ContentType != "application/json" || m.Properties["ce-type"] != "order" {
		t.Errorf("%+v", m)
	}
	// The same one with its attributes in headers, by both doors.
	headers := []string{"ce-specversion: 1.0", "ce-id: 1", "ce-source: /shop", "ce-type: order", "ce-subject: a%20b", "Content-Type: application/json"}
	if again := read[ferry.Accepted](t, s.call("any-key", http.MethodPost, shapedMessages, `{"n":1}`, headers...), http.StatusOK); again.ID != first.ID || !again.Duplicate {
		t.Errorf("%+v", again)
	}
	if a := s.call("any-key", http.MethodPost, "/shaped/messages", `{"n":1}`, headers...); a.Header.Get("Ferry-Message-Id") != first.ID.String() {
		t.Errorf("%d %s %v", a.StatusCode, a.body, a.Header)
	}
	headers[1] = "ce-id: 2"
	second := read[ferry.Accepted](t, s.call("any-key", http.MethodPost, shapedMessages, `{"n":1}`, headers...), http.StatusCreated)
	if m := s.fake.messages[second.ID].msg; m.Properties["ce-subject"] != "a b" || m.IdempotencyKey != "/shop 2" || m.ContentType != "application/json" {
		t.Errorf("%+v", m)
	}
	// A key of the sender's own wins.
	own := read[ferry.Accepted](t, s.call("any-key", http.MethodPost, shapedMessages, `{"n":1}`, append(headers, "Idempotency-Key: mine")...), http.StatusCreated)
	if m := s.fake.messages[own.ID].msg; m.IdempotencyKey != "mine" {
		t.Errorf("%+v", m)
	}
	p := s.refusal(s.call("any-key", http.MethodPost, shapedMessages, `{"n":1}`, "ce-id: 1", "Content-Type: application/json"), ferry.CodeBadRequest)
	if !strings.Contains(p.Detail, "source is missing") || !strings.Contains(p.Detail, "specversion is missing") || len(p.Errors) != 3 {
		t.Errorf("%+v", p)
	}
	// A batch, some of which is known, some wrong.
	batch := "[" + fmt.Sprintf(event, "1", "1") + "," + fmt.Sprintf(event, "3", "3") + "]"
	got := read[api.BatchAnswer](t, s.call("any-key", http.MethodPost, shapedMessages+"/batch", batch, "Content-Type: application/cloudevents-batch+json"), http.StatusOK)
	if got.Accepted != 2 || got.Items[0].ID != first.ID || got.Items[1].Status != 201 {
		t.Errorf("%+v", got)
	}
	batch = "[" + fmt.Sprintf(event, "4", `"x"`) + `,{"specversion":"1.0","id":"5","source":"/s"},` + fmt.Sprintf(event, "6", "6") + "]"
	p = s.refusal(s.call("any-key", http.MethodPost, shapedMessages+"/batch", batch, "Content-Type: application/cloudevents-batch+json"), ferry.CodeInvalid)
	if len(p.Errors) != 2 || p.Errors[0].Pointer != "/0/data/n" || p.Errors[1].Pointer != "/1/type" {
		t.Errorf("%+v", p.Errors)
	}
	if got := read[api.BatchAnswer](t, s.call("any-key", http.MethodPost, shapedMessages+"/batch", "[]", "Content-Type: application/cloudevents-batch+json"), http.StatusOK); got.Accepted != 0 || got.Items == nil {
		t.Errorf("an empty batch: %+v", got)
	}
	s.refusal(s.call("any-key", http.MethodPost, shapedMessages, batch, "Content-Type: application/cloudevents-batch+json"), ferry.CodeUnsupportedMedia)
	s.refusal(s.call("any-key", http.MethodPost, "/v1/routes/orders/messages/batch", batch, "Content-Type: application/cloudevents-batch+json"), ferry.CodeUnsupportedMedia)
	// Where a route does not say so, an event is a body like any other.
	plain := read[ferry.Accepted](t, s.call("any-key", http.MethodPost, "/v1/routes/orders/messages", fmt.Sprintf(event, "1", "1"), "Content-Type: application/cloudevents+json"), http.StatusCreated)
	if m := s.fake.messages[plain.ID].msg; m.IdempotencyKey != "" || m.ContentType != "application/cloudevents+json" {
		t.Errorf("%+v", m)
	}
}

func TestMessagesAsCloudEvents(t *testing.T) {
	s := newSurface(t)
	a := s.send(`{"n":1}`)
	for _, path := range []string{"/v1/messages/" + a.ID.String(), "/v1/messages/" + a.ID.String() + "/result"} {
		if strings.HasSuffix(path, "/result") {
			s.fake.kill(a.ID)
		}
		got := s.call("sender-key", http.MethodGet, path, "", "Accept: application/cloudevents+json")
		e, fault := shape.ReadEvent(got.Header.Get("Content-Type"), got.body)
		if got.StatusCode != http.StatusOK || fault != nil {
			t.Fatalf("%d %s: %v", got.StatusCode, got.body, fault)
		}
		var envelope ferry.Envelope
		if err := json.Unmarshal(e.Data, &envelope); err != nil || envelope.ID != a.ID || envelope.StatusURL == "" || e.Attributes["subject"] != a.ID.String() {
			t.Errorf("%+v, %v", envelope, err)
		}
		if plain := s.call("sender-key", http.MethodGet, path, "", "Accept: application/json"); plain.Header.Get("Content-Type") != "application/json" || plain.Header.Get("Vary") != "Accept" {
			t.Errorf("%v", plain.Header)
		}
	}
}

func TestEndsAsCloudEvents(t *testing.T) {
	s := newSurface(t)
	s.fake.kill(s.send(`{"n":1}`).ID)
	got := s.call("operator-key", http.MethodGet, "/v1/events", "", "Accept: application/cloudevents-batch+json")
	var events []json.RawMessage
	if err := json.Unmarshal(got.body, &events); err != nil || len(events) != 1 || got.Header.Get("Content-Type") != shape.EventBatchType || got.Header.Get("Ferry-Next-After") == "" {
		t.Fatalf("%v: %d %v %s", err, got.StatusCode, got.Header, got.body)
	}
	e, fault := shape.ReadEvent(shape.EventType, events[0])
	if fault != nil || e.Attributes["type"] != shape.TypeDeadLettered {
		t.Errorf("%s: %v", events[0], fault)
	}
	// A subscription that wants events gets the same one.
	var envelope ferry.Envelope
	if err := json.Unmarshal(e.Data, &envelope); err != nil {
		t.Fatal(err)
	}
	told, fault := shape.ReadEvent(shape.EventType, api.EnvelopeEvent(envelope, "http://broker.test/"))
	if fault != nil || told.Attributes["id"] != e.Attributes["id"] || told.Attributes["source"] != e.Attributes["source"] {
		t.Errorf("%v, want %v (%v)", told, e.Attributes, fault)
	}
}

func TestEditsThatBreakTheSchema(t *testing.T) {
	s := newSurface(t)
	a := s.send(`{"n":1}`)
	s.fake.kill(a.ID)
	target := "/v1/dead-letters/" + a.ID.String() + "/replay"
	p := s.refusal(s.call("operator-key", http.MethodPost, target, `{"body":{"x":"breaks the schema"}}`), ferry.CodeInvalid)
	if len(p.Errors) != 2 || p.Errors[1].Pointer != "/body/lines/0/amount" || !strings.Contains(p.Hint, "force") {
		t.Errorf("%+v", p)
	}
	s.call("operator-key", http.MethodPost, target, `{"body":{"x":"breaks the schema"},"force":true,"note":"the ERP takes it"}`)
	s.asked(t, `replay body="{\"x\":\"breaks the schema\"}" nil=false type="application/json" note="the ERP takes it [breaks the schema, and was forced]" by=olga`)
	s.fake.kill(a.ID)
	s.call("operator-key", http.MethodPost, target, `{"body":{"x":"breaks the schema"},"force":true,"note":"`+strings.Repeat("n", ferry.MaxNoteLength)+`"}`)
	s.asked(t, `replay body="{\"x\":\"breaks the schema\"}" nil=false type="application/json" note=%q by=olga`, strings.Repeat("n", ferry.MaxNoteLength-36)+" [breaks the schema, and was forced]")
	s.fake.kill(a.ID)
	s.call("operator-key", http.MethodPost, target, `{"body":{"x":1},"force":true}`)
	s.asked(t, `replay body="{\"x\":1}" nil=false type="application/json" note="" by=olga`)
}

// versions makes every call of a version once.
func (s *surface) versions() {
	s.t.Helper()
	const path = "/v1/routes/shaped/versions/v2/messages"
	for target, want := range map[string]int{path: 201, path + "/wait": 202} {
		if a := s.call("any-key", http.MethodPost, target, `{"n":1}`, "Content-Type: application/json"); a.StatusCode != want {
			s.t.Errorf("%s: %d %s", target, a.StatusCode, a.body)
		}
	}
	if a := s.call("any-key", http.MethodPost, path+"/batch", `[{"body":{"n":1}}]`); a.StatusCode != 200 {
		s.t.Errorf("%d %s", a.StatusCode, a.body)
	}
}
