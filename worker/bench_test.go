package worker

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"ferry"
	"ferry/queue"
	"ferry/queue/memqueue"
)

// answerer is a broker's side that grants everything.
type answerer struct{}

func (answerer) Hello(context.Context, string, queue.Hello) queue.Welcome {
	return queue.Welcome{Start: "1", Routes: map[string]queue.RouteWelcome{testRoute: {Granted: true}}}
}

func (answerer) Body(context.Context, string, queue.BodyRequest) ([]byte, error) {
	return nil, queue.ErrBodyMissing
}

func (answerer) Claim(context.Context, string, queue.ClaimRequest) (queue.ClaimAnswer, error) {
	return queue.ClaimAnswer{State: queue.ClaimRefused}, nil
}

// BenchmarkDelivery is the worker's own part of a message: received, begun and
// its result on disk, reported, settled. Queue and destination cost next to
// nothing.
func BenchmarkDelivery(b *testing.B) {
	for _, concurrency := range []int{1, 4, 64} {
		b.Run(fmt.Sprintf("concurrency=%d", concurrency), func(b *testing.B) {
			ctx := b.Context()
			mq := memqueue.New(memqueue.Options{Lock: time.Minute, MaxPackets: 1 << 21})
			broker := queue.New(mq.Broker(), queue.Options{})
			defer func() { _ = broker.Close(context.Background()) }()
			if _, err := broker.Ensure(ctx, []string{testRoute}); err != nil {
				b.Fatal(err)
			}
			stop, err := broker.Serve(ctx, answerer{})
			if err != nil {
				b.Fatal(err)
			}
			defer stop()
			q := queue.New(mq.Worker("bench"), queue.Options{})
			defer func() { _ = q.Close(context.Background()) }()
			erp := &script{}
			w, err := New(Options{
				Name: "bench", Queue: q, InboxDir: b.TempDir(), Log: slog.New(slog.DiscardHandler),
				Routes: []Route{{
					Name: testRoute, Adapter: erp,
					Destination: NewDest(DestOptions{Name: "erp", Destination: erp, Concurrency: concurrency}),
				}},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = w.Stop(context.Background()) }()
			if err := w.Start(ctx); err != nil {
				b.Fatal(err)
			}
			body := make([]byte, 1024)
			b.ResetTimer()
			go func() {
				for left := b.N; left > 0; {
					list := make([]ferry.HandOut, min(left, 200))
					for i := range list {
						id := ferry.NewID(time.Now())
						list[i] = ferry.HandOut{
							ID: id, Route: testRoute, Turn: 1, Revision: 1, Generation: 1, Attempt: 1, Inbox: w.Inbox(),
							ExternalKey: id.String(), Body: body, Size: int64(len(body)),
						}
					}
					if _, err := broker.Publish(ctx, testRoute, list, "a"); err != nil {
						b.Error(err)
						return
					}
					left -= len(list)
				}
			}()
			for seen := 0; seen < b.N; {
				receipts, err := broker.ReceiveReceipts(ctx, 200)
				if err != nil {
					b.Fatal(err)
				}
				s := queue.Signal{}
				for _, r := range receipts {
					s.Confirmed = append(s.Confirmed, queue.Confirmed{ID: r.Receipt.ID, Turn: r.Receipt.Turn})
					_ = r.Complete(ctx)
				}
				_ = broker.Signal(ctx, "bench", s)
				seen += len(receipts)
			}
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
		})
	}
}
