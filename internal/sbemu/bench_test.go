package sbemu

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/sbemu/entity"
)

// BenchmarkSend sends messages of 1 KiB with the Go SDK, some at a time.
func BenchmarkSend(b *testing.B) {
	for _, delay := range []time.Duration{0, 10 * time.Millisecond} {
		for _, at := range []int{1, 16, 64, 128} {
			b.Run(fmt.Sprintf("roundtrip=%s/at=%d", 2*delay, at), func(b *testing.B) {
				s := start(b, Options{Delay: delay, Queues: []entity.Config{{Name: "orders", MaxSizeBytes: 8 << 30}}})
				from := sender(b, client(b, s), "orders")
				ctx := context.Background()
				send(b, from, &azservicebus.Message{Body: make([]byte, 1024)})
				b.ResetTimer()
				spread(b, at, func() error { return from.SendMessage(ctx, &azservicebus.Message{Body: make([]byte, 1024)}, nil) })
			})
		}
	}
}

// spread does something b.N times, at of them at a time, and reports the rate.
func spread(b *testing.B, at int, do func() error) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range at {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkReceive receives and completes messages of 1 KiB, in packs whose
// settlements run together.
func BenchmarkReceive(b *testing.B) {
	for _, delay := range []time.Duration{0, 10 * time.Millisecond} {
		for _, pack := range []int{1, 32, 200} {
			b.Run(fmt.Sprintf("roundtrip=%s/pack=%d", 2*delay, pack), func(b *testing.B) {
				s := start(b, Options{Delay: delay, Queues: []entity.Config{{Name: "orders", MaxSizeBytes: 8 << 30}}})
				fill(b, s, b.N+1)
				r := receiver(b, client(b, s), "orders", nil)
				ctx := context.Background()
				must(b, r.CompleteMessage(ctx, receive(b, r), nil)) // connects
				b.ResetTimer()
				for got := 0; got < b.N; {
					ms, err := r.ReceiveMessages(ctx, min(pack, b.N-got), nil)
					if err != nil {
						b.Fatal(err)
					}
					got += len(ms)
					var wg sync.WaitGroup
					for _, m := range ms {
						wg.Go(func() {
							if err := r.CompleteMessage(ctx, m, nil); err != nil {
								b.Error(err)
							}
						})
					}
					wg.Wait()
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			})
		}
	}
}

// BenchmarkSendReceive sends and receives at the same time, over one connection.
func BenchmarkSendReceive(b *testing.B) {
	s := start(b, Options{})
	c := client(b, s)
	from, r := sender(b, c, "orders"), receiver(b, c, "orders", nil)
	ctx := context.Background()
	send(b, from, &azservicebus.Message{})
	must(b, r.CompleteMessage(ctx, receive(b, r), nil))
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() {
		spread(b, 32, func() error { return from.SendMessage(ctx, &azservicebus.Message{Body: make([]byte, 1024)}, nil) })
	})
	for got := 0; got < b.N; {
		ms, err := r.ReceiveMessages(ctx, min(64, b.N-got), nil)
		if err != nil {
			b.Fatal(err)
		}
		got += len(ms)
		var settled sync.WaitGroup
		for _, m := range ms {
			settled.Go(func() {
				if err := r.CompleteMessage(ctx, m, nil); err != nil {
					b.Error(err)
				}
			})
		}
		settled.Wait()
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// fill puts n messages into the queue.
func fill(b *testing.B, s *Server, n int) {
	b.Helper()
	q, err := s.Namespace().Queue("orders")
	must(b, err)
	for range n {
		must(b, q.Send(entity.Incoming{Message: message(1024)}))
	}
}
