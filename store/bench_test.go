package store

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ferry"
)

func BenchmarkAccept(b *testing.B) {
	body := strings.Repeat("x", 1024)
	for _, writers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			l := newLedger(b)
			inParallel(b, writers, func(int) error {
				id := ferry.NewID(time.Now()).String()
				_, err := l.Accept(context.Background(), message(body, withKey(id)))
				return err
			})
		})
	}
}

// BenchmarkAcceptOfFlow is BenchmarkAccept at 64 writers, without keys: plain, and
// with the lineage by which repeats are known.
func BenchmarkAcceptOfFlow(b *testing.B) {
	body := strings.Repeat("x", 1024)
	for name, flow := range map[string]func(i int) func(*ferry.Message){
		"plain": func(int) func(*ferry.Message) { return func(*ferry.Message) {} },
		"flow":  func(i int) func(*ferry.Message) { return byFlow("run-1", "Post", fmt.Sprint("act-", i)) },
	} {
		b.Run(name, func(b *testing.B) {
			l := newLedger(b)
			inParallel(b, 64, func(i int) error {
				_, err := l.Accept(context.Background(), message(body, flow(i)))
				return err
			})
		})
	}
}

func BenchmarkComplete(b *testing.B) {
	l := newLedger(b)
	body := strings.Repeat("x", 1024)
	inParallel(b, 64, func(int) error {
		answer, err := l.Accept(context.Background(), message(body))
		if err != nil {
			return err
		}
		rc := ferry.Receipt{ID: answer.ID, Route: testRoute, Turn: 1, Verdict: ferry.Delivered, Reference: "INV-1", Attempts: []ferry.Attempt{{Turn: 1}}}
		_, err = l.ApplyReceipts(context.Background(), []ferry.Receipt{rc}, park)
		return err
	})
}

// inParallel runs b.N calls from a number of writers.
func inParallel(b *testing.B, writers int, call func(i int) error) {
	b.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				if err := call(int(i)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// TestIdempotencyEntrySize holds the bound in bytes against what entries cost, of
// keys alone, and of keys beside what flows send without them.
func TestIdempotencyEntrySize(t *testing.T) {
	const bytes = 16 << 20
	for name, flows := range map[string]int{"keys": 0, "keys and flows": 2} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			x := newIdemIndex(ferry.IdempotencyWindow, bytes)
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
			for i := range 4 * x.most { // full, and forgotten several times over
				id := ferry.NewID(start.Add(time.Duration(i) * time.Second / 4))
				x.add(idemKeyOf(1, string(u32(uint32(i)))), id)
				for j := range flows { // with tracking id and without
					x.addRepeat(idemKeyOf(uint32(2+j), string(u32(uint32(i)))), id)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			used := int64(after.HeapAlloc) - int64(before.HeapAlloc)
			t.Logf("%d entries, %d of flows, %d bytes each", x.keys.n+x.repeats.n, x.repeats.n, used/int64(x.keys.n+x.repeats.n))
			if used > bytes {
				t.Errorf("the full index takes %d MiB", used>>20)
			}
			if flows > 0 && x.repeats.n == 0 {
				t.Error("nothing of the flows is in it")
			}
			runtime.KeepAlive(x)
		})
	}
}
