package stanza

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// reserved are names that routes and destinations may not have.
func reserved() []string {
	return []string{"v1", "ui", "healthz", "readyz", "metrics", "connector", "openapi", "queue"}
}

// Name makes a name of a text: createInvoice -> create-invoice. fallback is taken
// when nothing of it can stand in a name.
func Name(text, fallback string) string {
	var b strings.Builder
	var last rune
	for i, r := range text {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case r >= 'A' && r <= 'Z':
			// A word begins: at a capital after a small letter, and at the last of several.
			next := strings.IndexFunc(text[min(i+1, len(text)):], unicode.IsLetter)
			small := next == 0 && unicode.IsLower(rune(text[i+1]))
			if unicode.IsLower(last) || unicode.IsDigit(last) || unicode.IsUpper(last) && small {
				b.WriteByte('-')
			}
			b.WriteRune(unicode.ToLower(r))
		default:
			b.WriteByte('-')
		}
		last = r
	}
	words := strings.FieldsFunc(b.String(), func(r rune) bool { return r == '-' })
	name := strings.Join(words, "-")
	if len(name) > 45 {
		name = strings.Trim(name[:45], "-")
	}
	name = strings.TrimLeft(name, "0123456789-")
	if len(name) < 2 {
		name = fallback
	}
	if slices.Contains(reserved(), name) {
		name += "-" + fallback
	}
	return name
}

// IsName says whether a text can name a route, a destination or a worker.
func IsName(s string) bool {
	return len(s) >= 2 && len(s) <= 50 && Name(s, "") == s
}

// Distinct gives a name that is not taken yet, and takes it.
func Distinct(name string, taken map[string]bool) string {
	distinct := name
	for n := 2; taken[distinct]; n++ {
		distinct = name + "-" + strconv.Itoa(n)
	}
	taken[distinct] = true
	return distinct
}

// Variable is the environment variable for a secret of a destination: erp-prod
// and key give ERP_PROD_KEY.
func Variable(destination, what string) string {
	return strings.ToUpper(strings.ReplaceAll(destination, "-", "_")) + "_" + what
}
