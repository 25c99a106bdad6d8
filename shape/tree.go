package shape

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"ferry"
)

// node is a JSON value whose members keep their order, which maps lose and which
// people who look at a schema or a body want to find again.
type node struct {
	members []member // of an object
	items   []*node  // of an array
	text    string   // of a string
	raw     string   // of a number, true, false and null, as written
	kind    byte     // { [ " or 0
}

type member struct {
	name  string
	value *node
}

// maxDepth bounds how deep values lie in each other.
const maxDepth = 512

// parseTree reads one JSON value. Names that an object has twice are refused.
func parseTree(data []byte) (*node, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	n, err := readNode(d, 0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		if _, end := d.Token(); !errors.Is(end, io.EOF) {
			err = errors.New("something follows the JSON value")
		}
	}
	return n, err
}

func readNode(d *json.Decoder, depth int) (*node, error) {
	if depth > maxDepth {
		return nil, errTooDeep()
	}
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		n := &node{kind: byte(t)}
		seen := map[string]bool{}
		for d.More() {
			var name string
			if t == '{' {
				key, err := d.Token()
				if err != nil {
					return nil, err
				}
				name, _ = key.(string)
				if seen[name] {
					return nil, ferry.Errorf(ferry.CodeInvalid, "an object has the member %s twice", strconv.Quote(clip(name)))
				}
				seen[name] = true
			}
			value, err := readNode(d, depth+1)
			if err != nil {
				return nil, err
			}
			if t == '{' {
				n.members = append(n.members, member{name, value})
			} else {
				n.items = append(n.items, value)
			}
		}
		_, err := d.Token()
		return n, err
	case string:
		return &node{kind: '"', text: t}, nil
	case json.Number:
		return &node{raw: t.String()}, nil
	case bool:
		return &node{raw: strconv.FormatBool(t)}, nil
	default:
		return &node{raw: "null"}, nil
	}
}

func errTooDeep() *ferry.Error {
	return ferry.Errorf(ferry.CodeInvalid, "values lie in each other more than %d deep", maxDepth)
}

// get gives an object's member, nil when there is none.
func (n *node) get(name string) *node {
	for i := range n.members {
		if n.members[i].name == name {
			return n.members[i].value
		}
	}
	return nil
}

// set gives an object a member, in the place of one of that name or at the end.
func (n *node) set(name string, value *node) {
	for i := range n.members {
		if n.members[i].name == name {
			n.members[i].value = value
			return
		}
	}
	n.members = append(n.members, member{name, value})
}

// append writes the value.
func (n *node) append(b []byte) []byte {
	switch n.kind {
	case '{':
		b = append(b, '{')
		for i, m := range n.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, m.name), ':')
			b = m.value.append(b)
		}
		return append(b, '}')
	case '[':
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			b = item.append(b)
		}
		return append(b, ']')
	case '"':
		return appendText(b, n.text)
	default:
		return append(b, n.raw...)
	}
}

// appendText writes a JSON string. Nothing is escaped for HTML.
func appendText(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < 0x20:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r) // what is no character becomes U+FFFD
			i += size
			continue
		}
		i++
	}
	return append(b, '"')
}

func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
