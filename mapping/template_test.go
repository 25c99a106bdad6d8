package mapping_test

import (
	"strings"
	"testing"

	"ferry"
	"ferry/mapping"
)

func TestPieces(t *testing.T) {
	for s, want := range map[string]string{
		"":                                       "",
		"/plain":                                 "/plain",
		"/a/{= .b}/c{= .d | {e: {f: .}} | .e.f}": `/a/[.b]/c[.d | {e: {f: .}} | .e.f]`,
		`{="}" + "\({a: "}"} | .a)"}}`:           `["}" + "\({a: "}"} | .a)"]}`,
		"{externalKey}{= $key }{x":               "{externalKey}[$key]{x",
		"{= .a # }\n}b":                          "[.a # }]b",
	} {
		pieces, err := mapping.Pieces(s, "key")
		var b strings.Builder
		for _, p := range pieces {
			b.WriteString(p.Text)
			if p.Program != nil {
				b.WriteString("[" + p.Source + "]")
			}
		}
		if err != nil || b.String() != want {
			t.Errorf("%q: %q, %v; want %q", s, b.String(), err, want)
		}
	}
	for s, want := range map[string]string{
		"/a/{= .b":        "has no closing brace",
		`/a/{= ".b}`:      "has no closing brace",
		"/a/{= .b{}":      "has no closing brace",
		"{=}":             "line 1, column 1: the program ends before",
		"{= .a}{= .b | }": "line 1, column 7: unexpected EOF",
		"{= foo}":         "line 1, column 2: function not defined: foo/0",
		"{= $nothing}":    "line 1, column 2: variable not defined",
	} {
		if _, err := mapping.Pieces(s, "key"); ferry.CodeOf(err) != ferry.CodeBadConfig || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", s, err, want)
		}
	}
}

func FuzzPieces(f *testing.F) {
	for _, s := range []string{"/a/{= .b}/c", `{= "}" | {a: .}}`, `{= "\("}")"}x{`, "{=", "{= # }\n.}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		pieces, err := mapping.Pieces(s)
		if err != nil {
			return
		}
		// Nothing gets lost, and a program is one by itself.
		size := 0
		for _, p := range pieces {
			size += len(p.Text)
			if p.Program != nil {
				size += len("{=}") + len(p.Source)
				if _, err := mapping.Compile(p.Source); err != nil {
					t.Errorf("%q: %q: %v", s, p.Source, err)
				}
			}
		}
		if size > len(s) || len(strings.TrimSpace(s)) > 0 && len(pieces) == 0 {
			t.Errorf("%q: %d of %d bytes", s, size, len(s))
		}
	})
}
