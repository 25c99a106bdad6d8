package api_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"ferry"
	"ferry/api"
	"ferry/connector"
)

// connector fetches all that makes a connector with the typed client and a browser.
func (s *surface) connector(t *testing.T) {
	t.Helper()
	any := s.client("any-key")
	packed := try(any.ConnectorZip(t.Context(), url.Values{"auth": {"both"}, "host": {"broker.contoso.com"}}))(t)
	if z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed))); err != nil || len(z.File) != len(connector.FileNames()) {
		t.Errorf("the zip: %v", err)
	}
	var schema api.RouteSchema
	if err := json.Unmarshal(try(any.RouteSchema(t.Context(), "typed"))(t), &schema); err != nil || schema.Title != "Typed things" || len(schema.JSONSchema) == 0 {
		t.Errorf("schema %+v: %v", schema, err)
	}
	if a := s.call("", http.MethodGet, "/connector/", ""); a.StatusCode != http.StatusOK {
		t.Errorf("the page: %d", a.StatusCode)
	}
}

// TestConnectorTellsOnlyWhatTheKeyMaySee: without a key there is a page that names
// no route; a key gets the routes that are its own, and their fields.
func TestConnectorTellsOnlyWhatTheKeyMaySee(t *testing.T) {
	s := newSurface(t)
	page := s.call("", http.MethodGet, "/connector/", "")
	if page.StatusCode != http.StatusOK || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") {
		t.Fatalf("the page: %d", page.StatusCode)
	}
	policy := page.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("the page's policy is %q", policy)
	}
	for _, word := range []string{"invoices", "orders", "typed", "confidential", "test"} {
		if bytes.Contains(page.body, []byte(word)) {
			t.Errorf("the page says %q", word)
		}
	}
	for _, name := range append(connector.FileNames(), connector.ZipFile) {
		s.refusal(s.call("", http.MethodGet, "/connector/"+name, ""), ferry.CodeUnauthenticated)
		s.refusal(s.call("wrong", http.MethodGet, "/connector/"+name, ""), ferry.CodeUnauthenticated)
		a := s.call("sender-key", http.MethodGet, "/connector/"+name, "")
		if a.StatusCode != http.StatusOK || !strings.Contains(a.Header.Get("Content-Disposition"), name) {
			t.Fatalf("%s: %d", name, a.StatusCode)
		}
		for _, word := range []string{"orders", "Orders", "typed", "confidential"} {
			if bytes.Contains(a.body, []byte(word)) {
				t.Errorf("%s tells a sender of %s, which is not its own", name, word)
			}
		}
	}
	s.refusal(s.call("", http.MethodGet, "/v1/routes/typed/schema", ""), ferry.CodeUnauthenticated)
	s.refusal(s.call("sender-key", http.MethodGet, "/v1/routes/typed/schema", ""), ferry.CodeForbidden)
	s.refusal(s.call("receiver-key", http.MethodGet, "/v1/routes/typed/schema", ""), ferry.CodeForbidden)
	s.refusal(s.call("any-key", http.MethodGet, "/v1/routes/absent/schema", ""), ferry.CodeRouteNotFound)

	mine := s.call("sender-key", http.MethodGet, "/connector/"+connector.DefinitionFile, "")
	if !bytes.Contains(mine.body, []byte(`"SendToInvoices"`)) || !bytes.Contains(mine.body, []byte(`"host": "broker.test"`)) {
		t.Errorf("a sender's own route is not there: %.400s", mine.body)
	}
	all := s.call("any-key", http.MethodGet, "/connector/"+connector.DefinitionFile, "")
	for _, want := range []string{`"SendToOrders"`, `"summary": "Send to Typed things"`, `"confidentialField"`} {
		if !bytes.Contains(all.body, []byte(want)) {
			t.Errorf("%s is not there", want)
		}
	}
}

// TestConnectorFiles: the options of the files, as the query has them.
func TestConnectorFiles(t *testing.T) {
	s := newSurface(t)
	get := func(target string) answer { return s.call("any-key", http.MethodGet, "/connector/"+target, "") }
	some := get(connector.DefinitionFile + "?routes=orders,typed&host=https://gw.contoso.com/ferry")
	if bytes.Contains(some.body, []byte("SendToInvoices")) || !bytes.Contains(some.body, []byte(`"/ferry/v1/routes/orders/messages"`)) || !bytes.Contains(some.body, []byte(`"gw.contoso.com"`)) {
		t.Errorf("the routes that were asked for: %.400s", some.body)
	}
	if a := get(connector.PropertiesFile + "?clientId=11111111-2222-3333-4444-555555555555&tenant=contoso.com"); !bytes.Contains(a.body, []byte("connectionParameterSets")) {
		t.Errorf("with a client id there is no choice: %s", a.body)
	}
	if a := get(connector.PropertiesFile); bytes.Contains(a.body, []byte("oauthSetting")) || !bytes.Contains(a.body, []byte("securestring")) {
		t.Errorf("without one: %s", a.body)
	}
	packed := get(connector.ZipFile)
	z, err := zip.NewReader(bytes.NewReader(packed.body), int64(len(packed.body)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if one := get(f.Name); err != nil || !bytes.Equal(one.body, data) {
			t.Errorf("%s in the zip is another than alone: %v", f.Name, err)
		}
	}
	s.refusal(get("absent.json"), ferry.CodeNotFound)
	s.refusal(get("a/b"), ferry.CodeNotFound)
	s.refusal(get(connector.DefinitionFile+"?routes=absent"), ferry.CodeRouteNotFound)
	s.refusal(get(connector.DefinitionFile+"?auth=basic"), ferry.CodeBadRequest)
	s.refusal(get(connector.DefinitionFile+"?hosts=x"), ferry.CodeBadRequest)
	s.refusal(s.call("sender-key", http.MethodGet, "/connector/"+connector.DefinitionFile+"?routes=orders", ""), ferry.CodeForbidden)
	s.refusal(s.call("any-key", http.MethodPost, "/connector/"+connector.DefinitionFile, ""), ferry.CodeMethodNotAllowed)
}

// TestRouteSchemaIsWhatDesignersRead: with a schema its fields, without one a free
// object; the JSON Schema as it was configured.
func TestRouteSchemaIsWhatDesignersRead(t *testing.T) {
	s := newSurface(t)
	typed := read[api.RouteSchema](t, s.call("any-key", http.MethodGet, "/v1/routes/typed/schema", ""), http.StatusOK)
	var fields struct {
		Type       string `json:"type"`
		Properties map[string]map[string]any
	}
	if err := json.Unmarshal(typed.Schema, &fields); err != nil || fields.Type != "object" || fields.Properties["confidentialField"]["x-ms-summary"] != "Confidential Field" {
		t.Errorf("schema %s: %v", typed.Schema, err)
	}
	if typed.Route != "typed" || typed.Description != "What has fields" || !strings.Contains(string(typed.JSONSchema), `"confidentialField":{"type":"string"}`) {
		t.Errorf("%+v", typed)
	}
	free := read[api.RouteSchema](t, s.call("sender-key", http.MethodGet, "/v1/routes/invoices/schema", ""), http.StatusOK)
	if free.Title != "Invoices" || len(free.JSONSchema) > 0 || !strings.Contains(string(free.Schema), `"type":"object"`) {
		t.Errorf("%+v", free)
	}
}
