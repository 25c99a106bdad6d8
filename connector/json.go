package connector

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// object is a JSON object that keeps the order of its members: makers see the fields
// of a message in the order in which its schema names them.
//
// A value is an object, a []any, a string, a bool, a json.Number, an int or nil.
type object []member

type member struct {
	name  string
	value any
}

// obj makes an object of names and values in turn; a value that is missing (nil, an
// empty text, an empty object or list) is left out together with its name.
func obj(pairs ...any) object {
	o := make(object, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		name, _ := pairs[i].(string)
		switch v := pairs[i+1].(type) {
		case nil:
			continue
		case string:
			if v == "" {
				continue
			}
		case object:
			if len(v) == 0 {
				continue
			}
		case []any:
			if len(v) == 0 {
				continue
			}
		}
		o = append(o, member{name, pairs[i+1]})
	}
	return o
}

// get is the member's value, nil when there is none.
func (o object) get(name string) any {
	for i := range o {
		if o[i].name == name {
			return o[i].value
		}
	}
	return nil
}

func (o object) has(name string) bool {
	for i := range o {
		if o[i].name == name {
			return true
		}
	}
	return false
}

// with is a copy of o in which the member has the value.
func (o object) with(name string, value any) object {
	made := make(object, 0, len(o)+1)
	for _, m := range o {
		if m.name != name {
			made = append(made, m)
		}
	}
	return append(made, member{name, value})
}

func (o object) text(name string) string {
	s, _ := o.get(name).(string)
	return s
}

func (o object) object(name string) object {
	v, _ := o.get(name).(object)
	return v
}

func (o object) list(name string) []any {
	v, _ := o.get(name).([]any)
	return v
}

func (o object) is(name string) bool {
	v, _ := o.get(name).(bool)
	return v
}

// maxDepth bounds how deep JSON may nest.
const maxDepth = 200

// parse reads one JSON value. Of members that stand twice the last counts, at the
// place of the first.
func parse(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	v, err := parseValue(dec, 0)
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one JSON value")
	}
	return v, nil
}

func parseValue(dec *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it nests deeper than %d levels", maxDepth)
	}
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return parseObject(dec, depth)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := parseValue(dec, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := dec.Token()
		return list, err
	default:
		return token, nil
	}
}

func parseObject(dec *json.Decoder, depth int) (any, error) {
	o, at := object{}, map[string]int{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		v, err := parseValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		if i, twice := at[name]; twice {
			o[i].value = v
			continue
		}
		at[name] = len(o)
		o = append(o, member{name, v})
	}
	_, err := dec.Token()
	return o, err
}

// compact writes v in one line, indented in many. Only ASCII is written: a tool that
// uploads the files reads them in the code page of its machine.
func compact(v any) []byte { return appendValue(nil, v, "", "") }

func indented(v any) []byte { return append(appendValue(nil, v, "\n", "  "), '\n') }

func appendValue(b []byte, v any, line, step string) []byte {
	inner := line
	if line != "" {
		inner = line + step
	}
	switch v := v.(type) {
	case object:
		if len(v) == 0 {
			return append(b, "{}"...)
		}
		b = append(b, '{')
		for i, m := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, inner...)
			b = appendText(b, m.name)
			b = append(b, ':')
			if line != "" {
				b = append(b, ' ')
			}
			b = appendValue(b, m.value, inner, step)
		}
		b = append(b, line...)
		return append(b, '}')
	case []any:
		if len(v) == 0 {
			return append(b, "[]"...)
		}
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, inner...)
			b = appendValue(b, e, inner, step)
		}
		b = append(b, line...)
		return append(b, ']')
	case string:
		return appendText(b, v)
	case bool:
		return strconv.AppendBool(b, v)
	case json.Number:
		return append(b, v...)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	default:
		return append(b, "null"...)
	}
}

func appendText(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	unit := func(u rune) {
		b = append(b, '\\', 'u', digits[u>>12&0xf], digits[u>>8&0xf], digits[u>>4&0xf], digits[u&0xf])
	}
	b = append(b, '"')
	for _, r := range s { // bytes that are not UTF-8 become U+FFFD
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, '\\', 'n')
		case r >= 0x20 && r < 0x7f:
			b = append(b, byte(r))
		case r > 0xffff:
			r -= 0x10000
			unit(0xd800 + r>>10)
			unit(0xdc00 + r&0x3ff)
		default:
			unit(r)
		}
	}
	return append(b, '"')
}

// texts makes a list of strings.
func texts(list ...string) []any {
	made := make([]any, len(list))
	for i, s := range list {
		made[i] = s
	}
	return made
}

// sameValue says whether two JSON values are the same, 1 and 1.0 too.
func sameValue(a, b any) bool {
	if m, ok := a.(json.Number); ok {
		if n, ok := b.(json.Number); ok {
			x, errX := m.Float64()
			y, errY := n.Float64()
			return errX == nil && errY == nil && x == y || m == n
		}
	}
	return bytes.Equal(compact(a), compact(b))
}

// runes counts characters.
func runes(s string) int { return utf8.RuneCountInString(s) }
