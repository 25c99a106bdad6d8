package entity

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSettlements(t *testing.T) {
	props := map[string]any{"try": int64(2)}
	for _, c := range []struct {
		name   string
		settle func(*Source, Token) error
		main   string
		dead   string
		again  string // what a receiver gets then
		count  uint32
		totals Totals
	}{
		{"complete", func(s *Source, tk Token) error { return s.Complete(tk) }, "b:active", "", "b", 0, Totals{Completed: 1}},
		{"abandon", func(s *Source, tk Token) error { return s.Abandon(tk, props) }, "a:active b:active", "", "a b", 1, Totals{Abandoned: 1}},
		{"release", func(s *Source, tk Token) error { return s.Release(tk) }, "a:active b:active", "", "a b", 0, Totals{Released: 1}},
		{"defer", func(s *Source, tk Token) error { return s.Defer(tk, props) }, "a:deferred b:active", "", "b", 0, Totals{Deferred: 1}},
		{
			"dead-letter", func(s *Source, tk Token) error { return s.DeadLetter(tk, "Broken", "no such customer", props) },
			"b:active", "a:active", "b", 0,
			Totals{DeadLetter: 1},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, q *Queue) {
				send(t, q, "a", "b")
				s := q.Main()
				d := one(t, s)
				must(t, c.settle(s, d.Token))
				wantHeld(t, s, c.main)
				wantHeld(t, q.DeadLetters(), c.dead)
				for _, again := range []func(*Source, Token) error{
					func(s *Source, tk Token) error { return s.Complete(tk) },
					func(s *Source, tk Token) error { return s.Abandon(tk, nil) },
					func(s *Source, tk Token) error { return s.Release(tk) },
					func(s *Source, tk Token) error { return s.Defer(tk, nil) },
					func(s *Source, tk Token) error { return s.DeadLetter(tk, "", "", nil) },
					func(s *Source, tk Token) error { _, err := s.Renew(tk); return err },
				} {
					fails(t, again(s, d.Token), ErrLockLost)
				}
				if got := s.Messages(); c.count > 0 && got[0].DeliveryCount != c.count {
					t.Fatalf("count %d", got[0].DeliveryCount)
				}
				got := receive(t, s, 9)
				wantIDs(t, got, c.again)
				if d.Message.ApplicationProperties != nil {
					t.Fatalf("what was given out has changed: %v", d.Message.ApplicationProperties)
				}
				want := c.totals
				want.Sent, want.Delivered = 2, int64(1+len(got))
				if diff := cmp.Diff(want, s.Totals()); diff != "" {
					t.Fatal(diff)
				}
			})
		})
	}
}

func TestAbandonSetsProperties(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		m := text("a")
		m.ApplicationProperties = map[string]any{"kept": "k", "try": int64(1)}
		must(t, q.Send(in(m)))
		must(t, q.Main().Abandon(one(t, q.Main()).Token, map[string]any{"try": int64(2), "new": true}))
		d := one(t, q.Main())
		want := map[string]any{"kept": "k", "try": int64(2), "new": true}
		if diff := cmp.Diff(want, d.Message.ApplicationProperties); diff != "" {
			t.Fatal(diff)
		}
		if d.Message.Header.DeliveryCount != 1 || d.Sequence != 1 {
			t.Fatalf("count %d, sequence %d", d.Message.Header.DeliveryCount, d.Sequence)
		}
	})
}

func TestTheLastDeliveryDeadLetters(t *testing.T) {
	for _, byExpiry := range []bool{false, true} {
		t.Run(fmt.Sprintf("by expiry %v", byExpiry), func(t *testing.T) {
			bubble(t, Config{MaxDelivery: 3, LockDuration: time.Second}, func(t *testing.T, q *Queue) {
				send(t, q, "a")
				for n := range uint32(3) {
					d := one(t, q.Main())
					if d.Message.Header.DeliveryCount != n {
						t.Fatalf("count %d, want %d", d.Message.Header.DeliveryCount, n)
					}
					if byExpiry {
						pass(time.Second)
					} else {
						must(t, q.Main().Abandon(d.Token, nil))
					}
				}
				wantHeld(t, q.Main(), "")
				for range 20 { // no count sends it anywhere from there
					d := one(t, q.DeadLetters())
					if d.Message.Header.DeliveryCount != 3 {
						t.Fatalf("count %d", d.Message.Header.DeliveryCount)
					}
					props := d.Message.ApplicationProperties
					if props["DeadLetterReason"] != "MaxDeliveryCountExceeded" || props["DeadLetterErrorDescription"] != "Message could not be consumed after 3 delivery attempts." {
						t.Fatalf("properties %v", props)
					}
					if d.Message.Annotations["x-opt-enqueue-sequence-number"] != int64(1) {
						t.Fatalf("annotations %v", d.Message.Annotations)
					}
					must(t, q.DeadLetters().Abandon(d.Token, nil))
				}
			})
		})
	}
}

func TestDeadLetters(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		send(t, q, "a", "b", "c")
		got := receive(t, q.Main(), 3)
		must(t, q.Main().DeadLetter(got[2].Token, "Broken", "no such customer", map[string]any{"field": "customer"}))
		must(t, q.Main().DeadLetter(got[0].Token, "", "", nil))
		fails(t, q.DeadLetters().Complete(got[1].Token), ErrLockLost) // a token is good where it is from
		dead := receive(t, q.DeadLetters(), 9)
		wantIDs(t, dead, "c a") // in the order in which they came there
		want := map[string]any{"DeadLetterReason": "Broken", "DeadLetterErrorDescription": "no such customer", "field": "customer"}
		if diff := cmp.Diff(want, dead[0].Message.ApplicationProperties); diff != "" {
			t.Fatal(diff)
		}
		if len(dead[1].Message.ApplicationProperties) != 0 {
			t.Fatalf("properties %v", dead[1].Message.ApplicationProperties)
		}
		fails(t, q.DeadLetters().DeadLetter(dead[0].Token, "x", "", nil), ErrNotAllowed)
		must(t, q.DeadLetters().Complete(dead[0].Token)) // its lock is as it was
		must(t, q.DeadLetters().Defer(dead[1].Token, nil))
		again, err := q.DeadLetters().ReceiveDeferred([]int64{dead[1].Sequence}, true)
		must(t, err)
		wantIDs(t, again, "a")
		wantCounts(t, q, Counts{Locked: 1})
		if got := receive(t, q.TransferDeadLetters(), 1); len(got) != 0 {
			t.Fatalf("got %v", got)
		}
	})
}

func TestLocksEnd(t *testing.T) {
	bubble(t, Config{LockDuration: 30 * time.Second}, func(t *testing.T, q *Queue) {
		s := q.Main()
		send(t, q, "a", "b")
		l := attach(t, s, ReceiverOptions{}).grant(2)
		got := l.take()
		l.Close() // the locks stay
		pass(20 * time.Second)
		until, err := s.Renew(got[0].Token)
		must(t, err)
		if want := time.Now().Add(30 * time.Second); !until.Equal(want) {
			t.Fatalf("locked until %s, want %s", until, want)
		}
		waiting := attach(t, s, ReceiverOptions{}).grant(9)
		pass(10*time.Second - 1)
		wantIDs(t, waiting.take(), "")
		pass(1)
		again := waiting.take()
		wantIDs(t, again, "b") // by the timer, with nobody calling
		if again[0].Message.Header.DeliveryCount != 1 {
			t.Fatalf("count %d", again[0].Message.Header.DeliveryCount)
		}
		fails(t, s.Complete(got[1].Token), ErrLockLost)
		must(t, s.Complete(again[0].Token))
		must(t, s.Complete(got[0].Token)) // without its link
		wantHeld(t, s, "")
		if n := s.Totals().LockLost; n != 1 {
			t.Fatalf("%d locks ended", n)
		}
	})
}

func TestDeferredMessages(t *testing.T) {
	bubble(t, Config{LockDuration: 30 * time.Second, MaxDelivery: 3}, func(t *testing.T, q *Queue) {
		s := q.Main()
		send(t, q, "a", "b", "c")
		for _, d := range receive(t, s, 2) {
			must(t, s.Defer(d.Token, map[string]any{"why": "later"}))
		}
		wantCounts(t, q, Counts{Active: 1, Deferred: 2})
		for _, numbers := range [][]int64{{1, 3}, {1, 99}, {1, 1}} {
			_, err := s.ReceiveDeferred(numbers, false)
			fails(t, err, ErrNotFound)
		}
		wantCounts(t, q, Counts{Active: 1, Deferred: 2}) // all or none
		got, err := s.ReceiveDeferred([]int64{2, 1}, false)
		must(t, err)
		wantIDs(t, got, "b a")
		m := got[0].Message
		if m.Annotations["x-opt-message-state"] != int32(1) || m.ApplicationProperties["why"] != "later" || m.Header.DeliveryCount != 0 {
			t.Fatalf("annotations %v, properties %v, count %d", m.Annotations, m.ApplicationProperties, m.Header.DeliveryCount)
		}
		_, err = s.ReceiveDeferred([]int64{1}, false)
		fails(t, err, ErrNotFound) // locked
		must(t, s.Complete(got[0].Token))
		must(t, s.Abandon(got[1].Token, nil))
		wantHeld(t, s, "a:deferred c:active")
		_, err = s.ReceiveDeferred([]int64{1}, false)
		must(t, err)
		pass(30 * time.Second) // goes back among the deferred ones, not to any receiver
		wantHeld(t, s, "a:deferred c:active")
		got, err = s.ReceiveDeferred([]int64{1}, false)
		must(t, err)
		if n := got[0].Message.Header.DeliveryCount; n != 2 {
			t.Fatalf("count %d", n)
		}
		must(t, s.Abandon(got[0].Token, nil))
		wantHeld(t, s, "c:active")
		dead := one(t, q.DeadLetters())
		if dead.Message.Annotations["x-opt-message-state"] != int32(0) {
			t.Fatalf("annotations %v", dead.Message.Annotations)
		}
	})
}

func TestPeek(t *testing.T) {
	bubble(t, Config{LockDuration: time.Minute}, func(t *testing.T, q *Queue) {
		s := q.Main()
		send(t, q, "a", "b", "c", "d")
		locks := receive(t, s, 2)
		must(t, s.Defer(locks[1].Token, nil))
		future := text("e")
		future.Annotations = map[any]any{"x-opt-scheduled-enqueue-time": time.Now().Add(time.Hour)}
		must(t, q.Send(in(future)))
		for _, c := range []struct {
			from int64
			most int
			want string
		}{
			{0, 99, "a b c d e"}, {0, 2, "a b"}, {2, 2, "b c"}, {3, 99, "c d e"}, {5, 1, "e"}, {6, 9, ""}, {-5, 1, "a"}, {0, 0, ""}, {0, -1, ""},
		} {
			found, err := s.Peek(c.from, c.most, nil)
			must(t, err)
			var list []Delivery
			for _, m := range found {
				list = append(list, Delivery{Message: m})
			}
			if got := idsOf(list); got != c.want {
				t.Errorf("peek %d from %d: %q, want %q", c.most, c.from, got, c.want)
			}
		}
		wantHeld(t, s, "a:locked b:deferred c:active d:active e:scheduled")
		must(t, s.Complete(locks[0].Token))
		found, err := s.Peek(0, 1, nil)
		must(t, err)
		found[0].Annotations["mine"], found[0].Header.Priority = true, 9 // a copy
		found, err = s.Peek(0, 1, nil)
		must(t, err)
		if found[0].Annotations["mine"] != nil || found[0].Header.Priority == 9 {
			t.Fatal("what was peeked at is the queue's own")
		}
	})
}

func TestPropertiesHaveALimit(t *testing.T) {
	bubble(t, Config{MaxMessageBytes: 1 << 20, MaxDelivery: 2}, func(t *testing.T, q *Queue) {
		half := string(make([]byte, MaxProperties/2))
		m := text("a")
		m.ApplicationProperties = map[string]any{"sent": half}
		must(t, q.Send(in(m)))
		d := one(t, q.Main())
		fails(t, q.Main().Abandon(d.Token, map[string]any{"more": half}), ErrTooLarge)
		fails(t, q.Main().Defer(d.Token, map[string]any{"more": half}), ErrTooLarge)
		fails(t, q.Main().DeadLetter(d.Token, half, "", nil), ErrTooLarge)
		fails(t, q.Main().Abandon(d.Token, map[string]any{"odd": struct{}{}}), ErrInvalid)
		wantHeld(t, q.Main(), "a:locked") // and its lock is as it was
		before := q.Counts().Bytes
		must(t, q.Main().Abandon(d.Token, map[string]any{"sent": "x"}))
		if n := before - q.Counts().Bytes; n < MaxProperties/2-10 || n > MaxProperties/2+10 {
			t.Fatalf("%d bytes less", n)
		}
		must(t, q.Main().Complete(one(t, q.Main()).Token))
		if b := q.Counts().Bytes; b != 0 {
			t.Fatalf("%d bytes are counted", b)
		}

		big := text("b")
		big.ApplicationProperties = map[string]any{"sent": half, "more": half}
		fails(t, q.Send(in(big)), ErrTooLarge)
		fails(t, q.Send(Incoming{big, 100_000}), ErrTooLarge)
		full := text("c") // no room for a reason, which is told all the same
		full.ApplicationProperties = map[string]any{"sent": string(make([]byte, MaxProperties-60))}
		must(t, q.Send(in(full)))
		for range 2 {
			must(t, q.Main().Abandon(one(t, q.Main()).Token, nil))
		}
		dead := one(t, q.DeadLetters()).Message.ApplicationProperties
		if dead["DeadLetterReason"] != "MaxDeliveryCountExceeded" {
			t.Fatalf("%d properties", len(dead))
		}
	})
}
