package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// TestGracefulStop: broker and worker end well under load when asked to, and
// lose nothing.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	w := quick(t)
	l := w.startLoad(8)
	l.awaitMore(20)
	if code := w.broker.stop(t, 25*time.Second); code != 0 {
		t.Errorf("the broker's exit code is %d", code)
	}
	w.startBroker()
	l.awaitMore(20)

	// Calls under way end before the worker does: none is posted again.
	w.fail(practice.Fault{Kind: practice.FaultSlow, Times: 4, Delay: 500 * time.Millisecond})
	before := w.erp.Calls(practice.OpCreate)
	eventually(t, 10*time.Second, func() string {
		if n := w.erp.Calls(practice.OpCreate); n < before+2 {
			return fmt.Sprintf("%d calls", n-before)
		}
		return ""
	})
	if code := w.worker.stop(t, 30*time.Second); code != 0 {
		t.Errorf("the worker's exit code is %d", code)
	}
	state := w.erp.State()
	w.startWorker()
	l.awaitMore(20)
	accepted := l.end()
	w.wantOnce(accepted)
	if n := w.erp.Calls(practice.OpCreate); n != len(accepted) {
		t.Errorf("%d creates of %d messages; %d when the worker had stopped", n, len(accepted), state.Calls["create"])
	}
}

// TestLargeBodies: a body of the largest size arrives byte by byte, one more byte
// is refused.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.start()
	body := make([]byte, 0, 1<<20)
	body = append(body, `{"filler":"`...)
	for i := 0; len(body) < 1<<20-2; i++ {
		body = append(body, "0123456789abcdefghijklmnopqrstuvwxyz-+"[i*7%38])
	}
	body = append(body, `"}`...)
	a := w.send(invoices, "large", string(body))
	w.await(a.ID, ferry.StateCompleted, 15*time.Second)
	if d := w.document("large"); string(d.Body) != string(body) {
		t.Errorf("a body of %d bytes came as %d others", len(body), len(d.Body))
	}
	back, _, err := w.client.Body(t.Context(), a.ID.String(), 0)
	if err != nil || string(back) != string(body) {
		t.Errorf("the broker gives %d bytes back: %v", len(back), err)
	}
	_, err = w.client.Send(t.Context(), invoices, ferry.Message{Body: append(body, ' '), ContentType: "application/json"})
	if ferry.CodeOf(err) != ferry.CodeTooLarge {
		t.Errorf("one byte more: %v", err)
	}
	if got, want := w.balance(), (ferry.Reconciliation{Accepted: 1, Completed: 1}); got != want {
		t.Errorf("reconcile: %+v, not %+v", got, want)
	}
	if entries, err := os.ReadDir(w.path("data")); err != nil || len(entries) == 0 {
		t.Errorf("the data folder: %v, %v", entries, err)
	}
}
