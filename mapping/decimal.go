package mapping

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
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

// decimalFunctions reckon with amounts, and write them; docs/mapping.md has an
// example of each. Those that write give null for null.
func decimalFunctions() []function {
	return []function{
		{name: "decsum", call: func(in any, _ []any) (any, error) { return decsum(in) }},
		reckon("decadd", func(a, b decimal) any { return add(a, b).number() }),
		reckon("decsub", func(a, b decimal) any { return add(a, b.negated()).number() }),
		reckon("decmul", func(a, b decimal) any { return multiply(a, b).number() }),
		reckon("deccmp", func(a, b decimal) any {
			scale := max(a.scale, b.scale)
			return a.scaledTo(scale).Cmp(b.scaledTo(scale))
		}),
		{name: "decdiv", least: 3, most: 3, call: func(_ any, args []any) (any, error) {
			a, b, err := two(args)
			if err != nil {
				return nil, err
			}
			n, err := places(args[2])
			if err == nil && b.unscaled.Sign() == 0 {
				err = fmt.Errorf("%s is to be divided by 0", a.number())
			}
			if err != nil {
				return nil, err
			}
			return divide(a, b, n).number(), nil
		}},
		{name: "decimal", call: func(in any, _ []any) (any, error) {
			text, err := numberText(in)
			if err == nil {
				_, err = parseDecimal(text)
			}
			return json.Number(text), err
		}},
		{name: "decround", least: 1, most: 1, call: func(in any, args []any) (any, error) {
			d, err := toDecimal(in)
			if err != nil {
				return nil, err
			}
			n, err := places(args[0])
			if err != nil {
				return nil, err
			}
			return d.rounded(n).number(), nil
		}},
		write("decneg", 0, func(d decimal, _ int) any { return d.negated().number() }),
		write("decabs", 0, func(d decimal, _ int) any { return decimal{new(big.Int).Abs(d.unscaled), d.scale}.number() }),
		write("mindecimals", 1, func(d decimal, n int) any { return d.rounded(max(n, d.scale)).number() }),
		write("decstring", 1, func(d decimal, n int) any { return string(d.rounded(n).number()) }),
		write("decstring", 0, func(d decimal, _ int) any { return string(d.number()) }),
		write("deccomma", 1, func(d decimal, n int) any { return strings.Replace(string(d.rounded(n).number()), ".", ",", 1) }),
		write("trytondecimal", 0, func(d decimal, _ int) any {
			return map[string]any{"__class__": "Decimal", "decimal": string(d.number())}
		}),
		shape("parsedecimal", 1, func(in any, args []any) (any, error) { return parseWritten(in, args[0]) }),
	}
}

// reckon is a function of two amounts.
func reckon(name string, f func(a, b decimal) any) function {
	return function{name: name, least: 2, most: 2, call: func(_ any, args []any) (any, error) {
		a, b, err := two(args)
		if err != nil {
			return nil, err
		}
		return f(a, b), nil
	}}
}

// write is a function that writes an amount, some with a number of decimals.
func write(name string, args int, f func(d decimal, n int) any) function {
	return shape(name, args, func(in any, args []any) (any, error) {
		d, err := toDecimal(in)
		if err != nil {
			return nil, err
		}
		n := 0
		if len(args) > 0 {
			if n, err = places(args[0]); err != nil {
				return nil, err
			}
		}
		return f(d, n), nil
	})
}

func two(args []any) (a, b decimal, err error) {
	if a, err = toDecimal(args[0]); err == nil {
		b, err = toDecimal(args[1])
	}
	return a, b, err
}

func decsum(in any) (any, error) {
	items, ok := in.([]any)
	if !ok {
		return nil, fmt.Errorf("%s is no array", kindOf(in))
	}
	sum := decimal{unscaled: new(big.Int)}
	for i, item := range items {
		d, err := toDecimal(item)
		if err != nil {
			return nil, fmt.Errorf("item %d: %w", i, err)
		}
		sum = add(sum, d)
	}
	return sum.number(), nil
}

func places(v any) (int, error) {
	n, err := wholeNumber(v, 0, maxDigits)
	if err != nil {
		return 0, fmt.Errorf("the number of decimals: %w", err)
	}
	return n, nil
}

// parseWritten reads an amount as people and reports write it: with that decimal
// separator, grouped by threes or not, the minus in front or behind.
func parseWritten(in, separator any) (any, error) {
	mark, _ := separator.(string)
	if mark != "," && mark != "." {
		return nil, fmt.Errorf("%s is no decimal separator: \",\" or \".\"", shown(separator))
	}
	text, ok := in.(string)
	if !ok {
		return nil, fmt.Errorf("%s is no text", shown(in))
	}
	fail := fmt.Errorf("the text %q is no amount with %q before the decimals", clip(text), mark)
	s, sign := strings.TrimSpace(text), ""
	if strings.HasPrefix(s, "-") != strings.HasSuffix(s, "-") {
		s, sign = strings.TrimSpace(strings.Trim(s, "-")), "-"
	}
	whole, fraction, found := strings.Cut(s, mark)
	if found && fraction == "" {
		return nil, fail
	}
	for _, group := range []string{".", ",", " ", "'", "\u00a0", "\u202f", "\u2019"} {
		if group == mark || !strings.Contains(whole, group) {
			continue
		}
		parts := strings.Split(whole, group)
		for i, part := range parts {
			if i > 0 && len(part) != 3 || i == 0 && (part == "" || len(part) > 3) {
				return nil, fail
			}
		}
		whole = strings.Join(parts, "")
		break // one kind of separator
	}
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return nil, fail
	}
	if found {
		whole += "." + fraction
	}
	d, err := parseDecimal(sign + whole)
	if err != nil {
		return nil, err
	}
	return d.number(), nil
}

func add(a, b decimal) decimal {
	scale := max(a.scale, b.scale)
	return decimal{unscaled: new(big.Int).Add(a.scaledTo(scale), b.scaledTo(scale)), scale: scale}
}

func multiply(a, b decimal) decimal {
	return decimal{unscaled: new(big.Int).Mul(a.unscaled, b.unscaled), scale: a.scale + b.scale}
}

// divide gives a/b with n decimals, halves away from zero; b is not 0.
func divide(a, b decimal, n int) decimal {
	// a.u/10^a.s / (b.u/10^b.s) * 10^n, as one fraction of whole numbers.
	upper := new(big.Int).Mul(a.unscaled, pow10(b.scale+n))
	lower := new(big.Int).Mul(b.unscaled, pow10(a.scale))
	return decimal{unscaled: quotient(upper, lower), scale: n}
}

// quotient rounds halves away from zero.
func quotient(a, b *big.Int) *big.Int {
	size, unit := new(big.Int).Abs(a), new(big.Int).Abs(b)
	size.Add(size.Lsh(size, 1), unit).Quo(size, unit.Lsh(unit, 1))
	if a.Sign()*b.Sign() < 0 {
		size.Neg(size)
	}
	return size
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
	return decimal{unscaled: quotient(d.unscaled, pow10(d.scale-n)), scale: n}
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
