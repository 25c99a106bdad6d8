package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/internal/faultfs"
)

// everyWrite calls do with n = 1, 2, 3, …, or in steps where time is short, until
// it says that there was no n-th write.
func everyWrite(t *testing.T, step int, do func(t *testing.T, n int) (met bool)) {
	t.Helper()
	if os.Getenv("FERRY_POWER_CUTS") != "" {
		step = 1
	}
	met := true
	for n := 1; met && n < 200; n += step {
		t.Run(fmt.Sprint("write ", n), func(t *testing.T) { met = do(t, n) })
	}
}

// wantAdvice holds a start that the disk kept from its end: one sentence, and
// what to do.
func wantAdvice(t *testing.T, r result, program string, hints ...string) {
	t.Helper()
	if r.code == -1 {
		return // it started all the same
	}
	wantRefused(t, r, program)
	for _, hint := range hints {
		if _, told, _ := strings.Cut(r.errOut, program+": hint: "); strings.Contains(told, hint) {
			return
		}
	}
	t.Errorf("the hint has none of %q:\n%s", hints, r.errOut)
}

// TestNoSpaceAtEveryWriteOfAStart: there is no room for one write of the first
// start, or of one with messages; the next start is a clean one.
func TestNoSpaceAtEveryWriteOfAStart(t *testing.T) {
	t.Parallel()
	t.Run("first", func(t *testing.T) {
		everyWrite(t, 4, func(t *testing.T, n int) bool {
			w := newWorld(t, options{})
			disk := w.faulty("data")
			full := disk.Inject(faultfs.Fault{Op: faultfs.Write, Path: ledgerFolder, Nth: n, Times: 1, Err: noRoom})
			wantAdvice(t, w.serveOnce(), "broker", "make room and start again")
			met := full.Hits() > 0
			full.Lift()
			w.startBroker()
			w.send(invoices, "after", kibibyte("after"))
			w.cli("keys", "list")
			return met
		})
	})
	t.Run("queue", func(t *testing.T) {
		everyWrite(t, 7, func(t *testing.T, n int) bool {
			w := newWorld(t, options{})
			disk := w.faulty("data")
			full := disk.Inject(faultfs.Fault{Op: faultfs.Write, Path: func(path string) bool { return !ledgerFolder(path) }, Nth: n, Times: 1, Err: noRoom})
			wantAdvice(t, w.serveOnce(), "broker", "full, or read-only? mend that and start again")
			met := full.Hits() > 0
			full.Lift()
			w.startBroker()
			return met
		})
	})
	t.Run("second", func(t *testing.T) {
		w := newWorld(t, options{})
		disk := w.faulty("data")
		w.startBroker()
		kept := w.send(invoices, "kept", kibibyte("kept"))
		everyWrite(t, 2, func(t *testing.T, n int) bool {
			w.broker.kill()
			full := disk.Inject(faultfs.Fault{Op: faultfs.Write, Path: ledgerFolder, Nth: n, Times: 1, Err: noRoom})
			wantAdvice(t, w.serveOnce(), "broker", "make room and start again")
			met := full.Hits() > 0
			full.Lift()
			w.startBroker()
			w.message(kept.ID)
			return met
		})
	})
}

// TestNoSpaceAtEveryWrite: there is no room for one write of an accept, small or
// with a file of its own, or of receipts. The sender is told noSpace and sends
// again; accepting goes on without a start, nothing is lost or done twice, and
// after a power cut all is there.
func TestNoSpaceAtEveryWrite(t *testing.T) {
	t.Parallel()
	w := newQuick(t)
	disk := w.faulty("data")
	w.startBroker()
	accepted := map[string]ferry.ID{}
	send := func(key, body string) error {
		a, err := w.client.Send(t.Context(), invoices, ferry.Message{Body: []byte(body), ContentType: "application/json", IdempotencyKey: key})
		if err == nil {
			accepted[key] = a.ID
		}
		return err
	}
	large := func(key string) string {
		return fmt.Sprintf(`{"number":%q,"filler":%q}`, key, strings.Repeat("0123456789", 30<<10))
	}
	for name, body := range map[string]func(string) string{"small": kibibyte, "large": large} {
		t.Run(name, func(t *testing.T) {
			everyWrite(t, 1, func(t *testing.T, n int) bool {
				full := disk.Inject(faultfs.Fault{Op: faultfs.Write, Path: ledgerFolder, Nth: n, Times: 1, Err: noRoom})
				defer full.Lift()
				key := fmt.Sprintf("%s-%d", name, n)
				err := send(key, body(key))
				if full.Hits() == 0 {
					return false
				}
				if ferry.CodeOf(err) != ferry.CodeNoSpace {
					t.Errorf("write %d without room is answered with %v", n, err)
				}
				if err := send(key, body(key)); err != nil {
					t.Errorf("with room again: %v", err)
				}
				return true
			})
		})
	}
	t.Run("until there is room", func(t *testing.T) {
		full := disk.Inject(faultfs.Fault{Op: faultfs.Write, Path: ledgerFolder, Err: noRoom})
		w.wantNoSpace(fmt.Sprintf(`{"filler":%q}`, strings.Repeat("0123456789", 20<<10))) // in the ledger's file
		if r := w.try("status"); r.code != 3 || !strings.Contains(r.out, "full: senders are told noSpace") {
			t.Errorf("broker status: exit code %d\n%s", r.code, r.out)
		}
		full.Lift()
		if err := send("room", kibibyte("room")); err != nil {
			t.Error(err)
		}
		if r := w.try("status"); strings.Contains(r.out, "noSpace") {
			t.Errorf("with room again:\n%s", r.out)
		}
		for _, text := range []string{"no space left on the disk", "there is room on the disk again"} {
			if !strings.Contains(w.broker.out.String(), text) {
				t.Errorf("the log does not say %q", text)
			}
		}
	})
	t.Run("receipts", func(t *testing.T) {
		w.cli("workers", "add", "erp-worker", "--routes", invoices, "--out", "erp-worker.nk")
		w.startWorker()
		w.awaitGranted()
		w.awaitDrained(30 * time.Second)
		met := 0
		for n := 1; n <= 24; n++ {
			// The accept is done when the disk becomes full: what fails is of the
			// hand-out, the receipt and its confirmation.
			w.fail(practice.Fault{Kind: practice.FaultSlow, Times: 1, Delay: 30 * time.Millisecond})
			key := fmt.Sprint("receipt-", n)
			if err := send(key, kibibyte(key)); err != nil {
				t.Fatal(err)
			}
			full := disk.Inject(faultfs.Fault{Op: faultfs.Write, Path: ledgerFolder, Times: 1 + n%3, Err: noRoom})
			w.await(accepted[key], ferry.StateCompleted, 30*time.Second)
			met += full.Hits()
			full.Lift()
		}
		t.Logf("%d writes of hand-outs and receipts met a full disk", met)
		if met == 0 {
			t.Error("no write met a full disk")
		}
	})
	w.wantOnce(accepted)
	w.broker.kill()
	w.cut(disk, 0)
	w.startBroker()
	w.wantOnce(accepted)
}
