package mapping_test

import (
	"encoding/json"
	"slices"
	"testing"

	"ferry"
	"ferry/mapping"
)

func TestVariables(t *testing.T) {
	values := map[string]any{"externalKey": "A-1", "revision": 2, "amount": json.Number("12.50"), "nothing": nil}
	names := []string{"externalKey", "revision", "amount", "nothing"}
	for src, want := range map[string]string{
		`{ref: $externalKey, r: ($revision + 1), a: $amount}`: `{"a":12.50,"r":3,"ref":"A-1"}`,
		`{$externalKey}`:                           `{"externalKey":"A-1"}`,
		`"\($externalKey)/\(.n)"`:                  `"A-1/7"`,
		`.n as $externalKey | $externalKey`:        `7`,
		`$nothing`:                                 `null`,
		`def f($revision): $revision; f(.n)`:       `7`,
		`"$externalKey" # $amount`:                 `"$externalKey"`,
		`[.n, $externalKey] | map(. as $x | [$x])`: `[[7],["A-1"]]`,
	} {
		p, err := mapping.CompileVars(src, names...)
		if err != nil {
			t.Fatalf("%s: %v", src, err)
		}
		out, err := p.With(func(name string) any { return values[name] }).Run(t.Context(), []byte(`{"n":7}`))
		if err != nil || string(out) != want {
			t.Errorf("%s: %s, %v; want %s", src, out, err, want)
		}
	}
}

func TestVariablesAreAskedForWhenUsed(t *testing.T) {
	p, err := mapping.CompileVars(`$b + .`, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	one := p.With(func(name string) any { asked = append(asked, name); return 1 })
	two := p.With(func(string) any { return 2 })
	if !slices.Equal(asked, []string{"b"}) {
		t.Errorf("asked for %v", asked)
	}
	for want, p := range map[string]*mapping.Program{"11": one, "12": two, "10": p} {
		if out, err := p.Run(t.Context(), []byte("10")); err != nil || string(out) != want {
			t.Errorf("%s, %v; want %s", out, err, want)
		}
	}
	plain, err := mapping.CompileVars(`.`, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	if plain.With(func(string) any { t.Error("asked"); return nil }) != plain {
		t.Error("a program without variables is copied")
	}
	if _, err := mapping.CompileVars(`$a + $c`, "a", "b"); ferry.CodeOf(err) != ferry.CodeBadConfig {
		t.Errorf("unknown variable: %v", err)
	}
}
