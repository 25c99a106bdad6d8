package drivers

import (
	"fmt"
	"strings"
	"time"

	"ferry/queue/sbqueue"
)

// names are those of a broker's queues on Service Bus.
type names struct {
	receipts, questions string
	messages            []string // by route
	workers             []string // by worker
}

func queueNames(prefix string, routes, workers []string) (names, error) {
	list, err := sbqueue.Queues(prefix, routes, workers)
	if err != nil {
		return names{}, err
	}
	return names{receipts: list[0], questions: list[1], messages: list[2 : 2+len(routes)], workers: list[2+len(routes):]}, nil
}

// all lists them, those that hold messages under locks first.
func (n names) all() []string {
	list := append([]string{n.receipts}, n.messages...)
	return append(append(list, n.questions), n.workers...)
}

// What the queues are made with. The service takes less of an emulator.
const (
	madeWindow     = 10 * time.Minute
	madeDeliveries = 2000
)

// azNamespace sets the variables of the commands below, for a POSIX shell.
func azNamespace(host string) string {
	name, _, _ := strings.Cut(host, ".")
	const found = "$(az servicebus namespace list --query \"[?name=='$NAMESPACE'].%s\" -o tsv)"
	return fmt.Sprintf("NAMESPACE=%s\nGROUP="+found+"\nSCOPE="+found+"/queues\n", name, "resourceGroup", "id")
}

// azQueue makes a queue. lasting: messages lie in it under locks.
func azQueue(name string, lock time.Duration, lasting bool) string {
	more := ""
	if lasting {
		more = " --enable-duplicate-detection true --duplicate-detection-history-time-window " + isoText(madeWindow)
	}
	return fmt.Sprintf("az servicebus queue create --resource-group \"$GROUP\" --namespace-name \"$NAMESPACE\" --name %s --lock-duration %s --max-delivery-count %d%s\n",
		name, isoText(lock), madeDeliveries, more)
}

// azRoles gives the rights that the driver asks for.
func azRoles(rights []sbqueue.Right) string {
	var b strings.Builder
	role := func(given bool, name, queue string) {
		if given {
			fmt.Fprintf(&b, "az role assignment create --assignee PRINCIPAL --role \"Azure Service Bus Data %s\" --scope \"$SCOPE/%s\"\n", name, queue)
		}
	}
	for _, r := range rights {
		role(r.Listen, "Receiver", r.Queue)
		role(r.Send, "Sender", r.Queue)
	}
	return b.String()
}

// isoText writes a duration as ISO 8601 has it, in one unit.
func isoText(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("PT%dH", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("PT%dM", d/time.Minute)
	default:
		return fmt.Sprintf("PT%dS", d/time.Second)
	}
}
