package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Decode reads JSON into a value that programs take, its numbers kept as text.
// More than one value, or more than MaxInput bytes, is an error. A byte order
// mark in front is skipped: some systems write one.
func Decode(data []byte) (any, error) {
	if len(data) > MaxInput {
		return nil, fmt.Errorf("the JSON has %d bytes, at most %d can be mapped", len(data), MaxInput)
	}
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("there is no JSON: the body is empty")
		}
		return nil, fmt.Errorf("it is not valid JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("it is not valid JSON: something follows the first value")
	}
	return v, nil
}

// encode writes v as JSON of at most `most` bytes. It is our own because a
// value may share its parts: a few bytes of program make a value whose text
// would fill the memory, and the bound must hold while it is written.
// Encode writes a value that [Decode] or [Program.Eval] gave as JSON, of at most
// MaxOutput bytes.
func Encode(v any) ([]byte, error) { return encode(v, MaxOutput) }

func encode(v any, most int) ([]byte, error) {
	e := encoder{most: most}
	if err := e.value(v); err != nil {
		return nil, err
	}
	return e.out, nil
}

// maxDepth bounds nesting, as encoding/json bounds that of what is read: the
// stack of a process is not to be had for one message.
const maxDepth = 10_000

type encoder struct {
	out   []byte
	most  int
	depth int
}

func (e *encoder) value(v any) error {
	if e.depth++; e.depth > maxDepth {
		return fmt.Errorf("the program gives a value nested deeper than %d", maxDepth)
	}
	defer func() { e.depth-- }()
	switch v := v.(type) {
	case nil:
		e.out = append(e.out, "null"...)
	case bool:
		e.out = strconv.AppendBool(e.out, v)
	case int:
		e.out = strconv.AppendInt(e.out, int64(v), 10)
	case float64:
		e.float(v)
	case *big.Int:
		e.out = v.Append(e.out, 10)
	case json.Number:
		e.out = append(e.out, v...)
	case string:
		e.text(v)
	case []any:
		return e.array(v)
	case map[string]any:
		return e.object(v)
	default:
		return fmt.Errorf("the program gives a value of type %T", v)
	}
	return e.bound()
}

func (e *encoder) bound() error {
	if len(e.out) > e.most {
		return fmt.Errorf("the program gives more than %d bytes", e.most)
	}
	return nil
}

func (e *encoder) array(items []any) error {
	e.out = append(e.out, '[')
	for i, item := range items {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		if err := e.value(item); err != nil {
			return err
		}
	}
	e.out = append(e.out, ']')
	return e.bound()
}

func (e *encoder) object(members map[string]any) error {
	keys := make([]string, 0, len(members))
	for key := range members {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	e.out = append(e.out, '{')
	for i, key := range keys {
		if i > 0 {
			e.out = append(e.out, ',')
		}
		e.text(key)
		e.out = append(e.out, ':')
		if err := e.value(members[key]); err != nil {
			return err
		}
	}
	e.out = append(e.out, '}')
	return e.bound()
}

// float writes what jq writes: no infinity in JSON, so the largest number
// stands for it, and null for what is no number.
func (e *encoder) float(f float64) {
	if math.IsNaN(f) {
		e.out = append(e.out, "null"...)
		return
	}
	f = min(max(f, -math.MaxFloat64), math.MaxFloat64)
	format := byte('f')
	if size := math.Abs(f); size != 0 && size < 1e-6 || size >= 1e21 {
		format = 'e'
	}
	e.out = strconv.AppendFloat(e.out, f, format, -1, 64)
}

// text writes a string with no more escapes than JSON needs; bytes that are
// not UTF-8 become the replacement character.
func (e *encoder) text(s string) {
	const hex = "0123456789abcdef"
	e.out = append(e.out, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			e.out = utf8.AppendRune(e.out, r)
			i += size
			continue
		}
		switch {
		case c == '"' || c == '\\':
			e.out = append(e.out, '\\', c)
		case c == '\n':
			e.out = append(e.out, '\\', 'n')
		case c == '\r':
			e.out = append(e.out, '\\', 'r')
		case c == '\t':
			e.out = append(e.out, '\\', 't')
		case c < 0x20 || c == 0x7f:
			e.out = append(e.out, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		default:
			e.out = append(e.out, c)
		}
		i++
	}
	e.out = append(e.out, '"')
}
