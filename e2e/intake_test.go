package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/internal/sbemu/entity"
)

// TestIntakeOfJavaScriptSenders: 1,000 messages that Microsoft's JavaScript SDK puts
// into a queue are delivered once each, 50 that it sends again are recognised, and
// each sender is told the end. It needs node: see TestJavaScriptSDK.
func TestIntakeOfJavaScriptSenders(t *testing.T) {
	folder := os.Getenv("FERRY_NODE_DIR")
	if os.Getenv("FERRY_NODE") != "1" || folder == "" {
		t.Skip("needs node and packages of npm: make test-all installs them and sets FERRY_NODE and FERRY_NODE_DIR")
	}
	t.Parallel()
	const messages, repeats = 1000, 50
	o := busOptions()
	o.routes = []string{invoices}
	o.erp = practice.Settings{Required: []string{"number"}}
	o.broker = map[string][]string{invoices: {"intake: {servicebus: {queue: flow-invoices}}"}}
	w := newWorld(t, o)
	for _, queue := range []string{"flow-invoices", "flow-replies"} {
		if _, err := w.double.Namespace().Create(entity.Config{Name: queue}); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	script, err := filepath.Abs("testdata/js/send.mjs")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	// Modules are looked for from where the script lies.
	script = filepath.Join(folder, "send.mjs")
	if err := os.WriteFile(script, text, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, w.double.ConnectionString(), "flow-invoices", fmt.Sprint(messages), fmt.Sprint(repeats), "flow-replies")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var said struct{ Sent, Repeated, Replies int }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &said); err != nil || said.Sent != messages || said.Repeated != repeats || said.Replies != messages {
		t.Errorf("the sender says %s (%v)", out, err)
	}
	w.awaitDrained(time.Minute)
	if n := len(w.erp.Documents("")); n != messages {
		t.Errorf("the ERP has %d documents, not %d", n, messages)
	}
	for i := range messages {
		key := fmt.Sprintf("JS-%05d", i)
		if d := w.document(key); !strings.Contains(string(d.Body), `"`+key+`"`) {
			t.Fatalf("the document of %s is %s", key, d.Body)
		}
	}
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: messages, Completed: messages}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
	w.wantMetrics(
		fmt.Sprintf(`ferry_intake_messages_total{outcome="accepted",route=%q} %d`, invoices, messages),
		fmt.Sprintf(`ferry_intake_messages_total{outcome="duplicate",route=%q} %d`, invoices, repeats),
	)
}

// TestIntakeOverKills: flows go on sending while the broker is killed again and
// again; each message ends in the ERP once.
func TestIntakeOverKills(t *testing.T) {
	t.Parallel()
	o := busOptions()
	o.routes = []string{invoices}
	o.broker = map[string][]string{invoices: {"intake: {servicebus: {queue: flow-invoices}}"}}
	w := newWorld(t, o)
	queue, err := w.double.Namespace().Create(entity.Config{Name: "flow-invoices", LockDuration: 5 * time.Second, MaxDelivery: 50})
	if err != nil {
		t.Fatal(err)
	}
	w.start()
	sender := w.flowSender("flow-invoices")
	rng, _ := chance(t)
	const messages = 300
	for i := range messages {
		sender(fmt.Sprintf("flow-%03d", i))
		if i%60 == 30 {
			time.Sleep(time.Duration(rng.Int64N(int64(200 * time.Millisecond))))
			w.broker.kill()
			w.startBroker()
		}
	}
	eventually(t, time.Minute, func() string {
		if c := queue.Counts(); c.Active+c.Locked > 0 {
			return fmt.Sprintf("the flow's queue holds %+v", c)
		}
		return ""
	})
	w.awaitDrained(time.Minute)
	for i := range messages {
		w.document(fmt.Sprintf("flow-%03d", i))
	}
	if c := queue.Counts(); c.Dead != 0 {
		t.Errorf("%d messages were set aside", c.Dead)
	}
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: messages, Completed: messages}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
}
