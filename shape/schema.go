package shape

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"

	"ferry"
	"ferry/internal/conform"
)

// maxMembers is how many members an object may have where there is a schema: an
// error for each is gathered before the first is told.
const maxMembers = 20_000

// Schema is a compiled JSON Schema. It may be used concurrently.
type Schema struct {
	check *conform.Validator
	quick *quick // nil: none
}

// CompileSchema compiles one document, as [Bundle] makes it: JSON Schema 2020-12,
// or the draft that its $schema names. Formats are checked: date, date-time, time,
// duration, email, hostname, ipv4, ipv6, uri, uuid and what else JSON Schema has.
func CompileSchema(document json.RawMessage) (*Schema, error) {
	value, fault := decode(document)
	if fault != nil {
		return nil, bad("the schema is not JSON: %s", reason(fault))
	}
	check, err := conform.Compile(value, conform.Options{
		MaxMembers: maxMembers,
		Words:      conform.Words{Unknown: "is not one of the members that this object may have", ReadOnly: "may not be sent"},
	})
	if err != nil {
		return nil, bad("the schema cannot be used: %s", reason(err)).
			WithHint("patterns are those of Go, which are those of JavaScript without looking ahead or behind; all it refers to must be in its files")
	}
	return &Schema{check: check, quick: quickOf(value)}, nil
}

// hold holds a value that decode made to the schema. All violations are told, at
// most conform.MaxViolations, each with a pointer; no value is repeated.
// odd is as decodeBody says it.
func (s *Schema) hold(ctx context.Context, value any, odd bool) *ferry.Error {
	if s.quick != nil && !odd && s.quick.fits(value) {
		return nil
	}
	list, err := s.check.Check(ctx, value)
	switch {
	case err != nil && ctx.Err() != nil:
		return ferry.Errorf(ferry.CodeBadRequest, "the request ended while its body was checked")
	case errors.Is(err, conform.ErrTooMuch):
		return ferry.Errorf(ferry.CodeInvalid, "it takes more than %s to hold the body to the route's schema", conform.MaxTimeToCheck).
			WithHint("the schema has alternatives that lead back to themselves, and the body is deep; the operator can simplify the schema")
	case err != nil:
		return ferry.Errorf(ferry.CodeInvalid, "the body cannot be held to the route's schema: %s", reason(err))
	case len(list) == 0:
		return nil
	}
	return broken(list)
}

func broken(list []conform.Violation) *ferry.Error {
	first := list[0].Text
	if list[0].Pointer != "" {
		first = list[0].Pointer + " " + first
	}
	e := ferry.Errorf(ferry.CodeInvalid, "the body does not fit the route's schema: %s", first)
	if len(list) > 1 {
		e = ferry.Errorf(ferry.CodeInvalid, "the body does not fit the route's schema, in %d places: first %s", len(list), first)
	}
	if len(list) == conform.MaxViolations {
		e = ferry.Errorf(ferry.CodeInvalid, "the body does not fit the route's schema, in %d places or more: first %s", len(list), first)
	}
	for _, v := range list {
		e.Details = append(e.Details, ferry.ErrorDetail{Detail: v.Text, Pointer: v.Pointer})
	}
	return e.WithHint("correct what errors points at: each pointer leads into the body")
}

// reason is an error in one line.
func reason(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "it ends too early"
	}
	if edge, ok := errors.AsType[*ferry.Error](err); ok {
		return strings.TrimPrefix(edge.Message, "the body is not JSON: ")
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	text = strings.ReplaceAll(text, "mem:///body", "")
	if len(text) > 400 {
		text = strings.ToValidUTF8(text[:400], "") + "…"
	}
	return text
}
