package e2e

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SIGHUP takes the configuration over, without a connection dropped; a bad file
// keeps what runs. It ends nothing: no broker that starts or stops, and no worker. A
// second SIGTERM ends what the first one has begun to end.
func TestSignals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.launchBroker()
	eventually(t, 20*time.Second, func() string {
		if _, err := os.Stat(w.path("data")); err != nil {
			return err.Error()
		}
		return ""
	})
	w.broker.hangUp(t)
	w.awaitBroker()
	eventually(t, 20*time.Second, func() string {
		if out := w.cli("audit"); !strings.Contains(out, "SIGHUP") {
			return "the one that came at the start is not acted on: " + out
		}
		return ""
	})
	w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	w.startWorker()
	w.worker.awaitLog(t, "worker.started")
	w.worker.hangUp(t)
	w.worker.awaitLog(t, "worker.yaml is read at a start")
	if code := w.worker.stop(t, 20*time.Second); code != 0 {
		t.Errorf("the worker ended with exit code %d", code)
	}
	text, err := os.ReadFile(w.path("broker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	pid := w.broker.cmd.Process.Pid
	w.write("broker.yaml", string(text)+"  - {name: notes}\ndrain: {delay: 5m}\n")
	w.broker.hangUp(t)
	eventually(t, 20*time.Second, func() string {
		if names := strings.Join(w.routeNames(), ","); !strings.Contains(names, "notes") {
			return "routes: " + names
		}
		return ""
	})
	w.send("notes", "one", `{}`)
	w.write("broker.yaml", string(text)+"  - {nam: notes}\n")
	w.broker.hangUp(t)
	eventually(t, 20*time.Second, func() string {
		if r := w.try("status"); r.code != 3 || !strings.Contains(r.out, "is not used as it is now") {
			return r.out
		}
		return ""
	})
	r := w.try("reload")
	if r.code != 1 || !strings.Contains(r.errOut, "broker.yaml:") || !strings.Contains(r.errOut, "name") {
		t.Errorf("broker reload: %d %s", r.code, r.errOut)
	}
	w.send("notes", "two", `{}`)
	w.write("broker.yaml", string(text)+"  - {name: notes, title: Notes}\ndrain: {delay: 5m}\n")
	if out := w.cli("reload", "--note", "mended"); !strings.Contains(out, "routes[notes].title") {
		t.Errorf("broker reload: %s", out)
	}
	if !w.broker.running() || w.broker.cmd.Process.Pid != pid {
		t.Fatal("it was started again")
	}
	for range 2 {
		if err := w.broker.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		eventually(t, 20*time.Second, func() string {
			if w.broker.running() && w.client.Ready(t.Context()) == nil {
				return "it is ready"
			}
			return ""
		})
		w.broker.hangUp(t)
	}
	w.broker.exit(t, 20*time.Second)
	if ended := w.broker.cmd.ProcessState.String(); !strings.Contains(ended, "terminated") {
		t.Errorf("the broker ended by %s", ended)
	}
	w.write("broker.yaml", string(text)+"  - {name: notes}\n")
	w.startBroker()
	if got := w.balance(); got.Accepted != 2 {
		t.Errorf("%+v", got)
	}
}

func (p *process) hangUp(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}
