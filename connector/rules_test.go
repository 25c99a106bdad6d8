package connector

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"ferry"
)

// checker holds a definition to the rules of Power Platform's validator that matter
// here, on its own reading of the JSON.
type checker struct {
	doc    map[string]any
	ops    map[string]map[string]any // by operation id
	params map[string][]any          // of operations, by id
	faults []string
}

func (c *checker) fault(where, format string, args ...any) {
	c.faults = append(c.faults, where+": "+fmt.Sprintf(format, args...))
}

func check(t *testing.T, data []byte) []string {
	t.Helper()
	c := &checker{ops: map[string]map[string]any{}, params: map[string][]any{}}
	if err := json.Unmarshal(data, &c.doc); err != nil {
		t.Fatal(err)
	}
	if len(data) >= 1<<20 {
		c.fault("", "%d bytes", len(data))
	}
	c.root()
	paths := child(c.doc, "paths")
	for path, item := range paths {
		c.path(path, item.(map[string]any))
	}
	c.dynamic("", c.doc)
	for name, schema := range child(c.doc, "definitions") {
		c.schema("definitions/"+name, schema.(map[string]any), 0)
	}
	slices.Sort(c.faults)
	return c.faults
}

func child(m map[string]any, names ...string) map[string]any {
	for _, name := range names {
		m, _ = m[name].(map[string]any)
	}
	return m
}

func str(m map[string]any, name string) string {
	s, _ := m[name].(string)
	return s
}

func (c *checker) root() {
	info := child(c.doc, "info")
	if title := str(info, "title"); c.doc["swagger"] != "2.0" || title == "" || len(title) > 30 || !regexp.MustCompile(`[A-Za-z0-9)]$`).MatchString(title) {
		c.fault("info", "title %q", title)
	}
	if text := str(info, "description"); len(text) < 30 || len(text) > 500 || !strings.HasSuffix(text, ".") {
		c.fault("info", "description %q", text)
	}
	if str(child(info, "contact"), "name") == "" || str(info, "version") == "" {
		c.fault("info", "no contact or version")
	}
	if host := str(c.doc, "host"); !regexp.MustCompile(`^[a-z0-9.-]+(:\d+)?$`).MatchString(host) || c.doc["basePath"] != "/" || fmt.Sprint(c.doc["schemes"]) != "[https]" {
		c.fault("host", "%q %v %v", host, c.doc["basePath"], c.doc["schemes"])
	}
	var properties []string
	for _, v := range listed(c.doc["x-ms-connector-metadata"]) {
		if m := v.(map[string]any); str(m, "propertyValue") != "" {
			properties = append(properties, str(m, "propertyName"))
		}
	}
	if !slices.Equal(properties, []string{"Website", "Privacy policy", "Categories"}) {
		c.fault("x-ms-connector-metadata", "%q", properties)
	}
	defined := child(c.doc, "securityDefinitions")
	uses, _ := c.doc["security"].([]any)
	if len(defined) == 0 || len(uses) != len(defined) {
		c.fault("security", "%d uses of %d definitions", len(uses), len(defined))
	}
	for _, use := range uses {
		for name := range use.(map[string]any) {
			if defined[name] == nil {
				c.fault("security", "%s is not defined", name)
			}
		}
	}
}

func (c *checker) path(path string, item map[string]any) {
	if !regexp.MustCompile(`^/[a-z0-9/{}._-]+$`).MatchString(path) {
		c.fault(path, "cannot be a path")
	}
	for method, v := range item {
		if strings.HasPrefix(method, "x-ms-") {
			if method != "x-ms-notification-content" || str(child(v.(map[string]any), "schema"), "$ref") == "" {
				c.fault(path, "%s", method)
			}
			continue
		}
		op := v.(map[string]any)
		id := str(op, "operationId")
		where := path + " " + id
		if !regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`).MatchString(id) || c.ops[id] != nil {
			c.fault(where, "the operation id is twice there, or not in Pascal case")
		}
		c.ops[id], c.params[id] = op, slices.Clone(listed(op["parameters"]))
		c.operation(where, path, method, item, op)
	}
}

func listed(v any) []any {
	l, _ := v.([]any)
	return l
}

func (c *checker) operation(where, path, method string, item, op map[string]any) {
	summary, text := str(op, "summary"), str(op, "description")
	if n := len([]rune(summary)); n == 0 || n > 80 || strings.ContainsAny(summary, "/:@_?!.<>\"") {
		c.fault(where, "summary %q", summary)
	}
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "!") && !strings.HasSuffix(text, "?") || text == summary || len([]rune(text)) > 1000 {
		c.fault(where, "description %q", text)
	}
	seen, bodies, hooks := map[string]bool{}, 0, 0
	for _, v := range listed(op["parameters"]) {
		p := v.(map[string]any)
		name, in := str(p, "name"), str(p, "in")
		if seen[in+name] || name == "connectionId" || name == "" {
			c.fault(where, "parameter %q of %s", name, in)
		}
		seen[in+name] = true
		c.words(where+" "+name, p)
		switch in {
		case "body":
			bodies++
			hooks += c.hooks(where, child(p, "schema"), p["required"] == true)
			c.schema(where+" body", child(p, "schema"), 0)
		case "path":
			if p["required"] != true || str(p, "x-ms-url-encoding") == "" || !strings.Contains(path, "{"+name+"}") {
				c.fault(where, "path parameter %q", name)
			}
		case "query":
			if p["x-ms-url-encoding"] != nil {
				c.fault(where, "query parameter %q", name)
			}
		default:
			c.fault(where, "parameter in %s", in)
		}
		if in != "body" && (p["schema"] != nil || str(p, "type") != "string") {
			c.fault(where, "parameter %q has no simple type", name)
		}
	}
	for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
		if !seen["path"+m[1]] {
			c.fault(where, "%s is in no parameter", m[0])
		}
	}
	if bodies > 1 || bodies > 0 && method != "post" {
		c.fault(where, "%d bodies of %s", bodies, method)
	}
	c.trigger(where, hooks, item, op)
	c.responses(where, op)
}

func (c *checker) trigger(where string, hooks int, item, op map[string]any) {
	content := item["x-ms-notification-content"] != nil
	if trigger := str(op, "x-ms-trigger"); (trigger != "") != content || content != (hooks == 1) || content && (trigger != "single" || child(op, "responses", "201") == nil) {
		c.fault(where, "trigger %q with %d callback addresses, content %v", trigger, hooks, content)
	}
}

// hooks counts the callback addresses; each is hidden, and required all the way up.
func (c *checker) hooks(where string, s map[string]any, required bool) (n int) {
	for name, v := range child(s, "properties") {
		p := v.(map[string]any)
		must := required && slices.Contains(listed(s["required"]), any(name))
		if p["x-ms-notification-url"] == true {
			n++
			if !must || p["type"] != "string" || p["x-ms-visibility"] != "internal" {
				c.fault(where, "the callback address %q is not as it must be", name)
			}
		}
		n += c.hooks(where, p, must)
	}
	return n
}

func (c *checker) responses(where string, op map[string]any) {
	good, shaped := 0, 0
	for status, v := range child(op, "responses") {
		r := v.(map[string]any)
		if str(r, "description") == "" || !regexp.MustCompile(`^([1-5]\d\d|default)$`).MatchString(status) {
			c.fault(where, "response %s", status)
		}
		schema := child(r, "schema")
		if schema != nil {
			c.schema(where+" "+status, schema, 0)
		}
		if status == "default" && schema != nil {
			c.fault(where, "the default response has a schema")
		}
		if status[0] == '2' {
			good++
			if schema != nil {
				shaped++
			}
		}
	}
	if good == 0 || shaped > 1 || shaped == 0 && child(op, "responses", "204") == nil {
		c.fault(where, "%d good responses, %d with a schema", good, shaped)
	}
}

// words are the title and the description of a parameter or field.
func (c *checker) words(where string, s map[string]any) {
	title, text := str(s, "x-ms-summary"), str(s, "description")
	first := []rune(title + " ")[0]
	if title == "" || len([]rune(title)) > 100 || unicode.ToUpper(first) != first || strings.ContainsAny(title, "<>\"/_\n") {
		c.fault(where, "x-ms-summary %q", title)
	}
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "!") && !strings.HasSuffix(text, "?") || strings.TrimSuffix(text, ".") == title || len([]rune(text)) > 500 {
		c.fault(where, "description %q", text)
	}
}

var schemaWords = []string{
	"type", "format", "properties", "required", "items", "enum", "default", "description", "x-ms-summary", "x-ms-visibility",
	"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems",
	"x-ms-enum-values", "x-ms-notification-url", "x-ms-dynamic-values", "x-ms-dynamic-list", "x-ms-dynamic-schema", "x-ms-dynamic-properties",
}

var formats = []string{"", "int32", "int64", "float", "double", "byte", "date", "date-time", "password", "email", "uri", "uuid"}

func (c *checker) schema(where string, s map[string]any, depth int) {
	if ref := str(s, "$ref"); ref != "" {
		name, ok := strings.CutPrefix(ref, "#/definitions/")
		if !ok || child(c.doc, "definitions", name) == nil || len(s) != 1 {
			c.fault(where, "reference %q, with %d siblings", ref, len(s)-1)
		}
		if depth > 0 {
			c.fault(where, "a reference in a definition may lead in a circle")
		}
		return
	}
	for word := range s {
		if !slices.Contains(schemaWords, word) {
			c.fault(where, "%s is not known", word)
		}
	}
	kind := str(s, "type")
	if !slices.Contains([]string{"", "object", "array", "string", "integer", "number", "boolean"}, kind) || !slices.Contains(formats, str(s, "format")) {
		c.fault(where, "type %q, format %q", kind, str(s, "format"))
	}
	properties := child(s, "properties")
	if must, has := s["required"]; has {
		if len(listed(must)) == 0 {
			c.fault(where, "required is empty")
		}
		for _, name := range listed(must) {
			if _, ok := properties[fmt.Sprint(name)]; !ok {
				c.fault(where, "requires %v, which is not there", name)
			}
		}
	}
	titles := map[string]bool{}
	for name, v := range properties {
		p := v.(map[string]any)
		c.words(where+"/"+name, p)
		if titles[str(p, "x-ms-summary")] {
			c.fault(where, "two fields have the title %q", str(p, "x-ms-summary"))
		}
		titles[str(p, "x-ms-summary")] = true
		if p["x-ms-visibility"] == "internal" && p["default"] != nil && !slices.Contains(listed(s["required"]), any(name)) {
			c.fault(where, "%s is hidden and not required: its default would never be sent", name)
		}
		if misread(name) {
			c.fault(where, "a field has the name %q", name)
		}
		c.schema(where+"/"+name, p, depth+1)
	}
	if kind == "array" != (s["items"] != nil) {
		c.fault(where, "type %q, items %v", kind, s["items"])
	}
	if items := child(s, "items"); items != nil {
		c.schema(where+"[]", items, depth+1)
	}
	c.values(where, kind, s)
}

func (c *checker) values(where, kind string, s map[string]any) {
	enum, has := s["enum"]
	seen := map[string]bool{}
	for _, v := range listed(enum) {
		text, _ := json.Marshal(v)
		if seen[string(text)] || !ofKind(v, kind) {
			c.fault(where, "enum has %s, of kind %q", text, kind)
		}
		seen[string(text)] = true
	}
	if has && len(seen) == 0 {
		c.fault(where, "enum is empty")
	}
	for i, v := range listed(s["x-ms-enum-values"]) {
		m := v.(map[string]any)
		if str(m, "displayName") == "" || i >= len(listed(enum)) || m["value"] != listed(enum)[i] {
			c.fault(where, "x-ms-enum-values %v", m)
		}
	}
	if standard := s["default"]; standard != nil && !ofKind(standard, kind) {
		c.fault(where, "default %v of kind %q", standard, kind)
	}
}

func ofKind(v any, kind string) bool {
	switch v := v.(type) {
	case string:
		return kind == "string"
	case bool:
		return kind == "boolean"
	case float64:
		return kind == "number" || kind == "integer" && v == float64(int64(v))
	default:
		return false
	}
}

// dynamic checks every dynamic extension: the operation is there, its parameters
// are, and none of those that it needs is missing.
func (c *checker) dynamic(where string, v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			c.dynamic(where, e)
		}
	case map[string]any:
		for name, e := range v {
			c.dynamic(where+"/"+name, e)
			if !strings.HasPrefix(name, "x-ms-dynamic-") {
				continue
			}
			m, ok := e.(map[string]any)
			id := str(m, "operationId")
			if !ok || c.ops[id] == nil {
				c.fault(where, "%s asks %q", name, id)
				continue
			}
			given := child(m, "parameters")
			for _, p := range c.params[id] {
				p := p.(map[string]any)
				if p["required"] == true && given[str(p, "name")] == nil {
					c.fault(where, "%s does not give %s", name, str(p, "name"))
				}
				delete(given, str(p, "name"))
			}
			if len(given) > 0 {
				c.fault(where, "%s gives %v", name, slices.Collect(maps.Keys(given)))
			}
		}
	}
}

func TestRules(t *testing.T) {
	for name, c := range fixtures(t) {
		for _, fault := range check(t, fileNamed(t, c, DefinitionFile)) {
			t.Errorf("%s: %s", name, fault)
		}
	}
}

// TestRulesCatch: a definition that breaks a rule is told apart, so that TestRules
// means something.
func TestRulesCatch(t *testing.T) {
	c, err := Make([]ferry.Route{routeOf(t, "supplier-invoices")}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := string(fileNamed(t, c, DefinitionFile))
	for _, m := range [][3]string{
		{`"title": "Ferry"`, `"title": "Ferry."`, "info"},
		{`"operationId": "GetMessage"`, `"operationId": "get_message"`, "Pascal"},
		{`"operationId": "GetMessage"`, `"operationId": "SendMessage"`, "twice"},
		{`"operationId": "GetRouteSchema",` + "\n        \"summary\"", `"operationId": "Other",` + "\n        \"summary\"", "asks"},
		{`"summary": "Get a message"`, `"summary": "Get a message."`, "summary"},
		{`Tells where a message stands, with every attempt to deliver it.`, `Get a message`, "description"},
		{`"x-ms-url-encoding": "single"`, `"x-none": ""`, "path parameter"},
		{`"x-ms-trigger": "single",`, ``, "trigger"},
		{`"x-ms-notification-url": true`, `"x-none": true`, "trigger"},
		{"\"callbackUrl\"\n              ],", "\"route\"\n              ],", "callback address"},
		{`"$ref": "#/definitions/Message"`, `"$ref": "#/definitions/Absent"`, "reference"},
		{`"required": [` + "\n        \"invoice\"", `"required": [` + "\n        \"invoices\"", "requires invoices"},
		{`"x-ms-summary": "Due Date"`, `"x-ms-summary": "Date"`, "two fields"},
		{`"exclusiveMinimum": true`, `"multipleOf": 2`, "not known"},
		{`"format": "email"`, `"format": "e-mail"`, "format"},
		{`"default": "EUR"`, `"default": 1`, "default"},
		{`"items": {`, `"x-items": {`, "items"},
		{`"description": "Refused: the answer says why, and what helps."`, `"description": "x", "schema": {"type": "object"}`, "default response"},
		{`"api_key": []`, `"other": []`, "not defined"},
		{`"in": "query"`, `"in": "header"`, "in header"},
	} {
		bad := strings.Replace(good, m[0], m[1], 1)
		if bad == good {
			t.Errorf("nothing to replace: %s", m[0])
			continue
		}
		if faults := strings.Join(check(t, []byte(bad)), "\n"); !strings.Contains(faults, m[2]) {
			t.Errorf("%s in place of %s is not caught: %s", m[1], m[0], faults)
		}
	}
}
