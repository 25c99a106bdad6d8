package drivers

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ferry/config"
)

// TestTheEmulatorsConfigIsThePlan: the queues of the example are those that its
// broker and its worker need.
func TestTheEmulatorsConfigIsThePlan(t *testing.T) {
	cfg, err := config.LoadBroker("../../examples/servicebus-emulator/broker.yaml")
	if err != nil {
		t.Fatal(err)
	}
	routes := make([]string, len(cfg.Routes))
	for i, r := range cfg.Routes {
		routes[i] = r.Name
	}
	want, err := Plan(PlanEmulator, cfg.Queue.ServiceBus, routes, []string{"bus-worker"})
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../../examples/servicebus-emulator/Config.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(have)); diff != "" {
		t.Errorf("broker servicebus provision --print emulator writes another Config.json (-it +the example):\n%s", diff)
	}
}

// TestTheEmulatorTakesThePlan: the plan keeps to what the emulator can do.
func TestTheEmulatorTakesThePlan(t *testing.T) {
	text, err := Plan(PlanEmulator, config.Default().Queue.ServiceBus, []string{"one", "two"}, []string{"w1"})
	if err != nil {
		t.Fatal(err)
	}
	var plan struct {
		UserConfig struct {
			Namespaces []struct {
				Name   string
				Queues []emulatorQueue
			}
		}
	}
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		t.Fatal(err)
	}
	spaces := plan.UserConfig.Namespaces
	if len(spaces) != 1 || spaces[0].Name != "sbemulatorns" || len(spaces[0].Queues) != 5 {
		t.Fatalf("%+v", spaces)
	}
	for _, q := range spaces[0].Queues {
		p := q.Properties
		lasts := strings.HasPrefix(q.Name, "ferry.messages.") || q.Name == "ferry.receipts"
		if p.MaxDeliveryCount != 10 || p.LockDuration != "PT1M" || p.DuplicateDetectionHistoryTimeWindow != "PT5M" ||
			p.DefaultMessageTimeToLive != "PT1H" || p.RequiresSession || p.RequiresDuplicateDetection != lasts {
			t.Errorf("%+v", q)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	if _, err := Plan("terraform", config.Default().Queue.ServiceBus, nil, nil); err == nil {
		t.Error("a form that nobody knows")
	}
	if _, err := Plan(PlanAz, config.BrokerServiceBus{Prefix: "a/b"}, nil, nil); err == nil {
		t.Error("a prefix that is none")
	}
}
