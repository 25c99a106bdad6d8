package apispec

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// Schema says what a value must be.
type Schema struct {
	ref     *openapi3.SchemaRef
	version string // of the description
}

func schemaOf(ref *openapi3.SchemaRef, version string) *Schema {
	if ref == nil || ref.Value == nil {
		return nil
	}
	return &Schema{ref: ref, version: version}
}

func (s *Schema) isObject() bool {
	return s != nil && s.ref.Value.Type.Is("object")
}

// IsBinary says whether the value is bytes, not JSON.
func (s *Schema) IsBinary() bool {
	return s != nil && s.ref.Value.Type.Is("string") && s.ref.Value.Format == "binary"
}

// TakesText says whether the value may be text, or anything.
func (s *Schema) TakesText() bool {
	t := s.types()
	return len(t) == 0 || slices.Contains(t, "string")
}

// IsList says whether the value is a list.
func (s *Schema) IsList() bool { return slices.Contains(s.types(), "array") }

// Fixed is the one value that there is, as text; false when there are several.
func (s *Schema) Fixed() (string, bool) {
	if s == nil {
		return "", false
	}
	value := s.ref.Value.Const
	if len(s.ref.Value.Enum) == 1 {
		value = s.ref.Value.Enum[0]
	}
	switch v := value.(type) {
	case string:
		return v, v != ""
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return string(number(v)), true
	}
	return "", false
}

func (s *Schema) types() []string {
	if s == nil || s.ref.Value.Type == nil {
		return nil
	}
	return *s.ref.Value.Type
}

// converter writes schemas of OpenAPI as one document of JSON Schema 2020-12, as
// it judges requests: what only answers hold may not be sent, and need not be.
type converter struct {
	old   bool // OpenAPI 3.0 and before: nullable, exclusiveMinimum: true
	ids   map[*openapi3.Schema]string
	defs  map[string]any
	queue []*openapi3.Schema
	notes []string
}

// The keywords of our own vocabulary.
const (
	keyItems    = "ferryItems"    // items, judged until there are errors enough
	keyReadOnly = "ferryReadOnly" // a property that the destination sets
)

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
	if _, known := checkedFormats()[s.Format]; known {
		m["format"] = s.Format
	}
}

func count[N int64 | uint64](n N) json.Number { return json.Number(strconv.FormatInt(int64(n), 10)) }

// unicodeEscape is how ECMA-262 writes a character, and Go does not.
var unicodeEscape = regexp.MustCompile(`\\u([0-9a-fA-F]{4})`)

// pattern gives a pattern as Go takes it. What Go does not have, such as a look
// ahead, is left to the destination.
func (c *converter) pattern(p string) (string, bool) {
	p = unicodeEscape.ReplaceAllString(p, `\x{$1}`)
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
	switch {
	case s.Items == nil:
	case len(s.PrefixItems) > 0:
		m["items"] = c.ref(s.Items, nil)
	default:
		m[keyItems] = c.ref(s.Items, nil)
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

func (c *converter) objects(s *openapi3.Schema, m map[string]any, inherited map[string]bool) {
	readOnly := maps.Clone(inherited)
	if readOnly == nil {
		readOnly = map[string]bool{}
	}
	collectReadOnly(s, readOnly, 0)
	if len(s.Properties) > 0 {
		properties := map[string]any{}
		for name, r := range s.Properties {
			if isReadOnly(r) {
				properties[name] = map[string]any{keyReadOnly: true}
				continue
			}
			properties[name] = c.ref(r, nil)
		}
		m["properties"] = properties
	}
	required := slices.DeleteFunc(slices.Clone(s.Required), func(name string) bool { return readOnly[name] })
	if len(required) > 0 {
		slices.Sort(required)
		m["required"] = textList(slices.Compact(required))
	}
	if s.MinProps > 0 {
		m["minProperties"] = count(s.MinProps)
	}
	if s.MaxProps != nil {
		m["maxProperties"] = count(*s.MaxProps)
	}
	c.either(s.AdditionalProperties, "additionalProperties", m)
	c.either(s.UnevaluatedProperties, "unevaluatedProperties", m)
	c.patternProperties(s, m)
	if s.PropertyNames != nil {
		m["propertyNames"] = c.ref(s.PropertyNames, nil)
	}
	if len(s.DependentSchemas) > 0 {
		m["dependentSchemas"] = c.named(s.DependentSchemas)
	}
	if len(s.DependentRequired) > 0 {
		dependent := map[string]any{}
		for name, names := range s.DependentRequired {
			dependent[name] = textList(names)
		}
		m["dependentRequired"] = dependent
	}
	// Parts of the same object: what the whole says to be read-only is so in them.
	if len(s.AllOf) > 0 {
		m["allOf"] = c.refs(s.AllOf, readOnly)
	}
}

func (c *converter) patternProperties(s *openapi3.Schema, m map[string]any) {
	if len(s.PatternProperties) == 0 {
		return
	}
	properties := map[string]any{}
	for pattern, r := range s.PatternProperties {
		usable, ok := c.pattern(pattern)
		if !ok {
			// What the pattern would have let in must not count as additional.
			delete(m, "additionalProperties")
			continue
		}
		properties[usable] = c.ref(r, nil)
	}
	m["patternProperties"] = properties
}

// isReadOnly says whether a property may not be sent: it says so itself, or what
// it refers to does.
func isReadOnly(r *openapi3.SchemaRef) bool { return r != nil && r.Value != nil && r.Value.ReadOnly }

// collectReadOnly gathers the names that a schema and the schemas that it is made
// of say to be read-only.
func collectReadOnly(s *openapi3.Schema, into map[string]bool, depth int) {
	if depth > 8 { // a chain of allOf; a longer one may be a cycle
		return
	}
	for name, r := range s.Properties {
		if isReadOnly(r) {
			into[name] = true
		}
	}
	for _, r := range s.AllOf {
		if r != nil && r.Value != nil {
			collectReadOnly(r.Value, into, depth+1)
		}
	}
}

func (c *converter) compound(s *openapi3.Schema, m map[string]any) {
	switch alternatives := slices.Concat(s.OneOf, s.AnyOf); {
	case len(alternatives) > 0 && s.Discriminator != nil && s.Discriminator.PropertyName != "":
		c.discriminate(s, alternatives, m)
	default:
		if len(s.OneOf) > 0 {
			m["oneOf"] = c.refs(s.OneOf, nil)
		}
		if len(s.AnyOf) > 0 {
			m["anyOf"] = c.refs(s.AnyOf, nil)
		}
	}
	if s.Not != nil {
		m["not"] = c.ref(s.Not, nil)
	}
	if s.If != nil {
		m["if"] = c.ref(s.If, nil)
		if s.Then != nil {
			m["then"] = c.ref(s.Then, nil)
		}
		if s.Else != nil {
			m["else"] = c.ref(s.Else, nil)
		}
	}
}

// discriminate writes alternatives that a property tells apart: the one that it
// names is judged, and no other. oneOf would refuse a value that fits two, and
// blame all of them for one that fits none.
func (c *converter) discriminate(s *openapi3.Schema, alternatives openapi3.SchemaRefs, m map[string]any) {
	property := s.Discriminator.PropertyName
	var values []any
	branches, _ := m["allOf"].([]any)
	for _, r := range alternatives {
		if r == nil || r.Value == nil {
			continue
		}
		var own []any
		for _, name := range slices.Sorted(maps.Keys(s.Discriminator.Mapping)) {
			if target := s.Discriminator.Mapping[name].Ref; target == r.Ref || target == lastPart(r.Ref) {
				own = append(own, name)
			}
		}
		if len(own) == 0 && r.Ref != "" {
			own = []any{lastPart(r.Ref)}
		}
		if len(own) == 0 { // an alternative without a name can not be chosen
			continue
		}
		values = append(values, own...)
		branches = append(branches, map[string]any{
			"if":   map[string]any{"properties": map[string]any{property: map[string]any{"enum": own}}, "required": []any{property}},
			"then": c.ref(r, nil),
		})
	}
	m["allOf"] = append(branches, map[string]any{
		"type": []any{"object"}, "required": []any{property}, "properties": map[string]any{property: map[string]any{"enum": values}},
	})
}

func lastPart(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

func (c *converter) note(text string) { c.notes = append(c.notes, text) }

func textList(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
