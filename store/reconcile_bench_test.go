package store

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"ferry"
)

// BenchmarkProve is a proof of a ledger whose messages are half pending and half
// completed: of 20,000, or of FERRY_PROOF messages.
func BenchmarkProve(b *testing.B) {
	n, err := strconv.Atoi(os.Getenv("FERRY_PROOF"))
	if err != nil {
		n = 20_000
	}
	l := newLedger(b)
	for done := 0; done < n; done += 500 {
		batch := make([]ferry.Message, 500)
		for i := range batch {
			batch[i] = message(fmt.Sprintf(`{"n":%d}`, done+i))
		}
		answers, _, err := l.AcceptBatch(context.Background(), batch, false)
		if err != nil {
			b.Fatal(err)
		}
		receipts := make([]ferry.Receipt, 250)
		for i := range receipts {
			receipts[i] = ferry.Receipt{ID: answers[i].ID, Route: testRoute, Turn: 1, Verdict: ferry.Delivered, Reference: "INV-1", Attempts: []ferry.Attempt{{Turn: 1}}}
		}
		if _, err := l.ApplyReceipts(context.Background(), receipts, park); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		start := time.Now()
		proof, err := l.Prove(context.Background(), ferry.ProofRequest{})
		if err != nil || !proof.Balanced() {
			b.Fatal(err, proof.Findings)
		}
		b.ReportMetric(float64(time.Since(start))/float64(n), "ns/message")
	}
}
