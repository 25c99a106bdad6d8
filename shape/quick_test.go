package shape

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// quickSchemas have each keyword that quick knows, and values that lie at its edges.
func quickSchemas() []string {
	return []string{
		invoiceSchema,
		`{"type":["object","null"],"properties":{"a":{"type":"integer"},"b":{"type":"number"}},"required":["a"],"additionalProperties":{"type":"string"},"minProperties":1,"maxProperties":3}`,
		`{"anyOf":[{"type":"string","minLength":2,"maxLength":3},{"type":"array","items":{"$ref":"#"},"minItems":1,"maxItems":2},{"const":5},{"enum":[null,true,"x",1.0]}]}`,
		`{"allOf":[{"minimum":-1.5},{"maximum":10},{"exclusiveMaximum":10},{"exclusiveMinimum":-1.5},{"multipleOf":0.05}]}`,
		`{"properties":{"d":{"format":"date"},"t":{"format":"date-time"},"e":{"format":"email"},"u":{"format":"uuid"},"p":{"pattern":"^[\\u00e4a-c]+$"},"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"properties":{"n":{"$ref":"#/$defs/n"},"v":{"type":"boolean"}},"additionalProperties":false}}}`,
		`{"$ref":"#/$defs/a~1b","maxProperties":2,"$defs":{"a/b":{"type":"object"}}}`,
		`{"properties":{"a":false,"b":true},"items":false}`,
		`{"uniqueItems":true}`,
	}
}

// value draws a value that such schemas may or may not take.
func value(t *rapid.T, depth int) any {
	kinds := 8
	if depth > 3 {
		kinds = 6
	}
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return nil
	case 1:
		return rapid.Bool().Draw(t, "bool")
	case 2, 3:
		return json.Number(rapid.SampledFrom([]string{"0", "1", "1.0", "-1", "5", "5.0", "9.95", "10", "10.00", "-1.5", "-1.49", "0.05", "0.051", "1190.10", "123456789012345678", "12345678901234567.25", "0.000000000000000001", "-0", "-0.0"}).Draw(t, "number"))
	case 4, 5:
		return rapid.SampledFrom([]string{
			"", "x", "ab", "äöü", "abcd", "INV-1", "A", "2026-11-26", "2026-02-30", "2026-11-26T10:00:00Z", "2026-11-26T10:00:00,5Z", "2026-11-26T10:00:00+01:00", "2016-12-31T23:59:60Z", "2026-11-26t10:00:00z",
			"a@b.example", "a..b@c.example", "a@b", "@b.example", "a@-b.example", "ä@b.example", "a b@c.example", "a@b.c@d.e", "01890A5D-AC96-774B-BCCE-B302099A8057",
		}).Draw(t, "text")
	case 6:
		list := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "items") {
			list = append(list, value(t, depth+1))
		}
		return list
	default:
		object := map[string]any{}
		for range rapid.IntRange(0, 5).Draw(t, "members") {
			object[rapid.SampledFrom([]string{"a", "b", "c", "d", "t", "e", "u", "p", "n", "v", "number", "total", "date", "lines", "text", "vat", "email"}).Draw(t, "name")] = value(t, depth+1)
		}
		return object
	}
}

// TestQuickIsNeverWrong: what it lets pass, the library lets pass.
func TestQuickIsNeverWrong(t *testing.T) {
	yes, no := 0, 0
	var schemas []*Schema
	for _, text := range quickSchemas() {
		s, err := CompileSchema(json.RawMessage(text))
		if err != nil {
			t.Fatal(err)
		}
		if s.quick == nil {
			t.Fatalf("%s has none", text)
		}
		schemas = append(schemas, s)
	}
	rapid.Check(t, func(rt *rapid.T) {
		v := value(rt, 0)
		for i, s := range schemas {
			if !s.quick.fits(v) {
				no++
				continue
			}
			yes++
			list, err := s.check.Check(t.Context(), v)
			if err != nil || len(list) > 0 {
				rt.Fatalf("%s of %v: %v, %v", quickSchemas()[i], v, list, err)
			}
		}
	})
	if yes < 50 || no < 50 {
		t.Errorf("%d pass, %d do not: the values say little", yes, no)
	}
}

// TestQuickIsUsed: what senders send every day takes the short way, and what the
// short way does not know has none.
func TestQuickIsUsed(t *testing.T) {
	s, err := CompileSchema(json.RawMessage(invoiceSchema))
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]bool{
		`{"number":"INV-1","total":1190.10,"date":"2026-11-26","email":"ap@contoso.example","lines":[{"text":"a","vat":"A"}]}`: true,
		`{"number":"INV-1","total":1190.101,"date":"2026-11-26"}`:                                                              false,
		`{"number":"INV-1","total":1e3,"date":"2026-11-26"}`:                                                                   false,
	} {
		v, odd, fault := decodeBody([]byte(body))
		if fault != nil || (!odd && s.quick.fits(v)) != want {
			t.Errorf("%s: %v, odd %t", body, fault, odd)
		}
	}
	for _, text := range []string{
		`{"not":{}}`, `{"oneOf":[{}]}`, `{"if":{}}`, `{"patternProperties":{}}`, `{"prefixItems":[]}`, `{"dependentRequired":{}}`, `{"unevaluatedProperties":false}`,
		`{"contains":{}}`, `{"propertyNames":{}}`, `{"$anchor":"a"}`, `{"$id":"https://x.example/"}`, `{"$dynamicRef":"#a"}`, `{"x":1}`, `{"$ref":"#a"}`, `{"maxLength":0}`, `{"multipleOf":1e-2}`,
		`{"$schema":"http://json-schema.org/draft-07/schema#"}`, `{"properties":{"a":{"$schema":"https://json-schema.org/draft/2020-12/schema"}}}`, `true`,
	} {
		v, fault := decode([]byte(text))
		if fault != nil || quickOf(v) != nil {
			t.Errorf("%s has a short way (%v)", text, fault)
		}
	}
	// One that leads back to itself ends.
	v, _ := decode([]byte(`{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`))
	if q := quickOf(v); q == nil || q.fits(nil) {
		t.Error("a circle is taken for a yes")
	}
}
