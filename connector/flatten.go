package connector

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// flat is a schema without $ref, allOf, anyOf, oneOf and conditions: what can be said
// of it in the terms of OpenAPI 2.0.
type flat struct {
	object
	refs []string // that were followed
	any  bool     // nothing can be said
}

// maxFollow bounds how many schemas one may be put together of.
const maxFollow = 500

// flatten puts a schema together of what it refers to. What may hold in one case and
// not in another is taken as optional: the broker checks the whole schema.
func (c *converter) flatten(v any, depth int) flat {
	s, ok := v.(object)
	if !ok { // true, or what is no schema
		return flat{any: true}
	}
	if depth == 0 {
		c.followed = 0
	}
	if c.followed++; depth > 50 || c.followed > maxFollow {
		c.note("what is put together of very many schemas is free")
		return flat{any: true}
	}
	made := flat{}
	if s.has("$dynamicRef") {
		return flat{any: true}
	}
	if ref := s.text("$ref"); ref != "" {
		if made = c.follow(ref, depth); made.any {
			return flat{any: true, object: annotations(s), refs: made.refs}
		}
	}
	for _, part := range s.list("allOf") {
		f := c.flatten(part, depth+1)
		made = flat{object: both(made.object, f.object), refs: append(made.refs, f.refs...)}
	}
	made.object = both(made.object, plain(s))
	for _, name := range []string{"oneOf", "anyOf"} {
		if variants := s.list(name); len(variants) > 0 {
			c.choose(&made, variants, depth)
		}
	}
	var cases []any
	for _, name := range []string{"then", "else"} {
		if s.has("if") && s.has(name) {
			cases = append(cases, s.get(name))
		}
	}
	for _, m := range s.object("dependentSchemas") {
		cases = append(cases, m.value)
	}
	perhaps := object{} // fields that one of the cases names
	for _, one := range cases {
		f := c.flatten(one, depth+1)
		perhaps = joined(perhaps, f.get("properties"), "anyOf")
		made.refs = append(made.refs, f.refs...)
	}
	made.object = withFields(made.object, perhaps)
	return made
}

// follow flattens what a reference leads to.
func (c *converter) follow(ref string, depth int) flat {
	target, ok := c.resolve(ref)
	switch {
	case !ok:
		c.note("a reference that leads nowhere is free")
		return flat{any: true}
	case slices.Contains(c.open, ref), slices.Contains(c.stack, ref) && c.cyclic(ref):
		c.note("what contains itself is free from the second level on")
		if o, ok := target.(object); ok && (o.text("type") == "object" || !o.has("type") && o.has("properties")) {
			return flat{object: obj("type", "object")}
		}
		return flat{any: true}
	}
	c.open = append(c.open, ref)
	f := c.flatten(target, depth+1)
	c.open = c.open[:len(c.open)-1]
	f.refs = append(f.refs, ref)
	return f
}

// choose takes the variants of oneOf or anyOf into made.
func (c *converter) choose(made *flat, variants []any, depth int) {
	var kept []flat
	for _, v := range variants {
		if v == false {
			continue
		}
		f := c.flatten(v, depth+1)
		made.refs = append(made.refs, f.refs...)
		if f.any {
			*made = flat{any: true, object: annotations(made.object), refs: made.refs}
			return
		}
		if !onlyNull(f.object) {
			kept = append(kept, f)
		}
	}
	if made.any || len(kept) == 0 {
		return
	}
	if len(kept) == 1 {
		made.object = both(kept[0].object, made.object)
		return
	}
	if list, titles, ok := values(kept); ok {
		made.object = both(obj("enum", list, titlesOf, titles), made.object)
		return
	}
	kinds := []any{}
	for _, f := range kept {
		own := typesOf(f.object, made.object)
		if len(own) == 0 {
			*made = flat{any: true, object: annotations(made.object), refs: made.refs}
			return
		}
		for _, kind := range own {
			if !slices.Contains(kinds, any(kind)) {
				kinds = append(kinds, kind)
			}
		}
	}
	switch {
	case len(kinds) != 1:
		made.object = made.object.with("type", kinds) // one of several kinds
	case kinds[0] == "object":
		all := kept[0].object
		for _, f := range kept[1:] {
			all = either(all, f.object)
		}
		made.object = both(drop(all, "title", "description"), made.object.with("type", "object"))
	default:
		made.object = made.object.with("type", kinds[0])
	}
}

// titlesOf carries the titles of an enumeration's values.
const titlesOf = "x-titles"

// values are those of variants that each allow only fixed ones, with their titles.
func values(variants []flat) (list, titles []any, ok bool) {
	titled := false
	for _, f := range variants {
		own := f.list("enum")
		if f.has("const") {
			own = []any{f.get("const")}
		}
		if len(own) == 0 {
			return nil, nil, false
		}
		for _, v := range own {
			title := ""
			if len(own) == 1 {
				title = f.text("title")
			}
			titled = titled || title != ""
			list, titles = append(list, v), append(titles, title)
		}
	}
	if !titled {
		titles = nil
	}
	return list, titles, true
}

func onlyNull(o object) bool {
	if kind, ok := o.get("type").(string); ok && kind == "null" {
		return true
	}
	enum := o.list("enum")
	return o.has("const") && o.get("const") == nil || len(enum) == 1 && enum[0] == nil
}

// plain are the members of a schema that need no other schema to be understood.
func plain(s object) object {
	return drop(s, "$ref", "allOf", "oneOf", "anyOf", "if", "then", "else", "dependentSchemas", "not", "$defs", "definitions", "$schema", "$id", "$anchor", "$comment")
}

// annotations are what a schema says to people.
func annotations(s object) object {
	return obj("title", s.text("title"), "description", s.text("description"))
}

func drop(s object, names ...string) object {
	made := make(object, 0, len(s))
	for _, m := range s {
		if !slices.Contains(names, m.name) {
			made = append(made, m)
		}
	}
	return made
}

// both is the schema of what is true to a and to b; b says what it is called.
func both(a, b object) object {
	if len(a) == 0 {
		return b
	}
	made := slices.Clone(a)
	for _, m := range b {
		before := a.get(m.name)
		if before == nil {
			made = made.with(m.name, m.value)
			continue
		}
		switch m.name {
		case "properties":
			made = put(made, m.name, joined(before, m.value, "allOf"))
		case "items":
			made = put(made, m.name, obj("allOf", []any{before, m.value}))
		case "required":
			made = put(made, m.name, united(before, m.value))
		case "type":
			if common := common(typeList(before), typeList(m.value)); len(common) > 0 {
				made = put(made, m.name, common)
			}
		case "enum":
			if common := common(made.list("enum"), b.list("enum")); len(common) > 0 {
				made = drop(put(made, m.name, common), titlesOf)
			}
		default:
			made = put(made, m.name, m.value)
		}
	}
	return made
}

// either is the schema of objects that are true to a or to b. A field that only one
// of them names is one of that case: it is not expected in the other.
func either(a, b object) object {
	made := slices.Clone(a)
	if properties := joined(a.get("properties"), b.get("properties"), "anyOf"); len(properties) > 0 {
		made = put(made, "properties", properties)
	}
	return put(made, "required", common(a.list("required"), b.list("required")))
}

// withFields adds fields that are not there yet.
func withFields(s, more object) object {
	properties := slices.Clone(s.object("properties"))
	for _, m := range more {
		if !properties.has(m.name) {
			properties = append(properties, m)
		}
	}
	if len(properties) == 0 {
		return s
	}
	return put(s, "properties", properties)
}

// put replaces a member where it stands.
func put(o object, name string, value any) object {
	for i := range o {
		if o[i].name == name {
			made := slices.Clone(o)
			made[i].value = value
			return made
		}
	}
	return append(slices.Clone(o), member{name, value})
}

// joined are the properties of two schemas; one of both is true to them in the way
// of the keyword.
func joined(a, b any, keyword string) object {
	first, _ := a.(object)
	second, _ := b.(object)
	made := slices.Clone(first)
	for _, m := range second {
		before := first.get(m.name)
		if !first.has(m.name) {
			made = append(made, m)
		} else if !sameValue(before, m.value) {
			made = put(made, m.name, obj(keyword, []any{before, m.value}))
		}
	}
	return made
}

func united(a, b any) []any {
	first, _ := a.([]any)
	second, _ := b.([]any)
	made := slices.Clone(first)
	for _, v := range second {
		if !has(made, v) {
			made = append(made, v)
		}
	}
	return made
}

func common(a, b []any) []any {
	made := []any{}
	for _, v := range a {
		if has(b, v) {
			made = append(made, v)
		}
	}
	return made
}

func has(list []any, v any) bool {
	return slices.ContainsFunc(list, func(w any) bool { return sameValue(v, w) })
}

func typeList(v any) []any {
	if list, ok := v.([]any); ok {
		return list
	}
	return []any{v}
}

// resolve finds what a reference within the document leads to.
func (c *converter) resolve(ref string) (any, bool) {
	pointer, inside := strings.CutPrefix(ref, "#")
	if !inside {
		return nil, false
	}
	if pointer == "" {
		return c.root, true
	}
	if pointer[0] != '/' {
		return c.anchor(c.root, pointer, 0)
	}
	at := c.root
	for part := range strings.SplitSeq(pointer[1:], "/") {
		if unescaped, err := url.PathUnescape(part); err == nil {
			part = unescaped
		}
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch v := at.(type) {
		case object:
			if !v.has(part) {
				return nil, false
			}
			at = v.get(part)
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			at = v[i]
		default:
			return nil, false
		}
	}
	return at, true
}

func (c *converter) anchor(v any, name string, depth int) (any, bool) {
	if depth > maxDepth {
		return nil, false
	}
	switch v := v.(type) {
	case object:
		if v.text("$anchor") == name {
			return v, true
		}
		for _, m := range v {
			if found, ok := c.anchor(m.value, name, depth+1); ok {
				return found, true
			}
		}
	case []any:
		for _, e := range v {
			if found, ok := c.anchor(e, name, depth+1); ok {
				return found, true
			}
		}
	}
	return nil, false
}

// cyclic says whether what a reference leads to leads back to it.
func (c *converter) cyclic(ref string) bool {
	if known, ok := c.cycles[ref]; ok {
		return known
	}
	seen, queue, found := map[string]bool{}, []string{ref}, false
	for len(queue) > 0 && !found {
		target, _ := c.resolve(queue[0])
		queue = queue[1:]
		for _, next := range references(target, 0) {
			if found = found || next == ref || strings.HasPrefix(ref+"/", next+"/"); !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	c.cycles[ref] = found
	return found
}

// references are those that stand in a schema.
func references(v any, depth int) (list []string) {
	if depth > maxDepth {
		return nil
	}
	switch v := v.(type) {
	case object:
		if ref := v.text("$ref"); ref != "" {
			list = append(list, ref)
		}
		for _, m := range v {
			if m.name != "$defs" && m.name != "definitions" || depth > 0 {
				list = append(list, references(m.value, depth+1)...)
			}
		}
	case []any:
		for _, e := range v {
			list = append(list, references(e, depth+1)...)
		}
	}
	return list
}
