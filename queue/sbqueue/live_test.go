package sbqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ferry/internal/sbemu"
	"ferry/internal/servicebus"
	"ferry/queue/queuetest"
)

const (
	// liveNamespace names the namespace that TestLive runs on, by a connection string
	// with the right Manage: a real one, or that of Microsoft's emulator.
	liveNamespace = "SERVICEBUS_CONNECTION_STRING"
	// liveAdmin is the address of its administration where that is not the usual one.
	liveAdmin = "FERRY_SERVICEBUS_ADMIN"
	// liveLock is the shortest that the service takes.
	liveLock = 5 * time.Second
	// liveTimeout bounds one request to the administration.
	liveTimeout = time.Minute
)

// TestLive is the conformance suite on a namespace that is not ours. Each case makes
// queues of its own under a random prefix, and deletes them again; nothing else there
// is touched.
func TestLive(t *testing.T) {
	namespace := os.Getenv(liveNamespace)
	switch {
	case namespace == "":
		t.Skipf("%s is not set: it names the namespace, or the emulator, that this test needs", liveNamespace)
	case strings.Contains(namespace, "EntityPath="):
		t.Skipf("%s is the connection string of one queue: this test makes queues, for which it needs that of the namespace", liveNamespace)
	}
	probe := liveEnv(t, namespace, "ferry-live-probe")
	client := probe.client()
	defer client.Close(context.WithoutCancel(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), liveTimeout)
	defer cancel()
	switch _, err := client.Admin().Queue(ctx, probe.names.receipts()); {
	case errors.Is(err, servicebus.ErrUnauthorized):
		t.Skipf("%s has not the right Manage, and this test makes queues: %v", liveNamespace, err)
	case err != nil && !errors.Is(err, servicebus.ErrNotFound):
		t.Fatalf("the administration of the namespace does not answer (%s says where it is): %v", liveAdmin, err)
	}
	const perQueue = "it needs a policy for each queue, and that of the namespace may do everything"
	queuetest.Run(t, queuetest.Harness{
		Lock:    liveLock,
		Durable: true,
		Open:    func(tb testing.TB, dir string) *queuetest.Env { return openLive(tb, dir, namespace).Env },
		Skip: map[string]string{
			"WorkerIsConfined": perQueue, "RevokeWhileReceiving": perQueue, "RevokedKeepsOutOthersStay": perQueue,
		},
	})
}

func liveEnv(tb testing.TB, namespace, prefix string) *env {
	e := &env{tb: tb, lock: liveLock, namespace: namespace, adminURL: os.Getenv(liveAdmin), names: names{prefix}}
	e.offer()
	e.Lose = e.deleteQueues
	return e
}

// openLive gives a case its prefix, which another process finds in the folder.
func openLive(tb testing.TB, dir, namespace string) *env {
	tb.Helper()
	place := filepath.Join(dir, "prefix")
	prefix, err := os.ReadFile(place)
	if err != nil {
		prefix = []byte("ferry-live-" + strings.ToLower(rand.Text()[:12]))
		if err := os.WriteFile(place, prefix, 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	e := liveEnv(tb, namespace, string(prefix))
	tb.Cleanup(e.deleteQueues)
	return e
}

// deleteQueues deletes everything under the prefix.
func (e *env) deleteQueues() {
	e.tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	list := []string{e.names.receipts(), e.names.questions()}
	for _, route := range []string{"route-a", "route-b", "route-c"} { // those of the suite
		list = append(list, e.names.messages(route))
	}
	for _, worker := range e.everybody {
		list = append(list, e.names.worker(worker))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.tb.Context()), liveTimeout)
	defer cancel()
	client := e.client()
	defer client.Close(ctx)
	for _, name := range list {
		if _, err := client.Admin().Delete(ctx, name); err != nil {
			e.tb.Errorf("%v: it has to be deleted by hand", err)
		}
	}
}

// TestLiveRuns runs some cases of TestLive as somebody does who has a namespace: in
// another process, which only knows its connection string. Nothing is left there.
func TestLiveRuns(t *testing.T) {
	t.Parallel()
	if os.Getenv(liveNamespace) != "" {
		t.Skip("TestLive itself runs")
	}
	double, err := sbemu.Start(sbemu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer double.Close()
	const cases = "^(SendReceiveComplete|DuplicateIdDropped|LossIsANewIncarnation|SetAsideIsBroughtBack|HelloAndWelcome|ConcurrentReceiversNoDoubleLock|WorkerIsConfined|SurvivesKill)$"
	run := func(namespace string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		child := exec.CommandContext(ctx, os.Args[0], "-test.v", "-test.run=^TestLive$/"+cases)
		child.Env = append(os.Environ(), liveNamespace+"="+namespace, liveAdmin+"=http://"+double.Addr())
		out, err := child.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	out := run(double.ConnectionString())
	for result, want := range map[string]int{"PASS": 7, "SKIP": 1, "FAIL": 0} {
		if got := len(regexp.MustCompile(`(?m)^    --- `+result+": TestLive/").FindAllString(out, -1)); got != want {
			t.Errorf("%s: %d cases, want %d\n%s", result, got, want, out)
		}
	}
	if left := double.Namespace().Queues(); len(left) > 0 {
		t.Errorf("%d queues are left there, the first is %s", len(left), left[0].Config().Name)
	}
	if sent := double.Connections(); sent != 0 {
		t.Errorf("%d connections are left", sent)
	}
	double.SetPolicy("sender", sbemu.Policy{Keys: []string{"a-key"}, Rights: sbemu.Send | sbemu.Listen})
	for namespace, reason := range map[string]string{
		double.ConnectionStringOf("sender"):                   "has not the right Manage",
		double.ConnectionString() + ";EntityPath=ferry.queue": "is the connection string of one queue",
	} {
		if out := run(namespace); !strings.Contains(out, "--- SKIP: TestLive ") || !strings.Contains(out, reason) {
			t.Errorf("it does not say that it %s:\n%s", reason, out)
		}
	}
}
