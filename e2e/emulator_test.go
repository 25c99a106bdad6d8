package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
)

// emulator is a double with the queues of Config.json, settings and all, and with the
// limits of Microsoft's emulator.
func emulator(t *testing.T) *sbemu.Server {
	t.Helper()
	text, err := os.ReadFile("../examples/servicebus-emulator/Config.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		UserConfig struct {
			Namespaces []struct {
				Queues []struct {
					Name       string
					Properties struct {
						DeadLetteringOnMessageExpiration, RequiresDuplicateDetection, RequiresSession          bool
						DefaultMessageTimeToLive, DuplicateDetectionHistoryTimeWindow, LockDuration, ForwardTo string
						MaxDeliveryCount                                                                       int
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.UserConfig.Namespaces) != 1 {
		t.Fatalf("%v: %+v", err, file)
	}
	span := func(text string, least, most time.Duration) time.Duration {
		t.Helper()
		d, err := ferry.ParseDuration(text)
		if err != nil || d < least || d > most {
			t.Errorf("%s is not from %s to %s: %v", text, least, most, err)
		}
		return d
	}
	options := sbemu.Options{Limits: sbemu.Limits{Connections: 10}}
	for _, q := range file.UserConfig.Namespaces[0].Queues {
		p := q.Properties
		c := entity.Config{
			Name: q.Name, MaxDelivery: p.MaxDeliveryCount, DeadLetterOnExpiry: p.DeadLetteringOnMessageExpiration,
			RequiresSession: p.RequiresSession,
			LockDuration:    span(p.LockDuration, 5*time.Second, 5*time.Minute),
			DefaultTTL:      span(p.DefaultMessageTimeToLive, 5*time.Minute, time.Hour),
			MaxSizeBytes:    100 << 20,
		}
		if window := span(p.DuplicateDetectionHistoryTimeWindow, 5*time.Second, 5*time.Minute); p.RequiresDuplicateDetection {
			c.DuplicateWindow = window
		}
		if c.MaxDelivery < 1 || c.MaxDelivery > 10 || p.ForwardTo != "" {
			t.Errorf("the emulator does not take %+v", q)
		}
		options.Queues = append(options.Queues, c)
	}
	if n := len(options.Queues); n > 50 {
		t.Errorf("%d queues, and the emulator takes 50", n)
	}
	double, err := sbemu.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := double.Close(); err != nil {
			t.Error(err)
		}
	})
	return double
}

// TestExampleOfTheEmulator: broker.yaml and worker.yaml of that example deliver over
// the queues of its Config.json; the broker warns of what is short there, and makes
// nothing. Only addresses and folders are others than in a container.
func TestExampleOfTheEmulator(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	bus := emulator(t)
	w.write("bus.txt", bus.ConnectionString())
	before := len(bus.Namespace().Queues())
	w.example("broker.yaml", "0.0.0.0:8080", w.api, "http://localhost:8081", "http://"+w.api, "/data", "./data",
		"env:SERVICEBUS_CONNECTION_STRING", fmt.Sprintf("file:./bus.txt, adminUrl: %q", "http://"+bus.Addr()))
	w.example("worker.yaml", "/worker-data", "./worker-data", "/login/", "./", "env:SERVICEBUS_CONNECTION_STRING", "file:./bus.txt",
		"http://practice-erp:9090", w.erpURL)
	w.startBroker()
	w.cli("workers", "add", "bus-worker", "--routes", invoices, "--out", "bus-worker.nk")
	w.startWorker()
	w.awaitGranted()
	for i := range 20 {
		key := fmt.Sprintf("emulator-%02d", i)
		a := w.send(invoices, key, fmt.Sprintf(`{"invoice":{"number":%q,"supplier":"Northwind","currency":"EUR","total":12.5}}`, key))
		w.await(a.ID, ferry.StateCompleted, 20*time.Second)
		w.document(key)
	}
	if now := len(bus.Namespace().Queues()); now != before {
		t.Errorf("%d queues were made beside the %d of Config.json", now-before, before)
	}
	if n := bus.Connections(); n < 2 || n > 4 {
		t.Errorf("%d connections, of the 10 that the emulator takes", n)
	}
	r := w.try("servicebus", "check", "--config", "broker.yaml", "--workers", "bus-worker")
	if r.code != 0 || !strings.Contains(r.out, "drops messages after 1h0m0s") || strings.Contains(r.out, "problem:") {
		t.Errorf("`servicebus check`: exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
}

// example writes a file of the example with changes: each old text stands there.
func (w *world) example(name string, changes ...string) {
	w.t.Helper()
	text, err := os.ReadFile("../examples/servicebus-emulator/" + name)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(string(text), changes[i]) {
			w.t.Fatalf("%s has no %s:\n%s", name, changes[i], text)
		}
		text = []byte(strings.ReplaceAll(string(text), changes[i], changes[i+1]))
	}
	w.write(name, string(text))
}
