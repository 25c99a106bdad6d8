package privacy

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"ferry"
)

// minValue is the length of the shortest value that is looked for in texts, bytes:
// shorter ones stand everywhere.
const minValue = 4

// ValueMask hides in texts what a FieldMask hides in JSON, and the hidden values of
// one message. Nil hides nothing.
type ValueMask struct {
	fields *FieldMask
	values []string // in small letters, the longest first
}

// Values makes the mask for what is said of a message: its payload, and what the
// map made of it, as values of jq or as JSON text ([]byte or json.RawMessage). Texts
// and numbers of at least 4 bytes are hidden wherever a text quotes them, also
// escaped, without their spaces, or in other capitals.
func (m *FieldMask) Values(payloads ...any) *ValueMask {
	if m == nil {
		return nil
	}
	c := collector{mask: m, seen: map[string]bool{}}
	for _, p := range payloads {
		switch text := p.(type) {
		case []byte:
			p = decoded(text)
		case json.RawMessage:
			p = decoded(text)
		}
		c.walk(p, false)
	}
	values := make([]string, 0, len(c.seen))
	for value := range c.seen {
		values = append(values, value)
	}
	slices.SortFunc(values, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return &ValueMask{fields: m, values: values}
}

// decoded is the value of a JSON text; nil of anything else.
func decoded(text []byte) any {
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return nil
	}
	return v
}

type collector struct {
	mask *FieldMask
	path []string
	seen map[string]bool
}

// walk takes the values in v that are hidden; hidden: all of them are.
func (c *collector) walk(v any, hidden bool) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			c.below(name, true, value, hidden)
		}
	case []any:
		for i, value := range v {
			c.below(strconv.Itoa(i), false, value, hidden)
		}
	case string:
		if hidden {
			c.take(v)
		}
	case json.Number:
		if hidden {
			c.take(string(v))
		}
	default:
		if text, err := json.Marshal(v); hidden && err == nil {
			c.take(string(text))
		}
	}
}

func (c *collector) below(name string, member bool, value any, hidden bool) {
	c.path = append(c.path, name)
	c.walk(value, hidden || c.mask.hides(c.path, member))
	c.path = c.path[:len(c.path)-1]
}

// take notes a value in the forms in which texts quote it.
func (c *collector) take(s string) {
	forms := []string{s, strings.TrimSpace(s), strings.Join(strings.Fields(s), ""), url.QueryEscape(s), url.PathEscape(s), strings.ReplaceAll(s, "'", "''")}
	if text, err := json.Marshal(s); err == nil {
		forms = append(forms, string(text[1:len(text)-1]))
	}
	for _, form := range forms {
		if len(form) >= minValue && form != "true" && form != "null" && form != "false" {
			c.seen[lower(form)] = true
		}
	}
}

// lower makes small letters of ASCII's capitals, and so keeps the length.
func lower(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r >= 'A' && r <= 'Z' }) {
		return s
	}
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// Text hides members and values in a text.
func (m *ValueMask) Text(s string) string {
	if m == nil || s == "" {
		return s
	}
	s = m.fields.Text(s)
	small, found := lower(s), false
	hidden := make([]bool, len(s))
	hide := func(from, to int) {
		found = true
		for i := from; i < to; i++ {
			hidden[i] = true
		}
	}
	cuts := cutPlaces(small)
	for _, value := range m.values {
		for at := 0; ; {
			i := strings.Index(small[at:], value)
			if i < 0 {
				break
			}
			hide(at+i, at+i+len(value))
			at += i + len(value)
		}
		for _, end := range cuts {
			if n := beginning(small[:end], value); n > 0 {
				hide(end-n, end)
			}
		}
	}
	if !found {
		return s
	}
	var b strings.Builder
	for i := range hidden {
		switch {
		case !hidden[i]:
			b.WriteByte(s[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString(Hidden)
		}
	}
	return b.String()
}

// cutPlaces are the ends of what a text was cut off behind: … or ... follows.
func cutPlaces(s string) []int {
	var ends []int
	for _, more := range []string{"…", "..."} {
		for at := 0; ; {
			i := strings.Index(s[at:], more)
			if i < 0 {
				break
			}
			ends = append(ends, len(strings.TrimRight(s[:at+i], " ")))
			at += i + len(more)
		}
	}
	return ends
}

// beginning is the length of the longest beginning of value that s ends with; 0
// when that is too short to tell.
func beginning(s, value string) int {
	for n := min(len(s), len(value)-1); n >= minValue; n-- {
		if strings.HasSuffix(s, value[:n]) {
			return n
		}
	}
	return 0
}

// JSON hides members, and values wherever they stand, in a JSON text.
func (m *ValueMask) JSON(raw json.RawMessage) json.RawMessage {
	if m == nil || len(raw) == 0 {
		return raw
	}
	return m.fields.walk(raw, m.Text)
}

// Verdict hides in all that a verdict says: request line, code, text, fields and
// result. The reference and the address to ask stay as they are: they are what the
// document is found by.
func (m *ValueMask) Verdict(v *ferry.Verdict) {
	if m == nil {
		return
	}
	v.Text, v.Code, v.Request = m.Text(v.Text), m.Text(v.Code), m.Text(v.Request)
	v.RemoteCorrelationID = m.Text(v.RemoteCorrelationID)
	for i := range v.Fields {
		v.Fields[i].Field, v.Fields[i].Text = m.Text(v.Fields[i].Field), m.Text(v.Fields[i].Text)
	}
	v.Result = m.JSON(v.Result)
}
