package mapping_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry/mapping"
)

func run(t *testing.T, src, in string) (string, error) {
	t.Helper()
	p, err := mapping.Compile(src)
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	out, err := p.Run(t.Context(), []byte(in))
	return string(out), err
}

func TestRun(t *testing.T) {
	for name, c := range map[string]struct{ src, in, want string }{
		"decimals moved":     {`{a,b,c,d:.e}`, `{"a":1234567890123456.10,"b":12345678901234567890,"c":100.00,"e":[1e400,-0.0,1E+2]}`, `{"a":1234567890123456.10,"b":12345678901234567890,"c":100.00,"d":[1e400,-0.0,1E+2]}`},
		"decimals through":   {`[.[] | {x: .}] | map(.x) | sort`, `[2.50,1.10]`, `[1.10,2.50]`},
		"negated":            {`-.`, `100.00`, `-100.00`},
		"whole numbers":      {`.a + 1`, `{"a":12345678901234567890}`, `12345678901234567891`},
		"decsum":             {`[.lines[].amount] | decsum`, `{"lines":[{"amount":0.1},{"amount":0.2},{"amount":"1234567890123456.10"}]}`, `1234567890123456.40`},
		"decsum of nothing":  {`decsum`, `[]`, `0`},
		"decsum of mixed":    {`decsum`, `[1,-2.50,12345678901234567890]`, `12345678901234567888.50`},
		"decadd":             {`decadd(.a; .b)`, `{"a":0.1,"b":0.20}`, `0.30`},
		"decsub":             {`decsub(.a; .b)`, `{"a":100.00,"b":100.01}`, `-0.01`},
		"decmul":             {`decmul(.q; .p)`, `{"q":3,"p":19.99}`, `59.97`},
		"decmul exponent":    {`decmul(.q; .p)`, `{"q":1e2,"p":1.5E-3}`, `0.1500`},
		"decround up":        {`decround(2)`, `2.345`, `2.35`},
		"decround negative":  {`decround(2)`, `-2.345`, `-2.35`},
		"decround down":      {`decround(2)`, `2.3449999999999999999`, `2.34`},
		"decround fills":     {`decround(2)`, `7`, `7.00`},
		"decround to whole":  {`decround(0)`, `0.5`, `1`},
		"decimal of text":    {`map(decimal)`, `["100.00", 5.50]`, `[100.00,5.50]`},
		"keys sorted":        {`.`, `{"b":1,"a":2}`, `{"a":2,"b":1}`},
		"no HTML escapes":    {`.`, `"<a href=\"x\">&\u2028"`, "\"<a href=\\\"x\\\">&\u2028\""},
		"control characters": {`.`, `"\u0000\n\t\u001f\u007f"`, `"\u0000\n\t\u001f\u007f"`},
		"first output":       {`.[]`, `[1,2]`, `1`},
		"null":               {`.missing`, `{}`, `null`},
		"byte order mark":    {`.a`, "\xef\xbb\xbf{\"a\":1}", `1`},
		"no environment":     {`env | length`, `{}`, `0`},
		"floats as jq":       {`[1e1000 * 2, 0.1 + 0.2, nan, 1e-7 * 1, 1e22 * 1.5]`, `null`, `[1.7976931348623157e+308,0.30000000000000004,null,1e-07,1.5e+22]`},
	} {
		got, err := run(t, c.src, c.in)
		if err != nil || got != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, err, c.want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	// The deepest that is read, so that the program has one step to take: a slow
	// machine would stop one that nests by itself.
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	for name, c := range map[string]struct{ src, in, want string }{
		"no JSON":            {`.`, `{`, "not valid JSON"},
		"empty":              {`.`, ` `, "the body is empty"},
		"two values":         {`.`, `1 2`, "something follows"},
		"too large":          {`.`, `"` + strings.Repeat("x", mapping.MaxInput) + `"`, "at most"},
		"wrong type":         {`.a.b`, `{"a":1}`, "expected an object"},
		"error of its own":   {`error("no supplier")`, `{}`, "no supplier"},
		"endless":            {`[limit(1e12; repeat(1))] | length`, `null`, "longer than 200ms"},
		"output too large":   {`reduce range(40) as $i ("abcdefghij"; [.,.])`, `null`, "more than"},
		"nested too deep":    {`[.]`, deep, "nested deeper"},
		"decsum of text":     {`decsum`, `["1","a"]`, `the text "a" is no number`},
		"decsum of null":     {`decsum`, `[1,null]`, "item 1: null is no number"},
		"decsum of object":   {`decsum`, `{}`, "is no array"},
		"decmul of space":    {`decmul(1; " 1")`, `null`, "is no number"},
		"huge exponent":      {`decmul(.; 1)`, `1e1000000000`, "digits"},
		"absurd exponent":    {`decmul(.; 1)`, `1e99999999999999999999`, "out of range"},
		"decround of halves": {`decround(1.5)`, `1`, "whole number"},
		"long error":         {`error("x" * 100000)`, `null`, "…"},
	} {
		_, err := run(t, c.src, c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 2000 {
			t.Errorf("%s: error %.200v", name, err)
		}
	}
	if _, err := run(t, `empty`, `{}`); !errors.Is(err, mapping.ErrNoOutput) {
		t.Errorf("empty: %v", err)
	}
	if _, err := run(t, `halt`, `{}`); !errors.Is(err, mapping.ErrNoOutput) {
		t.Errorf("halt: %v", err)
	}
}

func TestRunEndsInTime(t *testing.T) {
	start := time.Now()
	_, err := run(t, `def f: f; f`, `null`)
	if d := time.Since(start); err == nil || d < mapping.MaxTime || d > 20*mapping.MaxTime {
		t.Errorf("after %s: %v", d, err)
	}
	p, err := mapping.Compile(`def f: f; f`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Run(ctx, []byte(`1`)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestRunString(t *testing.T) {
	for in, want := range map[string]string{
		`"INV-1"`: "INV-1", `12345678901234567890`: "12345678901234567890", `7.10`: "7.10", `null`: "", `true`: "true", `""`: "",
	} {
		p, err := mapping.Compile(`.`)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.RunString(t.Context(), []byte(in)); err != nil || got != want {
			t.Errorf("%s: %q, %v", in, got, err)
		}
	}
	p, _ := mapping.Compile(`.`)
	for _, in := range []string{`[]`, `{}`, `x`} {
		if got, err := p.RunString(t.Context(), []byte(in)); err == nil {
			t.Errorf("%s: %q without an error", in, got)
		}
	}
	p, _ = mapping.Compile(`empty`)
	if got, err := p.RunString(t.Context(), []byte(`1`)); err != nil || got != "" {
		t.Errorf("no output: %q, %v", got, err)
	}
}

func TestConcurrentRuns(t *testing.T) {
	p, err := mapping.Compile(`{n: .n, sum: ([.n, 0.10] | decsum)}`)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if out, err := p.Run(t.Context(), []byte(`{"n":1.00}`)); err != nil || string(out) != `{"n":1.00,"sum":1.10}` {
					t.Errorf("%s, %v", out, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzRun(f *testing.F) {
	for _, s := range []string{`{"a":[1.10,"2"]}`, `[1e5,-0]`, `"\ud800"`, `1e400`, "\xff"} {
		f.Add([]byte(s))
	}
	identity, err := mapping.Compile(`.`)
	if err != nil {
		f.Fatal(err)
	}
	sum, err := mapping.Compile(`[.. | numbers] | try decsum catch 0`)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		once, err := identity.Run(t.Context(), in)
		if err != nil {
			return
		}
		// What comes out is JSON, and comes out the same again.
		twice, err := identity.Run(t.Context(), once)
		if err != nil || string(twice) != string(once) {
			t.Errorf("%s, then %s, %v", once, twice, err)
		}
		_, _ = sum.Run(t.Context(), in)
	})
}

func BenchmarkRun(b *testing.B) {
	p, err := mapping.Compile(`{number: .invoice.number, lines: .invoice.lines, total: ([.invoice.lines[].amount] | decsum)}`)
	if err != nil {
		b.Fatal(err)
	}
	in := []byte(`{"invoice":{"number":"A-1","lines":[{"amount":1.10,"text":"a"},{"amount":2.20,"text":"b"}]}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Run(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
}
