package queuetest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"ferry"
	"ferry/queue"
)

// Benchmark measures the way of messages of 1 KiB through the driver: published
// in batches, received and completed by one worker, reported by receipts that
// the broker receives and completes. One operation is one message.
func Benchmark(b *testing.B, h Harness) {
	b.Run("MessagesOnly", func(b *testing.B) { benchmark(b, h, false) })
	b.Run("WithReceipts", func(b *testing.B) { benchmark(b, h, true) })
}

// benchWindow is how many messages are in the queue at a time, benchBatch how
// many are published or received at once.
const (
	benchWindow = 2000
	benchBatch  = 200
)

func benchmark(b *testing.B, h Harness, receipts bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	env := h.Open(b, b.TempDir())
	defer env.Stop()
	broker := queue.New(env.Broker(), queue.Options{})
	defer broker.Close(ctx)
	worker := queue.New(env.Worker("worker-one", routeA), queue.Options{})
	defer worker.Close(ctx)
	if _, err := broker.Ensure(ctx, []string{routeA}); err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("x"), 1024)
	window := make(chan struct{}, benchWindow)
	done := make(chan error, 3)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	b.ResetTimer()
	go func() { done <- benchPublish(ctx, broker, b.N, body, window) }()
	go func() { done <- benchWork(ctx, worker, b.N, receipts, window) }()
	running := 2
	if receipts {
		running++
		go func() { done <- benchReceipts(ctx, broker, b.N, window) }()
	}
	for range running {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

func benchPublish(ctx context.Context, q *queue.Queue, n int, body []byte, window chan struct{}) error {
	for n > 0 {
		list := make([]ferry.HandOut, min(n, benchBatch))
		now := time.Now()
		for i := range list {
			window <- struct{}{}
			list[i] = ferry.HandOut{
				ID: ferry.NewID(now), Route: routeA, Turn: 1, Revision: 1, Inbox: "inbox", ExternalKey: "key",
				CreatedAt: now, PublishedAt: now, Body: body,
			}
		}
		if _, err := q.Publish(ctx, routeA, list, "1"); err != nil {
			return err
		}
		n -= len(list)
	}
	return nil
}

func benchWork(ctx context.Context, q *queue.Queue, n int, receipts bool, window chan struct{}) error {
	for n > 0 {
		got, err := q.ReceiveMessages(ctx, routeA, benchBatch)
		if err != nil {
			return err
		}
		n -= len(got)
		if receipts {
			list := make([]ferry.Receipt, len(got))
			for i, d := range got {
				list[i] = ferry.Receipt{
					ID: d.HandOut.ID, Route: routeA, Turn: 1, Revision: 1, Worker: "worker-one", Verdict: ferry.Delivered,
					Attempts: []ferry.Attempt{{Number: 1, Verdict: ferry.Delivered}},
				}
			}
			if err := q.SendReceipts(ctx, list, "1"); err != nil {
				return err
			}
		}
		err = together(got, func(d *queue.Delivery) error { return d.Complete(ctx) })
		if err != nil {
			return err
		}
		if !receipts {
			for range got {
				<-window
			}
		}
	}
	return nil
}

// together settles a batch as broker and worker do: where each is a round trip, one
// after the other would measure nothing else.
func together[T any](batch []T, settle func(T) error) error {
	errs := make([]error, len(batch))
	var group sync.WaitGroup
	for i, one := range batch {
		group.Go(func() { errs[i] = settle(one) })
	}
	group.Wait()
	return errors.Join(errs...)
}

func benchReceipts(ctx context.Context, q *queue.Queue, n int, window chan struct{}) error {
	for n > 0 {
		got, err := q.ReceiveReceipts(ctx, 500)
		if err != nil {
			return err
		}
		n -= len(got)
		if err := together(got, func(d *queue.ReceiptDelivery) error { return d.Complete(ctx) }); err != nil {
			return err
		}
		for range got {
			<-window
		}
	}
	return nil
}
