package docs_test

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ferry/config"
)

// TestSectionsHaveText: a heading with nothing below it, or close to the text of
// another section, is what is left where two changes were put together.
func TestSectionsHaveText(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"*.md", "*/*.md", "../*.md"} {
		more, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, more...)
	}
	for _, page := range pages {
		text := read(t, page)
		for _, problem := range append(torn(text), twice(text)...) {
			t.Errorf("%s: %s", page, problem)
		}
	}
	if got := torn("# A\n\n## B\n## C\n\ntext\n\n## D\n\n### E\n\ntext\n\n## F\n\n```\n# no heading\n```\n\n## G\n"); len(got) != 3 {
		t.Errorf("found: %q", got)
	}
	if got := twice("| a | b |\n|---|---|\n| c | d |\n| c | d |\n| e |\n\n| c | d |\n"); len(got) != 1 {
		t.Errorf("found: %q", got)
	}
}

// TestCommandsStandOnceInTheTable: a command has one row.
func TestCommandsStandOnceInTheTable(t *testing.T) {
	seen := map[string]bool{}
	for line := range strings.Lines(read(t, "cli.md")) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if !strings.HasPrefix(line, "| `") {
			clear(seen) // another table
			continue
		}
		for command := range strings.SplitSeq(cell, ", ") {
			if seen[command] {
				t.Errorf("%s has two rows", command)
			}
			seen[command] = true
		}
	}
}

// twice lists the rows that stand twice in a table.
func twice(text string) (problems []string) {
	rows := map[string]bool{}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			clear(rows)
			continue
		}
		if rows[line] {
			problems = append(problems, "a row stands twice: "+line)
		}
		rows[line] = true
	}
	return problems
}

// torn lists the headings of a page that have no text, nor a section below them, and
// those with no blank line before them.
func torn(text string) (problems []string) {
	heading, level, has, fenced, before := "", 0, true, false, ""
	end := func(next int) {
		if !has && next <= level {
			problems = append(problems, "the section "+heading+" is empty")
		}
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \n")
		fenced = fenced != strings.HasPrefix(line, "```")
		n := len(line) - len(strings.TrimLeft(line, "#"))
		if fenced || n == 0 || !strings.HasPrefix(line[n:], " ") {
			has, before = has || line != "", line
			continue
		}
		if end(n); before != "" {
			problems = append(problems, "no blank line before "+line)
		}
		heading, level, has, before = line, n, false, line
	}
	end(0)
	return problems
}

// TestKeysThatWaitForAStartAreNamed holds configuration.md against the tags.
func TestKeysThatWaitForAStartAreNamed(t *testing.T) {
	_, text, _ := strings.Cut(read(t, "configuration.md"), "which wait for the next start:")
	text, _, found := strings.Cut(text, "\n\n")
	if !found {
		t.Fatal("configuration.md does not say which keys wait for the next start")
	}
	named := 0
	for _, key := range waiting(reflect.TypeFor[config.Broker](), "") {
		if !strings.Contains(text, "`"+key+"`") {
			t.Errorf("configuration.md does not say that %s waits for the next start", key)
		}
		named++
	}
	if got := strings.Count(text, "`") / 2; got != named || named < 9 {
		t.Errorf("configuration.md says that %d keys wait for the next start, it is %d", got, named)
	}
}

// waiting are the keys that only a start changes.
func waiting(t reflect.Type, path string) (list []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "" || name == "-":
		case f.Tag.Get("reload") == "start":
			list = append(list, path+name)
		case f.Type.Kind() == reflect.Struct:
			list = append(list, waiting(f.Type, path+name+".")...)
		}
	}
	return list
}
