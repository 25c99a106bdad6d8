package intake

import (
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// A body that an old .NET client, or Service Bus Explorer, made of a string or of
// bytes is not that string: BrokeredMessage's serializer puts it into an element of
// .NET's binary XML ([MC-NBFX]). Whoever reads the body as it is finds a dozen strange
// bytes and an address of Microsoft's before the payload.

const serialization = "http://schemas.microsoft.com/2003/10/Serialization/"

// The records of binary XML that occur in it. Of text there is each kind twice: the
// odd one also ends the element.
const (
	recEndElement    = 0x01
	recShortXmlns    = 0x08
	recShortElement  = 0x40
	recChars8        = 0x98
	recChars16       = 0x9a
	recChars32       = 0x9c
	recBytes8        = 0x9e
	recBytes16       = 0xa0
	recBytes32       = 0xa2
	recEmpty         = 0xa8
	recUnicodeChars8 = 0xb6
	recUnicode16     = 0xb8
	recUnicode32     = 0xba
)

// unwrapNetXML takes the payload out of such an element. ok is false for
// everything else, and for an element with anything before, behind or beside.
func unwrapNetXML(b []byte) (payload []byte, ok bool) {
	x := netXML{rest: b}
	if x.byte() != recShortElement {
		return nil, false
	}
	name := x.string()
	if name != "string" && name != "base64Binary" || x.byte() != recShortXmlns || x.string() != serialization {
		return nil, false
	}
	payload = []byte{}
	for ended := false; !ended; {
		kind := x.byte()
		if kind == recEndElement {
			break
		}
		var text []byte
		if text, ended = x.text(kind, name == "string"); x.bad {
			return nil, false
		}
		payload = append(payload, text...)
	}
	if x.bad || len(x.rest) > 0 || name == "string" && !utf8.Valid(payload) {
		return nil, false
	}
	return payload, true
}

// netXML reads records until something is wrong.
type netXML struct {
	rest []byte
	bad  bool
}

func (x *netXML) take(n int) []byte {
	if x.bad || n < 0 || n > len(x.rest) {
		x.bad = true
		return nil
	}
	b := x.rest[:n]
	x.rest = x.rest[n:]
	return b
}

func (x *netXML) byte() byte {
	if b := x.take(1); b != nil {
		return b[0]
	}
	return 0
}

// string reads a name: its length is one byte, as all that are known here are
// shorter than 128.
func (x *netXML) string() string { return string(x.take(int(x.byte()))) }

func (x *netXML) length(size int) int {
	b := x.take(size)
	if b == nil {
		return 0
	}
	var whole [8]byte
	copy(whole[:], b)
	return int(min(binary.LittleEndian.Uint64(whole[:]), 1<<31-1))
}

// text reads one record of text, or of bytes, and says whether it ends the
// element.
func (x *netXML) text(kind byte, chars bool) (text []byte, ends bool) {
	ends = kind&1 == 1
	isBytes := false
	switch kind &^ 1 {
	case recEmpty:
		return nil, ends
	case recChars8:
		text = x.take(x.length(1))
	case recChars16:
		text = x.take(x.length(2))
	case recChars32:
		text = x.take(x.length(4))
	case recBytes8:
		isBytes, text = true, x.take(x.length(1))
	case recBytes16:
		isBytes, text = true, x.take(x.length(2))
	case recBytes32:
		isBytes, text = true, x.take(x.length(4))
	case recUnicodeChars8:
		text = x.utf16(x.length(1))
	case recUnicode16:
		text = x.utf16(x.length(2))
	case recUnicode32:
		text = x.utf16(x.length(4))
	default:
		x.bad = true
	}
	x.bad = x.bad || isBytes == chars
	return text, ends
}

func (x *netXML) utf16(n int) []byte {
	b := x.take(n)
	if len(b)%2 != 0 {
		x.bad = true
		return nil
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return []byte(string(utf16.Decode(units)))
}
