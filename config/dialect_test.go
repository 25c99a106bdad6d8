package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"ferry/adapters"
)

// What a dialect implies need not be configured, and can be.
func TestWhatDialectsImply(t *testing.T) {
	type implied struct {
		lookup    bool
		onUnknown string
		confirm   string
		within    time.Duration
	}
	for keys, want := range map[string]implied{
		`dialect: rest, keyField: a`:                                                  {false, OnUnknownHold, "", 0},
		`dialect: frappe, entity: X, keyField: a`:                                     {true, OnUnknownLookup, "", 0},
		`dialect: frappe, entity: X, keyField: a, write: upsert`:                      {true, OnUnknownLookup, "", 0},
		`dialect: odata, entity: X, keyField: a`:                                      {true, OnUnknownLookup, "", 0},
		`dialect: odata, entity: X, keyField: a, write: update`:                       {true, OnUnknownRepost, "", 0},
		`dialect: odata-sap, entity: X, keyField: a, write: upsert`:                   {true, OnUnknownRepost, "", 0},
		`dialect: netsuite, entity: X, key: {a: .b}`:                                  {true, OnUnknownLookup, "", 0},
		`dialect: netsuite, entity: X, write: upsert`:                                 {false, OnUnknownRepost, "", 0},
		`dialect: netsuite, entity: X, keyField: externalId, async: true`:             {true, OnUnknownRepost, adapters.ConfirmPoll, DefaultConfirmWithin},
		`dialect: netsuite, entity: X, async: true, onUnknown: hold`:                  {false, OnUnknownHold, adapters.ConfirmPoll, DefaultConfirmWithin},
		`dialect: acumatica, entity: X, keyField: a`:                                  {true, OnUnknownLookup, "", 0},
		`dialect: acumatica, entity: X, keyField: a, write: upsert`:                   {true, OnUnknownRepost, "", 0},
		`dialect: acumatica, entity: X, keyField: a, finish: Y`:                       {true, OnUnknownLookup, adapters.ConfirmPoll, 10 * time.Minute},
		`dialect: acumatica, entity: X, keyField: a, finish: Y, confirmWithin: 1h`:    {true, OnUnknownLookup, adapters.ConfirmPoll, time.Hour},
		`dialect: acumatica, entity: X, keyField: a, finish: Y, poll: {interval: 1s}`: {true, OnUnknownLookup, adapters.ConfirmPoll, 10 * time.Minute},
	} {
		file := filepath.Join(t.TempDir(), "worker.yaml")
		text := "name: w1\nqueue: {nats: {url: \"nats://127.0.0.1:4222\", nkey: env:LOGIN}}\nroutes:\n  - {name: r1, adapter: erp, url: \"https://e.example\", version: 1.2.3, " + keys + "}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w, err := LoadWorker(file)
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		r := w.Routes[0]
		if got := (implied{r.Lookup != nil, r.OnUnknown, r.Confirm, r.ConfirmWithin}); got != want {
			t.Errorf("%s: %+v, want %+v", keys, got, want)
		}
	}
}
