package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIntake(t *testing.T) {
	const text = `
queue:
  servicebus: {namespace: contoso.servicebus.windows.net, webSockets: true}
routes:
  - name: shared
    intake: {servicebus: {queue: flow-invoices}}
  - name: own
    maxBytes: 100MiB
    intake:
      servicebus: {queue: flow/orders, connectionString: env:FLOWS, replies: false, contentData: off}
  - name: many
    intake: {servicebus: {queue: flow-notes, concurrency: 500, replies: true}}
  - name: none
`
	b, err := Loader{}.parseBroker([]byte(text), "broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	shared := ServiceBus{Namespace: "contoso.servicebus.windows.net", WebSockets: true}
	for i, want := range []*Intake{
		{&IntakeServiceBus{ServiceBus: shared, Queue: "flow-invoices", Concurrency: 32, ContentData: "auto"}},
		{&IntakeServiceBus{ServiceBus: ServiceBus{ConnectionString: "env:FLOWS"}, Queue: "flow/orders", Concurrency: 2, Replies: new(false), ContentData: "off"}},
		{&IntakeServiceBus{ServiceBus: shared, Queue: "flow-notes", Concurrency: 500, Replies: new(true), ContentData: "auto"}},
		nil,
	} {
		if diff := cmp.Diff(want, b.Routes[i].Intake, exceptSums()); diff != "" {
			t.Errorf("%s: %s", b.Routes[i].Name, diff)
		}
	}
	first, second := b.Routes[0].Intake.ServiceBus, b.Routes[1].Intake.ServiceBus
	if !first.SendsReplies() || !first.Unwraps() || second.SendsReplies() || second.Unwraps() {
		t.Error("replies or contentData are not as written")
	}
}

func TestIntakeRefuses(t *testing.T) {
	const bus = "queue: {servicebus: {namespace: x.servicebus.windows.net, prefix: f1}}\n"
	route := func(intake string) string { return "routes:\n  - name: a1\n    intake: " + intake + "\n" }
	for name, c := range map[string]wrong{
		"nowhere":         {bus + route("{}"), "f.yaml:4: routes[0].intake names nowhere", "servicebus: {queue"},
		"no queue":        {bus + route("{servicebus: {replies: true}}"), "routes[0].intake.servicebus.queue is missing", "add queue"},
		"no namespace":    {route("{servicebus: {queue: q1}}"), "routes[0].intake.servicebus names no namespace", "queue.servicebus"},
		"half a way":      {route("{servicebus: {queue: q1, webSockets: true}}"), "routes[0].intake.servicebus names no namespace", ""},
		"both ways":       {route("{servicebus: {queue: q1, namespace: x.example, connectionString: env:B}}"), "exclude each other", ""},
		"a secret":        {route("{servicebus: {queue: q1, connectionString: 'Endpoint=sb://x;SharedAccessKey=hunter2'}}"), "a secret stands here literally", "env:NAME"},
		"a bad name":      {bus + route("{servicebus: {queue: 'a b'}}"), `"a b" cannot be the name of a queue`, ""},
		"a sub-queue":     {bus + route("{servicebus: {queue: q1/$DeadLetterQueue}}"), "cannot be the name of a queue", ""},
		"the broker's":    {bus + route("{servicebus: {queue: F1.receipts}}"), "the queues f1.… are the broker's own", ""},
		"too many":        {bus + route("{servicebus: {queue: q1, concurrency: 501}}"), "routes[0].intake.servicebus.concurrency must lie between 1 and 500", ""},
		"too few":         {bus + route("{servicebus: {queue: q1, concurrency: -1}}"), "routes[0].intake.servicebus.concurrency must lie between", ""},
		"how":             {bus + route("{servicebus: {queue: q1, contentData: aoto}}"), `contentData: "aoto" is not known`, "did you mean auto?"},
		"unknown":         {bus + route("{servicebus: {queue: q1, prefix: x}}"), `unknown key "prefix" in routes[0].intake.servicebus`, ""},
		"one for several": {bus + route("{servicebus: {queue: q1}}") + "  - name: a2\n    intake: {servicebus: {queue: Q1}}\n", "f.yaml:6: routes[1].intake: the queue Q1 is that of the route a1 already", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Loader{}.parseBroker([]byte(c.yaml), "f.yaml")
			check(t, err, c)
			if strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("the secret is repeated: %v", err)
			}
		})
	}
}
