package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/internal/sbemu"
)

// TestMoveToServiceBusAndBack: the queue is changed under messages that wait in it,
// are being delivered, or of which the receipt lies there; and changed back, with
// what the first time left behind. Nothing is lost, and nothing is posted twice.
func TestMoveToServiceBusAndBack(t *testing.T) {
	t.Parallel()
	o := quickOptions()
	w := newWorld(t, o)
	double, err := sbemu.Start(sbemu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = double.Close() })
	w.write("bus.txt", double.ConnectionString()+"\n")
	w.start()

	sent := 0
	more := func(n int) {
		t.Helper()
		for range n {
			w.send(invoices, fmt.Sprintf("move-%03d", sent), kibibyte(fmt.Sprintf("move-%03d", sent)))
			sent++
		}
	}
	// underWay has some delivered, some in their calls, and others in the queue.
	underWay := func() {
		t.Helper()
		documents := len(w.erp.Documents(""))
		w.fail(practice.Fault{Kind: practice.FaultSlow, Times: 1000, Delay: 100 * time.Millisecond})
		more(100)
		eventually(t, 30*time.Second, func() string {
			if n := len(w.erp.Documents("")); n < documents+10 {
				return fmt.Sprintf("%d documents more", n-documents)
			}
			return ""
		})
	}
	move := func(broker, worker string) {
		t.Helper()
		for name, queue := range map[string]string{"broker.yaml": broker, "worker.yaml": worker} {
			text, err := os.ReadFile(w.path(name))
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(string(text), "\n")
			for i, line := range lines {
				if strings.HasPrefix(line, "queue: ") {
					lines[i] = "queue: " + queue
				}
			}
			w.write(name, strings.Join(lines, "\n"))
		}
		w.startBroker()
		w.startWorker()
		w.awaitGranted()
	}
	toBus := func() {
		t.Helper()
		move(fmt.Sprintf("{driver: servicebus, servicebus: {connectionString: file:bus.txt, adminUrl: %q, provision: true, lock: 5s}}", "http://"+double.Addr()),
			"{driver: servicebus, servicebus: {connectionString: file:bus.txt, nkey: ./erp-worker.nk, lock: 5s}}")
	}
	toNATS := func() {
		t.Helper()
		move(fmt.Sprintf("{nats: {listen: %q, lock: 5s}}", w.queue), fmt.Sprintf("{nats: {url: \"nats://%s\", nkey: ./erp-worker.nk, lock: 5s}}", w.queue))
	}

	underWay() // stopped in good order
	w.broker.stop(t, 30*time.Second)
	w.worker.stop(t, 30*time.Second)
	toBus()
	underWay() // killed, the worker in its calls
	w.worker.kill()
	w.broker.kill()
	toNATS()
	underWay() // and to Service Bus again, where the copies of the first time are
	w.broker.kill()
	w.worker.kill()
	toBus()
	w.erp.ClearFaults()
	more(20)
	w.awaitDrained(90 * time.Second)

	for i := range sent {
		w.document(fmt.Sprintf("move-%03d", i))
	}
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: int64(sent), Completed: int64(sent)}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
}
