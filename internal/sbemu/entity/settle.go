package entity

import (
	"fmt"
	"maps"
	"time"
)

// holding finds the message that a token locks, with the queue entered: the caller
// leaves it when there is no error.
func (s *Source) holding(t Token) (*message, error) {
	if err := s.queue.enter(); err != nil {
		return nil, err
	}
	if m := s.locks[t]; m != nil {
		return m, nil
	}
	s.queue.leave()
	if s.sessionful {
		return nil, ErrSessionLost
	}
	return nil, ErrLockLost
}

// Complete removes the message: ErrLockLost. On a queue with sessions the error of
// this and the methods that follow is ErrSessionLost when the session is no longer
// held.
func (s *Source) Complete(t Token) error {
	m, err := s.holding(t)
	if err != nil {
		return err
	}
	defer s.queue.leave()
	s.remove(m)
	s.totals.Completed++
	return nil
}

// Abandon gives the message back to its place in the order, counts the delivery, and
// sets application properties. A message that has been delivered MaxDelivery times
// is dead-lettered. A deferred message stays deferred. ErrLockLost; ErrTooLarge when the
// properties become too many, and the lock stays: so it is with all that set some.
func (s *Source) Abandon(t Token, properties map[string]any) error {
	m, err := s.holding(t)
	if err != nil {
		return err
	}
	defer s.queue.leave()
	if err := s.amend(m, properties); err != nil {
		return err
	}
	s.totals.Abandoned++
	s.giveBack(m, true, s.queue.now())
	return nil
}

// Release gives the message back without a count: ErrLockLost.
func (s *Source) Release(t Token) error {
	m, err := s.holding(t)
	if err != nil {
		return err
	}
	defer s.queue.leave()
	s.totals.Released++
	s.giveBack(m, false, s.queue.now())
	return nil
}

// Defer sets the message aside, to be received by its sequence number alone:
// ErrLockLost.
func (s *Source) Defer(t Token, properties map[string]any) error {
	m, err := s.holding(t)
	if err != nil {
		return err
	}
	defer s.queue.leave()
	if err := s.amend(m, properties); err != nil {
		return err
	}
	s.totals.Deferred++
	m.setAside = true
	s.giveBack(m, false, s.queue.now())
	return nil
}

// DeadLetter moves the message to the dead-letter sub-queue, with reason and
// description as its application properties DeadLetterReason and
// DeadLetterErrorDescription, and properties. ErrLockLost; ErrNotAllowed in that
// sub-queue itself.
func (s *Source) DeadLetter(t Token, reason, description string, properties map[string]any) error {
	m, err := s.holding(t)
	if err != nil {
		return err
	}
	defer s.queue.leave()
	if s.isDead() {
		return fmt.Errorf("%w: a message in the dead-letter sub-queue cannot be dead-lettered", ErrNotAllowed)
	}
	told := maps.Clone(properties)
	for name, text := range map[string]string{reasonProperty: reason, descriptionProperty: description} {
		if text != "" {
			if told == nil {
				told = make(map[string]any)
			}
			told[name] = text
		}
	}
	if err := s.amend(m, told); err != nil {
		return err
	}
	s.bury(m)
	return nil
}

// Renew starts the lock's time anew and returns its end: ErrLockLost; ErrNotAllowed
// on a queue with sessions.
func (s *Source) Renew(t Token) (time.Time, error) {
	m, err := s.holding(t)
	if err != nil {
		return time.Time{}, err
	}
	defer s.queue.leave()
	if m.group != nil {
		return time.Time{}, fmt.Errorf("%w: the lock is that of the session", ErrNotAllowed)
	}
	m.lockedUntil = s.queue.now().Add(s.queue.config.LockDuration)
	s.queue.agenda.set(&m.deadline, m, m.lockedUntil)
	s.totals.Renewed++
	return m.lockedUntil, nil
}

// ReceiveDeferred takes deferred messages by their sequence numbers, all or none:
// ErrNotFound when one is not there, not deferred, or locked. On a queue with
// sessions their session must be held: ErrSessionLost.
func (s *Source) ReceiveDeferred(numbers []int64, remove bool) ([]Delivery, error) {
	if err := s.queue.enter(); err != nil {
		return nil, err
	}
	defer s.queue.leave()
	found := make([]*message, len(numbers))
	named := make(map[int64]bool, len(numbers))
	for i, number := range numbers {
		m := s.all.get(number)
		if m == nil || m.stage != deferred || named[number] {
			return nil, fmt.Errorf("%w: no deferred message %d", ErrNotFound, number)
		}
		if m.group != nil && m.group.holder == nil {
			return nil, ErrSessionLost
		}
		named[number] = true
		found[i] = m
	}
	now := s.queue.now()
	s.queue.accessed = now
	out := make([]Delivery, len(found))
	for i, m := range found {
		if remove {
			out[i] = s.give(m)
		} else {
			out[i] = s.lock(m, now)
		}
	}
	return out, nil
}
