package apispec

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// maxOperations bounds the model; the largest descriptions in use have some thousand.
const maxOperations = 10_000

// build makes the model of a loaded description.
func build(doc *openapi3.T, version string) (*Document, error) {
	d := &Document{Version: version, Servers: servers(doc.Servers)}
	if doc.Info != nil {
		d.Title = doc.Info.Title
	}
	items := doc.Paths.Map()
	for _, path := range slices.Sorted(maps.Keys(items)) {
		item := items[path]
		if item == nil {
			continue
		}
		operations := item.Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			op, err := buildOperation(doc, path, method, item, operations[method], version)
			if err != nil {
				return nil, err
			}
			if d.Operations = append(d.Operations, op); len(d.Operations) > maxOperations {
				return nil, bad("the description has more than %d operations", maxOperations)
			}
		}
	}
	if len(d.Operations) == 0 {
		return nil, bad("the description has no operations").WithHint("look for paths: in it")
	}
	return d, nil
}

func buildOperation(doc *openapi3.T, path, method string, item *openapi3.PathItem, from *openapi3.Operation, version string) (*Operation, error) {
	op := &Operation{
		ID: from.OperationID, Method: strings.ToUpper(method), Path: path, Summary: oneLine(from.Summary), Deprecated: from.Deprecated,
		description: version,
	}
	if op.ID == "" {
		op.ID = op.Name()
	}
	switch {
	case from.Servers != nil && len(*from.Servers) > 0:
		op.Servers = servers(*from.Servers)
	case len(item.Servers) > 0:
		op.Servers = servers(item.Servers)
	}
	op.Parameters = parameters(item.Parameters, from.Parameters, version)
	if body := from.RequestBody; body != nil && body.Value != nil {
		op.Body = &Body{Required: body.Value.Required, Contents: contents(body.Value.Content, version)}
	}
	security := doc.Security
	if from.Security != nil {
		security = *from.Security
	}
	var err error
	if op.Security, err = requirements(doc, security); err != nil {
		return nil, bad("%s: %w", op.Name(), err)
	}
	for _, status := range slices.Sorted(maps.Keys(from.Responses.Map())) {
		answer := from.Responses.Value(status)
		if answer == nil || answer.Value == nil {
			continue
		}
		r := Response{Status: strings.ToUpper(status)}
		if status == "default" {
			r.Status = status
		}
		for name := range answer.Value.Headers {
			r.Location = r.Location || http.CanonicalHeaderKey(name) == "Location"
		}
		if content, ok := (&Body{Contents: contents(answer.Value.Content, version)}).JSON(); ok {
			r.Schema = content.Schema
		}
		op.Responses = append(op.Responses, r)
	}
	return op, nil
}

// servers fills in the variables of addresses.
func servers(list openapi3.Servers) []string {
	var out []string
	for _, s := range list {
		if s == nil {
			continue
		}
		address := s.URL
		for name, variable := range s.Variables {
			if variable != nil && variable.Default != "" {
				address = strings.ReplaceAll(address, "{"+name+"}", variable.Default)
			}
		}
		out = append(out, strings.TrimRight(address, "/"))
	}
	return out
}

// parameters joins those of the path with those of the operation, which win.
func parameters(ofPath, own openapi3.Parameters, version string) []Parameter {
	var out []Parameter
	for _, ref := range slices.Concat(ofPath, own) {
		if ref == nil || ref.Value == nil || ignored(ref.Value) {
			continue
		}
		p := parameter(ref.Value, version)
		out = slices.DeleteFunc(out, func(q Parameter) bool { return q.In == p.In && q.Name == p.Name })
		out = append(out, p)
	}
	return out
}

// ignored says whether a description's header is one that bodies, answers and
// logging on speak of (OpenAPI 3.0.4, 4.8.12.2.1).
func ignored(p *openapi3.Parameter) bool {
	if p.In != InHeader {
		return false
	}
	switch textproto.CanonicalMIMEHeaderKey(p.Name) {
	case "Accept", "Content-Type", "Authorization":
		return true
	}
	return false
}

func parameter(from *openapi3.Parameter, version string) Parameter {
	p := Parameter{In: from.In, Name: from.Name, Required: from.Required || from.In == InPath, Schema: schemaOf(from.Schema, version)}
	style := from.Style
	if style == "" {
		style = map[string]string{InPath: "simple", InHeader: "simple", InQuery: "form", InCookie: "form"}[from.In]
	}
	p.Explode = style == "form"
	if from.Explode != nil {
		p.Explode = *from.Explode
	}
	written, _ := from.Extensions[tsv].(string)
	switch {
	case from.In == InCookie:
		p.Unsupported = "it goes into a cookie, which is not supported"
	case from.In != InPath && from.In != InQuery && from.In != InHeader:
		p.Unsupported = "it goes into " + cut(from.In, 20) + ", which is not known"
	case len(from.Content) > 0:
		p.Unsupported = "it is described by a content type of its own, which is not supported"
	case written != "":
		p.Unsupported = "its list is written as " + cut(written, 20) + ", which is not supported"
	case style != "simple" && from.In != InQuery, style != "form" && from.In == InQuery:
		p.Unsupported = "its style " + cut(style, 20) + " is not supported"
	case p.Schema.isObject():
		p.Unsupported = "it is an object, which is not supported"
	}
	return p
}

func contents(from openapi3.Content, version string) []Content {
	var out []Content
	for _, name := range slices.Sorted(maps.Keys(from)) {
		c := Content{Type: name}
		if media := from[name]; media != nil {
			c.Schema = schemaOf(media.Schema, version)
		}
		out = append(out, c)
	}
	return out
}
