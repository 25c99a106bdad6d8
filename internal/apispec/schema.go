package apispec

import (
	"slices"
	"strconv"

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
