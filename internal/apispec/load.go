package apispec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"

	"ferry"
)

// Load reads the description at a path, or at an http or https address, within
// MaxBytes and MaxTime. A file may refer to files of its folder and below; what an
// address gives must be in one piece. An error is a *ferry.Error of the code
// badConfiguration.
func Load(ctx context.Context, from string) (*Document, error) {
	ctx, cancel := context.WithTimeout(ctx, MaxTime)
	defer cancel()
	src, data, err := open(ctx, from)
	if err != nil {
		return nil, named(from, err)
	}
	defer src.close()
	doc, err := src.parse(ctx, data)
	if err != nil {
		return nil, named(from, err)
	}
	return doc, nil
}

// Fetch is Load of an address, and gives what stands there as well.
func Fetch(ctx context.Context, address string) ([]byte, *Document, error) {
	ctx, cancel := context.WithTimeout(ctx, MaxTime)
	defer cancel()
	u, is := httpAddress(address)
	if !is {
		return nil, nil, named(address, bad("it is no http or https address"))
	}
	src := &source{name: "description"}
	data, err := src.fetch(ctx, u)
	if err != nil {
		return nil, nil, named(address, err)
	}
	doc, err := src.parse(ctx, data)
	if err != nil {
		return nil, nil, named(address, err)
	}
	return data, doc, nil
}

// IsAddress says whether a description is named by an http or https address.
func IsAddress(from string) bool {
	_, is := httpAddress(from)
	return is
}

// Parse reads a description that is in memory and refers to nothing outside.
func Parse(data []byte) (*Document, error) {
	return (&source{name: "description"}).parse(context.Background(), data)
}

// head is what tells descriptions apart.
type head struct {
	OpenAPI any `json:"openapi"`
	Swagger any `json:"swagger"`
	Info    struct {
		Schema string `json:"schema"` // of a Postman collection
	} `json:"info"`
}

func (s *source) parse(ctx context.Context, data []byte) (doc *Document, err error) {
	// The library panics on a few malformed documents; a file must not end the program.
	defer func() {
		if r := recover(); r != nil {
			doc, err = nil, bad("the description cannot be read: it is malformed in a way that the reader does not expect")
		}
	}()
	text, err := toJSON(data)
	if err != nil {
		return nil, err
	}
	var h head
	_ = json.Unmarshal(text, &h) // of another shape: it says no version either
	version, swagger := word(h.OpenAPI), word(h.Swagger)
	switch {
	case strings.Contains(h.Info.Schema, "getpostman.com"):
		return nil, bad("it is a Postman collection, no description").WithHint("worker import postman FILE")
	case strings.HasPrefix(version, "3."):
		return s.parse3(ctx, text, version)
	case swagger == "2.0" || swagger == "2":
		return s.parse2(ctx, text)
	case version != "" || swagger != "":
		return nil, bad("its version %s is not supported", cut(version+swagger, 20)).WithHint("OpenAPI 3.x or Swagger 2.0")
	}
	return nil, bad("it is no description of an API: it has neither openapi: 3.x nor swagger: \"2.0\"").
		WithHint("OpenAPI 3.x or Swagger 2.0, as JSON or YAML")
}

func word(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func (s *source) loader(ctx context.Context) *openapi3.Loader {
	loader := openapi3.NewLoader()
	loader.Context = ctx
	loader.IsExternalRefsAllowed = s.root != nil
	// It alone decides what may be read.
	loader.ReadFromURIFunc = s.read
	return loader
}

func (s *source) parse3(ctx context.Context, text []byte, version string) (*Document, error) {
	loaded, err := s.loader(ctx).LoadFromDataWithPath(text, &url.URL{Path: s.name})
	if err != nil {
		return nil, s.unread(ctx, err)
	}
	return build(loaded, version)
}

func (s *source) parse2(ctx context.Context, text []byte) (*Document, error) {
	var old openapi2.T
	if err := json.Unmarshal(text, &old); err != nil {
		return nil, s.unread(ctx, err)
	}
	completeSwagger(&old)
	loaded, err := openapi2conv.ToV3WithLoader(&old, s.loader(ctx), &url.URL{Path: s.name})
	if err != nil {
		return nil, s.unread(ctx, err)
	}
	return build(loaded, "2.0")
}

// unread says in our words why a description cannot be read.
func (s *source) unread(ctx context.Context, err error) error {
	var own *ferry.Error
	switch {
	case ctx.Err() != nil:
		return bad("reading it took longer than %s", MaxTime)
	case errors.As(err, &own):
		return own
	}
	return bad("it cannot be read: %s", cut(oneLine(err.Error()), 500)).
		WithHint("an OpenAPI linter shows the place")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// tsv marks a parameter whose list is written with tabs, which OpenAPI 3 cannot say.
const tsv = "x-ferry-tsv"

// completeSwagger writes down what Swagger 2.0 takes for granted and the
// conversion does not: lists in a query are separated by commas unless said
// otherwise, and a body without consumes is JSON.
func completeSwagger(doc *openapi2.T) {
	if len(doc.Consumes) == 0 {
		doc.Consumes = []string{"application/json"}
	}
	each := func(list openapi2.Parameters) {
		for _, p := range list {
			completeParameter(p)
		}
	}
	for _, p := range doc.Parameters {
		completeParameter(p)
	}
	for _, item := range doc.Paths {
		if item == nil {
			continue
		}
		each(item.Parameters)
		for _, op := range item.Operations() {
			each(op.Parameters)
		}
	}
}

func completeParameter(p *openapi2.Parameter) {
	if p == nil || !p.Type.Is("array") {
		return
	}
	switch {
	case p.In == "query" && p.CollectionFormat == "":
		p.CollectionFormat = "csv"
	case p.CollectionFormat == "tsv", p.In != "query" && p.CollectionFormat != "" && p.CollectionFormat != "csv":
		if p.Extensions == nil {
			p.Extensions = map[string]any{}
		}
		p.Extensions[tsv] = p.CollectionFormat
	}
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, format, args...)
}

// named puts the description's name before an error and keeps its hint.
func named(from string, err error) error {
	if u, parseErr := url.Parse(from); parseErr == nil && u.Host != "" {
		from = u.Scheme + "://" + u.Host + u.EscapedPath() // a query may hold a key
	}
	out := bad("%s: %w", cut(from, 200), err)
	var own *ferry.Error
	if errors.As(err, &own) {
		out.Hint = own.Hint
	}
	return out
}

// cut shortens text to at most n bytes.
func cut(s string, n int) string {
	const more = "…"
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len(more)], "") + more
}
