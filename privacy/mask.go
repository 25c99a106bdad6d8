// Package privacy keeps what must not be read out of what is kept and shown of
// messages: members of JSON by their names, and texts that quote their values.
package privacy

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"ferry"
)

// Hidden stands for what is masked.
const Hidden = "***"

// Bounds of a mask.
const (
	MaxNames    = 100
	maxNameSize = 256 // bytes
)

// FieldMask hides members of JSON. Nil hides nothing. It may be used
// concurrently.
type FieldMask struct {
	names    map[string]bool // lower case; anywhere
	pointers [][]string      // from the root; "*" is any member or element
	quoted   *regexp.Regexp  // nil: no name
	tags     tags
}

// NewFieldMask makes the mask of `mask:` in a configuration. A name hides every
// member of that name, small letters and capitals alike, since a map may rename it
// so; a JSON pointer (RFC 6901) such as /invoice/supplier/taxId hides the one
// place, with * for any element or member: /lines/*/account. No names give nil.
// An error says which entry is at fault.
func NewFieldMask(names []string) (*FieldMask, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if len(names) > MaxNames {
		return nil, bad("mask has %d entries, at most %d", len(names), MaxNames)
	}
	m := &FieldMask{names: map[string]bool{}}
	var last []string // the names by which members stand in texts
	for _, name := range names {
		switch {
		case name == "" || len(name) > maxNameSize:
			return nil, bad("mask: an entry has %d bytes, 1 to %d are wanted", len(name), maxNameSize)
		case name[0] == '.':
			return nil, bad("mask: %s is no name of a member", name).
				WithHint("a name such as iban, or a JSON pointer such as /invoice/supplier/iban; not jq")
		case name[0] != '/':
			m.names[strings.ToLower(name)] = true
			last = append(last, name)
		default:
			path, err := parsePointer(name)
			if err != nil {
				return nil, err
			}
			m.pointers = append(m.pointers, path)
			if end := lastName(path); end != "" {
				last = append(last, end)
			}
		}
	}
	m.quoted, m.tags = quotations(last), tags{}
	for _, name := range last {
		m.tags[strings.ToLower(name)] = true
	}
	return m, nil
}

func bad(format string, args ...any) *ferry.Error {
	return ferry.Errorf(ferry.CodeBadConfig, format, args...)
}

func parsePointer(s string) ([]string, error) {
	path := strings.Split(s[1:], "/")
	for i, part := range path {
		if rest := strings.NewReplacer("~0", "", "~1", "").Replace(part); strings.Contains(rest, "~") || part == "" {
			return nil, bad("mask: %s is no JSON pointer", s).WithHint("such as /invoice/supplier/iban; ~1 stands for a slash in a name, ~0 for a tilde")
		}
		path[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
	}
	return path, nil
}

// lastName is the name of what a pointer hides; "" when it hides an element only.
func lastName(path []string) string {
	for i := len(path) - 1; i >= 0; i-- {
		if _, err := strconv.Atoi(path[i]); err != nil && path[i] != "*" {
			return path[i]
		}
	}
	return ""
}

// quotations find members in texts that quote JSON: "iban": "…", also where quotes are
// escaped or single or the text ends early. A name without quotes is prose: "iban: is
// required" has to stay.
func quotations(names []string) *regexp.Regexp {
	if len(names) == 0 {
		return nil
	}
	escaped := make([]string, len(names))
	for i, name := range names {
		escaped[i] = regexp.QuoteMeta(name)
	}
	any := `(?:` + strings.Join(escaped, "|") + `)`
	return regexp.MustCompile(`(?i)(\\*["']` + any + `\\*["']\s*[:=]\s*)(?:\\+"[^"]*"?|"(?:[^"\\]|\\.)*"?|'[^']*'?|\[[^\]]*\]?|\{[^}]*\}?|[^\s,;}\]"'\\]+)`)
}

// hides says whether the member or element at the end of path is hidden.
func (m *FieldMask) hides(path []string, member bool) bool {
	if member && m.names[strings.ToLower(path[len(path)-1])] {
		return true
	}
next:
	for _, p := range m.pointers {
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

// JSON hides the members in a JSON text, all else untouched. What is no JSON, or
// is cut off, is masked as a text.
func (m *FieldMask) JSON(raw json.RawMessage) json.RawMessage {
	if m == nil || len(raw) == 0 {
		return raw
	}
	return m.walk(raw, m.Text)
}

// walk hides the members in raw, and what text hides in texts and numbers.
func (m *FieldMask) walk(raw json.RawMessage, text func(string) string) json.RawMessage {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	w := walker{mask: m, dec: dec, raw: raw, text: text}
	if err := w.value(); err != nil || dec.More() {
		return json.RawMessage(text(string(raw)))
	}
	return append(w.out, raw[w.done:]...)
}

// walker copies a JSON text but for what is hidden.
type walker struct {
	mask *FieldMask
	text func(string) string // hides in texts and numbers
	dec  *json.Decoder
	raw  []byte
	path []string
	out  []byte
	done int // so much of raw is in out
}

func (w *walker) value() error {
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	switch v := token.(type) {
	case string:
		return w.leaf(v)
	case json.Number:
		return w.leaf(string(v))
	case json.Delim:
		return w.group(v)
	}
	return nil
}

// leaf hides in a text or a number; a number of which something is hidden becomes a
// text. A text may be JSON itself, as some systems nest it.
func (w *walker) leaf(s string) error {
	shown := w.text(s)
	if shown == s {
		return nil
	}
	text, err := json.Marshal(shown)
	if err != nil {
		return err
	}
	end := int(w.dec.InputOffset())
	w.put(w.start(end), end, text)
	return nil
}

// start is where the text or number begins that ends before end.
func (w *walker) start(end int) int {
	if w.raw[end-1] != '"' {
		for end > w.done && strings.IndexByte("+-.eE0123456789", w.raw[end-1]) >= 0 {
			end--
		}
		return end
	}
	for at := end - 2; ; at-- {
		if w.raw[at] != '"' {
			continue
		}
		slashes := 0
		for at > slashes && w.raw[at-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return at
		}
	}
}

// put writes text in the place of raw[from:to].
func (w *walker) put(from, to int, text []byte) {
	w.out = append(append(w.out, w.raw[w.done:from]...), text...)
	w.done = to
}

func (w *walker) group(delim json.Delim) error {
	for i := 0; w.dec.More(); i++ {
		name := strconv.Itoa(i)
		if delim == '{' {
			key, err := w.dec.Token()
			if err != nil {
				return err
			}
			name, _ = key.(string) // the decoder gives nothing else in this place
		}
		if err := w.below(name, delim == '{'); err != nil {
			return err
		}
	}
	_, err := w.dec.Token()
	return err
}

// maxDepth bounds nesting: what lies deeper is masked as a text is.
const maxDepth = 1000

var errTooDeep = errors.New("the JSON is nested too deep")

func (w *walker) below(name string, member bool) error {
	if len(w.path) == maxDepth {
		return errTooDeep
	}
	w.path = append(w.path, name)
	defer func() { w.path = w.path[:len(w.path)-1] }()
	if !w.mask.hides(w.path, member) {
		return w.value()
	}
	var value json.RawMessage
	if err := w.dec.Decode(&value); err != nil {
		return err
	}
	if string(value) == "null" {
		return nil // that nothing is there is no secret
	}
	end := int(w.dec.InputOffset())
	w.put(end-len(value), end, []byte(`"`+Hidden+`"`))
	return nil
}

// Text hides the members in a text that quotes JSON or XML. The values of a
// message that stand in it without their names are hidden by [FieldMask.Values].
func (m *FieldMask) Text(s string) string {
	if m == nil || s == "" || m.quoted == nil {
		return s
	}
	return m.tags.hide(m.quoted.ReplaceAllString(s, `${1}"`+Hidden+`"`))
}
