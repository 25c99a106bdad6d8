package connector

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ferry"
)

// parts are the paths and definitions of a definition, each to the byte.
func parts(t *testing.T, routes []ferry.Route) map[string]string {
	t.Helper()
	c, err := Make(routes, Options{PublicURL: "https://broker.contoso.com"})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := parse(fileNamed(t, c, DefinitionFile))
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]string{}
	for _, m := range doc.(object) {
		if o, ok := m.value.(object); ok && (m.name == "paths" || m.name == "definitions") {
			for _, part := range o {
				made[m.name+" "+part.name] = string(indented(part.value))
			}
			continue
		}
		made[m.name] = string(indented(m.value))
	}
	return made
}

// TestAddingARouteChangesNothingElse: what flows use of a connector stays as it is,
// to the byte, when a route is added, wherever its name sorts.
func TestAddingARouteChangesNothingElse(t *testing.T) {
	before := parts(t, twelve(t))
	for _, name := range []string{"aa-first", "items-2", "zz-last", "supplier-invoice", "supplierinvoices", "message", "any"} {
		after := parts(t, append([]ferry.Route{{Name: name, Title: "New " + name, Schema: routeOf(t, "items").Schema}}, twelve(t)...))
		if len(after) != len(before)+3 {
			t.Errorf("%s adds %d parts, want two paths and a body", name, len(after)-len(before))
		}
		for part, text := range before {
			if after[part] != text {
				t.Errorf("adding %s changes %s:\n%s", name, part, cmp.Diff(text, after[part]))
			}
		}
	}
}

// TestAddingAFieldChangesThatBodyOnly: no operation, and of the body's fields none.
func TestAddingAFieldChangesThatBodyOnly(t *testing.T) {
	const body = "definitions SupplierInvoicesBody"
	before := parts(t, twelve(t))
	routes := twelve(t)
	for i := range routes {
		if routes[i].Name == "supplier-invoices" {
			routes[i].Schema = json.RawMessage(strings.Replace(string(routes[i].Schema), `"currency": {`, `"incoterms": {"type": "string"}, "currency": {`, 1))
		}
	}
	after := parts(t, routes)
	if after[body] == before[body] || !strings.Contains(after[body], "incoterms") {
		t.Fatal("the field is not there")
	}
	for part, text := range before {
		if part != body && after[part] != text {
			t.Errorf("it changes %s", part)
		}
	}
	field := func(text, name string) string {
		v, err := parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return string(compact(v.(object).object("properties").object("invoice").object("properties").get(name)))
	}
	for _, name := range []string{"number", "supplier", "buyer", "currency", "lines"} {
		if field(before[body], name) != field(after[body], name) {
			t.Errorf("it changes the field %s", name)
		}
	}
}

// TestOrderOfTheConfigurationDoesNotMatter: moving a route in the file is no change.
func TestOrderOfTheConfigurationDoesNotMatter(t *testing.T) {
	routes := twelve(t)
	first, err := Make(routes, Options{})
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(routes)
	second, err := Make(routes, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error(diff)
	}
}

// TestIdsOfRoutesAreTheirOwn: no two names make one id, and none makes one of the
// fixed ids.
func TestIdsOfRoutesAreTheirOwn(t *testing.T) {
	for name, want := range map[string]string{
		"supplier-invoices": "SupplierInvoices", "orders": "Orders", "q2": "Q2", "a-b-c": "ABC", "and-wait": "AndWait",
		"q-2": "Q2X428fd01a", "a--b": "ABX11ddc052",
	} {
		if got := pascal(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	names := rapid.StringMatching(`[a-c][a-c1-2-]{1,6}[a-c1-2]`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := names.Draw(t, "a"), names.Draw(t, "b")
		if a != b && (pascal(a) == pascal(b) || "SendTo"+pascal(a) == "SendAndWaitTo"+pascal(b)) {
			t.Fatalf("%s and %s are both %s", a, b, pascal(a))
		}
	})
}
