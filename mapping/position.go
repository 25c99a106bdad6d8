package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"ferry"
)

// SourceError says where in a program a fault lies.
type SourceError struct {
	Line, Column int // from 1, the column in characters
	Err          error
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("the jq program, line %d, column %d: %v", e.Line, e.Column, e.Err)
}

func (e *SourceError) Unwrap() error { return e.Err }

// sourceError says where a fault lies that the library found. compiles is the
// compiler, for programs that differ from src.
func sourceError(src string, names []string, err error, compiles func(string) error) *ferry.Error {
	p := &place{src: src, scanned: scan(src), compiles: compiles, fault: err.Error()}
	at, hint, words := p.find(names, err)
	line, column := position(src, at)
	out := ferry.Errorf(ferry.CodeBadConfig, "%w", &SourceError{Line: line, Column: column, Err: words})
	if hint != "" {
		return out.WithHint("%s", hint)
	}
	return out
}

// position turns a byte offset into line and column, from 1.
func position(src string, offset int) (line, column int) {
	before := src[:min(offset, len(src))]
	line = strings.Count(before, "\n") + 1
	return line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
}

// place looks for the place of a fault.
type place struct {
	src      string
	scanned  *scanner
	compiles func(src string) error
	fault    string
}

// find gives the place, a hint and the words.
func (p *place) find(names []string, err error) (at int, hint string, words error) {
	var parse *gojq.ParseError
	if errors.As(err, &parse) {
		if p.scanned.open >= 0 && strings.HasPrefix(p.fault, "unterminated") {
			return p.scanned.open, "the text that begins there has no closing quote", err
		}
		// The offset is behind the token that cannot be there.
		return max(parse.Offset-len(parse.Token), 0), "", err
	}
	what, name, _ := strings.Cut(p.fault, ": ")
	switch {
	case what == "function not defined":
		name, arity, _ := strings.Cut(name, "/")
		n, _ := strconv.Atoi(arity)
		return p.undefined(p.calls(name, n), standInFunction), functionHint(name), err
	case what == "variable not defined":
		return p.undefined(p.variables(name), "$ENV"), variableHint(names), err
	case what == "label not defined":
		return p.undefined(p.breaks(name), ""), "", err
	case what == "format not defined":
		return p.first(tokenFormat, name), "@text, @json, @html, @uri, @urid, @csv, @tsv, @sh, @base64 and @base64d are", err
	case what == "input(s)/0 is not allowed":
		return min(p.first(tokenName, "input"), p.first(tokenName, "inputs")), "a program sees one message, as .", errors.New("there is no other input")
	case what == "cannot load module":
		return min(p.first(tokenName, "import"), p.first(tokenName, "include")), "a program stands by itself", errors.New("there are no modules")
	case strings.HasPrefix(p.fault, "missing query"):
		return len(p.src), "a lone . gives the input as it is", errors.New("the program ends before it gives anything")
	}
	return 0, "", err
}

// first is the place of the first token of that kind and text; the end without one.
func (p *place) first(kind tokenKind, text string) int {
	for _, t := range p.scanned.tokens {
		if t.kind == kind && t.text == text {
			return t.at
		}
	}
	return len(p.src)
}

// undefined is the first of the tokens that alone brings the fault about, when a
// thing that is defined stands in for all others: the same name may be defined in
// one place and not in another.
func (p *place) undefined(candidates []token, standIn string) int {
	const most = 50 // each is compiled
	if len(candidates) == 0 {
		return 0
	}
	for i := range candidates[:min(len(candidates), most)] {
		if standIn == "" || len(candidates) == 1 {
			break
		}
		if err := p.compiles(replaced(p.src, slices.Delete(slices.Clone(candidates), i, i+1), standIn)); err != nil && err.Error() == p.fault {
			return candidates[i].at
		}
	}
	return candidates[0].at
}

// replaced has text in the place of the tokens.
func replaced(src string, tokens []token, text string) string {
	var b strings.Builder
	done := 0
	for _, t := range tokens {
		b.WriteString(src[done:t.at] + text)
		done = t.at + len(t.text)
	}
	return b.String() + src[done:]
}

// calls are the tokens that may call a function of that name with n arguments: no
// keys of objects, and no definitions.
func (p *place) calls(name string, n int) (found []token) {
	tokens := p.scanned.tokens
	var open []string // brackets around the token
	defines := false  // between def and its colon
	for i, t := range tokens {
		switch {
		case t.kind == tokenName && t.text == "def":
			defines = true
		case t.kind == tokenOther && t.text == ":":
			defines = false
		case t.kind == tokenOther && strings.Contains("([{", t.text):
			open = append(open, t.text)
		case t.kind == tokenOther && strings.Contains(")]}", t.text) && len(open) > 0:
			open = open[:len(open)-1]
		case t.kind != tokenName || t.text != name || defines || arguments(tokens[i+1:]) != n:
		case len(open) > 0 && open[len(open)-1] == "{" && isKey(tokens, i):
		default:
			found = append(found, t)
		}
	}
	return found
}

// isKey says whether the name, directly in braces, is a key: it stands behind the
// brace or a comma.
func isKey(tokens []token, i int) bool {
	return i > 0 && (tokens[i-1].text == "{" || tokens[i-1].text == ",")
}

// arguments counts those of a call, of which rest follows the name.
func arguments(rest []token) int {
	if len(rest) == 0 || rest[0].text != "(" || rest[0].kind != tokenOther {
		return 0
	}
	n, depth := 1, 0
	for _, t := range rest {
		switch {
		case t.kind != tokenOther:
		case strings.Contains("([{", t.text):
			depth++
		case strings.Contains(")]}", t.text):
			if depth--; depth == 0 {
				return n
			}
		case t.text == ";" && depth == 1:
			n++
		}
	}
	return n
}

// variables are the tokens that use a variable: they do not bind it, in a pattern
// or as a parameter, and are no label.
func (p *place) variables(name string) (found []token) {
	tokens := p.scanned.tokens
	pattern, depth, defines := false, 0, false
	for i, t := range tokens {
		switch {
		case t.kind == tokenName && t.text == "as":
			pattern, depth = true, 0
		case t.kind == tokenName && t.text == "def":
			defines = true
		case t.kind == tokenOther && t.text == ":" && !pattern:
			defines = false
		case pattern && t.kind == tokenOther && (t.text == "|" || t.text == "(") && depth == 0:
			pattern = false
		case pattern && t.kind == tokenOther && strings.Contains("[{(", t.text):
			depth++
		case pattern && t.kind == tokenOther && strings.Contains("]})", t.text):
			depth--
		case t.kind != tokenVariable || t.text != name || pattern || defines:
		case i > 0 && (tokens[i-1].text == "label" || tokens[i-1].text == "break"):
		default:
			found = append(found, t)
		}
	}
	return found
}

// breaks are the tokens that leave a label.
func (p *place) breaks(name string) (found []token) {
	for i, t := range p.scanned.tokens {
		if t.kind == tokenVariable && t.text == name && i > 0 && p.scanned.tokens[i-1].text == "break" {
			found = append(found, t)
		}
	}
	return found
}

// functionHint says how a function of ours is called.
func functionHint(name string) string {
	var ways []string
	for _, f := range allFunctions() {
		if f.name != name {
			continue
		}
		for n := f.least; n <= f.most; n++ {
			way := name
			if n > 0 {
				way += "(" + strings.Join([]string{"a", "b", "c"}[:n], "; ") + ")"
			}
			ways = append(ways, way)
		}
	}
	if len(ways) == 0 {
		return ""
	}
	return "it is " + strings.Join(ways, " or ")
}

func variableHint(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "$" + strings.Join(names, ", $") + " are, and those that the program binds"
}
