package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"ferry"
	"ferry/adapters/adaptertest/practice"
	"ferry/internal/faultfs"
)

// faulty mounts a file system that can fail on a folder of the world: whatever
// uses it must have ended before it is cut, and is killed at the test's end.
func (w *world) faulty(folder string) *faultfs.FS {
	w.t.Helper()
	if err := os.Mkdir(w.path(folder), 0o700); err != nil {
		w.t.Fatal(err)
	}
	f, err := faultfs.Mount(w.path(folder))
	if err != nil {
		w.t.Skipf("FUSE cannot be mounted (needs root and /dev/fuse): %v", err)
	}
	w.t.Cleanup(func() {
		for _, p := range []*process{w.broker, w.worker} {
			if p != nil {
				p.kill()
			}
		}
		if w.t.Failed() {
			w.keep(f, folder)
		}
		if err := f.Unmount(); err != nil {
			w.t.Error(err)
		}
	})
	return f
}

// keep leaves what was durable where FERRY_KEEP says, to be looked at.
func (w *world) keep(f *faultfs.FS, folder string) {
	if dir := os.Getenv("FERRY_KEEP"); dir != "" {
		to := dir + "/" + w.t.Name() + "-" + folder
		w.t.Logf("what is durable is in %s: %v", to, f.Save(to))
	}
}

// seedOf is what the random parts of a test begin with; FERRY_POWER_SEED repeats one.
func seedOf(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("FERRY_POWER_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("FERRY_POWER_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// cut cuts the power of a disk; seed 0: all that is not durable is lost.
func (w *world) cut(f *faultfs.FS, seed uint64) {
	w.t.Helper()
	if err := f.Cut(seed); err != nil {
		w.t.Fatalf("cut the power with seed %d: %v", seed, err)
	}
}

// TestPowerCut cuts the power of the broker's disk, of the worker's and of both,
// again and again under load. What was answered is there afterwards, and is in
// the ERP once, those with a body in a file of its own too. Every second cut lets
// some of what was not synced survive, torn and in no order.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	chance := seedOf(t)
	w := newQuick(t)
	ledger, inbox := w.faulty("data"), w.faulty("erp-worker-data")
	w.start()
	l := w.startMixedLoad(8)
	kinds := []string{"both", "broker", "worker"}
	for i := range int(number(t, "FERRY_POWER_CUTS", 3, 1000)) {
		// Calls take a while, so that cuts meet them; a few are written and not answered.
		w.fail(practice.Fault{Kind: practice.FaultSlow, Times: 60, Delay: 60 * time.Millisecond})
		if i%3 == 0 {
			w.fail(practice.Fault{Kind: practice.FaultCutAfter, Times: 3})
		}
		l.awaitMore(10 + chance.IntN(10))
		seed := chance.Uint64() * uint64((i+1)%2) // every second one is plain loss
		kind := kinds[i%len(kinds)]
		t.Logf("cut %d: %s, seed %d, %d accepted", i+1, kind, seed, l.count())
		if kind != "broker" {
			w.worker.kill()
		}
		if kind != "worker" {
			w.broker.kill()
			w.cut(ledger, seed)
			w.startBroker()
		}
		if kind != "broker" {
			w.cut(inbox, seed)
			w.startWorker()
		}
	}
	l.awaitMore(15)
	accepted := l.end()
	w.wantOnce(accepted)
	w.wantBodies(accepted, l)
	t.Logf("%d messages, %d creates, %d lookups", len(accepted), w.erp.Calls(practice.OpCreate), w.erp.Calls(practice.OpLookup))
}

// wantBodies fails unless the bodies are those that were sent, and none is left on
// its way.
func (w *world) wantBodies(accepted map[string]ferry.ID, l *load) {
	w.t.Helper()
	large := 0
	for key, id := range accepted {
		var n int64
		if _, err := fmt.Sscanf(key, "load-%d", &n); err != nil {
			w.t.Fatal(err)
		}
		want := l.body(n, key)
		if len(want) <= ferry.InlineBody {
			continue
		}
		large++
		if body, _, err := w.client.Body(w.t.Context(), id.String(), 0); err != nil || string(body) != want {
			w.t.Errorf("%s: a body of %d bytes, %v, want %d", key, len(body), err, len(want))
		}
	}
	if staged, err := filepath.Glob(w.path("data/bodies/staged/*")); err != nil || len(staged) != 0 || large == 0 {
		w.t.Errorf("%d bodies in files; on their way are %v, %v", large, staged, err)
	}
}
