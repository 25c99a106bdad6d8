package stanza

import (
	"encoding/json"
	"maps"
	"slices"

	"ferry/internal/apispec"
)

// Bounds of an outline made of an example.
const (
	maxDepth  = 6
	maxFields = 400
)

// Sample is the outline of an example: every member counts as required, and no
// value is kept.
func Sample(value any) apispec.Field {
	left := maxFields
	return sample("", value, 0, &left)
}

func sample(name string, value any, depth int, left *int) apispec.Field {
	f := apispec.Field{Name: name, Required: true}
	*left--
	switch v := value.(type) {
	case nil:
		f.Type = "null in the example"
	case bool:
		f.Type = "boolean"
	case json.Number, float64:
		f.Type = "number"
	case string:
		f.Type = "string"
	case []any:
		f.Type = "list"
		if len(v) > 0 && depth < maxDepth {
			item := sample("", v[0], depth+1, left)
			f.Type = "list of " + item.Type
			if !item.List {
				f.List, f.Fields = len(item.Fields) > 0, item.Fields
			}
		}
	case map[string]any:
		f.Type = "object"
		if depth >= maxDepth {
			break
		}
		for _, member := range slices.Sorted(maps.Keys(v)) {
			if *left <= 0 {
				break
			}
			f.Fields = append(f.Fields, sample(member, v[member], depth+1, left))
		}
	}
	return f
}

// Reference guesses the jq that finds a document's number in an answer; "" when
// nothing looks like one.
func Reference(answer apispec.Field) string {
	if answer.List {
		return ""
	}
	if name := identity(answer); name != "" {
		return "." + member(name)
	}
	for _, wrapper := range []string{"data", "d", "result", "value", "item", "document"} {
		for _, f := range answer.Fields {
			if f.Name == wrapper && !f.List {
				if name := identity(f); name != "" {
					return "." + member(wrapper) + "." + member(name)
				}
			}
		}
	}
	return ""
}

// FoundIn guesses the jq that finds a document's number in the answer to a
// question that gives a list; "" when there is none.
func FoundIn(answer apispec.Field) string {
	if answer.List {
		if name := identity(answer); name != "" {
			return ".[0]." + member(name)
		}
		return ""
	}
	for _, f := range answer.Fields {
		if f.List {
			if name := identity(f); name != "" {
				return "." + member(f.Name) + "[0]." + member(name)
			}
		}
	}
	return Reference(answer)
}

// identity is the member that names an object: id, number and the like.
func identity(f apispec.Field) string {
	scalar := func(f apispec.Field) bool { return len(f.Fields) == 0 && !f.List }
	for _, name := range []string{"id", "Id", "ID", "number", "Number", "no", "documentNumber", "docNum", "key", "Key", "uuid", "guid", "reference", "code"} {
		for _, field := range f.Fields {
			if field.Name == name && scalar(field) {
				return name
			}
		}
	}
	for _, ending := range []string{"Id", "ID", "_id", "Number", "_number", "Key"} {
		for _, field := range f.Fields {
			if len(field.Name) > len(ending) && field.Name[len(field.Name)-len(ending):] == ending && scalar(field) {
				return field.Name
			}
		}
	}
	return ""
}
