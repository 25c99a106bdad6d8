package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ferry"
	"ferry/store"
)

// seeding is what a ledger is filled with before it is measured.
type seeding struct {
	pending, dead, ended int
}

// seed fills the ledger of a data folder through the store, in batches, and says on
// standard error how long it took.
func seed(dir string, s seeding) error {
	began := time.Now()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	l, err := store.Open(filepath.Join(dir, "broker"), store.Options{})
	if err != nil {
		return err
	}
	if err := l.EnsureRoute(context.Background(), benchRoute); err != nil {
		return err
	}
	for _, part := range []struct {
		n       int
		name    string
		receipt func(i int, id ferry.ID) ferry.Receipt
	}{{s.ended, "ended", seededEnd}, {s.dead, "dead", seededDeath}, {s.pending, "pending", nil}} {
		if err := seedPart(l, part.n, part.name, part.receipt); err != nil {
			return err
		}
	}
	err = l.Close()
	fmt.Fprintf(os.Stderr, "seeded %d pending, %d dead and %d completed messages in %s\n", s.pending, s.dead, s.ended, time.Since(began).Round(time.Second))
	return err
}

func seedPart(l *store.Ledger, n int, name string, receipt func(int, ferry.ID) ferry.Receipt) error {
	ctx := context.Background()
	var next atomic.Int64
	var failure atomic.Pointer[error]
	var running sync.WaitGroup
	for range 8 {
		running.Go(func() {
			for failure.Load() == nil {
				from := int(next.Add(ferry.MaxBatch)) - ferry.MaxBatch
				if from >= n {
					return
				}
				if err := seedBatch(ctx, l, from, min(ferry.MaxBatch, n-from), name, receipt); err != nil {
					failure.Store(&err)
				}
			}
		})
	}
	running.Wait()
	if err := failure.Load(); err != nil {
		return *err
	}
	return nil
}

func seedBatch(ctx context.Context, l *store.Ledger, from, n int, name string, receipt func(int, ferry.ID) ferry.Receipt) error {
	msgs := make([]ferry.Message, n)
	now := time.Now().UTC()
	for i := range msgs {
		msgs[i] = ferry.Message{
			ID: ferry.NewID(now), Route: benchRoute, CreatedAt: now, TimeToLive: ferry.DefaultTimeToLive,
			ContentType: "application/json", Body: []byte(benchBody),
			IdempotencyKey: fmt.Sprintf("%s-%08d", name, from+i), CorrelationID: fmt.Sprintf("order-%s-%08d", name, from+i),
			Sender: ferry.Sender{Name: "bench-sender"},
		}
	}
	if _, _, err := l.AcceptBatch(ctx, msgs, false); err != nil || receipt == nil {
		return err
	}
	receipts := make([]ferry.Receipt, n)
	for i := range receipts {
		receipts[i] = receipt(from+i, msgs[i].ID)
	}
	_, err := l.ApplyReceipts(ctx, receipts, func(string) bool { return false })
	return err
}

var benchBody = `{"invoice":{"number":"INV-2026-0042","text":"` + strings.Repeat("x", 1024-47) + `"}}`

// seededDeath rejects a message, in one of twenty groups, two of which have most.
func seededDeath(i int, id ferry.ID) ferry.Receipt {
	texts := [...]string{"the supplier is not known", "the posting period is closed"}
	text := texts[i%2]
	if i%50 == 0 {
		text = "cost centre of kind " + string(rune('A'+i/50%18)) + " is blocked"
	}
	return ferry.Receipt{
		ID: id, Route: benchRoute, Turn: 1, Revision: 1, Generation: 1, Worker: benchWorker,
		Verdict: ferry.Rejected, Effect: ferry.EffectNone, Code: "E42", Text: text,
		Next:     ferry.Next{Do: ferry.DoDeadLetter, Reason: ferry.ReasonRejected},
		Attempts: []ferry.Attempt{{Turn: 1, Generation: 1, Revision: 1, Verdict: ferry.Rejected, Effect: ferry.EffectNone, Status: 422, Code: "E42", Text: text}},
	}
}

func seededEnd(i int, id ferry.ID) ferry.Receipt {
	return ferry.Receipt{
		ID: id, Route: benchRoute, Turn: 1, Revision: 1, Generation: 1, Worker: benchWorker,
		Verdict: ferry.Delivered, Effect: ferry.EffectDone, Reference: fmt.Sprintf("DOC-%08d", i), Next: ferry.Next{Do: ferry.DoComplete},
		Attempts: []ferry.Attempt{{Turn: 1, Generation: 1, Revision: 1, Verdict: ferry.Delivered, Effect: ferry.EffectDone, Status: 201}},
	}
}
