package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// What travels is a version byte, a byte that says what it is, and then fields:
// a number (which field), a length, and that many bytes. A reader skips the fields that it does not know,
// so a newer sender may add some; only a change that older readers must not
// misread raises the version.
const wireVersion = 1

// What it is: nothing may ever be taken for something else, wherever a faulty or
// hostile peer directs it.
const (
	kindHandOut byte = 'm'
	kindReceipt byte = 'r'
	kindSignal  byte = 's'
)

// errMalformed says that bytes are not what this package wrote.
var errMalformed = errors.New("malformed")

// versionError is a packet of a version that this program cannot read.
type versionError struct{ version byte }

func (e versionError) Error() string {
	return fmt.Sprintf("written in version %d of the queue's format, this program reads version %d", e.version, wireVersion)
}

func appendUint(b []byte, field int, v uint64) []byte {
	if v == 0 {
		return b
	}
	var value [binary.MaxVarintLen64]byte
	return appendBytes(b, field, value[:binary.PutUvarint(value[:], v)])
}

// appendInt is for counts: a negative one travels as zero.
func appendInt(b []byte, field, v int) []byte { return appendUint(b, field, uint64(max(v, 0))) }

func appendString[T ~string](b []byte, field int, v T) []byte {
	if v == "" {
		return b
	}
	b = binary.AppendUvarint(b, uint64(field))
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendBytes(b []byte, field int, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return appendPart(b, field, v)
}

// appendPart writes the field even when it is empty: one of a list, whose count matters.
func appendPart(b []byte, field int, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(field))
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// appendTime keeps nanoseconds and loses the zone.
func appendTime(b []byte, field int, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	var value [2 * binary.MaxVarintLen64]byte
	n := binary.PutVarint(value[:], t.Unix())
	n += binary.PutUvarint(value[n:], uint64(t.Nanosecond()))
	return appendBytes(b, field, value[:n])
}

// appendPair writes two strings as one field.
func appendPair(b []byte, field int, first, second string) []byte {
	size := uvarintLen(uint64(len(first))) + len(first) + len(second)
	b = binary.AppendUvarint(b, uint64(field))
	b = binary.AppendUvarint(b, uint64(size))
	b = binary.AppendUvarint(b, uint64(len(first)))
	b = append(b, first...)
	return append(b, second...)
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// fields reads what the append functions wrote. After the first fault it yields
// nothing more and err tells why.
type fields struct {
	rest []byte
	err  error
}

// openFields checks the first two bytes.
func openFields(data []byte, kind byte) (fields, error) {
	switch {
	case len(data) == 0:
		return fields{}, fmt.Errorf("%w: empty", errMalformed)
	case data[0] != wireVersion:
		return fields{}, versionError{data[0]}
	case len(data) == 1 || data[1] != kind:
		return fields{}, fmt.Errorf("%w: it is something else", errMalformed)
	}
	return fields{rest: data[2:]}, nil
}

// next is the next field; false at the end and after a fault.
func (f *fields) next() (field int, value []byte, ok bool) {
	if f.err != nil || len(f.rest) == 0 {
		return 0, nil, false
	}
	number, n := binary.Uvarint(f.rest)
	if n <= 0 || number == 0 || number > math.MaxInt32 {
		f.fail()
		return 0, nil, false
	}
	size, m := binary.Uvarint(f.rest[n:])
	if m <= 0 || size > uint64(len(f.rest)-n-m) {
		f.fail()
		return 0, nil, false
	}
	start := n + m
	end := start + int(size)
	value = f.rest[start:end:end]
	f.rest = f.rest[end:]
	return int(number), value, true
}

func (f *fields) fail() {
	if f.err == nil {
		f.err = fmt.Errorf("%w: a field cannot be read", errMalformed)
	}
}

func (f *fields) uint(value []byte) uint64 {
	v, n := binary.Uvarint(value)
	if n != len(value) || n == 0 {
		f.fail()
		return 0
	}
	return v
}

func (f *fields) int(value []byte) int {
	v := f.uint(value)
	if v > math.MaxInt64 {
		f.fail()
		return 0
	}
	return int(v)
}

func (f *fields) time(value []byte) time.Time {
	seconds, n := binary.Varint(value)
	if n <= 0 {
		f.fail()
		return time.Time{}
	}
	nanos, m := binary.Uvarint(value[n:])
	if m <= 0 || n+m != len(value) || nanos > 999_999_999 {
		f.fail()
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanos)).UTC()
}

func (f *fields) pair(value []byte) (first, second string) {
	size, n := binary.Uvarint(value)
	if n <= 0 || size > uint64(len(value)-n) {
		f.fail()
		return "", ""
	}
	return string(value[n : n+int(size)]), string(value[n+int(size):])
}

// id reads 16 bytes into id.
func (f *fields) id(id []byte, value []byte) {
	if copy(id, value) != len(value) || len(value) != len(id) {
		f.fail()
	}
}
