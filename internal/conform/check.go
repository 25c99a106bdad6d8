// Package conform holds JSON values to a JSON Schema: every place that breaks it,
// in words for people, within bounds of work and of memory whatever schema and
// value are.
package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"runtime"
	"strconv"
	"strings"
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
	maxCheckers    = 8               // checks of one schema that run at a time
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

// Options of Compile.
type Options struct {
	// Formats are those that are checked, by name; others are notes for people. Nil:
	// those that JSON Schema describes, of the library's.
	Formats map[string]func(any) error
	// MaxMembers is how many members an object may have; 0: as many as there are
	// values.
	MaxMembers int
	Words      Words
}

// Words are how some violations are told.
type Words struct {
	Unknown  string // of a member that the schema does not have
	ReadOnly string // of a member that may not be sent
}

// KeyReadOnly is a keyword of ours: a property that may not be sent.
const KeyReadOnly = "ferryReadOnly"

// Validator checks values against one schema. It may be used concurrently.
type Validator struct {
	document any
	options  Options
	// checkers are compiled when they are needed: nil is the place of one that is not.
	checkers chan *checker
}

// checker is a compiled schema with the meter that its parts count by.
type checker struct {
	schema *jsonschema.Schema
	meter  *meter
}

// Compile compiles a schema: a document of JSON with its numbers as json.Number,
// of draft 2020-12 or of the one that its $schema names. Nothing is fetched.
func Compile(document any, o Options) (*Validator, error) {
	first, err := compile(document, &o)
	if err != nil {
		return nil, err
	}
	v := &Validator{document: document, options: o}
	v.checkers = make(chan *checker, min(runtime.GOMAXPROCS(0), maxCheckers))
	v.checkers <- first
	for range cap(v.checkers) - 1 {
		v.checkers <- nil
	}
	return v, nil
}

const address = "mem:///body"

func compile(document any, o *Options) (c *checker, err error) {
	defer func() {
		if r := recover(); r != nil {
			c, err = nil, errors.New("it is malformed")
		}
	}()
	m := &meter{}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	for name, check := range o.Formats {
		compiler.RegisterFormat(&jsonschema.Format{Name: name, Validate: check})
	}
	compiler.AssertFormat()
	compiler.AssertVocabs()
	compiler.UseLoader(nothing{})
	compiler.UseRegexpEngine(expression)
	compiler.RegisterVocabulary(m.vocabulary())
	if err := compiler.AddResource(address, document); err != nil {
		return nil, err
	}
	schema, err := compiler.Compile(address)
	if err != nil {
		return nil, err
	}
	bound(schema)
	return &checker{schema: schema, meter: m}, nil
}

// nothing loads nothing: a schema is whole when it is compiled.
type nothing struct{}

func (nothing) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is not a part of it, and nothing is fetched", url)
}

// unicodeEscape is how ECMA-262 writes a character, and Go does not.
var unicodeEscape = regexp.MustCompile(`\\u([0-9a-fA-F]{4})`)

// Pattern gives a pattern of ECMA-262 as Go writes it.
func Pattern(p string) string { return unicodeEscape.ReplaceAllString(p, `\x{$1}`) }

// expression compiles a pattern; Go's take a time that is linear in the text.
func expression(p string) (jsonschema.Regexp, error) { return regexp.Compile(Pattern(p)) }

// Check tells where a value, as mapping.Decode gives it, breaks the schema: at
// most MaxViolations places. An error says that this could not be told, for ctx's
// end or for [ErrTooMuch].
func (v *Validator) Check(ctx context.Context, value any) (list []Violation, err error) {
	size := 0
	if bad := v.countable(value, &size); bad != nil {
		return []Violation{*bad}, nil
	}
	if size > maxValues {
		return nil, fmt.Errorf("it has more than %d values, which is too much to check", maxValues)
	}
	var c *checker
	select {
	case c = <-v.checkers:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { v.checkers <- c }()
	if c == nil {
		if c, err = compile(v.document, &v.options); err != nil { // it was compiled before
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, MaxTimeToCheck, ErrTooMuch)
	c.meter.steps, c.meter.ctx = 0, ctx
	defer func() {
		cancel()
		c.meter.ctx = nil
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
	r := &report{words: &v.options.Words}
	r.add(tree)
	return r.list, nil
}

// countable refuses numbers that cannot be reckoned with in bounded memory.
func (c *Validator) countable(v any, size *int) *Violation {
	*size++
	switch v := v.(type) {
	case json.Number:
		if !reckonable(string(v)) {
			return &Violation{Text: "the number is out of range"}
		}
	case []any:
		for i, item := range v {
			// The place is written when it is needed: most values are well.
			if bad := c.countable(item, size); bad != nil {
				bad.Pointer = "/" + strconv.Itoa(i) + bad.Pointer
				return bad
			}
		}
	case map[string]any:
		if c.options.MaxMembers > 0 && len(v) > c.options.MaxMembers {
			return &Violation{Text: fmt.Sprintf("has %d members, which is too much to check: at most %d", len(v), c.options.MaxMembers)}
		}
		for name, item := range v {
			if bad := c.countable(item, size); bad != nil {
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
		URL:    "mem:///vocabulary",
		Schema: &jsonschema.Schema{DraftVersion: 2020},
		Compile: func(_ *jsonschema.CompilerContext, obj map[string]any) (jsonschema.SchemaExt, error) {
			e := &extension{meter: m}
			e.readOnly, _ = obj[KeyReadOnly].(bool)
			return e, nil
		},
	}
}

type extension struct {
	meter    *meter
	readOnly bool
	items    *jsonschema.Schema // see bound
}

// Validate implements jsonschema.SchemaExt.
func (e *extension) Validate(ctx *jsonschema.ValidatorContext, v any) {
	e.meter.step()
	if e.readOnly {
		ctx.AddError(&kind.Format{Want: KeyReadOnly})
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

// bound takes the items of arrays over from the library, which would gather an
// error for each of a million before it says a word: the extension stops when there
// are enough.
func bound(root *jsonschema.Schema) {
	seen := map[*jsonschema.Schema]bool{}
	var visit func(v reflect.Value)
	visit = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Interface:
			if !v.IsNil() {
				visit(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				visit(v.Index(i))
			}
		case reflect.Map:
			for entries := v.MapRange(); entries.Next(); {
				visit(entries.Value())
			}
		case reflect.Pointer:
			switch p := v.Interface().(type) {
			case *jsonschema.Schema:
				if p != nil && !seen[p] {
					seen[p] = true
					takeItems(p)
					s := v.Elem()
					for i := range s.NumField() {
						if s.Type().Field(i).IsExported() {
							visit(s.Field(i))
						}
					}
				}
			case *jsonschema.DynamicRef:
				if p != nil {
					visit(reflect.ValueOf(p.Ref))
				}
			case *extension:
				visit(reflect.ValueOf(p.items))
			}
		}
	}
	visit(reflect.ValueOf(root))
}

func takeItems(s *jsonschema.Schema) {
	for _, ext := range s.Extensions {
		e, ours := ext.(*extension)
		if !ours {
			continue
		}
		if items, one := s.Items.(*jsonschema.Schema); one && s.DraftVersion < 2020 {
			e.items, s.Items = items, nil
		}
		if s.DraftVersion >= 2020 && len(s.PrefixItems) == 0 && s.Items2020 != nil {
			e.items, s.Items2020 = s.Items2020, nil
		}
	}
}
