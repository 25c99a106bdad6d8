package servicebus

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"

	"ferry/internal/sbemu"
	"ferry/internal/sbemu/entity"
)

// oneWay is half a round trip of 20 ms.
const oneWay = 10 * time.Millisecond

// BenchmarkRoundTripsOf20ms shows what this package makes of a service that is 20 ms
// away, against the SDK used one message at a time, in the same run: messages per
// second, and how many times as many.
func BenchmarkRoundTripsOf20ms(b *testing.B) {
	const (
		bareCount  = 50    // messages, of about 21 ms and 42 ms each
		ferryCount = 20000 // messages
	)
	for b.Loop() {
		emu, err := sbemu.Start(sbemu.Options{Delay: oneWay, Queues: []entity.Config{{Name: "bare"}, {Name: "ferry"}, {Name: "batches"}}})
		if err != nil {
			b.Fatal(err)
		}
		bareSend, bareReceive := bare(b, emu, bareCount)
		c, err := Dial(Config{ConnectionString: emu.ConnectionString(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			b.Fatal(err)
		}
		send := sendAtOnce(b, c, "ferry", ferryCount)
		batches := sendBatches(b, c, "batches", ferryCount)
		receive := receiveAndComplete(b, c, "ferry", ferryCount)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(bareSend, "bare-sends/s")
		b.ReportMetric(send, "sends/s")
		b.ReportMetric(send/bareSend, "sends-ratio")
		b.ReportMetric(batches, "batched-sends/s")
		b.ReportMetric(batches/bareSend, "batched-sends-ratio")
		b.ReportMetric(bareReceive, "bare-completes/s")
		b.ReportMetric(receive, "completes/s")
		b.ReportMetric(receive/bareReceive, "completes-ratio")
		_ = c.Close(context.Background())
		_ = emu.Close()
	}
}

func ratio(n int, began time.Time) float64 { return float64(n) / time.Since(began).Seconds() }

func kib(id string) *azservicebus.Message {
	return &azservicebus.Message{MessageID: &id, Body: make([]byte, 1024)}
}

// bare is the SDK alone: send, send, send; receive one, complete it.
func bare(b *testing.B, emu *sbemu.Server, n int) (sends, completes float64) {
	ctx := context.Background()
	c, err := azservicebus.NewClientFromConnectionString(emu.ConnectionString(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	s, err := c.NewSender("bare", nil)
	if err != nil {
		b.Fatal(err)
	}
	r, err := c.NewReceiverForQueue("bare", nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.NewMessageBatch(ctx, nil); err != nil { // opens the link, which is not measured
		b.Fatal(err)
	}
	began := time.Now()
	for range n {
		if err := s.SendMessage(ctx, kib("m"), nil); err != nil {
			b.Fatal(err)
		}
	}
	sends = ratio(n, began)
	if _, err := r.PeekMessages(ctx, 1, nil); err != nil {
		b.Fatal(err)
	}
	began = time.Now()
	for range n {
		got, err := r.ReceiveMessages(ctx, 1, nil)
		if err != nil || len(got) != 1 {
			b.Fatal(len(got), err)
		}
		if err := r.CompleteMessage(ctx, got[0], nil); err != nil {
			b.Fatal(err)
		}
	}
	return sends, ratio(n, began)
}

// sendAtOnce sends one by one, from 256 callers.
func sendAtOnce(b *testing.B, c *Client, queue string, n int) float64 {
	const callers = 256
	ctx := context.Background()
	if err := c.Sender(queue).Send(ctx, []*azservicebus.Message{kib("first")}); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			s := c.Sender(queue)
			for range n / callers {
				if err := s.Send(ctx, []*azservicebus.Message{kib("m")}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	return ratio(n/callers*callers, began)
}

// sendBatches sends 200 at a time, from four callers.
func sendBatches(b *testing.B, c *Client, queue string, n int) float64 {
	const callers, each = 4, 200
	ctx := context.Background()
	if err := c.Sender(queue).Send(ctx, []*azservicebus.Message{kib("first")}); err != nil {
		b.Fatal(err)
	}
	list := make([]*azservicebus.Message, each)
	for i := range list {
		list[i] = kib("m")
	}
	began := time.Now()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range n / callers / each {
				if err := c.Sender(queue).Send(ctx, list); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	return ratio(n, began)
}

// receiveAndComplete receives as many as there is room for, and completes them at the
// same time.
func receiveAndComplete(b *testing.B, c *Client, queue string, n int) float64 {
	const room = 500
	ctx := context.Background()
	r := c.Receiver(queue, ReceiverOptions{})
	first, err := r.Receive(ctx, 1)
	if err != nil || r.Complete(ctx, first[0]) != nil {
		b.Fatal(err)
	}
	free := make(chan struct{}, room)
	began := time.Now()
	var all sync.WaitGroup
	for done := 0; done < n; {
		free <- struct{}{}
		got, err := r.Receive(ctx, room-len(free)+1)
		<-free
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range got {
			free <- struct{}{}
			all.Go(func() {
				defer func() { <-free }()
				if err := r.Complete(ctx, m); err != nil {
					b.Error(err)
				}
			})
		}
		if done += len(got); done >= n/256*256 {
			break
		}
	}
	all.Wait()
	return ratio(n, began)
}
