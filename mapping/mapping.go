// Package mapping reshapes payloads and reads answers with jq, keeping decimals
// exact.
//
// A number that a program only moves comes out as the very text that came in:
// 1234567890123456.10, 12345678901234567890 and 100.00 stay what they are. jq
// arithmetic is exact on whole numbers of any size, and NOT exact where a
// decimal takes part: +, -, *, /, add, floor, and number literals with a
// fraction work in 64-bit floating point (100.00 written in a program, or made
// by tonumber, becomes 100; 0.1+0.2 is not 0.3). Amounts are therefore reckoned
// with the functions that this package adds, beside those for the dates and keys
// of ERPs; docs/mapping.md has an example of each. Those marked * give null for
// null.
//
// Amounts, as numbers or as texts that look like numbers:
//
//	decsum               the exact sum of the input array: [.lines[].amount] | decsum
//	decadd(a; b)         a + b, with the larger number of decimals
//	decsub(a; b)         a - b, with the larger number of decimals
//	decmul(a; b)         a * b, with the decimals of both together
//	decdiv(a; b; n)      a / b with n decimals, halves away from zero
//	deccmp(a; b)         -1, 0 or 1: a is less than b, equal, more
//	decround(n)          the input with n decimals, halves away from zero: 2.345 -> 2.35
//	mindecimals(n)     * with at least n decimals: 12.5 -> 12.50
//	decneg, decabs     * negated, without its sign
//	decimal              as a number, its text untouched: "100.00" -> 100.00
//	decstring(n)       * as a text with n decimals; without n with those it has
//	deccomma(n)        * likewise with a comma: "1234,50"
//	parsedecimal(mark) * an amount as people write it, mark "," or "."
//	trytondecimal      * Tryton's object
//
// Dates and times, from ISO 8601, SAP's eight digits, OData V2 or Tryton's
// objects; the time zone of the machine is never taken:
//
//	isodate            * 2026-11-26, the day as it is written
//	sapdate            * 20261126
//	odatadate          * /Date(MS)/, Edm.DateTime of OData V2
//	odatadateoffset    * /Date(MS+0000)/, Edm.DateTimeOffset of OData V2
//	fromodatadate      * ISO 8601 of any form
//	odatadatetime      * datetime'…', a literal in addresses of OData V2
//	odatadatetimeoffset* datetimeoffset'…', likewise
//	utctime            * RFC 3339 in UTC, Edm.DateTimeOffset of OData V4
//	odootime           * 2026-11-26 09:30:00, in UTC
//	trytondate, trytondatetime, fromtryton * Tryton's objects
//	startofday, noon, endofday * a moment of a day, in UTC or in the zone given
//	inzone(zone)       * the same moment, in another zone
//	withzone(zone)     * the moment of a time without an offset
//	parsedate(pattern), formatdate(pattern) * DD.MM.YYYY and the like
//	adddays(n), addmonths(n), endofmonth * days
//
// Keys, from texts or numbers; null and empty ones are errors:
//
//	odatakey             a literal of OData: quoted, apostrophes doubled
//	odataguid            guid'…', a literal of OData V2
//	urikey               percent-encoded, a space as %20
//	shortkey(n)          see [ShortKey]; n is at least 8
//	guid, guid32         see [GUID], [GUID32]
//	sapalpha(n)          numbers filled up with zeroes to n digits; fromsapalpha undoes it
//
// The keys of objects come out sorted: jq does not keep their order. Duplicate
// keys of an object: the last one counts. Output is not escaped for HTML.
//
// Limits: input 8 MiB, program text 64 KiB, running time 200 ms (without reading
// the input and writing the output), output 64 MiB. The time is looked at between
// two steps: one that goes over a text of 8 MiB, such as a regular expression, may
// end a second or two late. A step that would make a text of more than 64 MiB, an
// array of more than 16 million items or a position beyond 4 million is refused
// before it is made. Measured: 8 MiB of JSON take up to 450 MiB as values (a
// million small objects), and no program that was tried took more than 420 MiB on
// top (a text, taken apart into its characters). A program has no access to the
// environment, to files or to other inputs.
package mapping

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"ferry"
)

// Limits of programs; see the package's comment.
const (
	MaxInput  = ferry.MaxMapped
	MaxOutput = 64 << 20
	MaxSource = 64 << 10
	MaxTime   = 200 * time.Millisecond
)

// The errors that callers tell apart.
var (
	// ErrNoOutput: the program gave nothing, as `empty` does.
	ErrNoOutput = errors.New("the program gives no output")
	// ErrTooSlow: it was stopped after MaxTime. That may be the machine's doing.
	ErrTooSlow = fmt.Errorf("the program ran longer than %s", MaxTime)
)

// Program is a compiled jq program. It may be run concurrently.
type Program struct {
	code *gojq.Code
	vars []string // the variables that it uses, without $
	// values are those of vars; nil stands for null everywhere.
	values []any
}

// Compile compiles src. An error is a *ferry.Error that names line and column,
// both from 1, the column in characters.
func Compile(src string) (*Program, error) { return CompileVars(src) }

// CompileVars is Compile for a program that may use variables of those names,
// given without $: `externalKey` is $externalKey in the program. They are null
// until [Program.With] gives values.
func CompileVars(src string, names ...string) (*Program, error) {
	if len(src) > MaxSource {
		return nil, ferry.Errorf(ferry.CodeBadConfig, "the jq program has %d bytes", len(src)).
			WithHint("at most %d", MaxSource)
	}
	if i := strings.IndexByte(src, 0); i >= 0 { // the library takes it for the end
		line, column := position(src, i)
		return nil, ferry.Errorf(ferry.CodeBadConfig, "%w", &SourceError{Line: line, Column: column, Err: errors.New("a byte of zero cannot stand there")})
	}
	used := mentioned(src, names)
	code, err := compile(src, used)
	if err != nil {
		return nil, sourceError(src, names, err, func(other string) error {
			_, err := compile(other, used, gojq.WithFunction(standInFunction, 0, 30, func(any, []any) any { return nil }))
			return err
		})
	}
	return &Program{code: code, vars: used, values: make([]any, len(used))}, nil
}

// standInFunction stands in for functions that are not defined, while the place of
// one is looked for.
const standInFunction = "_stand_in"

func compile(src string, vars []string, more ...gojq.CompilerOption) (*gojq.Code, error) {
	query, err := gojq.Parse(src)
	if err != nil {
		return nil, err
	}
	for _, t := range scan(src).tokens {
		if t.kind == tokenFormat && !isFormat(t.text) {
			return nil, errors.New("format not defined: " + t.text) // else told when it runs
		}
	}
	guard(query)
	dollars := make([]string, len(vars))
	for i, name := range vars {
		dollars[i] = "$" + name
	}
	return gojq.Compile(query, slices.Concat(options(), more, []gojq.CompilerOption{gojq.WithVariables(dollars)})...)
}

func isFormat(name string) bool {
	switch name {
	case "@text", "@json", "@html", "@uri", "@urid", "@csv", "@tsv", "@sh", "@base64", "@base64d":
		return true
	}
	return false
}

// mentioned gives those of names that src may use as variables. One that stands
// in a text or a comment only is harmless.
func mentioned(src string, names []string) []string {
	var used []string
	for _, name := range names {
		if strings.Contains(src, "$"+name) {
			used = append(used, name)
		}
	}
	return used
}

// With gives the program with values for its variables. value is asked for those
// only that the program uses; it gives what [Program.Eval] may give. A program
// without variables is given back as it is.
func (p *Program) With(value func(name string) any) *Program {
	if len(p.vars) == 0 {
		return p
	}
	bound := &Program{code: p.code, vars: p.vars, values: make([]any, len(p.vars))}
	for i, name := range p.vars {
		bound.values[i] = value(name)
	}
	return bound
}

// Run gives the program's first output over the JSON input, as JSON.
// [ErrNoOutput] when there is none.
func (p *Program) Run(ctx context.Context, input []byte) ([]byte, error) {
	value, err := Decode(input)
	if err != nil {
		return nil, err
	}
	return p.RunValue(ctx, value)
}

// RunValue is Run over a value that [Decode] made.
func (p *Program) RunValue(ctx context.Context, input any) ([]byte, error) {
	out, err := p.Eval(ctx, input)
	if err != nil {
		return nil, err
	}
	return encode(out, MaxOutput)
}

// RunString gives the program's first output as text: a string without quotes,
// a number or a boolean as it is written, nothing for null and for no output.
// An array or an object is an error.
func (p *Program) RunString(ctx context.Context, input []byte) (string, error) {
	value, err := Decode(input)
	if err != nil {
		return "", err
	}
	return p.StringOf(ctx, value)
}

// StringOf is RunString over a value that [Decode] made.
func (p *Program) StringOf(ctx context.Context, input any) (string, error) {
	out, err := p.Eval(ctx, input)
	switch {
	case errors.Is(err, ErrNoOutput):
		return "", nil
	case err != nil:
		return "", err
	}
	switch v := out.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []any, map[string]any:
		return "", fmt.Errorf("the program gives %s where text or a number is wanted", kindOf(v))
	default:
		text, err := encode(v, MaxOutput)
		return string(text), err
	}
}

// Eval gives the program's first output as a value: nil, bool, string, []any,
// map[string]any, or one of the number types int, float64, *big.Int and
// json.Number. The value may share parts with the input; neither may be altered.
func (p *Program) Eval(ctx context.Context, input any) (out any, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, MaxTime, ErrTooSlow)
	defer cancel()
	// The library panics on values of other types than it knows. Decode makes
	// none, but a message must never end the worker.
	defer func() {
		if r := recover(); r != nil {
			out, err = nil, fmt.Errorf("the program failed: %v", r)
		}
	}()
	out, ok := p.code.RunWithContext(ctx, input, p.values...).Next()
	if !ok {
		return nil, ErrNoOutput
	}
	if failure, is := out.(error); is {
		return nil, runError(ctx, failure)
	}
	return out, nil
}

// runError says in our words what ended a program.
func runError(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return context.Cause(ctx)
	}
	var halt *gojq.HaltError
	if errors.As(err, &halt) && halt.Value() == nil {
		return ErrNoOutput
	}
	return clipError(err)
}

// clipError bounds the text of an error: the library quotes values.
func clipError(err error) error {
	const most = 1 << 10
	if text := err.Error(); len(text) > most {
		return errors.New(text[:most] + "…")
	}
	return err
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	case json.Number:
		return "a number"
	default:
		return "a number"
	}
}
