package mapping

import "strings"

// token is a piece of a program, as the library's own lexer takes it apart; that
// one is not to be had.
type token struct {
	kind tokenKind
	text string
	at   int // bytes from the beginning
	deep int // in how many texts it is put
}

type tokenKind int

const (
	tokenName     tokenKind = iota // of a function or a keyword, or a key of an object
	tokenVariable                  // $name
	tokenField                     // .name
	tokenFormat                    // @name
	tokenString                    // from quote to quote, or to what is put into it
	tokenOther                     // numbers and signs
)

// scanner takes a program apart. What is no program gives some tokens all the same.
type scanner struct {
	src    string
	i      int
	inside []insertion
	tokens []token
	open   int // where a text begins that does not end; -1: none
}

// insertion is what is put into a text, "\(…)".
type insertion struct {
	text   int // where the text begins
	parens int // how many are open in the insertion
}

func scan(src string) *scanner {
	s := &scanner{src: src, open: -1}
	for s.i < len(src) {
		s.next()
	}
	return s
}

func (s *scanner) next() {
	c := s.src[s.i]
	switch {
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
		s.i++
	case c == '#':
		s.comment()
	case c == '"':
		s.text(s.i, s.i+1)
	case c == '$' && s.startsName(s.i+1):
		s.name(tokenVariable, s.i)
	case c == '@' && s.continuesName(s.i+1):
		s.name(tokenFormat, s.i)
	case c == '.' && s.startsName(s.i+1):
		s.name(tokenField, s.i)
	case s.startsName(s.i):
		s.name(tokenName, s.i)
	case c >= '0' && c <= '9':
		end := s.i + 1
		for end < len(s.src) && (s.continuesName(end) || s.src[end] == '.') {
			end++
		}
		s.add(tokenOther, end)
	case c == '(':
		if n := len(s.inside); n > 0 {
			s.inside[n-1].parens++
		}
		s.add(tokenOther, s.i+1)
	case c == ')':
		s.parenthesis()
	case strings.HasPrefix(s.src[s.i:], "?//"):
		s.add(tokenOther, s.i+3)
	default:
		s.add(tokenOther, s.i+1)
	}
}

func (s *scanner) add(kind tokenKind, end int) {
	s.tokens = append(s.tokens, token{kind, s.src[s.i:end], s.i, len(s.inside)})
	s.i = end
}

// name reads a name from the mark in front of it; a name of another module has ::.
func (s *scanner) name(kind tokenKind, from int) {
	end := from + 1
	for s.continuesName(end) {
		end++
	}
	if kind != tokenFormat && strings.HasPrefix(s.src[end:], "::") && s.startsName(end+2) {
		for end += 2; s.continuesName(end); {
			end++
		}
	}
	s.add(kind, end)
}

func (s *scanner) startsName(i int) bool {
	return s.continuesName(i) && (s.src[i] < '0' || s.src[i] > '9')
}

func (s *scanner) continuesName(i int) bool {
	if i >= len(s.src) {
		return false
	}
	c := s.src[i]
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
}

// comment skips to the end of the line; a backslash there takes the next line along.
func (s *scanner) comment() {
	for ; s.i < len(s.src) && s.src[s.i] != '\n' && s.src[s.i] != '\r'; s.i++ {
		if s.src[s.i] != '\\' || s.i+1 >= len(s.src) {
			continue
		}
		switch s.src[s.i+1] {
		case '\\', '\n':
			s.i++
		case '\r':
			s.i++
			if strings.HasPrefix(s.src[s.i+1:], "\n") {
				s.i++
			}
		}
	}
}

// text reads the text that begins at start, from i on: to its end, or to what is
// put into it.
func (s *scanner) text(start, i int) {
	for ; i < len(s.src); i++ {
		switch s.src[i] {
		case '\\':
			if i++; i < len(s.src) && s.src[i] == '(' {
				s.add(tokenString, i-1)
				s.add(tokenOther, i+1)
				s.inside = append(s.inside, insertion{text: start})
				return
			}
		case '"':
			s.add(tokenString, i+1)
			return
		}
	}
	s.open = start
	s.add(tokenString, len(s.src))
}

// parenthesis closes one; behind the last one of an insertion its text goes on.
func (s *scanner) parenthesis() {
	s.add(tokenOther, s.i+1)
	n := len(s.inside)
	switch {
	case n == 0:
	case s.inside[n-1].parens > 0:
		s.inside[n-1].parens--
	default:
		start := s.inside[n-1].text
		s.inside = s.inside[:n-1]
		s.text(start, s.i)
	}
}

// ProgramEnd finds the brace that closes a program which stands in braces: src
// begins behind the opening one, and n is how many bytes the program has. Braces in
// texts and comments do not count. Not ok: there is none.
func ProgramEnd(src string) (n int, ok bool) {
	depth := 0
	for _, t := range scan(src).tokens {
		switch {
		case t.kind != tokenOther || t.deep > 0:
		case t.text == "{":
			depth++
		case t.text == "}":
			if depth == 0 {
				return t.at, true
			}
			depth--
		}
	}
	return 0, false
}
