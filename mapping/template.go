package mapping

import (
	"strings"

	"ferry"
)

// Piece is a part of a text with programs in it: text, or a program.
type Piece struct {
	Text    string
	Program *Program // nil: Text is all
	Source  string   // of the program, without its braces
}

// Pieces takes a text apart in which programs stand between {= and }, such as
// /suppliers/{= .invoice.supplier}/invoices. They may use the variables of those
// names. An error is that of [Compile], or says that a brace is missing.
func Pieces(s string, names ...string) ([]Piece, error) {
	var pieces []Piece
	for {
		before, rest, found := strings.Cut(s, "{=")
		if before != "" {
			pieces = append(pieces, Piece{Text: before})
		}
		if !found {
			return pieces, nil
		}
		n, ok := ProgramEnd(rest)
		if !ok {
			return nil, ferry.Errorf(ferry.CodeBadConfig, "{=%s has no closing brace", clip(rest)).
				WithHint("a program stands between {= and }; braces and quotes inside of it have their ends, too")
		}
		program, err := CompileVars(rest[:n], names...)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, Piece{Program: program, Source: strings.TrimSpace(rest[:n])})
		s = rest[n+1:]
	}
}
