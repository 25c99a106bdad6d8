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

// TestMovingTheQueue moves broker and worker from NATS to Service Bus, back, and there
// once more, each time with messages in the queue that is left: at first both are
// stopped in order, then both are killed. Everything is delivered once. What lies in
// the queue that was left is of earlier turns, and does no harm when it is used
// again.
func TestMovingTheQueue(t *testing.T) {
	t.Parallel()
	const each = 40
	o := busOptions()
	o.bus = false
	o.destination = []string{"timeout: 5s", "concurrency: 2"}
	w := newWorld(t, o)
	bus := w.double
	if bus == nil {
		w.startBus()
		bus, w.double = w.double, nil
	} else {
		w.move(nil, o.lock) // every world is on Service Bus: this one begins on NATS
	}
	// About six a second: most are in the queue yet when it is left.
	w.fail(practice.Fault{Kind: practice.FaultSlow, Times: -1, Chance: 1, Delay: 300 * time.Millisecond})
	w.start()
	accepted := map[string]ferry.ID{}
	for leg, to := range []*sbemu.Server{bus, nil, bus} {
		before := len(w.erp.Documents(""))
		for i := range each {
			key := fmt.Sprintf("move-%d-%03d", leg, i)
			accepted[key] = w.send(invoices, key, kibibyte(key)).ID
		}
		eventually(t, 60*time.Second, func() string {
			if n := len(w.erp.Documents("")) - before; n < 6 {
				return fmt.Sprintf("%d documents were written over this queue", n)
			}
			return ""
		})
		w.leave(leg == 0)
		done := len(w.erp.Documents(""))
		if done >= len(accepted) {
			t.Fatalf("leg %d: nothing waits in the queue that is left", leg)
		}
		if w.double != nil {
			w.wantWaiting("ferry.messages." + invoices)
		}
		t.Logf("leg %d: %d of %d messages were delivered when the queue was left", leg, done, len(accepted))
		w.move(to, o.lock)
		w.startBroker()
		w.startWorker()
		w.awaitGranted()
	}
	w.erp.ClearFaults()
	w.wantOnce(accepted)
}

// leave ends worker and broker.
func (w *world) leave(inOrder bool) {
	w.t.Helper()
	if !inOrder {
		w.worker.kill()
		w.broker.kill()
		return
	}
	for _, p := range []*process{w.worker, w.broker} {
		if code := p.stop(w.t, 30*time.Second); code != 0 {
			w.t.Fatalf("exit code %d", code)
		}
	}
}

// wantWaiting: something lies in that queue of Service Bus.
func (w *world) wantWaiting(name string) {
	w.t.Helper()
	queue, err := w.double.Namespace().Queue(name)
	if err != nil {
		w.t.Fatal(err)
	}
	if c := queue.Counts(); c.Active+c.Locked == 0 {
		w.t.Fatalf("nothing waits in %s: %+v", name, c)
	}
}

// move changes what both configuration files say of the queue, and nothing else: to
// the double, or to NATS.
func (w *world) move(to *sbemu.Server, lock string) {
	w.t.Helper()
	old := map[string]string{"broker.yaml": w.brokerQueue(lock), "worker.yaml": w.workerQueue("erp-worker", lock)}
	w.double = to
	now := map[string]string{"broker.yaml": w.brokerQueue(lock), "worker.yaml": w.workerQueue("erp-worker", lock)}
	for file, section := range old {
		text, err := os.ReadFile(w.path(file))
		if err != nil {
			w.t.Fatal(err)
		}
		if strings.Count(string(text), section) != 1 {
			w.t.Fatalf("%s has no section %s:\n%s", file, section, text)
		}
		w.write(file, strings.Replace(string(text), section, now[file], 1))
	}
}
