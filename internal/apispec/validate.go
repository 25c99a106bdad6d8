package apispec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// Bounds of checking one value.
const (
	MaxViolations  = 100
	MaxTimeToCheck = 2 * time.Second // a body of 8 MiB takes a part of one
	maxValues      = 2_000_000       // in a body of 8 MiB there may be some more
	maxDigits      = 1_000           // of a number
	maxExponent    = 400             // beyond 64-bit floating point; a larger one costs memory
)

// ErrTooMuch says that a value takes more work to check than is allowed. That it
// took too long may be the machine's doing.
var ErrTooMuch = errors.New("it takes too much work to check")

// Violation is one place where a value breaks its schema. The text never repeats
// the value.
type Violation struct {
	Pointer string // JSON pointer (RFC 6901); empty: the whole value
	Text    string
}

// Validator checks values against one schema. It may be used concurrently.
type Validator struct {
	// Notes are what of the schema is not checked.
	Notes []string
	pool  sync.Pool // of *checker
}

// checker is a compiled schema with the meter that its parts count by.
type checker struct {
	schema *jsonschema.Schema
	meter  *meter
}

// Validator compiles the schema.
func (s *Schema) Validator() (*Validator, error) {
	document, notes := s.convert()
	first, err := compile(document)
	if err != nil {
		return nil, bad("the schema cannot be used: %s", cut(oneLine(err.Error()), 400)).WithHint("correct it in the description")
	}
	v := &Validator{Notes: notes}
	v.pool.New = func() any {
		c, err := compile(document)
		if err != nil { // it was compiled before
			return (*checker)(nil)
		}
		return c
	}
	v.pool.Put(first)
	return v, nil
}

func compile(document map[string]any) (c *checker, err error) {
	defer func() {
		if r := recover(); r != nil {
			c, err = nil, errors.New("it is malformed")
		}
	}()
	const address = "mem:///body"
	m := &meter{}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	for name, check := range checkedFormats() {
		compiler.RegisterFormat(&jsonschema.Format{Name: name, Validate: check})
	}
	compiler.AssertFormat()
	compiler.AssertVocabs()
	compiler.RegisterVocabulary(m.vocabulary())
	if err := compiler.AddResource(address, document); err != nil {
		return nil, err
	}
	schema, err := compiler.Compile(address)
	if err != nil {
		return nil, err
	}
	return &checker{schema: schema, meter: m}, nil
}

// Check tells where a value, as mapping.Decode gives it, breaks the schema: at
// most MaxViolations places. An error says that this could not be told, for ctx's
// end or for [ErrTooMuch].
func (v *Validator) Check(ctx context.Context, value any) (list []Violation, err error) {
	size := 0
	if bad := countable(value, "", &size); bad != nil {
		return []Violation{*bad}, nil
	}
	if size > maxValues {
		return nil, fmt.Errorf("it has more than %d values, which is too much to check", maxValues)
	}
	c, _ := v.pool.Get().(*checker)
	if c == nil {
		return nil, errors.New("the schema cannot be compiled")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, MaxTimeToCheck, ErrTooMuch)
	c.meter.steps, c.meter.ctx = 0, ctx
	defer func() {
		cancel()
		c.meter.ctx = nil
		v.pool.Put(c)
		if r := recover(); r != nil {
			stop, ours := r.(stopped)
			if list, err = nil, stop.err; !ours {
				err = errors.New("the body cannot be checked against the schema")
			}
		}
	}()
	failure := c.schema.Validate(value)
	var tree *jsonschema.ValidationError
	if !errors.As(failure, &tree) {
		return nil, failure
	}
	r := &report{}
	r.add(tree)
	return r.list, nil
}

// countable refuses numbers that cannot be reckoned with in bounded memory.
func countable(v any, at string, size *int) *Violation {
	*size++
	switch v := v.(type) {
	case json.Number:
		if !reckonable(string(v)) {
			return &Violation{Pointer: at, Text: "the number is out of range"}
		}
	case []any:
		for i, item := range v {
			// The place is written when it is needed: most values are well.
			if bad := countable(item, "", size); bad != nil {
				bad.Pointer = "/" + strconv.Itoa(i) + bad.Pointer
				return bad
			}
		}
	case map[string]any:
		for name, item := range v {
			if bad := countable(item, "", size); bad != nil {
				bad.Pointer = "/" + escape(name) + bad.Pointer
				return bad
			}
		}
	}
	return nil
}

func reckonable(number string) bool {
	if len(number) > maxDigits {
		return false
	}
	at := strings.IndexAny(number, "eE")
	if at < 0 {
		return true
	}
	exponent, err := strconv.Atoi(number[at+1:])
	return err == nil && exponent <= maxExponent && exponent >= -maxExponent
}

// meter ends a check after its time, which the library does not: schemas
// that refer to themselves in several alternatives double it with every level.
type meter struct {
	steps int
	ctx   context.Context //nolint:containedctx // of the one check that runs
}

// stopped is what ends a check from within.
type stopped struct{ err error }

func (m *meter) step() {
	if m.steps++; m.steps%256 == 0 && m.ctx.Err() != nil {
		panic(stopped{context.Cause(m.ctx)})
	}
}

// vocabulary is what we add to JSON Schema.
func (m *meter) vocabulary() *jsonschema.Vocabulary {
	return &jsonschema.Vocabulary{
		URL:        "mem:///vocabulary",
		Schema:     &jsonschema.Schema{DraftVersion: 2020},
		Subschemas: []jsonschema.SchemaPath{{jsonschema.Prop(keyItems)}},
		Compile: func(ctx *jsonschema.CompilerContext, obj map[string]any) (jsonschema.SchemaExt, error) {
			e := &extension{meter: m}
			e.readOnly, _ = obj[keyReadOnly].(bool)
			if _, ok := obj[keyItems]; ok {
				e.items = ctx.Enqueue([]string{keyItems})
			}
			return e, nil
		},
	}
}

type extension struct {
	meter    *meter
	readOnly bool
	items    *jsonschema.Schema
}

// Validate implements jsonschema.SchemaExt.
func (e *extension) Validate(ctx *jsonschema.ValidatorContext, v any) {
	e.meter.step()
	if e.readOnly {
		ctx.AddError(&kind.Format{Want: keyReadOnly})
	}
	list, ok := v.([]any)
	if !ok || e.items == nil {
		return
	}
	wrong := 0
	for i, item := range list {
		e.meter.step()
		ctx.EvaluatedItem(i)
		if err := ctx.Validate(e.items, item, []string{strconv.Itoa(i)}); err != nil {
			ctx.AddErr(err)
			if wrong++; wrong >= MaxViolations {
				return
			}
		}
	}
}

// checkedFormats are those that are checked. Others are notes for people, or read
// so differently that a refusal would be a guess.
func checkedFormats() map[string]func(any) error {
	whole := func(bits int) func(any) error {
		return func(v any) error {
			n, ok := v.(json.Number)
			if !ok {
				return nil
			}
			return inRange(string(n), bits)
		}
	}
	return map[string]func(any) error{
		"date":      ofText(func(s string) error { _, err := time.Parse(time.DateOnly, s); return err }),
		"date-time": ofText(dateTime),
		"uuid":      ofText(uuid),
		"email":     ofText(email),
		"byte":      ofText(base64),
		"int32":     whole(32),
		"int64":     whole(64),
	}
}

// inRange says whether a number that is whole fits into so many bits. That it has
// to be whole is for the type to say.
func inRange(number string, bits int) error {
	f, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return errors.New("it is out of range")
	}
	if n, err := strconv.ParseInt(number, 10, 64); err == nil {
		f = 0
		if bits == 32 && (n > math.MaxInt32 || n < math.MinInt32) {
			return errors.New("it is out of range")
		}
	}
	limit := math.Ldexp(1, bits-1)
	if f >= limit || f < -limit {
		return errors.New("it is out of range")
	}
	return nil
}
