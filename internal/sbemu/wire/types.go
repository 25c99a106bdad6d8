// Package wire is the AMQP 1.0 of a server: frames, the performatives of
// connections, sessions and links, and the values in them. What a message
// consists of is not its business.
package wire

import (
	"errors"
	"time"
)

// A Symbol is a string from a constrained set: names of conditions, of
// properties, of mechanisms.
type Symbol string

// UUID is sixteen bytes in the order of RFC 4122.
type UUID [16]byte

// Described is a value with the descriptor that says what it is: a Symbol or an
// uint64.
type Described struct {
	Descriptor any
	Value      any
}

// Map has the keys of a map in the order in which they came.
type Map []Pair

// Pair is one entry of a Map.
type Pair struct{ Key, Value any }

// Get returns the value of a key that is a Symbol or a string, or nil.
func (m Map) Get(key string) any {
	for _, p := range m {
		switch k := p.Key.(type) {
		case Symbol:
			if string(k) == key {
				return p.Value
			}
		case string:
			if k == key {
				return p.Value
			}
		}
	}
	return nil
}

// Limits of what is decoded. A frame is bounded by the connection's own limit.
const (
	mostDepth  = 16     // maps in lists in maps
	mostValues = 65_536 // entries of one list, map or array
)

// What is wrong with the bytes of a peer.
var (
	ErrMalformed = errors.New("malformed AMQP")
	ErrTooLarge  = errors.New("the frame is larger than agreed")
)

// The codes of constructors.
const (
	codeDescribed = 0x00
	codeNull      = 0x40
	codeTrue      = 0x41
	codeFalse     = 0x42
	codeUint0     = 0x43
	codeUlong0    = 0x44
	codeList0     = 0x45
	codeUbyte     = 0x50
	codeByte      = 0x51
	codeSmallUint = 0x52
	codeSmallUl   = 0x53
	codeSmallInt  = 0x54
	codeSmallLong = 0x55
	codeBool      = 0x56
	codeUshort    = 0x60
	codeShort     = 0x61
	codeUint      = 0x70
	codeInt       = 0x71
	codeFloat     = 0x72
	codeChar      = 0x73
	codeUlong     = 0x80
	codeLong      = 0x81
	codeDouble    = 0x82
	codeTime      = 0x83
	codeUUID      = 0x98
	codeBin8      = 0xa0
	codeStr8      = 0xa1
	codeSym8      = 0xa3
	codeBin32     = 0xb0
	codeStr32     = 0xb1
	codeSym32     = 0xb3
	codeList8     = 0xc0
	codeMap8      = 0xc1
	codeList32    = 0xd0
	codeMap32     = 0xd1
	codeArray8    = 0xe0
	codeArray32   = 0xf0
)

// milliseconds of a point in time, as AMQP counts them.
func milliseconds(t time.Time) int64 { return t.UnixMilli() }
