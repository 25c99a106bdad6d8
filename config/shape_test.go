package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/adapters"
)

// inFolder writes files and gives the folder.
func inFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFormsOfARoute(t *testing.T) {
	dir := inFolder(t, map[string]string{
		"schemas/v1.json":         `{"required":["no"]}`,
		"schemas/v2.json":         `{"properties":{"line":{"$ref":"parts/line.json"}}}`,
		"schemas/parts/line.json": `{"type":"object"}`,
		"broker.yaml": `
routes:
  - name: invoices
    schema: DIR/schemas/v2.json
    accept: [json, xml]
    xml: {forceArray: [/invoice/line], keepPrefixes: true}
    result: '{number: $reference}'
    cloudEvents: true
    versionBy: {header: X-Contract, query: contract, field: .version}
    versions:
      - {name: v1, schema: DIR/schemas/v1.json, request: '{number: .no, of: $version}', deliverAs: v2, deprecated: 2026-12-01, sunset: 2027-06-30T18:00:00+02:00, link: "https://contoso.example/ends"}
      - {name: v2, default: true, deliverAs: v2}
`,
	})
	path := filepath.Join(dir, "broker.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Loader{}.parseBroker([]byte(strings.ReplaceAll(string(text), "DIR", filepath.ToSlash(dir))), path)
	if err != nil {
		t.Fatal(err)
	}
	r := b.FerryRoutes()[0]
	const bundle = `{"properties":{"line":{"$ref":"#/$defs/line"}},"$defs":{"line":{"type":"object"}}}`
	base := ferry.Form{Schema: []byte(bundle), Accept: []string{"json", "xml"}, Result: "{number: $reference}"}
	if diff := cmp.Diff(base, ferry.Form{Schema: r.Schema, Accept: r.Accept, Request: r.Request, Result: r.Result}); diff != "" {
		t.Error(diff)
	}
	if !r.CloudEvents || r.VersionBy != (ferry.VersionBy{Header: "X-Contract", Query: "contract", Field: ".version"}) || !r.XML.KeepPrefixes || len(r.XML.ForceArray) != 1 {
		t.Errorf("%+v", r)
	}
	v1 := base
	v1.Schema, v1.Request = []byte(`{"required":["no"]}`), "{number: .no, of: $version}"
	want := []ferry.RouteVersion{
		{
			Name: "v1", Form: v1, As: "v2", Link: "https://contoso.example/ends",
			Deprecated: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Sunset: time.Date(2027, 6, 30, 16, 0, 0, 0, time.UTC),
		},
		{Name: "v2", Form: base, Default: true},
	}
	if diff := cmp.Diff(want, r.Versions); diff != "" {
		t.Error(diff)
	}
}

func TestFormsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ keys, says, hint string }{
		"accept":            {"accept: [yaml]", `accept[0]: "yaml" is not known`, "did you mean xml?"},
		"request":           {"request: '('", "request: ", ""},
		"a variable":        {"result: $contentType", "result: ", ""},
		"no name":           {"versions: [{request: .}]", "versions[0] has no name", "v2"},
		"name":              {"versions: [{name: V2}]", `"V2" cannot be the name of a version`, "lower-case"},
		"twice":             {"versions: [{name: v1}, {name: v1}]", "the version v1 stands here twice", ""},
		"two defaults":      {"versions: [{name: v1, default: true}, {name: v2, default: true}]", "v1 is the default version already", ""},
		"deliverAs":         {"versions: [{name: v1, deliverAs: 'a b'}]", "deliverAs", ""},
		"a day":             {"versions: [{name: v1, sunset: tomorrow}]", "is neither a day nor a time with an offset", "2027-06-30"},
		"ends before":       {"versions: [{name: v1, deprecated: 2027-01-02, sunset: 2027-01-01}]", "sunset is before deprecated", ""},
		"link":              {"versions: [{name: v1, link: 'javascript:x'}]", "link is not a URL", ""},
		"by, and none":      {"versionBy: {header: X}", "the route has no versions", "add versions"},
		"accept by field":   {"{versionBy: {field: .v}, versions: [{name: v1, accept: [xml]}]}", "has to be read first", "move it to the route"},
		"list":              {"xml: {forceArray: [line]}, accept: [xml]", "forceArray", "/invoice/lines/line"},
		"too many":          {"versions: [" + strings.Repeat("{name: v1},", 21) + "]", "21 entries, 20 at most", ""},
		"schema of version": {"versions: [{name: v1, schema: nowhere.json}]", "nowhere.json cannot be read", ""},
	} {
		t.Run(name, func(t *testing.T) {
			keys := strings.TrimSuffix(strings.TrimPrefix(c.keys, "{"), "}")
			if !strings.HasPrefix(c.keys, "{") {
				keys = c.keys
			}
			_, err := Loader{}.parseBroker([]byte("routes: [{name: a1, "+keys+"}]\n"), "f.yaml")
			text := ""
			if err != nil {
				text = err.Error()
				if e, ok := err.(*ferry.Error); ok { //nolint:errorlint // the edge
					text += " " + e.Hint
				}
			}
			if !strings.Contains(text, c.says) || !strings.Contains(text, c.hint) || !strings.HasPrefix(text, "f.yaml:1: ") {
				t.Errorf("%s\nwant %s, hint %s", text, c.says, c.hint)
			}
		})
	}
}

const workerHead = "name: w1\nqueue: {nats: {url: \"nats://127.0.0.1:4222\", nkey: env:LOGIN}}\n"

func TestVersionsOfAWorkersRoute(t *testing.T) {
	w, err := Loader{}.parseWorker([]byte(workerHead+`
destinations: {erp: {adapter: erp, url: "https://e.example"}}
routes:
  - name: invoices
    destination: erp
    url: /v2/invoices
    map: '{number}'
    headers: {X-A: a}
    lookup: {url: "/v2/invoices?k={externalKey}", reference: .id}
    versions:
      v1: {url: /v1/invoices, map: '{no: .number}', lookup: {url: "/v1/invoices?k={externalKey}", reference: .no}, cloudEvents: binary}
      v3: {}
`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	r := &w.Routes[0]
	v1 := r.Versions["v1"].RouteConfig
	if v1.URL != "/v1/invoices" || v1.Map != "{no: .number}" || v1.Headers["X-A"] != "a" || v1.Lookup.Reference != ".no" || v1.CloudEvents != adapters.EventsBinary || v1.Route != "invoices" {
		t.Errorf("%+v", v1)
	}
	if diff := cmp.Diff(r.RouteConfig, r.Versions["v3"].RouteConfig); diff != "" {
		t.Errorf("a version that says nothing differs:\n%s", diff)
	}
	if r.URL != "/v2/invoices" || r.Lookup.Reference != ".id" || r.CloudEvents != "" {
		t.Errorf("the route itself changed: %+v", r.RouteConfig)
	}
	for keys, says := range map[string]string{
		`v1: {map: '('}`:                 "f.yaml:6: routes[0].versions.v1.map",
		`v1: {confirm: poll}`:            "is the same for all versions",
		`v1: {write: upsert}`:            "is the same for all versions",
		`V1: {}`:                         "cannot be the name of a version",
		`v1: {mapp: .}`:                  "unknown key",
		`v1: {destination: other}`:       "unknown key",
		`v1: 5`:                          "must be a group of keys",
		`v1: {lookup: {reference: .id}}`: "lookup has no url",
	} {
		_, err := Loader{}.parseWorker([]byte(workerHead+"destinations: {erp: {adapter: erp, url: \"https://e.example\"}}\nroutes:\n  - name: a1\n    destination: erp\n    onUnknown: hold\n    versions: {"+keys+"}\n"), "f.yaml")
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "f.yaml:8", "f.yaml:6"), says) {
			t.Errorf("%s: %v, want %s", keys, err, says)
		}
	}
}
