package main

import (
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/internal/postman"
	"ferry/internal/stanza"
)

type importPostmanCmd struct {
	From string `arg:"" name:"file" help:"The collection, exported from Postman as v2.1 or v2.0."`
	importFlags
}

// Run writes the file; it calls nothing.
func (c importPostmanCmd) Run(a *app) error {
	collection, err := postman.Load(c.From)
	if err != nil {
		return err
	}
	f := &stanza.File{Source: c.From}
	requests, err := c.choose(collection, f)
	if err != nil {
		return err
	}
	name := c.Name
	if name == "" {
		name = stanza.Name(collection.Name, "erp")
	}
	f.Destination = stanza.Destination{Name: name, Dialect: "rest"}
	first := requests[0]
	f.Destination.URL = first.Base
	switch {
	case c.URL != "":
		f.Destination.URL = c.URL
	case first.Base == "":
		f.Destination.URL = placeholder
		f.Destination.Notes = append(f.Destination.Notes, "The collection does not say where the API is: put its address in the place of this one.")
	}
	dest := adapters.DestinationConfig{Name: name, Adapter: "erp", Dialect: "rest", URL: f.Destination.URL}
	dest.Auth, f.Destination.Auth = credentials(first.Auth.Config, name)
	switch {
	case first.Auth.Literal:
		f.Destination.Notes = append(f.Destination.Notes, "The collection holds the secret itself, which was not copied. Set the environment variable that auth: refers to, or name a file: file:PATH.")
	case f.Destination.Auth != "":
		f.Destination.Notes = append(f.Destination.Notes, "Set the environment variable that auth: refers to, or name a file: file:PATH.")
	}
	if first.Auth.Note != "" {
		f.Destination.Notes = append(f.Destination.Notes, first.Auth.Note)
	}
	var routes []imported
	for _, q := range requests {
		switch {
		case q.Base != first.Base:
			f.Left = append(f.Left, q.Name+": it goes to another server, "+q.Base)
		case q.Auth.Config.Type != first.Auth.Config.Type || q.Auth.Config.Header != first.Auth.Config.Header || q.Auth.Config.Query != first.Auth.Config.Query:
			f.Left = append(f.Left, q.Name+": it logs on in another way, for which it takes a destination of its own")
		default:
			r, cfg := routeOfRequest(&q)
			routes = append(routes, imported{r, cfg})
		}
	}
	return c.emit(a, f, dest, routes)
}

// choose gives the requests that can become routes.
func (c importPostmanCmd) choose(collection *postman.Collection, f *stanza.File) ([]postman.Request, error) {
	var list []postman.Request
	found := map[string]bool{}
	for _, q := range collection.Requests {
		wanted := len(c.Operation) == 0
		for _, name := range c.Operation {
			if name == q.Name || strings.HasSuffix(q.Name, " / "+name) || strings.EqualFold(name, q.Method+" "+q.Path) {
				wanted, found[name] = true, true
			}
		}
		writes := slices.Contains([]string{"POST", "PUT", "PATCH"}, q.Method)
		switch {
		case !wanted, !writes && len(c.Operation) == 0:
		case !writes:
			return nil, ferry.Errorf(ferry.CodeBadConfig, "%s is a %s, which does not deliver", q.Name, q.Method).WithHint("POST, PUT or PATCH")
		case q.Unsupported != "":
			f.Left = append(f.Left, q.Name+": "+q.Unsupported)
		default:
			list = append(list, q)
		}
	}
	for _, name := range c.Operation {
		if !found[name] {
			var names []string
			for _, q := range collection.Requests[:min(len(collection.Requests), 20)] {
				names = append(names, q.Name)
			}
			return nil, ferry.Errorf(ferry.CodeBadConfig, "the collection has no request %q", name).WithHint("its requests: %s", strings.Join(names, ", "))
		}
	}
	if len(list) == 0 {
		err := ferry.Errorf(ferry.CodeBadConfig, "the collection has no request that can become a route")
		if len(f.Left) > 0 {
			return nil, err.WithHint("%s", f.Left[0])
		}
		return nil, err.WithHint("one that is POST, PUT or PATCH")
	}
	return list, nil
}

// routeOfRequest makes a route of a request.
func routeOfRequest(q *postman.Request) (stanza.Route, adapters.RouteConfig) {
	r := stanza.Route{Name: stanza.Name(q.Name, "deliver"), Notes: append([]string{q.Name}, q.Notes...), URL: q.Path, ContentType: q.ContentType}
	if q.Method != "POST" {
		r.Method = q.Method
	}
	if strings.ContainsAny(r.URL, "{}") {
		r.URL = unknownParts(r.URL)
		r.Notes = append(r.Notes, "The path has parts that the collection does not say, "+q.Path+": {externalKey}, {messageId}, {correlationId} and {orderingKey} may stand there.")
	}
	cfg := adapters.RouteConfig{Method: q.Method, URL: r.URL, Query: map[string]string{}, Headers: map[string]string{}, ContentType: r.ContentType}
	for _, p := range q.Query {
		r.Query, cfg.Query[p.Name] = append(r.Query, stanza.Pair(p)), p.Value
	}
	for _, p := range q.Headers {
		r.Headers, cfg.Headers[p.Name] = append(r.Headers, stanza.Pair(p)), p.Value
	}
	switch {
	case q.Body != nil:
		r.Map = stanza.Map(stanza.Sample(q.Body))
		r.Notes = append(r.Notes, "The map takes a message that looks like the example: change what stands right of the colons.")
	case q.IsJSON:
		r.Map = ".\n"
	default:
		r.Notes = append(r.Notes, "The sender's body passes as it is.")
	}
	cfg.Map = r.Map
	if q.Answer != nil {
		r.Reference = stanza.Reference(stanza.Sample(q.Answer))
	}
	cfg.Reference = r.Reference
	if r.Reference == "" {
		r.Guesses = append(r.Guesses, "reference: .id # jq over the answer: the document's number")
	}
	r.Guesses = append(r.Guesses, `lookup: {url: "`+r.URL+`?externalId={externalKey}", reference: ".items[0].id"} # if the API can be asked`)
	return r, cfg
}

// unknownParts takes the braces away, which would name what the route knows.
func unknownParts(path string) string {
	return strings.NewReplacer("{{", "change-me-", "}}", "", "{", "", "}", "").Replace(path)
}
