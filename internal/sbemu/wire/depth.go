package wire

// CheckDepth walks through encoded values, such as the sections of a message, and
// fails when they are malformed or nested deeper than a decoder that recurses can
// bear. It decodes nothing and allocates nothing.
func CheckDepth(b []byte) error {
	r := &reader{b: b}
	for len(r.b) > 0 && r.err == nil {
		r.skip(r.byte(), 0)
	}
	return r.err
}

// mostNested is how deep the values of a message may be nested.
const mostNested = 64

// skip passes over a value whose code is read. The upper half of a code says how
// long the value is.
func (r *reader) skip(code byte, depth int) {
	if depth > mostNested {
		r.fail("values nested deeper than %d", mostNested)
		return
	}
	switch code >> 4 {
	case 0x0:
		if code != codeDescribed {
			r.fail("no value begins with %#02x", code)
			return
		}
		r.skip(r.byte(), depth+1)
		r.skip(r.byte(), depth+1)
	case 0x4:
	case 0x5, 0x6, 0x7, 0x8, 0x9:
		r.take(1 << (code>>4 - 5))
	case 0xa, 0xb:
		r.sized(code>>4 == 0xb)
	case 0xc, 0xd:
		body, n := r.compound(code>>4 == 0xd)
		for ; n > 0 && body.err == nil; n-- {
			body.skip(body.byte(), depth+1)
		}
		r.inherit(body)
	case 0xe, 0xf:
		body, n := r.compound(code>>4 == 0xf)
		element := body.byte()
		if element == codeDescribed {
			body.skip(body.byte(), depth+1)
			element = body.byte()
		}
		for ; n > 0 && body.err == nil; n-- {
			body.skip(element, depth+1)
		}
		r.inherit(body)
	default:
		r.fail("no value begins with %#02x", code)
	}
}
