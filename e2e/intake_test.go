package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry"
	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
	"ferry/internal/servicebus"
)

const (
	flowQueue  = "flow-invoices"
	replyQueue = "flow-replies"
)

// flow is a Power Automate flow that speaks to a Service Bus namespace.
type flow struct {
	t   *testing.T
	emu *sbemu.Server
	bus *servicebus.Client
}

// newFlow starts the Service Bus double with the flow's queues, and a world that
// takes its messages in.
func newFlow(t *testing.T) (*flow, *world) {
	t.Helper()
	emu, err := sbemu.Start(sbemu.Options{Queues: []entity.Config{
		{Name: flowQueue, LockDuration: 5 * time.Second, MaxDelivery: 50},
		{Name: replyQueue, DuplicateWindow: 10 * time.Minute},
	}})
	if err != nil {
		t.Fatal(err)
	}
	bus, err := servicebus.Dial(servicebus.Config{ConnectionString: emu.ConnectionString()})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, options{
		lock:        "5s",
		destination: []string{"timeout: 1s", "concurrency: 8"},
		route: []string{
			`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`,
			"settleTime: 1s", "retry: {attempts: 8, initialDelay: 100ms, maxDelay: 1s}",
		},
		broker: map[string][]string{invoices: {"intake: {servicebus: {queue: " + flowQueue + ", connectionString: \"file:./servicebus.conn\"}}"}},
	})
	w.write("servicebus.conn", emu.ConnectionString()+"\n")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = bus.Close(ctx)
		_ = emu.Close()
	})
	return &flow{t: t, emu: emu, bus: bus}, w
}

func (f *flow) queue(name string) *entity.Queue {
	f.t.Helper()
	q, err := f.emu.Namespace().Queue(name)
	if err != nil {
		f.t.Fatal(err)
	}
	return q
}

func (f *flow) send(from, n int) {
	f.t.Helper()
	msgs := make([]*azservicebus.Message, n)
	for i := range msgs {
		key := fmt.Sprintf("INV-%04d", from+i)
		msgs[i] = &azservicebus.Message{
			MessageID: &key, ContentType: new("application/json"), ReplyTo: new(replyQueue),
			Body: fmt.Appendf(nil, `{"number":%q,"supplier":"Contoso","currency":"EUR","total":5}`, key),
		}
	}
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if err := f.bus.Sender(flowQueue).Send(ctx, msgs); err != nil {
		f.t.Fatal(err)
	}
}

// replies receives what the flow's trigger would see, until there are n.
func (f *flow) replies(n int) map[string]*azservicebus.ReceivedMessage {
	f.t.Helper()
	r := f.bus.Receiver(replyQueue, servicebus.ReceiverOptions{})
	ctx, cancel := context.WithTimeout(f.t.Context(), 2*time.Minute)
	defer cancel()
	got := map[string]*azservicebus.ReceivedMessage{}
	for len(got) < n {
		msgs, err := r.Receive(ctx, 100)
		if err != nil {
			f.t.Fatalf("%d replies of %d: %v", len(got), n, err)
		}
		for _, m := range msgs {
			if err := r.Complete(ctx, m); err != nil {
				f.t.Fatal(err)
			}
			got[*m.CorrelationID] = m
		}
	}
	_ = r.Close(ctx)
	return got
}

// The broker is killed again and again while it takes messages in, delivers them
// and replies: each message becomes one document, and the flow hears of each.
func TestAFlowsMessagesSurviveKills(t *testing.T) {
	f, w := newFlow(t)
	w.start()
	const n = 300
	for i := range 3 {
		f.send(100*i, 100)
		time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond)
		w.broker.kill()
		w.startBroker()
	}
	replies := f.replies(n)
	w.awaitDrained(time.Minute)
	for i := range n {
		key := fmt.Sprintf("INV-%04d", i)
		doc := w.document(key)
		if m := replies[key]; m == nil || *m.Subject != "ferry.completed" || m.ApplicationProperties["reference"] != doc.ID {
			t.Fatalf("the reply about %s: %+v, the document is %s", key, m, doc.ID)
		}
	}
	if c := f.queue(flowQueue).Counts(); c.Active+c.Locked+c.Dead != 0 {
		t.Errorf("left in the flow's queue: %+v", c)
	}
	if sum := w.balance(); sum.Accepted != n || sum.Completed != n {
		t.Errorf("%+v", sum)
	}
}

// What the command line says of an intake, and of what it set aside.
func TestTheCommandLineShowsAnIntake(t *testing.T) {
	f, w := newFlow(t)
	w.start()
	f.send(0, 3)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := f.bus.Sender(flowQueue).Send(ctx, []*azservicebus.Message{{MessageID: new("empty")}}); err != nil {
		t.Fatal(err)
	}
	f.replies(3)
	const line = "intake from the queue flow-invoices is running; 3 taken in, 0 repeats, 1 dead-lettered there"
	eventually(t, 20*time.Second, func() string {
		if out := w.cli("routes", "list"); !strings.Contains(strings.Join(strings.Fields(out), " "), line) {
			return out
		}
		return ""
	})
	out := w.cli("routes", "list", "-o", "json")
	for _, want := range []string{`"intake":`, `"queue": "flow-invoices"`, `"state": "running"`, `"taken": 3`, `"deadLettered": 1`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in %s", want, out)
		}
	}
	if err := f.emu.Namespace().Delete(flowQueue); err != nil {
		t.Fatal(err)
	}
	f.emu.DetachLinks(flowQueue, nil)
	eventually(t, 30*time.Second, func() string {
		r := w.try("status")
		if r.code != 3 || !strings.Contains(r.out, "takes nothing in from the queue flow-invoices since") || !strings.Contains(r.out, "there is no such queue") {
			return fmt.Sprintf("exit code %d: %s", r.code, r.out)
		}
		return ""
	})
	// Who posts is not concerned.
	w.await(w.send(invoices, "posted", `{"number":"posted","supplier":"Contoso","currency":"EUR","total":5}`).ID, ferry.StateCompleted, 30*time.Second)
}

// A thousand messages that Microsoft's JavaScript SDK sends, fifty of them twice:
// each is delivered once, and each sender's reply arrives there. It needs node, and
// the packages of testdata/js in the folder FERRY_NODE_DIR or beside the script:
// FERRY_NODE=1 says that they are there.
func TestAThousandMessagesOfTheJavaScriptSDK(t *testing.T) {
	if os.Getenv("FERRY_NODE") != "1" {
		t.Skip("needs node and packages of npm: FERRY_NODE=1 says that they are there (make test-all)")
	}
	modules := filepath.Join(os.Getenv("FERRY_NODE_DIR"), "node_modules")
	if os.Getenv("FERRY_NODE_DIR") == "" {
		modules = filepath.Join("testdata", "js", "node_modules")
	}
	modules, err := filepath.Abs(modules)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script, err := os.ReadFile(filepath.Join("testdata", "js", "send.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "send.mjs"), script, 0o600), os.Symlink(modules, filepath.Join(dir, "node_modules"))); err != nil {
		t.Fatal(err)
	}
	f, w := newFlow(t)
	w.start()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "send.mjs", f.emu.ConnectionString(), flowQueue, "1000", "50", replyQueue)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), `{"sent":1000,"repeated":50,"replies":1000}`) {
		t.Fatalf("node: %v\n%s", err, out)
	}
	w.awaitDrained(time.Minute)
	for i := range 1000 {
		w.document(fmt.Sprintf("JS-%05d", i))
	}
	routes, err := w.client.Routes(t.Context())
	if err != nil || routes[0].Intake.Taken != 1000 || routes[0].Intake.Duplicates != 50 || routes[0].Intake.DeadLettered != 0 {
		t.Errorf("%+v, %v", routes[0].Intake, err)
	}
	e, err := w.client.Messages(t.Context(), ferry.MessageFilter{Q: "JS-00007"})
	if err != nil || len(e.Items) != 1 || e.Items[0].Properties["number"] != "7" || e.Items[0].Properties["even"] != "false" || e.Items[0].CorrelationID != "case-7" || e.Items[0].Properties["sb-label"] != "invoice" {
		t.Errorf("%+v, %v", e.Items, err)
	}
	if sum := w.balance(); sum.Accepted != 1000 || sum.Completed != 1000 {
		t.Errorf("%+v", sum)
	}
}
