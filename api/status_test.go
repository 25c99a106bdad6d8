package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"ferry"
)

// TestEveryCodeHasAStatus reads the codes from the source of the vocabulary, so
// that a new one cannot be forgotten in the table.
func TestEveryCodeHasAStatus(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []ferry.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Code") || len(spec.Values) != 1 {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
			text, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, ferry.Code(text))
		}
		return true
	})
	if len(codes) < 40 {
		t.Fatalf("only %d codes found in errors.go", len(codes))
	}
	for _, code := range codes {
		status, ok := statusOf(code)
		if !ok || status < 400 || status > 599 {
			t.Errorf("the code %s has the status %d", code, status)
		}
		if repeats := status == 429 || status == 503; repeats != (retryAfter(code) > 0) {
			t.Errorf("the code %s, status %d: Retry-After %d", code, status, retryAfter(code))
		}
	}
	if _, ok := statusOf("nope"); ok || Status("nope") != 500 {
		t.Error("an unknown code is not a 500")
	}
}
