package e2e

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/client"
	"ferry/queue/natsqueue"
)

// withinWindow fails when a test took so long that the queue's duplicate window
// was over, and it proved nothing.
func withinWindow(t *testing.T, since time.Time) {
	t.Helper()
	if took := time.Since(since); took >= natsqueue.DefaultDuplicateWindow {
		t.Errorf("it took %s, longer than the duplicate window of %s", took, natsqueue.DefaultDuplicateWindow)
	}
}

// TestDuplicateWindowReplay: a replay right after the rejection is delivered,
// again and again.
func TestDuplicateWindowReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.start()
	w.fail(practice.Fault{Kind: practice.FaultStatus, Times: 3, Status: http.StatusBadRequest, Code: "closed", Text: "the period is closed"})
	began := time.Now()
	a := w.send(invoices, "replay-1", kibibyte("replay-1"))
	for range 3 {
		w.await(a.ID, ferry.StateDeadLettered, 5*time.Second)
		if _, err := w.client.Replay(t.Context(), a.ID.String(), client.Replay{}); err != nil {
			t.Fatal(err)
		}
	}
	e := w.await(a.ID, ferry.StateCompleted, 5*time.Second)
	withinWindow(t, began)
	if d := w.document("replay-1"); e.Reference != d.ID || e.Generation != 4 || e.AttemptsTotal != 4 {
		t.Errorf("completed as %s in generation %d after %d attempts; the ERP has %s", e.Reference, e.Generation, e.AttemptsTotal, d.ID)
	}
}

// TestDuplicateWindowRetry: attempts that fail are followed by others at once.
func TestDuplicateWindowRetry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{route: []string{
		`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`,
		"retry: {attempts: 8, initialDelay: 20ms, maxDelay: 50ms}", "settleTime: 10ms",
	}})
	w.start()
	w.fail(practice.Fault{Kind: practice.FaultStatus, Times: 4, Status: http.StatusInternalServerError})
	began := time.Now()
	a := w.send(invoices, "retry-1", kibibyte("retry-1"))
	w.await(a.ID, ferry.StateCompleted, 8*time.Second)
	withinWindow(t, began)
	w.document("retry-1")
	if n := w.erp.Calls(practice.OpCreate); n != 5 {
		t.Errorf("%d creates, not 5", n)
	}
}

// TestDuplicateWindowRestart: the broker starts again right after it handed out,
// with its queue or without; what was handed out is delivered, once.
func TestDuplicateWindowRestart(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]bool{"with its queue": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, options{lock: "5s"})
			w.start()
			if code := w.worker.stop(t, 10*time.Second); code != 0 {
				t.Fatalf("the worker's exit code is %d", code)
			}
			began := time.Now()
			ids := map[string]ferry.ID{}
			for i := range 20 {
				key := fmt.Sprintf("restart-%02d", i)
				ids[key] = w.send(invoices, key, kibibyte(key)).ID
			}
			eventually(t, 5*time.Second, func() string {
				r, err := w.client.Routes(t.Context())
				if err != nil || r[0].InQueue != len(ids) {
					return fmt.Sprintf("not handed out: %+v, %v", r, err)
				}
				return ""
			})
			w.broker.kill()
			if lose {
				if err := os.RemoveAll(w.path("data/queue")); err != nil {
					t.Fatal(err)
				}
			}
			w.startBroker()
			w.startWorker()
			w.wantOnce(ids)
			withinWindow(t, began)
		})
	}
}
