package main

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/httpauth"
	"ferry/internal/apispec"
	"ferry/internal/stanza"
)

type importOpenAPICmd struct {
	From string `arg:"" name:"file" help:"The description: a file, or an http or https address."`
	importFlags
	Save string `placeholder:"FILE" help:"Where the description of an address is kept, since a worker reads files only (NAME-api.json or .yaml)."`
}

// Run writes the file. Only with an address it calls anything: that address.
func (c importOpenAPICmd) Run(a *app) error {
	doc, spec, err := c.load(a.ctx, a)
	if err != nil {
		return err
	}
	operations, err := c.choose(doc)
	if err != nil {
		return err
	}
	name := c.destination(doc)
	f := &stanza.File{Source: c.From}
	if apispec.IsAddress(c.From) {
		f.Source = spec
	}
	f.Destination = stanza.Destination{Name: name, Dialect: "openapi", Spec: filepath.ToSlash(spec), Health: health(doc)}
	dest := adapters.DestinationConfig{Name: name, Adapter: "erp", Dialect: "openapi", Spec: spec}
	f.Destination.URL = c.base(doc, operations, &f.Destination)
	dest.URL = f.Destination.URL
	dest.Auth, f.Destination.Auth = describedAuth(operations, &f.Destination)
	var routes []imported
	for _, op := range operations {
		r, cfg := routeOf(doc, op)
		routes = append(routes, imported{r, cfg})
	}
	return c.emit(a, f, dest, routes)
}

// load reads the description, and gives the file that it lies in.
func (c importOpenAPICmd) load(ctx context.Context, a *app) (*apispec.Document, string, error) {
	if !apispec.IsAddress(c.From) {
		doc, err := apispec.Load(ctx, c.From)
		return doc, c.From, err
	}
	data, doc, err := apispec.Fetch(ctx, c.From)
	if err != nil {
		return nil, "", err
	}
	file := c.Save
	if file == "" {
		file = "./" + c.destination(doc) + "-api.yaml"
		if strings.HasPrefix(strings.TrimSpace(string(data)), "{") {
			file = strings.TrimSuffix(file, "yaml") + "json"
		}
	}
	if err := a.save(file, data); err != nil {
		return nil, "", err
	}
	_, err = fmt.Fprintf(a.stderr, "the description is kept in %s\n", file)
	return doc, file, err
}

func (c importOpenAPICmd) destination(doc *apispec.Document) string {
	if c.Name != "" {
		return c.Name
	}
	return stanza.Name(doc.Title, "erp")
}

func (c importOpenAPICmd) choose(doc *apispec.Document) ([]*apispec.Operation, error) {
	var list []*apispec.Operation
	for _, id := range c.Operation {
		op, err := doc.Operation(id)
		if err != nil {
			return nil, err
		}
		if !op.Writes() {
			return nil, ferry.Errorf(ferry.CodeBadConfig, "%s is a %s, which does not deliver", id, op.Method).WithHint("POST, PUT or PATCH")
		}
		list = append(list, op)
	}
	if len(c.Operation) > 0 {
		return list, nil
	}
	for _, op := range doc.Operations {
		if op.Writes() {
			list = append(list, op)
		}
	}
	if len(list) == 0 {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "the description has no operation that writes").WithHint("one that is POST, PUT or PATCH")
	}
	return list, nil
}

// base is the address of the API: the first server that can be one.
func (c importOpenAPICmd) base(doc *apispec.Document, operations []*apispec.Operation, d *stanza.Destination) string {
	if c.URL != "" {
		return c.URL
	}
	servers := doc.Servers
	if own := operations[0].Servers; len(own) > 0 {
		servers = own
	}
	if len(servers) > 1 {
		d.Notes = append(d.Notes, "other servers: "+strings.Join(servers[1:], ", "))
	}
	for _, server := range servers {
		u, err := url.Parse(server)
		if err != nil || strings.ContainsAny(server, "{}") {
			continue
		}
		if source, err := url.Parse(c.From); apispec.IsAddress(c.From) && err == nil {
			u = source.ResolveReference(u)
		}
		u.RawQuery, u.Fragment = "", ""
		switch {
		case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil:
			return strings.TrimRight(u.String(), "/")
		case u.Scheme == "" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
			d.Notes = append(d.Notes, "The description names no host: put it in the place of change-me.example.")
			return strings.TrimRight(placeholder+u.EscapedPath(), "/")
		}
	}
	d.Notes = append(d.Notes, "The description names no server: put the API's address in the place of this one.")
	return placeholder
}

// describedAuth is the way to log on that most operations take.
func describedAuth(operations []*apispec.Operation, d *stanza.Destination) (httpauth.Config, string) {
	asked := map[string]bool{}
	var best httpauth.Config
	var line string
	fits := -1
	for _, op := range operations {
		for _, r := range op.Security {
			for _, s := range r {
				asked[s.Text] = true
				cfg, shown := credentials(s.Auth, d.Name)
				if shown == "" {
					continue
				}
				n := 0
				for _, other := range operations {
					if other.CheckAuth(cfg, httpauth.TLS{}) == nil {
						n++
					}
				}
				if n > fits {
					fits, best, line = n, cfg, shown
				}
			}
		}
	}
	if len(asked) == 0 {
		return best, ""
	}
	var texts []string
	for text := range asked {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	d.Notes = append(d.Notes, "The description asks for "+strings.Join(texts, ", or "))
	if line == "" {
		d.Notes = append(d.Notes, "auth: has no such kind; docs/auth.md has what there is.")
		return httpauth.Config{Type: httpauth.TypeNone}, "{type: none}"
	}
	d.Notes = append(d.Notes, "Set the environment variable that auth: refers to, or name a file: file:PATH.")
	return best, line
}

// health guesses the cheap request that says whether the API is up.
func health(doc *apispec.Document) string {
	for _, word := range []string{"ping", "health", "status", "version"} {
		for _, op := range doc.Operations {
			if op.Method == "GET" && !strings.ContainsAny(op.Path, "{}?# ") && strings.Contains(strings.ToLower(op.Path), word) &&
				!slices.ContainsFunc(op.Parameters, func(p apispec.Parameter) bool { return p.Required }) {
				return op.Path
			}
		}
	}
	return ""
}
