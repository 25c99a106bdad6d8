package servicebus

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"ferry/internal/sbemu"
)

func withSessions(o *sbemu.Options, _ *Config, _ *timing) {
	o.Queues[0].RequiresSession, o.Queues[0].LockDuration = true, 5*time.Second
}

func (d *double) sendTo(session string, n int) {
	d.Helper()
	msgs := messages(0, n)
	for _, m := range msgs {
		m.SessionID = &session
	}
	if err := d.client.Sender(queue).Send(d.soon(), msgs); err != nil {
		d.Fatal(err)
	}
}

func (d *double) session() *Session {
	d.Helper()
	s, err := d.client.NextSession(d.soon(), queue, 10*time.Second)
	if err != nil {
		d.Fatal(err)
	}
	return s
}

func TestASessionIsInOnePairOfHands(t *testing.T) {
	d := start(t, withSessions)
	if _, err := d.client.NextSession(d.soon(), queue, 200*time.Millisecond); !errors.Is(err, ErrNoSession) {
		t.Fatalf("without messages: %v", err)
	}
	d.sendTo("a", 3)
	s := d.session()
	if s.ID != "a" {
		t.Fatalf("the session is %q", s.ID)
	}
	if _, err := d.client.NextSession(d.soon(), queue, 200*time.Millisecond); !errors.Is(err, ErrNoSession) {
		t.Fatalf("a session that is held was given: %v", err)
	}
	for i := range 3 {
		m, err := s.Receive(d.soon())
		if err != nil || m.MessageID != fmt.Sprintf("m-%05d", i) {
			t.Fatalf("%+v, %v", m, err)
		}
		settle := s.Complete
		if i == 2 {
			settle = s.Abandon
		}
		if err := settle(d.soon(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(d.soon()); err != nil {
		t.Fatal(err)
	}
	again := d.session()
	m, err := again.Receive(d.soon())
	if err != nil || m.MessageID != "m-00002" {
		t.Fatalf("%+v, %v", m, err)
	}
	if err := again.DeadLetter(d.soon(), m, "why", "because", map[string]any{"a": "b"}); err != nil {
		t.Fatal(err)
	}
	if err := again.Close(d.soon()); err != nil {
		t.Fatal(err)
	}
	if c := d.named(queue).Counts(); c.Active+c.Locked != 0 || c.Dead != 1 {
		t.Errorf("%+v", c)
	}
}

// The lock outlasts its time while the session is held, and a session whose
// connection is cut says so.
func TestASessionsLockHolds(t *testing.T) {
	d := start(t, withSessions)
	d.sendTo("a", 1)
	s := d.session()
	first, _ := s.LockedUntil()
	d.until("it is renewed", func() bool {
		until, err := s.LockedUntil()
		return err == nil && time.Now().After(first.Add(time.Second)) && until.After(first)
	})
	m, err := s.Receive(d.soon())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Complete(d.soon(), m); err != nil {
		t.Fatal(err)
	}
	d.emu.DropConnections()
	if _, err := s.Receive(d.soon()); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrLockLost) {
		t.Errorf("after a cut: %v", err)
	}
	_ = s.Close(d.soon())
	d.sendTo("b", 1)
	d.until("the next session is taken on a new connection", func() bool {
		s, err := d.client.NextSession(d.soon(), queue, time.Second)
		if err != nil {
			return false
		}
		return s.Close(d.soon()) == nil
	})
}

// Each way of receiving says when the queue is of the other kind.
func TestTheQueueIsOfTheOtherKind(t *testing.T) {
	d := start(t, withSessions)
	if _, err := d.client.Receiver(queue, ReceiverOptions{}).Receive(d.soon(), 1); !AboutSessions(err) {
		t.Errorf("a queue with sessions: %v", err)
	}
	plain := start(t, nil)
	if _, err := plain.client.NextSession(plain.soon(), queue, time.Second); !AboutSessions(err) {
		t.Errorf("a queue without: %v", err)
	}
	for _, text := range []string{ // of the service
		"It is not possible for an entity that requires sessions to create a non-sessionful message receiver. TrackingId:1",
		"A sessionful message receiver cannot be created on an entity that does not require session. TrackingId:2",
	} {
		if !AboutSessions(fmt.Errorf("receive: %w: %s", ErrRefused, text)) || AboutSessions(errors.New(text)) {
			t.Error(text)
		}
	}
}
