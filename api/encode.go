package api

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// timeFormat is how every answer writes a time: RFC 3339, UTC, always with
// milliseconds, so that times also sort as text.
const timeFormat = "2006-01-02T15:04:05.000Z"

// encode is v as JSON, as encoding/json would write it, but for three things:
// times have timeFormat, an absent list is [] and never null, and raw JSON
// passes through to the byte.
func encode(v any) []byte {
	e := encoder{fields: map[reflect.Type][]field{}}
	return e.append(make([]byte, 0, 512), reflect.ValueOf(v))
}

type encoder struct {
	fields map[reflect.Type][]field
}

const jsonNull = "null"

// The types that have a form of their own.
var (
	timeType  = reflect.TypeFor[time.Time]()
	rawType   = reflect.TypeFor[json.RawMessage]()
	textType  = reflect.TypeFor[encoding.TextMarshaler]()
	bytesType = reflect.TypeFor[[]byte]()
)

func (e *encoder) append(b []byte, v reflect.Value) []byte {
	if !v.IsValid() {
		return append(b, jsonNull...)
	}
	t := v.Type()
	switch {
	case t == timeType:
		b = append(b, '"')
		b = v.Interface().(time.Time).UTC().AppendFormat(b, timeFormat)
		return append(b, '"')
	case t == rawType:
		return appendRaw(b, v.Bytes())
	case t == bytesType:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, v.Bytes())
		return append(b, '"')
	case t.Kind() != reflect.Pointer && t.Implements(textType):
		text, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return append(b, jsonNull...)
		}
		return appendString(b, string(text))
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, jsonNull...)
		}
		return e.append(b, v.Elem())
	case reflect.Struct:
		return e.appendStruct(b, v)
	case reflect.Map:
		return e.appendMap(b, v)
	case reflect.Slice, reflect.Array:
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = e.append(b, v.Index(i))
		}
		return append(b, ']')
	case reflect.String:
		return appendString(b, v.String())
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10)
	default: // floats
		text, err := json.Marshal(v.Interface())
		if err != nil {
			return append(b, jsonNull...)
		}
		return append(b, text...)
	}
}

func (e *encoder) appendStruct(b []byte, v reflect.Value) []byte {
	fields, ok := e.fields[v.Type()]
	if !ok {
		fields = fieldsOf(v.Type())
		e.fields[v.Type()] = fields
	}
	b = append(b, '{')
	first := true
	for i := range fields {
		f := &fields[i]
		member := v.FieldByIndex(f.index)
		if f.leftOut(member) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, f.name)
		b = append(b, ':')
		b = e.append(b, member)
	}
	return append(b, '}')
}

// appendMap writes maps with string keys, sorted.
func (e *encoder) appendMap(b []byte, v reflect.Value) []byte {
	members := make(map[string]reflect.Value, v.Len())
	for key, value := range v.Seq2() {
		members[key.String()] = value
	}
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, name)
		b = append(b, ':')
		b = e.append(b, members[name])
	}
	return append(b, '}')
}

// appendRaw writes JSON that somebody else made; what is not JSON becomes a
// string, so that it cannot break the answer around it.
func appendRaw(b, raw []byte) []byte {
	if len(raw) == 0 {
		return append(b, jsonNull...)
	}
	if !json.Valid(raw) {
		return appendString(b, string(raw))
	}
	return append(b, raw...)
}

// appendString writes a JSON string; bytes that are not UTF-8 become U+FFFD.
func appendString(b []byte, s string) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		ch := s[i]
		switch {
		case ch == '"' || ch == '\\':
			b = append(b, '\\', ch)
		case ch == '\n':
			b = append(b, '\\', 'n')
		case ch < 0x20 || ch == 0x7f:
			b = append(b, '\\', 'u', '0', '0', digits[ch>>4], digits[ch&0xf])
		case ch < utf8.RuneSelf:
			b = append(b, ch)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r) // RuneError writes U+FFFD
			i += size
			continue
		}
		i++
	}
	return append(b, '"')
}
