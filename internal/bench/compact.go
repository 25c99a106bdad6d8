package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"go.etcd.io/bbolt"

	"ferry"
	"ferry/store"
)

// pacedAt is how many messages a second come while a large ledger is compacted. As many
// as go at once would make it grow faster than it can be copied.
const pacedAt = 5000

// compacting shows what senders notice of a compaction: accepts before it, while it
// runs and after it, on a ledger most of which was deleted. A small one is compacted
// beside senders that send as fast as they can, a large one beside a steady load.
func (b *bench) compacting() error {
	if err := b.compactBeside(b.path, 4*b.path, 0); err != nil {
		return err
	}
	return b.compactBeside(10*b.path, 40*b.path, pacedAt)
}

func (b *bench) compactBeside(live, dead, pace int) error {
	const conns = 64
	load := "as fast as they go"
	if pace > 0 {
		load = fmt.Sprintf("%d messages a second", pace)
	}
	fmt.Printf("Durable accepts beside a compaction, %d senders, %s, of a ledger with %d entries of 1 KiB and the room of %d deleted ones; medians of %d rounds, most of all of them; loads of %s on end\n\n",
		conns, load, live, dead, b.rounds, b.spell)
	phases := []string{"before", "while", "after"}
	figures := map[string][]loadResult{}
	var ends []ferry.Compaction
	var ratios []float64
	for range b.rounds {
		dir := b.fresh()
		if err := seedWaste(filepath.Join(dir, "broker"), live, dead); err != nil {
			return fmt.Errorf("fill the ledger: %w", err)
		}
		round, end, err := b.compactOnce(dir, senders{conns: conns, pace: pace})
		if err != nil {
			return err
		}
		ends = append(ends, end)
		for phase, r := range round {
			figures[phase] = append(figures[phase], r)
		}
		ratios = append(ratios, perSecond(round["while"])/perSecond(round["before"]))
	}
	fmt.Printf("%8s %12s %10s %10s %10s\n", "", "accepts/s", "p50 ms", "p99 ms", "max ms")
	of := func(phase string, f func(loadResult) float64) (all []float64) {
		for _, r := range figures[phase] {
			all = append(all, f(r))
		}
		return all
	}
	for _, phase := range phases {
		fmt.Printf("%8s %12.0f %10.2f %10.2f %10.1f\n", phase, median(of(phase, perSecond)), median(of(phase, func(r loadResult) float64 { return r.P50 })),
			median(of(phase, func(r loadResult) float64 { return r.P99 })), slices.Max(of(phase, func(r loadResult) float64 { return r.Max })))
	}
	last := ends[len(ends)-1]
	held := 0.0
	for _, e := range ends {
		held = max(held, e.HeldMs)
	}
	fmt.Printf("\nwhile/before %.2f; from %d to %d MiB in %s; writes held at the end for at most %.1f ms\n\n", median(ratios),
		last.Before>>20, last.After>>20, last.EndedAt.Sub(last.StartedAt).Round(time.Millisecond), held)
	return nil
}

func perSecond(r loadResult) float64 { return float64(r.Sent) / r.Seconds }

// compactOnce loads a server before, while and after it compacts its ledger.
func (b *bench) compactOnce(dir string, s senders) (map[string]loadResult, ferry.Compaction, error) {
	p, err := b.start("-role", "serve", "-kind", kindLedger, "-dir", dir)
	if err != nil {
		return nil, ferry.Compaction{}, err
	}
	round := map[string]loadResult{}
	var end ferry.Compaction
	run := func(phase string, more func() bool) {
		for first := true; err == nil && (first || more()); first = false {
			var r loadResult
			if r, err = b.load(p, s); err == nil {
				round[phase] = joined(round[phase], r)
			}
		}
	}
	once := func() bool { return false }
	run("before", once)
	ended := make(chan error, 1)
	go func() {
		var err error
		end, err = compaction(p.url)
		ended <- err
	}()
	run("while", func() bool { return len(ended) == 0 })
	err = errors.Join(err, <-ended)
	run("after", once)
	return round, end, errors.Join(err, p.stop())
}

// joined is two loads on end, as one: the latencies of the slower one.
func joined(a, b loadResult) loadResult {
	return loadResult{Sent: a.Sent + b.Sent, Seconds: a.Seconds + b.Seconds, P50: max(a.P50, b.P50), P99: max(a.P99, b.P99), Max: max(a.Max, b.Max)}
}

// compaction waits for the end of one at a server.
func compaction(url string) (end ferry.Compaction, err error) {
	if err := post(url + "/compact"); err != nil {
		return end, err
	}
	for {
		text, err := get(url + "/compact")
		if err != nil {
			return end, err
		}
		var file ferry.LedgerFile
		if err := json.Unmarshal([]byte(text), &file); err != nil {
			return end, fmt.Errorf("%s: %w", text, err)
		}
		switch {
		case file.Compacting:
			time.Sleep(20 * time.Millisecond)
		case file.Last == nil || file.Last.Outcome != ferry.Compacted:
			return end, fmt.Errorf("not compacted: %s", text)
		default:
			return *file.Last, nil
		}
	}
}

// handleCompact lets the contender's ledger be compacted, and tells of it.
func (c *contender) handleCompact(mux *http.ServeMux) {
	tell := func(w http.ResponseWriter, file ferry.LedgerFile, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(file)
	}
	mux.HandleFunc("POST /compact", func(w http.ResponseWriter, r *http.Request) {
		file, err := c.broker.CompactLedger(r.Context(), "", "bench")
		tell(w, file, err)
	})
	mux.HandleFunc("GET /compact", func(w http.ResponseWriter, r *http.Request) {
		file, err := c.broker.LedgerFile(r.Context())
		tell(w, file, err)
	})
}

// seedWaste makes a ledger and fills it: entries that stay lie among others that
// are deleted again, as retention leaves them.
func seedWaste(dir string, live, dead int) error {
	ledger, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	if err := ledger.Close(); err != nil {
		return err
	}
	db, err := bbolt.Open(filepath.Join(dir, "ledger.db"), 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	const step = 10_000
	every := (live + dead) / live
	stays := func(n int) bool { return n%every == 0 }
	value := bytes.Repeat([]byte("x"), 1024)
	begin := time.Now().Add(-24 * time.Hour)
	key := func(n int) []byte {
		id := ferry.NewID(begin.Add(time.Duration(n) * time.Millisecond))
		return binary.BigEndian.AppendUint64(id[:8:8], uint64(n))
	}
	keys := make([][]byte, live+dead)
	for n := range keys {
		keys[n] = key(n)
	}
	for _, change := range []func(b *bbolt.Bucket, n int) error{
		func(b *bbolt.Bucket, n int) error { return b.Put(keys[n], value) },
		func(b *bbolt.Bucket, n int) error {
			if stays(n) {
				return nil
			}
			return b.Delete(keys[n])
		},
	} {
		for n := 0; n < len(keys) && err == nil; n += step {
			err = db.Update(func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte("bodies"))
				b.FillPercent = 0.9
				for i := n; i < min(n+step, len(keys)); i++ {
					if err := change(b, i); err != nil {
						return fmt.Errorf("entry %s: %w", strconv.Itoa(i), err)
					}
				}
				return nil
			})
		}
	}
	return errors.Join(err, db.Sync(), db.Close())
}
