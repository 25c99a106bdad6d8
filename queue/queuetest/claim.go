package queuetest

import (
	"errors"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"ferry"
	"ferry/queue"
)

// claimAndAnswer: two workers of one route ask for turns, each under its own name,
// and each hears its own answer.
func claimAndAnswer(s *suite) {
	broker := s.broker()
	one, two := s.worker("worker-one", routeA), s.worker("worker-two", routeA)
	request := func(worker string, turn uint64) queue.ClaimRequest {
		return queue.ClaimRequest{
			ID: ferry.NewID(time.Now()), Route: routeA, Turn: turn, Worker: worker, Inbox: "inbox-" + worker, Nonce: "n1",
			For: 35 * time.Second, Bound: time.Minute,
		}
	}
	var mu sync.Mutex
	came := map[string]queue.ClaimRequest{}
	s.serve(broker, answers{claim: func(from string, r queue.ClaimRequest) (queue.ClaimAnswer, error) {
		mu.Lock()
		defer mu.Unlock()
		came[from] = r
		switch r.Turn {
		case 1:
			return queue.ClaimAnswer{State: queue.ClaimGranted, For: r.For - time.Second}, nil
		case 2:
			return queue.ClaimAnswer{State: queue.ClaimHeld}, nil
		case 3:
			return queue.ClaimAnswer{State: queue.ClaimRefused}, nil
		case 4:
			return queue.ClaimAnswer{}, queue.ErrUnauthorized
		case 5:
			return queue.ClaimAnswer{State: "perhaps"}, nil
		default:
			return queue.ClaimAnswer{}, errors.New("the disk is asleep")
		}
	}})
	for turn, want := range map[uint64]queue.ClaimAnswer{
		1: {State: queue.ClaimGranted, For: 34 * time.Second}, 2: {State: queue.ClaimHeld}, 3: {State: queue.ClaimRefused},
		1 << 52: {}, 5: {}, // a passing fault, and an answer that is none
	} {
		for name, q := range map[string]*queue.Queue{"worker-one": one, "worker-two": two} {
			r := request(name, turn)
			got, err := q.Claim(s.ctx, r)
			if diff := cmp.Diff(want, got); diff != "" || (err != nil) != (want.State == "") || errors.Is(err, queue.ErrUnauthorized) {
				s.Errorf("turn %d of %s: %v (-want +got):\n%s", turn, name, err, diff)
			}
			mu.Lock()
			if diff := cmp.Diff(r, came[name]); diff != "" {
				s.Errorf("the claim of %s (-sent +came):\n%s", name, diff)
			}
			mu.Unlock()
		}
	}
	if _, err := one.Claim(s.ctx, request("worker-one", 4)); !errors.Is(err, queue.ErrUnauthorized) {
		s.Errorf("not for this worker: %v, want ErrUnauthorized", err)
	}
	// Two workers on one channel: each gets its part, and keeps it under its lock.
	s.publish(broker, messages(routeA, 4), "1")
	mine, others := s.receive(one, routeA, 2), s.receive(two, routeA, 2)
	time.Sleep(s.h.Lock + s.h.Lock/2) // renewed meanwhile
	seen := map[ferry.ID]bool{}
	for _, d := range append(mine, others...) {
		if seen[d.HandOut.ID] || d.Context().Err() != nil {
			s.Errorf("message %s: twice %v, its lock %v", d.HandOut.ID, seen[d.HandOut.ID], d.Context().Err())
		}
		seen[d.HandOut.ID] = true
	}
	s.complete(mine...)
	s.complete(others...)
}
