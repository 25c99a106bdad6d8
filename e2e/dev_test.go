package e2e

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/client"
	"ferry/internal/servicebus"
)

// TestDev: `broker dev` shows the whole path, over either queue, and again on the
// data of the run before.
func TestDev(t *testing.T) {
	for _, queue := range []string{"nats", "servicebus"} {
		t.Run(queue, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			for range 2 {
				p := startProcess(t, dir, "broker", "dev", "--queue", queue, "--data", "kept")
				eventually(t, 60*time.Second, func() string {
					if !strings.Contains(p.out.String(), "Ctrl-C ends it") {
						return "it does not say what to try next"
					}
					return ""
				})
				text := p.out.String()
				if !strings.Contains(text, "The ERP has it: document number INV-") {
					t.Errorf("it does not show the sample's document:\n%s", text)
				}
				double := regexp.MustCompile(`Endpoint=sb://\S+;UseDevelopmentEmulator=true`).FindString(text)
				if (queue == "servicebus") != (double != "") {
					t.Errorf("the connection string of the double: %q", double)
				}
				c := devClient(t, text)
				if double != "" {
					wantCarriedBy(t, double)
					sendAsFlow(t, c, double)
				}
				sendToDev(t, c, text)
				if code := p.stop(t, 30*time.Second); code != 0 || !strings.Contains(p.out.String(), "stopping") {
					t.Errorf("exit code %d:\n%s", code, p.out)
				}
			}
		})
	}
}

// TestDevSpeaksEveryDialect: the newcomer's path in each: a message is delivered, one
// without a number is refused and dead-lettered, and mended it is delivered.
func TestDevSpeaksEveryDialect(t *testing.T) {
	for _, dialect := range practice.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := startProcess(t, dir, "broker", "dev", "--erp", dialect, "--data", "kept")
			eventually(t, 60*time.Second, func() string {
				if !strings.Contains(p.out.String(), "Ctrl-C ends it") {
					return "it does not say what to try next"
				}
				return ""
			})
			text := p.out.String()
			for _, want := range []string{"The ERP speaks " + dialect, "The ERP has it: document number "} {
				if !strings.Contains(text, want) {
					t.Errorf("it does not say %q:\n%s", want, text)
				}
			}
			c := devClient(t, text)
			sendToDev(t, c, text)
			bad := devCurl.FindAllStringSubmatch(text, -1)[1]
			a, err := c.Send(t.Context(), bad[2], ferry.Message{Body: []byte(bad[4]), ContentType: "application/json"})
			if err != nil {
				t.Fatal(err)
			}
			e, err := c.Await(t.Context(), a.ID.String())
			if err != nil || e.State != ferry.StateDeadLettered {
				t.Fatalf("what the ERP refuses is %s, %v", e.State, err)
			}
			file, settings := filepath.Join(dir, "mended.json"), regexp.MustCompile(`export FERRY_URL=(\S+) FERRY_KEY_FILE=(\S+)`).FindStringSubmatch(text)
			if err := os.WriteFile(file, []byte(`{"invoice":{"number":"INV-9","supplier":"Contoso Ltd.","currency":"EUR","total":5.00,"date":"2026-11-26"}}`), 0o600); err != nil {
				t.Fatal(err)
			}
			edit := exec.Command(filepath.Join(programs, "broker"), "dlq", "edit", a.ID.String(), "-f", file, "--note", "number added", "--yes")
			edit.Dir, edit.Env = dir, append(environment(dir), "FERRY_URL="+settings[1], "FERRY_KEY_FILE="+settings[2])
			if out, err := edit.CombinedOutput(); err != nil {
				t.Fatalf("dlq edit: %v\n%s", err, out)
			}
			if e, err := c.Await(t.Context(), a.ID.String()); err != nil || e.State != ferry.StateCompleted || e.Reference == "" {
				t.Errorf("what was mended is %s, reference %q, %v", e.State, e.Reference, err)
			}
			if code := p.stop(t, 30*time.Second); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// wantCarriedBy: the queues are there, for any client that has the connection
// string.
func wantCarriedBy(t *testing.T, connection string) {
	t.Helper()
	bus, err := servicebus.Dial(servicebus.Config{ConnectionString: connection})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bus.Close(t.Context()) }()
	for _, name := range []string{"ferry.messages.supplier-invoices", "ferry.receipts", "ferry.worker.dev-worker"} {
		if _, err := bus.Receiver(name, servicebus.ReceiverOptions{}).Peek(t.Context(), 0, 1); err != nil {
			t.Errorf("the queue %s: %v", name, err)
		}
	}
}

// sendAsFlow puts a message into the queue that a flow would send to.
func sendAsFlow(t *testing.T, c *client.Client, connection string) {
	t.Helper()
	bus, err := servicebus.Dial(servicebus.Config{ConnectionString: connection})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bus.Close(t.Context()) }()
	id := "FLOW-" + rand.Text()
	err = bus.Sender("flow-invoices").Send(t.Context(), []*azservicebus.Message{{MessageID: &id, Body: []byte(`{"invoice":{"number":"FLOW-1"}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, func() string {
		page, err := c.Messages(t.Context(), ferry.MessageFilter{Q: id})
		if err != nil || len(page.Items) != 1 || page.Items[0].State != ferry.StateCompleted {
			return fmt.Sprintf("the flow's message is %+v, %v", page.Items, err)
		}
		return ""
	})
}

var devCurl = regexp.MustCompile(`curl -X POST (\S+)/v1/routes/(\S+)/messages -H 'Authorization: Bearer (\S+)' -H 'Content-Type: application/json' -d '([^']+)'`)

// devClient is a client with the key of the text.
func devClient(t *testing.T, text string) *client.Client {
	t.Helper()
	m := devCurl.FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("it does not show how to send:\n%s", text)
	}
	c, err := client.New(m[1], m[3], client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sendToDev sends one message as the text says.
func sendToDev(t *testing.T, c *client.Client, text string) {
	t.Helper()
	m := devCurl.FindStringSubmatch(text)
	a, err := c.Send(t.Context(), m[2], ferry.Message{Body: []byte(m[4]), ContentType: "application/json"})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := c.Await(t.Context(), a.ID.String()); err != nil || e.State != ferry.StateCompleted {
		t.Errorf("what was sent is %s, %v", e.State, err)
	}
}
