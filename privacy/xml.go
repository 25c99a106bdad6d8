package privacy

import "strings"

// tags hides what stands in elements of XML by their names.
type tags map[string]bool // in small letters

// hide replaces what stands in the elements of s, up to the end where one is cut off.
// Elements are found wherever they stand, in CDATA and comments too. It looks at each
// byte a bounded number of times.
func (t tags) hide(s string) string {
	var out strings.Builder
	done := 0 // so much of s is in out
	for at := 0; ; {
		next := strings.IndexByte(s[at:], '<')
		if next < 0 {
			break
		}
		name, inside, opens := startTag(s, at+next)
		at = inside
		if !opens || !t.has(name) {
			continue
		}
		end := contentEnd(s, inside, name)
		if end > inside {
			out.WriteString(s[done:inside])
			out.WriteString(Hidden)
			done, at = end, end
		}
	}
	if done == 0 {
		return s
	}
	out.WriteString(s[done:])
	return out.String()
}

// has says whether the name is one of them, with a prefix or without.
func (t tags) has(name string) bool {
	name = strings.ToLower(name)
	if t[name] {
		return true
	}
	_, local, prefixed := strings.Cut(name, ":")
	return prefixed && t[local]
}

// spaces end a name in a tag.
const spaces = " \t\r\n\f"

// startTag reads the tag that begins with the < at from: its name and where it ends.
// opens: something stands in its element. A tag that the next < breaks off opens too,
// and ends there: rather too much is hidden.
func startTag(s string, from int) (name string, end int, opens bool) {
	rest := s[from+1:]
	if to := strings.IndexByte(rest, '<'); to >= 0 {
		rest = rest[:to]
	}
	n := strings.IndexAny(rest, "/>"+spaces)
	if n <= 0 {
		return "", from + 1, false // </…, <!…, or no tag at all
	}
	name = rest[:n]
	first := strings.IndexByte(rest, '>')
	switch {
	case first >= 0:
		// One in an attribute ends it too, as far as what is hidden goes.
		return name, from + 1 + first + 1, !closesItself(rest[n:])
	case from+1+len(rest) < len(s):
		return name, from + 1 + len(rest), true
	}
	return name, len(s), false
}

// closesItself says whether a tag ends with />, of which this is what follows its name.
func closesItself(attributes string) bool {
	var quote, last byte
	for i := range len(attributes) {
		ch := attributes[i]
		switch {
		case quote != 0:
			if ch == quote {
				quote = 0
			}
		case ch == '"' || ch == '\'':
			quote = ch
		case ch == '>':
			return last == '/'
		}
		last = ch
	}
	return false
}

// contentEnd is where the content that begins at from ends: before the tag that
// closes the name, or at the end of s.
func contentEnd(s string, from int, name string) int {
	depth := 1
	for at := from; ; {
		next := strings.IndexByte(s[at:], '<')
		if next < 0 {
			return len(s)
		}
		at += next
		if past, ok := pastSection(s, at); ok {
			at = past
			continue
		}
		if rest, ends := strings.CutPrefix(s[at:], "</"); ends {
			if closes(rest, name) {
				if depth--; depth == 0 {
					return at
				}
			}
			at += 2
			continue
		}
		other, end, opens := startTag(s, at)
		if opens && strings.EqualFold(other, name) {
			depth++
		}
		at = end
	}
}

// closes says whether what follows </ is the name.
func closes(rest, name string) bool {
	if len(rest) < len(name) || !strings.EqualFold(rest[:len(name)], name) {
		return false
	}
	return len(rest) == len(name) || strings.IndexByte(">"+spaces, rest[len(name)]) >= 0
}

// pastSection is the end of the CDATA, comment or instruction that begins at from,
// in which tags are none; the end of s when it is cut off.
func pastSection(s string, from int) (end int, ok bool) {
	for _, section := range [...]struct{ begin, end string }{{"<![CDATA[", "]]>"}, {"<!--", "-->"}, {"<?", "?>"}} {
		rest, ok := strings.CutPrefix(s[from:], section.begin)
		if !ok {
			continue
		}
		if n := strings.Index(rest, section.end); n >= 0 {
			return from + len(section.begin) + n + len(section.end), true
		}
		return len(s), true
	}
	return 0, false
}
