package shape_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry/shape"
)

// files reads from a map as if it were a folder.
func files(m map[string]string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		text, ok := m[name]
		if !ok {
			return nil, fmt.Errorf("%s is not there", name)
		}
		return []byte(text), nil
	}
}

func TestBundle(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  string
		err   string
	}{
		"one file as written": {
			files: map[string]string{"s.json": "\ufeff" + `{"type": "object", "properties": {"b": {}, "a": {"$ref": "#/$defs/x"}}, "$defs": {"x": true}}` + "\n"},
			want:  `{"type": "object", "properties": {"b": {}, "a": {"$ref": "#/$defs/x"}}, "$defs": {"x": true}}`,
		},
		"others below $defs, order kept": {
			files: map[string]string{
				"s.json":          `{"properties":{"z":{"$ref":"parts/line.json"},"a":{"$ref":"parts/line.json#/$defs/amount"},"n":{"$ref":"parts/line.json#node"}}}`,
				"parts/line.json": `{"$id":"https://contoso.example/line","$defs":{"amount":{"type":"number"},"n":{"$anchor":"node","$ref":"../s.json#/properties/a"}},"properties":{"v":{"$ref":"#/$defs/amount"},"self":{"$ref":"#"}}}`,
			},
			want: `{"properties":{"z":{"$ref":"#/$defs/line"},"a":{"$ref":"#/$defs/line/$defs/amount"},"n":{"$ref":"#/$defs/line/$defs/n"}},` +
				`"$defs":{"line":{"$defs":{"amount":{"type":"number"},"n":{"$anchor":"node","$ref":"#/properties/a"}},"properties":{"v":{"$ref":"#/$defs/line/$defs/amount"},"self":{"$ref":"#/$defs/line"}}}}}`,
		},
		"a member named $ref, and one in an example": {
			files: map[string]string{"s.json": `{"properties":{"$ref":{"type":"string"}},"examples":[{"$ref":"gone.json"}]}`},
			want:  `{"properties":{"$ref":{"type":"string"}},"examples":[{"$ref":"gone.json"}]}`,
		},
		"by the id of a file that is there": {
			files: map[string]string{
				"s.json": `{"allOf":[{"$ref":"a.json"},{"$ref":"https://x.example/a#/$defs/q"}]}`,
				"a.json": `{"$id":"https://x.example/a","$defs":{"q":{}}}`,
			},
			want: `{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a/$defs/q"}],"$defs":{"a":{"$defs":{"q":{}}}}}`,
		},
		"two files of one name": {
			files: map[string]string{"s.json": `{"allOf":[{"$ref":"a/t.json"},{"$ref":"b/t.json"}]}`, "a/t.json": `{}`, "b/t.json": `true`},
			want:  `{"allOf":[{"$ref":"#/$defs/t"},{"$ref":"#/$defs/t-2"}],"$defs":{"t":{},"t-2":true}}`,
		},
		"from a network":    {files: map[string]string{"s.json": `{"$ref":"https://evil.example/s.json"}`}, err: "is not in a file"},
		"absolute":          {files: map[string]string{"s.json": `{"$ref":"/etc/passwd"}`}, err: "not relative"},
		"missing":           {files: map[string]string{"s.json": `{"$ref":"gone.json"}`}, err: "gone.json is not there"},
		"no such anchor":    {files: map[string]string{"s.json": `{"$ref":"t.json#x"}`, "t.json": `{}`}, err: "names an anchor"},
		"not JSON":          {files: map[string]string{"s.json": `{"type":`}, err: "ends too early"},
		"names twice":       {files: map[string]string{"s.json": `{"type":"string","type":"object"}`}, err: "twice"},
		"no schema":         {files: map[string]string{"s.json": `[]`}, err: "no JSON Schema"},
		"two drafts":        {files: map[string]string{"s.json": `{"$ref":"t.json"}`, "t.json": `{"$schema":"http://json-schema.org/draft-07/schema#"}`}, err: "different $schema"},
		"ids below a root":  {files: map[string]string{"s.json": `{"$ref":"t.json"}`, "t.json": `{"$defs":{"a":{"$id":"a"}}}`}, err: "$id below its root"},
		"too large by far":  {files: map[string]string{"s.json": `{"$ref":"t.json"}`, "t.json": `{"title":"` + strings.Repeat("x", 1<<20) + `"}`}, err: "larger than 1048576"},
		"far too deep":      {files: map[string]string{"s.json": strings.Repeat(`{"not":`, 600) + "true" + strings.Repeat("}", 600)}, err: "deep"},
		"something follows": {files: map[string]string{"s.json": `{} {}`}, err: "something follows"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := shape.Bundle("s.json", files(test.files))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Error(diff)
			}
			if _, err := shape.CompileSchema(got); err != nil {
				t.Errorf("the bundle does not compile: %v", err)
			}
		})
	}
}

func TestCompileSchemaRefuses(t *testing.T) {
	for name, test := range map[string]struct{ schema, want string }{
		"not a schema":    {`{"type":"objekt"}`, "cannot be used"},
		"a network":       {`{"$ref":"https://evil.example/s"}`, "nothing is fetched"},
		"no such place":   {`{"$ref":"#/$defs/gone"}`, "cannot be used"},
		"no such draft":   {`{"$schema":"https://evil.example/draft"}`, "cannot be used"},
		"a bad pattern":   {`{"pattern":"("}`, "cannot be used"},
		"round and round": {`{"$ref":"#"}`, ""},
	} {
		_, err := shape.CompileSchema(json.RawMessage(test.schema))
		if test.want == "" {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
}
