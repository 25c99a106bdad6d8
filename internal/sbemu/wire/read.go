package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// reader takes values from bytes. The first error stays, and everything after it
// is zero, so that callers look once, at the end.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
	}
	r.b = nil
}

// take returns the next n bytes, which stay the reader's.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("%d bytes wanted, %d there", n, len(r.b))
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return codeNull
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// sized returns the bytes of a value that has its length before it, in one or in
// four bytes.
func (r *reader) sized(wide bool) []byte {
	n := 0
	if wide {
		n = int(int64(r.uint32()))
	} else {
		n = int(r.byte())
	}
	if r.err != nil {
		return nil
	}
	return r.take(n)
}

// compound returns a reader of the entries of a list, map or array, and how many
// there are.
func (r *reader) compound(wide bool) (reader, int) {
	body := reader{b: r.sized(wide)}
	n := 0
	if wide {
		n = int(int64(body.uint32()))
	} else {
		n = int(body.byte())
	}
	// An entry has a byte at least, but for those of arrays of true or null.
	if n > mostValues || n > len(body.b)+1 && r.err == nil {
		body.fail("%d entries in %d bytes", n, len(body.b))
	}
	if r.err == nil {
		r.err = body.err
	}
	if r.err != nil {
		r.b = nil
		return reader{err: r.err}, 0
	}
	return body, n
}

// value takes any one value.
func (r *reader) value(depth int) any {
	return r.valueOf(r.byte(), depth)
}

func (r *reader) valueOf(code byte, depth int) any {
	if depth > mostDepth {
		r.fail("values nested deeper than %d", mostDepth)
		return nil
	}
	switch code {
	case codeDescribed:
		d := r.value(depth + 1)
		return Described{Descriptor: d, Value: r.value(depth + 1)}
	case codeNull:
		return nil
	case codeTrue:
		return true
	case codeFalse:
		return false
	case codeBool:
		return r.byte() == 1
	case codeList0:
		return []any{}
	case codeList8, codeList32:
		return r.list(code == codeList32, depth)
	case codeMap8, codeMap32:
		return r.mapping(code == codeMap32, depth)
	case codeArray8, codeArray32:
		return r.array(code == codeArray32, depth)
	case codeBin8, codeBin32:
		return append([]byte{}, r.sized(code == codeBin32)...)
	case codeStr8, codeStr32:
		return string(r.sized(code == codeStr32))
	case codeSym8, codeSym32:
		return Symbol(r.sized(code == codeSym32))
	}
	return r.fixed(code)
}

// fixed takes the rest of a value whose code says its width.
func (r *reader) fixed(code byte) any {
	switch code {
	case codeUbyte:
		return r.byte()
	case codeByte:
		return int8(r.byte())
	case codeUshort:
		return r.uint16()
	case codeShort:
		return int16(r.uint16())
	case codeUint0:
		return uint32(0)
	case codeSmallUint:
		return uint32(r.byte())
	case codeUint:
		return r.uint32()
	case codeSmallInt:
		return int32(int8(r.byte()))
	case codeInt:
		return int32(r.uint32())
	case codeUlong0:
		return uint64(0)
	case codeSmallUl:
		return uint64(r.byte())
	case codeUlong:
		return r.uint64()
	case codeSmallLong:
		return int64(int8(r.byte()))
	case codeLong:
		return int64(r.uint64())
	case codeFloat:
		return math.Float32frombits(r.uint32())
	case codeDouble:
		return math.Float64frombits(r.uint64())
	case codeChar:
		return rune(r.uint32())
	case codeTime:
		return time.UnixMilli(int64(r.uint64())).UTC()
	case codeUUID:
		var u UUID
		copy(u[:], r.take(16))
		return u
	}
	r.fail("no value begins with %#02x", code)
	return nil
}

func (r *reader) list(wide bool, depth int) []any {
	body, n := r.compound(wide)
	out := make([]any, 0, min(n, 16))
	for ; n > 0 && body.err == nil; n-- {
		out = append(out, body.value(depth+1))
	}
	r.inherit(body)
	return out
}

func (r *reader) mapping(wide bool, depth int) Map {
	body, n := r.compound(wide)
	if n%2 != 0 {
		body.fail("a map with a key and no value")
	}
	out := make(Map, 0, min(n/2, 16))
	for ; n > 0 && body.err == nil; n -= 2 {
		key := body.value(depth + 1)
		out = append(out, Pair{Key: key, Value: body.value(depth + 1)})
	}
	r.inherit(body)
	return out
}

// array takes an array as a list: in what a server reads of performatives there
// is no difference.
func (r *reader) array(wide bool, depth int) []any {
	body, n := r.compound(wide)
	code := body.byte()
	var descriptor any
	described := code == codeDescribed
	if described {
		descriptor = body.value(depth + 1)
		code = body.byte()
	}
	out := make([]any, 0, min(n, 16))
	for ; n > 0 && body.err == nil; n-- {
		v := body.valueOf(code, depth+1)
		if described {
			v = Described{Descriptor: descriptor, Value: v}
		}
		out = append(out, v)
	}
	r.inherit(body)
	return out
}

func (r *reader) inherit(body reader) {
	if r.err == nil && body.err != nil {
		r.err, r.b = body.err, nil
	}
}
