package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Somebody has decided of every key whether a running broker takes it over: a new
// one is to be decided on, too.
func TestEveryKeyIsDecidedOn(t *testing.T) {
	for f := range fieldsOf(reflect.TypeFor[Broker]()) {
		if yaml := f.Tag.Get("yaml"); yaml == "" {
			continue
		}
		if tag := f.Tag.Get("reload"); tag != reloadLive && tag != reloadStart {
			t.Errorf("the key %s has no tag reload: live, where a running broker takes it over (cmd/broker/parts.go, broker.Settings), or start", f.Name)
		}
	}
}

func fieldsOf(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

func parse(t *testing.T, text string) *Broker {
	t.Helper()
	b, err := Loader{}.parseBroker([]byte(text), "broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestChangesNameKeysAndRoutes(t *testing.T) {
	dir := t.TempDir()
	schema := filepath.ToSlash(filepath.Join(dir, "invoice.json"))
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(schema, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("SAS_KEY", "x")
	t.Setenv("OTHER_KEY", "y")
	base := `
retention: 30d
limits: {perKey: {rate: 10/s}}
routes:
  - name: invoices
    schema: ` + schema + `
    window: 100
  - name: orders
`
	write(`{"type":"object"}`)
	before := parse(t, base)
	write(`{"type":"array"}`)
	tests := map[string]struct {
		text string
		want []string
	}{
		"the schema's file": {base, []string{"routes[invoices].schema"}},
		"listen and a rate": {
			"listen: 127.0.0.1:9999\npublicUrl: http://127.0.0.1:8080\n" + fmt.Sprintf("retention: 30d\nlimits: {perKey: {rate: 20/s}, connections: 100}\nroutes: [{name: invoices, schema: %s, window: 100}, {name: orders}]\n", schema),
			[]string{"listen (start)", "routes[invoices].schema", "limits.perKey.rate", "limits.connections (start)", "limits.connectionsPerAddress (start)"},
		},
		"routes come and go": {
			fmt.Sprintf("retention: 30d\nlimits: {perKey: {rate: 10/s}}\nroutes: [{name: credits}, {name: invoices, schema: %s, window: 50, owner: {name: AP}}]\n", schema),
			[]string{"routes[credits] added", "routes[invoices].window", "routes[invoices].owner added", "routes[invoices].schema", "routes[orders] removed"},
		},
		"a policy": {
			base + "sas: [{name: flow, key: 'env:SAS_KEY', rights: [send]}]\naccessLog: {path: access.log}\ncors: {origins: ['https://a.example']}\n",
			[]string{"routes[invoices].schema", "sas[flow] added", "cors.origins", "accessLog added"},
		},
	}
	for name, test := range tests {
		var got []string
		for _, c := range Changes(before, parse(t, test.text)) {
			text := c.String()
			if c.NextStart {
				text += " (start)"
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(test.want, got, cmp.Transformer("set", asSet)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := Changes(before, before); len(got) != 0 {
		t.Errorf("nothing changed, and: %v", got)
	}
}

func asSet(list []string) map[string]bool {
	m := map[string]bool{}
	for _, s := range list {
		m[s] = true
	}
	return m
}

func TestWhatRunsKeepsWhatOnlyAStartChanges(t *testing.T) {
	before := parse(t, "dataDir: ./one\nlimits: {connections: 100}\nroutes: [{name: invoices}]\n")
	after := parse(t, "listen: 127.0.0.1:9999\ndataDir: ./two\nenvironment: prod\nlimits: {connections: 200, perKey: {rate: 5/s}}\nroutes: [{name: orders}]\n")
	got := Effective(before, after)
	if got.DataDir != "./one" || got.Listen != before.Listen || got.PublicURL != before.PublicURL || got.Environment != "" || got.Limits.Connections != 100 {
		t.Errorf("%+v", got)
	}
	if got.Routes[0].Name != "orders" || got.Limits.PerKey.Rate.IsZero() {
		t.Errorf("what a running broker takes over is not: %+v", got)
	}
	if after.DataDir != "./two" || after.Limits.Connections != 200 {
		t.Error("the new configuration was changed")
	}
	for _, c := range Changes(before, got) {
		if c.NextStart {
			t.Errorf("%s is another key than what runs", c.Key)
		}
	}
}
