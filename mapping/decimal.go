package mapping

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/itchyny/gojq"
)

// maxDigits bounds the digits before and after the point of what the decimal
// functions reckon with: an exponent of ten characters would else ask for
// gigabytes.
const maxDigits = 1000

// decimal is unscaled * 10^-scale, scale >= 0: exact, and it knows how many
// decimals it was written with.
type decimal struct {
	unscaled *big.Int
	scale    int
}

// decimalFunctions reckon with amounts; the package's comment explains them.
func decimalFunctions() []gojq.CompilerOption {
	return []gojq.CompilerOption{
		gojq.WithFunction("decsum", 0, 0, func(in any, _ []any) any { return decsum(in) }),
		gojq.WithFunction("decadd", 2, 2, binary("decadd", add)),
		gojq.WithFunction("decsub", 2, 2, binary("decsub", func(a, b decimal) decimal { return add(a, b.negated()) })),
		gojq.WithFunction("decmul", 2, 2, binary("decmul", multiply)),
		gojq.WithFunction("decround", 1, 1, func(in any, args []any) any { return decround(in, args[0]) }),
		gojq.WithFunction("decimal", 0, 0, func(in any, _ []any) any {
			text, err := numberText(in)
			if err == nil {
				_, err = parseDecimal(text)
			}
			if err != nil {
				return fmt.Errorf("decimal: %w", err)
			}
			return json.Number(text)
		}),
	}
}

func binary(name string, f func(a, b decimal) decimal) func(any, []any) any {
	return func(_ any, args []any) any {
		a, err := toDecimal(args[0])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		b, err := toDecimal(args[1])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return f(a, b).number()
	}
}

func decsum(in any) any {
	items, ok := in.([]any)
	if !ok {
		return fmt.Errorf("decsum: %s is no array", kindOf(in))
	}
	sum := decimal{unscaled: new(big.Int)}
	for i, item := range items {
		d, err := toDecimal(item)
		if err != nil {
			return fmt.Errorf("decsum: item %d: %w", i, err)
		}
		sum = add(sum, d)
	}
	return sum.number()
}

func decround(in, places any) any {
	d, err := toDecimal(in)
	if err != nil {
		return fmt.Errorf("decround: %w", err)
	}
	text, err := numberText(places)
	n, convErr := strconv.Atoi(text)
	if err != nil || convErr != nil || n < 0 || n > maxDigits {
		return fmt.Errorf("decround: the number of decimals is a whole number from 0 to %d", maxDigits)
	}
	return d.rounded(n).number()
}

func add(a, b decimal) decimal {
	scale := max(a.scale, b.scale)
	return decimal{unscaled: new(big.Int).Add(a.scaledTo(scale), b.scaledTo(scale)), scale: scale}
}

func multiply(a, b decimal) decimal {
	return decimal{unscaled: new(big.Int).Mul(a.unscaled, b.unscaled), scale: a.scale + b.scale}
}

func (d decimal) negated() decimal {
	return decimal{unscaled: new(big.Int).Neg(d.unscaled), scale: d.scale}
}

// scaledTo gives the unscaled value for a scale that is not smaller.
func (d decimal) scaledTo(scale int) *big.Int {
	return new(big.Int).Mul(d.unscaled, pow10(scale-d.scale))
}

// rounded gives d with exactly n decimals, halves away from zero.
func (d decimal) rounded(n int) decimal {
	if n >= d.scale {
		return decimal{unscaled: d.scaledTo(n), scale: n}
	}
	unit := pow10(d.scale - n)
	half := new(big.Int).Quo(unit, big.NewInt(2))
	size := new(big.Int).Abs(d.unscaled)
	size.Add(size, half).Quo(size, unit)
	if d.unscaled.Sign() < 0 {
		size.Neg(size)
	}
	return decimal{unscaled: size, scale: n}
}

// number writes d with all its decimals, never with an exponent.
func (d decimal) number() json.Number {
	digits := new(big.Int).Abs(d.unscaled).String()
	if len(digits) <= d.scale {
		digits = strings.Repeat("0", d.scale-len(digits)+1) + digits
	}
	if d.scale > 0 {
		digits = digits[:len(digits)-d.scale] + "." + digits[len(digits)-d.scale:]
	}
	if d.unscaled.Sign() < 0 {
		digits = "-" + digits
	}
	return json.Number(digits)
}

func toDecimal(v any) (decimal, error) {
	text, err := numberText(v)
	if err != nil {
		return decimal{}, err
	}
	return parseDecimal(text)
}

// numberText is the JSON text of a number, or of a string that holds one.
func numberText(v any) (string, error) {
	switch v := v.(type) {
	case json.Number:
		return string(v), nil
	case string:
		if !isNumber(v) {
			return "", fmt.Errorf("the text %q is no number", clip(v))
		}
		return v, nil
	case int, float64, *big.Int:
		text, err := encode(v, MaxOutput)
		return string(text), err
	default:
		return "", fmt.Errorf("%s is no number", kindOf(v))
	}
}

// parseDecimal reads the JSON text of a number.
func parseDecimal(text string) (decimal, error) {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		mantissa = text[:i]
		var err error
		if exponent, err = strconv.Atoi(text[i+1:]); err != nil {
			return decimal{}, fmt.Errorf("the number %s is out of range", clip(text))
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	scale := len(fraction) - exponent
	if len(whole) > maxDigits || len(fraction) > maxDigits || scale > maxDigits || -scale > maxDigits {
		return decimal{}, fmt.Errorf("the number %s has more than %d digits", clip(text), maxDigits)
	}
	unscaled, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok {
		return decimal{}, fmt.Errorf("%q is no number", clip(text))
	}
	if scale < 0 {
		unscaled.Mul(unscaled, pow10(-scale))
		scale = 0
	}
	return decimal{unscaled: unscaled, scale: scale}, nil
}

// isNumber says whether s is a number as JSON writes them: no spaces, no plus,
// no thousands.
func isNumber(s string) bool {
	if s == "" || s[0] != '-' && (s[0] < '0' || s[0] > '9') {
		return false
	}
	return json.Valid([]byte(s))
}

func pow10(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

func clip(s string) string {
	if len(s) <= 40 {
		return s
	}
	return s[:40] + "…"
}
