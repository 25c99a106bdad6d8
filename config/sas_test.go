package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

func TestPullRoutesAndPolicies(t *testing.T) {
	b, err := Loader{}.parseBroker([]byte(`
routes:
  - {name: orders, workers: pull, lock: 2m, maxDeliveries: 5}
  - {name: notes, workers: pull}
  - {name: invoices}
sas:
  - {name: RootManageSharedAccessKey, key: env:SAS_KEY, secondaryKey: file:/run/sas2, rights: [send, listen]}
  - {name: flows, key: env:FLOWS, rights: [send], routes: [orders, notes]}
`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var got []ferry.Route
	for _, r := range b.FerryRoutes() {
		got = append(got, ferry.Route{Name: r.Name, Pull: r.Pull, Several: r.Several, Lock: r.Lock, MaxDeliveries: r.MaxDeliveries})
	}
	want := []ferry.Route{
		{Name: "orders", Pull: true, Lock: 2 * time.Minute, MaxDeliveries: 5},
		{Name: "notes", Pull: true, Lock: time.Minute, MaxDeliveries: 10},
		{Name: "invoices"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	policies := []BrokerSAS{
		{Name: "RootManageSharedAccessKey", Key: "env:SAS_KEY", SecondaryKey: "file:/run/sas2", Rights: []string{"send", "listen"}},
		{Name: "flows", Key: "env:FLOWS", Rights: []string{"send"}, Routes: []string{"orders", "notes"}},
	}
	if diff := cmp.Diff(policies, b.SAS); diff != "" {
		t.Error(diff)
	}
	for name, c := range map[string]wrong{
		"workers":             {"routes:\n  - {name: a1, workers: pul}\n", `f.yaml:2: routes[0].workers: "pul" is not known`, "did you mean pull?"},
		"lock elsewhere":      {"routes:\n  - name: a1\n    lock: 60s\n", "f.yaml:3: routes[0].lock is for routes that receivers pull from", "workers: pull"},
		"deliveries there":    {"routes:\n  - name: a1\n    workers: several\n    maxDeliveries: 3\n", "f.yaml:4: routes[0].maxDeliveries is for routes that receivers pull from", ""},
		"work away":           {"routes:\n  - {name: a1, workers: pull, workAway: 1h}\n", "routes[0].workAway: no worker delivers a route", ""},
		"a long lock":         {"routes:\n  - {name: a1, workers: pull, lock: 6m}\n", "routes[0].lock must lie between 5s and 5m0s", ""},
		"a short lock":        {"routes:\n  - {name: a1, workers: pull, lock: 1s}\n", "routes[0].lock must lie between 5s and 5m0s", ""},
		"too many deliveries": {"routes:\n  - {name: a1, workers: pull, maxDeliveries: 1001}\n", "routes[0].maxDeliveries must lie between 1 and 1000", ""},
		"a literal key":       {"sas:\n  - {name: a, key: hunter2hunter2, rights: [send]}\n", "a secret stands here literally", "env:NAME"},
		"no key":              {"sas:\n  - {name: a, rights: [send]}\n", "sas[0] has no key", "env:NAME"},
		"no name":             {"sas:\n  - {key: env:A, rights: [send]}\n", `sas[0].name: "" cannot be the name of a policy`, ""},
		"a bad name":          {"sas:\n  - {name: a b, key: env:A, rights: [send]}\n", `sas[0].name: "a b" cannot be the name of a policy`, ""},
		"no rights":           {"sas:\n  - {name: a, key: env:A}\n", "sas[0] has no rights", "send"},
		"another right":       {"sas:\n  - {name: a, key: env:A, rights: [manage]}\n", `sas[0].rights[0]: "manage" is not known`, "send"},
		"no such route":       {"sas:\n  - {name: a, key: env:A, rights: [send], routes: [b1]}\n", "sas[0].routes: there is no route b1", ""},
		"twice":               {"sas:\n  - {name: a, key: env:A, rights: [send]}\n  - {name: a, key: env:A, rights: [send]}\n", "the policy a stands here twice, first on line 2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Loader{}.parseBroker([]byte(c.yaml), "f.yaml")
			check(t, err, c)
		})
	}
}
