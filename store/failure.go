package store

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"

	"ferry"
)

// A failure is what dead letters of a route have in common that failed alike: reason,
// the destination's code, and its words without what differs from message to message.

// Bounds of an error's words, in bytes: of what is looked at, and of what is kept.
const (
	mostWords  = 1 << 10
	mostMasked = 200
)

// failureOf names the failure of a dead letter, the same in every run, and gives its
// words as they are shown.
func failureOf(dead *ferry.DeadLetter) (name, words string) {
	words = maskError(dead.Description)
	sum := sha256.Sum256([]byte(string(dead.Reason) + "\x00" + dead.Code + "\x00" + words))
	return hex.EncodeToString(sum[:6]), words
}

// The mask of everything that differs.
const masked = "#"

var (
	// Values that are more than one word.
	wholeValues = regexp.MustCompile(`(?i)(?:[^\s@"'<>(),;:=]+')?[^\s@"'<>(),;:=]+@[^\s@"'<>(),;:=]+\.[a-z]+|[?&][\w.%-]+=[^\s&"'<>]*`)
	quoted      = regexp.MustCompile(`"[^"\n]{1,120}"|'[^'\n]{1,120}'|„[^“”\n]{1,120}[“”]|“[^”\n]{1,120}”|«[^»\n]{1,120}»|‘[^’\n]{1,120}’`)
	names       = regexp.MustCompile(`(?i)(field|column|property|parameter|attribute|element|member|table|entity|object|type|function|method|feld|spalte|tabelle|eigenschaft|parameter|attribut|champ|colonne|campo)s?[\s:=(]*$`)
	months      = regexp.MustCompile(`#[\s,.-]*(?:Jan|Feb|Mar|Mär|Apr|May|Mai|Jun|Jul|Aug|Sep|Oct|Okt|Nov|Dec|Dez)\p{L}*|(?:Jan|Feb|Mar|Mär|Apr|May|Mai|Jun|Jul|Aug|Sep|Oct|Okt|Nov|Dec|Dez)\p{L}*[\s,.-]*#`)
	runs        = regexp.MustCompile(`#(?:[\s,.:/\\'’+_-]*#)+`)
)

// maskError makes errors alike that differ in numbers, ids, dates, amounts, addresses
// and quoted values only. What is left of the words tells one failure from another:
// the name of a field stays, also in quotes.
func maskError(text string) string {
	text = strings.Join(strings.Fields(head(text, mostWords)), " ")
	text = wholeValues.ReplaceAllString(text, masked)
	text = maskQuoted(text)
	text = maskWords(text)
	text = months.ReplaceAllString(text, masked)
	text = runs.ReplaceAllString(text, masked)
	return head(text, mostMasked)
}

// maskQuoted masks what is quoted and is a value: of several words, unless it is
// called a field or the like. Single words are left to maskWords.
func maskQuoted(text string) string {
	var b strings.Builder
	from := 0
	for _, at := range quoted.FindAllStringIndex(text, -1) {
		value := text[at[0]:at[1]]
		if !strings.Contains(value, " ") || names.MatchString(text[:at[0]]) || apostrophe(text, at[0]) {
			continue
		}
		first, last := []rune(value)[0], []rune(value)[len([]rune(value))-1]
		b.WriteString(text[from:at[0]] + string(first) + masked + string(last))
		from = at[1]
	}
	return b.String() + text[from:]
}

// apostrophe says whether the quote at a place stands within a word, as in "can't".
func apostrophe(text string, at int) bool {
	if at == 0 || text[at] != '\'' {
		return false
	}
	before := []rune(text[max(0, at-4):at])
	return unicode.IsLetter(before[len(before)-1])
}

// maskWords masks every word that has a digit, or is no word: hexadecimal, base 64.
// Punctuation between words stays, so that JSON without a space keeps its names.
func maskWords(text string) string {
	var b strings.Builder
	for text != "" {
		n := strings.IndexFunc(text, inWord)
		if n < 0 {
			n = len(text)
		}
		b.WriteString(text[:n])
		text = text[n:]
		if n = strings.IndexFunc(text, func(c rune) bool { return !inWord(c) }); n < 0 {
			n = len(text)
		}
		word := strings.TrimRight(text[:n], ".-_")
		rest := text[len(word):n]
		if opaque(word) {
			word = masked
		}
		b.WriteString(word + rest)
		text = text[n:]
	}
	return b.String()
}

func inWord(c rune) bool {
	return unicode.IsLetter(c) || unicode.IsDigit(c) || unicode.IsMark(c) || c == '_' || c == '-' || c == '.'
}

// opaque says whether a word differs from message to message.
func opaque(word string) bool {
	upper, hexadecimal, letters, before := 0, true, 0, ' '
	for _, c := range word {
		if unicode.IsDigit(c) {
			return true
		}
		if !strings.ContainsRune("abcdefABCDEF-", c) {
			hexadecimal = false
		}
		if unicode.IsLower(before) && unicode.IsUpper(c) {
			upper++
		}
		letters++
		before = c
	}
	// Names in camel case change to capitals once in a word of five letters or more.
	return hexadecimal && letters >= 8 || letters >= 20 && upper*5 > letters
}
