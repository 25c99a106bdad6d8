package apispec

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

// write puts files into a new folder and gives the path of the first.
func write(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, filepath.FromSlash(files[i]))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, filepath.FromSlash(files[0]))
}

// says is what an error tells people: its words and its hint.
func says(err error) string {
	if err == nil {
		return ""
	}
	var edge *ferry.Error
	if errors.As(err, &edge) {
		return edge.Message + " | " + edge.Hint
	}
	return err.Error()
}

func TestLoadsTheExample(t *testing.T) {
	d, err := Load(context.Background(), "../../examples/openapi/invoices.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if d.Title != "Invoices" || d.Version != "3.0.3" || !cmp.Equal(d.Servers, []string{"https://erp.example/api"}) {
		t.Errorf("title %q, version %q, servers %q", d.Title, d.Version, d.Servers)
	}
	op, err := d.Operation("createInvoice")
	if err != nil {
		t.Fatal(err)
	}
	if op.Name() != "POST /invoices" || !op.Body.Required || !cmp.Equal(op.Body.Types(), []string{"application/json"}) {
		t.Errorf("%+v", op)
	}
	created := op.Responses[0]
	if created.Status != "201" || !created.Location || created.Schema == nil || !created.IsSuccess() {
		t.Errorf("%+v", created)
	}
	if by, err := d.Operation("post /invoices"); err != nil || by != op {
		t.Errorf("by method and path: %v, %v", by, err)
	}
	note, err := d.Operation("createCreditNote")
	if err != nil {
		t.Fatal(err)
	}
	if p := note.Parameters[0]; p.In != InPath || p.Name != "supplierId" || !p.Required || p.Unsupported != "" {
		t.Errorf("%+v", p)
	}
}

func TestNearestOperationsAreNamed(t *testing.T) {
	d, err := Load(context.Background(), "../../examples/openapi/invoices.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"createInvoce": "did you mean createInvoice?",
		"invoice":      "did you mean",
		"xyz":          "those that write: createInvoice, createCreditNote",
	} {
		_, err := d.Operation(id)
		if !strings.Contains(says(err), want) {
			t.Errorf("%s: %s", id, says(err))
		}
	}
}

const swagger = `
swagger: 2.0
info: {title: Old, version: 1}
host: erp.example
basePath: /v1/
schemes: [https, http]
securityDefinitions:
  key: {type: apiKey, in: query, name: api_key}
security: [{key: []}]
paths:
  /invoices/{id}:
    put:
      operationId: putInvoice
      parameters:
        - {in: path, name: id, type: string, required: true}
        - {in: query, name: tags, type: array, items: {type: string}}
        - {in: query, name: multi, type: array, items: {type: string}, collectionFormat: multi}
        - {in: query, name: tabs, type: array, items: {type: string}, collectionFormat: tsv}
        - {in: query, name: pipes, type: array, items: {type: string}, collectionFormat: pipes}
        - {in: body, name: invoice, required: true, schema: {$ref: '#/definitions/Invoice'}}
      responses: {204: {description: done}}
  /files:
    post:
      consumes: [multipart/form-data]
      parameters: [{in: formData, name: file, type: file, required: true}]
      responses: {201: {description: done}}
definitions:
  Invoice: {type: object, required: [number], properties: {number: {type: string}, lines: {type: array, items: {$ref: '#/definitions/Line'}}}}
  Line: {type: object, properties: {amount: {type: number, minimum: 0, exclusiveMinimum: true}}}
`

// TestSwagger2: basePath, in: body, in: formData, apiKey in the query, a version
// that YAML takes for a number, statuses as whole numbers, and lists that are
// separated by commas unless said otherwise.
func TestSwagger2(t *testing.T) {
	d, err := Parse([]byte(swagger))
	if err != nil {
		t.Fatal(says(err))
	}
	if !cmp.Equal(d.Servers, []string{"https://erp.example/v1", "http://erp.example/v1"}) {
		t.Errorf("servers %q", d.Servers)
	}
	op, err := d.Operation("putInvoice")
	if err != nil {
		t.Fatal(err)
	}
	explode := map[string]bool{"tags": false, "multi": true}
	refused := map[string]string{"tabs": "tsv", "pipes": "pipeDelimited"}
	for _, p := range op.Parameters {
		if want, is := explode[p.Name]; is && (p.Explode != want || p.Unsupported != "") {
			t.Errorf("%+v", p)
		}
		if want := refused[p.Name]; !strings.Contains(p.Unsupported, want) {
			t.Errorf("%+v", p)
		}
	}
	content, ok := op.Body.JSON()
	if !ok {
		t.Fatal("the body is not JSON")
	}
	if got := check(t, content.Schema, `{"lines":[{"amount":0}]}`); got != "/number is missing; /lines/0/amount must be more than 0" {
		t.Error(got)
	}
	file, err := d.Operation("POST /files")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := file.Body.JSON(); ok || !cmp.Equal(file.Body.Types(), []string{"multipart/form-data"}) {
		t.Errorf("%q", file.Body.Types())
	}
	if s := op.Security[0][0]; s.Auth.Query != "api_key" {
		t.Errorf("%+v", s)
	}
}

const pathless = "openapi: 3.0.0\ninfo: {title: x, version: '1'}\n"

func TestWhatIsNoDescriptionIsRefused(t *testing.T) {
	nested := pathless + "paths: {/a: {post: {responses: {}, x-deep: " + strings.Repeat("[", 150) + strings.Repeat("]", 150) + "}}}"
	bomb := pathless + "x-a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += "x-" + string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 10) + "]\n"
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":            {" \n", "it is empty"},
		"html":             {"<!doctype html><html></html>", "no description"},
		"a list":           {"- 1", "does not begin with a group of keys"},
		"no YAML":          {"a: [", "neither JSON nor YAML"},
		"another file":     {"name: x", "neither openapi: 3.x nor swagger"},
		"an old version":   {"swaggerVersion: '1.2'\nswagger: '1.2'", "version 1.2 is not supported"},
		"a later version":  {"openapi: 4.0.0", "version 4.0.0 is not supported"},
		"a collection":     {`{"info":{"schema":"https://schema.getpostman.com/json/collection/v2.1.0/collection.json"}}`, "worker import postman"},
		"no operations":    {pathless + "paths: {}", "has no operations"},
		"a key twice":      {pathless + "info: {}", "stands here twice"},
		"deep YAML":        {nested, "nested deeper than 100"},
		"deep JSON":        {`{"openapi":"3.0.0","x":` + strings.Repeat("[", 150) + strings.Repeat("]", 150) + "}", "nested deeper than 100"},
		"aliases":          {bomb, "more than 1000000 values"},
		"itself":           {"openapi: 3.0.0\nx-a: &a [*a]", ""},
		"unknown ref":      {pathless + "paths: {/a: {post: {requestBody: {$ref: '#/components/requestBodies/None'}, responses: {}}}}", "cannot be read"},
		"ref to itself":    {pathless + "paths: {/a: {post: {responses: {}}}}\ncomponents: {schemas: {A: {$ref: '#/components/schemas/B'}, B: {$ref: '#/components/schemas/A'}}}", ""},
		"another host":     {pathless + "paths: {/a: {$ref: 'https://other.example/x.yaml'}}", "outside its folder"},
		"another file ref": {pathless + "paths: {/a: {$ref: 'x.yaml'}}", "lies in a folder"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if err == nil && c.want != "" || !strings.Contains(says(err), c.want) {
				t.Errorf("%v", says(err))
			}
			if strings.Count(says(err), "\n") > 0 || len(says(err)) > 1500 {
				t.Errorf("no sentence: %s", says(err))
			}
		})
	}
}

// TestFilesOfTheFolderOnly: a description may have several files, and none of
// them leads out of its folder.
func TestFilesOfTheFolderOnly(t *testing.T) {
	api := pathless + `paths:
  /a: {post: {operationId: a, requestBody: {content: {application/json: {schema: {$ref: 'models/a.yaml#/A'}}}}, responses: {}}}
`
	path := write(t, "api.yaml", api, "models/a.yaml", "A: {type: object, required: [x], properties: {x: {$ref: './b.json#/X'}}}\n", "models/b.json", `{"X":{"type":"integer"}}`)
	d, err := Load(context.Background(), path)
	if err != nil {
		t.Fatal(says(err))
	}
	content, _ := d.Operations[0].Body.JSON()
	if got := check(t, content.Schema, `{"x":"y"}`); got != "/x must be an integer, not a string" {
		t.Error(got)
	}

	secret := write(t, "secret.yaml", "A: {type: string}")
	for name, ref := range map[string]string{
		"above":    "../" + filepath.Base(filepath.Dir(secret)) + "/secret.yaml#/A",
		"absolute": filepath.ToSlash(secret) + "#/A",
		"file":     "file://" + filepath.ToSlash(secret) + "#/A",
		"http":     "http://127.0.0.1:1/x.yaml#/A",
		"link":     "link.yaml#/A",
		"missing":  "missing.yaml#/A",
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "api.yaml", strings.Replace(api, "models/a.yaml#/A", ref, 1))
			if name == "link" {
				if err := os.Symlink(secret, filepath.Join(filepath.Dir(path), "link.yaml")); err != nil {
					t.Skip("no symbolic links here")
				}
			}
			_, err := Load(context.Background(), path)
			if err == nil || !strings.Contains(says(err), "folder") {
				t.Errorf("%v", says(err))
			}
		})
	}
}

func TestTooLargeIsRefused(t *testing.T) {
	path := write(t, "api.yaml", pathless+"x-large: "+strings.Repeat("x", MaxBytes))
	if _, err := Load(context.Background(), path); !strings.Contains(says(err), "more than 10 MiB") {
		t.Error(says(err))
	}
	half := `{"A":{"type":"string"}}` + strings.Repeat(" ", MaxBytes/2)
	path = write(t, "api.yaml", pathless+"paths: {/a: {$ref: 'a.json#/A'}, /b: {$ref: 'b.json#/A'}}", "a.json", half, "b.json", half)
	if _, err := Load(context.Background(), path); !strings.Contains(says(err), "more than 10 MiB") {
		t.Error("the files together: ", says(err))
	}
}

func TestMissingFile(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "none.yaml"), filepath.Join(t.TempDir(), "none", "api.yaml"), t.TempDir()} {
		if _, err := Load(context.Background(), path); err == nil {
			t.Errorf("%s was loaded", path)
		}
	}
}

// TestAddresses: a description is fetched in one piece, from the host that was
// named, and no key of its address shows.
func TestAddresses(t *testing.T) {
	good := pathless + "paths: {/a: {post: {responses: {}}}}"
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(good)) }))
	defer other.Close()
	mux := http.NewServeMux()
	for path, body := range map[string]string{
		"/good": good, "/large": strings.Repeat("x", MaxBytes+1),
		"/parts": pathless + "paths: {/a: {$ref: 'good'}}",
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
	}
	mux.Handle("/moved", http.RedirectHandler("/good", http.StatusFound))
	mux.Handle("/away", http.RedirectHandler(other.URL, http.StatusFound))
	server := httptest.NewServer(mux)
	defer server.Close()
	for path, want := range map[string]string{
		"/good": "", "/moved": "", "/none": "status 404", "/large": "more than 10 MiB",
		"/away": "another host", "/parts": "only a description that lies in a folder",
	} {
		_, err := Load(context.Background(), server.URL+path+"?key=geheim")
		if (err == nil) != (want == "") || !strings.Contains(says(err), want) || strings.Contains(says(err), "geheim") {
			t.Errorf("%s: %v", path, says(err))
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Load(ended, server.URL+"/good"); err == nil {
		t.Error("fetched after the end")
	}
	if _, err := Load(context.Background(), "http://user:geheim@127.0.0.1/x"); err == nil || strings.Contains(says(err), "geheim") {
		t.Errorf("%v", says(err))
	}
}

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../examples/openapi/invoices.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{string(example), swagger, pathless, `{"openapi":"3.1.0","paths":{"/a":{"post":{"requestBody":{"content":{"a/b":{"schema":true}}}}}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			var edge *ferry.Error
			if !errors.As(err, &edge) || edge.Code != ferry.CodeBadConfig {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		for _, op := range d.Operations {
			if content, ok := op.Body.JSON(); ok && content.Schema != nil {
				if v, err := content.Schema.Validator(); err == nil {
					_, _ = v.Check(context.Background(), map[string]any{"a": "b"})
				}
				content.Schema.Outline()
			}
		}
	})
}
