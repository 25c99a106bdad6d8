package apispec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"ferry/internal/conform"
)

// Bounds of an outline: it is for people.
const (
	maxOutlineDepth = 6
	maxOutlineSize  = 400
)

// Field is one member of a body, for people who write a map for it.
type Field struct {
	Name        string
	Type        string // in words: string (date), number, object, list
	Required    bool
	ReadOnly    bool
	Description string  // one line, shortened
	Fields      []Field // of an object, or of the items of a list
	List        bool
	Fixed       string // the one text that it may be; empty: there are others
}

// Outline is what the value looks like: as a field without a name. References back
// and what lies deep are left out. Of alternatives the first is shown.
func (s *Schema) Outline() Field {
	if s == nil {
		return Field{Type: "anything"}
	}
	o := &outliner{}
	return o.field("", s.ref, nil)
}

type outliner struct{ size int }

func (o *outliner) field(name string, r *openapi3.SchemaRef, above []*openapi3.Schema) Field {
	f := Field{Name: name, Type: "anything"}
	if r == nil || r.Value == nil {
		return f
	}
	s := r.Value
	merged := &merge{properties: openapi3.Schemas{}}
	merged.take(s, map[*openapi3.Schema]bool{})
	f.ReadOnly, f.Description = s.ReadOnly, cut(oneLine(s.Description), 100)
	f.Type = merged.describe()
	if len(merged.enum) == 1 {
		if text, ok := merged.enum[0].(string); ok {
			f.Fixed = text
		}
	}
	if o.size++; len(above) >= maxOutlineDepth || o.size > maxOutlineSize || slices.Contains(above, s) {
		return f
	}
	above = append(slices.Clone(above), s)
	if merged.items != nil {
		item := o.field("", merged.items, above)
		f.List, f.Fields, f.Type = true, item.Fields, "list of "+item.Type
		if item.List {
			f.Fields = nil // a list of lists is for the reader to write
		}
		return f
	}
	for _, name := range slices.Sorted(maps.Keys(merged.properties)) {
		field := o.field(name, merged.properties[name], above)
		field.Required = slices.Contains(merged.required, name)
		f.Fields = append(f.Fields, field)
	}
	return f
}

// merge gathers what a schema and the parts of its allOf say of one value.
type merge struct {
	types      []string
	format     string
	enum       []any
	maxLength  *uint64
	properties openapi3.Schemas
	required   []string
	items      *openapi3.SchemaRef
	choices    int
}

func (m *merge) take(s *openapi3.Schema, seen map[*openapi3.Schema]bool) {
	if seen[s] {
		return
	}
	seen[s] = true
	if s.Type != nil && len(m.types) == 0 {
		m.types = slices.DeleteFunc(slices.Clone(*s.Type), func(t string) bool { return t == "null" })
	}
	if m.format == "" {
		m.format = s.Format
	}
	if m.enum == nil {
		m.enum = s.Enum
	}
	if m.enum == nil && s.Const != nil {
		m.enum = []any{s.Const}
	}
	if m.maxLength == nil {
		m.maxLength = s.MaxLength
	}
	for name, r := range s.Properties {
		if _, known := m.properties[name]; !known {
			m.properties[name] = r
		}
	}
	m.required = append(m.required, s.Required...)
	if m.items == nil {
		m.items = s.Items
	}
	parts := slices.Clone(s.AllOf)
	for _, alternatives := range []openapi3.SchemaRefs{s.OneOf, s.AnyOf} {
		for i, r := range alternatives {
			if r != nil && r.Value != nil && !r.Value.Type.Is("null") {
				m.choices += len(alternatives) - 1 - i
				parts = append(parts, r)
				break
			}
		}
	}
	for _, r := range parts {
		if r != nil && r.Value != nil {
			m.take(r.Value, seen)
		}
	}
}

func (m *merge) describe() string {
	kind := strings.Join(m.types, " or ")
	switch {
	case kind == "array":
		kind = "list"
	case kind == "" && len(m.properties) > 0:
		kind = "object"
	case kind == "" && len(m.enum) == 0:
		kind = "anything"
	}
	var more []string
	if m.format != "" {
		more = append(more, cut(oneLine(m.format), 30))
	}
	if m.maxLength != nil {
		more = append(more, fmt.Sprintf("at most %d characters", *m.maxLength))
	}
	if len(m.enum) > 0 {
		more = append(more, "one of "+cut(conform.Values(m.enum), 120))
	}
	if m.choices > 0 {
		more = append(more, "the first of several forms")
	}
	switch {
	case len(more) == 0:
		return kind
	case kind == "":
		return strings.Join(more, ", ")
	}
	return kind + " (" + strings.Join(more, ", ") + ")"
}
