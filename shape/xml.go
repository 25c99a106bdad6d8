package shape

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"ferry"
)

// Bounds of XML.
const (
	maxXMLDepth   = 200
	maxXMLText    = 8 << 20 // of what comes out, beside its escapes: names are repeated for each element
	xmlSchemaSpec = "http://www.w3.org/2001/XMLSchema-instance"
)

// fromXML gives an XML document as JSON: an object with the root element as its
// one member. An element is an object of its attributes, named @name, its text,
// named #text, and its elements; one that has text alone is that text, an empty one
// the empty text, and one with xsi:nil="true" null. Elements of one name under one
// parent are an array, as are those of lists. Every value is text, to the character:
// nothing is guessed to be a number. Comments and processing instructions are left
// out; a document type, with which come entities, is refused.
func fromXML(payload []byte, charset string, prefixes bool, lists []place) ([]byte, *ferry.Error) {
	text, fault := toUTF8(payload, charset)
	if fault != nil {
		return nil, fault
	}
	r := &xmlReader{
		tokens: xml.NewDecoder(bytes.NewReader(text)), prefixes: prefixes, lists: lists,
		left: maxXMLText, spaces: map[string]string{},
	}
	// The text is UTF-8 by now, whatever it declares itself to be.
	r.tokens.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	root, fault := r.document()
	if fault != nil {
		return nil, fault
	}
	return root.append(make([]byte, 0, len(text)+64)), nil
}

type xmlReader struct {
	tokens   *xml.Decoder
	prefixes bool
	lists    []place
	path     []string
	left     int
	spaces   map[string]string // prefix -> name, as declared anywhere: enough to find xsi
}

func (r *xmlReader) fault(format string, args ...any) *ferry.Error {
	line, column := r.tokens.InputPos()
	e := ferry.Errorf(ferry.CodeBadRequest, "the body is not XML that can be read: "+format, args...)
	e.Message += ", at line " + itoa(line) + ", column " + itoa(column)
	return e
}

func itoa(n int) string { return string(appendInt(nil, n)) }

func appendInt(b []byte, n int) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

// next is the next token that means something; nil at the end. Raw tokens come with
// the names as they are written, and their ends are matched here.
func (r *xmlReader) next() (xml.Token, *ferry.Error) {
	for {
		token, err := r.tokens.RawToken()
		switch {
		case errors.Is(err, io.EOF):
			return nil, nil
		case err != nil:
			return nil, r.fault("%s", xmlReason(err))
		}
		switch t := token.(type) {
		case xml.Comment:
		case xml.ProcInst:
			if strings.EqualFold(t.Target, "xml") && r.tokens.InputOffset() > int64(len("<?xml?>")+len(t.Inst)+4) {
				return nil, r.fault("a declaration stands in its middle")
			}
		case xml.Directive:
			return nil, r.fault("it has a document type, which is not taken").WithHint("leave <!DOCTYPE …> out: entities are not read either")
		default:
			return token, nil
		}
	}
}

func xmlReason(err error) string {
	text := reason(err)
	if _, after, ok := strings.Cut(text, ": "); ok && strings.HasPrefix(text, "XML syntax error") {
		text = after
	}
	return shorten(text)
}

func (r *xmlReader) document() (*node, *ferry.Error) {
	var root *node
	for {
		token, fault := r.next()
		if fault != nil {
			return nil, fault
		}
		switch t := token.(type) {
		case nil:
			if root == nil {
				return nil, r.fault("it has no element")
			}
			return root, nil
		case xml.StartElement:
			if root != nil {
				return nil, r.fault("something follows its root element")
			}
			name := r.name(t.Name)
			r.path = append(r.path, name)
			value, fault := r.element(t, 1)
			if fault != nil {
				return nil, fault
			}
			root = &node{kind: '{', members: []member{{name, r.alone(value)}}}
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return nil, r.fault("it has text outside its root element")
			}
		default:
			return nil, r.fault("an element ends that did not begin")
		}
	}
}

// alone puts a value into an array when its place is one of lists.
func (r *xmlReader) alone(value *node) *node {
	if listed(r.lists, r.path) {
		return &node{kind: '[', items: []*node{value}}
	}
	return value
}

// name is an element's or attribute's name, as JSON has it.
func (r *xmlReader) name(n xml.Name) string {
	if r.prefixes && n.Space != "" {
		return n.Space + ":" + n.Local
	}
	return n.Local
}

// element reads on to the end of the element that began; r.path ends in it.
func (r *xmlReader) element(start xml.StartElement, depth int) (*node, *ferry.Error) {
	if depth > maxXMLDepth {
		return nil, r.fault("its elements lie in each other more than %d deep", maxXMLDepth)
	}
	if r.left -= len(start.Name.Local) + len(start.Name.Space) + 8; r.left < 0 {
		return nil, ferry.Errorf(ferry.CodeTooLarge, "the body makes more than %d bytes of JSON", maxXMLText)
	}
	out := &node{kind: '{'}
	at := map[string]int{} // of out.members
	isNil, fault := r.attributes(start.Attr, out, at)
	if fault != nil {
		return nil, fault
	}
	var text []byte
	for {
		token, fault := r.next()
		if fault != nil {
			return nil, fault
		}
		switch t := token.(type) {
		case nil:
			return nil, r.fault("it ends within the element %s", shorten(start.Name.Local))
		case xml.CharData:
			text = append(text, t...)
		case xml.EndElement:
			if t.Name != start.Name {
				return nil, r.fault("the element %s ends as %s", shorten(start.Name.Local), shorten(t.Name.Local))
			}
			return finish(out, text, isNil), nil
		case xml.StartElement:
			name := r.name(t.Name)
			r.path = append(r.path, name)
			child, fault := r.element(t, depth+1)
			if fault != nil {
				return nil, fault
			}
			r.add(out, at, name, child)
			r.path = r.path[:len(r.path)-1]
		}
	}
}

// add gives an object a child; a second one of the name makes an array.
func (r *xmlReader) add(out *node, at map[string]int, name string, child *node) {
	i, known := at[name]
	if !known {
		at[name] = len(out.members)
		out.members = append(out.members, member{name, r.alone(child)})
		return
	}
	before := out.members[i].value
	if before.kind != '[' {
		before = &node{kind: '[', items: []*node{before}}
		out.members[i].value = before
	}
	before.items = append(before.items, child)
}

// finish is what an element is, once all of it is known.
func finish(out *node, text []byte, isNil bool) *node {
	if len(bytes.TrimSpace(text)) == 0 && len(out.members) > 0 {
		text = nil // the white space between elements
	}
	switch {
	case isNil && len(out.members) == 0 && len(bytes.TrimSpace(text)) == 0:
		return &node{raw: "null"}
	case len(out.members) == 0:
		return &node{kind: '"', text: string(text)}
	case len(text) > 0:
		out.members = append(out.members, member{"#text", &node{kind: '"', text: string(text)}})
	}
	return out
}

// attributes puts them into out. Declarations of namespaces are left out, unless
// prefixes are kept.
func (r *xmlReader) attributes(attrs []xml.Attr, out *node, at map[string]int) (isNil bool, fault *ferry.Error) {
	seen := make(map[xml.Name]bool, len(attrs))
	for _, a := range attrs {
		if seen[a.Name] {
			return false, r.fault("the attribute %s stands there twice", shorten(a.Name.Local))
		}
		seen[a.Name] = true
		if a.Name.Space == "xmlns" {
			r.spaces[a.Name.Local] = a.Value
		}
	}
	for _, a := range attrs {
		declares := a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns"
		if declares && !r.prefixes {
			continue
		}
		if a.Name.Local == "nil" && a.Name.Space != "" && r.spaces[a.Name.Space] == xmlSchemaSpec {
			isNil = a.Value == "true" || a.Value == "1"
			continue
		}
		if r.left -= len(a.Name.Local) + len(a.Name.Space) + 8; r.left < 0 {
			return false, ferry.Errorf(ferry.CodeTooLarge, "the body makes more than %d bytes of JSON", maxXMLText)
		}
		name := "@" + r.name(a.Name)
		if i, known := at[name]; known { // the same name of two namespaces
			out.members[i].value.text += " " + a.Value
			continue
		}
		at[name] = len(out.members)
		out.members = append(out.members, member{name, &node{kind: '"', text: a.Value}})
	}
	return isNil, nil
}
