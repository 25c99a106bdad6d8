package connector

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Bounds of a route's fields. Beyond them its message is one free field.
const (
	maxFields      = 4000
	maxFieldDepth  = 30
	maxSchemaBytes = 200 << 10 // of the schema as it is written
)

// converter makes a schema in the terms of OpenAPI 2.0, as Power Platform reads it,
// of a JSON Schema 2020-12. What those terms cannot say is left out, never said
// wrongly: the broker checks each message against the whole schema.
type converter struct {
	root     any
	stack    []string // references that the field at hand lies behind
	open     []string // references that are being followed
	cycles   map[string]bool
	followed int
	fields   int
	notes    []string
}

func (c *converter) note(text string) {
	if !slices.Contains(c.notes, text) {
		c.notes = append(c.notes, text)
	}
}

// bodySchema is the schema of a route's messages, and what of it could not be said.
// Without a schema, or where nothing of it can be said, it is nil: any JSON.
func bodySchema(raw json.RawMessage) (schema object, notes []string) {
	if len(raw) == 0 {
		return nil, nil
	}
	root, err := parse(raw)
	if err != nil {
		return nil, []string{fmt.Sprintf("the schema cannot be read (%v): the message is one free field", err)}
	}
	c := &converter{root: root, cycles: map[string]bool{}}
	schema = c.convert(root, field{})
	switch size := len(compact(schema)); {
	case c.fields > maxFields:
		return nil, []string{fmt.Sprintf("the schema has more than %d fields: the message is one free field", maxFields)}
	case size > maxSchemaBytes:
		return nil, []string{fmt.Sprintf("the fields take %d KB, more than %d: the message is one free field", size>>10, maxSchemaBytes>>10)}
	case schema.text("type") == "":
		return nil, append(c.notes, "the schema tells no kind of value: the message is one free field")
	}
	return schema, c.notes
}

// field is where a schema stands.
type field struct {
	name     string // of the property; empty: the message itself, or an element
	required bool
	depth    int
	taken    map[string]bool // titles of its neighbours
}

// convert makes the schema of one field.
func (c *converter) convert(v any, at field) object {
	c.fields++
	f := c.flatten(v, 0)
	title := at.title(f.object)
	if f.any || c.fields > maxFields || at.depth > maxFieldDepth {
		return labelled(nil, title, sentence(f.text("description"), title), "Any value.", at)
	}
	c.stack = append(c.stack, f.refs...)
	defer func() { c.stack = c.stack[:len(c.stack)-len(f.refs)] }()
	kind := ""
	if kinds := typesOf(f.object, nil); len(kinds) == 1 {
		kind = kinds[0]
	}
	made, says := object(nil), "Any value."
	switch kind {
	case "object":
		made, says = c.convertObject(f.object, at), "A group of fields."
	case "array":
		made, says = c.convertArray(f.object, at), "A list."
	case "string":
		made, says = convertString(f.object)
	case "integer", "number":
		made, says = convertNumber(f.object, kind)
	case "boolean":
		made, says = obj("type", "boolean"), "Yes or no."
	}
	if kind != "" && kind != "object" && kind != "array" {
		made = append(made, fixed(f.object, kind, at)...)
		if made.has("enum") && !made.has("x-ms-visibility") {
			says = "One of the values."
		}
	}
	if f.is("deprecated") && !at.required && at.name != "" && !made.has("x-ms-visibility") {
		made = append(made, member{"x-ms-visibility", "advanced"})
	}
	return labelled(made, title, sentence(f.text("description"), title), says, at)
}

// labelled puts title and description in front.
func labelled(made object, title, description, says string, at field) object {
	if at.name == "" { // the message, or an element of a list: its field has them
		return made
	}
	if description == "" {
		description = says
	}
	if strings.EqualFold(strings.TrimSuffix(description, "."), title) {
		description = "The value of " + title + "."
	}
	return append(obj("x-ms-summary", title, "description", description), made...)
}

// title is what makers see; no neighbour has the same.
func (at field) title(f object) string {
	if at.name == "" {
		return ""
	}
	title := titleCase(f.text("title"))
	if title == "" {
		title = titleCase(at.name)
	}
	if title == "" {
		title = "Value"
	}
	if name := heading(at.name, maxFieldTitle/2); at.taken[title] && name != "" {
		title += " (" + name + ")"
	}
	for n, first := 2, title; at.taken[title]; n++ {
		title = fmt.Sprintf("%s %d", first, n)
	}
	at.taken[title] = true
	return title
}

// typesOf are the kinds of value that a schema allows, null aside; where it does not
// say, those that its keywords are of, else those of outer. None: any.
func typesOf(f, outer object) (kinds []string) {
	add := func(kind string) {
		if kind != "null" && kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	for _, v := range typeList(f.get("type")) {
		kind, _ := v.(string)
		add(kind)
	}
	if len(kinds) == 0 {
		for _, v := range append(slices.Clone(f.list("enum")), constant(f)...) {
			add(kindOf(v))
		}
	}
	if slices.Contains(kinds, "number") {
		kinds = slices.DeleteFunc(kinds, func(kind string) bool { return kind == "integer" })
	}
	switch {
	case len(kinds) > 0 || f.has("type"):
		return kinds
	case f.has("properties"):
		return []string{"object"}
	case f.has("items") || f.has("prefixItems"):
		return []string{"array"}
	case outer != nil:
		return typesOf(outer, nil)
	case f.has("required") || f.has("additionalProperties") || f.has("patternProperties"):
		return []string{"object"}
	case f.has("format") || f.has("minLength") || f.has("maxLength") || f.has("pattern") || f.has("contentEncoding"):
		return []string{"string"}
	default:
		return nil
	}
}

func constant(f object) []any {
	if !f.has("const") {
		return nil
	}
	return []any{f.get("const")}
}

func kindOf(v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case json.Number:
		if _, err := v.Float64(); err != nil {
			return "" // more than programs can read
		}
		if strings.ContainsAny(v.String(), ".eE") {
			return "number"
		}
		return "integer"
	case object:
		return "object"
	case []any:
		return "array"
	default:
		return ""
	}
}

// fits says whether a value is of the kind.
func fits(v any, kind string) bool {
	k := kindOf(v)
	return k == kind || k == "integer" && kind == "number"
}

func (c *converter) convertObject(f object, at field) object {
	names := []any{}
	properties, taken := object{}, map[string]bool{}
	required := f.list("required")
	for _, m := range f.object("properties") {
		must := has(required, m.name)
		if m.value == false {
			continue
		}
		if misread(m.name) {
			if must {
				c.note("a group that needs a field whose name is a word of schemas is free")
				return obj("type", "object")
			}
			c.note("optional fields whose names are words of schemas are left out: send them with the action for any route")
			continue
		}
		if s, ok := m.value.(object); ok && s.is("readOnly") && !must {
			continue
		}
		properties = append(properties, member{m.name, c.convert(m.value, field{name: m.name, required: must, depth: at.depth + 1, taken: taken})})
		if must {
			names = append(names, m.name)
		}
	}
	for _, v := range required {
		name, _ := v.(string)
		if name == "" || has(names, name) {
			continue
		}
		if misread(name) {
			c.note("a group that needs a field whose name is a word of schemas is free")
			return obj("type", "object")
		}
		properties = append(properties, member{name, c.convert(true, field{name: name, required: true, depth: at.depth + 1, taken: taken})})
		names = append(names, name)
	}
	return obj("type", "object", "required", names, "properties", properties)
}

// misread says whether the name of a field is taken for a keyword by programs that
// read definitions, and breaks them.
func misread(name string) bool {
	switch name {
	case "", "$ref", "allOf", "oneOf", "anyOf", "not", "__proto__", "hasOwnProperty":
		return true
	default:
		return strings.HasPrefix(name, "x-ms-")
	}
}

func (c *converter) convertArray(f object, at field) object {
	made := obj("type", "array")
	element := object{}
	if items := f.get("items"); items != nil && items != false && !f.has("prefixItems") {
		if list, tuple := items.([]any); !tuple || len(list) == 1 {
			if tuple {
				items = list[0]
			}
			element = c.convert(items, field{depth: at.depth + 1})
		}
	}
	if element == nil {
		element = object{}
	}
	made = append(made, member{"items", element})
	return append(made, counts(f, "minItems", "maxItems")...)
}

func convertString(f object) (object, string) {
	made, format := obj("type", "string"), f.text("format")
	if f.text("contentEncoding") == "base64" {
		format = "byte"
	}
	says := "Text."
	switch format {
	case "date":
		says = "A date, such as 2026-11-26."
	case "date-time":
		says = "A date and time, such as 2026-11-26T09:30:00Z."
	case "email":
		says = "An e-mail address."
	case "uri":
		says = "A web address."
	case "uuid":
		says = "An id of the form 8-4-4-4-12."
	case "byte":
		says = "The content of a file."
	case "password":
		says = "A secret."
	default:
		format = ""
	}
	limits := counts(f, "minLength", "maxLength")
	if most, ok := limits.get("maxLength").(json.Number); ok && says == "Text." {
		says = "Text of at most " + most.String() + " characters."
	}
	return append(append(made, obj("format", format)...), limits...), says
}

func convertNumber(f object, kind string) (object, string) {
	made := obj("type", kind)
	switch format := f.text("format"); {
	case kind == "integer" && (format == "int32" || format == "int64"), kind == "number" && (format == "float" || format == "double"):
		made = append(made, member{"format", format})
	}
	for _, side := range [][2]string{{"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}} {
		bound, open := f.get(side[0]), f.get(side[1])
		if n, ok := open.(json.Number); ok { // a number since draft 6, it was a flag before
			bound, open = n, true
		}
		if n, ok := bound.(json.Number); ok && fits(n, "number") {
			made = append(made, member{side[0], n})
			if open == true {
				made = append(made, member{side[1], true})
			}
		}
	}
	if kind == "integer" {
		return made, "A whole number."
	}
	return made, "A number."
}

// counts are the bounds of a length.
func counts(f object, names ...string) (made object) {
	for _, name := range names {
		if n, ok := f.get(name).(json.Number); ok {
			if whole, err := n.Int64(); err == nil && whole >= 0 {
				made = append(made, member{name, n})
			}
		}
	}
	return made
}

// fixed are the values that a field may have, and the one that it has when nothing
// is said. A field that must be there and has one value needs no maker: it is hidden.
func fixed(f object, kind string, at field) (made object) {
	list, titles := []any{}, []any{}
	known := f.list(titlesOf)
	for i, v := range append(constant(f), f.list("enum")...) {
		if !fits(v, kind) || has(list, v) {
			continue
		}
		title := ""
		if !f.has("const") && i < len(known) {
			title, _ = known[i].(string)
		}
		list, titles = append(list, v), append(titles, shownAs(v, title))
		if f.has("const") {
			break
		}
	}
	standard := f.get("default")
	if len(list) == 1 && f.has("const") && at.required {
		made, standard = obj("x-ms-visibility", "internal"), list[0]
	}
	if len(list) > 0 {
		made = append(made, member{"enum", list})
		if len(known) > 0 && kind == "string" {
			made = append(made, member{"x-ms-enum-values", enumValues(list, titles)})
		}
	}
	if standard != nil && fits(standard, kind) && (len(list) == 0 || has(list, standard)) {
		made = append(made, member{"default", standard})
	}
	return made
}

func shownAs(v any, title string) string {
	if title = cut(tidy(title), maxFieldTitle); title != "" {
		return title
	}
	if s, ok := v.(string); ok && s != "" {
		return cut(s, maxFieldTitle)
	}
	return string(compact(v))
}

func enumValues(list, titles []any) []any {
	made := make([]any, len(list))
	for i, v := range list {
		made[i] = object{{"value", v}, {"displayName", titles[i]}}
	}
	return made
}
