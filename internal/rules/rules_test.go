package rules

import "testing"

func TestEveryRuleHoldsAndHasAName(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range All() {
		if !On(r) {
			t.Errorf("%s does not hold", r)
		}
		if name := r.String(); name == "" || name == "unknown" || seen[name] {
			t.Errorf("rule %d has no name of its own: %q", r, name)
		}
		seen[r.String()] = true
	}
	if len(seen) != int(last)-1 {
		t.Errorf("%d names for %d rules", len(seen), last-1)
	}
}
