package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"ferry"
)

var arrowLine = regexp.MustCompile(`^(\[\*\]|\w+) --> (\w+)\b`)

// picture is the state diagram of states.md: its arrows, and the groups of
// states that an arrow may stand for.
type picture struct {
	arrows [][2]string
	groups map[string][]string
}

func parsePicture(t *testing.T, text string) picture {
	t.Helper()
	_, rest, found := strings.Cut(text, "```mermaid\nstateDiagram-v2\n")
	if !found {
		t.Fatal("states.md has no state diagram")
	}
	diagram, _, _ := strings.Cut(rest, "```")
	p := picture{groups: map[string][]string{}}
	group := ""
	for line := range strings.Lines(diagram) {
		line = strings.TrimSpace(line)
		arrow := arrowLine.FindStringSubmatch(line)
		switch {
		case line == "}":
			group = ""
		case strings.HasPrefix(line, "state "):
			group = strings.Fields(line)[1]
		case arrow == nil:
			t.Errorf("a line of the diagram is no arrow: %q", line)
		default:
			p.arrows = append(p.arrows, [2]string{arrow[1], arrow[2]})
			if group != "" {
				p.groups[group] = append(p.groups[group], arrow[1], arrow[2])
			}
		}
	}
	return p
}

// statesOf is the states that a name of the diagram stands for.
func (p picture) statesOf(t *testing.T, name string) []ferry.State {
	t.Helper()
	names := []string{name}
	if members, ok := p.groups[name]; ok {
		names = members
	}
	var list []ferry.State
	for _, n := range names {
		s := ferry.State(n)
		if !s.Valid() {
			t.Errorf("the diagram has a state %q, which the code does not know", n)
		}
		list = append(list, s)
	}
	return list
}

func TestStateDiagram(t *testing.T) {
	text, err := os.ReadFile("states.md")
	if err != nil {
		t.Fatal(err)
	}
	p := parsePicture(t, string(text))
	type pair struct{ from, to ferry.State }
	drawn := map[pair]bool{}
	starts := ""
	for _, a := range p.arrows {
		if a[0] == "[*]" {
			starts += a[1]
			continue
		}
		for _, from := range p.statesOf(t, a[0]) {
			for _, to := range p.statesOf(t, a[1]) {
				drawn[pair{from, to}] = true
			}
		}
	}
	if starts != string(ferry.StateAccepted) {
		t.Errorf("the diagram starts at %q", starts)
	}
	for _, from := range ferry.States() {
		for _, to := range ferry.States() {
			if drawn[pair{from, to}] != from.CanBecome(to) {
				t.Errorf("%s -> %s: drawn %v, allowed %v", from, to, drawn[pair{from, to}], from.CanBecome(to))
			}
		}
	}
	for _, s := range ferry.States() {
		if s.Pending() != contains(p.groups["pending"], string(s)) {
			t.Errorf("%s: in the group pending %v, pending %v", s, !s.Pending(), s.Pending())
		}
		if !strings.Contains(string(text), "| `"+string(s)+"` |") {
			t.Errorf("the table has no row for %s", s)
		}
	}
	for _, r := range ferry.Reasons() {
		if !strings.Contains(string(text), "| `"+string(r)+"` |") {
			t.Errorf("the table has no row for the reason %s", r)
		}
	}
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

var (
	testName   = regexp.MustCompile("`(Test[A-Z]\\w*)`")
	testFunc   = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(`)
	sourceFile = regexp.MustCompile("`((?:[a-z]+/)+[a-z_]+\\.go)`")
)

// TestDocumentsNameWhatIsThere holds the names of tests and of source files in
// the documents against the tree.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	known := map[string]bool{}
	walk(t, "..", "_test.go", func(_, text string) {
		for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
			known[m[1]] = true
		}
	})
	names := 0
	walk(t, ".", ".md", func(path, text string) {
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			names++
			if !known[m[1]] {
				t.Errorf("%s names a test that is not there: %s", path, m[1])
			}
		}
		for _, m := range sourceFile.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "your/") {
				continue // of an example
			}
			if _, err := os.Stat(filepath.Join("..", filepath.FromSlash(m[1]))); err != nil {
				t.Errorf("%s names a file that is not there: %s", path, m[1])
			}
		}
	})
	if names < 30 {
		t.Errorf("the documents name %d tests only: is the pattern right?", names)
	}
}

func walk(t *testing.T, root, suffix string, visit func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			visit(path, string(text))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
