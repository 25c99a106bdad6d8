package shape

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"mime"
	"slices"
	"strings"

	"ferry"
	"ferry/mapping"
)

// RequestVariables are the names that a request program may use, with $ before
// them: the version, the content type as it was sent, and the custom properties.
func RequestVariables() []string { return []string{"version", "contentType", "properties"} }

// ResultVariables are the names that a result program may use: the destination's
// own number of the document, and the version.
func ResultVariables() []string { return []string{"reference", "version"} }

// Door is what stands at the entrance of a route: it holds messages to the route's
// form and brings them into it. It may be used concurrently.
type Door struct {
	route    *ferry.Route
	base     *form
	versions map[string]*form // by name
	field    *mapping.Program // finds the version in the payload; nil: none does
	lists    []place
}

// form is a compiled ferry.Form.
type form struct {
	ferry.Form
	version *ferry.RouteVersion // nil: of messages without one
	schema  *Schema
	request *mapping.Program
	result  *mapping.Program
}

// New compiles what a route says of its messages; nil when it says nothing.
func New(route *ferry.Route) (*Door, error) {
	d := &Door{route: route, versions: map[string]*form{}}
	var err error
	if d.base, err = compile(&ferry.Form{Schema: route.Schema, Accept: route.Accept, Request: route.Request, Result: route.Result}, nil); err != nil {
		return nil, err
	}
	if d.lists, err = places(route.XML.ForceArray); err != nil {
		return nil, err
	}
	for i := range route.Versions {
		v := &route.Versions[i]
		if d.versions[v.Name], err = compile(&v.Form, v); err != nil {
			return nil, named("version "+v.Name, err)
		}
	}
	if route.VersionBy.Field != "" {
		if d.field, err = mapping.Compile(route.VersionBy.Field); err != nil {
			return nil, named("versionBy.field", err)
		}
	}
	if len(d.versions) == 0 && !route.CloudEvents && d.base.plain() && d.base.result == nil {
		return nil, nil
	}
	return d, nil
}

func named(what string, err error) error {
	e, ok := errors.AsType[*ferry.Error](err)
	if !ok {
		return bad("%s: %w", what, err)
	}
	out := bad("%s: %s", what, e.Message)
	out.Hint = e.Hint
	return out
}

func compile(from *ferry.Form, version *ferry.RouteVersion) (*form, error) {
	f := &form{Form: *from, version: version}
	var err error
	if from.Schema != nil {
		if f.schema, err = CompileSchema(from.Schema); err != nil {
			return nil, err
		}
	}
	if from.Request != "" {
		if f.request, err = mapping.CompileVars(from.Request, RequestVariables()...); err != nil {
			return nil, named("request", err)
		}
	}
	if from.Result != "" {
		if f.result, err = mapping.CompileVars(from.Result, ResultVariables()...); err != nil {
			return nil, named("result", err)
		}
	}
	return f, nil
}

// plain says that payloads pass as they are, whatever they are.
func (f *form) plain() bool { return f.schema == nil && f.request == nil && f.Accept == nil }

// Reads says whether [Door.Take] looks into the payload of a message: else none has
// to be fetched, and what Take needs is m alone.
func (d *Door) Reads(m *ferry.Message) bool {
	if d.route.CloudEvents && structured(m.ContentType) {
		return true
	}
	if m.Version == "" && d.field != nil {
		return true
	}
	f, fault := d.form(m.Version)
	return fault == nil && !f.plain()
}

// form is the one of a version, or of none.
func (d *Door) form(version string) (*form, *ferry.Error) {
	v := d.route.Version(version)
	switch {
	case v != nil:
		return d.versions[v.Name], nil
	case version != "":
		return nil, d.route.NoVersion(version)
	default:
		return d.base, nil
	}
}

// Take holds a message to the form of its version and brings it into it: Version,
// As, ContentType, and of a CloudEvent the key and the properties are set. payload
// is the message's body, whole; the result is what takes its place, and SentHash is
// set when that is another one. An error is the sender's: it names all faults, and
// when m.SentHash is set then, the payload was known by it.
//
// An empty payload, where the route takes such, is of no form.
func (d *Door) Take(ctx context.Context, m *ferry.Message, payload []byte) ([]byte, *ferry.Error) {
	sent := payload
	payload, event, fault := d.open(m, payload)
	if fault != nil {
		return nil, fault
	}
	if event {
		sent = payload // the same event in another wrapping is the same
	}
	out, fault := d.shape(ctx, m, payload)
	if fault != nil {
		if event {
			m.SentHash = hashOf(sent)
			for i := range fault.Details {
				fault.Details[i].Pointer = "/data" + fault.Details[i].Pointer
			}
		}
		return nil, fault
	}
	if !same(out, sent) {
		m.SentHash = hashOf(sent)
	}
	return out, nil
}

func hashOf(b []byte) []byte {
	sum := sha256.Sum256(b)
	return sum[:]
}

// same says whether two bodies are one; mostly they are the same memory.
func same(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || bytes.Equal(a, b))
}

// open takes a CloudEvent apart.
func (d *Door) open(m *ferry.Message, payload []byte) (data []byte, event bool, fault *ferry.Error) {
	if !d.route.CloudEvents || !structured(m.ContentType) {
		return payload, false, nil
	}
	e, fault := ReadEvent(m.ContentType, payload)
	if fault != nil {
		return nil, false, fault
	}
	if fault := e.Describe(m); fault != nil {
		return nil, false, fault
	}
	return e.Data, true, nil
}

func (d *Door) shape(ctx context.Context, m *ferry.Message, payload []byte) ([]byte, *ferry.Error) {
	f, fault := d.form(m.Version)
	if fault != nil {
		return nil, fault
	}
	if len(payload) == 0 {
		f.settle(m)
		return payload, nil
	}
	byField := m.Version == "" && d.field != nil
	if f.plain() && !byField {
		f.settle(m)
		return payload, nil
	}
	sentType := m.ContentType
	body, fault := d.json(m, f, payload)
	if fault != nil {
		if byField && f.plain() && fault.Code == ferry.CodeUnsupportedMedia { // no field can be looked for
			f.settle(m)
			return payload, nil
		}
		return nil, fault
	}
	value, odd, fault := decodeBody(body)
	if fault != nil {
		return nil, fault
	}
	if byField {
		name, err := d.field.StringOf(ctx, value)
		if err != nil {
			return nil, ferry.Errorf(ferry.CodeInvalid, "the version cannot be found in the body: %s", reason(err)).
				WithHint("versionBy.field of the route: %s", d.route.VersionBy.Field)
		}
		if f, fault = d.form(name); fault != nil {
			return nil, fault
		}
	}
	if f.schema != nil {
		if fault := f.schema.hold(ctx, value, odd); fault != nil {
			return nil, fault
		}
	}
	f.settle(m)
	if f.request == nil {
		return body, nil
	}
	return f.transform(ctx, m, value, sentType)
}

// settle says of which version the message is.
func (f *form) settle(m *ferry.Message) {
	m.Version, m.As = "", ""
	if f.version != nil {
		m.Version, m.As = f.version.Name, f.version.As
	}
}

// Settle is Take for a message whose payload Take does not look into.
func (d *Door) Settle(m *ferry.Message) *ferry.Error {
	f, fault := d.form(m.Version)
	if fault == nil {
		f.settle(m)
	}
	return fault
}

// transform runs the request program. What it gives takes the payload's place.
func (f *form) transform(ctx context.Context, m *ferry.Message, value any, contentType string) ([]byte, *ferry.Error) {
	program := f.request.With(func(name string) any {
		switch name {
		case "version":
			return m.Version
		case "contentType":
			return contentType
		default:
			properties := make(map[string]any, len(m.Properties))
			for name, value := range m.Properties {
				properties[name] = value
			}
			return properties
		}
	})
	out, err := program.RunValue(ctx, value)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ferry.Errorf(ferry.CodeBadRequest, "the request ended while its body was transformed")
	case errors.Is(err, mapping.ErrNoOutput):
		return nil, ferry.Errorf(ferry.CodeInvalid, "the route's request program gives nothing for this body")
	case err != nil:
		return nil, ferry.Errorf(ferry.CodeInvalid, "the route's request program fails on this body: %s", reason(err)).
			WithHint("correct the body, or have the operator look at request in the route's configuration")
	case len(out) > ferry.MaxBody:
		return nil, ferry.Errorf(ferry.CodeTooLarge, "the route's request program makes %d bytes of this body, at most %d can be kept", len(out), ferry.MaxBody)
	}
	m.ContentType = jsonType
	return out, nil
}

const jsonType = "application/json"

// json gives the payload as JSON, and m its content type.
func (d *Door) json(m *ferry.Message, f *form, payload []byte) ([]byte, *ferry.Error) {
	media, params, err := mime.ParseMediaType(m.ContentType)
	if m.ContentType == "" {
		media, err = jsonType, nil
	}
	accept := f.Accept
	if accept == nil {
		accept = []string{ferry.AcceptJSON}
	}
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		media = ""
	}
	switch {
	case isJSON(media) && slices.Contains(accept, ferry.AcceptJSON):
		if charset := params["charset"]; !isUTF8(charset) {
			return nil, ferry.Errorf(ferry.CodeUnsupportedMedia, "JSON in %s is not taken", clip(charset)).WithHint("send JSON as UTF-8")
		}
		return bytes.TrimPrefix(payload, []byte("\ufeff")), nil
	case isXML(media) && slices.Contains(accept, ferry.AcceptXML):
		out, fault := fromXML(payload, params["charset"], d.route.XML.KeepPrefixes, d.lists)
		if fault == nil {
			m.ContentType = jsonType
		}
		return out, fault
	case media == formType && slices.Contains(accept, ferry.AcceptForm):
		if charset := params["charset"]; !isUTF8(charset) {
			return nil, ferry.Errorf(ferry.CodeUnsupportedMedia, "a form in %s is not taken", clip(charset)).WithHint("send it as UTF-8")
		}
		out, fault := fromForm(payload, d.lists)
		if fault == nil {
			m.ContentType = jsonType
		}
		return out, fault
	}
	return nil, notTaken(m.ContentType, media, accept)
}

// notTaken says which content types are taken.
func notTaken(contentType, media string, accept []string) *ferry.Error {
	names := map[string]string{ferry.AcceptJSON: jsonType, ferry.AcceptXML: "application/xml", ferry.AcceptForm: formType}
	var list []string
	for _, kind := range accept {
		list = append(list, names[kind])
	}
	e := ferry.Errorf(ferry.CodeUnsupportedMedia, "the content type %q is not taken on this route", clip(contentType)).
		WithHint("send %s", strings.Join(list, " or "))
	if strings.HasPrefix(media, "multipart/") {
		e.Hint += "; forms with parts are not taken anywhere"
	}
	if media == formType {
		e.Hint += "; curl --data says this type by itself: add -H 'Content-Type: application/json'"
	}
	return e
}

func isJSON(media string) bool {
	return media == jsonType || media == "text/json" || strings.HasSuffix(media, "+json")
}

func isXML(media string) bool {
	return media == "application/xml" || media == "text/xml" || strings.HasSuffix(media, "+xml")
}

func isUTF8(charset string) bool {
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return true
	}
	return false
}

// Holds holds a corrected body of a message to the schema of its version. A body
// that a request program made is of another form than the schema's, and passes.
func (d *Door) Holds(ctx context.Context, version, contentType string, body []byte) *ferry.Error {
	f, fault := d.form(version)
	if fault != nil || f.schema == nil || f.request != nil || len(body) == 0 {
		return nil // of a version that is not configured any more: nobody can tell
	}
	media, _, _ := mime.ParseMediaType(contentType)
	if contentType != "" && !isJSON(media) {
		return ferry.Errorf(ferry.CodeUnsupportedMedia, "the content type %q does not go with the route's schema", clip(contentType)).WithHint("send %s", jsonType)
	}
	if len(body) > ferry.MaxMapped {
		return TooLarge(int64(len(body)))
	}
	value, odd, fault := decodeBody(bytes.TrimPrefix(body, []byte("\ufeff")))
	if fault != nil {
		return fault
	}
	return f.schema.hold(ctx, value, odd)
}

// TooLarge is the answer to a body that is too large to be looked into.
func TooLarge(size int64) *ferry.Error {
	return ferry.Errorf(ferry.CodeTooLarge, "the body has %d bytes, and the route looks into bodies", size).
		WithHint("a route with a schema, versions or transforms takes up to %d bytes; send larger ones to a route without", ferry.MaxMapped)
}
