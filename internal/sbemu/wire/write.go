package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// AppendValue encodes one value behind b. It fails for what is no value of AMQP.
func AppendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, codeNull), nil
	case bool:
		return appendBool(b, v), nil
	case string:
		return appendString(b, v), nil
	case Symbol:
		return appendSymbol(b, v), nil
	case []byte:
		return appendBinary(b, v), nil
	case UUID:
		return append(append(b, codeUUID), v[:]...), nil
	case time.Time:
		return binary.BigEndian.AppendUint64(append(b, codeTime), uint64(milliseconds(v))), nil
	case Described:
		b, err := AppendValue(append(b, codeDescribed), v.Descriptor)
		if err != nil {
			return b, err
		}
		return AppendValue(b, v.Value)
	case []any:
		return appendList(b, v)
	case Map:
		return appendMap(b, v)
	}
	return appendNumber(b, v)
}

func appendNumber(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case uint8:
		return append(b, codeUbyte, v), nil
	case int8:
		return append(b, codeByte, byte(v)), nil
	case uint16:
		return binary.BigEndian.AppendUint16(append(b, codeUshort), v), nil
	case int16:
		return binary.BigEndian.AppendUint16(append(b, codeShort), uint16(v)), nil
	case uint32:
		return appendUint(b, v), nil
	case int32: // also rune: nothing here sends characters
		return binary.BigEndian.AppendUint32(append(b, codeInt), uint32(v)), nil
	case uint64:
		return appendUlong(b, v), nil
	case int64:
		return binary.BigEndian.AppendUint64(append(b, codeLong), uint64(v)), nil
	case float32:
		return binary.BigEndian.AppendUint32(append(b, codeFloat), math.Float32bits(v)), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(b, codeDouble), math.Float64bits(v)), nil
	}
	return b, fmt.Errorf("%T is no value of AMQP", v)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, codeTrue)
	}
	return append(b, codeFalse)
}

func appendUint(b []byte, v uint32) []byte {
	switch {
	case v == 0:
		return append(b, codeUint0)
	case v < 256:
		return append(b, codeSmallUint, byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, codeUint), v)
}

func appendUlong(b []byte, v uint64) []byte {
	switch {
	case v == 0:
		return append(b, codeUlong0)
	case v < 256:
		return append(b, codeSmallUl, byte(v))
	}
	return binary.BigEndian.AppendUint64(append(b, codeUlong), v)
}

func appendString(b []byte, v string) []byte {
	return append(appendSize(b, codeStr8, codeStr32, len(v)), v...)
}

func appendSymbol(b []byte, v Symbol) []byte {
	return append(appendSize(b, codeSym8, codeSym32, len(v)), v...)
}

func appendBinary(b, v []byte) []byte {
	return append(appendSize(b, codeBin8, codeBin32, len(v)), v...)
}

func appendSize(b []byte, narrow, wide byte, n int) []byte {
	if n < 256 {
		return append(b, narrow, byte(n))
	}
	return binary.BigEndian.AppendUint32(append(b, wide), uint32(n))
}

func appendList(b []byte, list []any) ([]byte, error) {
	if len(list) == 0 {
		return append(b, codeList0), nil
	}
	start := len(b)
	b = openCompound(b, codeList32)
	for _, v := range list {
		var err error
		if b, err = AppendValue(b, v); err != nil {
			return b, err
		}
	}
	return closeCompound(b, start, len(list)), nil
}

func appendMap(b []byte, m Map) ([]byte, error) {
	start := len(b)
	b = openCompound(b, codeMap32)
	for _, p := range m {
		var err error
		if b, err = AppendValue(b, p.Key); err != nil {
			return b, err
		}
		if b, err = AppendValue(b, p.Value); err != nil {
			return b, err
		}
	}
	return closeCompound(b, start, 2*len(m)), nil
}

// openCompound leaves room for size and count, which closeCompound fills in.
func openCompound(b []byte, code byte) []byte {
	return append(b, code, 0, 0, 0, 0, 0, 0, 0, 0)
}

func closeCompound(b []byte, start, count int) []byte {
	binary.BigEndian.PutUint32(b[start+1:], uint32(len(b)-start-5))
	binary.BigEndian.PutUint32(b[start+5:], uint32(count))
	return b
}
