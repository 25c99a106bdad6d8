package shape

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"ferry/internal/conform"
)

// quickOf compiles a document; nil when it has what is not known here.
func quickOf(document any) *quick {
	root, ok := document.(map[string]any)
	if !ok {
		return nil
	}
	if draft, given := root["$schema"]; given && draft != "https://json-schema.org/draft/2020-12/schema" {
		return nil
	}
	c := &quickCompiler{root: document, known: map[string]*quick{}}
	q := c.at("", document)
	if c.beyond {
		return nil
	}
	return q
}

type quickCompiler struct {
	root   any
	known  map[string]*quick // by pointer
	beyond bool
}

func (c *quickCompiler) at(pointer string, v any) *quick {
	if q, ok := c.known[pointer]; ok {
		return q
	}
	q := &quick{}
	c.known[pointer] = q
	switch v := v.(type) {
	case bool:
		q.always, q.never = v, !v
	case map[string]any:
		for keyword, value := range v {
			if !c.keyword(q, pointer, keyword, value) {
				c.beyond = true
			}
		}
	default:
		c.beyond = true
	}
	return q
}

// keyword takes one keyword in; false when it is not known here.
func (c *quickCompiler) keyword(q *quick, pointer, keyword string, value any) bool {
	here := pointer + "/" + escape(keyword)
	switch keyword {
	case "$schema", "title", "description", "default", "examples", "example", "$comment", "deprecated", "readOnly", "writeOnly", "$defs", "definitions":
		return keyword != "$schema" || pointer == ""
	case "$ref":
		text, _ := value.(string)
		return c.follow(q, text)
	case "type":
		return q.setTypes(value)
	case "enum":
		q.enum, _ = value.([]any)
		return len(q.enum) > 0
	case "const":
		q.enum = append(q.enum, value)
		return len(q.enum) == 1
	case "properties":
		members, ok := value.(map[string]any)
		q.properties = make(map[string]*quick, len(members))
		for name, schema := range members {
			q.properties[name] = c.at(here+"/"+escape(name), schema)
		}
		return ok
	case "required":
		list, ok := value.([]any)
		for _, name := range list {
			text, is := name.(string)
			q.required, ok = append(q.required, text), ok && is
		}
		return ok
	case "additionalProperties":
		q.others = c.at(here, value)
	case "items":
		q.items = c.at(here, value)
	case "allOf", "anyOf":
		list, ok := value.([]any)
		for i, schema := range list {
			one := c.at(here+"/"+strconv.Itoa(i), schema)
			if keyword == "allOf" {
				q.all = append(q.all, one)
			} else {
				q.any = append(q.any, one)
			}
		}
		return ok && len(list) > 0
	case "minProperties", "minItems", "minLength", "maxProperties", "maxItems", "maxLength":
		return q.setCount(keyword, value)
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf":
		a, ok := amountOf(value)
		q.bounds, q.numeric = append(q.bounds, bound{keyword, a}), true
		return ok
	case "uniqueItems":
		q.unique, _ = value.(bool)
	case "pattern":
		text, _ := value.(string)
		var err error
		q.pattern, err = regexp.Compile(conform.Pattern(text))
		q.texty = true
		return err == nil
	case "format":
		q.format, _ = value.(string)
		q.texty = true
	default:
		return false
	}
	return true
}

func (c *quickCompiler) follow(q *quick, ref string) bool {
	fragment, ok := strings.CutPrefix(ref, "#")
	pointer, err := url.PathUnescape(fragment)
	if !ok || err != nil || pointer != "" && pointer[0] != '/' {
		return false
	}
	v := c.root
	if pointer != "" {
		for part := range strings.SplitSeq(pointer[1:], "/") {
			members, is := v.(map[string]any)
			if v, ok = members[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]; !is || !ok {
				return false
			}
		}
	}
	q.refs = c.at(pointer, v)
	return true
}

func (q *quick) setTypes(value any) bool {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	bits := map[string]uint8{
		"object": isObject, "array": isArray, "string": isString, "number": isNumber | isInteger, "integer": isInteger, "boolean": isBool, "null": isNull,
	}
	for _, t := range list {
		name, _ := t.(string)
		bit, known := bits[name]
		if !known {
			return false
		}
		q.types |= bit
	}
	return true
}

func (q *quick) setCount(keyword string, value any) bool {
	number, _ := value.(json.Number)
	n, err := strconv.Atoi(string(number))
	at := map[string]int{"Properties": 0, "Items": 1, "Length": 2}[keyword[3:]]
	if q.texty = q.texty || at == 2; keyword[:3] == "min" {
		q.least[at] = n
	} else {
		q.most[at] = n
	}
	return err == nil && n >= 0 && (n > 0 || keyword[:3] == "min")
}
