package mapping

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/itchyny/gojq"

	"ferry"
)

// sourceError says where in the program a fault lies.
func sourceError(src string, err error) *ferry.Error {
	var parse *gojq.ParseError
	if errors.As(err, &parse) {
		// The offset is behind the token that cannot be there.
		line, column := position(src, max(parse.Offset-len(parse.Token), 0))
		return ferry.Errorf(ferry.CodeBadConfig, "the jq program, line %d, column %d: %w", line, column, err)
	}
	if offset, ok := nameOffset(src, err.Error()); ok {
		line, column := position(src, offset)
		return ferry.Errorf(ferry.CodeBadConfig, "the jq program, line %d, column %d: %w", line, column, err)
	}
	return ferry.Errorf(ferry.CodeBadConfig, "the jq program: %w", err)
}

// position turns a byte offset into line and column, from 1.
func position(src string, offset int) (line, column int) {
	before := src[:min(offset, len(src))]
	line = strings.Count(before, "\n") + 1
	return line, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
}

// nameOffset finds the name that a compile error complains about; the library
// gives no position for those.
func nameOffset(src, text string) (int, bool) {
	_, name, ok := strings.Cut(text, ": ")
	if !ok || !strings.Contains(text, "not defined") {
		return 0, false
	}
	name, _, _ = strings.Cut(name, "/")
	re, err := regexp.Compile(`(^|[^\w$.])(` + regexp.QuoteMeta(name) + `)($|\W)`)
	if err != nil {
		return 0, false
	}
	at := re.FindStringSubmatchIndex(src)
	if at == nil {
		return 0, false
	}
	return at[4], true
}
