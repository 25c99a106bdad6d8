package intake

import (
	"context"
	"errors"
	"sync"
	"time"

	"ferry/internal/servicebus"
)

// On a queue with sessions messages come session by session: each session is held
// by one pair of hands, which takes its messages in one after the other.

// Bounds of sessions.
const (
	maxSessions   = 8 // in hand at a time
	sessionInHand = 8 // messages of one, on their way to the disk and back
	sessionWait   = 30 * time.Second
)

// errNoMore: a session has no more messages now.
var errNoMore = errors.New("the session has no more messages")

// takeSessions takes sessions in turn until ctx ends or something stops it, and
// returns when none is in hand any more. The error is what stopped it.
func (s *source) takeSessions(ctx context.Context) error {
	within, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer s.soonRunning(within)()
	var running sync.WaitGroup
	defer running.Wait()
	free := make(chan struct{}, maxSessions)
	for {
		select {
		case free <- struct{}{}:
		case <-within.Done():
			return context.Cause(within)
		}
		// One waits for the next session, and not all of them: each wait is a call.
		link, err := s.Bus.NextSession(within, s.Queue, sessionWait)
		if err != nil {
			<-free
			switch {
			case errors.Is(err, servicebus.ErrNoSession):
				continue
			case within.Err() != nil:
				return context.Cause(within)
			}
			stop(err)
			return err
		}
		running.Go(func() {
			defer func() { <-free }()
			err := s.take(within, link, min(s.Concurrency, sessionInHand))
			var refused *refusedByLedger
			switch {
			case errors.As(err, &refused):
				stop(err) // it would refuse those of the others as well
			case err != nil && !errors.Is(err, errNoMore) && within.Err() == nil:
				s.log.Debug("a session ended early: it is taken again", "queue", s.Queue, "error", err)
				sleep(within, firstPause)
			}
		})
	}
}
