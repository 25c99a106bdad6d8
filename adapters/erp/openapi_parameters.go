package erp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/httpauth"
	"ferry/internal/apispec"
	"ferry/mapping"
)

// filled is a parameter that has a source.
type filled struct {
	apispec.Parameter
	program   *mapping.Program // nil: fixed
	fixed     string
	validator *apispec.Validator // nil: anything
}

// pathPart is text of the path, or the parameter of an index.
type pathPart struct {
	text      string
	parameter int // -1: text
}

// compileParameters finds the source of every parameter, and takes the path apart.
func (f *described) compileParameters(cfg *adapters.RouteConfig) error {
	used := map[string]bool{}
	for _, p := range f.op.Parameters {
		source, err := f.source(cfg, p, used)
		if err != nil {
			return err
		}
		if source == nil {
			continue
		}
		if p.Unsupported != "" {
			return bad("its parameter %s cannot be filled in: %s", p.Name, p.Unsupported)
		}
		if p.In == apispec.InHeader && (!httpauth.IsHeaderName(p.Name) || httpauth.IsConnectionHeader(p.Name)) {
			return bad("its parameter %s cannot be a header", p.Name)
		}
		if p.In == apispec.InHeader && carriesSecret(p.Name) {
			return bad("its parameter %s carries a secret", p.Name).WithHint("use auth: {type: apiKey, header: %s, key: env:NAME}", p.Name)
		}
		if p.Schema != nil {
			if source.validator, err = p.Schema.Validator(); err != nil {
				return withContext("parameter "+p.Name, err)
			}
		}
		f.parameters = append(f.parameters, *source)
	}
	for _, name := range sortedKeys(cfg.Parameters) {
		if !used[name] {
			return bad("parameters: it has no parameter %q", name).WithHint("%s", f.known())
		}
	}
	return f.compilePath()
}

func (f *described) known() string {
	names := make([]string, len(f.op.Parameters))
	for i, p := range f.op.Parameters {
		names[i] = p.Name
	}
	if len(names) == 0 {
		return "it has none"
	}
	return "its parameters: " + cut(strings.Join(names, ", "), 400)
}

// source is what fills in a parameter; nil: nothing does, and nothing has to.
func (f *described) source(cfg *adapters.RouteConfig, p apispec.Parameter, used map[string]bool) (*filled, error) {
	same := slices.ContainsFunc(f.op.Parameters, func(q apispec.Parameter) bool { return q.Name == p.Name && q.In != p.In })
	name := p.Name
	if _, ok := cfg.Parameters[p.In+"."+p.Name]; ok {
		name = p.In + "." + p.Name
	}
	src, ok := cfg.Parameters[name]
	switch {
	case ok && same && name == p.Name:
		return nil, bad("parameters: %s stands in more than one place", p.Name).WithHint("write %s.%s", p.In, p.Name)
	case ok:
		used[name] = true
		program, err := compile("parameters."+name, src)
		if err != nil {
			return nil, err
		}
		if program == nil {
			return nil, bad("parameters.%s is empty", name).WithHint("jq over the payload, such as .invoice.supplier")
		}
		return &filled{Parameter: p, program: program}, nil
	case f.elsewhere(cfg, p):
		return nil, nil
	case !p.Required:
		return nil, nil
	}
	if fixed, ok := p.Schema.Fixed(); ok && p.Unsupported == "" {
		return &filled{Parameter: p, fixed: fixed}, nil
	}
	if p.Unsupported != "" {
		return nil, bad("its parameter %s, which is required, cannot be filled in: %s", p.Name, p.Unsupported)
	}
	return nil, bad("its parameter %s (%s), which is required, has no source", p.Name, p.In).
		WithHint("parameters: {%s: jq over the payload, such as .invoice.%s}", p.Name, p.Name)
}

// elsewhere says whether another setting fills a parameter in.
func (f *described) elsewhere(cfg *adapters.RouteConfig, p apispec.Parameter) bool {
	switch p.In {
	case apispec.InQuery:
		_, ok := cfg.Query[p.Name]
		return ok || p.Name == f.r.dest.cfg.Auth.Query
	case apispec.InHeader:
		set := []string{cfg.KeyHeader, cfg.RequestIDHeader, cfg.ConfirmHeader, f.r.dest.cfg.Auth.Header}
		if cfg.KeyHeader == "" {
			set[0] = defaultKeyHeader
		}
		set = slices.Concat(set, sortedKeys(cfg.Headers), sortedKeys(f.r.dest.cfg.Headers))
		return slices.ContainsFunc(set, func(name string) bool { return strings.EqualFold(name, p.Name) })
	}
	return false
}

// compilePath takes the path apart at its parameters.
func (f *described) compilePath() error {
	path, query, _ := strings.Cut(f.op.Path, "?")
	if strings.Contains(f.op.Path, "#") {
		return bad("its path has a fragment (#…), which is never sent")
	}
	if query != "" {
		f.literal = []part{{text: escapeLiteral(query)}}
	}
	for path != "" {
		before, rest, found := strings.Cut(path, "{")
		if before != "" {
			f.path = append(f.path, pathPart{text: escapeLiteral(before), parameter: -1})
		}
		if !found {
			return nil
		}
		name, after, closed := strings.Cut(rest, "}")
		at := slices.IndexFunc(f.parameters, func(p filled) bool { return p.In == apispec.InPath && p.Name == name })
		if !closed || at < 0 {
			return bad("its path has {%s}, and no such parameter is described", cut(name, 100)).WithHint("correct it in the description")
		}
		f.path = append(f.path, pathPart{parameter: at})
		path = after
	}
	return nil
}

// escapeLiteral escapes what cannot stand in an address, and leaves what is
// escaped already.
func escapeLiteral(s string) string {
	const hex = "0123456789ABCDEF"
	isHex := func(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		escaped := c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2])
		if letter || escaped || strings.IndexByte("-._~!$&'()*+,;=:@/", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + string(hex[c>>4]) + string(hex[c&15]))
	}
	return b.String()
}

// values are the texts of the parameters as they stand in the request: several
// where a list is written as several, none where an optional one is not there.
func (f *described) values(ctx context.Context, m *message) ([][]string, error) {
	out := make([][]string, len(f.parameters))
	for i := range f.parameters {
		p := &f.parameters[i]
		var value any = p.fixed
		if p.program != nil {
			payload, err := m.decoded()
			if err != nil {
				return nil, err
			}
			if value, err = m.program(p.program).Eval(ctx, payload); err != nil && !errors.Is(err, mapping.ErrNoOutput) {
				return nil, fmt.Errorf("parameters.%s: %w", p.Name, err)
			}
			if value == nil && !p.Required {
				continue
			}
		}
		texts, err := p.texts(ctx, value)
		if err != nil {
			return nil, &invalidError{
				text:   fmt.Sprintf("the parameter %s of %s %v; nothing was sent", p.Name, f.op.ID, err),
				fields: []ferry.FieldError{{Field: p.In + "." + p.Name, Text: err.Error()}},
			}
		}
		out[i] = texts
	}
	return out, nil
}

// maxListed is how many items of a list a parameter may have.
const maxListed = 1000

// texts writes one value, escaped for its place.
func (p *filled) texts(ctx context.Context, value any) ([]string, error) {
	list, isList := value.([]any)
	if !isList {
		list = []any{value}
	}
	if len(list) > maxListed {
		return nil, fmt.Errorf("has more than %d items", maxListed)
	}
	texts := make([]string, len(list))
	for i, item := range list {
		switch item.(type) {
		case nil, []any, map[string]any:
			return nil, errors.New("has no value that is text, a number or a boolean")
		}
		texts[i] = textOf(item)
		if (texts[i] == "" || texts[i] == "." || texts[i] == "..") && p.In == apispec.InPath {
			return nil, errors.New("cannot stand in a path: it is empty, or names a folder")
		}
	}
	if len(texts) == 0 && p.Required {
		return nil, errors.New("is an empty list")
	}
	if err := p.check(ctx, list, texts, isList); err != nil {
		return nil, err
	}
	for i, text := range texts {
		switch {
		case p.In == apispec.InPath:
			texts[i] = url.PathEscape(text)
		case p.In == apispec.InQuery:
			texts[i] = escapeQuery(text)
		case !validValue(text):
			return nil, errors.New("has characters that a header cannot carry")
		}
	}
	if p.In == apispec.InQuery && p.Explode || len(texts) == 0 {
		return texts, nil
	}
	return []string{strings.Join(texts, ",")}, nil
}

// check holds a value against the schema: as it is, and as the text that it
// becomes, since an address knows no types.
func (p *filled) check(ctx context.Context, list []any, texts []string, isList bool) error {
	if p.validator == nil {
		return nil
	}
	items := func(item func(i int) any) any {
		if !isList && !p.Schema.IsList() {
			return item(0)
		}
		out := make([]any, len(list))
		for i := range list {
			out[i] = item(i)
		}
		return out
	}
	var first []apispec.Violation
	for _, form := range []func(i int) any{
		func(i int) any { return plainValue(list[i]) },
		func(i int) any { return texts[i] },
		func(i int) any {
			if v, err := mapping.Decode([]byte(texts[i])); err == nil {
				return v
			}
			return texts[i]
		},
	} {
		violations, err := p.validator.Check(ctx, items(form))
		if err != nil || len(violations) == 0 {
			return err
		}
		if first == nil {
			first = violations
		}
	}
	return errors.New(strings.TrimSpace(first[0].Pointer + " " + first[0].Text))
}

// plainValue is a value of a program as the checker takes it.
func plainValue(v any) any {
	data, err := mapping.Encode(v)
	if err != nil {
		return v
	}
	out, err := mapping.Decode(data)
	if err != nil {
		return v
	}
	return out
}
