package practice

import (
	"embed"
	"fmt"
	"regexp"
	"strings"
)

// What stands in every example for where the practice ERP is, and for its API key.
const (
	ExampleURL = "http://127.0.0.1:9090"
	ExampleKey = "env:PRACTICE_KEY"
)

//go:embed examples/*.yaml
var examples embed.FS

// Example is how a worker delivers invoices to the practice ERP in a dialect: the
// destinations and the routes of a worker.yaml, with the destination erp and the
// route supplier-invoices. Tests, `broker dev` and `practice-erp -worker` use it,
// so that what is shown is what works. The dialect is one of [Dialects].
func Example(dialect string) (string, error) {
	text, err := examples.ReadFile("examples/" + dialect + ".yaml")
	if err != nil {
		return "", fmt.Errorf("the practice ERP does not speak %q; it speaks %s", dialect, strings.Join(Dialects(), ", "))
	}
	return string(text), nil
}

// made finds what an example's map makes of the invoice's number, and of its supplier.
var made = regexp.MustCompile(`"?([A-Za-z_][\w.]*)"?\s*:\s*\(?\.(?:invoice\.)?(number|supplier)\b`)

// RequiredOf is the member without which an invoice makes no sense, in the words of
// the dialect, for [Settings].Required: what its example makes of .invoice.number, or
// of .invoice.supplier where the external key stands in the place of the number.
func RequiredOf(dialect string) (string, error) {
	text, err := Example(dialect)
	if err != nil {
		return "", err
	}
	supplier := ""
	for _, m := range made.FindAllStringSubmatch(text, -1) {
		if m[2] == "number" {
			return m[1], nil
		}
		supplier = m[1]
	}
	if supplier == "" {
		return "", fmt.Errorf("the example of %s makes nothing of .invoice.number and .invoice.supplier", dialect)
	}
	return supplier, nil
}
