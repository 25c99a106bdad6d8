package ferry_test

import (
	"strings"
	"testing"

	"ferry"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"dialect", "dialect", 0},
		{"dialct", "dialect", 1},
		{"dailect", "dialect", 2},
		{"", "url", 3},
		{"kitten", "sitting", 3},
		{strings.Repeat("a", 200), "a", 128},
	} {
		if got := ferry.Distance(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := ferry.Distance(c.b, c.a); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
