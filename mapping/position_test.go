package mapping_test

import (
	"errors"
	"strings"
	"testing"

	"ferry"
	"ferry/mapping"
)

// Every fault that the compiler finds has a line and a column.
func TestCompileTellsThePlace(t *testing.T) {
	for _, c := range []struct {
		src          string
		line, column int
		words, hint  string
	}{
		// What cannot be read.
		{"{a: .b,\n  c: }", 2, 6, `unexpected token "}"`, ""},
		{".a | ", 1, 6, "unexpected EOF", ""},
		{"if . then 1", 1, 12, "unexpected EOF", ""},
		{"(1 |\n (2", 2, 4, "unexpected EOF", ""},
		{"..a", 1, 3, `unexpected token "a"`, ""},
		{"1..2", 1, 1, `invalid token "1.."`, ""},
		{"{\"ä\": 1, é}", 1, 10, `unexpected token "é"`, ""},
		{"reduce .[] as $x (0)", 1, 20, `unexpected token ")"`, ""},
		{"foreach .[] as $x (0; 1; 2; 3)", 1, 27, `unexpected token ";"`, ""},
		{". as [] | .", 1, 7, `unexpected token "]"`, ""},
		{". as {} | .", 1, 7, `unexpected token "}"`, ""},
		{"@text 1", 1, 7, `unexpected token "1"`, ""},
		{"label $f", 1, 9, "unexpected EOF", ""},
		{"$", 1, 1, `unexpected token "$"`, ""},
		// Texts.
		{"{a: \"b\",\n c: \"d}", 2, 5, "unterminated string literal", "no closing quote"},
		{"\"a\\(.b | \"c) | .d", 1, 10, "unterminated string literal", ""},
		{"\"a\\(.b)c", 1, 1, "unterminated string literal", ""},
		{"\"a\\qb\"", 1, 3, `invalid escape sequence "\q"`, ""},
		{".a |\n \"\\u12\"", 2, 3, `invalid escape sequence "\u12`, ""},
		// Functions: where one is called, not where a key, a field, a parameter, a
		// text or a comment has its name.
		{"{\"ä\": .x,\n \"ö\": foo(.y)}", 2, 7, "function not defined: foo/1", ""},
		{"{foo: .foo, \"foo\": \"foo\", a: foo}", 1, 30, "function not defined: foo/0", ""},
		{"# foo\n# \\\nfoo\n.foo | foo", 4, 8, "function not defined: foo/0", ""},
		{"\"a \\(\"foo\" | foo)\"", 1, 14, "function not defined: foo/0", ""},
		{"def f: g; f", 1, 8, "function not defined: g/0", ""},
		{"def f(x): x(1); f(1)", 1, 11, "function not defined: x/1", ""},
		{"def f($x): $x; f", 1, 16, "function not defined: f/0", ""},
		{"(def f: 1; f) | [f, 1] | f", 1, 18, "function not defined: f/0", ""},
		{"map(.a; .b)", 1, 1, "function not defined: map/2", ""},
		{"[.[] | {a: .b, c: decsum(1)}]", 1, 19, "function not defined: decsum/1", "it is decsum"},
		{".a |\n  decround", 2, 3, "function not defined: decround/0", "it is decround(a)"},
		{"noon(1;2)", 1, 1, "function not defined: noon/2", "it is noon or noon(a)"},
		{"limit(3; foo)", 1, 10, "function not defined: foo/0", ""},
		{"a::b", 1, 1, "function not defined: a::b/0", ""},
		// Variables: where one is used, not where it is bound.
		{".a + $total", 1, 6, "variable not defined: $total", "$key are"},
		{"(1 as $x | $x) | 2 + $x", 1, 22, "variable not defined: $x", ""},
		{"$x as $x | $x", 1, 1, "variable not defined: $x", ""},
		{". as {a: $x, b: $x} | $z", 1, 23, "variable not defined: $z", ""},
		{". as [$a, {b: $c}] | $a + $c + $b", 1, 32, "variable not defined: $b", ""},
		{". as [$a] ?// $b | $c", 1, 20, "variable not defined: $c", ""},
		{"reduce .[] as $x (0; . + $y)", 1, 26, "variable not defined: $y", ""},
		{"foreach .[] as [$a, $a] (0; $a; $b)", 1, 33, "variable not defined: $b", ""},
		{"[1 as $x | {$x}] | {$x}", 1, 21, "variable not defined: $x", ""},
		{"\"$v \\($v)\"", 1, 7, "variable not defined: $v", ""},
		{"def f($x): $x; f(1) | $x", 1, 23, "variable not defined: $x", ""},
		// The rest.
		{"label $a | 1, break $b", 1, 21, "label not defined: $b", ""},
		{".a |\n @foo", 2, 2, "format not defined: @foo", "@uri"},
		{"@foo \"\\(.)\"", 1, 1, "format not defined: @foo", ""},
		{".a | input", 1, 6, "there is no other input", "one message"},
		{"[inputs]", 1, 2, "there is no other input", ""},
		{"import \"x\" as x; .", 1, 1, "there are no modules", ""},
		{"# m\ninclude \"x\"; .", 2, 1, "there are no modules", ""},
		{". |\n\x00 .b", 2, 1, "a byte of zero", ""},
		{"def f: 1;", 1, 10, "the program ends before", "a lone ."},
		{" # nothing", 1, 11, "the program ends before", ""},
	} {
		_, err := mapping.CompileVars(c.src, "key")
		var source *mapping.SourceError
		var edge *ferry.Error
		if !errors.As(err, &source) || !errors.As(err, &edge) || edge.Code != ferry.CodeBadConfig {
			t.Errorf("%q: %v", c.src, err)
			continue
		}
		if source.Line != c.line || source.Column != c.column || !strings.Contains(err.Error(), c.words) || !strings.Contains(edge.Hint, c.hint) {
			t.Errorf("%q: %v (%s), want line %d, column %d: %s (%s)", c.src, err, edge.Hint, c.line, c.column, c.words, c.hint)
		}
	}
	if _, err := mapping.Compile(strings.Repeat(" ", mapping.MaxSource+1)); ferry.CodeOf(err) != ferry.CodeBadConfig || !strings.Contains(err.Error(), "bytes") {
		t.Error(err)
	}
}

func TestProgramEnd(t *testing.T) {
	for src, want := range map[string]string{
		` .a }/b`:                        ` .a `,
		`.a | {b: .c, d: {e: 1}} }x}`:    `.a | {b: .c, d: {e: 1}} `,
		`"}"}x`:                          `"}"`,
		`"a\"}" + "\\"}x`:                `"a\"}" + "\\"`,
		`"a\({b: "}"} | .b)}"}/x`:        `"a\({b: "}"} | .b)}"`,
		`"\("\("}")}")}" | .["}"]} {= x`: `"\("\("}")}")}" | .["}"]`,
		".a # }\n}x":                     ".a # }\n",
		`}`:                              ``,
	} {
		if n, ok := mapping.ProgramEnd(src); !ok || src[:n] != want {
			t.Errorf("%q: %q, %v; want %q", src, src[:n], ok, want)
		}
	}
	for _, src := range []string{"", ".a", "{", `{"}`, `"a\(}`, ".a # }"} {
		if n, ok := mapping.ProgramEnd(src); ok {
			t.Errorf("%q ends after %d bytes", src, n)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`{a: "b\(.c | foo)"}`, `def f($x): $x; . as [$a, {b: $c}] ?// $d | f($e)`, "# \\\n\"", `@x "\(1)" | $__loc__`, `"\(`, `label $x | break $y`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 1000 {
			return
		}
		_, err := mapping.CompileVars(src, "key")
		var source *mapping.SourceError
		if err != nil && (!errors.As(err, &source) || source.Line < 1 || source.Column < 1) {
			t.Errorf("%q: %v", src, err)
		}
		// A program in braces ends where it ends.
		if err == nil {
			if n, ok := mapping.ProgramEnd(src + "}"); !strings.Contains(src, "#") && (!ok || n != len(src)) {
				t.Errorf("%q: ends after %d bytes, %v", src, n, ok)
			}
		}
	})
}
