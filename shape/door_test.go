package shape

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

const invoiceSchema = `{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","required":["number","total","date"],"additionalProperties":false,
	"properties":{"number":{"type":"string","pattern":"^INV-\\d+$"},"total":{"type":"number","multipleOf":0.01,"exclusiveMinimum":0},"date":{"type":"string","format":"date"},
	"email":{"type":"string","format":"email"},"lines":{"type":"array","uniqueItems":true,"items":{"$ref":"#/$defs/line"}}},
	"$defs":{"line":{"type":"object","required":["text"],"properties":{"text":{"type":"string","minLength":1},"vat":{"enum":["A","B"]}}}}}`

func door(t *testing.T, r ferry.Route) *Door {
	t.Helper()
	if r.Name == "" {
		r.Name = "invoices"
	}
	d, err := New(&r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func take(t *testing.T, d *Door, m *ferry.Message, body string) (string, *ferry.Error) {
	t.Helper()
	out, fault := d.Take(t.Context(), m, []byte(body))
	return string(out), fault
}

// faults are on one line: code, then each pointer with its words.
func faults(e *ferry.Error) string {
	if e == nil {
		return ""
	}
	list := []string{string(e.Code)}
	for _, d := range e.Details {
		list = append(list, strings.TrimSpace(d.Pointer+" "+d.Detail))
	}
	if len(list) == 1 {
		list = append(list, e.Message)
	}
	return strings.Join(list, "; ")
}

func TestSchemaAtTheDoor(t *testing.T) {
	d := door(t, ferry.Route{Schema: json.RawMessage(invoiceSchema)})
	for name, test := range map[string]struct{ body, contentType, want string }{
		"good":            {`{"number":"INV-1","total":1190.10,"date":"2026-11-26","lines":[{"text":"a"}]}`, "application/json", ""},
		"no content type": {`{"number":"INV-1","total":1,"date":"2026-11-26"}`, "", ""},
		"a mark in front": {"\ufeff" + `{"number":"INV-1","total":1,"date":"2026-11-26"}`, "application/json; charset=UTF-8", ""},
		"another JSON":    {`{"number":"INV-1","total":1,"date":"2026-11-26"}`, "application/vnd.contoso+json", ""},
		"all faults at once": {
			`{"number":"X","total":0.001,"date":"2026-02-30","email":"x","lines":[{"text":""},{"vat":"C"}],"extra":1}`, "application/json",
			"invalid; /extra is not one of the members that this object may have; /date is no date; /email is no email; /lines/0/text has 0 characters, at least 1 are wanted; " +
				`/lines/1/text is missing; /lines/1/vat must be one of A, B; /number does not match ^INV-\d+$; /total must be a multiple of 0.01`,
		},
		"exact":               {`{"number":"INV-1","total":123456789012345678.90,"date":"2026-11-26"}`, "application/json", ""},
		"exactly wrong":       {`{"number":"INV-1","total":123456789012345678.901,"date":"2026-11-26"}`, "application/json", "invalid; /total must be a multiple of 0.01"},
		"the same line twice": {`{"number":"INV-1","total":1,"date":"2026-11-26","lines":[{"text":"a"},{"text":"a"}]}`, "application/json", "invalid; /lines has the same item twice, at 0 and 1"},
		"a member twice":      {`{"number":"INV-1","number":"INV-2","total":1,"date":"2026-11-26"}`, "application/json", "invalid; /number stands there twice"},
		"not JSON":            {`{"number":`, "application/json", "badRequest; the body is not JSON: it ends too early, after 10 bytes"},
		"curl's own type":     {`{"number":"INV-1"}`, "application/x-www-form-urlencoded", `unsupportedMediaType; the content type "application/x-www-form-urlencoded" is not taken on this route`},
		"XML":                 {`<a/>`, "text/xml", `unsupportedMediaType; the content type "text/xml" is not taken on this route`},
		"parts":               {`--x`, "multipart/form-data; boundary=x", `unsupportedMediaType; the content type "multipart/form-data; boundary=x" is not taken on this route`},
		"Latin 1":             {`{}`, "application/json; charset=iso-8859-1", `unsupportedMediaType; JSON in iso-8859-1 is not taken`},
	} {
		t.Run(name, func(t *testing.T) {
			m := ferry.Message{ContentType: test.contentType}
			out, fault := take(t, d, &m, test.body)
			if diff := cmp.Diff(test.want, faults(fault)); diff != "" {
				t.Error(diff)
			}
			if want := strings.TrimPrefix(test.body, "\ufeff"); fault == nil && out != want {
				t.Errorf("%q became %q", test.body, out)
			}
		})
	}
}

// Values of the body never stand in what is told of it.
func TestFaultsRepeatNoValues(t *testing.T) {
	d := door(t, ferry.Route{Schema: json.RawMessage(invoiceSchema)})
	_, fault := take(t, d, &ferry.Message{}, `{"number":"GEHEIM","total":4711471147.001,"date":"GEHEIM","email":"GEHEIM","lines":[{"text":"GEHEIM","vat":"GEHEIM"},"GEHEIM"]}`)
	text := fmt.Sprint(fault.Message, fault.Hint, fault.Details)
	if strings.Contains(text, "GEHEIM") || strings.Contains(text, "4711") || len(fault.Details) < 5 {
		t.Error(text)
	}
	name := strings.Repeat("n", 100_000)
	_, fault = take(t, d, &ferry.Message{}, `{"`+name+`":1,"`+name+`":2}`)
	if text := fmt.Sprint(fault.Message, fault.Details); len(text) > 1000 {
		t.Errorf("%d characters are told of a long name", len(text))
	}
}

// What a schema costs is bounded, whatever schema and body are.
func TestSchemasAreBounded(t *testing.T) {
	many := "[" + strings.Repeat("1,", 1_000_000) + `"x"]`
	for name, test := range map[string]struct{ schema, body, want string }{
		"100 faults":            {`{"items":{"type":"string"}}`, many, "100 places or more"},
		"of an older draft too": {`{"$schema":"http://json-schema.org/draft-07/schema#","items":{"type":"string"}}`, many, "100 places or more"},
		"by reference":          {`{"$ref":"#/$defs/l","$defs":{"l":{"items":{"$ref":"#/$defs/l/$defs/s"},"$defs":{"s":{"type":"string"}}}}}`, many, "100 places or more"},
		"unique":                {`{"uniqueItems":true}`, "[" + strings.Repeat("1,", 100_000) + "2]", "same item twice"},
		"a slow pattern":        {`{"pattern":"^(a+)+$"}`, `"` + strings.Repeat("a", 1_000_000) + `b"`, "does not match"},
		"members":               {`{"additionalProperties":{"type":"string"}}`, object(30_000), "30000 members"},
		"a huge exponent":       {`{"multipleOf":0.01}`, `1e1000000000`, "out of range"},
		"deep":                  {`{"$ref":"#/$defs/n","$defs":{"n":{"properties":{"n":{"$ref":"#/$defs/n"}}}}}`, strings.Repeat(`{"n":`, 600) + "1" + strings.Repeat("}", 600), "deep"},
	} {
		t.Run(name, func(t *testing.T) {
			_, fault := take(t, door(t, ferry.Route{Schema: json.RawMessage(test.schema)}), &ferry.Message{}, test.body)
			if fault == nil || fault.Code != ferry.CodeInvalid || !strings.Contains(fault.Message+faults(fault), test.want) || len(fault.Details) > 100 {
				t.Errorf("%v, want %s", fault, test.want)
			}
		})
	}
	// Unique items that are unique: no pair of them is compared that need not be.
	var list strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&list, "%d,", i)
	}
	if _, fault := take(t, door(t, ferry.Route{Schema: json.RawMessage(`{"uniqueItems":true}`)}), &ferry.Message{}, "["+list.String()+`"x"]`); fault != nil {
		t.Error(fault)
	}
}

func object(members int) string {
	var b strings.Builder
	for i := range members {
		fmt.Fprintf(&b, `"m%d":1,`, i)
	}
	return "{" + strings.TrimSuffix(b.String(), ",") + "}"
}

// A schema that doubles its work with every level ends in time.
func TestSchemasThatLeadBackEnd(t *testing.T) {
	d := door(t, ferry.Route{Schema: json.RawMessage(`{"$ref":"#/$defs/n","$defs":{"n":{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}]},
		"a":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"required":["x"]},"b":{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"required":["y"]}}}`)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	body := []byte(strings.Repeat(`{"n":`, 60) + "{}" + strings.Repeat("}", 60))
	if _, fault := d.Take(ctx, &ferry.Message{}, body); fault == nil || fault.Code != ferry.CodeBadRequest {
		t.Errorf("whose sender went away: %v", fault)
	}
	if testing.Short() {
		return
	}
	if _, fault := d.Take(t.Context(), &ferry.Message{}, body); fault == nil || fault.Code != ferry.CodeInvalid || !strings.Contains(fault.Message, "takes more than") {
		t.Errorf("%v", fault)
	}
}

func versioned() ferry.Route {
	day := time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC)
	return ferry.Route{
		Name: "invoices", Schema: json.RawMessage(`{"required":["any"]}`),
		VersionBy: ferry.VersionBy{Field: ".schemaVersion"},
		Versions: []ferry.RouteVersion{
			{Name: "v1", Form: ferry.Form{
				Schema: json.RawMessage(`{"required":["no"]}`), Request: `{number: .no, total: .sum, of: $version, type: $contentType, who: $properties.who}`,
				Result: `{doc: .id, ref: $reference, v: $version}`,
			}, As: "v2", Sunset: day},
			{Name: "v2", Form: ferry.Form{Schema: json.RawMessage(`{"required":["number"]}`)}, Default: true},
			{Name: "raw", Form: ferry.Form{}},
		},
	}
}

func TestVersionsAndTransforms(t *testing.T) {
	for name, test := range map[string]struct {
		version, body, want string // want begins with ! for an error
		of, as              string
		sentOtherwise       bool
	}{
		"by name":                {"v1", `{"no":"1","sum":10.00}`, `{"number":"1","of":"v1","total":10.00,"type":"application/json","who":"me"}`, "v1", "v2", true},
		"the default one":        {"", `{"number":"1"}`, `{"number":"1"}`, "v2", "", false},
		"by field":               {"", `{"schemaVersion":"v1","no":12345678901234567890.10,"sum":1}`, `{"number":12345678901234567890.10,"of":"v1","total":1,"type":"application/json","who":"me"}`, "v1", "v2", true},
		"null as field":          {"", `{"schemaVersion":null,"number":"1"}`, `{"schemaVersion":null,"number":"1"}`, "v2", "", false},
		"the request wins":       {"v2", `{"schemaVersion":"v1","number":1}`, `{"schemaVersion":"v1","number":1}`, "v2", "", false},
		"no such one":            {"v9", `{}`, "!versionNotFound; the route invoices has no version \"v9\"", "", "", false},
		"no such one, by field":  {"", `{"schemaVersion":"v9"}`, "!versionNotFound; the route invoices has no version \"v9\"", "", "", false},
		"a number, by field":     {"", `{"schemaVersion":{}}`, "!invalid; the version cannot be found in the body: the program gives an object where text or a number is wanted", "", "", false},
		"breaks its own schema":  {"v1", `{"number":"1"}`, "!invalid; /no is missing", "", "", false},
		"breaks the default's":   {"", `{"no":"1"}`, "!invalid; /number is missing", "", "", false},
		"a version without form": {"raw", `anything`, `anything`, "raw", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			d := door(t, versioned())
			m := ferry.Message{Version: test.version, ContentType: "application/json", Properties: map[string]string{"who": "me"}}
			out, fault := take(t, d, &m, test.body)
			if fault != nil {
				out = "!" + faults(fault)
			}
			if out != test.want {
				t.Errorf("%s\nwant %s", out, test.want)
			}
			if fault != nil {
				return
			}
			if m.Version != test.of || m.As != test.as {
				t.Errorf("of the version %q, told as %q", m.Version, m.As)
			}
			sum := sha256.Sum256([]byte(test.body))
			if test.sentOtherwise != (m.SentHash != nil) || test.sentOtherwise && string(m.SentHash) != string(sum[:]) {
				t.Errorf("the hash of what was sent is %x", m.SentHash)
			}
		})
	}
}

func TestRequestProgramsThatFail(t *testing.T) {
	for program, want := range map[string]string{
		`.number | tonumber`:   "fails on this body",
		`error("no supplier")`: "no supplier",
		`empty`:                "gives nothing",
		`[range(1e9)]`:         "fails on this body",
		`[limit(1e7; repeat("xxxxxxxxxx"))] | add`: "fails on this body",
	} {
		_, fault := take(t, door(t, ferry.Route{Request: program}), &ferry.Message{}, `{"number":"x"}`)
		if fault == nil || fault.Code != ferry.CodeInvalid || !strings.Contains(fault.Message, want) {
			t.Errorf("%s: %v, want %s", program, fault, want)
		}
	}
}

func TestXMLAndFormsAtTheDoor(t *testing.T) {
	r := ferry.Route{
		Accept: []string{ferry.AcceptXML, ferry.AcceptForm}, XML: ferry.XML{ForceArray: []string{"/o/line", "/tag"}},
		Schema: json.RawMessage(`{"anyOf":[{"required":["o"]},{"required":["n"]}]}`),
	}
	for name, test := range map[string]struct{ contentType, body, want string }{
		"XML":        {"application/xml", `<o><line>1</line></o>`, `{"o":{"line":["1"]}}`},
		"of a kind":  {"application/vnd.x+xml; charset=iso-8859-1", "<o>\xfc</o>", `{"o":"ü"}`},
		"a form":     {"application/x-www-form-urlencoded; charset=utf-8", `n=1&tag=x`, `{"n":"1","tag":["x"]}`},
		"JSON":       {"application/json", `{"o":1}`, `!unsupportedMediaType`},
		"bad XML":    {"text/xml", `<o>`, "!badRequest"},
		"broken":     {"text/xml", `<x/>`, "!invalid"},
		"other form": {"application/x-www-form-urlencoded; charset=iso-8859-1", "n=1", "!unsupportedMediaType"},
	} {
		t.Run(name, func(t *testing.T) {
			m := ferry.Message{ContentType: test.contentType}
			out, fault := take(t, door(t, r), &m, test.body)
			if fault != nil {
				out = "!" + string(fault.Code)
			}
			if out != test.want {
				t.Fatalf("%s (%v), want %s", out, fault, test.want)
			}
			sum := sha256.Sum256([]byte(test.body))
			if fault == nil && (m.ContentType != "application/json" || string(m.SentHash) != string(sum[:])) {
				t.Errorf("%+v", m)
			}
		})
	}
}

func TestEventsAtTheDoor(t *testing.T) {
	d := door(t, ferry.Route{CloudEvents: true, Schema: json.RawMessage(`{"required":["n"]}`)})
	event := func(data string) string {
		return `{"specversion":"1.0","id":"42","source":"/shop","type":"order",` + data + `}`
	}
	m := ferry.Message{ContentType: "application/cloudevents+json"}
	out, fault := take(t, d, &m, event(`"data":{"n": 1.0}`))
	if fault != nil || out != `{"n":1.0}` || m.IdempotencyKey != "/shop 42" || m.ContentType != "application/json" || m.Properties["ce-type"] != "order" {
		t.Errorf("%s, %v, %+v", out, fault, m)
	}
	if m.SentHash != nil {
		t.Error("an event's data is what was sent: another wrapping of it must be known")
	}
	// The pointers lead into the body that was sent.
	if _, fault = take(t, d, &ferry.Message{ContentType: "application/cloudevents+json"}, event(`"data":{}`)); faults(fault) != "invalid; /data/n is missing" {
		t.Errorf("%s", faults(fault))
	}
	if _, fault = take(t, d, &ferry.Message{ContentType: "application/cloudevents+json"}, `{"id":"1"}`); fault == nil || fault.Code != ferry.CodeBadRequest {
		t.Errorf("%v", fault)
	}
	// Data of another kind than the schema's is refused as if it came alone.
	if _, fault = take(t, d, &ferry.Message{ContentType: "application/cloudevents+json"}, event(`"datacontenttype":"text/plain","data":"x"`)); fault == nil || fault.Code != ferry.CodeUnsupportedMedia {
		t.Errorf("%v", fault)
	}
	// Without cloudEvents the type is JSON like any other.
	m = ferry.Message{ContentType: "application/cloudevents+json"}
	if out, fault := take(t, door(t, ferry.Route{Schema: json.RawMessage(`{"required":["data"]}`)}), &m, event(`"data":1`)); fault != nil || out != event(`"data":1`) || m.IdempotencyKey != "" {
		t.Errorf("%s, %v", out, fault)
	}
}

// A result program never costs the end of a message.
func TestResults(t *testing.T) {
	d := door(t, versioned())
	for name, test := range map[string]struct{ version, program, result, want, note string }{
		"of a version":  {version: "v1", result: `{"id":7.50}`, want: `{"doc":7.50,"ref":"R","v":"v1"}`},
		"of another":    {version: "v2", result: `{"id":7}`, want: `{"id":7}`},
		"gone version":  {version: "v0", result: `{"id":7}`, want: `{"id":7}`},
		"no result":     {version: "v1", result: ``, want: `{"doc":null,"ref":"R","v":"v1"}`},
		"fails":         {program: `.id | ltrimstr("x") | tonumber`, result: `{"id":"abc"}`, want: `{"id":"abc"}`, note: "failed"},
		"not JSON":      {program: `.id`, result: `abc`, want: `abc`, note: "not JSON"},
		"says nothing":  {program: `empty`, result: `{"id":1}`, want: ``},
		"far too large": {program: `"x" * 100000`, result: `1`, want: `1`, note: "too much"},
	} {
		t.Run(name, func(t *testing.T) {
			d := d
			if test.program != "" {
				d = door(t, ferry.Route{Result: test.program})
			}
			got, note := d.Told(t.Context(), test.version, "R", []byte(test.result))
			if string(got) != test.want || !strings.Contains(note, test.note) || test.note == "" && note != "" {
				t.Errorf("%s, %q, want %s, %q", got, note, test.want, test.note)
			}
		})
	}
}

func TestEditsAreHeld(t *testing.T) {
	d := door(t, versioned())
	for _, test := range []struct{ version, contentType, body, want string }{
		{"v2", "application/json", `{"number":1}`, ""},
		{"v2", "", `{}`, "invalid; /number is missing"},
		{"v2", "text/plain", `{}`, `unsupportedMediaType; the content type "text/plain" does not go with the route's schema`},
		{"v1", "application/json", `{"anything":1}`, ""}, // what its program made is of no schema
		{"gone", "application/json", `{`, ""},
		{"raw", "text/plain", `x`, ""},
	} {
		if got := faults(d.Holds(t.Context(), test.version, test.contentType, []byte(test.body))); got != test.want {
			t.Errorf("%s of %s: %s, want %s", test.body, test.version, got, test.want)
		}
	}
}

// A route that says nothing has no door, and one that need not look reads nothing.
func TestWhatNeedNotBeReadIsNot(t *testing.T) {
	if d := door(t, ferry.Route{}); d != nil {
		t.Error("a door without a reason")
	}
	d := door(t, ferry.Route{Versions: []ferry.RouteVersion{{Name: "v1"}, {Name: "v2", Form: ferry.Form{Request: "."}}}, CloudEvents: true})
	for _, test := range []struct {
		version, contentType string
		want                 bool
	}{{"", "", false}, {"v1", "", false}, {"v2", "", true}, {"v1", "application/cloudevents+json", true}} {
		if got := d.Reads(&ferry.Message{Version: test.version, ContentType: test.contentType}); got != test.want {
			t.Errorf("%+v: %t", test, got)
		}
	}
	m := ferry.Message{Version: "v1"}
	if fault := d.Settle(&m); fault != nil || m.Version != "v1" {
		t.Errorf("%+v, %v", m, fault)
	}
	if fault := d.Settle(&ferry.Message{Version: "v9"}); fault == nil || !strings.Contains(fault.Hint, "v1, v2") {
		t.Errorf("%v", fault)
	}
}

func TestNewRefuses(t *testing.T) {
	for name, r := range map[string]ferry.Route{
		"schema":     {Schema: json.RawMessage(`{"type":"x"}`)},
		"request":    {Request: "("},
		"result":     {Result: "$nothing"},
		"field":      {Versions: []ferry.RouteVersion{{Name: "v1"}}, VersionBy: ferry.VersionBy{Field: "("}},
		"of version": {Versions: []ferry.RouteVersion{{Name: "v1", Form: ferry.Form{Request: "("}}}},
		"list":       {Accept: []string{ferry.AcceptXML}, XML: ferry.XML{ForceArray: []string{"a"}}},
	} {
		if _, err := New(&r); ferry.CodeOf(err) != ferry.CodeBadConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkTake(b *testing.B) {
	r := ferry.Route{Schema: json.RawMessage(invoiceSchema)}
	d, err := New(&r)
	if err != nil {
		b.Fatal(err)
	}
	body := []byte(`{"number":"INV-1","total":1190.10,"date":"2026-11-26","lines":[{"text":"a line of an invoice","vat":"A"},{"text":"another line","vat":"B"}]}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		m := ferry.Message{ContentType: "application/json"}
		if _, fault := d.Take(b.Context(), &m, body); fault != nil {
			b.Fatal(fault)
		}
	}
}
