package queuetest

import (
	"context"
	"errors"
	"slices"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/queue"
)

// what the technology sets aside in these cases, it says so.
const (
	deadReason      = "DeliveredTooOften"
	deadDescription = "it was delivered 10 times"
)

// setAsideIsBroughtBack holds drivers whose technology sets packets aside: the
// broker gets each with its reason, until it is settled, and only of the channel
// that it asks for.
func setAsideIsBroughtBack(s *suite) {
	d := s.env.Broker()
	broker := s.over(d)
	if _, can := d.(queue.DeadLetterer); !can {
		s.Skip("the driver sets nothing aside")
	}
	if _, err := broker.ReceiveDeadMessages(s.ctx, routeA, 1); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("receive what no queue set aside: %v, want ErrNotFound", err)
	}
	if _, err := broker.Ensure(s.ctx, []string{routeA, routeB}); err != nil {
		s.Fatalf("ensure: %v", err)
	}
	worker := s.worker("worker-one", routeA)
	sent := messages(routeA, 3)
	s.publish(broker, messages(routeB, 1), "1")
	positions := s.publish(broker, sent, "1")
	s.env.SetAside(queue.MessagesOf(routeB), "Other", "")
	s.env.SetAside(queue.MessagesOf(routeA), deadReason, deadDescription)
	s.nothing(worker, routeA)
	s.eventually("what is set aside counts as settled", func() bool { return s.progress(broker, routeA).Settled >= positions[2] })

	got := s.receiveDead(broker, 3)
	for _, m := range got {
		at := slices.IndexFunc(sent, func(h ferry.HandOut) bool { return h.ID == m.HandOut.ID })
		if at < 0 || m.Reason != deadReason || m.Description != deadDescription || m.Expired {
			s.Fatalf("message %s came with %q, %q", m.HandOut.ID, m.Reason, m.Description)
		}
		if diff := cmp.Diff(sent[at].Body, m.HandOut.Body); diff != "" {
			s.Errorf("body (-sent +came):\n%s", diff)
		}
	}
	if err := errors.Join(got[0].Complete(s.ctx), got[1].Complete(s.ctx), got[2].Release(s.ctx)); err != nil {
		s.Fatalf("settle: %v", err)
	}
	if err := got[0].Release(s.ctx); !errors.Is(err, queue.ErrSettled) {
		s.Errorf("release what is settled: %v, want ErrSettled", err)
	}
	again := s.receiveDead(broker, 1)[0]
	if again.HandOut.ID != got[2].HandOut.ID {
		s.Errorf("%s came, want the released %s", again.HandOut.ID, got[2].HandOut.ID)
	}
	// Nobody settles it: it comes once more when its lock ends.
	again = s.receiveDead(broker, 1)[0]
	if err := again.Complete(s.ctx); err != nil || again.HandOut.ID != got[2].HandOut.ID {
		s.Errorf("complete %s: %v", again.HandOut.ID, err)
	}
	s.nothingDead(broker)
}

// setAsideReceiptIsOne: a receipt is a fact also where the queue set it aside, and
// its sender is known still. What cannot be read is counted and removed.
func setAsideReceiptIsOne(s *suite) {
	d := s.bare(s.env.Broker())
	if _, can := d.(queue.DeadLetterer); !can {
		s.Skip("the driver sets nothing aside")
	}
	broker, worker := s.broker(), s.worker("worker-one", routeA)
	sent := receipt("worker-one", 1)
	if err := worker.SendReceipts(s.ctx, []ferry.Receipt{sent}, "1"); err != nil {
		s.Fatalf("send: %v", err)
	}
	s.env.SetAside(queue.AllReceipts(), deadReason, deadDescription)
	got, err := broker.ReceiveDeadReceipts(s.ctx, 10)
	if err != nil || len(got) != 1 {
		s.Fatalf("receive: %d receipts, %v, want 1", len(got), err)
	}
	if diff := cmp.Diff(sent, got[0].Receipt); diff != "" || got[0].From != "worker-one" || got[0].Reason != deadReason {
		s.Errorf("a receipt from %q, %q (-sent +came):\n%s", got[0].From, got[0].Reason, diff)
	}
	if err := got[0].Complete(s.ctx); err != nil {
		s.Errorf("complete: %v", err)
	}

	if _, err := d.Publish(s.ctx, queue.MessagesOf(routeA), []queue.Packet{{ID: "nonsense", Data: []byte("nonsense")}}); err != nil {
		s.Fatalf("publish: %v", err)
	}
	s.env.SetAside(queue.MessagesOf(routeA), deadReason, deadDescription)
	s.eventually("the packet that cannot be read is counted", func() bool {
		s.nothingDead(broker)
		return broker.Undecodable() == 1
	})
	of, ok := s.bare(s.env.Worker("worker-two", routeA)).(queue.DeadLetterer)
	if !ok {
		return
	}
	if _, err := of.ReceiveDead(s.ctx, queue.MessagesOf(routeA), 1); !errors.Is(err, queue.ErrUnauthorized) {
		s.Errorf("a worker receives what was set aside: %v, want ErrUnauthorized", err)
	}
	if err := of.SettleDead(s.ctx, queue.MessagesOf(routeA), queue.DeadItem{}, queue.Complete); !errors.Is(err, queue.ErrUnauthorized) {
		s.Errorf("a worker settles what was set aside: %v, want ErrUnauthorized", err)
	}
}

func (s *suite) receiveDead(q *queue.Queue, n int) []*queue.DeadMessage {
	s.Helper()
	var all []*queue.DeadMessage
	for len(all) < n {
		got, err := q.ReceiveDeadMessages(s.ctx, routeA, n-len(all))
		if err != nil || len(got) > n-len(all) {
			s.Fatalf("receive what was set aside after %d of %d: %d, %v", len(all), n, len(got), err)
		}
		all = append(all, got...)
	}
	return all
}

func (s *suite) nothingDead(q *queue.Queue) {
	s.Helper()
	ctx, cancel := s.soon()
	defer cancel()
	if got, err := q.ReceiveDeadMessages(ctx, routeA, 10); !errors.Is(err, context.DeadlineExceeded) {
		s.Fatalf("%d messages were set aside and error %v, want none and the end of the wait", len(got), err)
	}
}
