package intake

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"ferry"
	"ferry/internal/servicebus"
)

// Pauses of a source.
const (
	firstPause  = time.Second // after a failure; it doubles
	awayPause   = time.Minute // the longest while the queue is away
	fullPause   = 30 * time.Second
	calmAfter   = time.Minute // taken in for so long: what was refused before is forgotten
	longestStop = 5 * time.Minute
	closeTime   = 10 * time.Second
	checkTime   = 30 * time.Second
)

// source takes messages in from one queue.
type source struct {
	Source
	in     *Intake
	log    *slog.Logger
	broker Broker

	mu    sync.Mutex
	state ferry.IntakeInfo
}

func newSource(in *Intake, o Source) *source {
	o.Concurrency = max(o.Concurrency, 1)
	return &source{
		Source: o, in: in, log: in.log,
		state: ferry.IntakeInfo{Queue: o.Queue, State: ferry.IntakeStarting, Since: time.Now().UTC()},
	}
}

func (s *source) own(queue string) bool { return s.in.own(queue) }

func (s *source) info() *ferry.IntakeInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	info := s.state
	return &info
}

// become notes the state, and says so in the log when it is another one, or has
// another reason.
func (s *source) become(state ferry.IntakeState, why error) {
	reason, hint := "", ""
	if why != nil {
		reason, hint = why.Error(), hintOf(why)
	}
	s.mu.Lock()
	was := s.state
	if was.State != state {
		s.state.Since = time.Now().UTC()
	}
	s.state.State, s.state.Reason, s.state.Hint = state, reason, hint
	s.mu.Unlock()
	if was.State == state && was.Reason == reason {
		return
	}
	switch state {
	case ferry.IntakeAway, ferry.IntakePaused:
		s.log.Warn("intake."+string(state), "route", s.Route, "queue", s.Queue, "error", reason, "hint", hint)
	default:
		s.log.Info("intake."+string(state), "route", s.Route, "queue", s.Queue)
	}
}

// count adds to what is shown and to the metrics.
func (s *source) count(outcome string) {
	s.mu.Lock()
	switch outcome {
	case outcomeAccepted:
		s.state.Taken++
	case outcomeDuplicate:
		s.state.Duplicates++
	case outcomeDeadLettered:
		s.state.DeadLettered++
	}
	s.mu.Unlock()
	s.broker.IntakeDone(s.Route, outcome, 1)
}

func (s *source) inHand(by int) {
	s.mu.Lock()
	s.state.InHand += by
	s.mu.Unlock()
}

func hintOf(err error) string {
	var known *ferry.Error
	switch {
	case errors.As(err, &known):
		return known.Hint
	case errors.Is(err, servicebus.ErrNotFound):
		return "make the queue, or correct routes[].intake.servicebus.queue; it is looked for again every minute"
	case errors.Is(err, servicebus.ErrUnauthorized):
		return "intake needs the right Listen on the queue, and Send on the queues that senders name in ReplyTo"
	case errors.Is(err, servicebus.ErrUnavailable):
		return "is the namespace right, and is port 5671 (443 with webSockets) open towards it?"
	}
	return ""
}

// refusedByLedger says that the ledger takes nothing now, and which size of body it
// refused.
type refusedByLedger struct {
	cause error
	size  int64
}

func (e *refusedByLedger) Error() string { return e.cause.Error() }
func (e *refusedByLedger) Unwrap() error { return e.cause }

// run takes in until ctx ends. What stops it, it waits out.
func (s *source) run(ctx context.Context) {
	defer s.become(ferry.IntakeStopped, nil)
	r := s.Bus.Receiver(s.Queue)
	pause, stops := firstPause, 0
	sessions := false
	for ctx.Err() == nil {
		began := time.Now()
		var err error
		if sessions {
			err = s.takeSessions(ctx)
		} else {
			err = s.takeFrom(ctx, r)
		}
		if ctx.Err() != nil {
			return
		}
		if servicebus.AboutSessions(err) {
			// Its settings are the queue's; they say by refusing which way is wrong.
			if sessions = !sessions; sessions {
				s.log.Info("the queue has sessions: they are taken in turn", "route", s.Route, "queue", s.Queue)
				continue
			}
		}
		var refused *refusedByLedger
		if errors.As(err, &refused) {
			if time.Since(began) > calmAfter {
				stops = 0
			}
			s.become(ferry.IntakePaused, refused.cause)
			// Each stop costs what was in hand a delivery, of the few that the queue allows.
			sleep(ctx, min(firstPause<<min(stops, 20), longestStop))
			stops++
			s.waitForRoom(ctx, refused.size)
			continue
		}
		if time.Since(began) > calmAfter {
			pause = firstPause
		}
		s.become(ferry.IntakeAway, err)
		sleep(ctx, pause)
		pause = min(2*pause, awayPause)
	}
}

// waitForRoom waits until the ledger takes a message as large as one that it
// refused. It is not asked by trying with the message: a message that is given back
// again and again ends in its queue's dead letters.
func (s *source) waitForRoom(ctx context.Context, size int64) {
	for pause := firstPause; ctx.Err() == nil; pause = min(2*pause, fullPause) {
		err := s.broker.Room(ctx, size)
		if err == nil {
			if _, ok := s.broker.Route(s.Route); ok {
				return
			}
			err = ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", s.Route)
		}
		if ctx.Err() == nil {
			s.become(ferry.IntakePaused, err)
		}
		sleep(ctx, pause)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
