package entity

import (
	"fmt"
	"maps"
	"math"
	"strings"
	"time"

	"github.com/Azure/go-amqp"
)

// Annotations that the queue owns, and those of senders that it reads.
const (
	noteNumber       = "x-opt-sequence-number"
	noteFirstNumber  = "x-opt-enqueue-sequence-number"
	noteEnqueued     = "x-opt-enqueued-time"
	noteLockedUntil  = "x-opt-locked-until"
	noteState        = "x-opt-message-state"
	noteSource       = "x-opt-deadletter-source"
	noteScheduled    = "x-opt-scheduled-enqueue-time"
	notePartitionKey = "x-opt-partition-key"
)

// stage is where a message stands in its source. Every message is in one.
type stage int

const (
	ready stage = iota
	locked
	scheduled
	deferred
	stages
)

// message is one message that a source holds.
type message struct {
	src    *Source
	group  *session // nil in a source without sessions
	number int64    // its place in the order
	first  int64    // the number before it was scheduled or dead-lettered; 0: the same

	content  *amqp.Message // never changed, but for its ApplicationProperties being replaced
	id       string
	size     int64
	count    uint32 // deliveries that ended without an outcome
	enqueued time.Time
	expires  time.Time // zero: never
	due      time.Time // of scheduled ones

	stage       stage
	setAside    bool // a deferred message, locked or not
	token       Token
	lockedUntil time.Time
	deadline    deadline
}

// measure is the encoded size of a message.
func measure(in Incoming) (int64, error) {
	if in.Message == nil {
		return 0, fmt.Errorf("%w: no message", ErrInvalid)
	}
	if in.Size > 0 {
		if in.Size <= MaxProperties {
			return int64(in.Size), nil
		}
		_, err := sizeOf(in.Message.ApplicationProperties)
		return int64(in.Size), err
	}
	data, err := in.Message.MarshalBinary()
	if err != nil {
		return 0, fmt.Errorf("%w: the message cannot be encoded: %w", ErrInvalid, err)
	}
	if len(data) > MaxProperties {
		_, err = sizeOf(in.Message.ApplicationProperties)
	}
	return int64(len(data)), err
}

// adopt makes a sender's message the queue's own: the sections that the sender may
// not set are taken away, what every message has is put in.
func adopt(c Config, content *amqp.Message, now time.Time) (*message, error) {
	m := &message{content: content, enqueued: now}
	content.DeliveryTag, content.DeliveryAnnotations = nil, nil
	header := amqp.MessageHeader{Priority: 4}
	if content.Header != nil {
		header = *content.Header
	}
	header.DeliveryCount, header.FirstAcquirer = 0, false
	content.Header = &header
	if content.Properties == nil {
		content.Properties = &amqp.MessageProperties{}
	}
	m.id = idOf(content.Properties.MessageID)
	if m.id == "" { // clients settle by what they show, and show the id
		token := newToken()
		m.id = fmt.Sprintf("%x", token[:])
		content.Properties.MessageID = m.id
	}
	notes := amqp.Annotations{}
	for key, value := range content.Annotations {
		switch key {
		case noteNumber, noteFirstNumber, noteEnqueued, noteLockedUntil, noteState, noteSource:
		default:
			notes[key] = value
		}
	}
	content.Annotations = notes
	switch at := notes[noteScheduled].(type) {
	case time.Time:
		m.due = at
	case *time.Time:
		if at != nil {
			m.due, notes[noteScheduled] = *at, *at
		}
	}
	m.live(c, now)
	return m, m.check(c)
}

func idOf(id any) string {
	switch id := id.(type) {
	case nil:
		return ""
	case string:
		return id
	case []byte:
		return string(id)
	default:
		return fmt.Sprint(id)
	}
}

// live starts the message's time to live.
func (m *message) live(c Config, now time.Time) {
	header, props := m.content.Header, m.content.Properties
	ttl := header.TTL
	// A header cannot say more than 49 days; then the two times tell.
	if ttl >= math.MaxUint32*time.Millisecond && props.AbsoluteExpiryTime != nil && props.CreationTime != nil {
		ttl = max(ttl, props.AbsoluteExpiryTime.Sub(*props.CreationTime))
	}
	if c.DefaultTTL > 0 && (ttl == 0 || ttl > c.DefaultTTL) {
		ttl = c.DefaultTTL
	}
	m.enqueued = now
	if ttl > 0 {
		m.expires = now.Add(ttl)
		header.TTL = min(ttl, math.MaxUint32*time.Millisecond)
	}
}

func (m *message) check(c Config) error {
	props := m.content.Properties
	if len(m.id) > MaxIDChars {
		return fmt.Errorf("%w: a message id of %d characters, at most %d", ErrInvalid, len(m.id), MaxIDChars)
	}
	session := props.GroupID
	if session == nil {
		if c.RequiresSession {
			return fmt.Errorf("%w: the queue %s takes only messages with a session id", ErrNotAllowed, c.Name)
		}
		return nil
	}
	if len(*session) > MaxIDChars {
		return fmt.Errorf("%w: a session id of %d characters, at most %d", ErrInvalid, len(*session), MaxIDChars)
	}
	if key, ok := m.content.Annotations[notePartitionKey].(string); ok && key != *session {
		return fmt.Errorf("%w: the partition key differs from the session id", ErrInvalid)
	}
	return nil
}

// copy is the message as it is given out, with the state of the moment.
func (m *message) copy() *amqp.Message {
	out := *m.content
	header := *m.content.Header
	header.DeliveryCount = m.count
	out.Header = &header
	notes := make(amqp.Annotations, len(m.content.Annotations)+5)
	maps.Copy(notes, m.content.Annotations)
	notes[noteNumber] = m.number
	notes[noteFirstNumber] = m.first
	notes[noteEnqueued] = m.enqueued
	state := int32(0)
	switch {
	case m.setAside:
		state = 1
	case m.stage == scheduled:
		state = 2
	}
	notes[noteState] = state
	if m.stage == locked {
		notes[noteLockedUntil] = m.until()
	}
	out.Annotations = notes
	return &out
}

// until is when the lock on the message ends: in a session, with the session's.
func (m *message) until() time.Time {
	if m.group != nil {
		return m.group.lockedUntil
	}
	return m.lockedUntil
}

// amend sets application properties: ErrTooLarge when they become too many. What was
// given out keeps the old ones.
func (s *Source) amend(m *message, properties map[string]any) error {
	if len(properties) == 0 {
		return nil
	}
	old := m.content.ApplicationProperties
	changed := make(map[string]any, len(old)+len(properties))
	maps.Copy(changed, old)
	maps.Copy(changed, properties)
	was, err := sizeOf(old)
	if err != nil {
		return err
	}
	size, err := sizeOf(changed)
	if err != nil {
		return err
	}
	content := *m.content
	content.ApplicationProperties = changed
	m.content = &content
	m.size += size - was
	s.bytes += size - was
	s.queue.bytes += size - was
	return nil
}

// sizeOf is the encoded size of application properties, which has a limit of its own.
func sizeOf(properties map[string]any) (int64, error) {
	data, err := (&amqp.Message{ApplicationProperties: properties}).MarshalBinary()
	if err != nil {
		return 0, fmt.Errorf("%w: the properties cannot be encoded: %w", ErrInvalid, err)
	}
	if len(data) > MaxProperties {
		return 0, fmt.Errorf("%w: properties of %d bytes, at most %d", ErrTooLarge, len(data), MaxProperties)
	}
	return int64(len(data)), nil
}

// session is the id of the message's session, or empty.
func (m *message) sessionID() string {
	if id := m.content.Properties.GroupID; id != nil {
		return *id
	}
	return ""
}

// fold is a name as it is compared.
func fold(name string) string { return strings.ToLower(strings.Trim(name, "/")) }
