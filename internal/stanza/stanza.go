// Package stanza writes parts of worker.yaml for people to complete: a destination
// and its routes, made from a description of an API or from a collection of
// requests. What it writes loads; what only a person knows stands in comments.
package stanza

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"

	"ferry"
)

// File is a worker.yaml with one destination.
type File struct {
	Source      string // what it was made from, for people
	Worker      string // the worker's name
	Destination Destination
	Routes      []Route
	Left        []string // what was left out, and why
}

// Destination is one destination.
type Destination struct {
	Name    string
	Notes   []string
	Dialect string
	Spec    string
	URL     string
	Auth    string // as it stands after auth:, its secrets as references; empty: none
	Headers []Pair
	Health  string // path; empty: unknown
}

// Route is one route.
type Route struct {
	Name       string
	Notes      []string
	Operation  string
	URL        string
	Method     string
	Parameters []Parameter
	Query      []Pair
	Headers    []Pair
	// ContentType of what is sent; empty: the dialect's.
	ContentType string
	Map         string // jq, of several lines; empty: none
	Reference   string // jq; empty: none is known
	Guesses     []string
}

// Pair is a name and a value.
type Pair struct{ Name, Value string }

// Parameter is a parameter and the jq that fills it in. An optional one is written
// as a comment.
type Parameter struct {
	Name, JQ, Note string
	Optional       bool
}

// Bounds of what is written.
const (
	maxComment = 400 // bytes
	maxRoutes  = ferry.MaxRoutes
)

// YAML writes the file.
func (f *File) YAML() string {
	w := &writer{}
	w.comment(0, "Made by worker import from "+f.Source+". Look through it before it is used.")
	w.comment(0, "Then: worker check, and worker preview ROUTE -f message.json, which send nothing.")
	if names := f.names(); names != "" {
		w.comment(0, "broker.yaml needs the routes as well: routes: ["+names+"]")
	}
	for _, note := range f.Left {
		w.comment(0, "Left out: "+note)
	}
	w.line(0, "name: %s", scalar(f.Worker))
	w.line(0, "queue:")
	w.line(1, "driver: nats")
	w.line(1, `nats: {url: "nats://127.0.0.1:4222", nkey: %s} # broker workers add %s --routes … --out %s.nk`, scalar("./"+f.Worker+".nk"), f.Worker, f.Worker)
	w.line(0, "destinations:")
	w.destination(&f.Destination)
	w.line(0, "routes:")
	for i := range f.Routes[:min(len(f.Routes), maxRoutes)] {
		w.route(&f.Routes[i], f.Destination.Name)
	}
	// A worker fills in ${env:NAME}; a text from elsewhere has no say in that.
	return strings.ReplaceAll(w.out.String(), "${env:", "$(env:")
}

// names lists the routes as broker.yaml has them; "" where they are too many for a line.
func (f *File) names() string {
	var list []string
	for _, r := range f.Routes {
		list = append(list, "{name: "+r.Name+"}")
	}
	if text := strings.Join(list, ", "); len(text) < maxComment-100 {
		return text
	}
	return ""
}

// maxName is how many bytes a parameter's or a header's name may have: YAML takes
// no longer ones for keys.
const maxName = 200

// Unfit says why the route cannot be written as it is; "" when it can.
func (r *Route) Unfit() string {
	texts := []string{r.Operation, r.URL, r.ContentType, r.Map, r.Reference}
	for _, p := range r.Parameters {
		texts = append(texts, p.Name, p.JQ)
	}
	for _, p := range slices.Concat(r.Query, r.Headers) {
		texts = append(texts, p.Name, p.Value)
	}
	long := func(p Pair) bool { return len(p.Name) > maxName }
	switch {
	case slices.ContainsFunc(texts, func(s string) bool { return strings.Contains(s, "${env:") }):
		return "a name in it holds ${env:…}, which a worker would fill in"
	case slices.ContainsFunc(r.Parameters, func(p Parameter) bool { return len(p.Name) > maxName }), slices.ContainsFunc(slices.Concat(r.Query, r.Headers), long):
		return fmt.Sprintf("a name in it has more than %d bytes", maxName)
	}
	return ""
}

type writer struct{ out strings.Builder }

func (w *writer) line(depth int, format string, args ...any) {
	w.out.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(&w.out, format, args...)
	w.out.WriteByte('\n')
}

func (w *writer) comment(depth int, text string) {
	if text = Line(text); text != "" {
		w.line(depth, "# %s", text)
	}
}

func (w *writer) destination(d *Destination) {
	w.line(1, "%s:", d.Name)
	for _, note := range d.Notes {
		w.comment(2, note)
	}
	w.line(2, "adapter: erp")
	w.line(2, "dialect: %s", d.Dialect)
	if d.Spec != "" {
		w.line(2, "spec: %s", scalar(d.Spec))
	}
	w.line(2, "url: %s", scalar(d.URL))
	if d.Auth != "" {
		w.line(2, "auth: %s", d.Auth)
	}
	w.pairs(2, "headers", d.Headers)
	if d.Health != "" {
		w.line(2, "health: {url: %s}", scalar(d.Health))
	} else {
		w.comment(2, "health: {url: /ping} # a cheap GET, asked while the destination is down")
	}
}

func (w *writer) route(r *Route, destination string) {
	w.line(1, "- name: %s", r.Name)
	for _, note := range r.Notes {
		w.comment(2, note)
	}
	w.line(2, "destination: %s", destination)
	for _, s := range []Pair{{"operation", r.Operation}, {"method", r.Method}, {"url", r.URL}, {"contentType", r.ContentType}} {
		if s.Value != "" {
			w.line(2, "%s: %s", s.Name, scalar(s.Value))
		}
	}
	w.parameters(r.Parameters)
	w.pairs(2, "query", r.Query)
	w.pairs(2, "headers", r.Headers)
	if r.Map != "" {
		w.line(2, "map: |")
		for line := range strings.Lines(r.Map) {
			w.line(3, "%s", strings.TrimRight(line, "\n"))
		}
	}
	if r.Reference != "" {
		w.line(2, "reference: %s", scalar(r.Reference))
	}
	for _, guess := range r.Guesses {
		w.comment(2, guess)
	}
}

func (w *writer) parameters(list []Parameter) {
	if len(list) == 0 {
		return
	}
	depth, mark := 2, "#   "
	if slices.ContainsFunc(list, func(p Parameter) bool { return !p.Optional }) {
		w.line(2, "parameters:")
		depth, mark = 3, "# "
	} else {
		w.comment(2, "parameters:")
	}
	for _, p := range list {
		if p.Optional {
			w.line(depth, "%s%s: %s # %s", mark, key(p.Name), scalar(p.JQ), Line(p.Note))
			continue
		}
		w.line(depth, "%s: %s # %s", key(p.Name), scalar(p.JQ), Line(p.Note))
	}
}

func (w *writer) pairs(depth int, name string, list []Pair) {
	if len(list) == 0 {
		return
	}
	w.line(depth, "%s:", name)
	for _, p := range list {
		w.line(depth+1, "%s: %s", key(p.Name), scalar(p.Value))
	}
}

// plainText is what needs no quotes anywhere in YAML, unless it reads as another type.
var plainText = regexp.MustCompile(`^[A-Za-z0-9_./][A-Za-z0-9_./-]*(://[A-Za-z0-9_./-]+)?( [A-Za-z0-9_./-]+)*$`)

// scalar writes text as one YAML value on one line.
func scalar(s string) string {
	if text, err := yaml.Marshal(s); err == nil && plainText.MatchString(s) && string(text) == s+"\n" {
		return s
	}
	return fmt.Sprintf("%+q", strings.ToValidUTF8(s, "?"))
}

func key(s string) string { return scalar(s) }

// Line makes text fit for a comment: one line, without what a file cannot hold.
func Line(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " "))
	if len(s) > maxComment {
		s = strings.ToValidUTF8(s[:maxComment-len("…")], "") + "…"
	}
	return s
}
