package stanza

import (
	"fmt"
	"strings"

	"ferry/internal/apispec"
)

// Map is a jq program that makes a body of a payload which has the body's own
// members: every required one, the optional ones as comments.
func Map(body apispec.Field) string {
	s := &skeleton{}
	s.value(body, "", 0)
	return strings.TrimRight(s.out.String(), "\n") + "\n"
}

type skeleton struct{ out strings.Builder }

func (s *skeleton) value(f apispec.Field, path string, depth int) {
	at := path
	if at == "" {
		at = "."
	}
	switch {
	case len(f.Fields) == 0:
		s.out.WriteString(at)
	case f.List:
		list := at + "[]"
		if at == "." {
			list = ".[]"
		}
		s.out.WriteString("[" + list + " | ")
		s.object(f.Fields, "", depth)
		s.out.WriteString("]")
	default:
		s.object(f.Fields, path, depth)
	}
}

// object writes members. A comma ends each: jq takes one at the end, and so an
// optional member needs no more than its mark taken away.
func (s *skeleton) object(fields []apispec.Field, path string, depth int) {
	indent := strings.Repeat("  ", depth+1)
	s.out.WriteString("{\n")
	for _, required := range []bool{true, false} {
		for _, f := range fields {
			if f.Required != required || f.ReadOnly {
				continue
			}
			at := path + "." + member(f.Name)
			switch {
			case !required:
				fmt.Fprintf(&s.out, "%s# %s: %s, # %s\n", indent, member(f.Name), at, note(f, "optional"))
			case f.Fixed != "":
				fmt.Fprintf(&s.out, "%s%s: %s, # %s\n", indent, member(f.Name), text(f.Fixed), note(f))
			default:
				fmt.Fprintf(&s.out, "%s%s: ", indent, member(f.Name))
				s.value(f, at, depth+1)
				fmt.Fprintf(&s.out, ", # %s\n", note(f))
			}
		}
	}
	s.out.WriteString(strings.Repeat("  ", depth) + "}")
}

func note(f apispec.Field, more ...string) string {
	parts := append([]string{f.Type}, more...)
	if f.Description != "" {
		parts = append(parts, f.Description)
	}
	return Line(strings.Join(parts, "; "))
}

// member writes a name as jq takes it: in quotes when it is no word, and without
// what jq would run within a text.
func member(name string) string {
	word := name != ""
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || i > 0 && c >= '0' && c <= '9') {
			word = false
		}
	}
	if word && !keyword(name) {
		return name
	}
	return text(name)
}

// text writes a text as jq reads it, in ASCII: also what YAML takes for the end of
// a line may stand in one.
func text(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "?") {
		switch {
		case r == '"', r == '\\':
			b.WriteRune('\\')
			b.WriteRune(r)
		case r < 0x20 || r >= 0x7f && r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		case r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func keyword(name string) bool {
	switch name {
	case "and", "as", "catch", "def", "elif", "else", "end", "foreach", "if", "import", "include", "label", "module",
		"or", "reduce", "then", "try", "__loc__":
		return true
	}
	return false
}

// Path is the jq of a member of the payload.
func Path(name string) string { return "." + member(name) }
