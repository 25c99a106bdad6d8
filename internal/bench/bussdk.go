package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
)

// sdk is what who uses the SDK without Ferry has: one client, with its links open.
type sdk struct {
	client   *azservicebus.Client
	sender   *azservicebus.Sender
	receiver *azservicebus.Receiver
}

func openSDK(ctx context.Context, connectionString string) (*sdk, error) {
	client, err := azservicebus.NewClientFromConnectionString(connectionString, nil)
	if err != nil {
		return nil, err
	}
	s := &sdk{client: client}
	if s.sender, err = client.NewSender(sdkQueue, nil); err == nil {
		s.receiver, err = client.NewReceiverForQueue(sdkQueue, nil)
	}
	// The first use of a link opens it, which is not measured.
	if err == nil {
		_, err = s.sender.NewMessageBatch(ctx, nil)
	}
	if err == nil {
		_, err = s.receiver.PeekMessages(ctx, 1, nil)
	}
	if err != nil {
		return nil, errors.Join(err, client.Close(ctx))
	}
	return s, nil
}

// withSDK runs do, for three minutes at the most.
func withSDK(connectionString string, do func(context.Context, *sdk) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	s, err := openSDK(ctx, connectionString)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, s), s.client.Close(ctx))
}

func (s *sdk) send(ctx context.Context, n int) error {
	return s.sender.SendMessage(ctx, &azservicebus.Message{MessageID: new(strconv.Itoa(n)), Body: make([]byte, 1024)}, nil)
}

// takeOne receives a message and completes it.
func (s *sdk) takeOne(ctx context.Context) error {
	for {
		got, err := s.receiver.ReceiveMessages(ctx, 1, nil)
		if err != nil {
			return err
		}
		if len(got) > 0 {
			return s.receiver.CompleteMessage(ctx, got[0], nil)
		}
	}
}

// oneAtATime sends a message, waits, receives it, completes it, waits, and so on.
func oneAtATime(connectionString string, messages int) (seconds float64, err error) {
	err = withSDK(connectionString, func(ctx context.Context, s *sdk) error {
		start := time.Now()
		for n := range messages {
			if err := errors.Join(s.send(ctx, n), s.takeOne(ctx)); err != nil {
				return err
			}
		}
		seconds = time.Since(start).Seconds()
		return nil
	})
	return seconds, err
}

// byHand sends 128 at a time, and beside that receives up to 200 and completes them
// together.
func byHand(connectionString string, messages int) (seconds float64, err error) {
	err = withSDK(connectionString, func(ctx context.Context, s *sdk) error {
		start := time.Now()
		var next atomic.Int64
		var all sync.WaitGroup
		failed := make(chan error, 128+1) // one of each goroutine
		for range 128 {
			all.Go(func() {
				for n := next.Add(1); n <= int64(messages); n = next.Add(1) {
					if err := s.send(ctx, int(n)); err != nil {
						failed <- err
						return
					}
				}
			})
		}
		all.Go(func() {
			for done := 0; done < messages; {
				n, err := s.takeMany(ctx)
				if err != nil {
					failed <- err
					return
				}
				done += n
			}
		})
		all.Wait()
		seconds = time.Since(start).Seconds()
		select {
		case err := <-failed:
			return err
		default:
			return nil
		}
	})
	return seconds, err
}

func (s *sdk) takeMany(ctx context.Context) (int, error) {
	got, err := s.receiver.ReceiveMessages(ctx, 200, nil)
	if err != nil {
		return 0, err
	}
	errs := make([]error, len(got))
	var all sync.WaitGroup
	for i, m := range got {
		all.Go(func() { errs[i] = s.receiver.CompleteMessage(ctx, m, nil) })
	}
	all.Wait()
	return len(got), errors.Join(errs...)
}

// idleSDK is how long messages take, ms, while a receiver waits: from the send to the
// answer to the completion.
func idleSDK(connectionString string, times int, idle time.Duration) (took []float64, err error) {
	err = withSDK(connectionString, func(ctx context.Context, s *sdk) error {
		for n := range times {
			taken := make(chan error, 1)
			go func() { taken <- s.takeOne(ctx) }()
			time.Sleep(idle)
			start := time.Now()
			if err := errors.Join(s.send(ctx, n), <-taken); err != nil {
				return err
			}
			took = append(took, float64(time.Since(start).Microseconds())/1000)
		}
		return nil
	})
	return took, err
}
