package apispec

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"ferry/internal/conform"
)

// converter writes schemas of OpenAPI as one document of JSON Schema 2020-12, as
// it judges requests: what only answers hold may not be sent, and need not be.
type converter struct {
	old   bool // OpenAPI 3.0 and before: nullable, exclusiveMinimum: true
	ids   map[*openapi3.Schema]string
	defs  map[string]any
	queue []*openapi3.Schema
	notes []string
}

// convert gives the document, and what of the schema is not checked.
func (s *Schema) convert() (document map[string]any, notes []string) {
	c := &converter{
		old: strings.HasPrefix(s.version, "2.") || strings.HasPrefix(s.version, "3.0"),
		ids: map[*openapi3.Schema]string{}, defs: map[string]any{},
	}
	document = map[string]any{"allOf": []any{c.ref(s.ref, nil)}}
	for len(c.queue) > 0 {
		next := c.queue[0]
		c.queue = c.queue[1:]
		c.defs[c.ids[next]] = c.schema(next, nil)
	}
	document["$defs"] = c.defs
	slices.Sort(c.notes)
	return document, slices.Compact(c.notes)
}

// ref gives a schema in its place: what is referred to stands once, so that
// cycles end.
func (c *converter) ref(r *openapi3.SchemaRef, readOnly map[string]bool) any {
	switch {
	case r == nil || r.Value == nil:
		return true
	case r.Ref == "":
		return c.schema(r.Value, readOnly)
	}
	id, known := c.ids[r.Value]
	if !known {
		id = "s" + strconv.Itoa(len(c.ids))
		c.ids[r.Value] = id
		c.queue = append(c.queue, r.Value)
	}
	return map[string]any{"$ref": "#/$defs/" + id}
}

func (c *converter) refs(list openapi3.SchemaRefs, readOnly map[string]bool) []any {
	out := make([]any, len(list))
	for i, r := range list {
		out[i] = c.ref(r, readOnly)
	}
	return out
}

func (c *converter) named(schemas openapi3.Schemas) map[string]any {
	out := map[string]any{}
	for name, r := range schemas {
		out[name] = c.ref(r, nil)
	}
	return out
}

// schema writes one schema. readOnly are the names that a schema around it, of
// which it is a part, says to be read-only.
func (c *converter) schema(s *openapi3.Schema, readOnly map[string]bool) any {
	if s.Always != nil {
		return *s.Always
	}
	m := map[string]any{}
	if s.Type != nil && len(*s.Type) > 0 {
		m["type"] = textList(*s.Type)
	}
	if len(s.Enum) > 0 {
		m["enum"] = exact(s.Enum)
	}
	if s.Const != nil {
		m["const"] = exact(s.Const)
	}
	c.numbers(s, m)
	c.texts(s, m)
	c.arrays(s, m)
	c.objects(s, m, readOnly)
	c.compound(s, m)
	if s.DynamicRef != "" || s.SchemaID != "" {
		c.note("$id and $dynamicRef are not followed")
	}
	if c.old && s.Nullable {
		return nullable(m)
	}
	return m
}

// nullable lets null in. A schema of a type and nothing that joins others is
// widened, so that its errors stay plain.
func nullable(m map[string]any) any {
	types, typed := m["type"].([]any)
	for _, key := range []string{"allOf", "anyOf", "oneOf", "not"} {
		if _, compound := m[key]; compound {
			typed = false
		}
	}
	if !typed {
		return map[string]any{"anyOf": []any{map[string]any{"type": "null"}, m}}
	}
	m["type"] = append(types, "null")
	if values, ok := m["enum"].([]any); ok && !slices.Contains(values, nil) {
		m["enum"] = append(values, nil)
	}
	return m
}

func (c *converter) numbers(s *openapi3.Schema, m map[string]any) {
	put := func(key string, value *float64) {
		if value != nil {
			m[key] = number(*value)
		}
	}
	bound := func(key, exclusiveKey string, value *float64, exclusive openapi3.ExclusiveBound) {
		if exclusive.IsTrue() {
			put(exclusiveKey, value)
			return
		}
		put(key, value)
		put(exclusiveKey, exclusive.Value)
	}
	bound("minimum", "exclusiveMinimum", s.Min, s.ExclusiveMin)
	bound("maximum", "exclusiveMaximum", s.Max, s.ExclusiveMax)
	if s.MultipleOf != nil && *s.MultipleOf > 0 {
		put("multipleOf", s.MultipleOf)
	}
}

// number writes a bound as it stood in the description: the shortest text that is
// the same floating-point number.
func number(f float64) json.Number {
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
}

// exact gives values of a description with their numbers as text.
func exact(v any) any {
	switch v := v.(type) {
	case float64:
		return number(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = exact(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name := range v {
			out[name] = exact(v[name])
		}
		return out
	}
	return v
}

func (c *converter) texts(s *openapi3.Schema, m map[string]any) {
	if s.MinLength > 0 {
		m["minLength"] = count(s.MinLength)
	}
	if s.MaxLength != nil {
		m["maxLength"] = count(*s.MaxLength)
	}
	if s.Pattern != "" {
		if pattern, ok := c.pattern(s.Pattern); ok {
			m["pattern"] = pattern
		}
	}
	if _, known := conform.OpenAPIFormats()[s.Format]; known {
		m["format"] = s.Format
	}
}

func count[N int64 | uint64](n N) json.Number { return json.Number(strconv.FormatInt(int64(n), 10)) }

// pattern gives a pattern as Go takes it. What Go does not have, such as a look
// ahead, is left to the destination.
func (c *converter) pattern(p string) (string, bool) {
	p = conform.Pattern(p)
	if _, err := regexp.Compile(p); err != nil {
		c.note("the pattern " + cut(p, 100) + " is not checked: this program cannot run it")
		return "", false
	}
	return p, true
}

func (c *converter) arrays(s *openapi3.Schema, m map[string]any) {
	if s.MinItems > 0 {
		m["minItems"] = count(s.MinItems)
	}
	if s.MaxItems != nil {
		m["maxItems"] = count(*s.MaxItems)
	}
	if s.UniqueItems {
		m["uniqueItems"] = true
	}
	if len(s.PrefixItems) > 0 {
		m["prefixItems"] = c.refs(s.PrefixItems, nil)
	}
	if s.Items != nil {
		m["items"] = c.ref(s.Items, nil)
	}
	if s.Contains != nil {
		m["contains"] = c.ref(s.Contains, nil)
		if s.MinContains != nil {
			m["minContains"] = count(*s.MinContains)
		}
		if s.MaxContains != nil {
			m["maxContains"] = count(*s.MaxContains)
		}
	}
	c.either(s.UnevaluatedItems, "unevaluatedItems", m)
}

func (c *converter) either(b openapi3.BoolSchema, key string, m map[string]any) {
	switch {
	case b.Has != nil:
		m[key] = *b.Has
	case b.Schema != nil:
		m[key] = c.ref(b.Schema, nil)
	}
}

func (c *converter) note(text string) { c.notes = append(c.notes, text) }

func textList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
