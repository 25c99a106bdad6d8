// Package postman reads Postman collections (format v2.0 and v2.1) into the
// requests that they hold. No secret of a collection is kept: what logs on is
// known by its kind and place alone.
//
// Source: the collection formats' JSON schemas, schema.postman.com.
package postman

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"

	"ferry"
	"ferry/internal/apispec"
)

// Bounds of a collection.
const (
	MaxBytes    = 10 << 20
	maxRequests = 10_000
	maxFolders  = 50  // within each other
	maxDepth    = 100 // of JSON
)

// Collection is what a file holds.
type Collection struct {
	Name     string
	Requests []Request
}

// Load reads a collection of at most MaxBytes. An error is a *ferry.Error of the
// code badConfiguration.
func Load(path string) (*Collection, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bad("the collection cannot be opened: %w", err)
	}
	defer func() { _ = f.Close() }() // it was read only
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, bad("the collection cannot be read: %w", err)
	}
	return Decode(data)
}

// Decode is Load of a collection in memory.
func Decode(data []byte) (*Collection, error) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	switch {
	case len(data) > MaxBytes:
		return nil, bad("the collection has more than %d MiB", MaxBytes>>20)
	case !json.Valid(data):
		return nil, bad("it is no Postman collection: it is not JSON").WithHint("export it from Postman as Collection v2.1")
	case apispec.DeeperThan(data, maxDepth):
		return nil, bad("the collection is nested deeper than %d", maxDepth)
	}
	var raw struct {
		Info struct {
			Name   string `json:"name"`
			Schema string `json:"schema"`
		} `json:"info"`
		Item     []json.RawMessage `json:"item"`
		Auth     json.RawMessage   `json:"auth"`
		Variable []json.RawMessage `json:"variable"`
		OpenAPI  any               `json:"openapi"`
		Swagger  any               `json:"swagger"`
		Wrapped  json.RawMessage   `json:"collection"` // as Postman's own API gives it
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, bad("it is no Postman collection: %s", wrongType(err)).WithHint("export it from Postman as Collection v2.1")
	}
	switch {
	case raw.OpenAPI != nil || raw.Swagger != nil:
		return nil, bad("it is a description of an API, no collection").WithHint("worker import openapi FILE")
	case raw.Wrapped != nil && raw.Info.Schema == "":
		return Decode(raw.Wrapped)
	case !strings.Contains(raw.Info.Schema, "/v2."):
		return nil, bad("it is no Postman collection of version 2.0 or 2.1").WithHint("export it from Postman as Collection v2.1")
	}
	r := &reader{variables: variables(raw.Variable)}
	r.items(raw.Item, folder{auth: authOf(raw.Auth, folder{})}, 0)
	if r.err != nil {
		return nil, r.err
	}
	return &Collection{Name: raw.Info.Name, Requests: r.requests}, nil
}

// wrongType says which member has a form that it may not have, without its value.
func wrongType(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return wrong.Field + " has a form that it may not have"
	}
	return "its members have another form"
}

// folder is what requests inherit.
type folder struct {
	names []string
	auth  Auth
}

type reader struct {
	variables map[string]string
	requests  []Request
	err       error
}

// item is a folder or a request.
type item struct {
	Name     string            `json:"name"`
	Item     []json.RawMessage `json:"item"`
	Auth     json.RawMessage   `json:"auth"`
	Request  json.RawMessage   `json:"request"`
	Response []json.RawMessage `json:"response"`
}

// items reads a folder. What is malformed is left out: a collection holds much
// that no route needs.
func (r *reader) items(list []json.RawMessage, in folder, depth int) {
	if depth > maxFolders {
		r.err = bad("its folders lie more than %d deep", maxFolders)
		return
	}
	for _, data := range list {
		var it item
		if json.Unmarshal(data, &it) != nil {
			continue
		}
		if it.Request == nil {
			below := folder{names: append(in.names[:len(in.names):len(in.names)], it.Name), auth: authOf(it.Auth, in)}
			if r.items(it.Item, below, depth+1); r.err != nil {
				return
			}
			continue
		}
		if len(r.requests) >= maxRequests {
			r.err = bad("it has more than %d requests", maxRequests)
			return
		}
		r.requests = append(r.requests, r.request(&it, in))
	}
}

// pair is a named value as collections have it.
type pair struct {
	Key      string `json:"key"`
	ID       string `json:"id"`
	Value    any    `json:"value"`
	Type     string `json:"type"`
	Disabled bool   `json:"disabled"`
}

func (p pair) text() string {
	switch v := p.Value.(type) {
	case string:
		return v
	case nil:
		return ""
	}
	data, err := json.Marshal(p.Value)
	if err != nil {
		return ""
	}
	return string(data)
}

func pairs(list []json.RawMessage) []pair {
	var out []pair
	for _, data := range list {
		var p pair
		if json.Unmarshal(data, &p) == nil && !p.Disabled {
			out = append(out, p)
		}
	}
	return out
}

// variables are those of the collection. What may be a secret by its name or type
// stays what it is, {{name}}, wherever it is used.
func variables(list []json.RawMessage) map[string]string {
	out := map[string]string{}
	for _, p := range pairs(list) {
		name := p.Key
		if name == "" {
			name = p.ID
		}
		if name != "" && p.Type != "secret" && !Secret(name) && !strings.Contains(strings.ToLower(name), "key") {
			out[name] = p.text()
		}
	}
	return out
}

// maxText bounds a text after its variables are filled in.
const maxText = 64 << 10

// fill puts the collection's variables in the place of {{name}}. left are those
// that have no value.
func (r *reader) fill(s string) (text string, left []string) {
	for range 5 { // variables of variables
		next, open := r.fillOnce(s)
		if left = open; next == s || len(next) > maxText {
			break
		}
		s = next
	}
	return s, left
}

func (r *reader) fillOnce(s string) (text string, left []string) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "{{")
		b.WriteString(before)
		if !found {
			return b.String(), left
		}
		name, after, closed := strings.Cut(rest, "}}")
		if !closed {
			b.WriteString("{{" + rest)
			return b.String(), left
		}
		value, known := r.variables[strings.TrimSpace(name)]
		if !known || value == "" || b.Len() > maxText {
			value = "{{" + name + "}}"
			left = append(left, strings.TrimSpace(name))
		}
		b.WriteString(value)
		s = after
	}
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, format, args...)
}
