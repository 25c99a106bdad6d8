package docs_test

import (
	"slices"
	"strings"
	"testing"

	"ferry/mapping"
)

// TestEveryExampleOfMappingIsTrue runs the tables of mapping.md.
func TestEveryExampleOfMappingIsTrue(t *testing.T) {
	examples, missing := 0, mapping.Functions()
	for line := range strings.SplitSeq(read(t, "mapping.md"), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
		if len(cells) != 6 {
			t.Errorf("%d cells: %s", len(cells), line)
			continue
		}
		for i := range cells {
			cells[i] = strings.ReplaceAll(strings.Trim(cells[i], " `"), "\x00", "|")
		}
		src, in, want := cells[1], cells[2], cells[3]
		examples++
		p, err := mapping.Compile(src)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got, err := p.Run(t.Context(), []byte(in)); err != nil || string(got) != want {
			t.Errorf("%s of %s: %s, %v; the page says %s", src, in, got, err, want)
		}
		missing = slices.DeleteFunc(missing, func(name string) bool { return callsFunction(src, name) })
	}
	if examples < 50 {
		t.Errorf("%d examples found", examples)
	}
	if len(missing) > 0 {
		t.Errorf("mapping.md has no example of %v", missing)
	}
}

// callsFunction says whether a program names a function, as a whole word.
func callsFunction(src, name string) bool {
	return slices.Contains(strings.FieldsFunc(src, func(r rune) bool { return r < 'a' || r > 'z' }), strings.Trim(name, "0123456789")) &&
		strings.Contains(src, name)
}
