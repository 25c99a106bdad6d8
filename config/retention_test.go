package config

import (
	"strings"
	"testing"
	"time"

	"ferry"
)

func TestRetentionForms(t *testing.T) {
	for name, tc := range map[string]struct {
		yaml string
		want ferry.Retention
	}{
		"none":   {"", ferry.Retention{}},
		"short":  {"retention: 10d\n", ferry.Retention{Completed: 10 * day, Discarded: 10 * day}},
		"states": {"retention: {completed: 30d, discarded: 90d, deadLettered: never, bodies: 7d, audit: 400d}\n", ferry.Retention{Completed: 30 * day, Discarded: 90 * day, DeadLettered: ferry.KeepForever, Bodies: 7 * day, Audit: 400 * day}},
		"dead":   {"retention:\n  deadLettered: 180d\n  audit: never\n", ferry.Retention{DeadLettered: 180 * day, Audit: ferry.KeepForever}},
		// As ever: messages are then kept for the window.
		"short form within the window": {"retention: 2h\n", ferry.Retention{Completed: 2 * time.Hour, Discarded: 2 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := Loader{}.parseBroker([]byte(tc.yaml), "f.yaml")
			if err != nil {
				t.Fatal(err)
			}
			if got := b.Retention.Ferry(); got != tc.want {
				t.Errorf("%+v, not %+v", got, tc.want)
			}
		})
	}
	b, err := Loader{}.parseBroker([]byte("retention: {completed: 20d, deadLettered: 100d}\nroutes:\n  - name: a1\n    retention: 40d\n  - name: b2\n    retention: {deadLettered: never}\n"), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, routes := b.Retention.Ferry(), b.FerryRoutes()
	for i, want := range []ferry.Retention{
		{Completed: 40 * day, Discarded: 40 * day, DeadLettered: 100 * day, Bodies: ferry.KeepForever, Audit: ferry.DefaultAuditRetention},
		{Completed: 20 * day, Discarded: 30 * day, DeadLettered: ferry.KeepForever, Bodies: ferry.KeepForever, Audit: ferry.DefaultAuditRetention},
	} {
		if got := routes[i].Retention.Over(all); got != want {
			t.Errorf("route %s: %+v, not %+v", routes[i].Name, got, want)
		}
	}
}

func TestRetentionFaults(t *testing.T) {
	for name, tc := range map[string]struct{ yaml, want string }{
		"within the window":   {"idempotencyWindow: 7d\nretention:\n  completed: 3d\n", "f.yaml:3: retention.completed is shorter than idempotencyWindow, 7d"},
		"dead in the window":  {"retention:\n  discarded: 8d\n  deadLettered: 1d\n", "f.yaml:3: retention.deadLettered is shorter than idempotencyWindow, 7d"},
		"too short":           {"retention: {completed: 1s}\n", "f.yaml:1: retention.completed must lie between 1h0m0s and 3650d"},
		"nothing":             {"retention: 0s\n", "f.yaml:1: retention must lie between 1h0m0s and 3650d"},
		"bodies outlive":      {"retention:\n  completed: 8d\n  bodies: 9d\n", "f.yaml:3: retention.bodies is longer than a completed message is kept, 8d"},
		"no word":             {"retention: {deadLettered: always}\n", `f.yaml:1: retention.deadLettered: "always" is neither a duration nor never`},
		"never":               {"retention: {completed: never}\n", `f.yaml:1: retention.completed: "never" is not a duration`},
		"audit":               {"retention: {audit: 3d}\n", "f.yaml:1: retention.audit must lie between 30d and 3650d"},
		"unknown":             {"retention: {finished: 3d}\n", `f.yaml:1: unknown key "finished" in retention`},
		"list":                {"retention: [30d]\n", "f.yaml:1: retention must be a group of keys"},
		"of a route":          {"routes:\n  - name: a1\n    retention:\n      discarded: 2d\n", "f.yaml:4: routes[0].retention.discarded is shorter than idempotencyWindow, 7d"},
		"audit of a route":    {"routes:\n  - name: a1\n    retention: {audit: 90d}\n", `f.yaml:3: unknown key "audit" in routes[0].retention`},
		"bodies over default": {"retention: {bodies: 31d}\n", "f.yaml:1: retention.bodies is longer than a completed message is kept, 30d"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Loader{}.parseBroker([]byte(tc.yaml), "f.yaml")
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, not %s", err, tc.want)
			}
		})
	}
}
