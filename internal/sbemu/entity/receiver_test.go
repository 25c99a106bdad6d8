package entity

import (
	"testing"
	"time"
)

func TestReceiversGetWhatTheyAskFor(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		s := q.Main()
		a, b := attach(t, s, ReceiverOptions{}), attach(t, s, ReceiverOptions{})
		send(t, q, "1", "2")
		wantIDs(t, a.take(), "") // no credit, nothing taken
		wantCounts(t, q, Counts{Active: 2})
		a.grant(1)
		wantIDs(t, a.take(), "1")
		b.grant(3)
		a.grant(3)
		send(t, q, "3", "4", "5", "6", "7", "8", "9")
		wantIDs(t, b.take(), "2 3 5") // the one that has waited longest is next
		wantIDs(t, a.take(), "4 6 7")
		wantCounts(t, q, Counts{Active: 2, Locked: 7})
	})
}

func TestFlowIsThatOfAMQP(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		l := attach(t, q.Main(), ReceiverOptions{Delete: true})
		l.Flow(0, 2)
		send(t, q, "1", "2", "3", "4", "5", "6", "7")
		wantIDs(t, l.take(), "1 2")
		l.Flow(0, 3) // sent before the client saw any: one more, not three
		wantIDs(t, l.take(), "3")
		l.Flow(1, 1) // less than it already got
		wantIDs(t, l.take(), "")
		l.Flow(3, 2)
		wantIDs(t, l.take(), "4 5")
		l.Flow(5, 9)
		wantIDs(t, l.take(), "6 7")
		if left, count := l.Drain(); left != 7 || count != 14 {
			t.Fatalf("drained %d, at %d", left, count)
		}
		send(t, q, "8")
		wantIDs(t, l.take(), "")
		l.Flow(14, 1)
		wantIDs(t, l.take(), "8")
		l.Flow(15, 1<<32-1) // more than can be counted
		send(t, q, "9")
		wantIDs(t, l.take(), "9")
	})
}

func TestReceiveAndDelete(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		send(t, q, "a", "b")
		l := attach(t, q.Main(), ReceiverOptions{Delete: true}).grant(1)
		d := l.take()[0]
		if d.Token != (Token{}) || !d.LockedUntil.IsZero() || d.Message.Annotations["x-opt-locked-until"] != nil || len(d.Message.DeliveryTag) != 16 {
			t.Fatalf("token %x, locked until %s, tag %x", d.Token, d.LockedUntil, d.Message.DeliveryTag)
		}
		wantHeld(t, q.Main(), "b:active")
		if got := q.Main().Totals(); got.Deleted != 1 || got.Delivered != 1 {
			t.Fatalf("totals %+v", got)
		}
	})
}

func TestNothingIsTakenForAClosedReceiver(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		l := attach(t, q.Main(), ReceiverOptions{}).grant(9)
		l.Close()
		l.Close()
		l.grant(9)
		send(t, q, "a")
		wantIDs(t, l.take(), "")
		d := one(t, q.Main())
		if d.Message.Header.DeliveryCount != 0 {
			t.Fatalf("count %d", d.Message.Header.DeliveryCount)
		}
		if l.gone() != nil {
			t.Fatalf("gone %v", l.gone()) // it asked for it
		}
	})
}

func TestReleasedGoesToTheLongestWaiting(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		a := attach(t, q.Main(), ReceiverOptions{}).grant(2)
		b := attach(t, q.Main(), ReceiverOptions{}).grant(2)
		send(t, q, "x")
		d := a.take()[0]
		must(t, q.Main().Release(d.Token))
		again := b.take()
		wantIDs(t, again, "x")
		if again[0].Sequence != d.Sequence || again[0].Token == d.Token || again[0].Message.Header.DeliveryCount != 0 {
			t.Fatalf("%+v after %+v", again[0], d)
		}
	})
}

func TestBackToItsPlaceInTheOrder(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, q *Queue) {
		send(t, q, "1", "2", "3", "4")
		got := receive(t, q.Main(), 3)
		must(t, q.Main().Abandon(got[2].Token, nil))
		must(t, q.Main().Release(got[0].Token))
		wantIDs(t, receive(t, q.Main(), 9), "1 3 4")
	})
}

func TestReceiversLearnWhyTheyEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*testing.T, *Namespace)
		want error
	}{
		{"deleted", func(t *testing.T, n *Namespace) { must(t, n.Delete("ORDERS")) }, ErrNotFound},
		{"closed", func(_ *testing.T, n *Namespace) { n.Close() }, ErrClosed},
		{"disabled", func(t *testing.T, n *Namespace) {
			q, err := n.Queue("orders")
			must(t, err)
			must(t, q.Update(Config{Status: ReceiveDisabled}))
		}, ErrDisabled},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := New(Options{})
			defer n.Close()
			q, err := n.Create(Config{Name: "orders", LockDuration: time.Minute})
			must(t, err)
			send(t, q, "a", "b")
			main := attach(t, q.Main(), ReceiverOptions{}).grant(1)
			dead := attach(t, q.DeadLetters(), ReceiverOptions{}).grant(1)
			token := main.take()[0].Token
			c.end(t, n)
			fails(t, main.gone(), c.want)
			fails(t, dead.gone(), c.want)
			_, err = q.Main().Attach(ReceiverOptions{})
			fails(t, err, c.want)
			main.Close()
			main.grant(1)
			wantIDs(t, main.take(), "")
			if c.want == ErrDisabled {
				must(t, q.Main().Complete(token)) // what is in hand may still be settled
				send(t, q, "c")
				return
			}
			fails(t, q.Main().Complete(token), c.want)
			fails(t, q.Send(in(text("c"))), c.want)
			_, err = q.Main().Peek(0, 1, nil)
			fails(t, err, c.want)
			_, err = q.Main().ReceiveDeferred([]int64{1}, false)
			fails(t, err, c.want)
			fails(t, q.CancelScheduled([]int64{1}), c.want)
			fails(t, q.Update(Config{}), c.want)
			wantCounts(t, q, Counts{})
		})
	}
}

func TestReceiversAreLimited(t *testing.T) {
	q := queueOf(t, Config{})
	var last *Receiver
	for range MaxReceivers {
		r, err := q.Main().Attach(ReceiverOptions{})
		must(t, err)
		last = r
	}
	_, err := q.Main().Attach(ReceiverOptions{})
	fails(t, err, ErrTooManyLinks)
	last.Close()
	_, err = q.Main().Attach(ReceiverOptions{})
	must(t, err)
}
