package shape

import (
	"encoding/json"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"ferry"
)

// decode reads one JSON value strictly: UTF-8, each name of an object once, no
// deeper than maxDepth. Numbers are json.Number, with the text that came. It exists
// because encoding/json lets what is wrong pass in silence: of two members of one
// name the schema would see the last, and the destination perhaps the first.
func decode(data []byte) (any, *ferry.Error) {
	v, _, fault := decodeBody(data)
	return v, fault
}

// decodeBody is decode, and says whether there is what has to be bounded with care:
// numbers with exponents or of many digits, or objects of very many members.
func decodeBody(data []byte) (v any, odd bool, fault *ferry.Error) {
	d := decoder{data: data, src: string(data)}
	if v, fault = d.value(0); fault != nil {
		return nil, false, fault
	}
	if d.space(); d.at < len(data) {
		return nil, false, d.fault("something follows the JSON value")
	}
	return v, d.odd, nil
}

// decoder reads data from at on.
type decoder struct {
	data []byte
	src  string // data: names, texts and numbers are parts of it, as they stand there
	at   int
	odd  bool
}

func (d *decoder) fault(what string) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadRequest, "the body is not JSON: %s, at byte %d", what, d.at+1)
}

func (d *decoder) early() *ferry.Error {
	d.at = len(d.data)
	return ferry.Errorf(ferry.CodeBadRequest, "the body is not JSON: it ends too early, after %d bytes", d.at)
}

// space passes over white space.
func (d *decoder) space() {
	for d.at < len(d.data) {
		switch d.data[d.at] {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return
		}
	}
}

// next is the next byte that is no white space; 0 at the end.
func (d *decoder) next() byte {
	if d.space(); d.at < len(d.data) {
		return d.data[d.at]
	}
	return 0
}

func (d *decoder) value(depth int) (any, *ferry.Error) {
	if depth > maxDepth {
		return nil, errTooDeep()
	}
	switch c := d.next(); {
	case d.at == len(d.data):
		return nil, d.early()
	case c == '{':
		return d.object(depth)
	case c == '[':
		return d.array(depth)
	case c == '"':
		return d.text()
	case c == '-' || c >= '0' && c <= '9':
		return d.number()
	case c == 't':
		return true, d.word("true")
	case c == 'f':
		return false, d.word("false")
	case c == 'n':
		return nil, d.word("null")
	default:
		return nil, d.fault("no value can begin so")
	}
}

func (d *decoder) word(w string) *ferry.Error {
	for i := range len(w) {
		if d.at == len(d.data) {
			return d.early()
		}
		if d.data[d.at] != w[i] {
			return d.fault(w + " is misspelt")
		}
		d.at++
	}
	return nil
}

func (d *decoder) object(depth int) (any, *ferry.Error) {
	d.at++ // {
	out := map[string]any{}
	if d.next() == '}' {
		d.at++
		return out, nil
	}
	for {
		if d.next() != '"' {
			if d.at == len(d.data) {
				return nil, d.early()
			}
			return nil, d.fault("a name in quotes is wanted")
		}
		name, fault := d.text()
		if fault != nil {
			return nil, fault
		}
		if d.next() != ':' {
			if d.at == len(d.data) {
				return nil, d.early()
			}
			return nil, d.fault("a colon is wanted")
		}
		d.at++
		v, fault := d.value(depth + 1)
		if fault != nil {
			return nil, under(fault, name)
		}
		if _, twice := out[name]; twice {
			e := ferry.Errorf(ferry.CodeInvalid, "an object has a member twice")
			e.Details = []ferry.ErrorDetail{{Detail: "stands there twice", Pointer: "/" + shorten(escape(name))}}
			return nil, e
		}
		out[name] = v
		switch d.next() {
		case ',':
			d.at++
		case '}':
			d.at++
			d.odd = d.odd || len(out) > maxMembers
			return out, nil
		default:
			if d.at == len(d.data) {
				return nil, d.early()
			}
			return nil, d.fault("a comma or a closing brace is wanted")
		}
	}
}

func (d *decoder) array(depth int) (any, *ferry.Error) {
	d.at++ // [
	out := []any{}
	if d.next() == ']' {
		d.at++
		return out, nil
	}
	for {
		v, fault := d.value(depth + 1)
		if fault != nil {
			return nil, under(fault, strconv.Itoa(len(out)))
		}
		out = append(out, v)
		switch d.next() {
		case ',':
			d.at++
		case ']':
			d.at++
			return out, nil
		default:
			if d.at == len(d.data) {
				return nil, d.early()
			}
			return nil, d.fault("a comma or a closing bracket is wanted")
		}
	}
}

// under puts a name before the pointers of a fault, on the way out of it.
func under(fault *ferry.Error, name string) *ferry.Error {
	for i := range fault.Details {
		fault.Details[i].Pointer = "/" + shorten(escape(name)) + fault.Details[i].Pointer
	}
	return fault
}

// shorten bounds a name in a pointer: it is the sender's, and may be anything.
func shorten(name string) string {
	const most = 128
	if len(name) <= most {
		return name
	}
	end := most
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + "…"
}

func (d *decoder) number() (any, *ferry.Error) {
	start := d.at
	digits := func() bool {
		from := d.at
		for d.at < len(d.data) && d.data[d.at] >= '0' && d.data[d.at] <= '9' {
			d.at++
		}
		return d.at > from
	}
	if d.data[d.at] == '-' {
		d.at++
	}
	if d.at < len(d.data) && d.data[d.at] == '0' {
		d.at++
	} else if !digits() {
		return nil, d.fault("a number lacks digits")
	}
	if d.at < len(d.data) && d.data[d.at] == '.' {
		d.at++
		if !digits() {
			return nil, d.fault("a number lacks digits")
		}
	}
	if d.at < len(d.data) && (d.data[d.at] == 'e' || d.data[d.at] == 'E') {
		d.at++
		if d.at < len(d.data) && (d.data[d.at] == '+' || d.data[d.at] == '-') {
			d.at++
		}
		if !digits() {
			return nil, d.fault("a number lacks digits")
		}
		d.odd = true
	}
	d.odd = d.odd || d.at-start > 100
	return json.Number(d.src[start:d.at]), nil
}

// text reads a string. One without escapes costs nothing.
func (d *decoder) text() (string, *ferry.Error) {
	d.at++ // "
	start := d.at
	plain := true
	for d.at < len(d.data) {
		switch c := d.data[d.at]; {
		case c == '"':
			text := d.src[start:d.at]
			if !plain && !utf8.ValidString(text) {
				return "", d.fault("a text is not UTF-8")
			}
			d.at++
			return text, nil
		case c == '\\':
			return d.escaped(start)
		case c < 0x20:
			return "", d.fault("a control character stands in a text")
		case c >= utf8.RuneSelf:
			plain = false
		}
		d.at++
	}
	return "", d.early()
}

// escaped reads on in a string that has escapes.
func (d *decoder) escaped(start int) (string, *ferry.Error) {
	out := append(make([]byte, 0, 2*(d.at-start)+16), d.data[start:d.at]...)
	for d.at < len(d.data) {
		c := d.data[d.at]
		d.at++
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				return "", d.fault("a text is not UTF-8")
			}
			return string(out), nil
		case c < 0x20:
			return "", d.fault("a control character stands in a text")
		case c != '\\':
			out = append(out, c)
			continue
		case d.at == len(d.data):
			return "", d.early()
		}
		c = d.data[d.at]
		d.at++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := d.hex()
			if ok && utf16.IsSurrogate(r) {
				r = d.pair(r)
			}
			if !ok {
				return "", d.fault("an escape is damaged")
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", d.fault("an escape is damaged")
		}
	}
	return "", d.early()
}

// pair reads the second half of a surrogate pair; a lone half is U+FFFD, as
// encoding/json has it.
func (d *decoder) pair(first rune) rune {
	before := d.at
	if d.at+2 <= len(d.data) && d.data[d.at] == '\\' && d.data[d.at+1] == 'u' {
		d.at += 2
		if second, ok := d.hex(); ok {
			if r := utf16.DecodeRune(first, second); r != utf8.RuneError {
				return r
			}
		}
	}
	d.at = before
	return utf8.RuneError
}

func (d *decoder) hex() (r rune, ok bool) {
	if d.at+4 > len(d.data) {
		return 0, false
	}
	for _, c := range d.data[d.at : d.at+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	d.at += 4
	return r, true
}
