package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
	"ferry/adapters"
	"ferry/config"
	"ferry/worker"
)

// runIn runs the program in a new working directory with these files.
func runIn(t *testing.T, files map[string]string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	code = run(context.Background(), args, func(string) (string, bool) { return "geheim-0815", true }, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// opens loads what was written, and opens its destinations and routes, as the
// worker does. The text may name no variable that would be filled in.
func opens(t *testing.T, text string) (*config.Worker, *worker.Setup) {
	t.Helper()
	if err := os.WriteFile("erp-worker-1.nk", []byte("a seed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("made.yaml", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) { return "geheim-0815", true }
	cfg, err := config.Loader{LookupEnv: env}.Worker("made.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	setup, err := worker.NewSetup(cfg, (&app{env: env}).registry())
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	t.Cleanup(func() { _ = setup.Close() })
	return cfg, setup
}

func example(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../examples/openapi/invoices.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestImportedOpenAPIDelivers: what is written loads as it is, and delivers a
// message that looks like the body.
func TestImportedOpenAPIDelivers(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		got = append(got, r.Method+" "+r.URL.Path+" "+r.Header.Get("X-Api-Key")+" "+body.String())
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"id":"INV-7"}`))
	}))
	defer server.Close()
	api := strings.Replace(example(t), "https://{host}/api", server.URL+"/api", 1)
	code, text, stderr := runIn(t, map[string]string{"invoices.yaml": api}, "import", "openapi", "invoices.yaml")
	if code != exitDone {
		t.Fatal(stderr)
	}
	cfg, setup := opens(t, text)
	if len(cfg.Routes) != 2 || cfg.Routes[0].Name != "create-invoice" || cfg.Routes[1].Name != "create-credit-note" || cfg.Destinations["invoices"].Health.URL != "/ping" {
		t.Errorf("%s", text)
	}
	for i, body := range []string{
		`{"number":"1","supplier":{"id":"S"},"date":"2026-01-31","currency":"EUR","total":1.10,"lines":[{"account":"1","amount":1.10,"text":"left out"}]}`,
		`{"supplierId":"a b","number":"2","amount":5.00}`,
	} {
		v := setup.Routes[i].Adapter.Deliver(t.Context(), adapters.Call{Number: 1, HandOut: ferry.HandOut{
			Route: setup.Routes[i].Name, ExternalKey: "k", ContentType: "application/json", Body: []byte(body), Size: int64(len(body)),
		}})
		if v.Kind != ferry.Delivered || v.Reference != "INV-7" {
			t.Errorf("%+v", v)
		}
	}
	want := []string{
		`POST /api/invoices geheim-0815 {"currency":"EUR","date":"2026-01-31","lines":[{"account":"1","amount":1.10}],"number":"1","supplier":{"id":"S"},"total":1.10}`,
		`POST /api/suppliers/a b/credit-notes geheim-0815 {"amount":5.00,"number":"2"}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	for _, guess := range []string{`lookup: {url: "/invoices?number={externalKey}", reference: ".items[0].id"}`, "dryRun: .dryRun # query, boolean", "# contact: .contact, # string (email); optional"} {
		if !strings.Contains(text, guess) {
			t.Errorf("%q is not there:\n%s", guess, text)
		}
	}
}

const oddAPI = `
openapi: 3.1.0
info: {title: "  ", version: 1.0}
servers: [{url: '/base/{v}', variables: {v: {default: v2}}}]
security: [{a: []}]
paths:
  /x/{id}:
    post: {parameters: [{name: id, in: path, required: true, schema: {type: string}}, {name: 'api-version', in: query, required: true, schema: {const: '2026'}}], requestBody: {content: {application/xml: {}}}, responses: {'202': {description: later, headers: {Location: {}}}}}
  /filter: {post: {operationId: filter, parameters: [{name: f, in: query, required: true, style: deepObject, schema: {type: object}}], responses: {}}}
  /text: {put: {operationId: v1, requestBody: {content: {application/json: {schema: {type: object, required: ['if', 'a-b', 'ü"\(1)', kind, list], properties: {'if': {type: [string, 'null']}, 'a-b': {}, 'ü"\(1)': {}, kind: {const: 'x'}, list: {type: array, items: {type: string}}}}}}}, responses: {'200': {description: done, content: {application/json: {schema: {type: object, properties: {data: {type: object, properties: {id: {}}}}}}}}}}}
  /odd: {patch: {operationId: 'ÖDD / name "x"', summary: "one\ntwo: [", responses: {'204': {description: done}}}}
components:
  securitySchemes:
    a: {type: oauth2, flows: {clientCredentials: {tokenUrl: /token, scopes: {}}}}
`

// TestImportOfOddDescriptions: ids that are missing, names that are no words, no
// host, a token address that leads nowhere, styles that are not written.
func TestImportOfOddDescriptions(t *testing.T) {
	code, text, stderr := runIn(t, map[string]string{"api.yaml": oddAPI}, "import", "openapi", "api.yaml", "--worker", "erp-worker-1")
	if code != exitDone {
		t.Fatal(stderr)
	}
	cfg, setup := opens(t, text)
	var names []string
	for _, r := range cfg.Routes {
		names = append(names, r.Name)
	}
	if got := strings.Join(names, " "); got != "dd-name-x v1-deliver post-x-id" {
		t.Errorf("%s\n%s", got, text)
	}
	dest := cfg.Destinations["erp"]
	if dest.URL != "https://change-me.example/base/v2" || dest.Auth.TokenURL != "https://login.example/oauth2/token" {
		t.Errorf("%+v", dest)
	}
	if !strings.Contains(text, "# Left out: filter: operation filter: its parameter f") || !strings.Contains(text, "confirm: poll") {
		t.Error(text)
	}
	body := `{"if":"a","a-b":1,"ü\"\\(1)":2,"list":["b"],"id":"4"}`
	p, err := setup.Routes[1].Adapter.Preview(t.Context(), adapters.Call{HandOut: ferry.HandOut{Body: []byte(body), Size: int64(len(body)), ContentType: "application/json"}})
	if err != nil || p.Body != `{"a-b":1,"if":"a","kind":"x","list":["b"],"ü\"\\(1)":2}` {
		t.Errorf("%v %s\n%s", err, p.Body, text)
	}
}

// TestImportedTextIsText: a description has no say in the file beyond its place:
// no variable is filled in by the worker, and no line begins where a text ends.
func TestImportedTextIsText(t *testing.T) {
	const end = "\n  evil: yes\u0085    evil: yes\u2028dialect: rest\r\n# "
	for _, text := range []string{end, "${env:SECRET}", end + "${env:SECRET}"} {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		in := strings.Trim(string(quoted), `"`)
		api := strings.ReplaceAll(`{"openapi":"3.0.0","info":{"title":"x@","version":"1"},"servers":[{"url":"https://erp.example/@"}],"paths":{
			"/well":{"post":{"operationId":"well","summary":"@","responses":{"200":{"description":"@"}}}},
			"/a":{"post":{"operationId":"a@","summary":"@","responses":{},"parameters":[{"in":"query","name":"q@","required":true,"description":"@"}],
			"requestBody":{"content":{"application/json":{"schema":{"type":"object","required":["r@"],
			"properties":{"r@":{"type":"string","enum":["e@"],"description":"@"},"o@":{"format":"@"}}}}}}}}}}`, "@", in)
		code, made, stderr := runIn(t, map[string]string{"api.json": api}, "import", "openapi", "api.json")
		if code != exitDone {
			t.Fatal(stderr)
		}
		if strings.Contains(made, "${env:") || strings.ContainsAny(made, "\u0085\u2028\r") {
			t.Errorf("%q", made)
		}
		for line := range strings.Lines(made) {
			if strings.HasPrefix(strings.TrimSpace(line), "evil:") || strings.TrimSpace(line) == "dialect: rest" {
				t.Errorf("a line of its own: %s", line)
			}
		}
		cfg, _ := opens(t, made)
		if want := 2 - strings.Count(text, "$"); len(cfg.Routes) != want {
			t.Errorf("%d routes, want %d:\n%s", len(cfg.Routes), want, made)
		}
	}
}

const collection = `{
  "info": {"name": "ERP (prod)", "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
  "auth": {"type": "apikey", "apikey": [{"key": "key", "value": "X-Key"}, {"key": "value", "value": "GEHEIM-1"}, {"key": "in", "value": "header"}]},
  "variable": [{"key": "baseUrl", "value": "https://{{host}}/api"}, {"key": "host", "value": "erp.example"}, {"key": "apiToken", "value": "GEHEIM-2"}, {"key": "company", "value": "C 1"}],
  "item": [
    {"name": "Invoices", "item": [
      {"name": "Create invoice", "request": {"method": "POST",
        "header": [{"key": "Content-Type", "value": "application/json"}, {"key": "X-Company", "value": "{{company}}"}, {"key": "X-Off", "value": "1", "disabled": true}, {"key": "Postman-Token", "value": "GEHEIM-3"}, {"key": "X-Session-Token", "value": "GEHEIM-4"}],
        "url": {"raw": "{{baseUrl}}/invoices?company={{company}}&dry=1", "query": [{"key": "company", "value": "{{company}}"}, {"key": "dry", "value": "1", "disabled": true}, {"key": "sig", "value": "GEHEIM-5"}, {"key": "now", "value": "{{$timestamp}}"}]},
        "body": {"mode": "raw", "raw": "{\"number\": \"{{no}}\", \"total\": {{total}}, \"lines\": [{\"amount\": 1.5, \"note\": null}], \"secret\": \"GEHEIM-6\"}", "options": {"raw": {"language": "json"}}}},
       "response": [{"code": 400, "body": "{\"code\":1}"}, {"code": 201, "body": "{\"data\":{\"invoiceId\":\"GEHEIM-7\"}}"}]},
      {"name": "List", "request": {"method": "GET", "url": "{{baseUrl}}/invoices"}}]},
    {"name": "Approve", "request": {"method": "PUT", "url": "{{baseUrl}}/invoices/:id/approve/{{apiToken}}"}},
    {"name": "Form", "request": {"method": "POST", "url": "{{baseUrl}}/form", "body": {"mode": "urlencoded", "urlencoded": [{"key": "a", "value": "GEHEIM-8"}]}}},
    {"name": "Elsewhere", "request": {"method": "POST", "url": "https://other.example/x"}},
    {"name": "Another log-on", "request": {"method": "POST", "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "GEHEIM-9"}]}, "url": "{{baseUrl}}/y"}}
  ]}`

func TestImportedCollectionDelivers(t *testing.T) {
	code, text, stderr := runIn(t, map[string]string{"erp.json": collection}, "import", "postman", "erp.json")
	if code != exitDone {
		t.Fatal(stderr)
	}
	if strings.Contains(text, "GEHEIM") {
		t.Errorf("a secret, or a value of an example, was copied:\n%s", text)
	}
	cfg, setup := opens(t, text)
	if len(cfg.Routes) != 2 || cfg.Routes[0].Name != "invoices-create-invoice" || cfg.Routes[0].Reference != ".data.invoiceId" {
		t.Fatalf("%s", text)
	}
	for _, part := range []string{
		"the secret itself, which was not copied", "auth: {type: apiKey, header: X-Key, key: env:ERP_PROD_KEY}",
		"Left out: Form: it sends a form (urlencoded), which is not supported", "Left out: Elsewhere: it goes to another server, https://other.example",
		"Left out: Another log-on: it logs on in another way", "sig seems to hold a secret", "X-Session-Token seems to hold a secret", "now has a value that the collection does not say",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not there:\n%s", part, text)
		}
	}
	body := `{"number":"1","total":12345678901234567890.10,"lines":[{"amount":1.50,"note":"x"}],"secret":""}`
	p, err := setup.Routes[0].Adapter.Preview(t.Context(), adapters.Call{HandOut: ferry.HandOut{Body: []byte(body), Size: int64(len(body)), ExternalKey: "k"}})
	if err != nil {
		t.Fatal(err)
	}
	if p.URL != "https://erp.example/api/invoices?company=C%201" || p.Header["X-Company"] != "C 1" || p.Header["X-Off"] != "" || p.Header["X-Key"] != "***" ||
		p.Body != `{"lines":[{"amount":1.50,"note":"x"}],"number":"1","secret":"","total":12345678901234567890.10}` {
		t.Errorf("%+v", p)
	}
	if r := cfg.Routes[1]; r.Method != "PUT" || r.URL != "/invoices/change-me-id/approve/change-me-apiToken" {
		t.Errorf("%+v", r)
	}
}

func TestImportSaysWhatIsWrong(t *testing.T) {
	files := map[string]string{"api.yaml": oddAPI, "erp.json": collection, "there.yaml": "x", "form.json": `{"info":{"name":"x","schema":"…/v2.1.0/…"},"item":[{"name":"F","request":{"method":"POST","body":{"mode":"formdata"}}}]}`}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no such operation":    {[]string{"openapi", "api.yaml", "--operation", "filtre"}, "did you mean filter?"},
		"none can be made":     {[]string{"openapi", "api.yaml", "--operation", "filter"}, "deepObject"},
		"no such request":      {[]string{"postman", "erp.json", "--operation", "Delete"}, "its requests: Invoices / Create invoice"},
		"one that reads":       {[]string{"postman", "erp.json", "--operation", "List"}, "does not deliver"},
		"a form alone":         {[]string{"postman", "form.json"}, "multipart"},
		"the other kind":       {[]string{"openapi", "erp.json"}, "worker import postman"},
		"and back":             {[]string{"postman", "api.yaml"}, "not JSON"},
		"a file that is there": {[]string{"openapi", "api.yaml", "--out", "there.yaml"}, "is not written over"},
		"no file":              {[]string{"postman", "none.json"}, "cannot be opened"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := runIn(t, files, append([]string{"import"}, c.args...)...)
			if code != exitFailed || !strings.Contains(stderr, c.want) || stdout != "" {
				t.Errorf("exit %d: %s%s", code, stdout, stderr)
			}
		})
	}
}

// TestImportOfAnAddress: the description is kept beside, for a worker reads files.
func TestImportOfAnAddress(t *testing.T) {
	api := strings.Replace(oddAPI, "security: [{a: []}]", "", 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(api)) }))
	defer server.Close()
	code, _, stderr := runIn(t, nil, "import", "openapi", server.URL+"/docs/api.yaml?key=geheim", "--out", "out.yaml", "--name", "crm", "--operation", "PUT /text")
	if code != exitDone || !strings.Contains(stderr, "kept in ./crm-api.yaml") {
		t.Fatal(stderr)
	}
	made, err := os.ReadFile("out.yaml")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(".", "crm-api.yaml"))
	if err != nil || string(kept) != api {
		t.Errorf("%v, %d bytes", err, len(kept))
	}
	cfg, _ := opens(t, string(made))
	if cfg.Destinations["crm"].URL != server.URL+"/base/v2" || cfg.Destinations["crm"].Spec != "./crm-api.yaml" || strings.Contains(string(made), "geheim") {
		t.Errorf("%s", made)
	}
}

// TestPageOfOpenAPIIsTrue: the complete example of the page loads and opens.
func TestPageOfOpenAPIIsTrue(t *testing.T) {
	page, err := os.ReadFile("../../docs/erp/openapi.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatal("the page has no example")
	}
	spec := example(t)
	t.Chdir(t.TempDir())
	if err := os.WriteFile("invoices.yaml", []byte(spec), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, setup := opens(t, text)
	if len(setup.Routes) != 2 || !setup.Routes[0].Adapter.CanLookup() || cfg.Routes[1].OnUnknown != config.OnUnknownHold {
		t.Errorf("%+v", cfg.Routes)
	}
	body := `{"invoice":{"supplier":{"id":"S"},"date":"2026-01-31","currency":"EUR","total":1,"lines":[{"account":"1","amount":1}]}}`
	p, err := setup.Routes[0].Adapter.Preview(t.Context(), adapters.Call{HandOut: ferry.HandOut{Body: []byte(body), Size: int64(len(body)), ExternalKey: "INV-1"}})
	if err != nil || !strings.Contains(p.Body, `"number":"INV-1"`) || p.URL != "https://erp.example/api/invoices" {
		t.Errorf("%v %+v", err, p)
	}
}
