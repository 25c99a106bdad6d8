package drivers

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"ferry/config"
	"ferry/queue/sbqueue"
)

// The forms of a plan.
const (
	PlanAz       = "az"       // commands of the Azure CLI, for a POSIX shell
	PlanBicep    = "bicep"    // a module for the namespace
	PlanEmulator = "emulator" // Config.json of Microsoft's emulator
)

// Plan writes down how the queues of a broker with these routes and workers are
// made, without calling anybody.
func Plan(form string, cfg config.BrokerServiceBus, routes, workers []string) (string, error) {
	names, err := queueNames(cfg.Prefix, routes, workers)
	if err != nil {
		return "", err
	}
	switch form {
	case PlanAz:
		rights, err := sbqueue.BrokerRights(cfg.Prefix, routes, workers)
		return names.az(cfg, rights), err
	case PlanBicep:
		return names.bicep(cfg), nil
	case PlanEmulator:
		return names.emulator(cfg)
	default:
		return "", fmt.Errorf("there is no form %q of a plan", form)
	}
}

// lasting are the queues in which messages lie under locks.
func (n names) lasting() []string { return append([]string{n.receipts}, n.messages...) }

// passing are those in which nothing lies for long: questions, answers, signals.
func (n names) passing() []string { return append([]string{n.questions}, n.workers...) }

func (n names) az(cfg config.BrokerServiceBus, rights []sbqueue.Right) string {
	var b strings.Builder
	host := cfg.Namespace
	if host == "" {
		host = "NAME"
	}
	b.WriteString(azNamespace(host))
	for _, name := range n.lasting() {
		b.WriteString(azQueue(name, cfg.Lock, true))
	}
	for _, name := range n.passing() {
		b.WriteString(azQueue(name, cfg.Lock, false))
	}
	b.WriteString("# PRINCIPAL: the identity of the broker. Those of workers: broker workers add\n")
	b.WriteString(azRoles(rights))
	return b.String()
}

func (n names) bicep(cfg config.BrokerServiceBus) string {
	var b strings.Builder
	b.WriteString("param namespaceName string\n\n")
	list := func(of string, names []string) {
		fmt.Fprintf(&b, "var %s = [\n", of)
		for _, name := range names {
			fmt.Fprintf(&b, "  '%s'\n", name)
		}
		b.WriteString("]\n")
	}
	list("lasting", n.lasting())
	list("passing", n.passing())
	b.WriteString("\nresource namespace 'Microsoft.ServiceBus/namespaces@2021-11-01' existing = {\n  name: namespaceName\n}\n")
	made := func(of, more string) {
		fmt.Fprintf(&b, `
resource %[1]sQueues 'Microsoft.ServiceBus/namespaces/queues@2021-11-01' = [for name in %[1]s: {
  parent: namespace
  name: name
  properties: {
    lockDuration: '%[2]s'
    maxDeliveryCount: %[3]d
%[4]s  }
}]
`, of, isoText(cfg.Lock), madeDeliveries, more)
	}
	made("lasting", fmt.Sprintf("    requiresDuplicateDetection: true\n    duplicateDetectionHistoryTimeWindow: '%s'\n", isoText(madeWindow)))
	made("passing", "")
	return b.String()
}

// What Microsoft's emulator takes at the most.
const (
	emulatorNamespace  = "sbemulatorns" // the only one that it has
	emulatorWindow     = 5 * time.Minute
	emulatorDeliveries = 10
	emulatorLife       = time.Hour
)

type emulatorQueue struct {
	Name       string
	Properties emulatorProperties
}

type emulatorProperties struct {
	DeadLetteringOnMessageExpiration    bool
	DefaultMessageTimeToLive            string
	DuplicateDetectionHistoryTimeWindow string
	LockDuration                        string
	MaxDeliveryCount                    int
	RequiresDuplicateDetection          bool
	RequiresSession                     bool
}

func (n names) emulator(cfg config.BrokerServiceBus) (string, error) {
	var queues []emulatorQueue
	add := func(names []string, duplicates bool) {
		for _, name := range names {
			queues = append(queues, emulatorQueue{name, emulatorProperties{
				DefaultMessageTimeToLive: isoText(emulatorLife), DuplicateDetectionHistoryTimeWindow: isoText(emulatorWindow),
				LockDuration: isoText(cfg.Lock), MaxDeliveryCount: emulatorDeliveries, RequiresDuplicateDetection: duplicates,
			}})
		}
	}
	add(n.lasting(), true)
	add(n.passing(), false)
	type namespace struct {
		Name   string
		Queues []emulatorQueue
		Topics []string
	}
	type user struct{ Namespaces []namespace }
	type logging struct{ Type string }
	text, err := json.MarshalIndent(struct {
		UserConfig user
		Logging    logging
	}{user{[]namespace{{emulatorNamespace, queues, []string{}}}}, logging{"File"}}, "", "  ")
	return string(text) + "\n", err
}
