package mapping_test

import (
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/itchyny/gojq"

	"ferry/mapping"
)

// TestGuardsChangeNothing: what a guarded program gives is what jq gives.
func TestGuardsChangeNothing(t *testing.T) {
	inputs := []string{
		`null`, `{"a":1,"b":[1,2,3],"c":{"d":"x","e":null},"s":"abc","n":2.5}`, `[[1,2],[3],[]]`, `["a","b",null,1,true]`, `[1,2.5,3]`, `"abc"`, `3`, `[{"a":1},{"a":2}]`,
	}
	for _, src := range []string{
		`.a + .n`, `.s + "d"`, `.b + [4]`, `.c + {f: 1}`, `.a + null`, `1 + 2 + 3`, `"a" + ("b", "c")`, `("a", "b") + ("c", "d")`, `[(1, 2) * (3, 4)]`, `[(1, 2) + (10, 20)]`,
		`.s * 3`, `3 * .s`, `.s * 0`, `.s * -1`, `.s * 0.5`, `.s * 1.9`, `.c * {d: {g: 1}}`, `{a: {b: 1}} * {a: {c: 2}}`, `.b * 2`, `12345678901 * 98765432109876`, `2.5 * 2.5`, `.a * .n`, `-1 * .a`,
		`.a *= 5`, `.a += 5`, `.b[] += 1`, `.b[1:] += ["x"]`, `.s *= 2`, `(.a, .n) *= 2`, `.b[0] *= (2, 3)`, `.a += (1, 2)`, `.x += 1`, `.c.d += "y"`, `. += 1`,
		`.b[.a]`, `.b[.a] = 9`, `.b[-1]`, `.b[-1] = 9`, `.b[5] = 1`, `.[0]`, `.["a"]`, `.[("a", "b")]`, `.b[1:2]`, `.b[.a:]`, `.c["d"]`, `.c[("d", "e")] |= "z"`, `[.b[0, 2]]`, `.b[.b[0]]`, `path(.b[.a])`, `del(.b[.a])`, `.b[[2]]`, `.b[1.7]`, `.[null]`, `.[{}]`, `getpath(["c", "d"])`, `setpath(["c", "q"]; 7)`, `setpath(["b", 4]; 7)`, `setpath([]; 1)`, `[paths]`, `getpath(["b", 0]) |= 5`, `path(getpath(["c", "d"]))`, `delpaths([["a"]])`, `pick(.c.d)`, `pick(.b[1])`,
		`tojson`, `tostring`, `@json`, `@text`, `@csv`, `@json "x\(.)y"`, `"x\(.)y\(.a?)"`, `@base64 "\(.)"`, `@uri "?q=\(.s?)"`, `map(tojson)`, `tojson | length`, `tojson[1:3]`, `.b | tojson | fromjson`, `{"k\(.a?)": 1}`, `{(.s? // "z"): 1}`, `"\("a" + "b")"`,
		`add`, `add(.[]?)`, `map(add?)`, `add[0]?`, `[.[]?] | add`, `.b | add / length`, `transpose`, `transpose[0]?`, `join(",")`, `join("-", "+")`, `join(.[0])`, `.b | join(", ")`, `[.b | join("x")?] | length`,
		`def add: 7; add`, `def join(f): [f]; join(1, 2)`, `def setpath(a; b): [a, b]; setpath(1; 2)`, `def tojson: "mine"; tojson`, `def f(g): g + 1; f(2)`, `def f: if . > 5 then . else . + 1 | f end; 0 | f`,
		`reduce .b[]? as $x (0; . + $x)`, `[foreach .b[]? as $x (0; . + $x; . * 2)]`, `[limit(3; repeat(1))]`, `[.b[]? | . * 2 + 1]`, `try error("x") catch . + "y"`, `[.[]? | try (. + 1) catch "no"]`, `label $f | 1 + 1, break $f, 2`, `. as [$a, {b: $c}] ?// $a | $a`, `. as {a: $x, "b": $y} | [$x, $y]`, `. as {("a" + ""): $x} | $x`, `if .a? + 1 > 1 then "y" else "n" end`, `.a? // 1 + 1`, `(.b?, .c?) |= .`, `to_entries`, `with_entries(.value |= tojson)`, `walk(if type == "number" then . + 1 else . end)`, `[.. | numbers] | add`, `[splits("b")]?`, `input_line_number?`, `ltrimstr("a" + "")`, `test("a" + "b")`, `sub("a"; "x" + "y")`, `min_by(.a * -1)?`, `group_by(.a? * 1)?`, `tostream`, `[tostream] | fromstream(.[])`, `limit(1 + 1; 1, 2, 3)`, `@sh "\(.s? + "x")"`, `env + {}`, `$__loc__`, `ascii_downcase?`, `.a as $x | .b | map(. * $x + $x)`, `{a, b: (.b | add)}?`, `{"a": 1} + {b: 2} * {c: 3}`, `1 - 1 * 2 + 3 * 4 / 2 % 5`, `(1 + 2) * 3`, `-(1 + 2)`, `.b[1 + 1]`, `.b[1 * 1:2 * 1]`,
	} {
		plain, err := gojq.Parse(src)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		code, plainErr := gojq.Compile(plain)
		guarded, err := mapping.Compile(src)
		if (err == nil) != (plainErr == nil) {
			t.Errorf("%s: %v, jq says %v", src, err, plainErr)
		}
		if err != nil {
			continue
		}
		for _, in := range inputs {
			value, err := mapping.Decode([]byte(in))
			if err != nil {
				t.Fatal(err)
			}
			want, wantErr := first(code.Run(value))
			value, _ = mapping.Decode([]byte(in))
			got, err := guarded.Eval(t.Context(), value)
			if (err == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
				t.Errorf("%s of %s: %v, %v; jq gives %v, %v", src, in, got, err, want, wantErr)
			}
			if err != nil && wantErr != nil && err != mapping.ErrNoOutput && err.Error() != wantErr.Error() {
				t.Errorf("%s of %s: says %q, jq says %q", src, in, err, wantErr)
			}
		}
	}
}

func first(iter gojq.Iter) (any, error) {
	v, ok := iter.Next()
	if !ok {
		return nil, mapping.ErrNoOutput
	}
	if err, is := v.(error); is {
		return nil, err
	}
	return v, nil
}

// TestStepsAreBounded: a step that would fill the memory is refused before it is
// made, at once.
func TestStepsAreBounded(t *testing.T) {
	for src, want := range map[string]string{
		`"x" * 1e9`:                   "text of more than",
		`2147483640 * "x"`:            "text of more than",
		`.text * .count`:              "text of more than",
		`. as $x | .text *= $x.count`: "text of more than",
		`.a[500000000] = 1`:           "the position the number 500000000",
		`.a[.count] = 1`:              "in an array is beyond",
		`.a[.count] |= 1`:             "in an array is beyond",
		`setpath(["a", .count]; 1)`:   "in an array is beyond",
		`getpath(["a", .count]) = 1`:  "in an array is beyond",
		`.a[1e9] = 1`:                 "in an array is beyond",
		`[[range(3000)], (range(9000) | [])] | transpose`:     "transpose makes a table",
		`[range(2000) as $i | $huge] | add`:                   "text of more than",
		`add(range(2000) as $i | $huge)`:                      "text of more than",
		`[range(2000) as $i | $huge] | join(", ")`:            "text of more than",
		`[range(70000)] | map("") | join("x" * 1000)`:         "text of more than",
		`reduce range(40) as $i ("x"; . + .)`:                 "text of more than",
		`reduce range(40) as $i ("x"; . += .)`:                "text of more than",
		`reduce range(40) as $i ([1]; . + .)`:                 "array of more than",
		`reduce range(40) as $i (1; [.,.]) | tojson`:          "text of more than",
		`reduce range(40) as $i (1; {a: ., b: .}) | tostring`: "text of more than",
		`reduce range(40) as $i (1; [.,.]) | "\(.)"`:          "text of more than",
		`reduce range(40) as $i (1; [.,.]) | @json "\(.)"`:    "text of more than",
		`reduce range(40) as $i (1; [.,.]) | @json`:           "text of more than",
		`reduce range(40) as $i (1; [.,.]) | {"\(.)": 1}`:     "text of more than",
		`reduce range(20000) as $i (1; [.]) | tojson`:         "nested deeper",
	} {
		p, err := mapping.CompileVars(src, "huge")
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		huge := strings.Repeat("x", 1<<20)
		bound := p.With(func(string) any { return huge })
		before := allocated()
		_, err = bound.Run(t.Context(), []byte(`{"text": "xxxxxxxxxxxxxxxx", "count": 100000000, "a": []}`))
		// A busy machine may stop a loop before the step that is refused.
		late := strings.Contains(src, "range") && errors.Is(err, mapping.ErrTooSlow)
		if err == nil || !strings.Contains(err.Error(), want) && !late {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
		if made := allocated() - before; made > 600<<20 {
			t.Errorf("%s: %d MiB were made", src, made>>20)
		}
	}
}

// TestLargePayloadEndsInTime: the largest payload, and a program without an end.
func TestLargePayloadEndsInTime(t *testing.T) {
	in := []byte(`"` + strings.Repeat("x", mapping.MaxInput-2) + `"`)
	for _, src := range []string{`[range(1e12) as $i | .]`, `[range(1e12) as $i | "\(.)\($i)"] | length`, `[recurse(. + "x")]`, `reduce range(1e12) as $i (.; . + "x")`} {
		p, err := mapping.Compile(src)
		if err != nil {
			t.Fatal(err)
		}
		value, err := mapping.Decode(in)
		if err != nil {
			t.Fatal(err)
		}
		before, start := allocated(), time.Now()
		_, err = p.Eval(t.Context(), value)
		if !errors.Is(err, mapping.ErrTooSlow) && (err == nil || !strings.Contains(err.Error(), "more than")) {
			t.Errorf("%s: %v", src, err)
		}
		if took := time.Since(start); took > 20*mapping.MaxTime {
			t.Errorf("%s: %s", src, took)
		}
		// What was made was not all there at a time.
		if made := allocated() - before; made > 8<<30 {
			t.Errorf("%s: %d MiB were made", src, made>>20)
		}
	}
}

// allocated is how many bytes were ever asked for.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
