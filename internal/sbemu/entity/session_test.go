package entity

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func inSession(session, id string) Incoming {
	m := text(id)
	m.Properties.GroupID = &session
	return in(m)
}

// accept holds a session, "" for the next free one, waiting at most a minute.
func accept(t *testing.T, s *Source, session string, o ReceiverOptions) (*link, error) {
	t.Helper()
	l := &link{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var id *string
	if session != "" {
		id = &session
	}
	r, err := s.AcceptSession(ctx, id, l.options(o))
	l.Receiver = r
	return l, err
}

func held(t *testing.T, s *Source, session string) *link {
	t.Helper()
	l, err := accept(t, s, session, ReceiverOptions{})
	must(t, err)
	return l
}

var sessions = Config{RequiresSession: true, LockDuration: 30 * time.Second}

func TestASessionHasOneHolderAndItsOrder(t *testing.T) {
	bubble(t, sessions, func(t *testing.T, q *Queue) {
		s := q.Main()
		must(t, q.Send(inSession("A", "a1"), inSession("B", "b1"), inSession("A", "a2"), inSession("B", "b2"), inSession("A", "a3")))
		_, err := s.Attach(ReceiverOptions{})
		fails(t, err, ErrNotAllowed)
		a := held(t, s, "A")
		_, err = accept(t, s, "A", ReceiverOptions{})
		fails(t, err, ErrSessionHeld)
		if id, ok := a.Session(); id != "A" || !ok || !a.LockedUntil().Equal(time.Now().Add(30*time.Second)) {
			t.Fatalf("session %q, locked until %s", id, a.LockedUntil())
		}
		wantIDs(t, a.take(), "") // no credit yet
		a.grant(2)
		got := a.take()
		wantIDs(t, got, "a1 a2")
		if !got[0].LockedUntil.Equal(a.LockedUntil()) || !got[0].Message.Annotations["x-opt-locked-until"].(time.Time).Equal(a.LockedUntil()) {
			t.Fatalf("locked until %s", got[0].LockedUntil)
		}
		b := held(t, s, "").grant(9) // the next free one
		if id, _ := b.Session(); id != "B" {
			t.Fatalf("session %q", id)
		}
		wantIDs(t, b.take(), "b1 b2")
		must(t, s.Abandon(got[0].Token, nil)) // the next one again, before a3
		a.grant(2)
		wantIDs(t, a.take(), "a1 a3")
		must(t, q.Send(inSession("A", "a4"), inSession("B", "b3")))
		wantIDs(t, a.take(), "")
		wantIDs(t, b.take(), "b3")
		wantCounts(t, q, Counts{Active: 1, Locked: 6})
	})
}

func TestASessionIsGivenUpWithoutACount(t *testing.T) {
	bubble(t, sessions, func(t *testing.T, q *Queue) {
		s := q.Main()
		must(t, q.Send(inSession("A", "a1"), inSession("A", "a2"), inSession("A", "a3")))
		a := held(t, s, "A").grant(3)
		got := a.take()
		must(t, s.Complete(got[1].Token))
		a.Close()
		fails(t, s.Complete(got[0].Token), ErrSessionLost)
		again := held(t, s, "A").grant(9).take()
		wantIDs(t, again, "a1 a3")
		if again[0].Message.Header.DeliveryCount != 0 || a.gone() != nil {
			t.Fatalf("count %d, gone %v", again[0].Message.Header.DeliveryCount, a.gone())
		}
	})
}

func TestASessionsLockEnds(t *testing.T) {
	bubble(t, Config{RequiresSession: true, LockDuration: 30 * time.Second, MaxDelivery: 2}, func(t *testing.T, q *Queue) {
		s := q.Main()
		must(t, q.Send(inSession("A", "a1"), inSession("A", "a2"), inSession("A", "a3")))
		a := held(t, s, "A").grant(2)
		got := a.take()
		_, err := s.Renew(got[0].Token)
		fails(t, err, ErrNotAllowed)
		pass(29 * time.Second)
		until, err := s.RenewSession("A")
		must(t, err)
		if !until.Equal(time.Now().Add(30*time.Second)) || !until.Equal(a.LockedUntil()) {
			t.Fatalf("locked until %s", until)
		}
		pass(29 * time.Second)
		must(t, a.gone())
		pass(time.Second)
		fails(t, a.gone(), ErrSessionLost)
		fails(t, s.Complete(got[0].Token), ErrSessionLost)
		_, err = s.RenewSession("A")
		fails(t, err, ErrSessionLost)
		again := held(t, s, "A").grant(1)
		if d := again.take()[0]; d.Message.Header.DeliveryCount != 1 || idsOf([]Delivery{d}) != "a1" {
			t.Fatalf("%s, count %d", idsOf([]Delivery{d}), d.Message.Header.DeliveryCount)
		}
		pass(30 * time.Second)
		wantHeld(t, s, "a2:active a3:active")
		wantHeld(t, q.DeadLetters(), "a1:active") // without a session there
		wantIDs(t, receive(t, q.DeadLetters(), 1), "a1")
	})
}

func TestWaitingForTheNextSession(t *testing.T) {
	bubble(t, sessions, func(t *testing.T, q *Queue) {
		s := q.Main()
		began := time.Now()
		_, err := accept(t, s, "", ReceiverOptions{})
		fails(t, err, ErrNoSession)
		if time.Since(began) != time.Minute {
			t.Fatalf("waited %s", time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.AcceptSession(ctx, nil, ReceiverOptions{})
		fails(t, err, context.Canceled)

		order := make(chan string, 2)
		for range 2 {
			go func() {
				l, err := accept(t, s, "", ReceiverOptions{})
				if err != nil {
					order <- err.Error()
					return
				}
				id, _ := l.Session()
				order <- id
			}()
			synctest.Wait()
		}
		must(t, q.Send(inSession("B", "b1"), inSession("A", "a1"), inSession("C", "c1")))
		synctest.Wait()
		if a, b := <-order, <-order; a+b != "BA" && a+b != "AB" {
			t.Fatalf("got %q and %q", a, b)
		}
		c := held(t, s, "")
		if id, _ := c.Session(); id != "C" {
			t.Fatalf("session %q", id)
		}
		go func() {
			_, err := accept(t, s, "", ReceiverOptions{})
			order <- err.Error()
		}()
		synctest.Wait()
		must(t, q.Update(Config{RequiresSession: true, Status: Disabled}))
		if got := <-order; !strings.Contains(got, ErrDisabled.Error()) {
			t.Fatalf("got %q", got)
		}
	})
}

func TestAnAcceptedSessionMayBeEmpty(t *testing.T) {
	bubble(t, sessions, func(t *testing.T, q *Queue) {
		s := q.Main()
		l := held(t, s, "new").grant(1)
		must(t, q.Send(inSession("new", "n1")))
		wantIDs(t, l.take(), "n1")
		empty := held(t, s, "empty")
		empty.Close()
		if len(s.sessions) != 1 {
			t.Fatalf("%d sessions are kept", len(s.sessions))
		}
	})
}

func TestSessionState(t *testing.T) {
	bubble(t, sessions, func(t *testing.T, q *Queue) {
		s := q.Main()
		_, err := s.SessionState("A")
		fails(t, err, ErrSessionLost)
		a := held(t, s, "A")
		state, err := s.SessionState("A")
		must(t, err)
		if state != nil {
			t.Fatalf("state %q", state)
		}
		given := []byte("step 2")
		must(t, s.SetSessionState("A", given))
		given[0] = 'X'
		fails(t, s.SetSessionState("A", make([]byte, MaxState+1)), ErrTooLarge)
		a.Close()
		fails(t, s.SetSessionState("A", nil), ErrSessionLost)
		pass(time.Hour)
		a = held(t, s, "A")
		state, err = s.SessionState("A")
		must(t, err)
		if !bytes.Equal(state, []byte("step 2")) {
			t.Fatalf("state %q", state)
		}
		must(t, s.SetSessionState("A", nil))
		a.Close()
		if len(s.sessions) != 0 {
			t.Fatalf("%d sessions are kept", len(s.sessions))
		}
	})
}

func TestSessionsAreListed(t *testing.T) {
	bubble(t, sessions, func(t *testing.T, q *Queue) {
		s := q.Main()
		must(t, q.Send(inSession("c", "1"), inSession("a", "2"), inSession("b", "3")))
		before := time.Now()
		pass(time.Second)
		must(t, s.SetSessionState(mustSession(t, held(t, s, "state")), []byte("x")))
		must(t, s.SetSessionState(mustSession(t, held(t, s, "b")), []byte("x")))
		held(t, s, "held only")
		for _, c := range []struct {
			since     time.Time
			skip, top int
			want      string
		}{
			{time.Time{}, 0, 100, "a b c state"},
			{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), 0, 100, "a b c state"},
			{time.Time{}, 1, 2, "b c"},
			{time.Time{}, 9, 2, ""},
			{time.Time{}, -1, -1, ""},
			{before, 0, 100, "b state"},
			{time.Now(), 0, 100, ""},
		} {
			ids, err := s.Sessions(c.since, c.skip, c.top)
			must(t, err)
			if got := strings.Join(ids, " "); got != c.want {
				t.Errorf("since %s, skip %d, top %d: %q, want %q", c.since, c.skip, c.top, got, c.want)
			}
		}
	})
}

func mustSession(t *testing.T, l *link) string {
	t.Helper()
	id, ok := l.Session()
	if !ok {
		t.Fatal("no session")
	}
	return id
}

func TestDeferredAndPeekedInASession(t *testing.T) {
	bubble(t, sessions, func(t *testing.T, q *Queue) {
		s := q.Main()
		must(t, q.Send(inSession("A", "a1"), inSession("B", "b1"), inSession("A", "a2")))
		a := held(t, s, "A").grant(1)
		must(t, s.Defer(a.take()[0].Token, nil))
		a.grant(1)
		wantIDs(t, a.take(), "a2")
		peek := func(session *string) []Delivery {
			found, err := s.Peek(0, 9, session)
			must(t, err)
			var list []Delivery
			for _, m := range found {
				list = append(list, Delivery{Message: m})
			}
			return list
		}
		id, other := "A", "none"
		wantIDs(t, peek(&id), "a1 a2")
		wantIDs(t, peek(&other), "")
		wantIDs(t, peek(nil), "a1 b1 a2")
		a.Close()
		_, err := s.ReceiveDeferred([]int64{1}, false)
		fails(t, err, ErrSessionLost)
		held(t, s, "A")
		got, err := s.ReceiveDeferred([]int64{1}, false)
		must(t, err)
		must(t, s.Complete(got[0].Token))
		if diff := cmp.Diff(Counts{Active: 2, Bytes: q.Counts().Bytes}, s.Counts()); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestAQueueWithoutSessionsTakesTheirMessages(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		must(t, q.Send(inSession("A", "a1")))
		_, err := accept(t, q.Main(), "A", ReceiverOptions{})
		fails(t, err, ErrNotAllowed)
		wantIDs(t, receive(t, q.Main(), 1), "a1")
		if h := q.Main().Messages()[0]; h.Session != "A" {
			t.Fatalf("session %q", h.Session)
		}
	})
}
