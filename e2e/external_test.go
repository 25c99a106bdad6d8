package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"ferry"
	"ferry/adapters/adaptertest/practice"
)

// The streams of the queue, as an administrator sees them.
const (
	messagesStream = "FERRY_MSG"
	receiptsStream = "FERRY_RCPT"
)

// quickOptions are those of quick.
func quickOptions() options {
	return options{
		lock:        "5s",
		destination: []string{"timeout: 1s", "concurrency: 8"},
		route: []string{
			`lookup: {url: "/invoices?externalId={externalKey}", reference: ".items[0].id"}`,
			"settleTime: 1s",
			"retry: {attempts: 8, initialDelay: 100ms, maxDelay: 1s}",
		},
	}
}

func quickExternal(t *testing.T) (*world, *natsServer) {
	t.Helper()
	w, n := newExternalWorld(t, quickOptions())
	n.startAll()
	return w, n
}

// natsLoops is how often a server is restarted; the long form sets it.
func natsLoops(t *testing.T) int {
	t.Helper()
	text := os.Getenv("FERRY_NATS_LOOPS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1000 {
		t.Fatalf("FERRY_NATS_LOOPS=%s is no number from 1 to 1000", text)
	}
	return n
}

// TestExternalNATS: the queue on a server that somebody else runs, and a worker
// whose login there outlives its revocation at the broker.
func TestExternalNATS(t *testing.T) {
	t.Parallel()
	w, _ := quickExternal(t)
	a := w.send(invoices, "one", kibibyte("one"))
	w.await(a.ID, ferry.StateCompleted, 10*time.Second)
	w.document("one")

	if r := w.try("workers", "revoke", "erp-worker"); r.code != 0 || !strings.Contains(r.out, "remove the entry of U") {
		t.Errorf("revoke: %d, %s%s", r.code, r.out, r.errOut)
	}
	eventually(t, 5*time.Second, func() string {
		if !strings.Contains(w.worker.out.String(), "route.refused") {
			return "the revoked worker was not told"
		}
		return ""
	})
	late := w.send(invoices, "late", kibibyte("late"))
	if r := w.try("workers", "add", "erp-worker", "--routes", invoices, "--out", "again.nk"); r.code != 0 ||
		!strings.Contains(r.out, "nkey: U") || !strings.Contains(r.out, `"ferry.receipt.erp-worker"`) {
		t.Errorf("add: %d, %s%s", r.code, r.out, r.errOut)
	}
	w.await(late.ID, ferry.StateCompleted, 15*time.Second) // the old login still stands there
	w.document("late")
}

// TestExternalNATSRefused: a broker that cannot use the server says why.
func TestExternalNATSRefused(t *testing.T) {
	t.Parallel()
	w, n := newExternalWorld(t, quickOptions())
	n.users = []string{"{user: other, password: other}"}
	n.reload()
	eventually(t, 5*time.Second, func() string {
		if r := serve(t, w); r.code != 1 || !strings.Contains(r.errOut, "refuses this broker's nkey") || !strings.Contains(r.errOut, "hint: ") {
			return fmt.Sprintf("exit code %d: %s", r.code, r.errOut)
		}
		return ""
	})
	n.kill()
	wantRefused(t, serve(t, w), "broker", "cannot be reached")
}

// TestExternalPurged: somebody empties the queue's streams, or deletes them,
// under the running broker.
func TestExternalPurged(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, w *world, n *natsServer, js jetstream.JetStream, l *load){
		"messages purged": func(_ *testing.T, w *world, n *natsServer, js jetstream.JetStream, l *load) {
			w.worker.kill() // what waits in the queue is lost with it
			l.awaitMore(20)
			n.purge(js, messagesStream, 10)
			w.startWorker()
			l.awaitMore(5)
			n.purge(js, messagesStream, 0)
		},
		"receipts purged": func(t *testing.T, w *world, n *natsServer, js jetstream.JetStream, l *load) {
			w.fail(practice.Fault{Kind: practice.FaultSlow, Times: 60, Delay: 150 * time.Millisecond})
			l.awaitMore(40)
			w.broker.freeze(t) // so that receipts wait in the queue
			n.purge(js, receiptsStream, 3)
			w.broker.thaw(t)
		},
		"streams deleted": func(t *testing.T, w *world, _ *natsServer, js jetstream.JetStream, l *load) {
			for _, stream := range []string{messagesStream, receiptsStream} {
				l.awaitMore(10)
				succeeds(t, func() error { return js.DeleteStream(t.Context(), stream) })
			}
		},
		"consumers deleted": func(t *testing.T, w *world, _ *natsServer, js jetstream.JetStream, l *load) {
			l.awaitMore(10)
			for stream, consumer := range map[string]string{messagesStream: invoices, receiptsStream: "broker"} {
				succeeds(t, func() error { return js.DeleteConsumer(t.Context(), stream, consumer) })
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, n := quickExternal(t)
			js := n.admin()
			l := w.startLoad(4)
			for range natsLoops(t) {
				l.awaitMore(10)
				lose(t, w, n, js, l)
			}
			l.awaitMore(10)
			began := time.Now()
			w.wantOnce(l.end())
			t.Logf("drained %s after the last loss", time.Since(began).Round(100*time.Millisecond))
		})
	}
}

// succeeds waits until there is something to delete.
func succeeds(t *testing.T, do func() error) {
	t.Helper()
	eventually(t, 15*time.Second, func() string {
		if err := do(); err != nil {
			return err.Error()
		}
		return ""
	})
}

// TestExternalRestarted: the server ends in order, and by kill -9, under load and
// with the broker down; messages are accepted all the while that the broker runs.
func TestExternalRestarted(t *testing.T) {
	t.Parallel()
	w, n := quickExternal(t)
	l := w.startLoad(4)
	for range natsLoops(t) {
		l.awaitMore(10)
		n.stop()
		l.awaitMore(10)
		if err := w.client.Ready(t.Context()); err != nil {
			t.Errorf("without its queue the broker is not ready: %v", err)
		}
		n.start()
		l.awaitMore(10)
		n.kill()
		l.awaitMore(10)
		n.start()
		l.awaitMore(10)
		w.broker.kill()
		n.kill()
		n.start()
		w.startBroker()
	}
	l.awaitMore(10)
	w.wantOnce(l.end())
}

// TestExternalEmpty: the server comes back without anything that it kept.
func TestExternalEmpty(t *testing.T) {
	t.Parallel()
	w, n := quickExternal(t)
	l := w.startLoad(4)
	for range natsLoops(t) {
		l.awaitMore(10)
		w.worker.kill()
		l.awaitMore(20)
		n.kill()
		n.lose()
		n.start()
		w.startWorker()
		l.awaitMore(10)
		n.stop()
		n.lose()
		n.start()
	}
	l.awaitMore(10)
	w.wantOnce(l.end())
}
