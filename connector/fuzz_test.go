package connector

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"ferry"
)

// FuzzSchema: whatever stands in the place of a schema, a definition is made, and it
// is true to the rules.
func FuzzSchema(f *testing.F) {
	files, err := filepath.Glob("testdata/routes/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "Title", "A description")
	}
	for _, r := range hostile() {
		if len(r.Schema) > 1<<10 {
			continue // of what is as large as that little is tried
		}
		f.Add(string(r.Schema), r.Title, r.Description)
	}
	f.Add(`{"$ref":"#"}`, "", "")
	f.Add(`{"oneOf":[{"$ref":"#"},{"$ref":"#/oneOf/0"}]}`, "", "")
	f.Add(`{"type":"object","properties":{"a":{"enum":[1,1.0,1e0]}}}`, "é", "!")
	f.Add(`0`, "\u027f", "0") // a small letter that has no large one
	f.Fuzz(func(t *testing.T, schema, title, description string) {
		routes := []ferry.Route{{Name: "fuzzed", Title: title, Description: description, Schema: json.RawMessage(schema)}}
		c, err := Make(routes, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if faults := check(t, c.Files[0].Data); len(faults) > 0 {
			t.Errorf("%q", faults)
		}
		if !json.Valid(RouteSchema(&routes[0])) {
			t.Error("the route's schema is no JSON")
		}
	})
}
