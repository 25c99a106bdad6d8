package entity

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// session is the messages that share a session id, in a source with sessions. It is
// there while it has messages, a holder or a state.
type session struct {
	source *Source
	id     string
	all    index
	ready  index
	locked map[*message]bool

	holder      *Receiver
	lockedUntil time.Time
	deadline    deadline

	state   []byte
	stateAt time.Time

	place   *list.Element // among the free ones
	stirred bool          // to be looked at by the next serve
}

// session finds or makes the session of an id.
func (s *Source) session(id string) *session {
	g := s.sessions[id]
	if g == nil {
		g = &session{source: s, id: id, locked: make(map[*message]bool)}
		s.sessions[id] = g
	}
	return g
}

// tidy forgets a session of which nothing is left.
func (s *Source) tidy(g *session) {
	if g.all.len() == 0 && g.holder == nil && g.state == nil {
		delete(s.sessions, g.id)
	}
}

// offer keeps the list of free sessions, and marks a held one that may have
// something for its holder.
func (s *Source) offer(g *session) {
	has := g.ready.len() > 0
	if has && g.holder != nil && !g.stirred {
		g.stirred = true
		s.stirred = append(s.stirred, g)
	}
	switch free := has && g.holder == nil; {
	case free && g.place == nil:
		g.place = s.free.PushBack(g)
	case !free && g.place != nil:
		s.free.Remove(g.place)
		g.place = nil
	}
}

// serveSessions gives free sessions to who waits for one, and messages to holders.
func (s *Source) serveSessions(now time.Time) {
	for s.free.Len() > 0 && s.acceptors.Len() > 0 {
		a := s.acceptors.Remove(s.acceptors.Front()).(*acceptor)
		a.answer(s.hold(s.free.Front().Value.(*session), a.options, now))
	}
	for _, g := range s.stirred {
		for r := g.holder; r != nil && r.credit() > 0 && g.ready.len() > 0; {
			r.deliver(g.ready.first(), now)
		}
		g.stirred = false
	}
	clear(s.stirred)
	s.stirred = s.stirred[:0]
}

// acceptor waits for a free session.
type acceptor struct {
	options  ReceiverOptions
	answered chan struct{}
	receiver *Receiver
	err      error
}

func (a *acceptor) answer(r *Receiver, err error) {
	a.receiver, a.err = r, err
	close(a.answered)
}

// AcceptSession attaches a receiver that holds a session: the one named, or the next
// free one that has messages when id is nil. It waits for a free one until ctx
// ends: ErrNoSession when its deadline passed, else the context's error.
// ErrSessionHeld when the named session is held, ErrNotAllowed on a queue without
// sessions; otherwise as Attach.
func (s *Source) AcceptSession(ctx context.Context, id *string, o ReceiverOptions) (*Receiver, error) {
	r, waits, err := s.accept(id, o)
	if waits == nil {
		return r, err
	}
	select {
	case <-waits.Value.(*acceptor).answered:
	case <-ctx.Done():
		s.queue.mu.Lock()
		// It may have been given one at this very moment.
		if a := waits.Value.(*acceptor); a.receiver == nil && a.err == nil {
			s.acceptors.Remove(waits)
			a.err = ctx.Err()
			if errors.Is(a.err, context.DeadlineExceeded) {
				a.err = ErrNoSession
			}
		}
		s.queue.mu.Unlock()
	}
	a := waits.Value.(*acceptor)
	return a.receiver, a.err
}

// accept holds a session at once, or joins those who wait for one.
func (s *Source) accept(id *string, o ReceiverOptions) (*Receiver, *list.Element, error) {
	if err := s.queue.enter(); err != nil {
		return nil, nil, err
	}
	defer s.queue.leave()
	if !s.sessionful {
		return nil, nil, fmt.Errorf("%w: %s has no sessions", ErrNotAllowed, s.queue.config.Name)
	}
	if id != nil && len(*id) > MaxIDChars {
		return nil, nil, fmt.Errorf("%w: a session id of %d characters, at most %d", ErrInvalid, len(*id), MaxIDChars)
	}
	if !s.queue.config.receives() {
		return nil, nil, s.queue.disabled()
	}
	now := s.queue.now()
	if id != nil {
		g := s.session(*id)
		if g.holder != nil {
			return nil, nil, fmt.Errorf("%w: %q", ErrSessionHeld, *id)
		}
		r, err := s.hold(g, o, now)
		s.tidy(g)
		return r, nil, err
	}
	if first := s.free.Front(); first != nil {
		r, err := s.hold(first.Value.(*session), o, now)
		return r, nil, err
	}
	if s.acceptors.Len() >= MaxReceivers {
		return nil, nil, fmt.Errorf("%w: at most %d", ErrTooManyLinks, MaxReceivers)
	}
	return nil, s.acceptors.PushBack(&acceptor{options: o, answered: make(chan struct{})}), nil
}

// hold makes a receiver the holder of a session.
func (s *Source) hold(g *session, o ReceiverOptions, now time.Time) (*Receiver, error) {
	r, err := s.attach(o)
	if err != nil {
		return nil, err
	}
	r.group, g.holder = g, r
	s.renewSession(g, now)
	s.offer(g)
	return r, nil
}

func (s *Source) renewSession(g *session, now time.Time) {
	g.lockedUntil = now.Add(s.queue.config.LockDuration)
	s.queue.agenda.set(&g.deadline, g, g.lockedUntil)
}

// giveUp frees a session whose holder has left; what was in its hands goes back.
func (s *Source) giveUp(g *session, counted bool, now time.Time) {
	g.holder = nil
	s.queue.agenda.set(&g.deadline, g, time.Time{})
	inHand := slices.SortedFunc(maps.Keys(g.locked), func(a, b *message) int { return order(a.number, b.number) })
	for _, m := range inHand {
		s.giveBack(m, counted, now)
	}
	s.offer(g)
	s.tidy(g)
}

// elapse is the end of the lock on a session.
func (g *session) elapse(now time.Time) {
	s, r := g.source, g.holder
	s.totals.LockLost++
	r.leave()
	s.giveUp(g, true, now)
	if r.options.Gone != nil {
		r.options.Gone(fmt.Errorf("%w: %q", ErrSessionLost, g.id))
	}
}

// Session is the id of the session that the receiver holds; false: none.
func (r *Receiver) Session() (string, bool) {
	if r.group == nil {
		return "", false
	}
	return r.group.id, true
}

// LockedUntil is when the lock on the receiver's session ends, or ended; the zero
// time without a session.
func (r *Receiver) LockedUntil() time.Time {
	if r.group == nil {
		return time.Time{}
	}
	r.source.queue.mu.Lock()
	defer r.source.queue.mu.Unlock()
	return r.group.lockedUntil
}

// heldSession finds a session that is held, with the queue entered: the caller leaves
// it when there is no error.
func (s *Source) heldSession(id string) (*session, error) {
	if err := s.queue.enter(); err != nil {
		return nil, err
	}
	if g := s.sessions[id]; g != nil && g.holder != nil {
		return g, nil
	}
	s.queue.leave()
	return nil, fmt.Errorf("%w: %q", ErrSessionLost, id)
}

// RenewSession starts the time of a session's lock anew and returns its end:
// ErrSessionLost when nobody holds it.
func (s *Source) RenewSession(id string) (time.Time, error) {
	g, err := s.heldSession(id)
	if err != nil {
		return time.Time{}, err
	}
	defer s.queue.leave()
	s.renewSession(g, s.queue.now())
	s.totals.Renewed++
	return g.lockedUntil, nil
}

// SessionState is the state kept with a session, nil for none: ErrSessionLost when
// nobody holds the session.
func (s *Source) SessionState(id string) ([]byte, error) {
	g, err := s.heldSession(id)
	if err != nil {
		return nil, err
	}
	defer s.queue.leave()
	return bytes.Clone(g.state), nil
}

// SetSessionState sets it; nil clears it. At most MaxState bytes: ErrTooLarge.
// ErrSessionLost.
func (s *Source) SetSessionState(id string, state []byte) error {
	if len(state) > MaxState {
		return fmt.Errorf("%w: a session state of %d bytes, at most %d", ErrTooLarge, len(state), MaxState)
	}
	g, err := s.heldSession(id)
	if err != nil {
		return err
	}
	defer s.queue.leave()
	g.state, g.stateAt = bytes.Clone(state), s.queue.now()
	return nil
}

// Sessions lists sessions by id, top of them after the first skip ones: those with
// messages or a state when since is zero or after the year 9999 (what clients send
// to ask for these), else those whose state was set after since.
func (s *Source) Sessions(since time.Time, skip, top int) ([]string, error) {
	if err := s.queue.enter(); err != nil {
		return nil, err
	}
	defer s.queue.leave()
	every := since.IsZero() || since.UTC().Year() > 9998
	var ids []string
	for id, g := range s.sessions {
		if every && (g.all.len() > 0 || g.state != nil) || !every && g.state != nil && g.stateAt.After(since) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ids = ids[min(max(skip, 0), len(ids)):]
	return ids[:min(max(top, 0), len(ids))], nil
}
