package queuetest

import (
	"context"
	"errors"
	"time"

	"ferry"
	"ferry/queue"
)

func workerIsConfined(s *suite) {
	broker := s.broker()
	worker := s.bare(s.env.Worker("worker-one", routeA))
	other := s.worker("worker-two", routeB)
	s.publish(broker, messages(routeA, 1), "1")
	s.publish(broker, messages(routeB, 1), "1")
	for what, try := range map[string]func() error{
		"receive another route's messages": func() error {
			_, err := worker.Receive(s.ctx, queue.MessagesOf(routeB), 1)
			return err
		},
		"receive receipts": func() error {
			_, err := worker.Receive(s.ctx, queue.AllReceipts(), 1)
			return err
		},
		"publish messages": func() error {
			_, err := worker.Publish(s.ctx, queue.MessagesOf(routeA), []queue.Packet{{ID: "x", Data: []byte("x")}})
			return err
		},
		"make a channel": func() error {
			_, err := worker.Ensure(s.ctx, queue.MessagesOf("route-c"))
			return err
		},
		"ask for progress": func() error {
			_, err := worker.Progress(s.ctx, queue.MessagesOf(routeA))
			return err
		},
		"signal": func() error { return worker.Signal(s.ctx, "worker-two", []byte("x")) },
		"serve": func() error {
			_, err := worker.Serve(s.ctx, func(context.Context, string, []byte) []byte { return nil })
			return err
		},
	} {
		began := time.Now()
		if err := try(); !errors.Is(err, queue.ErrUnauthorized) {
			s.Errorf("%s: %v, want ErrUnauthorized", what, err)
		}
		if took := time.Since(began); took > s.h.patience()/4 {
			s.Errorf("%s: it took %s to find out", what, took)
		}
	}
	// What it may do still works, and nothing was taken from the others.
	items, err := worker.Receive(s.ctx, queue.MessagesOf(routeA), 10)
	if err != nil || len(items) != 1 {
		s.Fatalf("receive its own: %d items, %v, want 1", len(items), err)
	}
	s.complete(s.receive(other, routeB, 1)...)
}

func revokeWhileReceiving(s *suite) {
	broker := s.broker()
	worker, other := s.worker("worker-one", routeA), s.worker("worker-two", routeA)
	ended := make(chan error, 1)
	go func() {
		for { // a worker asks again after a passing fault
			_, err := worker.ReceiveMessages(s.ctx, routeA, 1)
			if err == nil || !errors.Is(err, queue.ErrUnavailable) {
				ended <- err
				return
			}
		}
	}()
	time.Sleep(s.h.Lock / 5) // let it wait
	s.env.Revoke("worker-one")
	select {
	case err := <-ended:
		if !errors.Is(err, queue.ErrUnauthorized) {
			s.Errorf("receive: %v, want ErrUnauthorized", err)
		}
	case <-s.ctx.Done():
		s.Fatal("the revoked worker still waits")
	}
	s.publish(broker, messages(routeA, 1), "1")
	s.complete(s.receive(other, routeA, 1)...)
}

func revokedKeepsOutOthersStay(s *suite) {
	broker := s.broker()
	one, two := s.worker("worker-one", routeA), s.worker("worker-two", routeA)
	s.publish(broker, messages(routeA, 2), "1")
	held := s.receive(two, routeA, 1)[0]
	mine := s.receive(one, routeA, 1)[0]
	s.env.Revoke("worker-one")
	s.eventually("the revoked worker is refused", func() bool {
		return errors.Is(one.SendReceipts(s.ctx, []ferry.Receipt{receipt("worker-one", 1)}, "1"), queue.ErrUnauthorized)
	})
	if _, err := one.Hello(s.ctx, queue.Hello{}); !errors.Is(err, queue.ErrUnauthorized) {
		s.Errorf("hello: %v, want ErrUnauthorized", err)
	}
	if err := mine.Complete(s.ctx); err == nil {
		s.Error("the revoked worker completed a delivery")
	}
	s.complete(held)
	if err := two.SendReceipts(s.ctx, []ferry.Receipt{receipt("worker-two", 1)}, "1"); err != nil {
		s.Errorf("the other worker's receipt: %v", err)
	}
	// What the revoked one held comes to the other when its lock ends.
	again := s.receive(two, routeA, 1)[0]
	if again.HandOut.ID != mine.HandOut.ID {
		s.Errorf("%s came, want the revoked worker's %s", again.HandOut.ID, mine.HandOut.ID)
	}
	s.complete(again)
	for { // one of the revoked worker's may have been on its way
		d := s.receiveReceipts(broker, 1)[0]
		if d.From == "worker-two" {
			break
		}
	}
}
