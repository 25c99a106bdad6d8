package shape

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

// The examples of the JSON event format and of the HTTP binding, each in both modes.
func TestEventsOfTheSpecification(t *testing.T) {
	const attributes = `"specversion":"1.0","type":"com.example.someevent","source":"/mycontext","time":"2018-04-05T17:31:00Z","comexampleextension1":"value","comexampleothervalue":5`
	for name, test := range map[string]struct {
		id, members, contentType, data string
	}{
		"binary":      {"A234-1234-1234", `"datacontenttype":"application/vnd.apache.thrift.binary","data_base64":"AAEC/w=="`, "application/vnd.apache.thrift.binary", "\x00\x01\x02\xff"},
		"XML":         {"B234-1234-1234", `"unsetextension":null,"datacontenttype":"application/xml","data":"<much wow=\"xml\"/>"`, "application/xml", `<much wow="xml"/>`},
		"JSON":        {"C234-1234-1234", `"subject":null,"datacontenttype":"application/json","data":{"appinfoA":"abc","appinfoB":123,"appinfoC":true}`, "application/json", `{"appinfoA":"abc","appinfoB":123,"appinfoC":true}`},
		"JSON string": {"D234-1234-1234", `"subject":null,"data":"I'm just a string"`, "application/json", `"I'm just a string"`},
		"JSON null":   {"E234-1234-1234", `"data":null`, "application/json", `null`},
		"a number":    {"F234-1234-1234", `"datacontenttype":"application/problem+json; charset=utf-8","data":10.00`, "application/problem+json; charset=utf-8", `10.00`},
		"no data":     {"G234-1234-1234", `"dataschema":"https://example.com/s"`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, fault := ReadEvent("application/cloudevents+json; charset=UTF-8", []byte(`{"id":"`+test.id+`",`+attributes+`,`+test.members+`}`))
			if fault != nil {
				t.Fatal(fault)
			}
			if e.ContentType != test.contentType || string(e.Data) != test.data {
				t.Errorf("%q of the type %q, want %q of the type %q", e.Data, e.ContentType, test.data, test.contentType)
			}
			h := http.Header{
				"Ce-Specversion": {"1.0"}, "Ce-Type": {"com.example.someevent"}, "Ce-Source": {"/mycontext"}, "Ce-Id": {test.id},
				"Ce-Time": {"2018-04-05T17:31:00Z"}, "Ce-Comexampleextension1": {"value"}, "Ce-Comexampleothervalue": {"5"},
			}
			if strings.Contains(test.members, "dataschema") {
				h["Ce-Dataschema"] = []string{"https://example.com/s"}
			}
			inHeaders, fault := HeaderEvent(h)
			if fault != nil {
				t.Fatal(fault)
			}
			if diff := cmp.Diff(e.Attributes, inHeaders.Attributes); diff != "" {
				t.Errorf("the two modes differ:\n%s", diff)
			}
			if diff := cmp.Diff(h, e.Header()); diff != "" {
				t.Errorf("as headers:\n%s", diff)
			}
			text, err := e.JSON()
			if err != nil {
				t.Fatal(err)
			}
			again, fault := ReadEvent(EventType, text)
			if fault != nil {
				t.Fatalf("%s: %v", text, fault)
			}
			if diff := cmp.Diff(e, again); diff != "" {
				t.Errorf("written and read again:\n%s", diff)
			}
		})
	}
}

func TestHeadersOfEvents(t *testing.T) {
	// The examples of the HTTP binding: Euro sign, smiley, and quotes as they once were.
	h := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"},
		"Ce-Subject": {"Euro%20%E2%82%AC%20%F0%9F%98%80"}, "Ce-Old": {`"a \"quoted\" text"`}, "Ce-Percent": {"100%25"},
	}
	e, fault := HeaderEvent(h)
	if fault != nil {
		t.Fatal(fault)
	}
	want := map[string]string{"subject": "Euro € 😀", "old": `a "quoted" text`, "percent": "100%"}
	for name, value := range want {
		if e.Attributes[name] != value {
			t.Errorf("%s is %q, want %q", name, e.Attributes[name], value)
		}
	}
	if got := e.Header().Get("ce-subject"); got != "Euro%20%E2%82%AC%20%F0%9F%98%80" {
		t.Errorf("written as %s", got)
	}
	if e, fault := HeaderEvent(http.Header{"Content-Type": {"a/b"}, "Cell": {"x"}}); e != nil || fault != nil {
		t.Errorf("an event where there is none: %+v, %v", e, fault)
	}
}

func TestEventsThatAreNone(t *testing.T) {
	const good = `"specversion":"1.0","id":"1","source":"/s","type":"t"`
	for name, test := range map[string]struct {
		body, contentType string
		code              ferry.Code
		says              []string
	}{
		"all missing":       {`{}`, "", ferry.CodeBadRequest, []string{"id is missing", "source is missing", "specversion is missing", "type is missing"}},
		"null is missing":   {`{"specversion":"1.0","id":null,"source":"/s","type":"t"}`, "", ferry.CodeBadRequest, []string{"id is missing"}},
		"an older version":  {`{"specversion":"0.3","id":"1","source":"/s","type":"t"}`, "", ferry.CodeBadRequest, []string{"specversion is not 1.0"}},
		"a number as id":    {`{"specversion":"1.0","id":1,"source":"/s","type":"t"}`, "", ferry.CodeBadRequest, []string{"id is not text"}},
		"empty id":          {`{"specversion":"1.0","id":"","source":"/s","type":"t"}`, "", ferry.CodeBadRequest, []string{"id is missing"}},
		"source with space": {`{"specversion":"1.0","id":"1","source":"a b","type":"t"}`, "", ferry.CodeBadRequest, []string{"source is no URI"}},
		"a day as time":     {`{` + good + `,"time":"2026-11-26"}`, "", ferry.CodeBadRequest, []string{"time is no time"}},
		"relative schema":   {`{` + good + `,"dataschema":"s.json"}`, "", ferry.CodeBadRequest, []string{"dataschema is no absolute URI"}},
		"empty subject":     {`{` + good + `,"subject":""}`, "", ferry.CodeBadRequest, []string{"subject is empty"}},
		"name":              {`{` + good + `,"my-ext":"x","My":1}`, "", ferry.CodeBadRequest, []string{"my-ext cannot be the name", "My cannot be the name"}},
		"an object":         {`{` + good + `,"ext":{"a":1}}`, "", ferry.CodeBadRequest, []string{"ext is neither text"}},
		"a fraction":        {`{` + good + `,"ext":1.5}`, "", ferry.CodeBadRequest, []string{"ext is neither text, a whole number"}},
		"both data":         {`{` + good + `,"data":1,"data_base64":"AA=="}`, "", ferry.CodeBadRequest, []string{"stands beside data"}},
		"bad base64":        {`{` + good + `,"data_base64":"!"}`, "", ferry.CodeBadRequest, []string{"data_base64 is not base64"}},
		"text as an object": {`{` + good + `,"datacontenttype":"text/plain","data":{}}`, "", ferry.CodeBadRequest, []string{"data is not text"}},
		"content type":      {`{` + good + `,"datacontenttype":"json"}`, "", ferry.CodeBadRequest, []string{"datacontenttype is no content type"}},
		"an array":          {`[]`, "", ferry.CodeBadRequest, []string{"is a JSON object"}},
		"not JSON":          {`{`, "", ferry.CodeBadRequest, []string{"not JSON"}},
		"twice":             {`{` + good + `,"id":"2"}`, "", ferry.CodeInvalid, []string{"a member twice"}},
		"a batch":           {`[]`, EventBatchType, ferry.CodeUnsupportedMedia, []string{"not one message"}},
		"avro":              {`x`, "application/cloudevents+avro", ferry.CodeUnsupportedMedia, []string{"avro"}},
		"UTF-16":            {`{}`, EventType + "; charset=utf-16", ferry.CodeUnsupportedMedia, []string{"utf-16"}},
	} {
		t.Run(name, func(t *testing.T) {
			contentType := test.contentType
			if contentType == "" {
				contentType = EventType
			}
			_, fault := ReadEvent(contentType, []byte(test.body))
			if fault == nil || fault.Code != test.code {
				t.Fatalf("%v, want %s", fault, test.code)
			}
			for _, says := range test.says {
				if !strings.Contains(fault.Message, says) {
					t.Errorf("%q does not say %q", fault.Message, says)
				}
			}
		})
	}
	if _, fault := HeaderEvent(http.Header{"Ce-Id": {"1"}, "Ce-Type": {"t", "u"}, "Ce-Datacontenttype": {"a/b"}}); fault == nil ||
		!strings.Contains(fault.Message, "source is missing") || !strings.Contains(fault.Message, "type is given more than once") ||
		!strings.Contains(fault.Message, "Content-Type") {
		t.Errorf("headers: %v", fault)
	}
}

// Two events that differ have different keys, and a key is always good.
func TestKeysOfEvents(t *testing.T) {
	seen := map[string]string{}
	for _, e := range [][2]string{{"/s", "1"}, {"/s1", ""}, {"/s", "1 2"}, {"/s", " 1"}, {"/s", strings.Repeat("x", 200)}, {"/" + strings.Repeat("s", 200), "x"}, {"/s", "ä"}, {"/s", "\x7f"}} {
		key := (&Event{Attributes: map[string]string{"source": e[0], "id": e[1]}}).Key()
		m := ferry.Message{IdempotencyKey: key}
		if fault := m.Validate(); fault != nil {
			t.Errorf("%q: %v", e, fault)
		}
		if before, twice := seen[key]; twice {
			t.Errorf("%q and %q have one key", e, before)
		}
		seen[key] = strings.Join(e[:], "|")
	}
	if got := (&Event{Attributes: map[string]string{"source": "/shop", "id": "42"}}).Key(); got != "/shop 42" {
		t.Errorf("the key is %q", got)
	}
}

func TestDescribe(t *testing.T) {
	e := &Event{ContentType: "application/xml", Attributes: map[string]string{
		"id": "1", "source": "/s", "type": "t", "specversion": "1.0", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "subject": "x",
	}}
	m := ferry.Message{Properties: map[string]string{"ce-subject": "the sender's own", "a": "b"}}
	if fault := e.Describe(&m); fault != nil {
		t.Fatal(fault)
	}
	if m.IdempotencyKey != "/s 1" || m.ContentType != "application/xml" || m.Traceparent == "" || m.Properties["ce-subject"] != "the sender's own" || m.Properties["ce-type"] != "t" || m.Properties["a"] != "b" {
		t.Errorf("%+v", m)
	}
	m = ferry.Message{IdempotencyKey: "mine", Traceparent: "mine too"}
	e.Attributes["traceparent"] = "nonsense"
	if fault := e.Describe(&m); fault != nil || m.IdempotencyKey != "mine" || m.Traceparent != "mine too" {
		t.Errorf("%+v, %v", m, fault)
	}
	for i := range ferry.MaxProperties {
		e.Attributes["x"+string(rune('a'+i%26))+string(rune('a'+i/26))] = "1"
	}
	if fault := e.Describe(&m); fault == nil || fault.Code != ferry.CodeTooManyProperties {
		t.Errorf("too many attributes: %v", fault)
	}
}

func TestEnvelopeAsEvent(t *testing.T) {
	id := ferry.NewID(time.Unix(1_800_000_000, 0))
	e := ferry.Envelope{ID: id, Route: "invoices", State: ferry.StateCompleted, Generation: 2, UpdatedAt: time.Unix(1_800_000_100, 0), CorrelationID: "c-1", Reference: "INV-1"}
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	text, err := CloudEvent(&e, "https://broker.example/", data)
	if err != nil {
		t.Fatal(err)
	}
	event, fault := ReadEvent(EventType, text)
	if fault != nil {
		t.Fatalf("%s: %v", text, fault)
	}
	want := map[string]string{
		"specversion": "1.0", "type": TypeCompleted, "source": "https://broker.example/v1/routes/invoices", "subject": id.String(),
		"id": id.String() + "/2/completed", "time": "2027-01-15T08:01:40Z", "correlationid": "c-1",
	}
	if diff := cmp.Diff(want, event.Attributes); diff != "" {
		t.Error(diff)
	}
	var back ferry.Envelope
	if err := json.Unmarshal(event.Data, &back); err != nil || back.Reference != "INV-1" || back.ID != id {
		t.Errorf("%+v, %v", back, err)
	}
	for state, kind := range map[ferry.State]string{ferry.StateDeadLettered: TypeDeadLettered, ferry.StateDiscarded: TypeDiscarded, ferry.StateRetrying: TypePending} {
		e.State = state
		if text, err := CloudEvent(&e, "", data); err != nil || !strings.Contains(string(text), `"type":"`+kind+`"`) {
			t.Errorf("%s: %s, %v", state, text, err)
		}
	}
}

func TestOutgoing(t *testing.T) {
	h := ferry.HandOut{ExternalKey: "INV-1", CreatedAt: time.Unix(1_800_000_000, 0), Properties: map[string]string{"a": "b"}}
	e := Outgoing(&h, "/ferry", "invoice", "application/json", []byte(`{}`))
	want := map[string]string{"specversion": "1.0", "type": "invoice", "source": "/ferry", "id": "INV-1", "time": "2027-01-15T08:00:00Z"}
	if diff := cmp.Diff(want, e.Attributes); diff != "" {
		t.Error(diff)
	}
	// One that came as an event goes on as the same event.
	h = ferry.HandOut{ExternalKey: "/shop 42", Properties: map[string]string{"ce-id": "42", "ce-source": "/shop", "ce-type": "order", "ce-specversion": "1.0", "ce-x": "y"}}
	if e = Outgoing(&h, "/ferry", "invoice", "", nil); e.Attributes["id"] != "42" || e.Attributes["source"] != "/shop" || e.Attributes["type"] != "order" || e.Attributes["x"] != "y" {
		t.Errorf("%+v", e.Attributes)
	}
	// But under a key of the sender's own, the key is what the destination knows.
	h.ExternalKey = "mine"
	if e = Outgoing(&h, "/ferry", "invoice", "", nil); e.Attributes["id"] != "mine" {
		t.Errorf("%+v", e.Attributes)
	}
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain","data":"x","ext":true}`))
	f.Add([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"AAEC"}`))
	f.Add([]byte(`{"specversion":"1.0","id":"é","source":"/s","type":"t","data":[1.10,null]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, fault := ReadEvent(EventType, body)
		if fault != nil {
			return
		}
		m := ferry.Message{}
		if fault := e.Describe(&m); fault != nil {
			return
		}
		text, err := e.JSON()
		if err != nil {
			return // base64 of what its content type says to be JSON, and is not
		}
		again, fault := ReadEvent(EventType, text)
		if fault != nil {
			t.Fatalf("%q became %s: %v", body, text, fault)
		}
		if diff := cmp.Diff(e.Attributes, again.Attributes); diff != "" {
			t.Fatalf("%q became %s:\n%s", body, text, diff)
		}
		for name, values := range e.Header() {
			for _, c := range values[0] {
				if c < 0x20 || c > 0x7e {
					t.Fatalf("the header %s is %q", name, values[0])
				}
			}
		}
	})
}
