package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"ferry"
	"ferry/internal/faultfs"
)

// newFileOnly picks the smaller file that a compaction makes.
func newFileOnly(path string) bool { return strings.Contains(path, "ledger.db.new-") }

// compact has the ledger compacted and waits for its end.
func (w *world) compact() ferry.LedgerFile {
	w.t.Helper()
	file, err := w.client.CompactLedger(w.t.Context(), "")
	for deadline := time.Now().Add(time.Minute); err == nil && file.Compacting && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
		file, err = w.client.LedgerFile(w.t.Context())
	}
	if err != nil || file.Last == nil {
		w.t.Fatalf("%+v, %v", file, err)
	}
	return file
}

// TestPowerCutInACompaction cuts the power of the broker's disk while it compacts
// its ledger under load, and right after it did. What was answered is there
// afterwards, and in the ERP once; no epoch began, and nothing is left beside the
// ledger.
func TestPowerCutInACompaction(t *testing.T) {
	t.Parallel()
	chance := seedOf(t)
	w := newQuick(t)
	disk := w.faulty("data")
	w.start()
	l := w.startMixedLoad(8)
	done := 0
	for i := range int(number(t, "FERRY_POWER_CUTS", 4, 1000)) {
		l.awaitMore(8 + chance.IntN(8))
		seed := chance.Uint64() * uint64(i%2)
		if i%4 == 3 {
			if file := w.compact(); file.Last.Outcome != ferry.Compacted {
				t.Errorf("%+v", file.Last)
			} else {
				done++
			}
		} else {
			if _, err := w.client.CompactLedger(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(chance.IntN(120)) * time.Millisecond) // anywhere in it
		}
		w.broker.kill()
		w.cut(disk, seed)
		t.Logf("cut %d: seed %d, %d accepted", i+1, seed, l.count())
		w.startBroker()
		if left, err := os.ReadDir(w.path("data")); err != nil {
			t.Error(err)
		} else {
			for _, e := range left {
				if newFileOnly(e.Name()) {
					t.Errorf("left beside the ledger: %s", e.Name())
				}
			}
		}
		if strings.Contains(w.broker.out.String(), "ledger.restored") {
			t.Error("the broker takes its own ledger for another's")
		}
	}
	if done == 0 {
		t.Error("no compaction came to its end")
	}
	l.awaitMore(10)
	accepted := l.end()
	w.wantOnce(accepted)
	w.wantBodies(accepted, l)
}

// TestDiskFailsInACompaction: the disk has no room for the smaller file, or does not
// sync it. The ledger is as it was, nobody is refused, and the next compaction does
// it. When the disk does not sync the name of the new file, writing stops.
func TestDiskFailsInACompaction(t *testing.T) {
	t.Parallel()
	w := newQuick(t)
	disk := w.faulty("data")
	w.start()
	accepted := map[string]ferry.ID{}
	sends := func(n int) {
		for range n {
			key := fmt.Sprint("key-", len(accepted))
			accepted[key] = w.send(invoices, key, kibibyte(key)).ID
		}
	}
	sends(50)
	for _, c := range []struct {
		name    string
		fault   faultfs.Fault
		outcome ferry.CompactionOutcome
	}{
		{"no room", faultfs.Fault{Op: faultfs.Write, Path: newFileOnly, Nth: 3, Times: 1, Err: noRoom}, ferry.CompactionNoRoom},
		{"no sync", faultfs.Fault{Op: faultfs.Sync, Path: newFileOnly, Nth: 2, Times: 1, Err: ioError, Dirty: faultfs.Dropped}, ferry.CompactionFailed},
		{"no sync at its end", faultfs.Fault{Op: faultfs.Sync, Path: newFileOnly, Nth: 3, Times: 1, Err: ioError, Dirty: faultfs.Believed}, ferry.CompactionFailed},
		{"nothing fails", faultfs.Fault{Op: faultfs.Sync, Path: newFileOnly}, ferry.Compacted},
	} {
		fault := disk.Inject(c.fault)
		file := w.compact()
		if file.Last.Outcome != c.outcome || c.fault.Err != 0 && fault.Hits() != 1 {
			t.Errorf("%s: %+v, %d failed of %d", c.name, file.Last, fault.Hits(), fault.Seen())
		}
		fault.Lift()
		sends(5)
		if _, err := os.Stat(w.path("data/ledger.db.new-compact")); err == nil {
			t.Errorf("%s: half a file is left", c.name)
		}
	}
	w.awaitDrained(20 * time.Second)
	fault := disk.Inject(faultfs.Fault{Op: faultfs.Sync, Path: func(path string) bool { return !strings.Contains(path, ".") }, Times: 1, Err: ioError})
	if file := w.compact(); file.Last.Outcome != ferry.CompactionFailed || fault.Hits() != 1 {
		t.Errorf("no sync of the folder: %+v, %d failed", file.Last, fault.Hits())
	}
	w.wantStopped("sync the folder")
	w.broker.kill()
	w.cut(disk, 0)
	w.startBroker()
	sends(5)
	w.wantOnce(accepted)
}
