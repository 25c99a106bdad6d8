package connector

import (
	"fmt"
	"hash/crc32"
	"regexp"
	"strings"
	"unicode"
)

// Bounds of what makers read, characters.
const (
	maxSummary     = 80 // of an action
	maxFieldTitle  = 60
	maxDescription = 500
)

// pascal is a route's name as a part of operation ids: SupplierInvoices for
// supplier-invoices. It depends on the name alone, so that ids stay when routes come
// and go; names that would look alike (q-1 and q1) carry a check of the name.
func pascal(name string) string {
	var b strings.Builder
	up, alike := true, false
	for i := 0; i < len(name); i++ {
		c := name[i]
		if c == '-' {
			if up = true; i+1 < len(name) && (name[i+1] < 'a' || name[i+1] > 'z') {
				alike = true
			}
			continue
		}
		if up && c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		up = false
		b.WriteByte(c)
	}
	if alike {
		fmt.Fprintf(&b, "X%08x", crc32.ChecksumIEEE([]byte(name)))
	}
	return b.String()
}

// word is a version's name as a part of operation ids: as it is where it has small
// letters and digits only, else with a check of the name.
func word(name string) string {
	kept := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(name))
	if kept != name {
		kept += fmt.Sprintf("x%08x", crc32.ChecksumIEEE([]byte(name)))
	}
	return kept
}

// apartDots writes 2-1 for 2.1: titles have no periods.
func apartDots(name string) string { return strings.ReplaceAll(name, ".", "-") }

// tidy is text in one line, without control characters and what does not show.
func tidy(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), r == unicode.ReplacementChar, unicode.Is(unicode.Cf, r):
			return -1
		default:
			return r
		}
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// cut shortens text to most characters, at a blank where there is one near the end.
func cut(s string, most int) string {
	if runes(s) <= most {
		return s
	}
	kept := string([]rune(s)[:most])
	if i := strings.LastIndexByte(kept, ' '); i > len(kept)/2 {
		kept = kept[:i]
	}
	return strings.TrimRight(kept, " ,;:-")
}

// tag is one of HTML.
var tag = regexp.MustCompile(`</?[A-Za-z][^<>]{0,200}>`)

// heading is text for a title: without the characters that titles of actions and
// fields may not have. It is empty when nothing is left.
func heading(s string, most int) string {
	s = tag.ReplaceAllString(s, " ")
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`/\:@_?!.<>{}[]"*#|~^$`+"`", r) {
			return ' '
		}
		return r
	}, tidy(s))
	s = strings.Trim(cut(tidy(s), most), " ,;-+=&%'")
	if !strings.ContainsFunc(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }) {
		return ""
	}
	return s
}

// titleCase is the title of a field: the words of s with capitals, such as Invoice
// Number for invoiceNumber, invoice_number or "invoice number".
func titleCase(s string) string {
	words := strings.Fields(heading(apart(s), maxFieldTitle))
	for i, w := range words {
		if i > 0 && small(w) {
			continue
		}
		r := []rune(w)
		r[0] = unicode.ToUpper(r[0])
		if w = string(r); abbreviated(w) {
			w = strings.ToUpper(w)
		}
		words[i] = w
	}
	return strings.Join(words, " ")
}

// apart puts blanks between the words of a name.
func apart(s string) string {
	var b strings.Builder
	r := []rune(s)
	for i, c := range r {
		if c == '-' || c == '_' || c == '.' {
			c = ' '
		}
		if i > 0 && unicode.IsUpper(c) {
			before, ends := r[i-1], i+1 == len(r) || !unicode.IsLower(r[i+1])
			if unicode.IsLower(before) || unicode.IsDigit(before) || unicode.IsUpper(before) && !ends {
				b.WriteByte(' ')
			}
		}
		b.WriteRune(c)
	}
	return b.String()
}

// small says whether the word has no capital inside a title.
func small(w string) bool {
	switch w {
	case "a", "an", "and", "as", "at", "by", "for", "from", "in", "of", "on", "or", "per", "the", "to", "with":
		return true
	default:
		return false
	}
}

// abbreviated says whether the word is written in capitals.
func abbreviated(w string) bool {
	switch w {
	case "Id", "Url", "Uri", "Vat", "Iban", "Bic", "Uuid", "Http", "Json", "Erp", "Sku":
		return true
	default:
		return false
	}
}

// sentence is text as a description: it ends with a period, and is not just the
// title again. It is empty when the text says nothing.
func sentence(s, title string) string {
	s = cut(tidy(s), maxDescription-1)
	bare := strings.TrimRight(s, " .!?:;,")
	if bare == "" || strings.EqualFold(bare, title) {
		return ""
	}
	if strings.HasSuffix(s, "!") || strings.HasSuffix(s, "?") {
		return s
	}
	return bare + "."
}
