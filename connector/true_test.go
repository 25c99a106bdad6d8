package connector

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"ferry"
)

// entire is the schema as the broker holds messages to it; said is what the connector
// says of it, as somebody else reads it.
func entire(raw json.RawMessage) (func(any) bool, error) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:///s", v); err != nil {
		return nil, err
	}
	compiled, err := c.Compile("mem:///s")
	if err != nil {
		return nil, err
	}
	return func(v any) bool { return compiled.Validate(v) == nil }, nil
}

func said(t interface{ Fatal(...any) }, raw json.RawMessage) func(any) error {
	schema, _ := bodySchema(raw)
	var read openapi3.Schema
	if err := json.Unmarshal(compact(schema), &read); err != nil {
		t.Fatal(err)
	}
	if schema == nil {
		return func(any) error { return nil }
	}
	return func(v any) error { return read.VisitJSON(v) }
}

// TestWhatIsSaidIsTrue: a message that the whole schema takes is one that the
// connector lets makers send. The other way round the broker decides.
func TestWhatIsSaidIsTrue(t *testing.T) {
	for _, c := range []struct {
		route, message string
		refused        bool // by what the connector says
	}{
		{"supplier-invoices", `{"invoice":{"number":"1","supplier":{"name":"C"},"currency":"EUR","lines":[{"text":"a","amount":1}]},"source":"flow"}`, false},
		{"supplier-invoices", `{"invoice":{"number":"1","supplier":{"name":"C"},"currency":"GBP","lines":[]}}`, true},
		{"supplier-invoices", `{"invoice":{"supplier":{"name":"C"}}}`, true},
		{"sales-orders", `{"orderNumber":"1","customer":{"id":1},"createdAt":"2026-11-26T00:00:00Z","delivery":{"kind":"ship","address":"x"}}`, false},
		{"sales-orders", `{"orderNumber":"1","customer":{"id":1},"createdAt":"2026-11-26T00:00:00Z","delivery":{"kind":"pickup","store":3}}`, false},
		{"sales-orders", `{"orderNumber":"1","customer":{"id":1}}`, true},
		{"sales-orders", `{"orderNumber":"1","customer":{"id":1},"createdAt":"x","delivery":{"kind":"fly"}}`, true},
		{"employees", `{"name":"a","manager":{"name":"b","manager":{"name":"c","reports":[{"name":"d"}]}},"reports":[{"name":"e"}]}`, false},
		{"employees", `{"manager":{"name":"b"}}`, true},
		{"items", `{"sku":"1","unit":"KG","price":3.5,"size":"XL"}`, false},
		{"items", `{"sku":"1","unit":"LB"}`, true},
		{"journal-entries", `[{"account":"1","amount":1},{"account":"2","amount":-1}]`, false},
		{"journal-entries", `{"account":"1"}`, true},
		{"payments", `{"amount":1,"reference":"r","iban":"x"}`, false},
		{"payments", `{"amount":1,"iban":"x"}`, true},
		{"price-lists", `{"prices":[["a",1]],"byCustomer":{"c":1}}`, false},
		{"shipments", `{"boxes":[{"contents":[{"serials":["1"],"weight":2.5}]}],"anything":[1,"x"]}`, false},
		{"time-sheets", `{"week":"2026-W01","hours":{"mon":8}}`, false},
		{"time-sheets", `{"week":"2026-W01","hours":{"mon":25}}`, true},
		{"vendors", `{"Name":"a","bank":{"iban":"x","bic":"y"}}`, false},
		{"vendors", `{"Name":"a","bank":{"bic":"y"}}`, true},
	} {
		raw := routeOf(t, c.route).Schema
		var message any
		if err := json.Unmarshal([]byte(c.message), &message); err != nil {
			t.Fatal(err)
		}
		good, err := entire(raw)
		if err != nil {
			t.Fatal(err)
		}
		if good(message) == c.refused {
			t.Errorf("%s: the sample is none: %s", c.route, c.message)
		}
		if err := said(t, raw)(message); (err != nil) != c.refused {
			t.Errorf("%s: refused %v, want %v, for %s: %v", c.route, err != nil, c.refused, c.message, err)
		}
	}
}

// TestNothingIsSaidWrongly draws schemas and messages: what the whole schema takes,
// what is said of it takes too; and every definition is true to the rules. A field
// that only one case of a schema names is not expected in another: so objects are
// closed here.
func TestNothingIsSaidWrongly(t *testing.T) {
	taken := 0
	rapid.Check(t, func(rt *rapid.T) {
		g := drawer{rt}
		raw := compact(append(g.schema(3).(object), member{"$defs", object{{"one", g.part(1)}, {"two", g.part(2)}}}))
		good, err := entire(raw)
		if err != nil {
			rt.Skip("no schema: ", err)
		}
		says := said(rt, raw)
		for range 60 {
			text := compact(g.value(3))
			var message any
			if err := json.Unmarshal(text, &message); err != nil {
				rt.Fatal(err)
			}
			if !good(message) || holdsNull(message) { // designers leave out what is null
				continue
			}
			taken++
			if err := says(message); err != nil {
				schema, _ := bodySchema(raw)
				rt.Fatalf("the schema\n%s\ntakes\n%s\nand what is said of it does not:\n%s\n%v", raw, text, compact(schema), err)
			}
		}
		c, err := Make([]ferry.Route{{Name: "drawn", Schema: raw}}, Options{})
		if err != nil {
			rt.Fatal(err)
		}
		if faults := check(t, c.Files[0].Data); len(faults) > 0 {
			rt.Fatalf("%s\n%q", raw, faults)
		}
	})
	if taken < 40 {
		t.Errorf("only %d messages were true to their schema", taken)
	}
}

func holdsNull(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if holdsNull(e) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if holdsNull(e) {
				return true
			}
		}
	}
	return v == nil
}

// drawer draws schemas and values of few names, so that they meet.
type drawer struct{ t *rapid.T }

func (g drawer) one(list ...string) string { return rapid.SampledFrom(list).Draw(g.t, "word") }

func (g drawer) number(low, high int) int { return rapid.IntRange(low, high).Draw(g.t, "number") }

func (g drawer) seldom() bool { return g.number(0, 5) == 0 }

func (g drawer) schema(depth int) any {
	return append(g.part(depth).(object), member{"unevaluatedProperties", false})
}

// part is a schema that leaves open which more fields there are.
func (g drawer) part(depth int) any {
	s := object{}
	if g.seldom() {
		s = append(s, member{"title", g.one("Text", "a title", "<b>x</b>", "🚢")})
	}
	if depth <= 0 {
		return append(s, g.leaf()...)
	}
	switch g.number(0, 9) {
	case 0, 1, 2:
		s = append(s, g.object(depth)...)
	case 3:
		s = append(s, obj("type", "array", "items", g.schema(depth-1))...)
	case 4:
		s = append(s, member{g.one("oneOf", "anyOf", "allOf"), g.schemas(depth)})
		if g.seldom() {
			s = append(s, g.object(depth)...)
		}
	case 5:
		s = append(s, member{"$ref", g.one("#/$defs/one", "#/$defs/two", "#")})
		if g.seldom() {
			s = append(s, g.object(depth)...)
		}
	case 6:
		s = append(s, g.object(depth)...)
		s = append(s, member{"if", g.part(0)}, member{"then", g.part(depth - 1)}, member{"else", g.part(depth - 1)})
	default:
		s = append(s, g.leaf()...)
	}
	return s
}

func (g drawer) schemas(depth int) []any {
	list := []any{}
	for range g.number(1, 3) {
		list = append(list, g.part(depth-1))
	}
	return list
}

func (g drawer) object(depth int) object {
	// A schema that names properties and no type is taken for one of objects.
	s, properties := obj("type", "object"), object{}
	for _, name := range []string{"a", "b", "A", "oneOf", "x-ms-y"} {
		if g.number(0, 1) == 0 {
			properties = append(properties, member{name, g.schema(depth - 1)})
		}
	}
	s = append(s, member{"properties", properties})
	if g.seldom() {
		s = append(s, member{"required", texts(g.one("a", "b", "c", "oneOf"))})
	}
	if g.seldom() {
		s = append(s, member{"dependentSchemas", object{{"a", g.part(depth - 1)}}})
	}
	return s
}

func (g drawer) leaf() object {
	s := object{}
	switch g.number(0, 8) {
	case 0:
		s = obj("type", "string", "maxLength", g.number(1, 4))
	case 1:
		s = obj("type", g.one("integer", "number"), "minimum", g.number(0, 2))
	case 2:
		s = obj("type", "number", "exclusiveMaximum", g.number(0, 3))
	case 3:
		s = obj("enum", []any{"x", 1, true}[:g.number(1, 3)])
	case 4:
		s = obj("const", g.one("x", "y"), "title", g.one("", "X"))
	case 5:
		s = object{{"type", texts(g.one("string", "integer"), g.one("null", "boolean", "object"))}}
	case 6:
		s = obj("type", g.one("boolean", "null", "object", "array", "string"))
	case 7:
		s = obj("type", "string", "enum", texts("x", "y"), "default", "x")
	}
	return s
}

func (g drawer) value(depth int) any {
	switch kind := g.number(0, 7); {
	case kind < 4 && depth > 0:
		o := object{}
		for _, name := range []string{"a", "b", "A", "c", "oneOf"} {
			if g.number(0, 1) == 0 {
				o = append(o, member{name, g.value(depth - 1)})
			}
		}
		return o
	case kind == 4 && depth > 0:
		list := []any{}
		for range g.number(0, 2) {
			list = append(list, g.value(depth-1))
		}
		return list
	case kind == 5:
		return g.number(0, 3)
	case kind == 6:
		return g.number(0, 1) == 0
	default:
		return g.one("x", "y", "long text")
	}
}
