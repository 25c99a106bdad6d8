package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/internal/faultfs"
)

// TestSyncFails: an fsync of the ledger fails, the first of a commit or the one of
// its head; the kernel keeps what was not written, drops it, or drops it and goes
// on showing it. The broker stops writing and says so; the next start copies the
// ledger. What was answered is there, what was refused is there or not, and once.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	for name, dirty := range map[string]faultfs.Dirty{"kept": faultfs.Kept, "dropped": faultfs.Dropped, "believed": faultfs.Believed} {
		for nth := 1; nth <= 2; nth++ {
			t.Run(fmt.Sprintf("%s, fsync %d", name, nth), func(t *testing.T) { syncFails(t, dirty, nth) })
		}
	}
}

func syncFails(t *testing.T, dirty faultfs.Dirty, nth int) {
	t.Parallel()
	w := newQuick(t)
	disk := w.faulty("data")
	w.start()
	accepted := map[string]ferry.ID{}
	for i := range 5 {
		key := fmt.Sprint("before-", i)
		accepted[key] = w.send(invoices, key, kibibyte(key)).ID
	}
	w.awaitDrained(20 * time.Second)
	fault := disk.Inject(faultfs.Fault{Op: faultfs.Sync, Path: ledgerOnly, Nth: nth, Times: 1, Err: ioError, Dirty: dirty})
	var mu sync.Mutex
	var group sync.WaitGroup
	refused := 0
	for i := range 4 {
		group.Go(func() {
			key := fmt.Sprint("group-", i)
			a, err := w.client.Send(t.Context(), invoices, ferry.Message{Body: []byte(kibibyte(key)), ContentType: "application/json", IdempotencyKey: key})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				accepted[key] = a.ID
			case ferry.CodeOf(err) != ferry.CodeLedgerUnavailable:
				t.Errorf("%s: %v", key, err)
			default:
				refused++
			}
		})
	}
	group.Wait()
	if fault.Hits() != 1 || refused == 0 {
		t.Fatalf("%d fsyncs failed, %d messages were refused", fault.Hits(), refused)
	}
	w.wantStopped("input/output error")
	w.broker.kill()
	w.startBroker()
	for _, text := range []string{"copying into a new file", "the copy is checked and in place"} {
		if !strings.Contains(w.broker.out.String(), text) {
			t.Errorf("the log does not say %q", text)
		}
	}
	// What was answered is durable now, and not only believed to be.
	w.broker.kill()
	w.cut(disk, 0)
	w.startBroker()
	for key, id := range accepted {
		if body, _, err := w.client.Body(t.Context(), id.String(), 0); err != nil || string(body) != kibibyte(key) {
			t.Errorf("%s was answered: %d bytes, %v", key, len(body), err)
		}
	}
	for i := range 4 { // whoever was refused sends again
		key := fmt.Sprint("group-", i)
		id := w.send(invoices, key, kibibyte(key)).ID
		if was, ok := accepted[key]; ok && was != id {
			t.Errorf("%s was %s and is %s", key, was, id)
		}
		accepted[key] = id
	}
	w.wantOnce(accepted)
}

// wantStopped holds a broker that does not write any more: to senders, to who
// watches it, and to the operator.
func (w *world) wantStopped(log ...string) {
	w.t.Helper()
	_, err := w.client.Send(w.t.Context(), invoices, ferry.Message{Body: []byte(kibibyte("late")), ContentType: "application/json"})
	if ferry.CodeOf(err) != ferry.CodeLedgerUnavailable {
		w.t.Errorf("a message is answered with %v", err)
	}
	if status := w.ready(); status != http.StatusServiceUnavailable {
		w.t.Errorf("readyz is %d", status)
	}
	if r := w.try("status"); r.code != 3 || !strings.Contains(r.out, "not ready") || !strings.Contains(r.out, "start the broker again") {
		w.t.Errorf("broker status: exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
	for _, text := range append(log, "writing has stopped") {
		if !strings.Contains(w.broker.out.String(), text) {
			w.t.Errorf("the log does not say %q", text)
		}
	}
	w.wantNoTrace()
}

// wantNoTrace: whatever the disk did, the broker is there and did not panic.
func (w *world) wantNoTrace() {
	w.t.Helper()
	if text := w.broker.out.String(); !w.broker.running() || strings.Contains(text, "goroutine ") || strings.Contains(text, "SIGBUS") {
		w.t.Errorf("the broker ended or panicked:\n%s", last(text, 4<<10))
	}
}

// TestReadsFail: the disk does not give pages of a running broker's ledger any
// more. It refuses and lives on; once the disk reads again, the next start serves
// all that was answered.
func TestReadsFail(t *testing.T) {
	t.Parallel()
	w := newQuick(t)
	disk := w.faulty("data")
	w.startBroker()
	accepted := map[string]ferry.ID{}
	for i := range 200 {
		key := fmt.Sprintf("read-%02d", i)
		accepted[key] = w.send(invoices, key, kibibyte(key)).ID
	}
	bad := disk.Inject(faultfs.Fault{Op: faultfs.Read, From: 256 << 10, Path: ledgerOnly, Err: ioError})
	disk.DropCaches()
	refused := 0
	for key, id := range accepted {
		body, _, err := w.client.Body(t.Context(), id.String(), 0)
		switch {
		case err == nil && string(body) == kibibyte(key):
		case ferry.CodeOf(err) == ferry.CodeLedgerUnreadable:
			refused++
		default:
			t.Errorf("%s: %d bytes, %v", key, len(body), err)
		}
	}
	if refused == 0 || bad.Hits() == 0 {
		t.Errorf("%d messages were refused, %d reads failed", refused, bad.Hits())
	}
	_, err := w.client.Send(t.Context(), invoices, ferry.Message{Body: []byte(kibibyte("new")), ContentType: "application/json", IdempotencyKey: "new"})
	if ferry.CodeOf(err) != ferry.CodeLedgerUnavailable {
		t.Errorf("a message that cannot be written: %v", err)
	}
	w.wantStopped()
	bad.Lift()

	// Not even the head of the file can be read.
	w.broker.kill()
	w.startBroker()
	bad = disk.Inject(faultfs.Fault{Op: faultfs.Read, Path: ledgerOnly, Err: ioError})
	disk.DropCaches()
	for range 2 {
		if _, err := w.client.Message(t.Context(), accepted["read-00"].String()); ferry.CodeOf(err) != ferry.CodeLedgerUnreadable {
			t.Errorf("a message that cannot be read: %v", err)
		}
	}
	w.wantNoTrace()

	// A start on such a disk says so, and leaves all as it is.
	w.broker.kill()
	disk.DropCaches()
	r := w.serveOnce()
	if wantAdvice(t, r, "broker", "look at the disk"); r.code == -1 {
		t.Error("it started without its ledger")
	}
	bad.Lift()
	disk.DropCaches()
	w.startBroker()
	w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
	w.startWorker()
	accepted["new"] = w.send(invoices, "new", kibibyte("new")).ID
	w.wantOnce(accepted)
}

// TestDamageUnderARunningBroker makes rubbish of the ledger's pages while it runs.
// The broker stops writing; the next start refuses the file and does not touch it.
func TestDamageUnderARunningBroker(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	w.faulty("data")
	w.startBroker()
	for i := range 30 {
		w.send(invoices, fmt.Sprint("m", i), kibibyte("m"))
	}
	rubbish(t, ledgerFile(t, w))
	_, err := w.client.Send(t.Context(), invoices, ferry.Message{Body: []byte(kibibyte("new")), ContentType: "application/json"})
	if ferry.CodeOf(err) != ferry.CodeLedgerUnavailable {
		t.Errorf("a message into a damaged ledger: %v", err)
	}
	w.wantStopped()
	w.broker.kill()
	before := content(t, ledgerFile(t, w))
	r := w.serveOnce()
	if wantAdvice(t, r, "broker", "restored into another folder"); r.code == -1 {
		t.Error("it started on a damaged ledger")
	}
	if content(t, ledgerFile(t, w)) != before {
		t.Error("the damaged ledger was touched")
	}
}
