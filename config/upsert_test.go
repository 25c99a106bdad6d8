package config

import (
	"strings"
	"testing"
)

// TestUpsertsWithoutAKeyOfTheSystem: where the dialect looks for the document and
// the system does not, an upsert that was not answered is looked up: sent again at
// once it could make a second document.
func TestUpsertsWithoutAKeyOfTheSystem(t *testing.T) {
	for dialect, want := range map[string]string{
		"tryton": OnUnknownLookup, "odoo-jsonrpc": OnUnknownLookup, "odoo-json2": OnUnknownLookup, "dataverse": OnUnknownRepost,
	} {
		text := strings.ReplaceAll(`
name: w1
queue: {nats: {url: 'nats://x:4222', nkey: env:SEED}}
destinations:
  erp: {adapter: erp, dialect: DIALECT, url: 'https://erp.example', auth: {type: basic, username: ferry, password: env:PASSWORD}}
routes:
  - {name: parties, destination: erp, entity: party.party, keyField: code, write: upsert}
`, "DIALECT", dialect)
		w, err := Loader{LookupEnv: env("PASSWORD", "x", "SEED", "x")}.parseWorker([]byte(text), "worker.yaml")
		if err != nil {
			t.Errorf("%s: %v", dialect, err)
			continue
		}
		if got := w.Routes[0].OnUnknown; got != want {
			t.Errorf("%s: onUnknown is %s, want %s", dialect, got, want)
		}
	}
}
