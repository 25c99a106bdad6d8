package queuetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"ferry"
	"ferry/queue"
)

func receiveHonoursContext(s *suite) {
	broker := s.broker()
	one, two := s.worker("worker-one", routeA), s.worker("worker-two", routeA)
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	if _, err := one.ReceiveMessages(ctx, routeA, 1); !errors.Is(err, context.Canceled) {
		s.Fatalf("receive after the end: %v, want context.Canceled", err)
	}
	for range 20 {
		ctx, cancel := context.WithTimeout(s.ctx, s.h.Lock/20)
		_, err := one.ReceiveMessages(ctx, routeA, 5)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			s.Fatalf("receive from an empty queue: %v, want context.DeadlineExceeded", err)
		}
	}
	// Nothing that ended may catch a message and keep it locked.
	s.publish(broker, messages(routeA, 5), "1")
	began := time.Now()
	s.complete(s.receive(two, routeA, 5)...)
	if took := time.Since(began); took >= s.h.Lock {
		s.Errorf("the messages came after %s: an ended receive kept them", took)
	}
	// The same while messages come in.
	for i := range 30 {
		ctx, cancel := context.WithCancel(s.ctx)
		ended := make(chan []*queue.Delivery, 1)
		go func() {
			got, err := one.ReceiveMessages(ctx, routeA, 5)
			if err != nil && len(got) > 0 {
				s.Errorf("receive returned %d messages and %v", len(got), err)
			}
			ended <- got
		}()
		go cancel()
		s.publish(broker, messages(routeA, 1), fmt.Sprint("race-", i))
		caught := <-ended
		began := time.Now()
		if len(caught) == 0 {
			caught = s.receive(two, routeA, 1)
		}
		s.complete(caught...)
		if took := time.Since(began); took >= s.h.Lock/2 {
			s.Fatalf("round %d: the message came only after %s", i, took)
		}
		cancel()
	}
}

func closeWhileReceiving(s *suite) {
	s.broker()
	worker := s.worker("worker-one", routeA)
	const receivers = 3
	ended := make(chan error, receivers)
	for range receivers {
		go func() {
			_, err := worker.ReceiveMessages(s.ctx, routeA, 1)
			ended <- err
		}()
	}
	time.Sleep(s.h.Lock / 5) // let them wait
	if err := worker.Close(s.ctx); err != nil {
		s.Fatalf("close: %v", err)
	}
	for range receivers {
		select {
		case err := <-ended:
			if !errors.Is(err, queue.ErrClosed) {
				s.Errorf("receive: %v, want ErrClosed", err)
			}
		case <-s.ctx.Done():
			s.Fatal("a receive outlived the queue")
		}
	}
	if _, err := worker.ReceiveMessages(s.ctx, routeA, 1); !errors.Is(err, queue.ErrClosed) {
		s.Errorf("receive after close: %v, want ErrClosed", err)
	}
	if err := worker.SendReceipts(s.ctx, []ferry.Receipt{receipt("worker-one", 1)}, "1"); !errors.Is(err, queue.ErrClosed) {
		s.Errorf("send after close: %v, want ErrClosed", err)
	}
	if err := worker.Close(s.ctx); err != nil {
		s.Errorf("close again: %v", err)
	}
}

func notFound(s *suite) {
	broker := s.over(s.env.Broker())
	if _, err := broker.Publish(s.ctx, routeA, messages(routeA, 1), "1"); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("publish: %v, want ErrNotFound", err)
	}
	if _, err := broker.Progress(s.ctx, routeA); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("progress: %v, want ErrNotFound", err)
	}
	if _, err := broker.ReceiveReceipts(s.ctx, 1); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("receive receipts: %v, want ErrNotFound", err)
	}
	worker := s.worker("worker-one", routeA)
	if _, err := worker.ReceiveMessages(s.ctx, routeA, 1); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("receive: %v, want ErrNotFound", err)
	}
}

func ensureMakesOnce(s *suite) {
	broker := s.over(s.env.Broker())
	for i, step := range []struct {
		routes []string
		made   bool
	}{
		{[]string{routeA}, true},
		{[]string{routeA}, false},
		{[]string{routeA, routeB}, true},
		{[]string{routeB, routeA}, false},
	} {
		made, err := broker.Ensure(s.ctx, step.routes)
		if err != nil || made != step.made {
			s.Fatalf("step %d: ensure %v: %v, %v, want %v", i, step.routes, made, err, step.made)
		}
	}
	again := s.over(s.env.Broker())
	if made, err := again.Ensure(s.ctx, []string{routeA, routeB}); err != nil || made {
		s.Fatalf("ensure by another connection: %v, %v, want nothing made", made, err)
	}
}

func (s *suite) progress(q *queue.Queue, route string) queue.Progress {
	s.Helper()
	p, err := q.Progress(s.ctx, route)
	if err != nil {
		s.Fatalf("progress: %v", err)
	}
	return p
}

func progressTellsSettled(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	s.publish(broker, messages(routeB, 3), "1") // somebody else's, never read
	sent := messages(routeA, 4)
	positions := s.publish(broker, sent, "1")
	p := s.progress(broker, routeA)
	if p.Incarnation == "" {
		s.Error("there is no incarnation")
	}
	if p.Last < positions[3] {
		s.Errorf("last is %d, but %d was published", p.Last, positions[3])
	}
	if p.Settled >= positions[0] {
		s.Errorf("settled is %d before anything was received, the first is %d", p.Settled, positions[0])
	}
	got := s.receive(worker, routeA, 4)
	if p := s.progress(broker, routeA); p.Settled >= positions[0] {
		s.Errorf("settled is %d while everything is held, the first is %d", p.Settled, positions[0])
	}
	s.complete(got[1], got[2])
	s.never("a position counts as settled before the one in front of it", func() bool {
		return s.progress(broker, routeA).Settled >= positions[0]
	})
	s.complete(got[0])
	s.eventually("three positions are settled", func() bool { return s.progress(broker, routeA).Settled >= positions[2] })
	if p := s.progress(broker, routeA); p.Settled >= positions[3] {
		s.Errorf("settled is %d, but %d is held", p.Settled, positions[3])
	}
	s.complete(got[3])
	s.eventually("everything is settled", func() bool { return s.progress(broker, routeA).Settled >= positions[3] })
	if p := s.progress(broker, routeB); p.Settled >= positions[0] {
		s.Errorf("route b: settled is %d, but nothing of it was received", p.Settled)
	}
}

// never asks for a while whether it is true.
func (s *suite) never(what string, ask func() bool) {
	s.Helper()
	for end := time.Now().Add(s.h.Lock / 5); time.Now().Before(end); time.Sleep(pause) {
		if ask() {
			s.Fatal(what)
		}
	}
}

func lossIsANewIncarnation(s *suite) {
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	sent := messages(routeA, 3)
	s.publish(broker, sent, "1")
	before := s.progress(broker, routeA)
	if again := s.progress(broker, routeA); again.Incarnation != before.Incarnation {
		s.Fatalf("the incarnation changed from %s to %s by itself", before.Incarnation, again.Incarnation)
	}
	s.env.Lose()
	made, err := broker.Ensure(s.ctx, []string{routeA, routeB})
	if err != nil || !made {
		s.Fatalf("ensure after the loss: %v, %v, want it made", made, err)
	}
	if after := s.progress(broker, routeA); after.Incarnation == before.Incarnation {
		s.Errorf("the incarnation is still %s", after.Incarnation)
	}
	s.nothing(worker, routeA)
	s.publish(broker, sent, "2")
	s.complete(s.receive(worker, routeA, 3)...)
}

func survivesReopen(s *suite) {
	broker := s.broker()
	sent := messages(routeA, 20)
	s.publish(broker, sent, "1")
	worker := s.worker("worker-one", routeA)
	s.complete(s.receive(worker, routeA, 5)...)
	before := s.progress(broker, routeA)
	s.shut()

	s.open()
	broker = s.over(s.env.Broker())
	if made, err := broker.Ensure(s.ctx, []string{routeA, routeB}); err != nil || made {
		s.Fatalf("ensure after reopening: %v, %v, want nothing made", made, err)
	}
	if after := s.progress(broker, routeA); after.Incarnation != before.Incarnation || after.Last < before.Last {
		s.Errorf("progress was %+v, and is %+v after reopening", before, after)
	}
	worker = s.worker("worker-one", routeA)
	seen := make(map[ferry.ID]bool)
	s.eventually("the messages that were not completed come", func() bool {
		got, err := worker.ReceiveMessages(s.ctx, routeA, 20)
		if err != nil {
			s.Fatalf("receive: %v", err)
		}
		for _, d := range got {
			seen[d.HandOut.ID] = true
			s.complete(d)
		}
		for _, h := range sent[5:] {
			if !seen[h.ID] {
				return false
			}
		}
		return true
	})
}

// survivesKill runs itself in a child process, which publishes until it is
// killed, and then looks for everything whose publication was answered.
func survivesKill(s *suite) {
	if os.Getenv(childFolder) != "" {
		s.publishUntilKilled()
		return
	}
	s.env.Stop()
	ids := s.killChild(50)
	s.open()
	broker := s.over(s.env.Broker())
	if made, err := broker.Ensure(s.ctx, []string{routeA, routeB}); err != nil || made {
		s.Fatalf("ensure after the kill: %v, %v, want nothing made", made, err)
	}
	worker := s.worker("worker-one", routeA)
	for len(ids) > 0 {
		got, err := worker.ReceiveMessages(s.ctx, routeA, 100)
		if err != nil {
			s.Fatalf("%d messages that were answered did not survive: %v", len(ids), err)
		}
		for _, d := range got {
			delete(ids, d.HandOut.ID.String())
			s.complete(d)
		}
	}
}

func (s *suite) publishUntilKilled() {
	broker := s.broker()
	for i := 0; s.ctx.Err() == nil; i++ {
		h := message(routeA, i)
		s.publish(broker, []ferry.HandOut{h}, "1")
		fmt.Printf("published %s\n", h.ID)
	}
}

// killChild starts the child, kills it after n publications, and returns their ids.
func (s *suite) killChild(n int) map[string]bool {
	s.Helper()
	var parts []string
	for part := range strings.SplitSeq(s.Name(), "/") {
		parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
	}
	child := exec.CommandContext(s.ctx, os.Args[0], "-test.run="+strings.Join(parts, "/"))
	child.Env = append(os.Environ(), childFolder+"="+s.dir)
	out, err := child.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := child.Start(); err != nil {
		s.Fatal(err)
	}
	ids := make(map[string]bool)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if id, ok := strings.CutPrefix(lines.Text(), "published "); ok && len(id) == 36 {
			ids[id] = true
		}
		if len(ids) == n {
			if err := child.Process.Kill(); err != nil {
				s.Fatal(err)
			}
		}
	}
	_ = child.Wait() // it was killed: an error of course
	if len(ids) < n {
		s.Fatalf("the child published %d messages, want at least %d", len(ids), n)
	}
	return ids
}
