package sim

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// outcome is how a world went.
type outcome struct {
	broken string
	story  string
	lines  int
}

// play runs one world in a bubble of its own.
func play(t *testing.T, cfg config, seed uint64) outcome {
	t.Helper()
	var out outcome
	dir := workspace(t)
	defer func() { _ = os.RemoveAll(dir) }()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dir, cfg, seed)
		defer w.end()
		out.broken = w.run()
		out.story, out.lines = w.story.String(), len(w.story.lines)
	})
	return out
}

// workspace is a folder for the files of one world: in memory where the system
// has such a place, since every commit is synced.
func workspace(t *testing.T) string {
	t.Helper()
	parent := "/dev/shm"
	if st, err := os.Stat(parent); err != nil || !st.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "ferry-sim-")
	if err != nil {
		dir, err = os.MkdirTemp("", "ferry-sim-")
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// worldOf draws a world from a seed.
func worldOf(seed uint64) config {
	rng := rand.New(rand.NewPCG(seed, 0x776f726c64))
	cfg := config{
		letters: []string{"A", "A", "AB", "AB", "ABC"}[rng.IntN(5)], workers: 1,
		keyed: rng.IntN(2) == 0, budget: 1 + rng.IntN(3), window: 1 + rng.IntN(3), concurrency: 1 + rng.IntN(2),
	}
	switch rng.IntN(6) {
	case 0:
		cfg.workers = 2
	case 1, 2, 3:
		cfg.workers, cfg.several = 2, true
	}
	cfg.keeps = rng.IntN(2) == 0
	cfg.later = rng.IntN(4) == 0
	cfg.callsBack = cfg.later && rng.IntN(2) == 0
	if rng.IntN(4) == 0 {
		cfg.ttl = time.Duration(1+rng.IntN(60)) * time.Second
	}
	switch rng.IntN(4) {
	case 0, 1:
		cfg.lookup = true
	case 2:
		cfg.idempotent = true
		cfg.lookup = rng.IntN(2) == 0
		cfg.lateForever = rng.IntN(2) == 0
	}
	cfg.outlives, cfg.slow = rng.IntN(3) == 0, rng.IntN(8) == 0
	for range 2 + rng.IntN(7) {
		f := fault(rng.IntN(int(faultsEnd)))
		if f == wipe && cfg.faults[wipe] > 0 {
			continue
		}
		cfg.faults[f]++
		if f == backup {
			cfg.faults[f] = 2 // to put it in place, too
		}
	}
	return cfg
}

// TestSeeds runs 200 worlds (40 with the race detector), FERRY_SIM_SEEDS=10000 so many; FERRY_SIM_SEED=n
// runs one and tells its story.
func TestSeeds(t *testing.T) {
	if text := os.Getenv("FERRY_SIM_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		out := play(t, worldOf(seed), seed)
		t.Logf("seed %d, %+v\n%s", seed, worldOf(seed), out.story)
		if out.broken != "" {
			t.Error(out.broken)
		}
		return
	}
	seeds := uint64(shortSeeds)
	if text := os.Getenv("FERRY_SIM_SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = n
	}
	const parts = 8
	for part := range uint64(parts) {
		t.Run(fmt.Sprintf("part%d", part), func(t *testing.T) {
			t.Parallel()
			for seed := part; seed < seeds; seed += parts {
				if out := play(t, worldOf(seed), seed); out.broken != "" {
					t.Errorf("seed %d (FERRY_SIM_SEED=%d go test ./e2e/sim -run TestSeeds -v): %s\n%s", seed, seed, out.broken, out.story)
				}
			}
		})
	}
}

// TestReplaysExactly: the same seed tells the same story.
func TestReplaysExactly(t *testing.T) {
	for seed := range uint64(20) {
		first, second := play(t, worldOf(seed), seed), play(t, worldOf(seed), seed)
		if first.story != second.story {
			t.Errorf("seed %d told two stories:\n%s\n%s", seed, first.story, second.story)
		}
	}
}
