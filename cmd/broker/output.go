package main

import (
	"encoding/json"
	"strings"

	"ferry"
)

// json says whether the output is JSON for scripts.
func (a *app) json() bool { return a.globals.Output == "json" }

// writeJSON prints v indented, exactly as the API means it.
func (a *app) writeJSON(v any) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// list is the JSON form of every list.
type list[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"nextCursor,omitempty"`
}

// writeList prints items as JSON, or as a table, or as the sentence none when
// there are no items.
func writeList[T any](a *app, items []T, none string, columns []column, row func(T) []any) error {
	if a.json() {
		if items == nil {
			items = []T{}
		}
		return a.writeJSON(list[T]{Items: items})
	}
	if len(items) == 0 {
		a.printf("%s\n", none)
		return nil
	}
	t := newTable(columns...)
	for _, item := range items {
		t.add(row(item)...)
	}
	return t.write(a.stdout, a.screen, a.paint())
}

// id is short on a terminal, where a person reads it, and whole in a pipe.
func (a *app) id(id ferry.ID) string {
	if a.screen.terminal {
		return id.Short()
	}
	return id.String()
}

func orAll(routes []string) string {
	if len(routes) == 0 {
		return "all"
	}
	return strings.Join(routes, ",")
}

// pair is one line of a description: a name and what it is.
type pair struct {
	name string
	text string
}

// writePairs prints names and texts in two columns; empty texts are left out,
// further lines of a text are indented under its first.
func (a *app) writePairs(pairs []pair) {
	widest := 0
	for _, p := range pairs {
		if p.text != "" {
			widest = max(widest, width(p.name))
		}
	}
	indent := "\n" + strings.Repeat(" ", widest+columnGap)
	for _, p := range pairs {
		if p.text == "" {
			continue
		}
		padding := strings.Repeat(" ", widest-width(p.name)+columnGap)
		a.printf("%s%s%s\n", a.paint().dim(p.name), padding, strings.ReplaceAll(p.text, "\n", indent))
	}
}
