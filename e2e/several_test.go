package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// two is a world whose route two workers deliver, over a kill within seconds.
func two(t *testing.T) (w *world, second *process) {
	t.Helper()
	o := options{
		routes: []string{invoices}, lock: "5s",
		destination: []string{"timeout: 1s", "concurrency: 4"},
		route: []string{
			`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`,
			"settleTime: 1s",
			"retry: {attempts: 8, initialDelay: 100ms, maxDelay: 1s}",
		},
	}
	w = newWorld(t, o)
	text, err := os.ReadFile(w.path("broker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	w.write("broker.yaml", string(text)+"    workers: several\n")
	w.write("second.yaml", w.workerYAML("second-worker", o))
	w.start()
	w.cli("workers", "add", "second-worker", "--routes", invoices, "--out", "second-worker.nk")
	second = startProcess(t, w.dir, "worker", "run", "--config", "second.yaml")
	second.awaitLog(t, "route.granted")
	return w, second
}

// TestSeveralWorkersOneDies kills one of two workers in its calls, under load: the
// other goes on, and takes over.
func TestSeveralWorkersOneDies(t *testing.T) {
	t.Parallel()
	w, second := two(t)
	l := w.startLoad(4)
	l.awaitMore(20)
	for range number(t, "FERRY_WORKER_KILLS", 2, 1000) {
		before := w.erp.Calls(practice.OpCreate)
		// Two without an answer: a third would have the worker that lives take the ERP
		// for down.
		w.fail(practice.Fault{Kind: practice.FaultWriteLate, Times: 2, Delay: 300 * time.Millisecond})
		w.fail(practice.Fault{Kind: practice.FaultSlow, Times: 6, Delay: 700 * time.Millisecond})
		eventually(t, 10*time.Second, func() string {
			if n := w.erp.Calls(practice.OpCreate); n < before+5 {
				return fmt.Sprintf("the ERP was called %d times", n-before)
			}
			return ""
		})
		second.kill()
		l.awaitMore(20)
		second = startProcess(t, w.dir, "worker", "run", "--config", "second.yaml")
		second.awaitLog(t, "route.granted")
		l.awaitMore(10)
	}
	accepted := l.end()
	w.wantOnce(accepted)
	by := map[string]int{}
	for _, id := range accepted {
		for _, a := range w.message(id).Attempts {
			by[a.Worker]++
		}
	}
	if by["erp-worker"] == 0 || by["second-worker"] == 0 {
		t.Errorf("one of the workers did nothing: %v", by)
	}
	routes := w.cli("routes", "list")
	if !strings.Contains(routes, "erp-worker, second-worker") {
		t.Errorf("routes do not name both workers:\n%s", routes)
	}
	t.Logf("%d messages, calls %v, %d lookups, taken over: %d", len(accepted), by, w.erp.Calls(practice.OpLookup), strings.Count(w.broker.out.String(), "claim.takenOver"))
}

// TestBindUnderLoad hands a route over to another worker's inbox while both run.
func TestBindUnderLoad(t *testing.T) {
	t.Parallel()
	w := quick(t)
	w.cli("workers", "add", "second-worker", "--routes", invoices, "--out", "second-worker.nk")
	w.write("second.yaml", w.workerYAML("second-worker", options{
		routes: []string{invoices}, lock: "5s", destination: []string{"timeout: 1s", "concurrency: 8"},
		route: []string{`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`, "settleTime: 1s"},
	}))
	second := startProcess(t, w.dir, "worker", "run", "--config", "second.yaml")
	second.awaitLog(t, "the route is bound to another inbox")
	l := w.startLoad(4)
	l.awaitMore(10)
	w.fail(practice.Fault{Kind: practice.FaultSlow, Times: 60, Delay: 200 * time.Millisecond})
	w.fail(practice.Fault{Kind: practice.FaultCutAfter, Times: 2})
	l.awaitMore(10)
	w.cli("workers", "bind", "second-worker", invoices)
	second.awaitLog(t, "route.granted")
	l.awaitMore(20)
	w.wantOnce(l.end())
}

// TestRestoredLedger: the broker goes on from a backup. What was delivered since
// is found by lookup, and nothing is posted twice.
func TestRestoredLedger(t *testing.T) {
	t.Parallel()
	w := quick(t)
	w.worker.kill()
	accepted := map[string]ferry.ID{}
	for i := range 20 {
		key := fmt.Sprintf("kept-%02d", i)
		accepted[key] = w.send(invoices, key, kibibyte(key)).ID
	}
	w.broker.kill()
	data, err := os.ReadFile(w.path("data/ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	w.startBroker()
	w.startWorker()
	w.awaitDrained(30 * time.Second)
	creates := w.erp.Calls(practice.OpCreate)
	w.broker.kill()
	w.worker.kill()
	// Inbox and queue are lost as well: nobody but the ERP knows what was delivered.
	for _, lost := range []string{"erp-worker-data", "data/queue"} {
		if err := os.RemoveAll(w.path(lost)); err != nil {
			t.Fatal(err)
		}
	}
	w.write("data/restored.db", string(data))
	if err := os.Rename(w.path("data/restored.db"), w.path("data/ledger.db")); err != nil {
		t.Fatal(err)
	}
	w.startBroker()
	w.broker.awaitLog(t, "ledger.restored")
	w.startWorker()
	w.worker.awaitLog(t, "the route is bound to another inbox")
	w.cli("workers", "bind", "erp-worker", invoices, "--note", "restored")
	w.wantOnce(accepted)
	if n := w.erp.Calls(practice.OpCreate); n != creates || w.erp.Calls(practice.OpLookup) < len(accepted) {
		t.Errorf("%d messages were posted again, %d looked up", n-creates, w.erp.Calls(practice.OpLookup))
	}
	if audit := w.cli("audit"); !strings.Contains(audit, "new epoch") {
		t.Errorf("the audit does not tell of it:\n%s", audit)
	}
}
