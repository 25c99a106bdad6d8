package queuetest

import (
	"errors"

	"ferry/queue"
)

// clearEmptiesTheChannel holds drivers that can: everything of the route is gone,
// also what is held, and nothing of any other; that is no loss.
func clearEmptiesTheChannel(s *suite) {
	d := s.env.Broker()
	broker := s.over(d)
	clearer, can := d.(queue.Clearer)
	if !can {
		s.Skip("the driver cannot empty a channel")
	}
	if err := clearer.Clear(s.ctx, queue.MessagesOf(routeA)); !errors.Is(err, queue.ErrNotFound) {
		s.Errorf("clear what is not there: %v, want ErrNotFound", err)
	}
	if _, err := broker.Ensure(s.ctx, []string{routeA, routeB}); err != nil {
		s.Fatalf("ensure: %v", err)
	}
	worker, other := s.worker("worker-one", routeA), s.worker("worker-two", routeB)
	s.publish(broker, messages(routeA, 4), "1")
	s.publish(broker, messages(routeB, 1), "1")
	before := s.progress(broker, routeA)
	held := s.receive(worker, routeA, 2)
	if err := broker.Clear(s.ctx, routeA); err != nil {
		s.Fatalf("clear: %v", err)
	}
	if err := held[0].Complete(s.ctx); err != nil && !errors.Is(err, queue.ErrLockLost) {
		s.Errorf("complete what was cleared: %v", err)
	}
	if after := s.progress(broker, routeA); after.Incarnation != before.Incarnation || after.Last < before.Last {
		s.Errorf("clearing counts as a loss: %+v, then %+v", before, after)
	}
	s.nothing(worker, routeA)
	s.complete(s.receive(other, routeB, 1)...)
	fresh := messages(routeA, 2)
	s.publish(broker, fresh, "2")
	got := s.receive(worker, routeA, 2)
	for i := range got {
		if got[i].HandOut.ID != fresh[i].ID {
			s.Errorf("%s came, want %s", got[i].HandOut.ID, fresh[i].ID)
		}
	}
	s.complete(got...)
	if clearer, ok := s.bare(s.env.Worker("worker-three", routeA)).(queue.Clearer); ok {
		if err := clearer.Clear(s.ctx, queue.MessagesOf(routeA)); !errors.Is(err, queue.ErrUnauthorized) {
			s.Errorf("a worker clears: %v, want ErrUnauthorized", err)
		}
	}
}
