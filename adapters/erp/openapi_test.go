package erp_test

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/adaptertest"
	"ferry/adapters/erp"
	"ferry/httpauth"
	"ferry/secret"
)

func TestConformanceOfOpenAPI(t *testing.T) {
	adaptertest.Run(t, adaptertest.Harness{
		Open: erp.New(secret.Resolver{}, nil),
		Destination: func(url, keyFile string) adapters.DestinationConfig {
			return adapters.DestinationConfig{
				Adapter: "erp", Dialect: "openapi", URL: url, Spec: "testdata/practice.yaml",
				Auth:   httpauth.Config{Type: "apiKey", Header: "x-api-key", Key: secret.Ref("file:" + keyFile)},
				Health: &adapters.HealthConfig{URL: "/ping"},
			}
		},
		Route: func() adapters.RouteConfig {
			return adapters.RouteConfig{
				Operation: "createInvoice", Map: ".", Reference: ".id",
				Lookup: &adapters.LookupConfig{URL: "/invoices?externalId={externalKey}", Reference: ".items[0].id"},
			}
		},
	})
}

// specOf writes a description into a folder of its own.
func specOf(t *testing.T, paths string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "api.yaml")
	text := "openapi: 3.0.3\ninfo: {title: x, version: 1.0}\npaths:\n" + paths
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// saysAll is what an error tells people: its words and its hint.
func saysAll(err error) string {
	var edge *ferry.Error
	if errors.As(err, &edge) {
		return edge.Message + " | " + edge.Hint
	}
	return ""
}

// describedRoute opens a route to a destination that answers as told.
func describedRoute(t *testing.T, spec string, cfg adapters.RouteConfig, dest adapters.DestinationConfig) (adapters.Adapter, *answerer, error) {
	t.Helper()
	a := &answerer{status: 201, body: `{"id":"INV-1"}`}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	dest.Name, dest.Adapter, dest.Dialect, dest.Spec = "erp", "erp", "openapi", spec
	if dest.URL == "" {
		dest.URL = server.URL + "/api"
	}
	d, err := erp.New(secret.Resolver{LookupEnv: func(string) (string, bool) { return "geheim-0815", true }}, nil)(dest)
	if err != nil {
		return nil, a, err
	}
	t.Cleanup(func() { _ = d.Close() })
	cfg.Route = "invoices"
	r, err := d.Route(cfg)
	return r, a, err
}

func messageOf(contentType, body string) adapters.Call {
	now := time.Now()
	return adapters.Call{Number: 1, HandOut: ferry.HandOut{
		ID: ferry.NewID(now), Route: "invoices", Turn: 1, Revision: 1, Generation: 1, Attempt: 1, ExternalKey: "4711",
		ContentType: contentType, Body: []byte(body), Size: int64(len(body)), CreatedAt: now, PublishedAt: now,
	}}
}

const invoicesAPI = "../../examples/openapi/invoices.yaml"

var keyed = adapters.DestinationConfig{Auth: httpauth.Config{Type: "apiKey", Header: "X-Api-Key", Key: "env:KEY"}}

const goodInvoice = `{"number":"4711","supplier":{"id":"S-1"},"date":"2026-01-31","currency":"EUR","total":1234567890123456.10,"lines":[{"account":"4400","amount":1234567890123456.10}]}`

// TestOperationMakesTheRequest: method, path, content type and log-on come from
// the description, and numbers arrive to the last digit.
func TestOperationMakesTheRequest(t *testing.T) {
	for _, m := range []string{"", "."} {
		r, a, err := describedRoute(t, invoicesAPI, adapters.RouteConfig{Operation: "createInvoice", Map: m, Reference: ".id", Parameters: map[string]string{"dryRun": ".dry"}}, keyed)
		if err != nil {
			t.Fatal(saysAll(err))
		}
		v := r.Deliver(t.Context(), messageOf("application/json", goodInvoice))
		if v.Kind != ferry.Delivered || v.Reference != "INV-1" {
			t.Fatalf("%+v", v)
		}
		req := a.asked[0]
		if got := req.Method + " " + req.URL.String(); got != "POST /api/invoices" {
			t.Error(got)
		}
		if req.Header.Get("Content-Type") != "application/json" || req.Header.Get("X-Api-Key") != "geheim-0815" || req.Header.Get("Idempotency-Key") != "4711" {
			t.Errorf("%v", req.Header)
		}
		if !strings.Contains(a.sent, `"total":1234567890123456.10`) {
			t.Error(a.sent)
		}
	}
}

// TestInvalidBodyIsNotSent: all that is wrong is told at once, with pointers, and
// nothing left for the destination.
func TestInvalidBodyIsNotSent(t *testing.T) {
	r, a, err := describedRoute(t, invoicesAPI, adapters.RouteConfig{Operation: "createInvoice", Map: ".invoice"}, keyed)
	if err != nil {
		t.Fatal(saysAll(err))
	}
	call := messageOf("application/json", `{"invoice":{"id":"mine","supplier":{"id":"S-1"},"date":"31.01.2026","currency":"GEHEIM","total":1.001,"lines":[{"account":"1"}],"extra":1}}`)
	v := r.Deliver(t.Context(), call)
	if v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || v.Code != "schemaViolation" || len(a.asked) != 0 {
		t.Fatalf("%+v, %d requests", v, len(a.asked))
	}
	want := []ferry.FieldError{
		{Field: "/number", Text: "is missing"},
		{Field: "/extra", Text: "is not known to the destination"},
		{Field: "/currency", Text: "must be one of EUR, USD, GBP"},
		{Field: "/date", Text: "is no date"},
		{Field: "/id", Text: "is read-only: the destination sets it"},
		{Field: "/lines/0/amount", Text: "is missing"},
		{Field: "/total", Text: "must be a multiple of 0.01"},
	}
	if diff := cmp.Diff(want, v.Fields); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(v.Text, "createInvoice") || !strings.Contains(v.Text, "/number is missing") || strings.Contains(v.Text, "GEHEIM") {
		t.Error(v.Text)
	}
	if _, err := r.Preview(t.Context(), call); !strings.Contains(saysAll(err), "/number is missing") {
		t.Errorf("the preview: %v", err)
	}
	for name, body := range map[string]string{"no JSON": `<a/>`, "nothing": ``, "too large a number": `{"invoice":{"total":1e999999}}`} {
		if v := r.Deliver(t.Context(), messageOf("application/json", body)); v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || len(a.asked) != 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

const manyParameters = `
  /a b/%20/Invoices('{id}')/x+y:
    put:
      operationId: put
      parameters:
        - {name: id, in: path, required: true, schema: {type: string}}
        - {name: version, in: query, required: true, schema: {type: string, enum: ['2026-01-01']}}
        - {name: tags, in: query, schema: {type: array, items: {type: string}}}
        - {name: list, in: query, explode: false, schema: {type: array, items: {type: integer}}}
        - {name: count, in: query, schema: {type: integer, maximum: 10}}
        - {name: id, in: query, schema: {type: string}}
        - {name: X-Tenant, in: header, schema: {type: string}}
        - {name: Idempotency-Key, in: header, required: true, schema: {type: string}}
        - {name: session, in: cookie, schema: {type: string}}
        - {name: filter, in: query, style: deepObject, explode: true, schema: {type: object}}
      requestBody: {content: {application/json; charset=utf-8: {schema: {type: object}}}}
      responses: {'204': {description: done}}
  /approve/{id}:
    post:
      parameters: [{name: id, in: path, required: true, schema: {type: string, maxLength: 5}}]
      responses: {'204': {description: done}}
  /scan:
    post:
      operationId: scan
      requestBody: {content: {image/*: {schema: {type: string, format: binary}}, application/pdf: {}}}
      responses: {'204': {description: done}}
  /one:
    post:
      operationId: one
      requestBody: {content: {application/xml: {}}}
      responses: {'204': {description: done}}
  /form:
    post:
      operationId: form
      requestBody: {content: {multipart/form-data: {}}}
      responses: {'204': {description: done}}
  /optional:
    post:
      operationId: optional
      requestBody: {content: {application/vnd.x+json: {schema: {type: object}}}}
      responses: {'204': {description: done}}
  /get: {get: {operationId: get, responses: {}}}
  /filter:
    post:
      operationId: filter
      parameters: [{name: f, in: query, required: true, style: deepObject, schema: {type: object}}]
      responses: {'204': {description: done}}
  /undeclared/{id}:
    post: {operationId: undeclared, responses: {'204': {description: done}}}
  /basic:
    post: {operationId: basic, security: [{basic: []}, {both: [], basic: []}], responses: {'204': {description: done}}}
  /open:
    post: {operationId: open, security: [{basic: []}, {}], responses: {'204': {description: done}}}
components:
  securitySchemes:
    basic: {type: http, scheme: basic}
    both: {type: mutualTLS}
`

func TestParametersAreFilledIn(t *testing.T) {
	r, a, err := describedRoute(t, specOf(t, manyParameters), adapters.RouteConfig{
		Operation: "put", Map: ".doc", Query: map[string]string{"fixed": "a b"},
		Parameters: map[string]string{
			"path.id": ".id", "query.id": "$externalKey", "tags": ".tags", "list": ".list", "count": ".count", "X-Tenant": ".tenant",
		},
	}, adapters.DestinationConfig{})
	if err != nil {
		t.Fatal(saysAll(err))
	}
	v := r.Deliver(t.Context(), messageOf("application/json", `{"doc":{},"id":"a/b c","tags":["x y","z&"],"list":[1,2],"count":"7","tenant":12345678901234567890}`))
	if v.Kind != ferry.Delivered {
		t.Fatalf("%+v", v)
	}
	const want = "PUT /api/a%20b/%20/Invoices('a%2Fb%20c')/x+y?fixed=a%20b&version=2026-01-01&tags=x%20y&tags=z%26&list=1,2&count=7&id=4711"
	if got := a.asked[0].Method + " " + a.asked[0].RequestURI; got != want {
		t.Errorf("%s\n%s", got, want)
	}
	if h := a.asked[0].Header; h.Get("X-Tenant") != "12345678901234567890" || h.Get("Content-Type") != "application/json; charset=utf-8" {
		t.Errorf("%v", h)
	}
	a.asked = nil
	for body, want := range map[string]string{
		`{"doc":{},"id":".."}`:                  "cannot stand in a path",
		`{"doc":{}}`:                            "has no value",
		`{"doc":{},"id":"x","count":11}`:        "must be at most 10",
		`{"doc":{},"id":"x","count":"eleven"}`:  "must be an integer",
		`{"doc":{},"id":"x","list":[1,"b"]}`:    "must be an integer",
		`{"doc":{},"id":"x","tenant":"a\r\nb"}`: "cannot carry",
		`{"doc":{},"id":{}}`:                    "has no value",
	} {
		v := r.Deliver(t.Context(), messageOf("application/json", body))
		if v.Kind != ferry.Rejected || v.Effect != ferry.EffectNone || !strings.Contains(v.Text, want) || len(a.asked) != 0 {
			t.Errorf("%s: %+v", body, v)
		}
	}
}

// TestOtherBodies: none, and what is no JSON and passes as it is.
func TestOtherBodies(t *testing.T) {
	spec := specOf(t, manyParameters)
	for _, c := range []struct{ name, operation, contentType, body, want string }{
		{"without a body", "POST /approve/{id}", "application/json", `{"id":"x"}`, "POST /api/approve/x  "},
		{"a wildcard", "scan", "image/png", "\x89PNG", "POST /api/scan image/png \x89PNG"},
		{"one of several", "scan", "application/pdf", "%PDF", "POST /api/scan application/pdf %PDF"},
		{"another one", "scan", "text/html", "x", "schemaViolation"},
		{"what does not tell", "one", "application/octet-stream", "<a/>", "POST /api/one application/xml <a/>"},
		{"with a charset", "one", "Application/XML; charset=utf-8", "<a/>", "POST /api/one Application/XML; charset=utf-8 <a/>"},
		{"JSON is no XML", "one", "application/json", "{}", "schemaViolation"},
		{"a form with its boundary", "form", "multipart/form-data; boundary=b", "--b--", "POST /api/form multipart/form-data; boundary=b --b--"},
		{"a form without", "form", "", "--b--", "schemaViolation"},
		{"a suffix of JSON", "optional", "application/json", "{}", "POST /api/optional application/vnd.x+json {}"},
		{"nothing where nothing is required", "optional", "application/json", "null", "POST /api/optional  "},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := adapters.RouteConfig{Operation: c.operation}
			if strings.Contains(c.operation, "{id}") {
				cfg.Parameters = map[string]string{"id": ".id"}
			}
			r, a, err := describedRoute(t, spec, cfg, adapters.DestinationConfig{})
			if err != nil {
				t.Fatal(saysAll(err))
			}
			v := r.Deliver(t.Context(), messageOf(c.contentType, c.body))
			got := v.Code
			if len(a.asked) > 0 {
				got = a.asked[0].Method + " " + a.asked[0].RequestURI + " " + a.asked[0].Header.Get("Content-Type") + " " + a.sent
			}
			if got != c.want {
				t.Errorf("%q, want %q (%+v)", got, c.want, v)
			}
		})
	}
}

func TestDescribedRoutesAreChecked(t *testing.T) {
	spec := specOf(t, manyParameters)
	for name, c := range map[string]struct {
		spec string
		cfg  adapters.RouteConfig
		dest adapters.DestinationConfig
		want string
	}{
		"no spec":                     {"", adapters.RouteConfig{}, keyed, "spec is missing"},
		"an address":                  {"https://erp.example/api.yaml", adapters.RouteConfig{}, keyed, "spec is an address"},
		"no such file":                {filepath.Join(filepath.Dir(spec), "none.yaml"), adapters.RouteConfig{}, keyed, "cannot be opened"},
		"no operation":                {invoicesAPI, adapters.RouteConfig{}, keyed, "operation is missing"},
		"unknown operation":           {invoicesAPI, adapters.RouteConfig{Operation: "createInvoce"}, keyed, "did you mean createInvoice?"},
		"one that reads":              {spec, adapters.RouteConfig{Operation: "get"}, adapters.DestinationConfig{}, "does not deliver"},
		"auth is missing":             {invoicesAPI, adapters.RouteConfig{Operation: "createInvoice"}, adapters.DestinationConfig{}, "auth: {type: apiKey, header: x-api-key, key: env:NAME}"},
		"auth of another kind":        {invoicesAPI, adapters.RouteConfig{Operation: "createInvoice"}, adapters.DestinationConfig{Auth: httpauth.Config{Type: "apiKey", Header: "x-key", Key: "env:KEY"}}, "does not give that"},
		"auth: none is a decision":    {invoicesAPI, adapters.RouteConfig{Operation: "createInvoice"}, adapters.DestinationConfig{Auth: httpauth.Config{Type: "none"}}, ""},
		"one of several ways":         {spec, adapters.RouteConfig{Operation: "basic"}, adapters.DestinationConfig{Auth: httpauth.Config{Type: "basic", Username: "u", Password: "env:P"}}, ""},
		"none of several ways":        {spec, adapters.RouteConfig{Operation: "basic"}, adapters.DestinationConfig{}, "auth: {type: basic, username: USER, password: env:NAME}"},
		"nobody has to":               {spec, adapters.RouteConfig{Operation: "open"}, adapters.DestinationConfig{}, ""},
		"a parameter without source":  {invoicesAPI, adapters.RouteConfig{Operation: "createCreditNote"}, keyed, "parameters: {supplierId: jq over the payload, such as .invoice.supplierId}"},
		"an unknown parameter":        {invoicesAPI, adapters.RouteConfig{Operation: "createInvoice", Parameters: map[string]string{"dryrun": "."}}, keyed, "its parameters: dryRun"},
		"a parameter in two places":   {spec, adapters.RouteConfig{Operation: "put", Parameters: map[string]string{"id": "."}}, adapters.DestinationConfig{}, "write path.id"},
		"jq that is none":             {invoicesAPI, adapters.RouteConfig{Operation: "createInvoice", Parameters: map[string]string{"dryRun": ".["}}, keyed, "parameters.dryRun"},
		"a style that is not written": {spec, adapters.RouteConfig{Operation: "filter"}, adapters.DestinationConfig{}, "deepObject"},
		"a cookie":                    {spec, adapters.RouteConfig{Operation: "put", Parameters: map[string]string{"path.id": ".id", "session": ".s"}}, adapters.DestinationConfig{}, "cookie"},
		"a path without its parts":    {spec, adapters.RouteConfig{Operation: "undeclared"}, adapters.DestinationConfig{}, "{id}"},
		"a map without a body":        {spec, adapters.RouteConfig{Operation: "open", Map: "."}, adapters.DestinationConfig{}, "takes no body"},
		"a map for XML":               {spec, adapters.RouteConfig{Operation: "one", Map: "."}, adapters.DestinationConfig{}, "takes no JSON but application/xml"},
		"another content type":        {invoicesAPI, adapters.RouteConfig{Operation: "createInvoice", ContentType: "text/xml"}, keyed, "takes no text/xml"},
		"url is of others":            {invoicesAPI, adapters.RouteConfig{Operation: "createInvoice", URL: "/x"}, keyed, "dialect openapi takes no url"},
		"a lookup as rest has it":     {invoicesAPI, adapters.RouteConfig{Operation: "createInvoice", Lookup: &adapters.LookupConfig{URL: "/invoices?number={externalKey}", Reference: ".items[0].id"}}, keyed, ""},
		"a lookup that asks nothing":  {invoicesAPI, adapters.RouteConfig{Operation: "createInvoice", Lookup: &adapters.LookupConfig{URL: "/invoices", Reference: ".id"}}, keyed, "asks for no message"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := describedRoute(t, c.spec, c.cfg, c.dest)
			if (err == nil) != (c.want == "") || !strings.Contains(saysAll(err), c.want) {
				t.Errorf("%s", saysAll(err))
			}
		})
	}
}

// TestKeyFieldOfADescribedBody: it is set before the body is checked.
func TestKeyFieldOfADescribedBody(t *testing.T) {
	r, a, err := describedRoute(t, invoicesAPI, adapters.RouteConfig{Operation: "createInvoice", KeyField: "number", Map: ".", KeyHeader: "-"}, keyed)
	if err != nil {
		t.Fatal(saysAll(err))
	}
	call := messageOf("application/json", strings.Replace(goodInvoice, `"number":"4711",`, "", 1))
	if v := r.Deliver(t.Context(), call); v.Kind != ferry.Delivered || !strings.Contains(a.sent, `"number":"4711"`) {
		t.Errorf("%+v %s", v, a.sent)
	}
	if a.asked[0].Header.Get("Idempotency-Key") != "" {
		t.Error("the key is sent in a header as well")
	}
}
