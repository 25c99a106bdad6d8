package apispec

import (
	"fmt"
	"slices"
	"strings"

	"ferry"
)

// Document is a description of an API.
type Document struct {
	Title      string
	Version    string   // of the description's format: 2.0, 3.0.3, 3.1.0
	Servers    []string // base addresses, variables filled in with their defaults; may be relative or empty
	Operations []*Operation
}

// Operation is one call.
type Operation struct {
	ID          string // METHOD /path where the description gives none
	Method      string // upper case
	Path        string // with {parameters}, relative to the server
	Summary     string
	Deprecated  bool
	Servers     []string // of its own, in the place of the document's
	Parameters  []Parameter
	Body        *Body         // nil: it takes none
	Security    []Requirement // one of them is enough; empty: no logging on
	Responses   []Response
	description string // of the description's version, for schemas
}

// Where a parameter goes.
const (
	InPath   = "path"
	InQuery  = "query"
	InHeader = "header"
	InCookie = "cookie"
)

// Parameter is a value of the address or of a header.
type Parameter struct {
	In       string
	Name     string
	Required bool
	Schema   *Schema // nil: anything
	// Explode: a list is written as name=a&name=b, else as a,b.
	Explode bool
	// Unsupported says why the parameter cannot be filled in; empty: it can.
	Unsupported string
}

// Body is what an operation takes.
type Body struct {
	Required bool
	Contents []Content // in the order of their types
}

// Content is a body in one content type.
type Content struct {
	Type   string  // as it is described, parameters such as charset included
	Schema *Schema // nil: anything
}

// IsJSON says whether the content is JSON: application/json or …+json.
func (c Content) IsJSON() bool { return isJSON(c.Type) }

func isJSON(contentType string) bool {
	media := MediaType(contentType)
	return media == "application/json" || media == "text/json" || strings.HasSuffix(media, "+json")
}

// MediaType is a content type without its parameters, in lower case.
func MediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// JSON is the body's content in JSON, application/json before …+json; false when
// it cannot be sent as JSON.
func (b *Body) JSON() (Content, bool) {
	if b == nil {
		return Content{}, false
	}
	best, found := Content{}, false
	for _, c := range b.Contents {
		if c.IsJSON() && (!found || MediaType(c.Type) == "application/json") {
			best, found = c, true
		}
	}
	if !found {
		for _, c := range b.Contents {
			if m := MediaType(c.Type); m == "*/*" || m == "application/*" {
				return Content{Type: "application/json", Schema: c.Schema}, true
			}
		}
	}
	return best, found
}

// Types lists the content types of the body.
func (b *Body) Types() []string {
	if b == nil {
		return nil
	}
	types := make([]string, len(b.Contents))
	for i, c := range b.Contents {
		types[i] = c.Type
	}
	return types
}

// Response is one of the answers that an operation may give.
type Response struct {
	Status   string  // 201, 2XX or default
	Schema   *Schema // of its JSON; nil: none is described
	Location bool    // the header is described
}

// IsSuccess says whether the answer is one of 2xx.
func (r Response) IsSuccess() bool { return strings.HasPrefix(r.Status, "2") }

// Writes says whether the operation is one that delivers: POST, PUT or PATCH.
func (o *Operation) Writes() bool {
	return o.Method == "POST" || o.Method == "PUT" || o.Method == "PATCH"
}

// Name is METHOD /path, which names every operation.
func (o *Operation) Name() string { return o.Method + " " + o.Path }

// Operation finds an operation by its id, or as METHOD /path. An error is a
// *ferry.Error that names the nearest ones.
func (d *Document) Operation(id string) (*Operation, error) {
	var found []*Operation
	for _, op := range d.Operations {
		if op.ID == id || strings.EqualFold(op.Name(), id) {
			found = append(found, op)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, bad("the description has no operation %q", cut(id, 100)).WithHint("%s", d.near(id))
	}
	names := make([]string, len(found))
	for i, op := range found {
		names[i] = op.Name()
	}
	return nil, bad("the description has %d operations %q", len(found), cut(id, 100)).
		WithHint("name one by method and path: %s", cut(strings.Join(names, ", "), 400))
}

// maxNear is how many operations a hint names.
const maxNear = 8

// near names the operations whose ids are closest to id, or some of those that
// write.
func (d *Document) near(id string) string {
	type candidate struct {
		name string
		far  int
	}
	var close, writing []candidate
	for _, op := range d.Operations {
		far := min(ferry.Distance(strings.ToLower(id), strings.ToLower(op.ID)), ferry.Distance(strings.ToLower(id), strings.ToLower(op.Name())))
		c := candidate{name: op.ID, far: far}
		if far <= 2+len(id)/4 || len(id) > 2 && strings.Contains(strings.ToLower(op.ID), strings.ToLower(id)) {
			close = append(close, c)
		}
		if op.Writes() {
			writing = append(writing, c)
		}
	}
	list, lead := close, "did you mean %s?"
	if len(list) == 0 {
		list, lead = writing, "those that write: %s"
	}
	if len(list) == 0 {
		return "the description has no operation that writes"
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return a.far - b.far })
	var names []string
	for _, c := range list[:min(len(list), maxNear)] {
		names = append(names, cut(c.name, 100))
	}
	more := ""
	if len(list) > maxNear {
		more = ", …"
	}
	return fmt.Sprintf(lead, strings.Join(names, ", ")+more)
}
