package main

import (
	"io"
	"strings"
)

// column is one column of a table.
type column struct {
	title string
	right bool // numbers and ages
	long  bool // may be cut to fit the terminal
}

// cell is a text and how to colour it; colours take no room.
type cell struct {
	text  string
	paint func(string) string
}

// table aligns rows for people. Columns are two spaces apart; no line ends in
// spaces.
type table struct {
	columns []column
	rows    [][]cell
}

func newTable(columns ...column) *table { return &table{columns: columns} }

func left(title string) column  { return column{title: title} }
func right(title string) column { return column{title: title, right: true} }
func long(title string) column  { return column{title: title, long: true} }

// add appends a row of as many cells as there are columns: strings or cells.
func (t *table) add(cells ...any) {
	row := make([]cell, len(t.columns))
	for i := range row {
		if i >= len(cells) {
			break
		}
		switch c := cells[i].(type) {
		case cell:
			row[i] = c
		case string:
			row[i] = cell{text: c}
		}
		row[i].text = oneLine(row[i].text)
	}
	t.rows = append(t.rows, row)
}

const (
	columnGap   = 2
	leastColumn = 12 // a long column is not cut below this
)

// write prints the table, cut to the screen's width when it has one.
func (t *table) write(w io.Writer, on screen, p paint) error {
	widths := t.widths(on.width)
	var b strings.Builder
	header := make([]cell, len(t.columns))
	for i, c := range t.columns {
		header[i] = cell{text: c.title, paint: p.bold}
	}
	for _, row := range append([][]cell{header}, t.rows...) {
		t.line(&b, row, widths)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (t *table) line(all *strings.Builder, row []cell, widths []int) {
	var b strings.Builder
	for i, c := range row {
		text := cut(c.text, widths[i])
		padding := strings.Repeat(" ", widths[i]-width(text))
		if c.paint != nil {
			text = c.paint(text)
		}
		if t.columns[i].right {
			text, padding = padding+text, ""
		}
		b.WriteString(text + padding)
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", columnGap))
		}
	}
	all.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}

// widths gives each column the room of its longest text; when the sum exceeds
// most (0: no bound), the widest of the long columns give way, widest first.
func (t *table) widths(most int) []int {
	widths := make([]int, len(t.columns))
	total := columnGap * (len(t.columns) - 1)
	for i, c := range t.columns {
		widths[i] = width(c.title)
		for _, row := range t.rows {
			widths[i] = max(widths[i], width(row[i].text))
		}
		total += widths[i]
	}
	for most > 0 && total > most {
		widest := -1
		for i, c := range t.columns {
			if c.long && widths[i] > leastColumn && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	return widths
}
