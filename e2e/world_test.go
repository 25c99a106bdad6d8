package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/client"
	"ferry/internal/sbemu"
)

// invoices is the route of most tests.
const invoices = "supplier-invoices"

// world is a broker, a worker and a practice ERP.
type world struct {
	t      *testing.T
	dir    string
	api    string        // the broker's HTTP address
	queue  string        // the queue's address
	bodies string        // on Service Bus, the store of large bodies: YAML
	double *sbemu.Server // the queue, where it is Service Bus
	erp    *practice.ERP
	erpURL string

	broker *process
	worker *process
	client *client.Client
}

// options of a world; the zero value is good.
type options struct {
	erp    practice.Settings
	routes []string            // default: invoices
	lock   string              // default 30s
	bodies string              // see world
	bus    bool                // the queue is Service Bus, as everywhere in TestOnServiceBus, and with onBus
	broker map[string][]string // of broker.yaml: further keys of a route, each one a line of YAML
	// Of worker.yaml: further keys of the route, and of the destination, each one
	// a line of YAML.
	route, destination []string
}

// newWorld starts the ERP and writes the configuration; nothing else runs yet.
func newWorld(t *testing.T, o options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), api: freePort(t), queue: freePort(t), erp: practice.New("", o.erp), bodies: o.bodies}
	server := httptest.NewServer(w.erp)
	w.erpURL = server.URL
	t.Cleanup(func() {
		w.erp.Close()
		server.CloseClientConnections()
		server.Close()
	})
	if o.routes == nil {
		o.routes = []string{invoices}
	}
	if o.lock == "" {
		o.lock = "30s"
	}
	if o.bus || os.Getenv(onBus) != "" || strings.Contains(t.Name(), "OnServiceBus") {
		w.startBus()
	}
	text := fmt.Sprintf("listen: %s\ndataDir: ./data\nenvironment: e2e\nqueue: %s\nroutes:\n", w.api, w.brokerQueue(o.lock))
	for _, r := range o.routes {
		text += "  - name: " + r + "\n"
		for _, line := range o.broker[r] {
			text += "    " + line + "\n"
		}
	}
	w.write("broker.yaml", text)
	w.write("worker.yaml", w.workerYAML("erp-worker", o))
	return w
}

// workerYAML is the configuration of a worker with its credential in NAME.nk.
func (w *world) workerYAML(name string, o options) string {
	text := fmt.Sprintf("name: %s\ndataDir: ./%s-data\nqueue: %s\n", name, name, w.workerQueue(name, o.lock))
	text += fmt.Sprintf("destinations:\n  erp:\n    adapter: erp\n    dialect: rest\n    url: %s\n    health: {url: /ping}\n", w.erpURL)
	if o.destination == nil {
		o.destination = []string{"timeout: 10s", "concurrency: 8"}
	}
	for _, line := range o.destination {
		text += "    " + line + "\n"
	}
	text += "routes:\n"
	if o.route == nil {
		o.route = []string{`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`}
	}
	for _, r := range o.routes {
		text += "  - name: " + r + "\n    destination: erp\n    url: /invoices\n    reference: .id\n"
		for _, line := range o.route {
			text += "    " + line + "\n"
		}
	}
	return text
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// start brings all up: broker, the worker's credential, the worker.
func (w *world) start() {
	w.t.Helper()
	w.startBroker()
	w.cli("workers", "add", "erp-worker", "--routes", strings.Join(w.routeNames(), ","), "--out", "erp-worker.nk")
	w.startWorker()
	w.awaitGranted()
}

func (w *world) routeNames() []string {
	w.t.Helper()
	routes, err := w.client.Routes(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, r := range routes {
		names = append(names, r.Name)
	}
	return names
}

// startBroker returns when the broker answers.
func (w *world) startBroker() {
	w.t.Helper()
	w.launchBroker()
	w.awaitBroker()
}

func (w *world) launchBroker() {
	w.t.Helper()
	w.broker = startProcess(w.t, w.dir, "broker", "serve", "--config", "broker.yaml")
}

func (w *world) awaitBroker() {
	w.t.Helper()
	if w.client == nil {
		w.awaitAdmin()
	}
	eventually(w.t, 20*time.Second, func() string {
		if !w.broker.running() {
			w.t.Fatalf("the broker ended with exit code %d:\n%s", w.broker.cmd.ProcessState.ExitCode(), w.broker.out)
		}
		if err := w.client.Ready(w.t.Context()); err != nil {
			return err.Error()
		}
		return ""
	})
}

// awaitAdmin makes the client with the key that the first start wrote.
func (w *world) awaitAdmin() {
	w.t.Helper()
	var key string
	eventually(w.t, 20*time.Second, func() string {
		if !w.broker.running() {
			w.t.Fatalf("the broker ended with exit code %d:\n%s", w.broker.cmd.ProcessState.ExitCode(), w.broker.out)
		}
		text, err := os.ReadFile(w.path("data/admin.key"))
		if err != nil || !strings.HasSuffix(string(text), "\n") {
			return fmt.Sprintf("no admin key: %v", err)
		}
		key = strings.TrimSpace(string(text))
		return ""
	})
	w.client = w.clientWith(key)
}

func (w *world) clientWith(key string) *client.Client {
	w.t.Helper()
	c, err := client.New("http://"+w.api, key, client.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) startWorker() {
	w.t.Helper()
	w.worker = startProcess(w.t, w.dir, "worker", "run", "--config", "worker.yaml")
}

// awaitGranted waits until every route runs.
func (w *world) awaitGranted() {
	w.t.Helper()
	eventually(w.t, 20*time.Second, func() string {
		routes, err := w.client.Routes(w.t.Context())
		if err != nil {
			return err.Error()
		}
		for _, r := range routes {
			if r.State != ferry.RouteRunning {
				return fmt.Sprintf("route %s is %s", r.Name, r.State)
			}
		}
		return ""
	})
}

// try runs an operator's command.
func (w *world) try(args ...string) result {
	w.t.Helper()
	return command(w.t, w.dir, "broker", append(args, "--server", "http://"+w.api, "--key-file", w.path("data/admin.key"))...)
}

// cli runs an operator's command that must succeed, and gives what it printed.
func (w *world) cli(args ...string) string {
	w.t.Helper()
	r := w.try(args...)
	if r.code != 0 {
		w.t.Fatalf("broker %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.out, r.errOut)
	}
	return r.out
}

// send sends one message, as JSON unless it looks like XML.
func (w *world) send(route, key, body string) ferry.Accepted {
	w.t.Helper()
	contentType := "application/json"
	if strings.HasPrefix(body, "<") {
		contentType = "application/xml"
	}
	a, err := w.client.Send(w.t.Context(), route, ferry.Message{Body: []byte(body), ContentType: contentType, IdempotencyKey: key})
	if err != nil {
		w.t.Fatalf("send %s: %v", key, err)
	}
	return a
}

// message reads a message.
func (w *world) message(id ferry.ID) ferry.Envelope {
	w.t.Helper()
	e, err := w.client.Message(w.t.Context(), id.String())
	if err != nil {
		w.t.Fatalf("message %s: %v", id, err)
	}
	return e
}

// await waits until a message is in the state.
func (w *world) await(id ferry.ID, state ferry.State, within time.Duration) ferry.Envelope {
	w.t.Helper()
	var e ferry.Envelope
	eventually(w.t, within, func() string {
		var err error
		if e, err = w.client.Message(w.t.Context(), id.String()); err != nil {
			return err.Error()
		}
		if e.State != state {
			return fmt.Sprintf("message %s is %s and not %s: %+v %+v", id.Short(), e.State, state, e.DeadLetter, e.Attempts)
		}
		return ""
	})
	return e
}

// awaitDrained waits until nothing is pending any more.
func (w *world) awaitDrained(within time.Duration) {
	w.t.Helper()
	eventually(w.t, within, func() string {
		s, err := w.client.Status(w.t.Context())
		if err != nil {
			return err.Error()
		}
		if s.Waiting > 0 {
			return fmt.Sprintf("%d messages wait: %+v", s.Waiting, s.Routes)
		}
		return ""
	})
}

// balance adds the reconciliation up, and fails unless every line balances.
func (w *world) balance() ferry.Reconciliation {
	w.t.Helper()
	lines, err := w.client.Reconcile(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	var sum ferry.Reconciliation
	for _, l := range lines {
		if !l.Balanced || l.Accepted != l.Pending+l.Completed+l.DeadLetters+l.Discarded {
			w.t.Errorf("the ledger does not balance: %+v", l)
		}
		sum.Accepted += l.Accepted
		sum.Pending += l.Pending
		sum.Completed += l.Completed
		sum.DeadLetters += l.DeadLetters
		sum.Discarded += l.Discarded
	}
	return sum
}

// document is the only document of a key.
func (w *world) document(key string) practice.Document {
	w.t.Helper()
	docs := w.erp.Documents(key)
	if len(docs) != 1 {
		w.t.Fatalf("the ERP has %d documents for %s, not 1", len(docs), key)
	}
	return docs[0]
}

// sendUntil sends with the same key until the broker says that it has it, as a
// careful sender does.
func (w *world) sendUntil(ctx context.Context, route, key string, body []byte) (ferry.Accepted, error) {
	for {
		a, err := w.client.Send(ctx, route, ferry.Message{Body: body, ContentType: "application/json", IdempotencyKey: key})
		if err == nil {
			return a, nil
		}
		if code := ferry.CodeOf(err); ctx.Err() != nil || code != ferry.CodeInternal && code != ferry.CodeStopping && code != ferry.CodeLedgerUnavailable {
			return a, errors.Join(err, ctx.Err())
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
