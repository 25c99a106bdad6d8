package stanza

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"ferry/internal/apispec"
	"ferry/mapping"
)

func TestNames(t *testing.T) {
	for text, want := range map[string]string{
		"createInvoice": "create-invoice", "CreateSAPInvoice": "create-sap-invoice", "POST /invoices/{id}/lines": "post-invoices-id-lines",
		"v1": "v1-route", "2nd_try": "nd-try", "ÄÖÜ": "route", "": "route", "a": "route", "x": "route",
		strings.Repeat("longName", 20): "long-namelong-namelong-namelong-namelong-name", "already-good": "already-good", "invoice2Pay": "invoice2-pay",
	} {
		if got := Name(text, "route"); got != want {
			t.Errorf("%q: %q, not %q", text, got, want)
		}
	}
	taken := map[string]bool{}
	if a, b, c := Distinct("a", taken), Distinct("a", taken), Distinct("a", taken); a != "a" || b != "a-2" || c != "a-3" {
		t.Error(a, b, c)
	}
	for name, good := range map[string]bool{"erp": true, "erp-prod": true, "Erp": false, "e": false, "erp-": false, "a b": false, "v1": false, strings.Repeat("a", 51): false} {
		if IsName(name) != good {
			t.Errorf("%q", name)
		}
	}
}

// TestMapRuns: what is written is jq, and passes a payload of the body's form on.
func TestMapRuns(t *testing.T) {
	decoded, err := mapping.Decode([]byte(`{"a":1.10,"if":"x","b c":{"d\"\\(1)":[{"é":null}]},"e":[[1]],"f":[],"g":[1,2]}`))
	if err != nil {
		t.Fatal(err)
	}
	text := Map(Sample(decoded))
	program, err := mapping.Compile(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	got, err := program.RunValue(t.Context(), decoded)
	if err != nil || string(got) != `{"a":1.10,"b c":{"d\"\\(1)":[{"é":null}]},"e":[[1]],"f":[],"g":[1,2],"if":"x"}` {
		t.Errorf("%s %v\n%s", got, err, text)
	}
	if got := Map(apispec.Field{Type: "anything"}); got != ".\n" {
		t.Error(got)
	}
}

func TestReferencesAreGuessed(t *testing.T) {
	for answer, want := range map[string][2]string{
		`{"id":1,"number":2}`:                        {".id", ".id"},
		`{"data":{"invoiceNumber":"x"}}`:             {".data.invoiceNumber", ".data.invoiceNumber"},
		`{"items":[{"id":1}],"next":null}`:           {"", ".items[0].id"},
		`[{"uuid":1}]`:                               {"", ".[0].uuid"},
		`{"d":{"results":[]},"id":{"nested":"not"}}`: {"", ""},
		`{"ok":true}`:                                {"", ""},
	} {
		decoded, err := mapping.Decode([]byte(answer))
		if err != nil {
			t.Fatal(err)
		}
		f := Sample(decoded)
		if got := [2]string{Reference(f), FoundIn(f)}; got != want {
			t.Errorf("%s: %q, not %q", answer, got, want)
		}
	}
}

// FuzzYAML: a text from elsewhere stays where it belongs, and comes out as it is,
// but for what a worker would fill in.
func FuzzYAML(f *testing.F) {
	for _, seed := range []string{"a", "", "a: b", "- x", "a #b", "'", `"`, "\n", "\u0085\u2028", "|", "> x", "{a}", "%", "&a *b !c", "${env:X}", "true", "1", "~", "\x00\x7f", "\xff", "\t", " x ", "?", "a\\(1)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) >= maxName {
			return // no route is made of it
		}
		file := &File{Source: s, Worker: "worker", Left: []string{s}, Destination: Destination{
			Name: "erp", Notes: []string{s}, Dialect: "openapi", Spec: s, URL: s, Headers: []Pair{{s, s}}, Health: s,
		}, Routes: []Route{{
			Name: "route", Notes: []string{s}, Operation: "x" + s, URL: s, Method: s, ContentType: s, Reference: s, Guesses: []string{s},
			Parameters: []Parameter{{Name: "p" + s, JQ: s, Note: s}, {Name: s, JQ: s, Note: s, Optional: true}},
			Map:        Map(apispec.Field{Fields: []apispec.Field{{Name: s, Required: true, Type: s, Description: s, Fixed: s}, {Name: s, Type: s}}}),
		}}}
		var got struct {
			Name         string
			Queue        any
			Destinations map[string]map[string]any
			Routes       []map[string]any
		}
		text := file.YAML()
		dec := yaml.NewDecoder(strings.NewReader(text))
		dec.KnownFields(true)
		if err := dec.Decode(&got); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if len(got.Destinations) != 1 || len(got.Routes) != 1 || strings.Contains(text, "${env:") {
			t.Fatalf("%s", text)
		}
		want := strings.ReplaceAll("x"+s, "${env:", "$(env:")
		if operation := got.Routes[0]["operation"]; operation != want && strings.ToValidUTF8(s, "") == s {
			t.Fatalf("%q is read as %q\n%s", want, operation, text)
		}
		known := map[string]bool{"name": true, "destination": true, "operation": true, "method": true, "url": true, "contentType": true, "parameters": true, "map": true, "reference": true}
		for key := range got.Routes[0] {
			if !known[key] {
				t.Fatalf("a key of its own: %s\n%s", key, text)
			}
		}
		if program, _ := got.Routes[0]["map"].(string); !strings.Contains(s, "${env:") {
			if _, err := mapping.Compile(program); err != nil {
				t.Fatalf("%v\n%s", err, program)
			}
		}
	})
}
