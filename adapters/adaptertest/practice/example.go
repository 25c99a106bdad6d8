package practice

import (
	"embed"
	"fmt"
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
