package connector

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ferry"
)

// definition is apiDefinition.swagger.json in the making.
type definition struct {
	options Options
	at      *place
	routes  []typed
	notes   []string
}

// typed is a route with actions of its own, or one of its versions.
type typed struct {
	route  *ferry.Route
	id     string // in operation ids
	send   string // what the ids of its actions begin with
	path   string // of its messages, below the prefix
	called string // in the titles of actions
	schema object // nil: any JSON
	ends   string // what is said of a version that ends
	old    bool   // not for new flows
}

// addRoute adds a route: as it is for messages that name no version, then each of
// its versions.
func (d *definition) addRoute(route *ferry.Route) {
	path := "/v1/routes/" + route.Name
	if len(route.Versions) == 0 || route.Version("") != nil || route.VersionBy.Field != "" {
		schema, accept := plainForm(route)
		d.add(typed{route: route, id: pascal(route.Name), send: "Send", path: path + "/messages", called: called(route)}, schema, accept)
	}
	for i := range route.Versions {
		v := &route.Versions[i]
		t := typed{
			route: route, id: "V" + word(v.Name) + "To" + pascal(route.Name), send: "SendV" + word(v.Name), path: path + "/versions/" + v.Name + "/messages",
			called: called(route) + " (version " + heading(apartDots(v.Name), ferry.MaxVersionLength) + ")", old: !v.Deprecated.IsZero(),
		}
		if !v.Sunset.IsZero() {
			t.ends = "This version ends on " + v.Sunset.UTC().Format("2006-01-02") + ". "
		}
		schema, accept := formOf(route, v)
		d.add(t, schema, accept)
	}
}

func (d *definition) add(t typed, schema json.RawMessage, accept []string) {
	name := t.route.Name + strings.TrimPrefix(t.called, called(t.route))
	if len(accept) > 0 && !slices.Contains(accept, ferry.AcceptJSON) {
		d.notes = append(d.notes, "route "+name+": it takes no JSON, so it has no actions")
		return
	}
	made, notes := bodySchema(schema)
	t.schema = made
	for _, note := range notes {
		d.notes = append(d.notes, "route "+name+": "+note)
	}
	for _, other := range d.routes {
		if strings.EqualFold(other.id, t.id) {
			d.notes = append(d.notes, fmt.Sprintf("the routes %s and %s differ too little: Power Platform may take their actions for the same; rename one, or leave one out", other.route.Name, t.route.Name))
		}
	}
	d.routes = append(d.routes, t)
}

// plainForm is what a message that names no version is held against.
func plainForm(route *ferry.Route) (schema json.RawMessage, accept []string) {
	if v := route.Version(""); v != nil {
		return formOf(route, v)
	}
	return route.Schema, route.Accept
}

// formOf is what a version's message is held against: what a version does not say is
// as the route says.
func formOf(route *ferry.Route, v *ferry.RouteVersion) (schema json.RawMessage, accept []string) {
	schema, accept = v.Schema, v.Accept
	if schema == nil {
		schema = route.Schema
	}
	if accept == nil {
		accept = route.Accept
	}
	return schema, accept
}

// called is the route in the title of an action: its own title as it is, else its
// name in words.
func called(route *ferry.Route) string {
	if title := heading(route.Title, maxSummary-len("Send to  and wait")); title != "" {
		return title
	}
	return strings.Join(strings.FieldsFunc(route.Name, func(r rune) bool { return r == '-' }), " ")
}

// document writes the definition, in many lines where it may be that large.
func (d *definition) document() ([]byte, error) {
	paths, definitions := d.operations(), shapes()
	for _, t := range d.routes {
		if t.schema != nil {
			definitions = append(definitions, member{t.bodyName(), t.schema})
		}
	}
	defined, uses := security(&d.options)
	contact := obj("name", d.options.Publisher, "url", d.options.Website, "email", d.options.Email)
	doc := object{
		{"swagger", "2.0"},
		{"info", obj(
			"title", d.options.Title,
			"description", "Hands messages to a system that may be down or slow, and goes on at once: each is kept safe, delivered once when the system is ready, and its end can be waited for.",
			"version", "1.0",
			"contact", contact,
		)},
		{"host", d.at.host},
		{"basePath", "/"},
		{"schemes", texts("https")},
		{"consumes", texts("application/json")},
		{"produces", texts("application/json")},
		{"paths", paths},
		{"definitions", definitions},
		{"securityDefinitions", defined},
		{"security", uses},
		{"x-ms-capabilities", obj("testConnection", object{{"operationId", "GetConnection"}, {"parameters", object{}}})},
		{"x-ms-connector-metadata", []any{
			obj("propertyName", "Website", "propertyValue", d.options.Website),
			obj("propertyName", "Privacy policy", "propertyValue", d.options.Privacy),
			obj("propertyName", "Categories", "propertyValue", "Business Management;IT Operations"),
		}},
	}
	for _, write := range []func(any) []byte{indented, compact} {
		if text := write(doc); len(text) <= MaxDefinition {
			return text, nil
		}
	}
	return nil, d.tooLarge(len(compact(doc)))
}

// tooLarge names the routes that take most: a definition that silently lost the
// fields of some would break the flows that use them.
func (d *definition) tooLarge(size int) error {
	list := slices.Clone(d.routes)
	slices.SortStableFunc(list, func(a, b typed) int { return len(compact(b.schema)) - len(compact(a.schema)) })
	names := []string{}
	for _, t := range list[:min(3, len(list))] {
		names = append(names, fmt.Sprintf("%s (%d KB)", t.route.Name, (len(compact(t.schema))+1023)>>10))
	}
	return ferry.Errorf(ferry.CodeConnectorTooLarge, "the definition of %d routes would take %d KB, and Power Platform takes less than 1024", len(d.routes), (size+1023)>>10).
		WithHint("choose routes (--routes, or ?routes=), and make a second connector for the rest; the largest are %s", strings.Join(names, ", "))
}

func (t *typed) bodyName() string { return t.id + "Body" }

// body is the parameter that takes the message.
func (t *typed) body() object {
	schema := object{} // any JSON
	if t.schema != nil {
		schema = reference(t.bodyName())
	}
	return object{
		{"name", "body"},
		{"in", "body"},
		{"required", true},
		{"x-ms-summary", titleCase(t.called)},
		{"description", messageText(t.route)},
		{"schema", schema},
	}
}

// messageText says what a route's message is.
func messageText(route *ferry.Route) string {
	if text := sentence(route.Description, titleCase(called(route))); text != "" {
		return text
	}
	return "The message for " + called(route) + "."
}

// bodyOfAny is the body of the action for any route: its fields are asked for when
// the maker has chosen the route.
func bodyOfAny() object {
	return object{
		{"name", "body"},
		{"in", "body"},
		{"required", true},
		{"x-ms-summary", "Message"},
		{"description", "The message, in the fields of the route."},
		{"schema", object{
			{"type", "object"},
			{"x-ms-dynamic-schema", object{
				{"operationId", "GetRouteSchema"},
				{"parameters", obj("route", obj("parameter", "route"))},
				{"value-path", "schema"},
			}},
			{"x-ms-dynamic-properties", object{
				{"operationId", "GetRouteSchema"},
				{"parameters", obj("route", obj("parameterReference", "route"))},
				{"itemValuePath", "schema"},
			}},
		}},
	}
}

// chosenRoute is the name of a route, from the list of those that the key may use.
func chosenRoute(pairs ...any) object {
	return append(obj(pairs...), object{
		{"x-ms-dynamic-values", object{
			{"operationId", "ListRoutes"},
			{"value-collection", "items"},
			{"value-path", "name"},
			{"value-title", "title"},
		}},
		{"x-ms-dynamic-list", object{
			{"operationId", "ListRoutes"},
			{"itemsPath", "items"},
			{"itemValuePath", "name"},
			{"itemTitlePath", "title"},
		}},
	}...)
}

func reference(name string) object { return obj("$ref", "#/definitions/"+name) }
