package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SIGHUP takes the configuration over, without a connection dropped; a bad file
// keeps what runs. A second SIGTERM ends what the first one has begun to end.
func TestSignals(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.startBroker()
	text, err := os.ReadFile(w.path("broker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	pid := w.broker.cmd.Process.Pid
	w.write("broker.yaml", string(text)+"  - {name: notes}\ndrain: {delay: 5m}\n")
	if err := w.broker.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() string {
		if names := strings.Join(w.routeNames(), ","); !strings.Contains(names, "notes") {
			return "routes: " + names
		}
		return ""
	})
	w.send("notes", "one", `{}`)
	w.write("broker.yaml", string(text)+"  - {nam: notes}\n")
	if err := w.broker.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
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
	}
	w.broker.exit(t, 20*time.Second)
	w.write("broker.yaml", string(text)+"  - {name: notes}\n")
	w.startBroker()
	if got := w.balance(); got.Accepted != 2 {
		t.Errorf("%+v", got)
	}
}
