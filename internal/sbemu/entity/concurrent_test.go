package entity

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Many send, receive and settle at once, some receivers come and go, and every
// message is completed exactly once.
func TestManyAtOnce(t *testing.T) {
	const senders, each = 4, 500
	q := queueOf(t, Config{LockDuration: time.Minute, MaxDelivery: 1_000_000})
	var all sync.WaitGroup
	for s := range senders {
		all.Go(func() {
			for i := range each {
				if err := q.Send(in(text(fmt.Sprintf("%d-%d", s, i)))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan string, senders*each)
	stop := make(chan struct{})
	for n := range 4 {
		all.Go(func() {
			for turn := 0; ; turn++ {
				select {
				case <-stop:
					return
				default:
				}
				work(t, q.Main(), n+turn, done)
			}
		})
	}
	seen := map[string]bool{}
	timeout := time.After(time.Minute)
	for len(seen) < senders*each {
		select {
		case id := <-done:
			if seen[id] {
				t.Errorf("%s was completed twice", id)
			}
			seen[id] = true
		case <-timeout:
			t.Fatalf("%d of %d were completed", len(seen), senders*each)
		}
	}
	close(stop)
	all.Wait()
	wantCounts(t, q, Counts{})
}

// work receives some messages by a link of its own and settles them in several ways.
func work(t *testing.T, s *Source, seed int, done chan<- string) {
	arrived := make(chan Delivery, 8)
	r, err := s.Attach(ReceiverOptions{Deliver: func(d Delivery) { arrived <- d }})
	if err != nil {
		t.Error(err)
		return
	}
	r.Flow(0, 8)
	r.Close()
	close(arrived) // nothing is delivered after Close
	for d := range arrived {
		seed++
		switch seed % 4 {
		case 0:
			err = s.Abandon(d.Token, map[string]any{"seed": int64(seed)})
		case 1:
			err = s.Release(d.Token)
		default:
			id := d.Message.Properties.MessageID.(string)
			if err = s.Complete(d.Token); err == nil {
				done <- id
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// In sessions, too, every message is in one place; a session has one holder at a
// time, who gets its messages in their order.
func TestSessionsKeepTheirOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 11, 3, 0, 0, 0, 0, time.UTC)
		n := New(Options{Now: func() time.Time { return now }})
		defer n.Close()
		q, err := n.Create(Config{Name: "q", RequiresSession: true, LockDuration: 30 * time.Second, MaxDelivery: 1000})
		if err != nil {
			t.Fatal(err)
		}
		s := q.Main()
		holders := map[string]*link{}
		inHand := map[string][]Delivery{}
		sent, completed := 0, 0
		session := rapid.SampledFrom([]string{"A", "B", "C"})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				for range rapid.IntRange(1, 5).Draw(t, "many") {
					sent++
					if err := q.Send(inSession(session.Draw(t, "session"), fmt.Sprint(sent))); err != nil {
						t.Fatal(err)
					}
				}
			},
			"accept": func(t *rapid.T) {
				id := session.Draw(t, "session")
				l := &link{}
				r, err := s.AcceptSession(ended, &id, l.options(ReceiverOptions{}))
				if old := holders[id]; old != nil && old.gone() == nil {
					if !errors.Is(err, ErrSessionHeld) {
						t.Fatalf("accepted a held session: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				l.Receiver, holders[id], inHand[id] = r, l, nil
			},
			"accept next": func(t *rapid.T) {
				l := &link{}
				r, err := s.AcceptSession(ended, nil, l.options(ReceiverOptions{}))
				if err != nil {
					for _, h := range s.Messages() {
						if old := holders[h.Session]; old == nil || old.gone() != nil {
							t.Fatalf("session %s is free, and was not given: %v", h.Session, err)
						}
					}
					return
				}
				id, _ := r.Session()
				if old := holders[id]; old != nil && old.gone() == nil {
					t.Fatalf("%s has two holders", id)
				}
				l.Receiver, holders[id], inHand[id] = r, l, nil
			},
			"flow": func(t *rapid.T) {
				id := session.Draw(t, "session")
				l := holders[id]
				if l == nil || l.gone() != nil {
					t.Skip("not held")
				}
				l.grant(uint32(rapid.IntRange(0, 4).Draw(t, "credit")))
			},
			"complete": func(t *rapid.T) {
				id := session.Draw(t, "session")
				if len(inHand[id]) == 0 {
					t.Skip("nothing in hand")
				}
				if err := s.Complete(inHand[id][0].Token); err != nil {
					t.Fatal(err)
				}
				completed++
				inHand[id] = inHand[id][1:]
			},
			"abandon all": func(t *rapid.T) {
				id := session.Draw(t, "session")
				if l := holders[id]; l != nil {
					l.grant(0)
				}
				for _, d := range inHand[id] {
					if err := s.Abandon(d.Token, nil); err != nil {
						t.Fatal(err)
					}
				}
				inHand[id] = nil
			},
			"close": func(t *rapid.T) {
				id := session.Draw(t, "session")
				if l := holders[id]; l != nil {
					l.Close()
					delete(holders, id)
					inHand[id] = nil
				}
			},
			"pass": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "seconds")) * time.Second)
			},
			"": func(t *rapid.T) {
				counts := q.Counts() // and what is due happens
				for id, l := range holders {
					if l.gone() != nil {
						inHand[id] = nil
						l.take()
						continue
					}
					inHand[id] = append(inHand[id], l.take()...)
					for i, d := range inHand[id] {
						if *d.Message.Properties.GroupID != id {
							t.Fatalf("the holder of %s got a message of %s", id, *d.Message.Properties.GroupID)
						}
						if i > 0 && inHand[id][i-1].Sequence >= d.Sequence {
							t.Fatalf("%d after %d", d.Sequence, inHand[id][i-1].Sequence)
						}
					}
				}
				locked := 0
				for _, list := range inHand {
					locked += len(list)
				}
				if counts.Locked != int64(locked) || counts.Active+counts.Locked != int64(sent-completed) {
					t.Fatalf("%+v with %d in hand, %d sent, %d completed", counts, locked, sent, completed)
				}
			},
		})
	})
}
