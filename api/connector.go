package api

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"ferry"
	"ferry/connector"
)

// connectorCalls lists the calls behind the Power Platform connector, and those that
// its files are fetched with. The page names no route, and may be seen by anybody; the
// files tell the fields of routes, and a key gets those of its own routes.
func connectorCalls() []endpoint {
	const get = http.MethodGet
	return []endpoint{
		{
			method: get, path: "/v1/routes/{route}/schema", id: "getRouteSchema", roles: readers, handle: (*call).routeSchema,
			summary: "Read what a route's messages look like", answers: []reply{{200, "the fields", RouteSchema{}, nil, nil}},
		},
		{
			method: get, path: "/connector/", id: "getConnectorPage", open: true, handle: (*call).connectorPage,
			summary: "A page to fetch the connector from", text: "It names no route.",
			answers: []reply{{200, "the page", nil, []string{"text/html"}, nil}},
		},
		{
			method: get, path: "/connector/{file}", id: "getConnectorFile", roles: anyone, handle: (*call).connectorFile,
			summary: "A file of the Power Platform connector", params: connectorParams(),
			text:    "One of " + strings.Join(connector.FileNames(), ", ") + ", or " + connector.ZipFile + " with all of them: made of the routes that the key may see.",
			answers: []reply{{200, "the file", nil, []string{"application/json", "image/png", "text/markdown", "application/zip"}, []string{"Content-Disposition"}}},
		},
	}
}

func connectorParams() []param {
	text := func(name, text string) param { return param{name: name, in: inQuery, text: text} }
	return []param{
		text("host", "the broker's host as flows reach it; default that of its public URL"),
		{name: "auth", in: inQuery, enum: connector.Auths(), text: "how connections log on; default apiKey, or both with a clientId"},
		text("routes", "names with commas between; default all that the key may see"),
		text("title", "of the connector, at most 30 characters; default Ferry"),
		text("clientId", "of the app registration of the connector, for oauth"),
		text("tenant", "id or domain of the tenant, for oauth; default common"),
		text("resource", "application id URI of the broker's app registration, for oauth; default api://clientId"),
		text("publisher", "who publishes the connector; default Ferry"),
		text("email", "of whom to ask"),
		text("website", "https address; default the broker's"),
		text("privacyPolicy", "https address; default the website"),
	}
}

// RouteSchema tells what a route's messages look like.
type RouteSchema struct {
	Route       string          `json:"route"`
	Title       string          `json:"title" doc:"what people call the route"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"schema" doc:"the fields in the terms of OpenAPI 2.0, for designers; without a schema one free field"`
	JSONSchema  json.RawMessage `json:"jsonSchema,omitempty" doc:"the JSON Schema of the configuration, which bodies are held against; absent: there is none"`
}

func (c *call) routeSchema() error {
	route, err := c.knownRoute()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, RouteSchema{
		Route: route.Name, Title: route.Heading(), Description: route.Description,
		Schema: connector.RouteSchema(&route), JSONSchema: route.Schema,
	})
}

func (c *call) connectorFile() error {
	name := c.r.PathValue("file")
	if name != connector.ZipFile && !slices.Contains(connector.FileNames(), name) {
		return ferry.Errorf(ferry.CodeNotFound, "the connector has no file %q", clip(name)).
			WithHint("one of %s, %s", strings.Join(connector.FileNames(), ", "), connector.ZipFile)
	}
	routes, err := c.connectorRoutes()
	if err != nil {
		return err
	}
	made, err := connector.Make(routes, connector.Options{
		PublicURL: firstOf(c.q("host"), c.publicURL()), Auth: c.q("auth"), Title: c.q("title"),
		ClientID: c.q("clientId"), Tenant: c.q("tenant"), Resource: c.q("resource"),
		Publisher: c.q("publisher"), Email: c.q("email"), Website: c.q("website"), Privacy: c.q("privacyPolicy"),
	})
	if err != nil {
		return err
	}
	data, err := fileOf(made.Files, name)
	if err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("Content-Type", fileType(name))
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	c.write(http.StatusOK, data)
	return nil
}

func fileOf(files []connector.File, name string) ([]byte, error) {
	for _, f := range files {
		if f.Name == name {
			return f.Data, nil
		}
	}
	return connector.Zip(files)
}

func fileType(name string) string {
	switch name[strings.LastIndexByte(name, '.')+1:] {
	case "json":
		return "application/json"
	case "png":
		return "image/png"
	case "md":
		return "text/markdown; charset=utf-8"
	default:
		return "application/zip"
	}
}

// connectorRoutes are the routes of a connector: those that the caller may see and,
// where it says which, wants.
func (c *call) connectorRoutes() ([]ferry.Route, error) {
	infos, err := c.api.svc.RouteInfos(c.ctx())
	if err != nil {
		return nil, err
	}
	wanted := strings.FieldsFunc(c.q("routes"), func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range wanted {
		if err := c.checkRouteFilter(name); err != nil {
			return nil, err
		}
	}
	var routes []ferry.Route
	for i := range infos {
		name := infos[i].Name
		if !c.who.MaySee(name) || len(wanted) > 0 && !slices.Contains(wanted, name) {
			continue
		}
		if route, ok := c.api.svc.Route(name); ok && !route.Retired {
			routes = append(routes, route)
		}
	}
	return routes, nil
}
