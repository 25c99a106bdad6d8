package entity

import (
	"container/list"
	"fmt"
	"time"

	"github.com/Azure/go-amqp"
)

// Source is what messages are received from: a queue, or one of its sub-queues.
type Source struct {
	queue      *Queue
	suffix     string
	sessionful bool

	numbers int64              // the last sequence number given
	all     index              // every message
	ready   index              // those free to be received, without sessions
	locks   map[Token]*message // those locked
	held    [stages]int64
	bytes   int64
	totals  Totals

	receivers map[*Receiver]bool
	waiting   list.List // receivers with credit, the longest waiting first; without sessions

	sessions  map[string]*session
	stirred   []*session // held ones that may have something for their holder
	free      list.List  // sessions with ready messages that nobody holds
	acceptors list.List  // who waits for one, oldest first
}

func newSource(q *Queue, suffix string, sessionful bool) *Source {
	return &Source{
		queue: q, suffix: suffix, sessionful: sessionful,
		locks: make(map[Token]*message), receivers: make(map[*Receiver]bool), sessions: make(map[string]*session),
	}
}

// Queue is the queue that the source belongs to.
func (s *Source) Queue() *Queue { return s.queue }

// Address is the source's name: QUEUE or QUEUE/$DeadLetterQueue.
func (s *Source) Address() string { return s.queue.Config().Name + s.suffix }

// isDead tells the dead-letter sub-queue, where neither age nor count matter.
func (s *Source) isDead() bool { return s == s.queue.dead }

// take stores a message that is new to this source, behind all others.
func (s *Source) take(m *message, now time.Time) {
	s.numbers++
	m.src, m.number = s, s.numbers
	s.queue.bytes += m.size
	s.bytes += m.size
	s.totals.Sent++
	if s.sessionful {
		m.group = s.session(m.sessionID())
		m.group.all.put(m)
	}
	s.all.put(m)
	s.held[m.stage]++
	if m.due.After(now) {
		s.move(m, scheduled)
		return
	}
	s.makeReady(m)
}

// move changes where a message stands, and when something happens to it by itself.
func (s *Source) move(m *message, to stage) {
	s.held[m.stage]--
	s.held[to]++
	m.stage = to
	var at time.Time
	switch to {
	case scheduled:
		at = m.due
	case ready:
		if !s.isDead() {
			at = m.expires
		}
	case locked:
		if m.group == nil {
			at = m.lockedUntil
		}
	}
	s.queue.agenda.set(&m.deadline, m, at)
}

func (s *Source) makeReady(m *message) {
	s.move(m, ready)
	if m.group != nil {
		m.group.ready.put(m)
		s.offer(m.group)
		return
	}
	s.ready.put(m)
}

// unready takes a ready message from the order of those to be received.
func (s *Source) unready(m *message) {
	if m.group != nil {
		m.group.ready.remove(m)
		s.offer(m.group)
		return
	}
	s.ready.remove(m)
}

// remove forgets a message.
func (s *Source) remove(m *message) {
	switch m.stage {
	case ready:
		s.unready(m)
	case locked:
		s.unlock(m)
	}
	s.queue.agenda.set(&m.deadline, m, time.Time{})
	s.held[m.stage]--
	s.all.remove(m)
	s.queue.bytes -= m.size
	s.bytes -= m.size
	m.src = nil
	if g := m.group; g != nil {
		g.all.remove(m)
		m.group = nil
		s.tidy(g)
	}
}

// elapse is what happens to a message when its deadline has come.
func (m *message) elapse(now time.Time) {
	s := m.src
	switch m.stage {
	case scheduled:
		// It enters the queue now, behind what was sent before this moment.
		first := m.number
		if m.first > 0 {
			first = m.first
		}
		s.renumber(m, first)
		m.live(s.queue.config, now)
		s.makeReady(m)
	case ready:
		s.expire(m)
	case locked:
		s.totals.LockLost++
		s.giveBack(m, true, now)
	}
}

// renumber puts a message behind all others.
func (s *Source) renumber(m *message, first int64) {
	s.all.remove(m)
	if m.group != nil {
		m.group.all.remove(m)
	}
	s.numbers++
	m.number, m.first = s.numbers, first
	s.all.put(m)
	if m.group != nil {
		m.group.all.put(m)
	}
}

func (s *Source) expire(m *message) {
	s.totals.Expired++
	if s.queue.config.DeadLetterOnExpiry {
		s.condemn(m, "TTLExpiredException", "The message expired and was dead lettered.")
		return
	}
	s.remove(m)
}

// Why a message is dead, as its application properties.
const (
	reasonProperty      = "DeadLetterReason"
	descriptionProperty = "DeadLetterErrorDescription"
)

// condemn dead-letters a message for a reason of the queue's own. It is told even
// where the sender's properties leave no room: then without them.
func (s *Source) condemn(m *message, reason, description string) {
	told := map[string]any{reasonProperty: reason, descriptionProperty: description}
	if s.amend(m, told) != nil {
		content := *m.content
		content.ApplicationProperties = told
		m.content = &content
	}
	s.bury(m)
}

// bury moves a message to the dead-letter sub-queue.
func (s *Source) bury(m *message) {
	first := m.number
	if m.first > 0 {
		first = m.first
	}
	s.remove(m)
	s.totals.DeadLetter++
	m.first, m.setAside, m.stage, m.due = first, false, ready, time.Time{}
	s.queue.dead.take(m, s.queue.now())
}

// giveBack ends the lock on a message without an outcome. Its place in the order is
// its number's.
func (s *Source) giveBack(m *message, counted bool, now time.Time) {
	s.unlock(m)
	if counted && !s.isDead() {
		m.count++
		if most := s.queue.config.MaxDelivery; m.count >= uint32(most) {
			s.condemn(m, "MaxDeliveryCountExceeded", fmt.Sprintf("Message could not be consumed after %d delivery attempts.", most))
			return
		}
	}
	if m.setAside {
		s.move(m, deferred)
		return
	}
	s.makeReady(m)
	if !s.isDead() && !m.expires.IsZero() && !m.expires.After(now) {
		s.expire(m)
	}
}

// unlock takes the lock from a message, which the caller then moves or removes.
func (s *Source) unlock(m *message) {
	delete(s.locks, m.token)
	m.token = Token{}
	if m.group != nil {
		delete(m.group.locked, m)
	}
}

// lock gives a message into a receiver's hands.
func (s *Source) lock(m *message, now time.Time) Delivery {
	if m.stage == ready {
		s.unready(m)
	}
	m.token = newToken()
	m.lockedUntil = now.Add(s.queue.config.LockDuration)
	s.locks[m.token] = m
	if m.group != nil {
		m.group.locked[m] = true
	}
	s.move(m, locked)
	s.totals.Delivered++
	out := m.copy()
	out.DeliveryTag = m.token.Tag()
	return Delivery{Message: out, Token: m.token, Sequence: m.number, LockedUntil: m.until()}
}

// give hands a message over for good.
func (s *Source) give(m *message) Delivery {
	out := m.copy()
	token := newToken() // a delivery needs a tag, though nobody settles by it
	out.DeliveryTag = token.Tag()
	d := Delivery{Message: out, Sequence: m.number}
	s.remove(m)
	s.totals.Delivered++
	s.totals.Deleted++
	return d
}

// Peek returns copies of at most most messages from a sequence number on, in order,
// whatever their state, without touching them. session limits it to one session;
// nil: all.
func (s *Source) Peek(from int64, most int, session *string) ([]*amqp.Message, error) {
	if err := s.queue.enter(); err != nil {
		return nil, err
	}
	defer s.queue.leave()
	s.totals.Peeks++
	among := &s.all
	if session != nil && s.sessionful {
		g := s.sessions[*session]
		if g == nil {
			return nil, nil
		}
		among = &g.all
	}
	var found []*amqp.Message
	among.each(from, func(m *message) bool {
		if len(found) >= most {
			return false
		}
		found = append(found, m.copy())
		return true
	})
	return found, nil
}
