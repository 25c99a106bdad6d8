package apispec

import (
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"ferry/internal/conform"
)

func (c *converter) objects(s *openapi3.Schema, m map[string]any, inherited map[string]bool) {
	readOnly := maps.Clone(inherited)
	if readOnly == nil {
		readOnly = map[string]bool{}
	}
	collectReadOnly(s, readOnly, map[*openapi3.Schema]bool{})
	if len(s.Properties) > 0 {
		properties := map[string]any{}
		for name, r := range s.Properties {
			if isReadOnly(r) {
				properties[name] = map[string]any{conform.KeyReadOnly: true}
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
func collectReadOnly(s *openapi3.Schema, into map[string]bool, seen map[*openapi3.Schema]bool) {
	if seen[s] {
		return
	}
	seen[s] = true
	for name, r := range s.Properties {
		if isReadOnly(r) {
			into[name] = true
		}
	}
	for _, r := range s.AllOf {
		if r != nil && r.Value != nil {
			collectReadOnly(r.Value, into, seen)
		}
	}
}

func (c *converter) compound(s *openapi3.Schema, m map[string]any) {
	if !c.discriminate(s, m) {
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
// blame all of them for one that fits none. False: an alternative has no name.
func (c *converter) discriminate(s *openapi3.Schema, m map[string]any) bool {
	alternatives := slices.Concat(s.OneOf, s.AnyOf)
	if len(alternatives) == 0 || s.Discriminator == nil || s.Discriminator.PropertyName == "" {
		return false
	}
	property := s.Discriminator.PropertyName
	names := make([][]any, len(alternatives))
	for i, r := range alternatives {
		if names[i] = alternativeNames(s.Discriminator, r); len(names[i]) == 0 {
			return false
		}
	}
	branches, _ := m["allOf"].([]any)
	for i, r := range alternatives {
		branches = append(branches, map[string]any{
			"if":   map[string]any{"properties": map[string]any{property: map[string]any{"enum": names[i]}}, "required": []any{property}},
			"then": c.ref(r, nil),
		})
	}
	m["allOf"] = append(branches, map[string]any{
		"type": []any{"object"}, "required": []any{property},
		"properties": map[string]any{property: map[string]any{"enum": slices.Concat(names...)}},
	})
	return true
}

// alternativeNames are those of the mapping, and the schema's own, unless it means
// another one.
func alternativeNames(d *openapi3.Discriminator, r *openapi3.SchemaRef) []any {
	if r == nil || r.Value == nil {
		return nil
	}
	var out []any
	own := ""
	if strings.Contains(r.Ref, "#") {
		own = lastPart(r.Ref)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Mapping)) {
		if target := d.Mapping[name].Ref; target != "" && (target == r.Ref || target == own) {
			out = append(out, name)
		}
	}
	if _, taken := d.Mapping[own]; own != "" && !taken {
		out = append(out, own)
	}
	return out
}

func lastPart(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }
