package wire

import "time"

// Uint is an unsigned number that may be absent.
type Uint struct {
	Value uint32
	Set   bool
}

// U is a Uint that is there.
func U(v uint32) Uint { return Uint{Value: v, Set: true} }

// fields takes the fields of a composite in their order. One that is null or
// missing at the end is the zero value.
type fields struct {
	reader
	left  int
	outer *reader
}

// composite opens the list of a described type whose descriptor is already read.
func (r *reader) composite() *fields {
	f := &fields{outer: r}
	switch code := r.byte(); code {
	case codeList0:
	case codeList8, codeList32:
		f.reader, f.left = r.compound(code == codeList32)
	default:
		r.fail("a composite begins with %#02x", code)
	}
	return f
}

// close hands an error to the reader that the composite came from. Fields that
// are unknown here are passed over.
func (f *fields) close() { f.outer.inherit(f.reader) }

// next returns the code of the next field, and false for null and missing ones.
func (f *fields) next() (byte, bool) {
	if f.left == 0 || f.err != nil {
		return 0, false
	}
	f.left--
	code := f.byte()
	return code, f.err == nil && code != codeNull
}

func field[T any](f *fields, what string) (T, bool) {
	var zero T
	code, ok := f.next()
	if !ok {
		return zero, false
	}
	v, ok := f.valueOf(code, 0).(T)
	if !ok {
		f.fail("a field is no %s", what)
	}
	return v, ok
}

func (f *fields) str() string {
	code, ok := f.next()
	if !ok {
		return ""
	}
	switch code {
	case codeStr8, codeStr32, codeSym8, codeSym32:
		return string(f.sized(code == codeStr32 || code == codeSym32))
	}
	f.fail("a field is no string")
	return ""
}

func (f *fields) symbol() Symbol { return Symbol(f.str()) }

func (f *fields) bool() bool {
	code, ok := f.next()
	switch {
	case !ok:
		return false
	case code == codeTrue:
		return true
	case code == codeFalse:
		return false
	case code == codeBool:
		return f.byte() == 1
	}
	f.fail("a field is no boolean")
	return false
}

func (f *fields) uint() Uint {
	code, ok := f.next()
	if !ok {
		return Uint{}
	}
	switch code {
	case codeUint0:
		return U(0)
	case codeSmallUint:
		return U(uint32(f.byte()))
	case codeUint:
		return U(f.uint32())
	}
	f.fail("a field is no uint")
	return Uint{}
}

func (f *fields) ulong() uint64 {
	v, _ := field[uint64](f, "ulong")
	return v
}

func (f *fields) ushort() Uint {
	v, ok := field[uint16](f, "ushort")
	return Uint{Value: uint32(v), Set: ok}
}

func (f *fields) ubyte() Uint {
	v, ok := field[byte](f, "ubyte")
	return Uint{Value: uint32(v), Set: ok}
}

func (f *fields) binary() []byte {
	v, _ := field[[]byte](f, "binary")
	return v
}

func (f *fields) mapping() Map {
	v, _ := field[Map](f, "map")
	return v
}

func (f *fields) any() any {
	code, ok := f.next()
	if !ok {
		return nil
	}
	return f.valueOf(code, 0)
}

// described opens a field that is a composite itself. The caller takes its
// fields and closes it; nil for null.
func (f *fields) described() (uint64, *fields) {
	code, ok := f.next()
	if !ok {
		return 0, nil
	}
	if code != codeDescribed {
		f.fail("a field is no composite")
		return 0, nil
	}
	descriptor := f.descriptor()
	if f.err != nil {
		return 0, nil
	}
	return descriptor, f.composite()
}

// descriptor takes what stands between 0x00 and the list: a number, or its name.
func (r *reader) descriptor() uint64 {
	switch d := r.value(0).(type) {
	case uint64:
		return d
	case Symbol:
		if code, ok := named(d); ok {
			return code
		}
		r.fail("nothing is described by %.40q", string(d))
	default:
		r.fail("a descriptor is neither number nor symbol")
	}
	return 0
}

// list builds a composite. Null fields at its end are left away.
type list struct {
	b       []byte
	start   int
	count   int
	kept    int // fields up to the last one that is not null
	keptEnd int // where that one ends
	err     error
}

// describe begins a composite. The descriptor is one byte: peers read no other
// form.
func describe(b []byte, code byte) *list {
	b = append(b, codeDescribed, codeSmallUl, code)
	l := &list{start: len(b)}
	l.b = openCompound(b, codeList32)
	l.keptEnd = len(l.b)
	return l
}

func (l *list) done() ([]byte, error) {
	if l.err != nil {
		return l.b, l.err
	}
	if l.kept == 0 {
		return append(l.b[:l.start], codeList0), nil
	}
	return closeCompound(l.b[:l.keptEnd], l.start, l.kept), nil
}

func (l *list) null() *list {
	l.b = append(l.b, codeNull)
	l.count++
	return l
}

// put notes that a field stands behind what was there.
func (l *list) put(b []byte) *list {
	l.b = b
	l.count++
	l.kept, l.keptEnd = l.count, len(b)
	return l
}

func (l *list) str(v string) *list {
	if v == "" {
		return l.null()
	}
	return l.put(appendString(l.b, v))
}

func (l *list) symbol(v Symbol) *list {
	if v == "" {
		return l.null()
	}
	return l.put(appendSymbol(l.b, v))
}

func (l *list) bool(v bool) *list {
	if !v {
		return l.null()
	}
	return l.put(append(l.b, codeTrue))
}

func (l *list) uint(v Uint) *list {
	if !v.Set {
		return l.null()
	}
	return l.put(appendUint(l.b, v.Value))
}

func (l *list) ushort(v Uint) *list {
	if !v.Set {
		return l.null()
	}
	return l.put(append(l.b, codeUshort, byte(v.Value>>8), byte(v.Value)))
}

func (l *list) ubyte(v Uint) *list {
	if !v.Set {
		return l.null()
	}
	return l.put(append(l.b, codeUbyte, byte(v.Value)))
}

func (l *list) ulong(v uint64) *list {
	if v == 0 {
		return l.null()
	}
	return l.put(appendUlong(l.b, v))
}

func (l *list) binary(v []byte) *list {
	if v == nil {
		return l.null()
	}
	return l.put(appendBinary(l.b, v))
}

func (l *list) millis(d time.Duration) *list {
	if d <= 0 {
		return l.null()
	}
	return l.put(appendUint(l.b, uint32(d/time.Millisecond)))
}

func (l *list) any(v any) *list {
	if m, ok := v.(Map); v == nil || ok && len(m) == 0 {
		return l.null()
	}
	b, err := AppendValue(l.b, v)
	if err != nil && l.err == nil {
		l.err = err
	}
	return l.put(b)
}

// nested puts a composite as a field; nil is null.
func (l *list) nested(present bool, build func(b []byte) ([]byte, error)) *list {
	if !present {
		return l.null()
	}
	b, err := build(l.b)
	if err != nil && l.err == nil {
		l.err = err
	}
	return l.put(b)
}
