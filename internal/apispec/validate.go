package apispec

import (
	"context"

	"ferry/internal/conform"
)

// The checks of values, as [conform] makes them.
const MaxViolations = conform.MaxViolations

// ErrTooMuch says that a value takes more work to check than is allowed. That it
// took too long may be the machine's doing.
var ErrTooMuch = conform.ErrTooMuch

// Violation is one place where a value breaks its schema.
type Violation = conform.Violation

// Validator checks values against one schema. It may be used concurrently.
type Validator struct {
	// Notes are what of the schema is not checked.
	Notes []string
	check *conform.Validator
}

// Validator compiles the schema.
func (s *Schema) Validator() (*Validator, error) {
	document, notes := s.convert()
	check, err := conform.Compile(document, conform.Options{
		Formats: conform.OpenAPIFormats(),
		Words:   conform.Words{Unknown: "is not known to the destination", ReadOnly: "is read-only: the destination sets it"},
	})
	if err != nil {
		return nil, bad("the schema cannot be used: %s", cut(oneLine(err.Error()), 400)).WithHint("correct it in the description")
	}
	return &Validator{Notes: notes, check: check}, nil
}

// Check tells where a value, as mapping.Decode gives it, breaks the schema: see
// [conform.Validator.Check].
func (v *Validator) Check(ctx context.Context, value any) ([]Violation, error) {
	return v.check.Check(ctx, value)
}
