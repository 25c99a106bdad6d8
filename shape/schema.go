package shape

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"ferry"
)

// Schema is a compiled JSON Schema. It may be used concurrently.
type Schema struct {
	compiled *jsonschema.Schema
}

// CompileSchema compiles one document, as [Bundle] makes it: JSON Schema 2020-12,
// or the draft that its $schema names.
func CompileSchema(document json.RawMessage) (s *Schema, err error) {
	defer func() {
		if r := recover(); r != nil { // the library does so on some malformed ones
			s, err = nil, bad("the schema is malformed")
		}
	}()
	const address = "mem:///schema"
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		return nil, bad("the schema is not JSON: %s", reason(err))
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.UseLoader(nothing{})
	if err := c.AddResource(address, value); err != nil {
		return nil, bad("the schema cannot be used: %s", reason(err))
	}
	compiled, err := c.Compile(address)
	if err != nil {
		return nil, bad("the schema cannot be used: %s", reason(err))
	}
	return &Schema{compiled: compiled}, nil
}

// nothing loads nothing: a schema is whole when it is compiled.
type nothing struct{}

func (nothing) Load(url string) (any, error) {
	return nil, errors.New(url + " is not in a file, and nothing is fetched")
}

// reason is an error in one line.
func reason(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	if edge, ok := errors.AsType[*ferry.Error](err); ok {
		return edge.Message
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	text = strings.ReplaceAll(text, "mem:///schema", "")
	if len(text) > 400 {
		text = text[:400] + "…"
	}
	return text
}
