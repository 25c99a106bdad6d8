package api

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// document makes openapi.json of the table of endpoints, and checks it.
func document(endpoints []endpoint, opts Options) ([]byte, error) {
	d := &openapi3.T{
		OpenAPI: "3.0.3",
		Info: &openapi3.Info{
			Title:       "Ferry",
			Version:     firstOf(opts.Version, "unreleased"),
			Description: "A durable integration broker: what it answers 201 to is on disk, is delivered once, and its end can be asked for.",
		},
		Paths: openapi3.NewPaths(),
	}
	if opts.PublicURL != "" {
		d.Servers = openapi3.Servers{{URL: opts.PublicURL}}
	}
	s := &schemas{components: openapi3.Schemas{}}
	problem := s.ref(reflect.TypeFor[Problem](), false)
	for i := range endpoints {
		ep := &endpoints[i]
		d.AddOperation(ep.path, ep.method, operation(ep, s, problem))
	}
	d.Components = &openapi3.Components{Schemas: s.components, SecuritySchemes: securitySchemes()}
	if err := d.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("openapi.json: %w", err)
	}
	return json.Marshal(d)
}

// The names of the ways to send a key.
const (
	byBearer = "bearer"
	byHeader = "subscriptionHeader"
	byQuery  = "subscriptionQuery"
	bySAS    = "sharedAccessSignature"
)

func securitySchemes() openapi3.SecuritySchemes {
	apiKey := func(in, name string) *openapi3.SecuritySchemeRef {
		return &openapi3.SecuritySchemeRef{Value: openapi3.NewSecurityScheme().WithType("apiKey").WithIn(in).WithName(name)}
	}
	return openapi3.SecuritySchemes{
		byBearer: {Value: openapi3.NewSecurityScheme().WithType("http").WithScheme("bearer")},
		byHeader: apiKey("header", "Ocp-Apim-Subscription-Key"),
		byQuery:  apiKey("query", "subscription-key"),
		bySAS:    apiKey("header", "Authorization"), // SharedAccessSignature sr=…&sig=…&se=…&skn=…
	}
}

func operation(ep *endpoint, s *schemas, problem *openapi3.SchemaRef) *openapi3.Operation {
	op := openapi3.NewOperation()
	op.OperationID, op.Summary, op.Description = ep.id, ep.summary, ep.text
	op.Security = openapi3.NewSecurityRequirements()
	if !ep.open {
		for _, way := range []string{byBearer, byHeader, byQuery} {
			op.Security.With(openapi3.NewSecurityRequirement().Authenticate(way))
		}
		if ep.byToken {
			op.Security.With(openapi3.NewSecurityRequirement()) // the token in the query instead
		}
		op.Description = strings.TrimSpace(op.Description + " Role: " + roleNames(ep.roles) + ".")
		if ep.right != "" {
			op.Security.With(openapi3.NewSecurityRequirement().Authenticate(bySAS))
			op.Description += " SAS right: " + ep.right + "."
		}
	}
	for _, name := range wildcards(ep.path) {
		op.AddParameter(openapi3.NewPathParameter(name).WithSchema(openapi3.NewStringSchema()).WithDescription(pathText(name)))
	}
	for i := range ep.params {
		op.AddParameter(parameter(&ep.params[i]))
	}
	if ep.body != nil {
		op.RequestBody = &openapi3.RequestBodyRef{Value: requestBody(ep.body, s)}
	}
	op.Responses = openapi3.NewResponsesWithCapacity(len(ep.answers) + 1)
	for i := range ep.answers {
		r := &ep.answers[i]
		op.Responses.Set(strconv.Itoa(r.status), &openapi3.ResponseRef{Value: response(r, s)})
	}
	refusal := openapi3.NewResponse().WithDescription("refused: code says why, hint what to do").
		WithContent(openapi3.NewContentWithSchemaRef(problem, []string{"application/problem+json"}))
	op.Responses.Set("default", &openapi3.ResponseRef{Value: refusal})
	return op
}

func parameter(p *param) *openapi3.Parameter {
	schema := openapi3.NewStringSchema()
	switch p.kind {
	case "integer":
		schema = openapi3.NewIntegerSchema().WithMin(float64(p.low))
		if p.high > 0 {
			schema = schema.WithMax(float64(p.high))
		}
	case "boolean":
		schema = openapi3.NewBoolSchema()
	}
	for _, v := range p.enum {
		schema.Enum = append(schema.Enum, v)
	}
	made := openapi3.NewQueryParameter(p.name)
	if p.in == inHeader {
		made = openapi3.NewHeaderParameter(p.name)
	}
	return made.WithSchema(schema).WithDescription(p.text)
}

func requestBody(b *body, s *schemas) *openapi3.RequestBody {
	made := openapi3.NewRequestBody().WithDescription(b.text)
	if b.of == nil { // any payload, and an empty one where the route takes it
		return made.WithContent(openapi3.Content{"*/*": openapi3.NewMediaType()})
	}
	made = made.WithRequired(!b.optional).WithJSONSchemaRef(s.ref(reflect.TypeOf(b.of), true))
	for _, t := range b.types {
		made.Content[t] = openapi3.NewMediaType()
	}
	return made
}

func response(r *reply, s *schemas) *openapi3.Response {
	made := openapi3.NewResponse().WithDescription(r.text)
	made.Content = openapi3.Content{}
	if r.of != nil {
		made = made.WithJSONSchemaRef(s.ref(reflect.TypeOf(r.of), false))
	}
	for _, t := range r.types {
		made.Content[t] = openapi3.NewMediaType()
	}
	for _, name := range r.headers {
		if made.Headers == nil {
			made.Headers = openapi3.Headers{}
		}
		header := &openapi3.Header{Parameter: openapi3.Parameter{Schema: openapi3.NewStringSchema().NewRef(), Required: true}}
		made.Headers[name] = &openapi3.HeaderRef{Value: header}
	}
	return made
}

func wildcards(path string) []string {
	var names []string
	for segment := range strings.SplitSeq(path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			names = append(names, strings.TrimSuffix(name, "}"))
		}
	}
	return names
}

func pathText(name string) string {
	switch name {
	case "route":
		return "name of a route"
	case "name":
		return "name of a worker"
	case "message":
		return "of the message that was received: its id, SequenceNumber or MessageId"
	case "file":
		return "name of a file"
	case "token":
		return "as it stands in the address that was given; it stands for a key"
	case "version":
		return "version of the route, as its configuration names it"
	case "lock":
		return "LockToken that the message came with"
	default:
		return "id; of a message also its last 6 characters or more"
	}
}
