package apispec

import (
	"context"
	"errors"
	"strings"
	"testing"

	"ferry/mapping"
)

// check tells on one line what is wrong with a value.
func check(t *testing.T, s *Schema, value string) string {
	t.Helper()
	v, err := s.Validator()
	if err != nil {
		t.Fatal(says(err))
	}
	decoded, err := mapping.Decode([]byte(value))
	if err != nil {
		t.Fatal(err)
	}
	list, err := v.Check(context.Background(), decoded)
	if err != nil {
		t.Fatal(err)
	}
	texts := make([]string, len(list))
	for i, violation := range list {
		texts[i] = strings.TrimSpace(violation.Pointer + " " + violation.Text)
	}
	return strings.Join(texts, "; ")
}

// bodySchema is the schema of the one body in a description of this version.
// Components may follow it.
func bodySchema(t *testing.T, version, schema string) *Schema {
	t.Helper()
	schema, components, _ := strings.Cut(schema, "---")
	d, err := Parse([]byte(`{"openapi":"` + version + `","info":{"title":"x","version":"1"},"paths":{"/a":{"post":{"responses":{},
		"requestBody":{"content":{"application/json; charset=utf-8":{"schema":` + schema + `}}}}}},"components":{"schemas":{` + components + `}}}`))
	if err != nil {
		t.Fatal(says(err))
	}
	content, ok := d.Operations[0].Body.JSON()
	if !ok {
		t.Fatal("no JSON")
	}
	return content.Schema
}

func TestViolations(t *testing.T) {
	const pets = `---"Cat":{"type":"object","required":["kind"],"properties":{"kind":{"type":"string"},"lives":{"type":"integer"}}},
		"Dog":{"type":"object","required":["kind","bark"],"properties":{"kind":{"type":"string"},"bark":{"type":"boolean"}}}`
	const tree = `{"$ref":"#/components/schemas/Node"}---"Node":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},
		"children":{"type":"array","items":{"$ref":"#/components/schemas/Node"}}}}`
	for _, c := range []struct{ name, version, schema, value, want string }{
		{"a multiple is reckoned exactly", "3.0.3", `{"type":"number","multipleOf":0.01}`, `19.99`, ""},
		{"also a large one", "3.0.3", `{"type":"number","multipleOf":0.01}`, `1234567890123456.78`, ""},
		{"and refused exactly", "3.0.3", `{"type":"number","multipleOf":0.01}`, `1234567890123456.789`, "must be a multiple of 0.01"},
		{"integers beyond floating point", "3.0.3", `{"type":"integer","maximum":9007199254740992}`, `9007199254740993`, "must be at most 9007199254740992"},
		{"1.0 is a whole number", "3.0.3", `{"type":"integer"}`, `1.0`, ""},
		{"int32", "3.0.3", `{"type":"integer","format":"int32"}`, `2147483648`, "is no int32"},
		{"int64", "3.0.3", `{"type":"integer","format":"int64"}`, `9223372036854775807`, ""},
		{"int64 out of range", "3.0.3", `{"type":"integer","format":"int64"}`, `9223372036854775808`, "is no int64"},
		{"a huge exponent costs no memory", "3.0.3", `{"type":"number"}`, `1e1000000`, "the number is out of range"},
		{"exclusiveMinimum of 3.0", "3.0.3", `{"type":"number","minimum":0,"exclusiveMinimum":true}`, `0`, "must be more than 0"},
		{"exclusiveMinimum of 3.1", "3.1.0", `{"type":"number","exclusiveMinimum":0}`, `0`, "must be more than 0"},
		{"exclusiveMaximum of 3.1 and maximum", "3.1.0", `{"type":"number","maximum":9,"exclusiveMaximum":5}`, `5`, "must be less than 5"},
		{"nullable", "3.0.3", `{"type":"string","nullable":true}`, `null`, ""},
		{"nullable enum", "3.0.3", `{"type":"string","nullable":true,"enum":["a"]}`, `null`, ""},
		{"not nullable", "3.0.3", `{"type":"string"}`, `null`, "must be a string, not null"},
		{"nullable beside allOf", "3.0.3", `{"nullable":true,"allOf":[{"type":"object"}]}`, `null`, ""},
		{"nullable means nothing in 3.1", "3.1.0", `{"type":"string","nullable":true}`, `null`, "must be a string, not null"},
		{"a list of types", "3.1.0", `{"type":["string","null"],"examples":["a",null]}`, `5`, "must be null or a string, not a number"},
		{"null as a type", "3.1.0", `{"anyOf":[{"type":"string"},{"type":"null"}]}`, `null`, ""},
		{"null as a type, otherwise", "3.1.0", `{"anyOf":[{"type":"string"},{"type":"null"}]}`, `1`, "must be null or a string"},
		{"const", "3.1.0", `{"const":"EUR"}`, `"USD"`, "must be EUR"},
		{"prefixItems", "3.1.0", `{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"number"}}`, `["a","b"]`, "/1 must be a number, not a string"},
		{"if and then", "3.1.0", `{"if":{"required":["a"]},"then":{"required":["b"]}}`, `{"a":1}`, "/b is missing"},
		{"dependentRequired", "3.1.0", `{"dependentRequired":{"a":["b"]}}`, `{"a":1}`, "/b is missing, and a asks for it"},
		{"unevaluatedProperties", "3.1.0", `{"allOf":[{"properties":{"a":{}}}],"unevaluatedProperties":false}`, `{"a":1,"b":2}`, "/b may not stand here"},
		{"unevaluatedItems knows of items", "3.1.0", `{"items":{"type":"string"},"unevaluatedItems":false}`, `["a"]`, ""},
		{"a schema that is true", "3.1.0", `{"properties":{"a":true,"b":false}}`, `{"a":1,"b":2}`, "/b may not stand here"},
		{"siblings of $ref count in 3.1", "3.1.0", `{"$ref":"#/components/schemas/A","maxLength":1}---"A":{"type":"string"}`, `"ab"`, "has 2 characters, at most 1 are allowed"},
		{"and do not in 3.0", "3.0.3", `{"$ref":"#/components/schemas/A","maxLength":1}---"A":{"type":"string"}`, `"ab"`, ""},
		{"required and read-only", "3.0.3", `{"type":"object","required":["id","a"],"properties":{"id":{"readOnly":true},"a":{}}}`, `{}`, "/a is missing"},
		{"read-only is not sent", "3.0.3", `{"type":"object","properties":{"id":{"readOnly":true}}}`, `{"id":"x"}`, "/id is read-only: the destination sets it"},
		{"read-only by reference", "3.0.3", `{"required":["id"],"properties":{"id":{"$ref":"#/components/schemas/Id"}}}---"Id":{"type":"string","readOnly":true}`, `{"id":"x"}`, "/id is read-only: the destination sets it"},
		{"required in one part, read-only in another", "3.0.3", `{"allOf":[{"$ref":"#/components/schemas/B"},{"required":["id","a"]}]}---"B":{"properties":{"id":{"readOnly":true}}}`, `{}`, "/a is missing"},
		{"write-only is sent", "3.0.3", `{"properties":{"p":{"type":"string","writeOnly":true}}}`, `{"p":"x"}`, ""},
		{"additional", "3.0.3", `{"properties":{"a":{}},"additionalProperties":false}`, `{"a":1,"c/d":2,"b":3}`, "/b is not known to the destination; /c~1d is not known to the destination"},
		{"additional of a type", "3.0.3", `{"additionalProperties":{"type":"number"}}`, `{"a":"x"}`, "/a must be a number, not a string"},
		{"enum", "3.0.3", `{"enum":["EUR",1,null]}`, `"CHF"`, "must be one of EUR, 1, null"},
		{"allOf", "3.0.3", `{"allOf":[{"required":["a"]},{"properties":{"b":{"type":"string"}}}]}`, `{"b":1}`, "/a is missing; /b must be a string, not a number"},
		{"oneOf: the nearest is told", "3.0.3", `{"oneOf":[{"required":["a"]},{"required":["b","c"]}]}`, `{}`, "fits none of the 2 forms that it may have; of the nearest one:; /a is missing"},
		{"oneOf: more than one", "3.0.3", `{"oneOf":[{},{}]}`, `{}`, "fits more than one of the forms of which it may have one"},
		{"oneOf: the type decides", "3.0.3", `{"oneOf":[{"type":"string"},{"type":"object","required":["a"]}]}`, `{}`, "/a is missing"},
		{"discriminator", "3.0.3", `{"oneOf":[{"$ref":"#/components/schemas/Cat"},{"$ref":"#/components/schemas/Dog"}],"discriminator":{"propertyName":"kind"}}` + pets, `{"kind":"Dog"}`, "/bark is missing"},
		{"discriminator: one that fits two", "3.0.3", `{"oneOf":[{"$ref":"#/components/schemas/Cat"},{"$ref":"#/components/schemas/Dog"}],"discriminator":{"propertyName":"kind"}}` + pets, `{"kind":"Cat","bark":true}`, ""},
		{"discriminator with a mapping", "3.0.3", `{"oneOf":[{"$ref":"#/components/schemas/Cat"},{"$ref":"#/components/schemas/Dog"}],"discriminator":{"propertyName":"kind","mapping":{"c":"#/components/schemas/Cat","d":"Dog"}}}` + pets, `{"kind":"d"}`, "/bark is missing"},
		{"discriminator: another", "3.0.3", `{"anyOf":[{"$ref":"#/components/schemas/Cat"}],"discriminator":{"propertyName":"kind"}}` + pets, `{"kind":"Bird"}`, "/kind must be one of Cat"},
		{"discriminator: the name of the schema too", "3.0.3", `{"oneOf":[{"$ref":"#/components/schemas/Cat"},{"$ref":"#/components/schemas/Dog"}],"discriminator":{"propertyName":"kind","mapping":{"d":"Dog"}}}` + pets, `{"kind":"Dog"}`, "/bark is missing"},
		{"discriminator over schemas without a name", "3.0.3", `{"oneOf":[{"type":"object","required":["a"]}],"discriminator":{"propertyName":"kind"}}`, `{"kind":"x","a":1}`, ""},
		{"parts that are made of each other", "3.0.3", `{"$ref":"#/components/schemas/A"}---"A":{"allOf":[{"$ref":"#/components/schemas/B"}],"required":["x"]},"B":{"properties":{"a":{"$ref":"#/components/schemas/A"}}}`, `{"x":1,"a":{}}`, "/a/x is missing"},
		{"a schema within itself", "3.0.3", tree, `{"name":"a","children":[{"name":"b","children":[{}]}]}`, "/children/0/children/0/name is missing"},
		{"date", "3.0.3", `{"type":"string","format":"date"}`, `"2026-02-30"`, "is no date"},
		{"date-time", "3.0.3", `{"type":"string","format":"date-time"}`, `"2026-01-31T10:00:00"`, "is no date-time"},
		{"date-time with a zone", "3.0.3", `{"type":"string","format":"date-time"}`, `"2026-01-31T10:00:00.123+01:00"`, ""},
		{"date-time in small letters, leap second", "3.0.3", `{"type":"string","format":"date-time"}`, `"2016-12-31t23:59:60z"`, ""},
		{"uuid", "3.0.3", `{"type":"string","format":"uuid"}`, `"1234"`, "is no uuid"},
		{"uuid well", "3.0.3", `{"type":"string","format":"uuid"}`, `"01890A5D-AC96-774B-BCCE-B302099A8057"`, ""},
		{"email", "3.0.3", `{"type":"string","format":"email"}`, `"Ann <a@b.example>"`, "is no email"},
		{"byte", "3.0.3", `{"type":"string","format":"byte"}`, `"AAE="`, ""},
		{"byte wrong", "3.0.3", `{"type":"string","format":"byte"}`, `"!"`, "is no byte"},
		{"a format of theirs", "3.0.3", `{"type":"string","format":"iban"}`, `"x"`, ""},
		{"pattern", "3.0.3", `{"type":"string","pattern":"^\\d+$"}`, `"a"`, `does not match ^\d+$`},
		{"a pattern with a look ahead", "3.0.3", `{"type":"string","pattern":"^(?=a)"}`, `"b"`, ""},
		{"a pattern with a character by number", "3.0.3", `{"type":"string","pattern":"^[\\u00e4]$"}`, `"ä"`, ""},
		{"uniqueItems", "3.0.3", `{"type":"array","uniqueItems":true}`, `[1.0,2,1]`, "has the same item twice, at 0 and 2"},
		{"characters are counted", "3.0.3", `{"type":"string","maxLength":2}`, `"äöü"`, "has 3 characters, at most 2 are allowed"},
		{"min and max", "3.0.3", `{"type":"object","minProperties":1}`, `{}`, "has 0 members, at least 1 are wanted"},
		{"items", "3.0.3", `{"type":"array","minItems":1,"items":{"type":"string"}}`, `[]`, "has 0 items, at least 1 are wanted"},
		{"not", "3.0.3", `{"not":{"required":["a"]}}`, `{"a":1}`, "has a form that it may not have"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := check(t, bodySchema(t, c.version, c.schema), c.value); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestWhatIsNotCheckedIsTold(t *testing.T) {
	v, err := bodySchema(t, "3.1.0", `{"pattern":"(?<!a)b","properties":{"a":{"$dynamicRef":"#x"}},"patternProperties":{"(?=a)":{}},"additionalProperties":false}`).Validator()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(v.Notes, "; "); !strings.Contains(got, "(?<!a)b") || !strings.Contains(got, "(?=a)") || !strings.Contains(got, "$dynamicRef") {
		t.Errorf("%s", got)
	}
	if list, err := v.Check(context.Background(), map[string]any{"abc": "x"}); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestUnusableSchemaIsRefused(t *testing.T) {
	_, err := bodySchema(t, "3.0.3", `{"type":"strin"}`).Validator()
	if !strings.Contains(says(err), "the schema cannot be used") || len(says(err)) > 800 {
		t.Errorf("%s", says(err))
	}
}

func TestViolationsAreBounded(t *testing.T) {
	s := bodySchema(t, "3.0.3", `{"type":"array","items":{"type":"string"}}`)
	got := check(t, s, "["+strings.Repeat("1,", 100_000)+"1]")
	if n := strings.Count(got, ";") + 1; n != MaxViolations {
		t.Errorf("%d violations", n)
	}
	s = bodySchema(t, "3.0.3", `{"type":"object","additionalProperties":false}`)
	var many strings.Builder
	for i := range 1000 {
		many.WriteString(`"` + strings.Repeat("a", i+1) + `":1,`)
	}
	if n := strings.Count(check(t, s, "{"+many.String()+`"b":1}`), ";") + 1; n != MaxViolations {
		t.Errorf("%d violations", n)
	}
}

// TestValuesAreNotRepeated: what a message holds does not stand in an error.
func TestValuesAreNotRepeated(t *testing.T) {
	s := bodySchema(t, "3.0.3", `{"properties":{"a":{"enum":["x"]},"b":{"pattern":"^x"},"c":{"format":"date","type":"string"},"d":{"maxLength":1},"e":{"type":"number"},"f":{"maximum":1},"g":{"not":{}},"h":{"oneOf":[{"enum":["x"]},{"enum":["y"]}]}}}`)
	got := check(t, s, `{"a":"GEHEIM","b":"GEHEIM","c":"GEHEIM","d":"GEHEIM","e":"GEHEIM","f":4711471147,"g":"GEHEIM","h":"GEHEIM"}`)
	if strings.Contains(got, "GEHEIM") || strings.Contains(got, "4711") || strings.Count(got, ";") < 7 {
		t.Error(got)
	}
}

// TestWorkIsBounded: alternatives that lead back to the schema double the work
// with every level of the value.
func TestWorkIsBounded(t *testing.T) {
	s := bodySchema(t, "3.0.3", `{"$ref":"#/components/schemas/E"}---"E":{"oneOf":[{"$ref":"#/components/schemas/L"},{"$ref":"#/components/schemas/R"}]},
		"L":{"type":"object","properties":{"n":{"$ref":"#/components/schemas/E"}}},"R":{"type":"object","properties":{"n":{"$ref":"#/components/schemas/E"}}}`)
	v, err := s.Validator()
	if err != nil {
		t.Fatal(err)
	}
	value, err := mapping.Decode([]byte(strings.Repeat(`{"n":`, 60) + `1` + strings.Repeat(`}`, 60)))
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := v.Check(ended, value); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if testing.Short() {
		return
	}
	if _, err := v.Check(context.Background(), value); !errors.Is(err, ErrTooMuch) {
		t.Errorf("%v", err)
	}
	if list, err := v.Check(context.Background(), map[string]any{}); err != nil || len(list) != 1 {
		t.Errorf("after that: %v, %v", list, err)
	}
}

func TestChecksRunTogether(t *testing.T) {
	v, err := bodySchema(t, "3.0.3", `{"type":"array","items":{"type":"string"}}`).Validator()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for range 8 {
		go func() {
			for range 20 {
				if list, err := v.Check(context.Background(), []any{"a", true}); err != nil || len(list) != 1 {
					done <- errors.New("wrong")
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
