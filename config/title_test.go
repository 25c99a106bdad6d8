package config

import (
	"strings"
	"testing"
)

func TestTitles(t *testing.T) {
	const good = "routes:\n  - name: supplier-invoices\n    title: Invoices of suppliers\n    description: >\n      What is approved,\n      and to be paid.\n" +
		"  - name: sales-orders\n  - name: a-b\n  - name: a--b\n"
	b, err := Loader{}.parseBroker([]byte(good), "broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	routes := b.FerryRoutes()
	if routes[0].Heading() != "Invoices of suppliers" || routes[0].Description != "What is approved, and to be paid." || routes[1].Heading() != "Sales orders" {
		t.Errorf("%+v", routes)
	}
	for name, c := range map[string][2]string{
		"two alike":          {"  - name: a1\n    title: Same\n  - name: b1\n    title: same\n", `broker.yaml:5: the routes a1 and b1 have the same title "same"`},
		"another's name":     {"  - name: sales-orders\n  - name: b1\n    title: Sales orders\n", "the routes sales-orders and b1 have the same title"},
		"long title":         {"  - name: a1\n    title: " + strings.Repeat("é", 51) + "\n", "broker.yaml:3: routes[0].title has 51 characters, 50 at most"},
		"title in lines":     {"  - name: a1\n    title: \"a\\nb\"\n", "routes[0].title has line breaks"},
		"title with blanks":  {"  - name: a1\n    title: \" a\"\n", "blanks around it"},
		"long description":   {"  - name: a1\n    description: " + strings.Repeat("x", 501) + "\n", "routes[0].description has 501 characters, 500 at most"},
		"control characters": {"  - name: a1\n    description: \"a\\x07b\"\n", "control characters"},
	} {
		if _, err := (Loader{}).parseBroker([]byte("routes:\n"+c[0]), "broker.yaml"); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
