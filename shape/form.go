package shape

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"ferry"
)

const formType = "application/x-www-form-urlencoded"

// maxFields bounds the fields of a form.
const maxFields = 20_000

// fromForm gives a form as a JSON object of texts, in the order of the fields. A
// field that comes more than once, or is one of lists, is an array.
func fromForm(payload []byte, lists []place) ([]byte, *ferry.Error) {
	root := &node{kind: '{'}
	at := map[string]int{} // of root.members
	text := string(payload)
	for n := 0; text != ""; n++ {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		if pair == "" {
			continue
		}
		if n >= maxFields {
			return nil, notForm("it has more than %d fields", maxFields)
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, nameErr := url.QueryUnescape(rawName)
		value, valueErr := url.QueryUnescape(rawValue)
		switch {
		case nameErr != nil || valueErr != nil:
			return nil, notForm("an escape of its field %d is damaged", n+1)
		case !utf8.ValidString(name) || !utf8.ValidString(value):
			return nil, notForm("its field %d is not UTF-8", n+1)
		case name == "":
			return nil, notForm("its field %d has no name", n+1)
		}
		v := &node{kind: '"', text: value}
		if i, known := at[name]; known {
			before := root.members[i].value
			if before.kind != '[' {
				before = &node{kind: '[', items: []*node{before}}
				root.members[i].value = before
			}
			before.items = append(before.items, v)
			continue
		}
		if listed(lists, []string{name}) {
			v = &node{kind: '[', items: []*node{v}}
		}
		at[name] = len(root.members)
		root.members = append(root.members, member{name, v})
	}
	return root.append(make([]byte, 0, 2*len(payload)+2)), nil
}

func notForm(format string, args ...any) *ferry.Error {
	e := ferry.Errorf(ferry.CodeBadRequest, "the body is not a form that can be read: "+format, args...)
	return e.WithHint("name=value&name=value, with + for a space and %%XX for other characters")
}

// place is where an array stands, from the root; "*" is any name.
type place []string

// places reads JSON pointers.
func places(pointers []string) ([]place, error) {
	const most = 100
	if len(pointers) > most {
		return nil, bad("forceArray has %d entries, %d at most", len(pointers), most)
	}
	var list []place
	for _, p := range pointers {
		if p == "" || p[0] != '/' || len(p) > 512 {
			return nil, bad("forceArray: %q is no JSON pointer", clip(p)).WithHint("such as /invoice/lines/line, with * for any name")
		}
		parts := strings.Split(p[1:], "/")
		for i, part := range parts {
			parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		}
		list = append(list, parts)
	}
	return list, nil
}

func listed(lists []place, path []string) bool {
next:
	for _, p := range lists {
		if len(p) != len(path) {
			continue
		}
		for i := range p {
			if p[i] != "*" && p[i] != path[i] {
				continue next
			}
		}
		return true
	}
	return false
}
