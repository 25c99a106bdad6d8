package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/internal/faultfs"
)

// wantStatus waits until broker status says the text.
func (w *world) wantStatus(text string) {
	w.t.Helper()
	eventually(w.t, 30*time.Second, func() string {
		s, err := w.client.Status(w.t.Context())
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(strings.Join(s.Problems, "\n"), text) {
			return fmt.Sprintf("broker status does not say %q: %q", text, s.Problems)
		}
		return ""
	})
}

func (w *world) awaitLog(p *process, text string) {
	w.t.Helper()
	eventually(w.t, 20*time.Second, func() string {
		if !strings.Contains(p.out.String(), text) {
			return fmt.Sprintf("the log of %s does not say %q", p.name, text)
		}
		return ""
	})
}

// TestInboxHasNoRoom: while the worker's disk is full nothing is delivered, the
// broker's status says why and what to do, and with room it goes on by itself.
func TestInboxHasNoRoom(t *testing.T) {
	t.Parallel()
	w := newQuick(t)
	disk := w.faulty("erp-worker-data")
	w.start()
	accepted := map[string]ferry.ID{"before": w.send(invoices, "before", kibibyte("before")).ID}
	w.awaitDrained(20 * time.Second)
	full := disk.Inject(faultfs.Fault{Op: faultfs.Write, Err: noRoom})
	for i := range 40 {
		key := fmt.Sprint("full-", i)
		accepted[key] = w.send(invoices, key, kibibyte(key)).ID
	}
	w.wantStatus("cannot write its inbox: no space left on the disk: make room on the worker's disk")
	w.awaitLog(w.worker, "deliveries go on by themselves")
	full.Lift()
	w.wantOnce(accepted)
	w.awaitGranted()
}

// TestInboxSyncFails: an fsync of the inbox fails in every way. The worker
// delivers nothing more, says so through the broker, and its next start goes on:
// everything is in the ERP once.
func TestInboxSyncFails(t *testing.T) {
	t.Parallel()
	for name, dirty := range map[string]faultfs.Dirty{"kept": faultfs.Kept, "dropped": faultfs.Dropped, "believed": faultfs.Believed} {
		for nth := 1; nth <= 3; nth++ {
			t.Run(fmt.Sprintf("%s, fsync %d", name, nth), func(t *testing.T) {
				t.Parallel()
				w := newQuick(t)
				disk := w.faulty("erp-worker-data")
				w.start()
				accepted := map[string]ferry.ID{}
				disk.Inject(faultfs.Fault{Op: faultfs.Sync, Nth: nth, Times: 1, Err: ioError, Dirty: dirty})
				for i := range 8 {
					key := fmt.Sprint("m", i)
					accepted[key] = w.send(invoices, key, kibibyte(key)).ID
				}
				w.awaitLog(w.worker, "start the worker again")
				w.wantStatus("cannot write its inbox: writing has stopped after an error of the disk: look at the worker's disk and start the worker again")
				w.worker.kill()
				w.startWorker()
				w.wantOnce(accepted)
			})
		}
	}
}

// TestBadInbox: an inbox that cannot be opened is told with what to do, and left
// as it is.
func TestBadInbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{})
	disk := w.faulty("erp-worker-data")
	w.start()
	w.await(w.send(invoices, "one", kibibyte("one")).ID, ferry.StateCompleted, 20*time.Second)
	w.worker.kill()
	inbox := w.path("erp-worker-data/inbox.db")
	whole := content(t, inbox)
	run := func() result { return command(t, w.dir, "worker", "run", "--config", "worker.yaml") }

	for n := 1; n <= 4; n++ {
		full := disk.Inject(faultfs.Fault{Op: faultfs.Write, Nth: n, Err: noRoom})
		if r := w.workerOnce(); full.Hits() > 0 {
			wantAdvice(t, r, "worker", "make room on the worker's disk")
		}
		full.Lift()
	}
	bad := disk.Inject(faultfs.Fault{Op: faultfs.Read, Err: ioError})
	disk.DropCaches()
	wantAdvice(t, run(), "worker", "look at the", "look at the worker's disk")
	bad.Lift()
	disk.DropCaches()

	raised := filepath.Join(t.TempDir(), "raised.db") // this process must not map files of the disk that it serves
	write(t, raised, whole)
	raiseSchema(t, raised)
	newer := content(t, raised)
	write(t, inbox, newer)
	wantAdvice(t, run(), "worker", "start the newer version of the worker")
	if content(t, inbox) != newer {
		t.Error("an inbox of a newer version was touched")
	}

	write(t, inbox, whole)
	rubbish(t, inbox)
	damaged := content(t, inbox)
	wantAdvice(t, run(), "worker", "broker workers bind")
	if content(t, inbox) != damaged {
		t.Error("a damaged inbox was touched")
	}
}
