package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
)

const otlp = "traces: {otlp: {endpoint: 'http://127.0.0.1:4318'"

func TestTracesAndOperators(t *testing.T) {
	b, err := Loader{}.parseBroker([]byte(otlp+`, headers: {authorization: env:OTLP}}, sample: 0}
routes: [{name: orders}]
operators:
  notify: [{name: on-call, url: env:URL}, {name: team, url: env:TEAM, format: card, events: [routeStopped], routes: [orders]}]
  deadLettersAbove: 7
  diskLowBelow: 256MiB
`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if b.Traces.Share() != 0 || b.Traces.OTLP.Headers["authorization"] != "env:OTLP" {
		t.Errorf("%+v", b.Traces)
	}
	want := &Operators{
		Notify: []OperatorTarget{
			{Name: "on-call", URL: "env:URL", Format: "event"},
			{Name: "team", URL: "env:TEAM", Format: "card", Events: []ferry.OperatorEventType{ferry.EventRouteStopped}, Routes: []string{"orders"}},
		},
		StoppedFor: time.Minute, WorkerLostAfter: 2 * time.Minute, DeadLettersAbove: 7, DeadLettersTotalAbove: 1000, DiskLowBelow: 256 << 20, DiskCriticalBelow: 256 << 20,
	}
	if diff := cmp.Diff(want, b.Operators); diff != "" {
		t.Error(diff)
	}
	var paths []string
	for _, r := range b.References() {
		paths = append(paths, r.Path)
	}
	if got := strings.Join(paths, " "); got != "traces.otlp.headers.authorization operators.notify[0].url operators.notify[1].url" {
		t.Errorf("secrets: %s", got)
	}
	for _, text := range []string{"{}", otlp + "}}"} {
		if b, err = (Loader{}).parseBroker([]byte(text), "f.yaml"); err != nil || b.Traces != nil && b.Traces.Share() != 0.1 || b.Operators != nil {
			t.Errorf("%s: %+v, %v", text, b.Traces, err)
		}
	}
}

func TestTracesAndOperatorsRefused(t *testing.T) {
	for name, c := range map[string]wrong{
		"no collector":        {"traces: {sample: 0.5}\n", "f.yaml:1: traces name no collector", "endpoint"},
		"no address":          {"traces: {otlp: {endpoint: collector}}\n", "traces.otlp.endpoint", "http"},
		"a token in it":       {"traces: {otlp: {endpoint: 'https://x:y@h/'}}\n", "holds what logs on", "headers"},
		"a query in it":       {"traces: {otlp: {endpoint: 'https://h/?token=1'}}\n", "holds what logs on", "headers"},
		"a literal token":     {otlp + ", headers: {authorization: secret-text}}}\n", "traces.otlp.headers.authorization", "env:"},
		"a header of ours":    {otlp + ", headers: {content-length: env:X}}}\n", "names no header that can be set", ""},
		"no header":           {otlp + ", headers: {'a b': env:X}}}\n", "names no header that can be set", ""},
		"too much":            {otlp + "}, sample: 1.5}\n", "traces.sample is not from 0 to 1", "0.1"},
		"not a number":        {otlp + "}, sample: NaN}\n", "traces.sample is not from 0 to 1", "0.1"},
		"no authority":        {otlp + ", ca: nowhere.pem}}\n", "nowhere.pem", ""},
		"nobody":              {"operators: {stoppedFor: 1m}\n", "operators.notify has 0 targets", "on-call"},
		"no name":             {"operators: {notify: [{url: env:URL}]}\n", "operators.notify[0] has no name", ""},
		"no url":              {"operators: {notify: [{name: a1}]}\n", "operators.notify[0] has no url", "env:"},
		"a literal url":       {"operators: {notify: [{name: a1, url: 'https://hooks.example/x'}]}\n", "operators.notify[0].url", "env:"},
		"a name twice":        {"operators: {notify: [{name: a1, url: env:U}, {name: a1, url: env:U}]}\n", "the target a1 stands here twice", ""},
		"no such event":       {"operators: {notify: [{name: a1, url: env:U, events: [routeGone]}]}\n", `there is no event "routeGone"`, "routeStopped"},
		"no such route":       {"operators: {notify: [{name: a1, url: env:U, routes: [orders]}]}\n", `there is no route "orders"`, ""},
		"no such format":      {"operators: {notify: [{name: a1, url: env:U, format: slack}]}\n", "operators.notify[0].format", "text"},
		"critical before low": {"operators: {notify: [{name: a1, url: env:U}], diskLowBelow: 1GiB, diskCriticalBelow: 2GiB}\n", "operators.diskCriticalBelow", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Loader{}.parseBroker([]byte(c.yaml), "f.yaml")
			check(t, err, c)
		})
	}
}
