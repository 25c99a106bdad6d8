package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
)

// awaitLog waits until a process wrote the text.
func (p *process) awaitLog(t *testing.T, text string) {
	t.Helper()
	eventually(t, 15*time.Second, func() string {
		if !strings.Contains(p.out.String(), text) {
			return p.name + " did not write " + text
		}
		return ""
	})
}

// TestWorkerRevoked: a revoked worker is cut off at once, and says so.
func TestWorkerRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.start()
	w.await(w.send(invoices, "before", kibibyte("before")).ID, ferry.StateCompleted, 10*time.Second)
	w.cli("workers", "revoke", "erp-worker")
	a := w.send(invoices, "after", kibibyte("after"))
	eventually(t, 15*time.Second, func() string {
		if text := strings.ToLower(w.worker.out.String()); !strings.Contains(text, "refuses these credentials") {
			return "the worker does not say that it was refused"
		}
		return ""
	})
	if e := w.message(a.ID); e.State != ferry.StateAccepted && e.State != ferry.StateQueued || len(w.erp.Documents("after")) != 0 {
		t.Errorf("after the worker was revoked its message is %s with %d documents", e.State, len(w.erp.Documents("after")))
	}
	if list := w.cli("workers", "list"); !strings.Contains(list, "revoked") {
		t.Errorf("`workers list` does not say so:\n%s", list)
	}
	// Started again, it is refused with a hint.
	w.worker.kill()
	r := command(t, w.dir, "worker", "run", "--config", "worker.yaml")
	if r.code != 1 || !strings.Contains(r.errOut, "worker: error: ") || !strings.Contains(r.errOut, "broker workers add") {
		t.Errorf("a start of the revoked worker: exit code %d\n%s", r.code, r.errOut)
	}
}

// TestWorkerOfOneRoute: a worker added for one route cannot have the other's
// messages, whatever its file says.
func TestWorkerOfOneRoute(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{routes: []string{"route-a", "route-b"}})
	w.startBroker()
	w.cli("workers", "add", "erp-worker", "--routes", "route-a", "--out", "erp-worker.nk")
	w.startWorker()
	b := w.send("route-b", "for-b", kibibyte("for-b"))
	a := w.send("route-a", "for-a", kibibyte("for-a"))
	w.await(a.ID, ferry.StateCompleted, 15*time.Second)
	w.worker.awaitLog(t, "worker erp-worker was not added for route route-b")
	if e := w.message(b.ID); e.State.Terminal() || len(w.erp.Documents("for-b")) != 0 {
		t.Errorf("the other route's message is %s with %d documents", e.State, len(w.erp.Documents("for-b")))
	}
}

// TestCopiedLogin: a login that was copied brings another inbox with it, and is
// refused until an operator binds the route to it.
func TestCopiedLogin(t *testing.T) {
	t.Parallel()
	w := quick(t)
	w.await(w.send(invoices, "first", kibibyte("first")).ID, ferry.StateCompleted, 10*time.Second)
	w.worker.kill()
	if err := os.Rename(w.path("erp-worker-data"), w.path("inbox-of-before")); err != nil {
		t.Fatal(err)
	}
	w.startWorker()
	w.worker.awaitLog(t, "the route is bound to another inbox")
	a := w.send(invoices, "second", kibibyte("second"))
	if !strings.Contains(w.worker.out.String(), "broker workers bind erp-worker "+invoices) {
		t.Errorf("the worker does not tell the way out:\n%s", w.worker.out)
	}
	if n := len(w.erp.Documents("second")); n != 0 {
		t.Errorf("the copied login delivered %d documents", n)
	}
	w.cli("workers", "bind", "erp-worker", invoices, "--note", "the disk was lost")
	w.await(a.ID, ferry.StateCompleted, 45*time.Second)
	w.document("second")
	if audit := w.cli("audit"); !strings.Contains(audit, "the disk was lost") {
		t.Errorf("the audit lacks the note:\n%s", audit)
	}
}

// TestBindMovesRoute: a route goes over to another worker.
func TestBindMovesRoute(t *testing.T) {
	t.Parallel()
	w := quick(t)
	w.await(w.send(invoices, "by-first", kibibyte("by-first")).ID, ferry.StateCompleted, 10*time.Second)
	w.cli("workers", "add", "second-worker", "--routes", invoices, "--out", "second-worker.nk")
	w.write("second.yaml", w.workerYAML("second-worker", options{lock: "5s", routes: []string{invoices}}))
	second := startProcess(t, w.dir, "worker", "run", "--config", "second.yaml")
	second.awaitLog(t, "the route is bound to another inbox")
	w.cli("workers", "bind", "second-worker", invoices)
	second.awaitLog(t, "route.granted")
	a := w.send(invoices, "by-second", kibibyte("by-second"))
	e := w.await(a.ID, ferry.StateCompleted, 15*time.Second)
	if n := len(e.Attempts); n != 1 || e.Attempts[0].Worker != "second-worker" {
		t.Errorf("delivered by %+v", e.Attempts)
	}
}
