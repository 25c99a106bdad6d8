package erp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/internal/apispec"
	"ferry/mapping"
)

// openapi is the dialect of HTTP services that an OpenAPI or Swagger file
// describes: requests come from the description, and a body that breaks its
// schema is not sent. Answers are judged as by rest.
func openapi() dialect {
	d := rest()
	d.settings = []string{"spec", "operation", "parameters", "lookup.url"}
	d.open = openDescription
	d.form = formOfDescription
	return d
}

func openDescription(d *destination) error {
	spec := d.cfg.Spec
	switch {
	case spec == "":
		return bad("spec is missing").WithHint("spec: the OpenAPI or Swagger file that describes the API")
	case strings.Contains(spec, "://"):
		// A worker starts without anything but its files.
		return bad("spec is an address").WithHint("download the file, and name it: worker import openapi does that with --save FILE")
	}
	document, err := apispec.Load(context.Background(), spec)
	if err != nil {
		return withContext("spec", err)
	}
	d.spec = document
	return nil
}

// described is the form of messages of one operation.
type described struct {
	plain
	op         *apispec.Operation
	path       []pathPart
	literal    []part // of the path's query, which a few descriptions have
	parameters []filled
	takesJSON  bool // the body can be sent as JSON, of content's type and schema
	content    apispec.Content
	validator  *apispec.Validator // nil: any JSON
}

func formOfDescription(r *route, cfg *adapters.RouteConfig) (form, error) {
	if cfg.Operation == "" {
		return nil, bad("operation is missing").WithHint("operation: an operationId of the description, or METHOD /path")
	}
	op, err := r.dest.spec.Operation(cfg.Operation)
	if err != nil {
		return nil, withContext("operation", err)
	}
	if !op.Writes() {
		return nil, bad("operation: %s is a %s, which does not deliver", cfg.Operation, op.Method).WithHint("POST, PUT or PATCH")
	}
	if err := op.CheckAuth(r.dest.cfg.Auth, r.dest.cfg.TLS); err != nil {
		return nil, withContext("operation "+cfg.Operation, err)
	}
	f := &described{plain: plain{r}, op: op}
	cfg.Method = op.Method
	if err := f.compileBody(cfg); err != nil {
		return nil, withContext("operation "+cfg.Operation, err)
	}
	if err := f.compileParameters(cfg); err != nil {
		return nil, withContext("operation "+cfg.Operation, err)
	}
	return f, nil
}

// compileBody settles in which content type bodies go.
func (f *described) compileBody(cfg *adapters.RouteConfig) error {
	f.content, f.takesJSON = f.op.Body.JSON()
	types := strings.Join(f.op.Body.Types(), ", ")
	switch {
	case f.op.Body == nil && (cfg.Map != "" || cfg.KeyField != "" || cfg.ContentType != ""):
		return bad("it takes no body, so that map, keyField and contentType have no meaning").
			WithHint("parameters: fills in the address from the message")
	case f.op.Body == nil:
		return nil
	case len(f.op.Body.Contents) == 0:
		return bad("its body is described without a content type").WithHint("correct it in the description")
	case !f.takesJSON && (cfg.Map != "" || cfg.KeyField != ""):
		return bad("it takes no JSON but %s, which a map cannot make", types).WithHint("a route without a map delivers the sender's body as it is")
	case cfg.ContentType != "" && !f.takes(cfg.ContentType):
		return bad("contentType: it takes no %s", cfg.ContentType).WithHint("it takes %s", types)
	}
	if !f.takesJSON || f.content.Schema == nil {
		return nil
	}
	var err error
	if f.validator, err = f.content.Schema.Validator(); err != nil {
		return withContext("the body", err)
	}
	return nil
}

// takes says whether the operation takes a content type.
func (f *described) takes(contentType string) bool {
	media := apispec.MediaType(contentType)
	return slices.ContainsFunc(f.op.Body.Contents, func(c apispec.Content) bool {
		described := apispec.MediaType(c.Type)
		prefix, wild := strings.CutSuffix(described, "*")
		return described == media || wild && strings.HasPrefix(media, strings.TrimPrefix(prefix, "*/"))
	})
}

func (f *described) write(ctx context.Context, m *message) (*operation, error) {
	address, header, err := f.address(ctx, m)
	if err != nil {
		return nil, err
	}
	op := &operation{method: f.op.Method, url: address, header: header}
	switch {
	case f.op.Body == nil:
		header["Content-Type"] = nil // there is nothing to be of a type
		return op, nil
	case !f.takesJSON || f.r.mapping == nil && !isJSON(m.ContentType) && f.takes(m.ContentType):
		return op, f.passOn(ctx, m, op)
	}
	return op, f.writeJSON(ctx, m, op)
}

// isJSON says whether a sender's content type is JSON, or none that tells.
func isJSON(contentType string) bool {
	switch apispec.MediaType(contentType) {
	case "", "application/octet-stream", "text/plain":
		return true
	}
	return apispec.Content{Type: contentType}.IsJSON()
}

// passOn sends the body as it came, under a content type that the operation takes.
func (f *described) passOn(ctx context.Context, m *message, op *operation) error {
	contentType := m.ContentType
	if own := f.r.cfg.ContentType; own != "" {
		contentType = own
	}
	if !f.takes(contentType) {
		types := f.op.Body.Types()
		// What does not say what it is may be what is wanted; a form needs the boundary
		// that only its sender knows.
		if media := apispec.MediaType(contentType); len(types) != 1 || strings.Contains(types[0], "*") ||
			strings.HasPrefix(types[0], "multipart/") || media != "" && media != "application/octet-stream" && media != "text/plain" {
			return &invalidError{text: fmt.Sprintf("the body is %s, and %s takes %s", cut(contentType, 100), f.op.ID, strings.Join(types, ", "))}
		}
		contentType = types[0]
	}
	if !validValue(contentType) {
		return errors.New("the content type has characters that a header cannot carry")
	}
	op.header.Set("Content-Type", contentType)
	var err error
	op.body, op.size, err = f.r.payload(ctx, m)
	return err
}

// writeJSON checks what is sent, to the last digit, against the schema.
func (f *described) writeJSON(ctx context.Context, m *message, op *operation) error {
	data, value, err := f.sent(ctx, m)
	if err != nil {
		return err
	}
	if value == nil && !f.op.Body.Required {
		op.header["Content-Type"] = nil // nothing is sent
		return nil
	}
	if f.validator != nil {
		list, err := f.validator.Check(ctx, value)
		if err != nil {
			return fmt.Errorf("the body cannot be checked: %w", err)
		}
		if len(list) > 0 {
			return invalid(f.op.ID, list)
		}
	}
	contentType := f.content.Type
	if f.r.cfg.ContentType != "" {
		contentType = f.r.cfg.ContentType
	}
	op.header.Set("Content-Type", contentType)
	op.body, op.size = ferry.NewBodyReader(data), int64(len(data))
	return nil
}

// sent is the body as it is sent, and as it reads.
func (f *described) sent(ctx context.Context, m *message) (data []byte, value any, err error) {
	switch {
	case f.r.cfg.KeyField != "":
		var fields map[string]any
		if fields, err = m.fields(ctx); err == nil {
			data, err = mapping.Encode(fields)
		}
	case f.r.mapping != nil:
		if value, err = m.mapped(ctx); err == nil {
			data, err = mapping.Encode(value)
		}
	default:
		if data, err = m.bytes(); err != nil {
			if tooLarge := (*adapters.BodyTooLargeError)(nil); errors.As(err, &tooLarge) {
				return nil, nil, fmt.Errorf("the body cannot be checked against the description: it has %d bytes, at most %d can", tooLarge.Size, tooLarge.Most)
			}
			return nil, nil, fmt.Errorf("%w: %w", errBody, err)
		}
		if len(data) == 0 && !f.op.Body.Required {
			return nil, nil, nil
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if value, err = mapping.Decode(data); err != nil {
		return nil, nil, fmt.Errorf("the body cannot be checked against the description: %w", err)
	}
	return data, value, nil
}

// invalidError is a body that its description refuses. It was not sent.
type invalidError struct {
	text   string
	fields []ferry.FieldError
}

func (e *invalidError) Error() string { return e.text }

// invalid makes the error of violations; its text has the first ones, for where
// only a text is shown.
func invalid(operation string, list []apispec.Violation) error {
	e := &invalidError{}
	var said []string
	for _, v := range list {
		e.fields = append(e.fields, ferry.FieldError{Field: v.Pointer, Text: v.Text})
		if len(said) < 10 {
			said = append(said, strings.TrimSpace(v.Pointer+" "+v.Text))
		}
	}
	if len(list) > len(said) {
		said = append(said, "…")
	}
	e.text = fmt.Sprintf("the body does not keep to the description of %s, and was not sent: %s", operation, strings.Join(said, "; "))
	return e
}

// codeSchemaViolation comes with Rejected: the description of the API refuses the
// message, which was not sent.
const codeSchemaViolation = "schemaViolation"

// address fills in the parameters: the whole address, and the headers.
func (f *described) address(ctx context.Context, m *message) (string, http.Header, error) {
	values, err := f.values(ctx, m)
	if err != nil {
		return "", nil, err
	}
	path := ""
	for _, p := range f.path {
		if p.parameter < 0 {
			path += p.text
			continue
		}
		path += values[p.parameter][0]
	}
	header := http.Header{}
	t := &template{pathParts: []part{{text: path}}, queryParts: slices.Clone(f.literal)}
	add := func(more ...part) {
		if len(t.queryParts) > 0 && len(more) > 0 {
			t.queryParts = append(t.queryParts, part{text: "&"})
		}
		t.queryParts = append(t.queryParts, more...)
	}
	add(f.r.query.queryParts...)
	for i, p := range f.parameters {
		for _, text := range values[i] {
			switch p.In {
			case apispec.InQuery:
				add(part{text: escapeQuery(p.Name) + "=" + text})
			case apispec.InHeader:
				header.Set(p.Name, text)
			}
		}
	}
	address, err := f.r.address(t, m)
	return address, header, err
}
